//! The history of a topic: Parquet files with what came before it.
//!
//! Lives here: finding the files and fitting them to the topic's columns and ticks. Must not live here: what is done
//! with the records (`runtime::kafka::warm_start`).

use super::parquet;
use crate::Result;
use crate::config::{At, Input, KafkaSource, Pipeline};
use crate::error::Problems;
use crate::record::{KeyType, Kind, Layout, Records};

/// The files, found and fitted to the topic's columns.
pub struct History {
    source: parquet::PlannedParquet,
    /// Partitions of the topic.
    partitions: u32,
    /// A tick of the files in ticks of the topic, as a fraction.
    ticks: (i64, i64),
}

impl History {
    /// Finds the files of a pipeline's history, which need the columns that the topic gives. Adds every problem to
    /// `problems`, and returns `None` if there is one or there is no history.
    pub fn plan(
        pipeline: &Pipeline,
        kafka: &KafkaSource,
        fields: &[At<String>],
        topic: (&Layout, u32),
        problems: &mut Problems,
    ) -> Option<History> {
        let history = kafka.history.as_ref()?;
        let mut files = pipeline.clone();
        files.source.input = Input::Parquet(history.path.clone().into());
        files.source.until = history.until.clone();
        // A unit is for the topic's integers; files may have times that know their own.
        let mut scratch = Problems::new(&pipeline.file);
        let mut source = match parquet::plan_history(&files, fields, &mut scratch) {
            Some(source) => source,
            None => {
                files.record.time.value.unit = None;
                parquet::plan_history(&files, fields, problems)?
            }
        };
        let (layout, partitions) = topic;
        source.notes.extend(as_text(&source.layout));
        match fits(&source.layout, layout) {
            Ok(ticks) => Some(History { source, partitions, ticks }),
            Err(message) => {
                problems.add(history.path.place, message);
                None
            }
        }
    }

    /// What is worth saying of the files.
    pub fn notes(&self) -> &[String] {
        &self.source.notes
    }

    /// Partitions of the topic.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Reads all files. `take` gets their records, block by block, with times in ticks of the topic.
    ///
    /// # Errors
    /// Files that can't be read; those of `take`.
    pub fn read(&self, take: &mut dyn FnMut(&Records) -> Result<()>) -> Result<()> {
        let mut source = self.source.open(None)?;
        let (times, by) = self.ticks;
        while let Some(mut block) = source.next()? {
            if (times, by) != (1, 1) {
                for time in &mut block.times {
                    *time = time.saturating_mul(times) / by;
                }
            }
            take(&block)?;
        }
        Ok(())
    }
}

/// What the text of the files' keys is, where more than one is thinkable: only the same text in a message finds their
/// state.
fn as_text(files: &Layout) -> Option<String> {
    let written = match &files.key_type {
        KeyType::Utf8 | KeyType::Integer(_) => return None,
        KeyType::Boolean => "true and false",
        KeyType::Decimal(_) => "with all digits after the point that their type has, such as 12.50",
        KeyType::Date => "such as 2024-01-31",
        KeyType::Uuid => "in lower case and with hyphens, such as 00112233-4455-6677-8899-aabbccddeeff",
        KeyType::Binary(_) => "hexadecimal digits in lower case, such as 00ff",
    };
    let found = match &files.key_type {
        KeyType::Uuid => "UUID".to_string(),
        other => other.data_type().to_string(),
    };
    Some(format!(
        "history: keys (column \"{}\") are {found} in the files and text in messages. Only a message whose key is the \
         same text continues their state: {written}",
        files.key_name
    ))
}

/// How a tick of the files is counted in ticks of the topic, or what doesn't fit.
fn fits(files: &Layout, topic: &Layout) -> std::result::Result<(i64, i64), String> {
    let kind = |kind: &Kind| match kind {
        Kind::Passthrough(data_type) => data_type.to_string(),
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
