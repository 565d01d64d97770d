//! The versions of a pipeline's model in the registry, for a stream that changes versions while it runs: which is
//! wanted, and the stages with each. Must not live here: when a partition changes from one to another
//! ([`super::swap`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::Models;
use crate::model::registry;
use crate::runtime::engine::Chain;
use crate::runtime::plan::{Opener, Plan, identity};
use crate::{Error, Result};

/// The registry, as a worker of a pipeline sees it. Clones share what was reported to the user.
#[derive(Clone)]
pub(super) struct Registered {
    opener: Opener,
    /// The number that was wanted last.
    wanted: Option<u64>,
    /// What was reported already.
    reported: Arc<Mutex<BTreeSet<String>>>,
}

impl Registered {
    /// # Errors
    /// A pipeline without a sink.
    pub fn of(plan: &Plan) -> Result<Registered> {
        Ok(Registered {
            opener: Opener::of(plan)?,
            wanted: plan.model.as_ref().map(|version| version.number),
            reported: Arc::default(),
        })
    }

    /// Reports what is wrong, once in the process.
    fn report(&self, error: &Error) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(error.to_string()) {
            tracing::error!(%error, "a new model version can't be used: keeping the one before");
        }
    }
}

impl Models for Registered {
    fn look(&mut self) -> Option<(String, Chain)> {
        let name = self.opener.pipeline.infer()?.model.value.clone();
        if registry::name_of(&name) != name {
            return None;
        }
        let number = match registry::champion(&self.opener.pipeline.models, &name) {
            Ok(number) => number?,
            Err(error) => {
                self.report(&error);
                return None;
            }
        };
        if self.wanted == Some(number) {
            self.opener.metrics.stream.model_refused(&name, 0);
            return None;
        }
        match self.opener.open(&format!("{name}/{number}")) {
            Ok((version, chain)) => {
                self.opener.metrics.stream.model_refused(&name, 0);
                self.wanted = Some(number);
                Some((identity(version.as_deref()), chain))
            }
            Err(error) => {
                self.opener.metrics.stream.model_refused(&name, number);
                self.report(&error);
                None
            }
        }
    }

