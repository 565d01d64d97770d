//! `kolk size`: what a pipeline needs at a rate and a number of keys.
//!
//! Lives here: the arguments. What is printed is in `text` (for people) and `json`. Must not live here: what is
//! measured and computed (`runtime::size`).

mod json;
mod quantity;
mod text;

use std::path::PathBuf;

use clap::Args;

use crate::runtime::size::{Assumed, Costs, Limit, Need, Rate, Settings, Wanted, limits, measure};
use crate::runtime::{self, Purpose, size};
use crate::{Error, Result, config};
use quantity::{bytes, number, seconds};

/// Rates for which there is an answer where none is given.
const RATES: [f64; 4] = [1e4, 1e5, 1e6, 1e7];
/// Keys for each message a second, where they aren't given.
const KEYS: f64 = 100.0;

/// Bytes of a made-up message at most.
const LONGEST: usize = 4_000_000;

/// `kolk size P`
#[derive(Debug, Clone, Args)]
pub struct SizeArgs {
    /// The pipeline file
    pub pipeline: PathBuf,
    /// Messages a second, such as 50000, 50k or 1M (default: a table from 10k to 10M)
    #[arg(long, value_name = "N", value_parser = number)]
    pub events: Option<f64>,
    /// Keys that have state (default: 100 for each message a second)
    #[arg(long, value_name = "N", value_parser = number)]
    pub keys: Option<f64>,
    /// Those of them that have messages; they get the same number each (default: all)
    #[arg(long, value_name = "N", value_parser = number)]
    pub active_keys: Option<f64>,
    /// How long the restore of a pod that restarts may take
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "5m")]
    pub restore: f64,
    /// CPU cores of a pod
    #[arg(long, value_name = "N", value_parser = number, default_value = "2")]
    pub cores: f64,
    /// Memory of a pod, such as 8Gi
    #[arg(long, value_name = "BYTES", value_parser = bytes, default_value = "8Gi")]
    pub memory: f64,
    /// Percentage of a pod's CPU that is used at this rate; the rest is for peaks and for catching up
    #[arg(long, value_name = "PERCENT", value_parser = number, default_value = "60")]
    pub load: f64,
    /// There are partitions for N times the workers: room to grow
    #[arg(long, value_name = "N", value_parser = number, default_value = "2")]
    pub growth: f64,
    /// Megabytes a second that the store of the state gives and takes, per pod
    #[arg(long, value_name = "MB", value_parser = number, default_value = "100")]
    pub store_mb_per_s: f64,
    /// Megabytes a second that a broker takes, copies of other brokers included
    #[arg(long, value_name = "MB", value_parser = number, default_value = "100")]
    pub broker_mb_per_s: f64,
    /// Megabytes a second that a partition takes
    #[arg(long, value_name = "MB", value_parser = number, default_value = "10")]
    pub partition_mb_per_s: f64,
    /// Measure with these messages: JSON, one a line (default: made-up ones)
    #[arg(long, value_name = "FILE", conflicts_with = "sample")]
    pub data: Option<PathBuf>,
    /// Measure with the last messages of the topic
    #[arg(long)]
    pub sample: bool,
    /// Bytes of a made-up message's payload, 4000000 at most
    #[arg(long, value_name = "N", conflicts_with_all = ["sample", "data"])]
    pub record_bytes: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is needed, and what breaks first.
type Answer = (Need, Vec<Limit>);

/// Everything that is printed.
struct Report {
    pipeline: String,
    costs: Costs,
    assumed: Assumed,
    /// For each rate its answer; `None`: no number of pods is enough.
    answers: Vec<(Rate, Option<Answer>)>,
    kafka: bool,
}

