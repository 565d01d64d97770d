//! The dead letters of a partition, in a topic or in a folder.

use super::partition_task::PartitionTask;
use super::processing::Processing;
use crate::format::{Decoded, Messages};
use crate::record::Batch;
use crate::sink::DeadLetters;
use crate::{Error, Result};

impl PartitionTask {
    /// Sends what the stages refused to the dead letters.
    pub(super) fn refuse(
        &mut self,
        messages: &Messages,
        batch: &Batch,
        first: u64,
        decoded: &Decoded,
        p: &mut Processing,
    ) -> Result<()> {
        for reject in &batch.rejects {
            let index = reject.position.checked_sub(first).and_then(|index| usize::try_from(index).ok());
            let origin = index.and_then(|index| decoded.records.origins.get(index));
            let message = origin.and_then(|origin| messages.offsets.binary_search(&(origin.row as i64)).ok());
            let (Some(index), Some(message)) = (index, message) else {
                return Err(Error::failed("a stage refused a record that isn't there: internal error, please report"));
            };
            let detail = decoded.details.iter().find(|(at, _)| *at == index).map(|(_, detail)| detail.clone());
            let detail = detail.or_else(|| self.state.judged(reject.position).map(str::to_string));
            let detail = detail.as_deref();
            self.dead_letter(messages, message, reject.position, (reject.reason, detail), p)?;
        }
        Ok(())
    }

    /// Sends a message to the dead letters. Those of a folder are written with the next checkpoint, so that a replay,
    /// which begins there, finds them again; those of a topic are part of a transaction.
    pub(super) fn dead_letter(
        &mut self,
        messages: &Messages,
        message: usize,
        position: u64,
        (reason, detail): (&'static str, Option<&str>),
        p: &Processing,
    ) -> Result<()> {
        let new = self.replay.is_none();
        if new {
            p.refused(self.id, messages.offsets[message], reason, detail)?;
        }
        if p.dead_letter_folder.is_some() {
            self.dead_letters.push(p.dead_letter_row(self.id, messages, message, position, (reason, detail)));
        } else if new {
            p.dead_letter(&mut self.outbox, self.id, messages, message, reason, detail);
        }
        Ok(())
    }

    /// Writes the dead letters of a folder that came since the last checkpoint. Repeated after a crash, it writes the
    /// same and what came after under the same name.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn write_dead_letters(&mut self, processing: &Processing) -> Result<()> {
        let from = std::mem::replace(&mut self.dead_letters_from, self.state.position);
        let letters = std::mem::take(&mut self.dead_letters);
        let Some(parts) = processing.dead_letter_folder.as_ref().filter(|_| !letters.is_empty()) else { return Ok(()) };
        let mut part = DeadLetters::begin(parts, self.id, from);
        letters.into_iter().try_for_each(|letter| part.push(letter))?;
        part.finish()?.map_or(Ok(()), |part| parts.publish(&part))
    }
}
