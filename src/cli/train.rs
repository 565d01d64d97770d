//! `kolk train`: capture, train, evaluate, export, check, publish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;

use super::messages::{say, say_with};
use super::{TrainArgs, print, progress};
use crate::error::counted;
use crate::model::executor::library;
use crate::model::registry;
use crate::runtime::{self, Captured, Plan, PlannedSource, Purpose, Wanted};
use crate::train::{self, Event, Keep, Looked, Phase, Progress, Series, Trained};
use crate::{Error, Result, config, http};

/// Without a terminal, a line is logged at least this often.
const QUIET: Duration = Duration::from_secs(15);

/// Trains the model that the pipeline's `infer` stage names; prints the label of the version it published.
///
/// # Errors
/// Those of [`runtime::plan`] and [`train::train`]; a registry that can't be written; an export that doesn't compute
/// what was trained.
pub fn run(arguments: &TrainArgs) -> Result<()> {
    let pipeline = config::load(&arguments.pipeline)?;
    library::library()?;
    let http = arguments.http.over(pipeline.runtime.http.as_ref().map(|at| &at.value));
    let mut plan = runtime::plan(pipeline, Purpose::Train)?;
    // Before the time of a training is spent.
    let trusted = runtime::trusted(&plan.pipeline)?;
    let key = arguments.publish.key(&trusted)?;
    if let (Some(from), Some(training)) = (&arguments.from, &mut plan.train) {
        training.start_from(&registry::open(&plan.pipeline.models, from, &trusted)?)?;
    }
    let (Some(training), Some(infer)) = (&plan.train, plan.pipeline.infer()) else {
        return Err(Error::refused("training needs a `train` section and an `infer` stage"));
    };
    let health = Arc::new(http::Health::default());
    let server = http::serve(&http, super::versions(), &plan.metrics, &health)?;
    plan.metrics.onnx_runtime(library::version()?);
    let unread = plan.unread_calendar();
    plan.warnings().iter().chain(&unread).for_each(|warning| tracing::warn!("{warning}"));
    health.running();

    plan.source.notes().iter().for_each(|note| tracing::info!("{note}"));
    let mut captured = capture(&plan, training)?;
    captured.series = train::arrange(captured.series, training)?;
    let name = infer.model.split('/').next().unwrap_or_default();
    let mut keep = Keep::new(&plan.pipeline.models, name, arguments.checkpoint_every);
    if arguments.fresh {
        keep.remove()?;
    }
    let trained =
        learn(&captured.series, training, &mut keep).map_err(|error| match (error, lost(&plan, &captured)) {
            (Error::Refused(message), Some(lost)) => Error::refused(format!("{message}; {lost}")),
            (error, _) => error,
        })?;
    kept(&trained).iter().for_each(|kept| tracing::info!("{kept}"));
    for errors in trained.evaluation.validation() {
        tracing::info!("{errors}");
    }
    // Those of the data were logged before it started.
    for warning in trained.warnings.iter().skip(trained.warned) {
        tracing::warn!("{warning}");
    }
    let members = train::report::members_table(&trained);
    let backtest = train::report::backtest_table(&trained);
    let groups = train::report::groups_table(&trained);
    let table = [trained.evaluation.table(), groups.clone(), members.clone(), backtest]
        .into_iter()
        .filter(|text| !text.is_empty());
    let table = table.collect::<Vec<_>>().join("\n");
    let mut values = json!({ "metrics": trained.evaluation.metrics() });
    if !members.is_empty() {
        values["seeds"] = trained
            .members
            .iter()
            .map(|member| {
                json!({ "seed": member.seed,
            "validation_loss": member.validation, "metrics": member.figures })
            })
            .collect();
        values["validation_loss"] = json!(trained.validation);
    }
    if !groups.is_empty() {
        values["groups"] = of_groups(&trained);
    }
    if let Some(backtest) = &trained.backtest {
        values["backtest"] = folds(&trained, backtest);
    }
    say_with(table, values);

    let stages = runtime::stages_of_model(&plan.pipeline, &plan.layout_of_source().clock);
    let tz_database = plan.tz_database();
    let to = train::Destination { models: &plan.pipeline.models, name, stages, tz_database, key: key.as_ref() };
    let version = train::publish(to, &trained, &captured.series, keep.goes_on())?;
    keep.remove()?;
    arguments.publish.promote(&plan.pipeline.models, &version)?;
    let (label, report) = (runtime::label(&version), version.folder.join(registry::REPORT).display().to_string());
    say_with(format_args!("published {label}: {report}"), json!({ "model": label, "report": report }));
    drop(server);
    print(runtime::label(&version))
}

