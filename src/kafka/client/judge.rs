//! What an error of a consumer means: something for the worker, nothing, or the end.

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{Client, LONG};
use crate::kafka::broker::Event;
use crate::kafka::membership::unsupported;
use crate::kafka::position;
use crate::{Error, Result};

impl Client {
    /// The meaning of an error of the consumer: an event, nothing (librdkafka retries), or the end.
    pub(super) fn judge(&self, error: &KafkaError) -> Result<Option<Event>> {
        let topic = &self.topics.shown();
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let Some(code) = error.rdkafka_error_code() else { return Ok(None) };
        match code {
            // A new topic, too, may have nothing at an old position.
            RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset if self.is_recreated() => {
                Ok(Some(Event::Recreated))
            }
            RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset => {
                let behind = |partition| self.gathered.behind(partition);
                let found = position::out_of_range(self.consumer()?, &self.topics, behind);
                // The worker knows what the partition's state needs.
                found.map(|partition| Some(Event::OutOfRange(partition))).ok_or_else(|| {
                    Error::failed(format!(
                        "kafka: topic {topic}: a position is not in the log: retention has removed records that were \
                         not yet read, or the topic was \
                         truncated or created again ({error})\n\
                         the next start names the partition and the choices"
                    ))
                })
            }
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed => {
                Err(self.questions.denied(code, "taking messages"))
            }
            // It may come back, as another one; the watch knows.
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => Ok(None),
            RDKafkaErrorCode::FencedInstanceId => Err(Error::failed(format!("kafka: topic {topic}: {error}"))),
            // The worker learns of it by the loss of its partitions, or by the brokers' silence.
            RDKafkaErrorCode::PollExceeded
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
                if !fatal =>
            {
                Ok(None)
            }
            RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature if fatal => {
                Err(unsupported(error))
            }
            _ if fatal => Err(Error::failed(format!("kafka: topic {topic}: {error}"))),
            _ => {
                tracing::debug!(%error, "librdkafka tries again");
                self.consumer()?.context().complain(error.to_string());
                Ok(None)
            }
        }
    }

    /// Asks whether the topic has been replaced.
    fn is_recreated(&self) -> bool {
        self.watch.is_same(self.watch.ask(), LONG) == Some(false)
    }
}
