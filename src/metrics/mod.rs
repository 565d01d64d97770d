//! Every metric by name, in one place.
//!
//! Lives here: what kolk can say about itself while it runs ([`Metrics`]), the names, labels and buckets, and the table
//! of them that `docs/metrics.md` shows. Must not live here: serving them (`http`), and deciding when something is
//! counted: that is where it happens, once per batch, never per record.
//!
//! Names follow Prometheus: base units, `_total` for counters, labels of few values.

mod refusals;
mod stream;
mod table;
mod unsaved;
mod used;
mod waits;

pub use refusals::Refusals;
pub use stream::{Position, Restoring, Stream};
pub use table::Row;
pub use unsaved::Unsaved;
pub use used::{Spent, Used, free_memory, kernel_bytes, resident};
pub use waits::{LONG, Waits};

use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, TextEncoder};

use crate::Result;
use crate::error::Context;
use table::Builder;

/// Rows of a batch: from a single event to the largest micro-batch.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 8.0, 32.0, 128.0, 512.0, 2048.0, 8192.0, 32768.0];
/// One call on a batch: from 10 µs (ONNX Runtime's own overhead at batch 1) to a second.
const CALL_BUCKETS: [f64; 11] = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0];
/// One checkpoint: from a small folder on a fast disk to a large state on an object store.
const CHECKPOINT_BUCKETS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 60.0];

/// All metrics of a process. Share it in an `Arc`; every method takes `&self` and is cheap enough for once a batch.
#[derive(Debug)]
pub struct Metrics {
    registry: prometheus::Registry,
    rows: Vec<Row>,
    /// Rows read from the source so far, those before `emit_from` and those refused included.
    pub source_rows_read: IntCounter,
    /// Rows that the source holds in all, where it knows.
    pub source_rows: IntGauge,
    /// Records that entered the stages.
    pub records_in: IntCounter,
    /// Records older than their key's newest that were processed.
    pub late_records: IntCounter,
    /// Rows that the network can't take.
    pub rows_beyond_model: IntCounter,
    /// Sequences that ended.
    pub sequences: IntCounter,
    /// Sequences that were longer than the network takes.
    pub sequences_dropped: IntCounter,
    /// Transcripts that were cut off.
    pub transcripts_cut: IntCounter,
    /// Rows that were written to the sink.
    pub records_out: IntCounter,
    /// Rows of the batches that the stages process.
    pub batch_rows: Histogram,
    /// Rows of the calls to ONNX Runtime, without padding.
    pub inference_rows: Histogram,
    /// Seconds of the calls to ONNX Runtime.
    pub inference_seconds: Histogram,
    /// Keys that have state.
    pub state_keys: IntGauge,
    /// Bytes of the state rows of all keys.
    pub state_bytes: IntGauge,
    /// Those of a run on Kafka.
    pub stream: Stream,
    /// What was refused, for the log, the summary and readiness.
    pub refusals: Refusals,
    dead_letters: IntCounterVec,
    stage_seconds: HistogramVec,
    stage_removed: IntCounterVec,
    checkpoint_seconds: Histogram,
    checkpoint_bytes: IntGauge,
    checkpoint_age: Gauge,
    model_version: IntGaugeVec,
    build_info: IntGaugeVec,
    ready: IntGauge,
}

/// The metrics of one stage, looked up once at the start.
#[derive(Debug, Clone)]
pub struct StageMetrics {
    /// Seconds of [`crate::stage::Stage::process`] on a batch.
    pub seconds: Histogram,
    /// Rows that came in less rows that went out, where there were fewer.
    pub removed: IntCounter,
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// Fails only if two metrics have one name, which a test rules out.
    pub fn new() -> Result<Metrics> {
        Self::with_labels([])
    }

    /// The same; every metric has these labels. One that has such a label itself keeps its own.
    ///
    /// # Errors
    /// Names that can't be labels.
    pub fn with_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Metrics> {
        let constant = labels.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self::build(Builder { constant, ..Builder::default() }).or_failed(|| "register metrics".to_string())
    }

    /// The same for a source of several topics: what is of a partition has the label `topic` too.
    ///
    /// # Errors
    /// As [`Metrics::with_labels`].
    pub fn of_topics<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Metrics> {
        let constant = labels.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let builder = Builder { constant, several: true, ..Builder::default() };
        Self::build(builder).or_failed(|| "register metrics".to_string())
    }