/// Measures, computes, prints.
///
/// # Errors
/// Refused: a pipeline that `run` would refuse, or that can't be measured; numbers that mean nothing.
pub fn run(args: &SizeArgs) -> Result<()> {
    let rates = rates(args)?;
    let assumed = assumed(args)?;
    let pipeline = config::load(&args.pipeline)?;
    let plan = match args.sample {
        true => runtime::plan(pipeline, Purpose::Run)?,
        false => runtime::plan_unasked(pipeline)?,
    };
    let settings = Settings::of(&plan.pipeline);
    let assumed = Assumed { session: Settings::session(&plan.pipeline).unwrap_or(assumed.session), ..assumed };
    let most = rates.iter().map(|rate| rate.keys).fold(0.0, f64::max);
    let every = rates.iter().map(|rate| rate.active / rate.events).fold(0.0, f64::max);
    let sample = size::Asked { data: args.data.as_deref(), topic: args.sample, record_bytes: args.record_bytes };
    let bar = super::progress::doing();
    let costs = measure(&plan, &Wanted { sample, keys: most as u64, every }, &|what| bar.set_message(what.to_string()));
    bar.finish_and_clear();
    let costs = costs?;
    let answers = rates
        .into_iter()
        .map(|rate| {
            let need = Need::of(&costs, rate, &assumed, &settings);
            let with_limits = |need: Need| {
                let limits = limits(&need, &costs, &assumed, &settings);
                (need, limits)
            };
            (rate, need.map(with_limits))
        })
        .collect();
    let kafka = settings.from_topic || settings.to_topic;
    let report = Report { pipeline: plan.pipeline.name.value.clone(), costs, assumed, answers, kafka };
    match args.json {
        true => super::print(format_args!("{:#}", json::of(&report))),
        false => super::print(text::of(&report).trim_end()),
    }
}

fn rates(args: &SizeArgs) -> Result<Vec<Rate>> {
    let rate = |events: f64| {
        let keys = args.keys.unwrap_or(events * KEYS);
        Rate { events, keys, active: args.active_keys.unwrap_or(keys) }
    };
    let rates: Vec<Rate> = match args.events {
        Some(events) => vec![rate(events)],
        None => RATES.into_iter().map(rate).collect(),
    };
    if rates.iter().any(|rate| rate.events < 1.0 || rate.keys < 1.0 || rate.active < 1.0) {
        return Err(Error::refused("--events, --keys and --active-keys must be at least 1"));
    }
    if let Some(rate) = rates.iter().find(|rate| rate.active > rate.keys) {
        return Err(Error::refused(format!(
            "--active-keys {} is more than --keys {}: a key that has messages has state",
            rate.active, rate.keys
        )));
    }
    Ok(rates)
}

fn assumed(args: &SizeArgs) -> Result<Assumed> {
    let positive = [
        ("--restore", args.restore),
        ("--cores", args.cores),
        ("--memory", args.memory),
        ("--load", args.load),
        ("--store-mb-per-s", args.store_mb_per_s),
        ("--broker-mb-per-s", args.broker_mb_per_s),
        ("--partition-mb-per-s", args.partition_mb_per_s),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, value)| *value <= 0.0) {
        return Err(Error::refused(format!("{name} must be more than 0")));
    }
    if args.load > 100.0 || args.growth < 1.0 {
        return Err(Error::refused("--load is a percentage and must be at most 100, --growth must be at least 1"));
    }
    if args.record_bytes.is_some_and(|bytes| bytes > LONGEST) {
        return Err(Error::refused(format!("--record-bytes must be at most {LONGEST}")));
    }
    Ok(Assumed {
        cores: args.cores,
        memory: args.memory,
        load: args.load / 100.0,
        growth: args.growth,
        restore: args.restore,
        store_rate: args.store_mb_per_s * 1e6,
        broker_rate: args.broker_mb_per_s * 1e6,
        partition_rate: args.partition_mb_per_s * 1e6,
        ..Assumed::default()
    })
}

/// Cores and model of this machine.
fn machine() -> (usize, String) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    (cores, model.map_or("unknown", |(_, model)| model.trim()).to_string())
}