    fn chain(&mut self, model: &str) -> Result<Chain> {
        self.opener.chain(model)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::datatypes::{DataType, TimeUnit};

    use super::*;
    use crate::error::Problems;
    use crate::kernel::CellKind;
    use crate::metrics::Metrics;
    use crate::model::onnx::export;
    use crate::model::signing::PublicKeys;
    use crate::model::testing::{manifest, published};
    use crate::network::testing::{plain, tensors};
    use crate::record::Layout;
    use crate::record::{Clock, KeyType, Kind, Role};
    use crate::runtime::plan::{chain, find_model};
    use crate::state::shown;
    use crate::{config, sink};

    /// A pipeline with `model:` that was started when version 1 was the only one.
    fn registered(folder: &Path, model: &str) -> Registered {
        let text = format!(
            "name: p\nsource: {{ kafka: {{ brokers: b, topic: t, key: key }} }}\n\
             record: {{ key: key, time: {{ column: ts, unit: ms }}, values: [temp, pressure] }}\n\
             stages:\n  - infer: {{ model: {model} }}\nsink: {{ kafka: {{ topic: o }} }}\n"
        );
        let pipeline = config::parse(&text, &folder.join("p.yaml")).unwrap();
        let mut source = Layout::new(
            "key",
            KeyType::Utf8,
            "ts",
            Clock::of(&DataType::Timestamp(TimeUnit::Millisecond, None), None).unwrap(),
        );
        source.add("temp", Kind::Number, Role::Value);
        source.add("pressure", Kind::Number, Role::Value);
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut problems = Problems::new("p.yaml");
        let version = find_model(&pipeline, "m/1", &source.clock, &mut problems);
        let chain = chain(&pipeline, &source, version.as_ref(), &metrics, &mut problems);
        let sink = sink::plan(pipeline.sink.as_deref().unwrap(), &chain.layout, &mut problems);
        problems.finish(()).unwrap();
        let opener = Opener { pipeline, source, sink: sink.unwrap(), metrics, planned: "m/1".into(), converts: false };
        Registered { opener, wanted: Some(1), reported: Arc::default() }
    }

    fn root(folder: &Path) -> std::path::PathBuf {
        let root = folder.join("models");
        published(&root, "m", 1);
        registry::set_champion(&root, "m", 1).unwrap();
        root
    }

    fn refusal(result: Result<Chain>) -> String {
        let error = result.err().unwrap();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn a_new_champion_is_seen_once_and_a_pinned_version_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = root(folder.path());
        let (mut free, mut pinned) = (registered(folder.path(), "m"), registered(folder.path(), "m/1"));
        let second = identity(Some(&published(&root, "m", 2)));
        assert!(free.look().is_none(), "published, and not the champion");
        registry::set_champion(&root, "m", 2).unwrap();
        assert_eq!(free.look().unwrap().0, second);
        assert_eq!(shown(&second), "m/2");
        assert!(free.look().is_none());
        registry::set_champion(&root, "m", 1).unwrap();
        assert_eq!(shown(&free.look().unwrap().0), "m/1");
        registry::set_champion(&root, "m", 2).unwrap();
        assert!(pinned.look().is_none());
    }

    #[test]
    fn a_version_with_another_output_stays_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = root(folder.path());
        let mut models = registered(folder.path(), "m");
        let mut architecture = plain(2, &[(CellKind::Gru, 4)]);
        architecture.outputs = 2;
        let onnx = export::onnx(&architecture, &tensors(&architecture, 1), "m").unwrap();
        let shorter = crate::model::Manifest { horizon: 1, ..manifest("m", &architecture, 1) };
        registry::publish(&root, shorter, &onnx, "<html></html>", None).unwrap();
        registry::set_champion(&root, "m", 2).unwrap();
        let refused = |models: &Registered| {
            let text = models.opener.metrics.text(true).unwrap();
            text.contains("kolk_model_refused_version{model=\"m\"} 2")
        };
        assert!(models.look().is_none() && models.look().is_none() && refused(&models));
        assert_eq!(models.reported.lock().unwrap().len(), 1);
        let message = models.reported.lock().unwrap().first().unwrap().clone();
        let (theirs, ours) = message.split_once("\n  pipeline: ").unwrap();
        assert!(
            theirs.contains("m/2 makes another output") && theirs != ours && ours.contains("prediction"),
            "{message}"
        );
        registry::set_champion(&root, "m", 1).unwrap();
        assert!(models.look().is_none() && !refused(&models));
    }

    #[test]
    fn a_champion_that_is_not_signed_stays_out_until_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = root(folder.path());
        let mut models = registered(folder.path(), "m");
        let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signed").join(name);
        models.opener.pipeline.public_keys = vec![config::At::default_value(fixture("first.pub"))];
        published(&root, "m", 2);
        registry::set_champion(&root, "m", 2).unwrap();
        assert!(models.look().is_none() && models.look().is_none());
        let refused = |models: &Registered| {
            models.opener.metrics.text(true).unwrap().contains("kolk_model_refused_version{model=\"m\"} 2")
        };
        assert!(refused(&models));
        let reported = models.reported.lock().unwrap().clone();
        assert!(reported.len() == 1 && reported.first().unwrap().contains("m/2 is not signed"), "{reported:?}");
        let key = crate::model::signing::SigningKey::read(&fixture("first.key")).unwrap();
        registry::sign(&root, "m/2", &PublicKeys::none(), &key).unwrap();
        assert_eq!(shown(&models.look().unwrap().0), "m/2");
        assert!(!refused(&models));
    }

    #[test]
    fn the_version_of_a_commit_is_found_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = root(folder.path());
        let mut models = registered(folder.path(), "m");
        let first = identity(Some(&registry::open(&root, "m/1", &PublicKeys::none()).unwrap()));
        published(&root, "m", 2);
        registry::set_champion(&root, "m", 2).unwrap();
        assert!(models.chain(&first).is_ok());
        let other = refusal(models.chain("m/1#0123456789ab"));
        assert!(other.contains("another model under m/1") && other.contains("kolk state reset"), "{other}");
        std::fs::remove_dir_all(root.join("m/1")).unwrap();
        let gone = refusal(models.chain(&first));
        assert!(gone.contains("no version 1") && gone.contains("m/1 is active"), "{gone}");
    }
}
