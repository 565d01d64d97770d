//! What a worker does to messages between reading and sending; the same for all its partitions.

use std::sync::Arc;

use super::Versions;
use super::outbox::Outbox;
use crate::config::{Headers, KeyFormat, OnError};
use crate::format::{Encoder, Messages, Payloads, SCHEMA_HEADERS, TOO_FAR_AHEAD};
use crate::kafka::{MessageHeader, Topic};
use crate::metrics::Metrics;
use crate::record::PartitionId;
use crate::record::{Clock, Layout};
use crate::runtime::engine::refused;
use crate::sink::{self, DeadLetter};
use crate::source::History;
use crate::{Error, Result};

/// Everything between the bytes of the source and those of the sink.
pub struct Processing {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the source's topic, where it is the only one.
    pub topic: String,
    /// The stages, with each version of the model that is needed.
    pub versions: Versions,
    /// Columns of the source.
    pub layout: Layout,
    /// Columns of the output.
    pub sink: sink::PlannedSink,
    /// How the keys of outputs are written: as those of the source, where these are the records' keys.
    pub key_format: KeyFormat,
    /// Rows to payloads.
    pub encoder: Box<dyn Encoder>,
    /// Memory of the payloads.
    pub payloads: Payloads,
    /// What a partition's state begins with.
    pub history: Option<Arc<History>>,
    /// Records that are processed at once, at most.
    pub batch: usize,
    /// Rows before this time, in ticks, are computed and not written.
    pub emit_from: Option<i64>,
    /// Which headers are copied to the output.
    pub headers: Headers,
    /// The clock of the rows' times, where outputs are stamped with them.
    pub stamps: Option<Clock>,
    /// What happens to a message that can't be taken.
    pub on_error: OnError,
    /// Bytes of a dead letter's payload at most, in a topic.
    pub longest_dead_letter: usize,
    /// The folder of the dead letters, where they don't go to a topic.
    pub dead_letter_folder: Option<sink::Parts>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// What a test breaks on purpose.
    #[cfg(test)]
    pub faults: super::faults::Faults,
}

impl Processing {
    /// Whether a replay sends its output again: never, except for the test that must detect it.
    pub(super) fn emits_in_replay(&self) -> bool {
        #[cfg(test)]
        return self.faults.replay_emits;
        #[cfg(not(test))]
        false
    }

    /// Whether offsets without a message are never committed: never, but for the test that must see it.
    pub(super) fn ignores_markers(&self) -> bool {
        #[cfg(test)]
        return self.faults.markers_stay;
        #[cfg(not(test))]
        false
    }

    /// Whether a swap doesn't wait for its checkpoint: never, but for the test that must see it.
    pub(super) fn swaps_early(&self) -> bool {
        #[cfg(test)]
        return self.faults.swap_early;
        #[cfg(not(test))]
        false
    }

    /// Whether it is never asked if a commit has room: never, but for the test that must see it.
    pub(super) fn overfills(&self) -> bool {
        #[cfg(test)]
        return self.faults.overfill;
        #[cfg(not(test))]
        false
    }

    /// The topic of a partition.
    fn topic_of(&self, partition: PartitionId) -> &str {
        partition.topic.name().unwrap_or(&self.topic)
    }

    /// Those of a message's headers that its output has. An output has a schema of its own, or none.
    pub fn copied(&self, headers: &[MessageHeader]) -> Vec<MessageHeader> {
        let is_copied = |name: &str| self.headers.has(name) && !SCHEMA_HEADERS.contains(&name);
        headers.iter().filter(|(name, _)| is_copied(name)).cloned().collect()
    }

    /// A message as a dead letter for the folder.
    pub fn dead_letter_row(
        &self,
        partition: PartitionId,
        messages: &Messages,
        index: usize,
        position: u64,
        (reason, detail): (&'static str, Option<&str>),
    ) -> DeadLetter {
        let text = |part: Option<&[u8]>| part.map(|part| String::from_utf8_lossy(part).into_owned());
        DeadLetter {
            key: text(messages.key(index)),
            record: text(messages.payload(index)).unwrap_or_default(),
            file: Some(self.topic_of(partition).to_string()),
            row: u64::try_from(messages.offsets[index]).ok(),
            position,
            reason,
            message_key: messages.key(index).map(<[u8]>::to_vec),
            payload: messages.payload(index).map(<[u8]>::to_vec),
            timestamp: Some(messages.timestamps[index]).filter(|timestamp| *timestamp >= 0),
            detail: detail.map(str::to_owned),
        }
    }

    /// Counts a message that is refused, and logs it now and then.
    ///
    /// # Errors
    /// Where the policy is to refuse.
    pub fn refused(
        &self,
        partition: PartitionId,
        offset: i64,
        reason: &'static str,
        detail: Option<&str>,
    ) -> Result<()> {
        if self.on_error == OnError::Refuse && !matches!(reason, "late" | TOO_FAR_AHEAD) {
            return Err(Error::failed(format!(
                "{reason}: topic {}, partition {}, offset {offset}{}; on.error is refuse: set it to \
                 dead_letter to continue",
                self.topic_of(partition),
                partition.number,
                detail.map(|detail| format!(": {detail}")).unwrap_or_default()
            )));
        }
        refused(&self.metrics, reason, || {
            let at = format!("topic {}, partition {}, offset {offset}", self.topic_of(partition), partition.number);
            (at, detail.map(str::to_owned))
        });
        Ok(())
    }

    /// Adds a message to the output for the dead-letter topic: its own bytes and headers, its origin and the reason.
    pub fn dead_letter(
        &self,
        outbox: &mut Outbox,
        partition: PartitionId,
        messages: &Messages,
        index: usize,
        reason: &'static str,
        detail: Option<&str>,
    ) {
        let offset = messages.offsets[index];
        let mut headers = messages.headers.get(index).cloned().unwrap_or_default();
        let mut add = |name: &str, value: String| headers.push((name.into(), Some(value.into_bytes())));
        add("kolk.pipeline", self.pipeline.clone());
        add("kolk.topic", self.topic_of(partition).to_string());
        add("kolk.partition", partition.number.to_string());
        add("kolk.offset", offset.to_string());
        add("kolk.timestamp", messages.timestamps[index].to_string());
        add("kolk.reason", reason.to_string());
        if let Some(detail) = detail {
            add("kolk.detail", detail.to_string());
        }
        let mut payload = messages.payload(index);
        if let Some(whole) = payload.filter(|payload| payload.len() > self.longest_dead_letter) {
            add("kolk.truncated", whole.len().to_string());
            payload = Some(&whole[..self.longest_dead_letter]);
        }
        outbox.push(Topic::DeadLetters, messages.key(index), payload, headers);
    }

    /// The headers of an output that became a dead letter because it is too large.
    pub fn too_large(&self, partition: PartitionId, why: &str) -> Vec<MessageHeader> {
        refused(&self.metrics, "too_large", || {
            let at = format!("an output of topic {}, partition {}", self.topic_of(partition), partition.number);
            (at, Some(why.to_owned()))
        });
        let header = |name: &str, value: String| (name.to_string(), Some(value.into_bytes()));
        let topic = partition.topic.name().map(|name| header("kolk.topic", name.to_string()));
        let mut headers = vec![
            header("kolk.pipeline", self.pipeline.clone()),
            header("kolk.partition", partition.number.to_string()),
            header("kolk.reason", "too_large".into()),
            header("kolk.detail", why.into()),
        ];
        headers.extend(topic);
        headers
    }
}
