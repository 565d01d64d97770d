//! The lag of a process: asks the brokers for the ends of its partitions, in its own thread.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::Door;
use super::leaders;
use super::properties;
use super::subscription::{Subscription, number};
use crate::config::KafkaSource;
use crate::metrics::Metrics;
use crate::{Error, Result};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks in a row without an answer after which other clients ask: these may have lost their brokers for good (see
/// [`super::hearing`]).
const FAILURES: u32 = 3;

/// Sets the metrics of lag until `stop` says so.
///
/// # Errors
/// Properties that librdkafka doesn't take.
pub fn watch(source: &KafkaSource, topics: &Subscription, metrics: &Metrics, stop: &dyn Fn() -> bool) -> Result<()> {
    let client = |isolation: &str| -> Result<BaseConsumer<Door>> {
        let mut config = properties::asking(&source.brokers, &source.properties);
        config.set("isolation.level", isolation);
        config.create_with_context(Door::default()).map_err(properties::refused)
    };
    let clients = || Ok::<_, Error>([client("read_uncommitted")?, client("read_committed")?]);
    let mut asked = clients()?;
    let (mut next, mut failures) = (Instant::now(), 0);
    while !stop() {
        std::thread::sleep(Duration::from_millis(100));
        if Instant::now() < next {
            continue;
        }
        next = Instant::now() + EVERY;
        let mut failed = false;
        for (partition, position) in metrics.stream.positions() {
            let (topic, number) = (topics.topic_of(partition), number(partition));
            let ends = asked.each_ref().map(|client| client.fetch_watermarks(topic, number, PATIENCE));
            let [Ok((_, end)), Ok((_, stable))] = ends else {
                // The gauges keep their values; whether a broker answers is a separate metric. Others may lead it now.
                failed = true;
                asked.iter().all(|client| leaders::look_again(client, topic, PATIENCE));
                break;
            };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
            metrics.stream.lag(partition, position.committed, stable, end, position.newest.map(|newest| now - newest));
        }
        failures = if failed { failures + 1 } else { 0 };
        if failures >= FAILURES {
            (asked, failures) = (clients()?, 0);
        }
    }
    Ok(())
}
