//! Why a member of a group has no partitions: other consumers in it, a rebalance that doesn't end, or no reason to
//! worry.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::broker::NO_BROKER;
use super::context::Group;
use super::describe::{self, Members, State};
use super::subscription::Subscription;
use crate::Error;
use crate::config::GroupProtocol;
use crate::error::counted;

/// How kolk's consumers share partitions.
pub(super) const ASSIGNOR: &str = "cooperative-sticky";

/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A rebalance that takes longer is worth a word.
const LONG: Duration = Duration::from_secs(10);

impl Members {
    /// What keeps a consumer of kolk's out of a group, or may do so, with what to do.
    pub fn keep_out(&self, group: &str, protocol: GroupProtocol) -> Option<String> {
        let members = if self.count == 1 { "a member".to_string() } else { format!("{} members", self.count) };
        match self.assignor.as_str() {
            _ if self.count == 0 => None,
            // kolk's own processes may change over to the other protocol one by one.
            "" | ASSIGNOR if protocol == GroupProtocol::Consumer => None,
            _ if protocol == GroupProtocol::Consumer && self.of_consumer_protocol => None,
            other if protocol == GroupProtocol::Consumer => Some(format!(
                "group \"{group}\" has {members} of the classic protocol with the assignor \"{other}\", which are not \
                 kolk's: they take partitions away\n{OUT}"
            )),
            _ if self.of_consumer_protocol => Some(format!(
                "group \"{group}\" has {members} of the consumer protocol (KIP-848), and kolk speaks the classic one: \
                 the brokers may not let it in\n{OUT}, or set `group.protocol: consumer` in its `properties`"
            )),
            "" | ASSIGNOR => None,
            other => Some(format!(
                "group \"{group}\" has {members} with the assignor \"{other}\", and kolk's is \"{ASSIGNOR}\": it gets \
                 no partition as long as \
                 they are there\n{OUT}"
            )),
        }
    }
}

/// The brokers don't have the protocol of the group.
pub(super) fn unsupported(error: &KafkaError) -> Error {
    Error::refused(format!(
        "kafka: the brokers don't have groups of `group.protocol: consumer` ({error})\n\
         it needs Kafka 4.0 or later, where group.coordinator.rebalance.protocols has `consumer`; or leave \
         `group.protocol` out of `properties`"
    ))
}

const OUT: &str = "stop those consumers, or give the pipeline another `group`";

/// What is remembered between two looks.
#[derive(Debug)]
pub(super) struct Waiting {
    protocol: GroupProtocol,
    rebalancing: Option<Instant>,
    told: bool,
}

impl Waiting {
    /// Of a member of a group that speaks this protocol.
    pub fn new(protocol: GroupProtocol) -> Waiting {
        Waiting { protocol, rebalancing: None, told: false }
    }

