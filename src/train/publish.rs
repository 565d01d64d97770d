//! From a trained network to a version in the registry: export, check, publish.
//! Must not live here: how the network came about (`training`), what the files look like (`model::onnx`, `report`).

use std::collections::BTreeMap;
use std::path::Path;

use super::dataset::Dataset;
use super::parity::check_parity;
use super::report;
use super::{Plan, Series, Trained};
use crate::Result;
use crate::model::executor::library;
use crate::model::onnx::export;
use crate::model::signing::{PublicKeys, SigningKey};
use crate::model::{GroupNetwork, Groups, Manifest, ModelKind, Version, registry};
use crate::network::Architecture;

/// Steps that are run through both.
const CHECKED: usize = 64;

/// Where a version goes, and which stages are before it.
#[derive(Debug)]
pub struct Destination<'a> {
    /// Folder of the registry.
    pub models: &'a Path,
    /// Name of the model.
    pub name: &'a str,
    /// The canonical form of the stages before the network.
    pub stages: Vec<serde_json::Value>,
    /// The version of the tz database that these depend on.
    pub tz_database: Option<&'a str>,
    /// The key that signs it, if it is to be signed.
    pub key: Option<&'a SigningKey>,
}

/// Publishes the network as the next version of its name, after its graph was run through ONNX Runtime over the first
/// steps of `series`. A training that goes on after a kill (`goes_on`) may have published it already: then that version
/// is the answer.
///
/// # Errors
/// A registry that can't be written; an export that doesn't compute what was trained.
pub fn publish(to: Destination<'_>, trained: &Trained, series: &[Series], goes_on: bool) -> Result<Version> {
    let (models, name, key) = (to.models, to.name, to.key);
    let (onnx, shared) = graph(&to, trained, series)?;
    let (groups, files) = match &trained.groups {
        None => (None, BTreeMap::new()),
        Some(groups) => {
            let (groups, files) = graphs(&to, groups, trained, series)?;
            (Some(groups), files)
        }
    };
    let manifest = Manifest {
        warm_up: trained.warm_up,
        data_hash: trained.data_hash.clone(),
        metrics: trained.metrics.clone(),
        from: trained.plan.start.as_ref().map(|start| start.from.clone()),
        groups,
        ..shared
    };
    let report = report::html(trained, name)?;
    if goes_on && let Some(published) = newest_if_equal(models, &manifest, &onnx, &report, &files)? {
        return Ok(published);
    }
    registry::publish_with(models, manifest, &onnx, &report, files, key)
}

/// The graph of a network, checked over the first steps of `series`, and the manifest that it would have alone.
fn graph(to: &Destination<'_>, trained: &Trained, series: &[Series]) -> Result<(Vec<u8>, Manifest)> {
    let onnx = export::onnx(&trained.architecture, &trained.tensors, to.name)?;
    let manifest = manifest(to, &trained.plan, &trained.architecture)?;
    let (x, steps) = first_steps(trained, series)?;
    check_parity(&onnx, &manifest, &trained.architecture, &trained.tensors, (&x, steps))?;
    Ok((onnx, manifest))
}

/// The networks of groups, and the files of their graphs by name.
fn graphs(
    to: &Destination<'_>,
    groups: &super::Groups,
    shared: &Trained,
    series: &[Series],
) -> Result<(Groups, BTreeMap<String, Vec<u8>>)> {
    let (mut networks, mut files) = (Vec::new(), BTreeMap::new());
    let own = groups.of.iter().filter_map(|group| Some((group, group.own.as_deref()?)));
    for ((group, own), number) in own.zip(1..) {
        let file = format!("group_{number}.onnx");
        let (onnx, manifest) = graph(to, own, &series[group.series.clone()])?;
        files.insert(file.clone(), onnx);
        let architecture = manifest.architecture.filter(|own| *own != shared.architecture);
        networks.push(GroupNetwork { value: group.value.clone(), file, architecture, keys: manifest.keys });
    }
    Ok((Groups { column: groups.column.clone(), networks }, files))
}

/// The newest version, if it has these graphs and this report, and was trained on the same data.
fn newest_if_equal(
    models: &Path,
    manifest: &Manifest,
    onnx: &[u8],
    report: &str,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Option<Version>> {
    let entries = registry::list(models)?;
    let entry = entries.iter().find(|entry| entry.name == manifest.name);
    let Some(newest) = entry.and_then(|entry| entry.versions.iter().max()) else { return Ok(None) };
    let newest = registry::open(models, &format!("{}/{newest}", manifest.name), &PublicKeys::default())?;
    let same = |file: &str, bytes: &[u8]| newest.manifest.files.get(file) == Some(&registry::sha256(bytes));
    let equal = same(registry::MODEL, onnx)
        && same(registry::REPORT, report.as_bytes())
        && files.iter().all(|(file, bytes)| same(file, bytes))
        && newest.manifest.groups == manifest.groups;
    Ok((equal && newest.manifest.data_hash == manifest.data_hash).then_some(newest))
}

/// What a plan alone says about a version.
pub(super) fn manifest(to: &Destination<'_>, plan: &Plan, architecture: &Architecture) -> Result<Manifest> {
    let mut manifest = Manifest {
        format: registry::FORMAT,
        name: to.name.to_string(),
        kind: plan.serves,
        form: "operator".into(),
        bitwise: true,
        window: (plan.kind == ModelKind::Window).then_some(plan.window),
        inputs: plan.inputs.clone(),
        states: architecture.states(),
        horizon: 1,
        targets: Vec::new(),
        quantiles: Vec::new(),
        classes: Vec::new(),
        transcripts: plan.serves != plan.kind,
        pool: architecture.pool,
        stages: to.stages.clone(),
        warm_up: 0,
        seed: plan.seed,
        data_hash: String::new(),
        metrics: Default::default(),
        architecture: Some(architecture.clone()),
        signature: None,
        keys: plan.keys.clone(),
        vocabularies: plan.vocabularies(),
        groups: None,
        proofs: Vec::new(),
        from: None,
        opset: export::OPSET,
        ir_version: export::IR_VERSION,
        onnx_runtime: library::version()?.to_string(),
        tz_database: to.tz_database.map(str::to_string),
        files: Default::default(),
    };
    plan.head.describe(&mut manifest);
    Ok(manifest)
}

/// The first usable rows of the longest series, [steps, features], and how many there are.
fn first_steps(trained: &Trained, series: &[Series]) -> Result<(Vec<f32>, usize)> {
    let features = trained.architecture.features;
    let usable = |series: &&Series| series.usable.iter().filter(|usable| **usable).count();
    let Some(longest) = series.iter().max_by_key(usable) else { return Ok((Vec::new(), 0)) };
    let data = Dataset::everything(std::slice::from_ref(longest), &trained.plan)?;
    let count = data.steps[0].rows.len().min(CHECKED);
    let mut x = vec![0.0; count * features];
    (0..count).for_each(|step| data.x(0, step, &mut x[step * features..(step + 1) * features]));
    Ok((x, count))
}
