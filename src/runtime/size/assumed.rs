//! What isn't measured here: what the machines, the brokers and the store are like. Each can be set.

use std::time::Duration;

use crate::config::{Delivery, Pipeline, Sink};

/// See the module. Rates are bytes a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Assumed {
    /// CPU cores of a pod.
    pub cores: f64,
    /// Bytes of memory that a pod may use.
    pub memory: f64,
    /// Share of the cores that is used at the given rate: the rest is for peaks and for catching up.
    pub load: f64,
    /// How many times as many workers the partitions are for.
    pub growth: f64,
    /// How long a pod's state may take to be there again.
    pub restore: f64,
    /// What the store of the state gives and takes, per pod.
    pub store_rate: f64,
    /// What a broker takes: from producers and from other brokers.
    pub broker_rate: f64,
    /// What a partition takes.
    pub partition_rate: f64,
    /// Copies of a partition.
    pub replicas: f64,
    /// Copies of partitions that a broker holds.
    pub broker_partitions: f64,
    /// Markers of transactions that a broker writes a second.
    pub broker_markers: f64,
    /// Members of a group.
    pub members: f64,
    /// Seconds that a commit takes.
    pub commit: f64,
    /// Seconds until the group notices that a member is gone.
    pub session: f64,
}

impl Default for Assumed {
    fn default() -> Self {
        Assumed {
            cores: 2.0,
            memory: 8e9,
            load: 0.6,
            growth: 2.0,
            restore: 300.0,
            store_rate: 100e6,
            broker_rate: 100e6,
            partition_rate: 10e6,
            replicas: 3.0,
            broker_partitions: 4000.0,
            broker_markers: 5000.0,
            members: 1000.0,
            commit: 0.015,
            session: 45.0,
        }
    }
}

/// What the pipeline file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Seconds between commits.
    pub commit_every: f64,
    /// Seconds that a batch waits to fill.
    pub linger: f64,
    /// Seconds between checkpoints.
    pub checkpoint_every: f64,
    /// Records of a partition after which one is due too.
    pub or_records: f64,
    /// Whether the source is a topic.
    pub from_topic: bool,
    /// Whether the sink is.
    pub to_topic: bool,
    /// Whether it commits transactions.
    pub transactions: bool,
}

impl Settings {
    /// Of a pipeline.
    pub fn of(pipeline: &Pipeline) -> Settings {
        let (state, runtime) = (&pipeline.state, &pipeline.runtime);
        let seconds = |time: Duration| time.as_secs_f64();
        let to_topic = matches!(pipeline.sink.as_deref(), Some(Sink::Kafka(_)));
        Settings {
            commit_every: seconds(runtime.commit_every).max(0.001),
            linger: seconds(runtime.linger),
            checkpoint_every: seconds(state.checkpoint_every).max(0.1),
            or_records: state.or_records as f64,
            from_topic: pipeline.source.kafka().is_some(),
            to_topic,
            transactions: to_topic && runtime.delivery.value == Delivery::ExactlyOnce,
        }
    }

    /// Seconds until the group notices that a member is gone, where the pipeline says it.
    pub fn session(pipeline: &Pipeline) -> Option<f64> {
        let set = pipeline.source.kafka()?.properties.get("session.timeout.ms")?;
        set.reveal().parse::<f64>().ok().map(|millis| millis / 1000.0)
    }
}
