//! Tests of the chain: order, places of problems, the canonical form, and the laws of all stages together.

use serde_json::json;

use super::plan::{PlannedStages, Step, before_infer, chain, describe, from_source, steps};
use super::testing::{self, Table};
use crate::Result;
use crate::config::{self, *};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Features, Forecast, Kind, Layout, Role, Values};
use crate::stage::{self, Build, Operator};
use crate::state::State;
use crate::zone::Zone;

fn at<T>(value: T) -> At<T> {
    At::default_value(value)
}

/// Each stage is on a separate line, from 10.
fn on_line(line: usize, stage: Stage) -> At<Stage> {
    At { value: stage, place: Place::new(10 + line, 5) }
}

fn pipeline(null: OnNull, stages: Vec<Stage>) -> Pipeline {
    let here = |path: &str| at(Location(path.into()));
    Pipeline {
        written: Default::default(),
        file: "p.yaml".into(),
        name: at("p".into()),
        source: Source { input: Input::Parquet(here("in.parquet").into()), from: None, until: None, emit_from: None },
        record: Record {
            key: Key::Single,
            time: at(TimeColumn { column: "time".into(), unit: None, timezone: None }),
            values: vec![at("value".into())],
            vectors: Vec::new(),
            sequence: None,
        },
        on: Policies { null, ..Policies::default() },
        dead_letters: at(DeadLetters::Parquet(here("dead"))),
        stages: stages.into_iter().enumerate().map(|(line, stage)| on_line(line, stage)).collect(),
        sink: None,
        state: config::State {
            path: here("state"),
            checkpoint_every: std::time::Duration::from_secs(30),
            or_records: 1,
            partitions: 16,
        },
        metric_labels: Vec::new(),
        runtime: Runtime { batch: 1, ..Runtime::default() },
        models: at("models".into()),
        public_keys: Vec::new(),
        train: None,
        search: None,
    }
}

fn seconds(n: i64) -> Span {
    Span::Nanos(n * 1_000_000_000)
}

fn filter(predicate: &str) -> Stage {
    Stage::Filter(Filter { predicate: at(predicate.into()) })
}

fn resample() -> Stage {
    Stage::Resample(Resample {
        every: at(seconds(2)),
        aggregate: Aggregate::Mean,
        fill: at(Fill::Null),
        max_gap: Some(at(seconds(6))),
        delay: at(seconds(3)),
        timezone: None,
    })
}

fn calendar() -> Stage {
    Stage::Calendar(Calendar {
        features: vec![at(CalendarFeature::Minute)],
        timezone: at(Zone::find("Europe/Kyiv").unwrap().unwrap()),
    })
}

fn scale(column: &str) -> Stage {
    Stage::Scale(Scale { values: vec![at(column.into())], half_life: at(seconds(90)), min_count: 2, log: false })
}

fn lags(column: &str) -> Stage {
    Stage::Lags(Lags { columns: vec![(at(column.into()), vec![1, 3])] })
}

fn infer() -> Stage {
    Stage::Infer(Infer {
        model: at("m".into()),
        mode: Mode::Carry,
        window: None,
        max_length: At::default_value(1024),
        beam: None,
        max_tokens: None,
        ttl: None,
        gap: None,
    })
}

fn score() -> Stage {
    Stage::Score(Score {
        actual: at(String::new()),
        step: at(1),
        tail: 0.01,
        long: 8,
        short: 2,
        quiet: 3,
        ..Score::default()
    })
}

/// Stands where `infer` would: predicts that the value stays.
#[derive(Clone)]
struct Last;

impl Operator for Last {
    fn word(&self) -> &'static str {
        "infer"
    }

    fn canonical(&self, _clock: &Clock) -> Option<serde_json::Value> {
        None
    }

    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        if !layout.forecasts.is_empty() {
            problems.add(place, "a pipeline has one infer stage, this is the second");
            return None;
        }
        let column = layout.add("prediction", Kind::Vector(1), Role::Output);
        let interval = layout.add("interval_ticks", Kind::Integer, Role::Internal);
        layout.features = Some(Features { x: vec![0], usable: 0, restart: 0, interval, rhythm: interval });
        layout.forecasts.push(Forecast { targets: vec!["value".into()], horizon: 1, quantiles: 0, column });
        Some(Box::new(Last))
    }

    fn is_needed(&self) -> bool {
        true
    }
}

