//! Whole runs of the binary against a real Kafka, which `make test` starts.
//!
//! Every test has topics and groups of its own, so that tests run side by side; one that stops its broker has a broker
//! of its own. What a reader of committed messages finds is held against what the same binary makes of the same records
//! in a Parquet file, bit by bit.

mod adopt;
mod bounded;
mod broker;
mod chaos;
mod clients;
mod cluster;
mod debezium;
mod enveloped;
mod features;
mod foreign;
pub mod front;
mod grouped;
mod history;
mod inputs;
mod markers;
mod membership;
mod metadata;
mod outage;
mod partitioned;
mod process;
mod protocol;
mod proxy;
mod records;
mod recreated;
mod refusals;
mod refused;
mod registered;
mod registry;
mod restarts;
mod rights;
mod sample;
mod schemas;
mod scored;
mod secrets;
mod secure;
mod sequences;
mod several;
mod stalled;
mod stamps;
mod swap;
mod torn;
mod trained;
mod values;
mod wire;
