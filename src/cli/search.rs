//! `kolk search`: trains the trials of a pipeline's `search` section, and shows which values are best.
//!
//! Lives here: which trials this process takes, and the folder of their results. Must not live here: what a trial is
//! (`config`, `train::search`).
//!
//! The folder holds `search.json`, what the trials follow from, and `trial-N.json` for each finished trial. Each is
//! created once, so processes share a folder, and a killed search resumes with the trials that are missing.

use std::path::Path;

use serde_json::json;

use super::messages::{say, say_with};
use super::{SearchArgs, print, train};
use crate::config::{self, Location, Search, Until};
use crate::error::{Context, counted};
use crate::model::executor::library;
use crate::runtime::{self, Captured, Purpose};
use crate::storage::Folder;
use crate::train::Plan;
use crate::train::report::{search_html, search_table};
use crate::train::search::{Outcome, ranked, trial};
use crate::{Error, Result};

/// What the trials follow from.
const SEARCH: &str = "search.json";
/// The page with table and picture.
const REPORT: &str = "search.html";

/// Trains those of this process' trials that are missing; when all are finished, prints the best values.
///
/// # Errors
/// What is wrong with the pipeline, or with the values of any trial; a folder that holds another search; those of
/// [`trial`].
pub fn run(arguments: &SearchArgs) -> Result<()> {
    let pipeline = config::load(&arguments.pipeline)?;
    let Some(search) = pipeline.search.clone() else {
        return Err(Error::refused(
            "a search needs a `search` section, such as search: { over: { train.batch_size: [16, 32] } }",
        ));
    };
    let data = pipeline.train.as_ref().and_then(|train| train.data.as_deref());
    let range = pipeline.source.kafka().map(|kafka| data.cloned().unwrap_or_default().of(kafka));
    if range.is_some_and(|range| matches!(range.until, Until::End | Until::Now) && range.ends.is_empty()) {
        return Err(Error::refused(
            "trials can be compared on the same records alone, and the topic grows: let train.data end at a time or at \
             offsets, such as data: { until: 2024-07-01 }",
        ));
    }
    library::library()?;
    // All values are read before the first training.
    let count = search.trials + 1;
    for number in 1..count {
        config::load_trial(&arguments.pipeline, &search.trial(number))?;
    }
    let shown = arguments.results.clone().unwrap_or_else(|| arguments.pipeline.with_extension("search"));
    let folder = Folder::open(&Location(shown.display().to_string()))?;
    claim(&folder, &search, &shown)?;
    let shard = arguments.shard.unwrap_or_default();
    say(format_args!(
        "{}: the pipeline as it is, and {} with other values; results in {}",
        counted(count, "trial"),
        counted(search.trials, "trial"),
        shown.display()
    ));
    let mut before: Vec<Outcome> = Vec::new();
    let mut shared = None;
    for number in (0..count).filter(|number| u32::try_from(*number).is_ok_and(|number| shard.has(number))) {
        let outcome = match read(&folder, number)? {
            Some(outcome) => outcome,
            None => {
                let known = if search.stops { &before[..] } else { &[] };
                let outcome = one(arguments, &search, number, known, &mut shared)?;
                let line = serde_json::to_string(&outcome).or_failed(|| "write a trial as JSON".into())?;
                folder.create(&file(number), format!("{line}\n").into_bytes())?;
                outcome
            }
        };
        if let Some(other) = before.iter().find(|other| inputs(other) == inputs(&outcome) && other.data != outcome.data)
        {
            return Err(Error::refused(format!(
                "the data of trial {} differ from those of trial {number}: remove {} to search again",
                other.trial,
                shown.display()
            )));
        }
        before.push(outcome);
    }
    let mut outcomes = Vec::new();
    for number in 0..count {
        outcomes.extend(read(&folder, number)?);
    }
    if outcomes.len() < count {
        say(format_args!("{} of {count} trials are there; other shards have the rest", outcomes.len()));
        return Ok(());
    }
    finish(&outcomes, &pipeline.name, &folder, &shown)
}