    /// Whether metrics have a label of their own with this name, so that it can't be one of every metric. The topic of
    /// those that name theirs is that of the others.
    pub fn has_label(&self, name: &str) -> bool {
        name != "topic" && self.rows.iter().any(|row| row.labels.iter().any(|label| label == name))
    }

    fn build(mut b: Builder) -> prometheus::Result<Metrics> {
        Ok(Metrics {
            source_rows_read: b.counter("kolk_source_rows_read_total", "Rows read from the source.")?,
            source_rows: b.gauge("kolk_source_rows", "Rows in the source; 0 if that is unknown.")?,
            records_in: b.counter("kolk_records_in_total", "Records that entered the stages.")?,
            late_records: b.counter(
                "kolk_late_records_total",
                "Records older than their key's newest that were processed, in the order in which they came.",
            )?,
            rows_beyond_model: b.counter(
                "kolk_rows_beyond_model_total",
                "Rows that took no step of the network: a number is none that its input takes, such as an id that a \
                 stage computed.",
            )?,
            sequences: b
                .counter("kolk_sequences_total", "Sequences that ended (`record.sequence`) and have an output.")?,
            sequences_dropped: b.counter(
                "kolk_sequences_dropped_total",
                "Sequences without an output, since they have more records than `max_length`.",
            )?,

            transcripts_cut: b.counter(
                "kolk_transcripts_cut_total",
                "Transcripts in mode carry that reached `max_tokens` and grew no further.",
            )?,
            records_out: b.counter("kolk_records_out_total", "Rows written to the sink.")?,
            dead_letters: b.counters("kolk_dead_letters_total", "Records written to the dead letters.", &["reason"])?,
            refusals: Refusals::default(),
            batch_rows: b.histogram(
                "kolk_batch_rows",
                "Rows of the batches that the stages process.",
                &BATCH_BUCKETS,
            )?,
            stage_seconds: b.histograms(
                "kolk_stage_seconds",
                "Seconds that a stage took for a batch.",
                &["stage"],
                &CALL_BUCKETS,
            )?,
            stage_removed: b.counters(
                "kolk_stage_rows_removed_total",
                "Rows that a stage removed on purpose (filter, resample).",
                &["stage"],
            )?,
            inference_rows: b.histogram(
                "kolk_inference_rows",
                "Rows of the calls to ONNX Runtime, without padding.",
                &BATCH_BUCKETS,
            )?,
            inference_seconds: b.histogram(
                "kolk_inference_seconds",
                "Seconds of the calls to ONNX Runtime.",
                &CALL_BUCKETS,
            )?,
            state_keys: b.gauge("kolk_state_keys", "Keys that have state.")?,
            state_bytes: b.gauge("kolk_state_bytes", "Bytes of the state rows of all keys.")?,
            checkpoint_seconds: b.histogram(
                "kolk_checkpoint_seconds",
                "Seconds from a checkpoint's begin to its commit.",
                &CHECKPOINT_BUCKETS,
            )?,
            checkpoint_bytes: b.gauge("kolk_checkpoint_bytes", "Bytes of the last checkpoint.")?,
            checkpoint_age: b.float_gauge(
                "kolk_checkpoint_age_seconds",
                "Age of the oldest state of any partition that no checkpoint has; 0 if all is saved.",
            )?,
            model_version: b.gauges(
                "kolk_model_version",
                "Active version of a model; if partitions differ, that of the one that changed last.",
                &["model"],
            )?,
            build_info: b.gauges(
                "kolk_build_info",
                "Always 1; the labels are the versions of kolk and of ONNX Runtime.",
                &["version", "onnx_runtime"],
            )?,
            stream: Stream::build(&mut b)?,
            ready: b.gauge("kolk_ready", "1 while /readyz answers 200, else 0.")?,
            registry: b.registry,
            rows: b.rows,
        })
    }

    /// Counts dead letters. `reason` is short and has few different values, as in [`crate::record::Reject`].
    pub fn dead_letters(&self, reason: &str, count: u64) {
        self.dead_letters.with_label_values(&[reason]).inc_by(count);
    }

    /// Dead letters so far with one reason.
    pub fn dead_letters_of(&self, reason: &str) -> u64 {
        self.dead_letters.with_label_values(&[reason]).get()
    }

    /// The metrics of the stage at `index` of the pipeline, labelled by place and word: `2:lags`.
    pub fn stage(&self, index: usize, name: &str) -> StageMetrics {
        let label = format!("{index}:{name}");
        StageMetrics {
            seconds: self.stage_seconds.with_label_values(&[&label]),
            removed: self.stage_removed.with_label_values(&[&label]),
        }
    }

