//! Rows of the sink, made and encoded as a run does it, and kept nowhere.

use crate::config::{Location, Sink};
use crate::format::{Encoder, Payloads, unregistered_encoder};
use crate::record::{Batch, PartitionId, Records, murmur2};
use crate::runtime::plan::Plan;
use crate::sink::{PartWriter, Parts, PlannedSink};
use crate::state::{Keys, Target};
use crate::storage::Folder;
use crate::{Error, Result};

/// Keys whose text is written at most.
const KEYS: usize = 4096;
/// Payloads that are kept at most, to be sent.
const KEPT: usize = 4096;

/// What becomes of rows.
enum To {
    Payloads(Box<dyn Encoder>),
    Parquet(Box<PartWriter>),
}

/// See the module.
pub struct Out {
    sink: PlannedSink,
    to: To,
    /// Keys of the sample, in whose type the sink writes them.
    keys: Keys,
    payloads: Payloads,
    /// The first payloads, to be sent.
    first: Option<Payloads>,
    rows: usize,
    bytes: usize,
}

impl Out {
    /// Of a pipeline, with the keys of a sample.
    ///
    /// # Errors
    /// Rows that can't have the format of the sink.
    pub fn new(plan: &Plan, sample: &Records) -> Result<Out> {
        let sink = plan.sink.clone().ok_or_else(|| Error::refused("the pipeline has no sink"))?;
        let to = match plan.pipeline.sink.as_deref() {
            Some(Sink::Parquet { .. }) => {
                // Nothing is written there: no part is finished.
                let folder = Folder::open(&Location(std::env::temp_dir().display().to_string()))?;
                let parts = Parts::new(Target::Output, folder, &plan.pipeline.name, sink.schema());
                To::Parquet(Box::new(parts.begin(PartitionId::from(0), 0)))
            }
            Some(Sink::Kafka(kafka)) => To::Payloads(unregistered_encoder(Some(kafka), &sink.schema())?),
            _ => To::Payloads(unregistered_encoder(None, &sink.schema())?),
        };
        let mut keys = Keys::default();
        for index in 0..sample.len().min(KEYS) {
            if sample.bad.binary_search_by_key(&index, |(bad, _)| *bad).is_err() {
                keys.slot(murmur2(sample.key(index)), sample.key(index));
            }
        }
        Ok(Out { sink, to, keys, payloads: Payloads::default(), first: None, rows: 0, bytes: 0 })
    }

    /// Writes a batch; how many rows.
    ///
    /// # Errors
    /// As in a run.
    pub fn write(&mut self, mut batch: Batch) -> Result<usize> {
        // As in a run: before a bucket ends, the stages after it have added no columns.
        if batch.rows() == 0 {
            return Ok(0);
        }
        let keys = u32::try_from(self.keys.len()).unwrap_or(u32::MAX).max(1);
        batch.slots.iter_mut().for_each(|slot| *slot %= keys);
        let rows = self.sink.rows(&batch, &self.keys, PartitionId::from(0), None)?;
        let count = rows.num_rows();
        self.rows += count;
        match &mut self.to {
            To::Parquet(writer) => {
                writer.write(rows)?;
            }
            To::Payloads(encoder) => {
                encoder.encode(&rows, &mut self.payloads)?;
                self.bytes += self.payloads.bytes.len();
                match &mut self.first {
                    first @ None if !self.payloads.is_empty() => *first = Some(std::mem::take(&mut self.payloads)),
                    _ => {
                        self.payloads.bytes.clear();
                        self.payloads.ends.clear();
                    }
                }
            }
        }
        Ok(count)
    }

    /// The first payloads.
    ///
    /// # Errors
    /// Refused where there was no row.
    pub fn payloads(&self) -> Result<&Payloads> {
        self.first.as_ref().ok_or_else(|| {
            Error::refused(
                "no row came out of the stages: is there a filter that keeps none of the sample? Measure with other \
                 messages: --data FILE or --sample",
            )
        })
    }

    /// Keys of outputs.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.keys.iter().take(KEPT).map(<[u8]>::to_vec).collect()
    }

    /// Bytes of a row and its key.
    pub fn row_bytes(&self) -> f64 {
        let bytes = match &self.to {
            To::Parquet(writer) => return writer.memory() as f64 / self.rows.max(1) as f64,
            To::Payloads(_) => self.bytes as f64 / self.rows.max(1) as f64,
        };
        let keys: usize = self.keys.iter().map(<[u8]>::len).sum();
        bytes + keys as f64 / self.keys.len().max(1) as f64
    }
}