/// Table, page and the best values.
fn finish(outcomes: &[Outcome], name: &str, folder: &Folder, shown: &Path) -> Result<()> {
    folder.put(REPORT, search_html(outcomes, name)?.into_bytes())?;
    let best = ranked(outcomes).into_iter().find(|outcome| outcome.failed.is_none());
    let Some(best) = best else { return Err(Error::failed("every trial failed")) };
    say_with(search_table(outcomes), json!({ "trials": outcomes.len(), "best": best.trial, "values": best.values }));
    say(format_args!("table and picture: {}", shown.join(REPORT).display()));
    if best.values.is_empty() {
        say("no trial was better than the pipeline as it is");
        return Ok(());
    }
    say("the best values, for the pipeline file:");
    best.values.iter().try_for_each(|(field, value)| print(format_args!("{field}: {value}")))
}

/// The rows of the source, and the values that they depend on.
type Shared = Option<(Vec<(String, String)>, Captured)>;

/// Trains a trial. The source is read again where the trial needs other columns than the one before it.
fn one(
    arguments: &SearchArgs,
    search: &Search,
    number: usize,
    before: &[Outcome],
    shared: &mut Shared,
) -> Result<Outcome> {
    let tried = search.trial(number);
    let pipeline = config::load_trial(&arguments.pipeline, &tried)?;
    let plan = runtime::plan(pipeline, Purpose::Train)?;
    let Some(training) = &plan.train else {
        return Err(Error::refused("a search needs a `train` section and an `infer` stage"));
    };
    // A trial is judged by the network of all keys.
    let training = &Plan { per: None, ..training.clone() };
    let values: Vec<(String, String)> = tried.iter().map(|tried| (tried.field.clone(), tried.value.clone())).collect();
    let words: Vec<String> = values.iter().map(|(field, value)| format!("{field}: {value}")).collect();
    let words = if words.is_empty() { "the pipeline as it is".to_string() } else { words.join(", ") };
    tracing::info!("trial {number} of {}: {words}", search.trials);
    let columns: Vec<(String, String)> = of_columns(&values).cloned().collect();
    let captured = match shared.take().filter(|(of, _)| *of == columns) {
        Some((_, captured)) => captured,
        // The rows before it are gone by now: they may take half of the memory.
        None => train::capture(&plan, training)?,
    };
    let (_, captured) = shared.insert((columns, captured));
    let blank = Outcome {
        trial: number,
        values,
        data: String::new(),
        parameters: 0,
        looks: Vec::new(),
        hopeless: false,
        failed: None,
    };
    let outcome = trial(&captured.series, training, before, blank, &mut |_| {})?;
    match (outcome.best(), &outcome.failed) {
        (Some((updates, loss)), _) => {
            let ended = if outcome.hopeless { ", ended early: above the median" } else { "" };
            tracing::info!("trial {number}: validation loss {loss:.4} after {}{ended}", counted(updates, "update"));
        }
        (None, why) => tracing::warn!("trial {number} failed: {}", why.as_deref().unwrap_or("no look at validation")),
    }
    Ok(outcome)
}

/// Makes the folder this search's, or refuses that of another one.
fn claim(folder: &Folder, search: &Search, shown: &Path) -> Result<()> {
    let own = format!("{}\n", search.canonical());
    if folder.create(SEARCH, own.clone().into_bytes())? {
        return Ok(());
    }
    match folder.get(SEARCH)? {
        Some(bytes) if bytes == own.as_bytes() => Ok(()),
        _ => Err(Error::refused(format!(
            "{} holds the trials of another search: remove it, or name another folder by --results",
            shown.display()
        ))),
    }
}

/// The values that the columns of the training's data depend on.
fn inputs(outcome: &Outcome) -> Vec<&(String, String)> {
    of_columns(&outcome.values).collect()
}

fn of_columns(values: &[(String, String)]) -> impl Iterator<Item = &(String, String)> {
    const COLUMNS: [&str; 6] =
        ["train.inputs", "train.skip", "train.lags", "train.known_ahead", "train.embeddings", "train.per"];
    values.iter().filter(|(field, _)| COLUMNS.iter().any(|columns| field.starts_with(columns)))
}

fn file(number: usize) -> String {
    format!("trial-{number:05}.json")
}

fn read(folder: &Folder, number: usize) -> Result<Option<Outcome>> {
    let name = file(number);
    let Some(bytes) = folder.get(&name)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).or_refused(|| format!("read {name} of the search"))
}
