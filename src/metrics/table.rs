//! Registers metrics and remembers what they are, so that a test can compare them with the table in `docs/metrics.md`.

use std::collections::HashMap;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// What one metric is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Full name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Label names.
    pub labels: Vec<String>,
    /// Meaning, a sentence.
    pub help: String,
}

impl Row {
    /// The metric's line of the table in `docs/metrics.md`.
    pub fn markdown(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", self.name, self.kind, labels.join(", "), self.help)
    }
}

/// Makes metrics and registers each.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub(super) registry: Registry,
    pub(super) rows: Vec<Row>,
    /// Labels of every metric, with their values.
    pub(super) constant: HashMap<String, String>,
    /// Whether partitions are of several topics.
    pub(super) several: bool,
}

impl Builder {
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(name, "counter", &[], help, IntCounter::with_opts(self.options(name, help, &[]))?)
    }

    pub(super) fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(name, "counter", labels, help, IntCounterVec::new(self.options(name, help, labels), labels)?)
    }

    /// Counters by one label, whose values are known. All begin at zero: a rate sees the first event of a kind only if
    /// there was a zero before.
    pub(super) fn counters_of(
        &mut self,
        name: &str,
        help: &str,
        (label, values): (&str, &[&str]),
    ) -> Result<IntCounterVec> {
        let counters = self.counters(name, help, &[label])?;
        for value in values {
            counters.with_label_values(&[value]);
        }
        Ok(counters)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(name, "gauge", &[], help, IntGauge::with_opts(self.options(name, help, &[]))?)
    }

    pub(super) fn float_gauge(&mut self, name: &str, help: &str) -> Result<Gauge> {
        self.add(name, "gauge", &[], help, Gauge::with_opts(self.options(name, help, &[]))?)
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(name, "gauge", labels, help, IntGaugeVec::new(self.options(name, help, labels), labels)?)
    }

    pub(super) fn float_gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.add(name, "gauge", labels, help, GaugeVec::new(self.options(name, help, labels), labels)?)
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let options = HistogramOpts::from(self.options(name, help, &[])).buckets(buckets.to_vec());
        self.add(name, "histogram", &[], help, Histogram::with_opts(options)?)
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec> {
        let options = HistogramOpts::from(self.options(name, help, labels)).buckets(buckets.to_vec());
        self.add(name, "histogram", labels, help, HistogramVec::new(options, labels)?)
    }

    /// With the labels that every metric has, except those that this one has itself.
    fn options(&self, name: &str, help: &str, labels: &[&str]) -> Opts {
        let constant = self.constant.iter().filter(|(label, _)| !labels.contains(&label.as_str()));
        let constant = constant.map(|(label, value)| (label.clone(), value.clone())).collect();
        Opts::new(name, help).const_labels(constant)
    }

    fn add<M: Collector + Clone + 'static>(
        &mut self,
        name: &str,
        kind: &'static str,
        labels: &[&str],
        help: &str,
        metric: M,
    ) -> Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        let labels = labels.iter().map(ToString::to_string).collect();
        self.rows.push(Row { name: name.to_string(), kind, labels, help: help.to_string() });
        Ok(metric)
    }
}
