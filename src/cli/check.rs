//! `kolk check`: finds everything that a start would refuse, without starting.

use std::collections::BTreeSet;

use super::CheckArgs;
use crate::error::Problems;
use crate::problem::Problem;
use crate::runtime::{self, Purpose};
use crate::{Error, Result, config};

/// Prints `<file>: ok`, or returns every problem of the pipeline: of its `run` if it has a sink, of its `train` if it
/// has such a section. A model that isn't trained yet is a problem only without a `train` section.
///
/// # Errors
/// Refused if anything is wrong with the pipeline.
pub fn run(args: &CheckArgs) -> Result<()> {
    if args.effective {
        let (text, problems) = config::effective(&args.pipeline)?;
        super::print(text.trim_end())?;
        return problems.finish(());
    }
    let (pipeline, problems) = config::load_all(&args.pipeline)?;
    let file = pipeline.file.clone();
    let remote = pipeline.source.path().is_none_or(|path| path.0.contains("://"));
    let found = match problems.finish(()) {
        Err(Error::Problems(found)) => found,
        other => other.map(|()| Vec::new())?,
    };
    if !(args.offline && remote) {
        plan(&pipeline, args, found)?;
    } else if !found.is_empty() {
        return Err(Error::Problems(found));
    }
    super::print(format_args!("{}: ok", file.display()))
}

fn plan(pipeline: &config::Pipeline, args: &CheckArgs, mut found: Vec<Problem>) -> Result<()> {
    // Both plans look at the same source.
    let (mut warnings, mut notes) = (BTreeSet::new(), BTreeSet::new());
    let mut add = |purpose| {
        let mut seen = runtime::Seen::default();
        let planned = runtime::check(pipeline.clone(), purpose, &mut seen);
        warnings.extend(seen.warnings);
        notes.extend(seen.notes);
        match planned {
            Ok(planned) => Ok(Some(planned)),
            Err(Error::Problems(problems)) => {
                found.extend(problems);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    };
    if pipeline.train.is_some() {
        add(Purpose::Train)?;
    }
    let untrained = pipeline.train.is_some() && !runtime::has_model(pipeline);
    if pipeline.sink.is_some() && !untrained || pipeline.train.is_none() {
        let planned = add(Purpose::Run)?;
        let is_near = |path: &config::Location| !(args.offline && path.0.contains("://"));
        let mut problems = Problems::new(&pipeline.file);
        if let Some(planned) = planned.filter(|_| is_near(&pipeline.state.path)) {
            match runtime::check_state(&planned) {
                Ok(new) => runtime::new_files(&new).iter().for_each(super::messages::say),
                Err(error) => problems.add(pipeline.name.place, error),
            }
        }
        if let Some(kafka) = pipeline.source.kafka() {
            crate::kafka::check_transactions(pipeline, kafka, &mut problems);
        }
        if let Err(Error::Problems(more)) = problems.finish(()) {
            found.extend(more);
        }
    }
    if let Some(shard) = args.shard {
        let mut problems = Problems::new(&pipeline.file);
        runtime::check_shard(pipeline, shard, &mut problems);
        if let Err(Error::Problems(more)) = problems.finish(()) {
            found.extend(more);
        }
    }
    warnings.iter().for_each(super::messages::warn);
    notes.iter().for_each(|note| super::messages::say(format_args!("note: {note}")));
    found.sort();
    found.dedup();
    if found.is_empty() { Ok(()) } else { Err(Error::Problems(found)) }
}
