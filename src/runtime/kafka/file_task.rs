//! One partition of a topic whose rows go to files or to stdout: its task, how far its reading is, and how it takes
//! messages.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::new_null_array;

use super::intake::{Takes, Tombstone};
use super::reading::{Reading, Reads};
use crate::Result;
use crate::format::{Decided, Decoded, Messages};
use crate::record::{Kind, Layout, Origin, PartitionId, Records};
use crate::runtime::engine::{Chain, Work};
use crate::runtime::files::{PartitionTask, Shared};

/// A partition that a file-sink worker owns.
pub(super) struct FileTask {
    /// Its number.
    pub id: PartitionId,
    /// State, parts, commits.
    pub task: PartitionTask,
    /// How far its reading is.
    pub reading: Reading,
    /// When it was last committed, by the broker's clock.
    pub saved: i64,
    /// Whether anything is committed at all: not to stdout.
    pub commits: bool,
}

impl FileTask {
    /// Offset after the last committed message; `None` before the first commit, or if nothing is ever committed.
    pub fn saved_until(&self) -> Option<i64> {
        let origin = self.task.manifest.as_ref()?.origin?;
        Some(origin.row as i64 + 1)
    }

    /// Nothing is left: the next message will have this offset, or a higher one. Before it may be markers and aborted
    /// records, which retention may remove.
    pub fn end(&mut self, offset: i64) {
        self.reading.at_end = true;
        if offset > self.offset() {
            self.task.origin = Some(Origin { file: 0, row: offset as u64 - 1 });
        }
    }
}

impl Reads for FileTask {
    fn id(&self) -> PartitionId {
        self.id
    }

    fn offset(&self) -> i64 {
        self.task.origin.map_or(0, |origin| origin.row as i64 + 1)
    }

    fn committed(&self) -> i64 {
        // Where nothing is committed, what is taken is done.
        if self.commits { self.saved_until().unwrap_or(0) } else { self.offset() }
    }

    fn reading(&self) -> &Reading {
        &self.reading
    }

    fn reading_mut(&mut self) -> &mut Reading {
        &mut self.reading
    }
}

/// A partition that takes messages, in pieces that don't cross the cut of a part. Nothing is replayed, so decisions
/// need no record.
pub(super) struct FileTaking<'a> {
    /// The partition.
    pub file: &'a mut FileTask,
    /// Its stages.
    pub chain: &'a mut Chain,
    /// What all workers share.
    pub shared: &'a Shared,
}

impl FileTaking<'_> {
    fn work(&mut self, messages: &Arc<Messages>, records: Records, details: Vec<(usize, String)>) -> Result<()> {
        let FileTask { id, task, .. } = &mut *self.file;
        let messages = Some(messages.clone());
        let work = Work { partition: *id, position: task.partition.position, records, messages, details };
        task.take(&work, self.chain, self.shared)
    }
}

impl Takes for FileTaking<'_> {
    fn reading(&mut self) -> &mut Reading {
        &mut self.file.reading
    }

    fn offset(&self) -> i64 {
        Reads::offset(self.file)
    }

    fn begin(&mut self, messages: &Messages, at: usize) -> Result<usize> {
        let part = self.shared.part_records;
        let room = usize::try_from(part - self.file.task.partition.position % part).unwrap_or(usize::MAX);
        Ok(at.saturating_add(room).min(messages.len()))
    }

    fn decided(&self) -> Decided {
        Decided::default()
    }

    fn has_room(&self, _: &Decided) -> bool {
        true
    }

    fn take(&mut self, messages: &Arc<Messages>, _: Range<usize>, decoded: Decoded, _: Decided) -> Result<()> {
        self.work(messages, decoded.records, decoded.details)
    }

    fn tombstone(&mut self, messages: &Arc<Messages>, at: usize, tombstone: Tombstone, _: Decided) -> Result<()> {
        match tombstone {
            Tombstone::Reset(key) => self.file.task.partition.reset(&key),
            Tombstone::Skip => {}
            Tombstone::DeadLetter => {
                let records = refused_record("tombstone", messages.offsets[at], &self.shared.source);
                self.work(messages, records, Vec::new())?;
            }
        }
        self.file.task.origin = Some(Origin { file: 0, row: messages.offsets[at] as u64 });
        Ok(())
    }
}

/// A message that isn't a record, as a rejected record.
fn refused_record(reason: &'static str, offset: i64, layout: &Layout) -> Records {
    let mut records = Records {
        hashes: vec![0],
        key_ends: vec![0],
        times: vec![0],
        origins: vec![Origin { file: 0, row: offset as u64 }],
        bad: vec![(0, reason)],
        ..Records::default()
    };
    for column in &layout.columns {
        match &column.kind {
            Kind::Passthrough(data_type) => records.passthrough.push(new_null_array(data_type, 1)),
            kind => match kind.no_vectors(1) {
                Some(none) => records.vectors.push(none),
                None => records.values.push(vec![f64::NAN]),
            },
        }
    }
    records
}