impl stage::Stage for Last {
    fn name(&self) -> &'static str {
        "infer"
    }

    fn process(&mut self, batch: &mut Batch, _state: &mut State<'_>) -> Result<()> {
        let last = batch.columns[0].numbers().iter().map(|value| *value as f32).collect();
        batch.columns.push(Values::Vector(last, 1).into());
        batch.columns.push(Values::Integer(vec![1; batch.rows()]).into());
        Ok(())
    }
}

/// The steps of a pipeline with [`Last`] as its model.
fn with_last(pipeline: &Pipeline) -> Vec<Step<'_>> {
    let mut steps = steps(pipeline, None);
    for step in steps.iter_mut().filter(|step| step.operator.word() == "infer") {
        step.operator = Box::new(Last);
    }
    steps
}

fn planned(steps: &[Step<'_>], layout: Layout) -> (PlannedStages, Result<()>) {
    let mut problems = Problems::new("p.yaml");
    let chain = chain(steps, layout, &mut problems);
    (chain, problems.finish(()))
}

fn names(chain: &PlannedStages) -> Vec<&'static str> {
    chain.build(&mut Problems::default()).iter().map(|stage| stage.name()).collect()
}

#[test]
fn null_comes_behind_resample_or_first() {
    let layout = || Table::new(&["value"]).layout();
    let all = || vec![filter("value > 0"), resample(), calendar(), scale("value"), lags("value"), infer(), score()];
    let (chain, result) = planned(&with_last(&pipeline(OnNull::Carry, all())), layout());
    result.unwrap();
    assert_eq!(names(&chain), ["filter", "resample", "nulls", "calendar", "scale", "lags", "infer", "score"]);
    let (chain, _) = planned(&before_infer(&pipeline(OnNull::Refuse, all())), layout());
    assert_eq!(names(&chain), ["nulls", "filter", "resample", "calendar", "scale", "lags"]);
    let (chain, _) = planned(&before_infer(&pipeline(OnNull::Reset, vec![filter("value > 0")])), layout());
    assert_eq!(names(&chain), ["nulls", "filter"]);
    assert_eq!(chain.layout.restart, Some(1));
}

#[test]
fn the_layout_says_what_comes_out() {
    let stages = vec![resample(), calendar(), scale("value"), lags("value"), infer(), score()];
    let (chain, result) = planned(&with_last(&pipeline(OnNull::Carry, stages)), Table::new(&["value"]).layout());
    result.unwrap();
    let before = ["value", "observed", "age", "minute_sin", "minute_cos", "value_lag_1", "value_lag_3"];
    assert_eq!(chain.layout.names().take(before.len()).collect::<Vec<_>>(), before);
    let behind: Vec<&str> = chain.layout.names().skip(before.len()).collect();
    assert_eq!(behind, ["prediction", "residual", "residual_sd", "tail", "alert"]);
    let lag = chain.layout.find("value_lag_3").unwrap();
    assert_eq!(chain.layout.columns[lag].scaled_by, chain.layout.columns[0].scaled_by);
    assert!(chain.layout.columns[0].scaled_by.is_some());
    // The order of scale and lags makes no difference to what scales a lag.
    let stages = vec![lags("value"), scale("value")];
    let (chain, _) = planned(&with_last(&pipeline(OnNull::Carry, stages)), Table::new(&["value"]).layout());
    assert_eq!(chain.layout.columns[1].scaled_by, Some((3, 4)));
}