/// Reads the source through the stages before the network.
pub(super) fn capture(plan: &Plan, training: &train::Plan) -> Result<Captured> {
    let split = match plan.pipeline.train.as_ref().map(|train| &train.split.value) {
        Some(config::Split::Column(column)) => Some(column.as_str()),
        _ => None,
    };
    let head = &training.head;
    let (targets, label) = match head.is_text() {
        true => (&[][..], head.columns().first().map(String::as_str)),
        false => (head.columns(), None),
    };
    let texts: Vec<&str> = training.text_columns().collect();
    let wanted = Wanted { targets, label, texts: &texts, weight: head.sample_weight(), split };
    let bar = progress::records(0);
    let read = &plan.metrics.source_rows_read;
    let captured = runtime::capture(plan, wanted, &mut |records, all| {
        bar.set_length(all);
        bar.set_position(records);
        plan.metrics.source_rows.set(i64::try_from(all).unwrap_or(i64::MAX));
        read.inc_by(records.saturating_sub(read.get()));
    })?;
    bar.finish_and_clear();
    let rows: usize = captured.series.iter().map(|series| series.times.len()).sum();
    let keys = captured.series.len();
    say_with(
        format_args!(
            "{} read, {} of {} after the stages",
            counted(captured.records, "record"),
            counted(rows, "row"),
            counted(keys, "key")
        ),
        json!({ "records": captured.records, "rows": rows, "keys": keys, "not_used": captured.rejected }),
    );
    if let Some(lost) = lost(plan, &captured) {
        say(format_args!("not used for training: {lost}"));
    }
    if let PlannedSource::Files(files) = &plan.source
        && let Some(few) = captured.late.judge(captured.records, files.files())?
    {
        tracing::warn!("{few}");
    }
    for twice in captured.series.windows(2).filter(|pair| pair[0].key == pair[1].key).take(1) {
        tracing::warn!("key \"{}\" is in several partitions: each is trained on by itself", twice[0].key);
    }
    Ok(captured)
}

/// What did not become a row, and why.
fn lost(plan: &Plan, captured: &Captured) -> Option<String> {
    let is = |what: fn(&config::Stage) -> bool| plan.pipeline.stages.iter().any(|stage| what(&stage.value));
    let drops = is(|stage| matches!(stage, config::Stage::Filter(_)));
    captured.lost(drops && !is(|stage| matches!(stage, config::Stage::Resample(_))))
}

/// Trains with a progress bar; without a terminal, it logs a line for each tenth of the way, and at least one in a
/// quarter of a minute.
fn learn(series: &[Series], training: &train::Plan, keep: &mut Keep) -> Result<Trained> {
    let mut shown: Option<ProgressBar> = None;
    let (mut logged, mut logged_at) = (0, Instant::now());
    let trained = train::train_kept(series, training, keep, &mut |event: Event| match event {
        Event::Warning(warning) => tracing::warn!("{warning}"),
        Event::Note(note) => tracing::info!("{note}"),
        Event::Looks(..) => {}
        Event::Start(phase, what) => {
            if let Some(bar) = shown.take() {
                bar.finish_and_clear();
            }
            (logged, logged_at) = (0, Instant::now());
            match phase {
                Phase::Refit => tracing::info!("{what}, on all data"),
                Phase::Linear | Phase::Train | Phase::Evaluate => tracing::info!("{what}"),
            }
        }
        Event::Progress(now) => {
            let bar = shown.get_or_insert_with(|| progress::steps(now.of_updates as u64));
            bar.set_length(now.of_updates as u64);
            bar.set_position(now.updates as u64);
            let message = message(&now);
            let tenth = now.updates * 10 / now.of_updates.max(1);
            if bar.is_hidden() && now.looked.is_some() && (tenth > logged || logged_at.elapsed() > QUIET) {
                (logged, logged_at) = (tenth, Instant::now());
                let left = now.left.as_secs();
                tracing::info!(
                    "{message}, update {} of at most {}, at most {left} s left",
                    now.updates,
                    now.of_updates
                );
            }
            bar.set_message(message);
        }
    });
    if let Some(bar) = shown {
        bar.finish_and_clear();
    }
    trained
}

