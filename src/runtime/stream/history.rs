//! Warm start: what came before the topic, from Parquet files, makes the state that a partition begins with.

use std::collections::BTreeMap;

use super::Partition;
use super::lane::Lane;
use super::processing::Processing;
use crate::config::{At, Input, KafkaSource, Pipeline};
use crate::error::Problems;
use crate::record::{Kind, Layout};
use crate::runtime::engine::Router;
use crate::source::parquet;
use crate::{Error, Result};

/// The files, found and fitted to the topic's columns.
pub struct History {
    source: parquet::Planned,
    /// Partitions of the topic.
    partitions: u32,
    /// A tick of the files in ticks of the topic, as a fraction.
    ticks: (i64, i64),
}

impl History {
    /// Finds the files of a pipeline's history, which need the columns that the topic gives. Adds what is wrong to `problems`,
    /// and returns `None` if that is anything or there is no history.
    pub fn plan(
        pipeline: &Pipeline,
        kafka: &KafkaSource,
        fields: &[At<String>],
        topic: (&Layout, u32),
        problems: &mut Problems,
    ) -> Option<History> {
        let history = kafka.history.as_ref()?;
        let mut files = pipeline.clone();
        files.source.input = Input::Parquet(history.path.clone());
        files.source.until = history.until.clone();
        // A unit is for the topic's integers; files may have times that know their own.
        let mut scratch = Problems::new(&pipeline.file);
        let source = match parquet::plan(&files, fields, &mut scratch) {
            Some(source) => source,
            None => {
                files.record.time.value.unit = None;
                parquet::plan(&files, fields, problems)?
            }
        };
        let (layout, partitions) = topic;
        match fits(&source.layout, layout) {
            Ok(ticks) => Some(History { source, partitions, ticks }),
            Err(message) => {
                problems.add(history.path.place, message);
                None
            }
        }
    }

    /// Lets lanes that have seen nothing take their keys' records, in silence.
    pub(super) fn feed(&self, lanes: &mut BTreeMap<Partition, &mut Lane>, processing: &mut Processing) -> Result<()> {
        let at = vec![(0, None); self.partitions as usize];
        let mut router = Router::new(processing.batch, u64::MAX, at);
        let mut source = self.source.open(None)?;
        let mut records = 0;
        let (times, by) = self.ticks;
        let mut take = |work: crate::runtime::engine::Work| -> Result<()> {
            let Some(lane) = lanes.get_mut(&work.partition) else { return Ok(()) };
            records += work.records.len() as u64;
            let chain = processing.chains.run(&lane.now.era)?;
            lane.state.process(chain, &processing.layout, &work.records).map(|_| ())
        };
        while let Some(mut block) = source.next()? {
            if (times, by) != (1, 1) {
                for time in &mut block.times {
                    *time = time.saturating_mul(times) / by;
                }
            }
            router.route(&block, &mut take)?;
        }
        router.finish(&mut take)?;
        tracing::info!(records, partitions = lanes.len(), "the state begins with the history");
        for lane in lanes.values_mut() {
            // Positions count the stream's records.
            lane.state.position = 0;
        }
        Ok(())
    }
}

/// How a tick of the files is counted in ticks of the topic, or what doesn't fit.
fn fits(files: &Layout, topic: &Layout) -> std::result::Result<(i64, i64), String> {
    let kind = |kind: &Kind| match kind {
        Kind::Carried(data_type) => data_type.to_string(),
        other => format!("{other:?}"),
    };
    for (a, b) in files.columns.iter().zip(&topic.columns) {
        if a.name != b.name || kind(&a.kind) != kind(&b.kind) {
            return Err(format!(
                "column \"{}\" is {} in the files and \"{}\", {}, in the topic",
                a.name,
                kind(&a.kind),
                b.name,
                kind(&b.kind)
            ));
        }
    }
    match (files.clock.nanos_per_tick, topic.clock.nanos_per_tick) {
        (None, None) => Ok((1, 1)),
        (Some(a), Some(b)) if a % b == 0 => Ok((a / b, 1)),
        (Some(a), Some(b)) if b % a == 0 => Ok((1, b / a)),
        _ => Err(format!(
            "times are {} in the files and {} in the topic: one can't be counted in the other",
            files.clock.data_type, topic.clock.data_type
        )),
    }
}

impl Processing {
    /// Whether there is a history, and the lanes' state made of it.
    ///
    /// # Errors
    /// Files that can't be read.
    pub(super) fn begin_with_history(&mut self, lanes: &mut BTreeMap<Partition, &mut Lane>) -> Result<()> {
        match self.history.clone() {
            Some(history) if !lanes.is_empty() => history.feed(lanes, self).map_err(|error| match error {
                Error::Failed(message) => Error::Failed(format!("history: {message}")),
                other => other,
            }),
            _ => Ok(()),
        }
    }
}