#[test]
fn a_column_comes_from_the_source_where_no_stage_before_makes_it() {
    let wanted = |stages: Vec<Stage>, after: &[&str]| -> Vec<String> {
        let after: Vec<At<String>> = after.iter().map(|name| at(name.to_string())).collect();
        let pipeline = pipeline(OnNull::Carry, stages);
        from_source(&steps(&pipeline, None), &after).into_iter().map(|column| column.value).collect()
    };
    let again = "age > 1 and observed and minute_sin > 0 and value_lag_1 > 0";
    assert_eq!(
        wanted(vec![filter(again), resample(), calendar(), lags("value"), filter(again)], &["age", "shop"]),
        ["age", "observed", "minute_sin", "value_lag_1", "shop"]
    );
    let again = "alert or tail > 0 or residual is null or residual_sd > 0 or prediction > 0";
    let names = ["alert", "tail", "residual", "residual_sd", "prediction"];
    assert_eq!(wanted(vec![filter(again), infer(), score(), filter(again)], &["warm_up", "alert"]), names);
}

#[test]
fn a_column_of_the_source_is_hidden_by_one_that_is_made() {
    let mut layout = Table::new(&["value"]).layout();
    layout.add("alert", Kind::Flag, Role::Field);
    let pipeline = pipeline(OnNull::Carry, vec![filter("alert"), infer(), score(), filter("alert")]);
    let (chain, result) = planned(&with_last(&pipeline), layout);
    result.unwrap();
    let alerts: Vec<Role> = chain.layout.columns.iter().filter(|c| c.name == "alert").map(|c| c.role).collect();
    assert_eq!(alerts, [Role::Internal, Role::Output]);
}

#[test]
fn all_problems_at_once_each_at_its_place() {
    let stages = vec![
        calendar(),
        score(),
        resample(),
        filter("minute_sin > 0"),
        filter("valu > 0"),
        lags("valu"),
        scale("minute_cos"),
        infer(),
        resample(),
        infer(),
    ];
    let (_, result) = planned(&with_last(&pipeline(OnNull::Carry, stages)), Table::new(&["value"]).layout());
    let text = result.unwrap_err().to_string();
    for part in [
        "p.yaml:11:5: score needs an infer stage before it",
        "column \"minute_sin\" does not exist after resample",
        "column \"minute_cos\" does not exist after resample",
        "where, character 1: there is no column \"valu\" here (there are: value, observed, age), did you mean \"value\"?",
        "p.yaml:18:5: resample must come before infer",
        "one infer stage, this is the second",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert_eq!(text.lines().count(), 7, "{text}");
}

#[test]
fn described_in_one_canonical_form() {
    let mut written =
        pipeline(OnNull::Skip, vec![resample(), calendar(), scale("value"), lags("value"), infer(), score()]);
    let described = describe(&written, &Table::new(&[]).layout().clock);
    assert_eq!(
        json!(described),
        json!([
            {"resample": {"every": "2s", "aggregate": "mean", "fill": "null", "max_gap": "6s", "delay": "3s"}},
            {"null": "skip"},
            {"calendar": {"features": ["minute"], "timezone": "Europe/Kyiv"}},
            {"scale": {"values": ["value"], "half_life": "90s", "min_count": 2}},
            {"lags": [["value", [1, 3]]]},
        ])
    );
    // After infer nothing counts; before it everything does.
    written.stages.truncate(5);
    assert_eq!(describe(&written, &Table::new(&[]).layout().clock), described);
    written.on.null = OnNull::Carry;
    assert_ne!(describe(&written, &Table::new(&[]).layout().clock), described);
    written.stages = vec![on_line(0, filter(" value > 0 "))];
    assert_eq!(
        json!(describe(&written, &Table::new(&[]).layout().clock)),
        json!([{"null": "carry"}, {"filter": {"where": "value > 0"}}])
    );
}

#[test]
fn bits_of_the_whole_chain_do_not_depend_on_batches_or_interleaving() {
    for (null, resampled) in
        [(OnNull::Carry, true), (OnNull::Skip, true), (OnNull::Reset, false), (OnNull::Refuse, true)]
    {
        testing::laws(&["value", "other"], 150, |layout, problems| {
            let mut stages = vec![filter("value > -15 or other > 0")];
            stages.extend(resampled.then(resample));
            stages.extend([calendar(), scale("value"), lags("value"), lags("other"), infer(), score()]);
            let taken = std::mem::replace(layout, Table::new(&[]).layout());
            let pipeline = pipeline(null, stages);
            let chain = chain(&with_last(&pipeline), taken, problems);
            let stages = chain.build(problems);
            *layout = chain.layout;
            stages
        });
    }
}