/// The groups of a training.
fn of_groups(trained: &Trained) -> serde_json::Value {
    let group = |group: &train::Group| {
        let own: serde_json::Map<_, _> =
            group.figures.iter().filter_map(|(name, own, _)| Some((name.clone(), json!((*own)?)))).collect();
        let shared: serde_json::Map<_, _> =
            group.figures.iter().map(|(name, _, shared)| (name.clone(), json!(shared))).collect();
        let [train, validation, test] = group.examples;
        json!({ "value": group.value, "keys": group.series.len(), "train": train, "validation": validation,
            "test": test, "own": own, "shared": shared })
    };
    trained.groups.iter().flat_map(|groups| &groups.of).map(group).collect()
}

/// The folds of a backtest.
fn folds(trained: &Trained, backtest: &train::Backtest) -> serde_json::Value {
    let text = |ticks| trained.plan.clock.text(ticks);
    let fold = |fold: &train::Fold| {
        let ((from, to), [train, validation, test]) = (fold.span, fold.examples);
        json!({ "from": text(from), "to": text(to), "train": train, "validation": validation, "test": test,
            "metrics": fold.metrics })
    };
    let folds: Vec<_> = backtest.folds.iter().map(fold).collect();
    json!({ "retrain": backtest.retrain, "folds": folds, "mean": backtest.metrics() })
}

fn message(now: &Progress) -> String {
    let phase = if now.phase == Phase::Refit { "train on all data" } else { "train" };
    let looked = match now.looked {
        Some(Looked { validation: Some(loss), since_best: 0 }) => format!(", validation {loss:.4}, the best so far"),
        Some(Looked { validation: Some(loss), since_best }) => {
            format!(", validation {loss:.4}, the best was {} ago", counted(since_best, "update"))
        }
        _ => String::new(),
    };
    let phase = now.member.map_or_else(|| phase.to_string(), |member| format!("{member}: {phase}"));
    let phase = now.group.map_or_else(|| phase.clone(), |(at, of)| format!("network {} of {of}: {phase}", at + 1));
    let phase = now.fold.map_or_else(|| phase.clone(), |(at, of)| format!("fold {} of {of}: {phase}", at + 1));
    format!("{phase}: epoch {}, loss {:.4}{looked}", now.epoch, now.train_loss)
}

/// Which weights were kept, and why the training ended.
fn kept(trained: &Trained) -> Vec<String> {
    if !trained.members.is_empty() {
        let kept = |member: &train::MemberResult| {
            let (seed, best) = (member.seed, member.best);
            format!("seed {seed}: kept the weights of epoch {}, update {}", best.epoch, best.updates)
        };
        return trained.members.iter().map(kept).collect();
    }
    let last = trained.looks.last().copied().unwrap_or(trained.best);
    let ended = if trained.stopped_early { "validation no longer improved" } else { "the end of its length" };
    let validation = trained.best.validation.map(|loss| format!(", validation loss {loss:.4}")).unwrap_or_default();
    let which = match trained.best.updates {
        0 => "the weights that it began with, since none were better on the validation part".to_string(),
        updates => format!("the weights of epoch {}, update {updates}", trained.best.epoch),
    };
    vec![format!(
        "{}, {} ({ended}); kept {which}{validation}",
        counted(last.updates, "update"),
        counted(last.epoch, "epoch"),
    )]
}
