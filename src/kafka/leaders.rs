//! Who leads the partitions of a topic, for a client that asks about them without reading them.
//!
//! Such a question goes to whoever led the partition when the client last heard of the topic. If there was no leader,
//! or the client no longer knows that broker, librdkafka (2.12) refuses the question at once ("unknown partition"); if
//! the broker is down or frozen, the question waits there. In neither case is anybody asked who leads the partition
//! now: that is done for what the client reads, and else at the next refresh, which may be minutes away. A member of a
//! group that was given a partition while a broker died, and has yet to ask where it begins, would wait for as long,
//! and the group would wait for it. So a question without an answer is followed by one for the topic.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// Asks for the leaders of a topic's partitions. False: no broker answers in time.
pub(super) fn look_again<C: ConsumerContext>(client: &BaseConsumer<C>, topic: &str, timeout: Duration) -> bool {
    match client.fetch_metadata(Some(topic), timeout) {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(topic, %error, "no answer who leads its partitions");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCoordinator;

    use super::*;
    use crate::kafka::broker::LogRange;
    use crate::kafka::context::Group;
    use crate::kafka::questions::Questions;
    use crate::kafka::subscription::Subscription;

    const SHORT: Duration = Duration::from_millis(250);
    const LONG: Duration = Duration::from_secs(60);
    /// Until then the client has asked what it asks by itself after a connection came or went.
    const SETTLED: Duration = Duration::from_millis(1500);

    /// Another broker leads a partition than the one of which a member of the group last heard, which is gone: the
    /// question has to be answered all the same.
    fn is_answered(is: impl Fn(&Questions, &BaseConsumer<Group>) -> bool) {
        let topic = Arc::new(Subscription::to_one("t"));
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", "3").set("enable.sparse.connections", "false").set("group.id", "g");
        let consumer: BaseConsumer<Group> = config.create_with_context(Group::new(topic.clone())).unwrap();
        let cluster = consumer.client().mock_cluster().unwrap();
        cluster.create_topic("t", 1, 3).unwrap();
        cluster.partition_leader("t", 0, Some(1)).unwrap();
        cluster.coordinator(MockCoordinator::Group("g".into()), 2).unwrap();
        eventually(|| consumer.fetch_watermarks("t", 0, SHORT).is_ok());
        std::thread::sleep(SETTLED);
        cluster.broker_down(1).unwrap();
        eventually(|| consumer.fetch_watermarks("t", 0, SHORT).is_err());
        std::thread::sleep(SETTLED);
        cluster.partition_leader("t", 0, Some(2)).unwrap();
        let questions = Questions::new(topic, "g".into());
        eventually(|| is(&questions, &consumer));
    }

    fn eventually(is: impl Fn() -> bool) {
        let until = Instant::now() + LONG;
        while !is() {
            assert!(Instant::now() < until, "not within {LONG:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn where_a_partition_begins_and_ends_is_asked_of_its_new_leader() {
        let empty = Some(LogRange { start: 0, end: 0 });
        is_answered(|questions, consumer| questions.range(consumer, 0.into(), SHORT).unwrap() == empty);
    }

    #[test]
    fn the_ends_of_partitions_are_asked_of_their_new_leaders() {
        is_answered(|questions, consumer| questions.ends(consumer, &[0.into()], SHORT).unwrap() == Some(vec![0]));
    }

    #[test]
    fn the_offset_of_a_time_is_asked_of_the_new_leader() {
        is_answered(|questions, consumer| questions.offset_at(consumer, 0.into(), 1, SHORT).unwrap() == Some(0));
    }
}