    /// A checkpoint was committed: how long it took, and its bytes.
    pub fn checkpoint(&self, took: Duration, bytes: u64) {
        self.checkpoint_seconds.observe(took.as_secs_f64());
        self.checkpoint_bytes.set(signed(bytes));
    }

    /// The version of a model that runs.
    pub fn model(&self, name: &str, version: u64) {
        self.model_version.with_label_values(&[name]).set(signed(version));
    }

    /// The version of a model that runs, as `name/3`.
    pub fn model_in_force(&self, label: &str) {
        if let Some((name, Ok(version))) = label.split_once('/').map(|(name, number)| (name, number.parse())) {
            self.model(name, version);
        }
    }

    /// The ONNX Runtime that was loaded.
    pub fn onnx_runtime(&self, version: &str) {
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), version]).set(1);
    }

    /// All metrics in Prometheus' text format. `ready` is what `/readyz` would say.
    ///
    /// # Errors
    /// Fails if the encoder does; with metrics of our own making it doesn't.
    pub fn text(&self, ready: bool) -> Result<String> {
        self.ready.set(i64::from(ready));
        self.checkpoint_age.set(self.stream.unsaved.oldest().as_secs_f64());
        TextEncoder::new().encode_to_string(&self.registry.gather()).or_failed(|| "encode metrics".to_string())
    }

    /// Name, kind, labels and meaning of every metric, in the order of this file.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// Gauges are signed; no count of ours comes near the limit.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_exactly_the_metrics_there_are() {
        let metrics = Metrics::new().unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let shown: Vec<&str> = page.lines().filter(|line| line.starts_with("| `kolk_")).collect();
        let there: Vec<String> = metrics.rows().iter().map(Row::markdown).collect();
        assert_eq!(shown, there, "docs/metrics.md must hold these lines:\n{}", there.join("\n"));
    }

    #[test]
    fn names_follow_prometheus() {
        for row in Metrics::new().unwrap().rows() {
            assert!(row.name.starts_with("kolk_"), "{}", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == "counter", "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
            assert!(
                !["_ms", "_millis", "_kb", "_mb", "_count"].iter().any(|end| row.name.ends_with(end)),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn every_metric_has_the_labels_of_the_pipeline() {
        let metrics = Metrics::with_labels([("pipeline", "sales \"eu\""), ("team", "a")]).unwrap();
        metrics.dead_letters("null_time", 2);
        metrics.stage(1, "filter").seconds.observe(0.002);
        metrics.stream.lag(3.into(), 1, 2, 3, None);
        let text = metrics.text(true).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(samples.len() > 40);
        for line in samples {
            assert!(line.contains("pipeline=\"sales \\\"eu\\\"\"") && line.contains("team=\"a\""), "{line}");
        }
        assert!(metrics.has_label("stage") && metrics.has_label("partition") && !metrics.has_label("team"));
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new().unwrap();
        metrics.records_in.inc_by(7);
        metrics.dead_letters("null_time", 2);
        metrics.stage(1, "filter").removed.inc_by(3);
        metrics.stage(1, "filter").seconds.observe(0.002);
        metrics.inference_rows.observe(64.0);
        metrics.checkpoint(Duration::from_millis(20), 4096);
        metrics.model("weather", 3);
        metrics.onnx_runtime("1.31.1");
        let text = metrics.text(true).unwrap();
        for line in [
            "kolk_records_in_total 7",
            "kolk_dead_letters_total{reason=\"null_time\"} 2",
            "kolk_stage_rows_removed_total{stage=\"1:filter\"} 3",
            "kolk_stage_seconds_bucket{stage=\"1:filter\",le=\"0.003\"} 1",
            "kolk_stage_seconds_bucket{stage=\"1:filter\",le=\"0.001\"} 0",
            "kolk_inference_rows_sum 64",
            "kolk_checkpoint_bytes 4096",
            "kolk_model_version{model=\"weather\"} 3",
            concat!("kolk_build_info{onnx_runtime=\"1.31.1\",version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "kolk_ready 1",
            "# TYPE kolk_batch_rows histogram",
        ] {
            assert!(text.lines().any(|shown| shown == line), "no line {line:?} in:\n{text}");
        }
        assert_eq!(metrics.dead_letters_of("null_time"), 2);
        assert!(metrics.text(false).unwrap().contains("\nkolk_ready 0\n"));
    }
}
