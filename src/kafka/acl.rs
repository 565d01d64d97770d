//! Rights on brokers with an authorizer: which exist, and the message for one that is missing.

use rdkafka::bindings::rd_kafka_AclOperation_t as Operation;
use rdkafka::error::RDKafkaErrorCode;

use crate::config::{KafkaSource, Pipeline};

/// A right, named as Kafka's ACLs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To read.
    Read,
    /// To write.
    Write,
    /// To read the settings of a topic.
    DescribeConfigs,
}

impl Right {
    fn operation(self) -> Operation {
        match self {
            Right::Read => Operation::RD_KAFKA_ACL_OPERATION_READ,
            Right::Write => Operation::RD_KAFKA_ACL_OPERATION_WRITE,
            Right::DescribeConfigs => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        }
    }
}

/// What the user of a client may do with something; not every broker says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights(Option<Vec<u32>>);

impl Rights {
    /// Those with these numbers of `rd_kafka_AclOperation_t`; none means that the broker didn't report them.
    pub fn new(operations: Vec<u32>) -> Rights {
        Rights((!operations.is_empty()).then_some(operations))
    }

    /// Whether the broker says that there is no such right.
    pub fn lacks(&self, right: Right) -> bool {
        let all = Operation::RD_KAFKA_ACL_OPERATION_ALL as u32;
        self.0.as_ref().is_some_and(|rights| !rights.iter().any(|is| *is == right.operation() as u32 || *is == all))
    }
}

/// What a right is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On<'a> {
    Topic(&'a str),
    Group(&'a str),
    /// All transactional ids that begin so.
    Transactions(&'a str),
}

/// Says that a right is missing, what for, and the ACL that gives it. Who the user is only the brokers know.
pub fn missing(right: Right, on: On<'_>, what_for: &str) -> String {
    let (shown, option) = match on {
        On::Topic(name) => (format!("topic \"{name}\""), format!("--topic '{name}'")),
        On::Group(name) => (format!("group \"{name}\""), format!("--group '{name}'")),
        On::Transactions(prefix) => (
            format!("transactional ids that begin with \"{prefix}\""),
            format!("--transactional-id '{prefix}' --resource-pattern-type prefixed"),
        ),
    };
    format!(
        "the right {right:?} on {shown} is missing, which is needed to {what_for}: \
         kafka-acls.sh --add --allow-principal User:NAME --operation {right:?} {option}"
    )
}

/// What a topic is read for, in words for people.
pub const TAKE: &str = "take its messages";
/// What a group is used for.
pub const JOIN: &str = "be a member of it and to commit its offsets";
/// What a topic is written for.
pub const SEND: &str = "send to it";
const TRANSACT: &str = "write exactly once";

/// What the transactional ids of a pipeline begin with, all of them, in every process.
pub fn transactional_ids(pipeline: &Pipeline, source: &KafkaSource) -> String {
    format!("{}-{}-", pipeline.name.value, source.group.value)
}

/// What an answer to the first request of a transactional producer means that no waiting changes; `ids` is what the
/// pipeline's transactional ids begin with.
pub fn no_transactions(code: RDKafkaErrorCode, ids: &str) -> Option<String> {
    match code {
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            Some(missing(Right::Write, On::Transactions(ids), TRANSACT))
        }
        RDKafkaErrorCode::InvalidTransactionTimeout => {
            Some("transaction.timeout.ms is more than the brokers allow (their transaction.max.timeout.ms): lower it in `properties`".into())
        }
        RDKafkaErrorCode::UnsupportedFeature => Some(format!("the brokers don't know transactions: {code}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broker_that_tells_rights_lacks_one() {
        let read = Rights::new(vec![Operation::RD_KAFKA_ACL_OPERATION_READ as u32]);
        assert!(!read.lacks(Right::Read) && read.lacks(Right::Write));
        assert!(!Rights::new(Vec::new()).lacks(Right::Read));
        assert!(!Rights::new(vec![Operation::RD_KAFKA_ACL_OPERATION_ALL as u32]).lacks(Right::DescribeConfigs));
    }

    #[test]
    fn what_is_missing_comes_with_the_acl() {
        assert_eq!(
            missing(Right::Write, On::Transactions("demand-demand-"), TRANSACT),
            "the right Write on transactional ids that begin with \"demand-demand-\" is missing, which is needed to \
             write exactly once: \
             kafka-acls.sh --add --allow-principal User:NAME --operation Write --transactional-id 'demand-demand-' \
             --resource-pattern-type prefixed"
        );
        assert_eq!(no_transactions(RDKafkaErrorCode::CoordinatorLoadInProgress, "x-"), None);
    }
}