    /// Why a consumer has no partitions; `None`: it need not have any, or it is too early to decide.
    pub fn reason(&mut self, consumer: &BaseConsumer<Group>, group: &str, topics: &Subscription) -> Option<String> {
        if self.protocol == GroupProtocol::Consumer {
            return self.judge_by_itself(consumer, group, topics);
        }
        let members = match describe::listed(consumer.client(), group, PATIENCE) {
            Ok(members) => members,
            Err(_) if consumer.fetch_metadata(topics.any().as_deref(), PATIENCE).is_err() => {
                return Some(NO_BROKER.into());
            }
            Err(silence) => {
                let heard = consumer.context().complaint().unwrap_or(silence.text);
                return Some(format!("the coordinator of group \"{group}\" doesn't answer: {heard}"));
            }
        };
        let partitions = || {
            let count = |topic: &String| {
                let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).ok()?;
                metadata.topics().iter().find(|found| found.name() == topic).map(|found| found.partitions().len())
            };
            topics.names().iter().map(count).sum()
        };
        self.judge(&members, consumer.context().complaint(), group, &topics.shown(), partitions)
    }

    /// The brokers decide who has which partitions, and say so to each member; who the others are isn't asked.
    fn judge_by_itself(
        &mut self,
        consumer: &BaseConsumer<Group>,
        group: &str,
        topics: &Subscription,
    ) -> Option<String> {
        if consumer.fetch_metadata(topics.any().as_deref(), PATIENCE).is_err() {
            return Some(NO_BROKER.into());
        }
        if let Some(complaint) = consumer.context().complaint() {
            return Some(format!("group \"{group}\" doesn't take this worker: {complaint}"));
        }
        if !consumer.context().is_member() {
            return Some(format!("group \"{group}\" hasn't taken this worker yet"));
        }
        if !std::mem::replace(&mut self.told, true) {
            tracing::info!("the group gives this worker no partitions: it waits until another leaves");
        }
        None
    }

    fn judge(
        &mut self,
        members: &Members,
        complaint: Option<String>,
        group: &str,
        topic: &str,
        partitions: impl Fn() -> Option<usize>,
    ) -> Option<String> {
        let rebalancing = self.rebalancing.take().filter(|_| members.state == State::Rebalancing);
        // Members of the other protocol need not be an obstacle: the coordinator's answer about this one counts more.
        if let Some(why) = members.keep_out(group, self.protocol).filter(|_| !members.of_consumer_protocol) {
            return Some(why);
        }
        if let Some(complaint) = complaint {
            return Some(format!("group \"{group}\" doesn't take this worker: {complaint}"));
        }
        let count = members.count;
        match members.state {
            State::Rebalancing => {
                let since = *self.rebalancing.insert(rebalancing.unwrap_or_else(Instant::now));
                (since.elapsed() >= LONG).then(|| {
                    format!(
                        "group \"{group}\" has been rebalancing for long: one of its {count} members doesn't answer, \
                         and is put out when its \
                         session.timeout.ms or max.poll.interval.ms is over"
                    )
                })
            }
            State::Stable => {
                let partitions = partitions()?;
                if count <= partitions {
                    return Some(format!(
                        "group \"{group}\" gives this worker none of the {} of topic {topic}, though it has {} \
                         only: do other members read another topic?\ngive the pipeline its own `group`",
                        counted(partitions, "partition"),
                        counted(count, "member")
                    ));
                }
                if !std::mem::replace(&mut self.told, true) {
                    tracing::info!(
                        members = count,
                        partitions,
                        "there are more workers than partitions: this one waits until another leaves"
                    );
                }
                None
            }
            State::Other => Some(format!("group \"{group}\" has no members: it hasn't taken this worker yet")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::acl::Rights;

    fn members(state: State, assignor: &str, count: usize) -> Members {
        Members { rights: Rights::default(), state, of_consumer_protocol: false, assignor: assignor.into(), count }
    }

    #[test]
    fn who_has_no_partitions_says_why_unless_there_are_too_few() {
        let mut waiting = Waiting::new(GroupProtocol::Classic);
        let mut judge = |members: Members, complaint: Option<&str>| {
            let partitions = || Some(4);
            waiting.judge(&members, complaint.map(str::to_string), "g", "t", partitions).unwrap_or_default()
        };
        let other = judge(members(State::Stable, "range", 1), Some("inconsistent"));
        assert!(other.contains("has a member with the assignor \"range\"") && other.contains("`group`"), "{other}");
        assert_eq!(judge(members(State::Stable, ASSIGNOR, 5), None), "");
        assert!(judge(members(State::Stable, ASSIGNOR, 4), None).contains("none of the 4 partitions of topic t"));
        assert!(judge(members(State::Stable, ASSIGNOR, 5), Some("group is full")).contains("group is full"));
        assert_eq!(judge(members(State::Rebalancing, "", 2), None), "", "it may have begun just now");
        assert!(judge(members(State::Other, "", 0), None).contains("no members"));
        let new = Members { of_consumer_protocol: true, ..members(State::Stable, "uniform", 2) };
        let kept_out = new.keep_out("g", GroupProtocol::Classic).unwrap_or_default();
        assert_eq!(new.keep_out("g", GroupProtocol::Consumer), None);
        let classic = members(State::Stable, "range", 1).keep_out("g", GroupProtocol::Consumer).unwrap_or_default();
        assert!(classic.contains("not kolk's"), "{classic}");
        assert_eq!(members(State::Stable, ASSIGNOR, 1).keep_out("g", GroupProtocol::Consumer), None);
        assert!(kept_out.contains("2 members of the consumer protocol"), "{kept_out}");
        assert!(judge(new, Some("unsupported")).contains("unsupported"));
    }
}
