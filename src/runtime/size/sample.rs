//! The records that costs are measured with: of the source's files, of the topic's last messages, of a file with
//! messages, or made up as the pipeline reads them.

use std::path::Path;
use std::time::Duration;

use super::made;
use super::measure::groups;
use crate::config::{KafkaSource, Pipeline};
use crate::format::{Messages, PlannedDecoder, decode_patiently};
use crate::kafka::sample::Sample as LastMessages;
use crate::record::Records;
use crate::runtime::plan::{Plan, PlannedSource};
use crate::source::topic::PlannedTopic;
use crate::{Error, Result};

/// Records that are read at most.
const RECORDS: usize = 20_000;
/// Bytes of a file with messages that are read at most.
const BYTES: u64 = 64 << 20;
/// How long a schema registry may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where they are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Made up.
    Made,
    /// The last messages of the topic.
    Topic,
    /// A file.
    File,
}

/// Records, and the messages that they came in if they did.
pub struct Sample {
    /// Where they are from.
    pub from: From,
    /// The messages.
    pub messages: Option<Messages>,
    /// What they are.
    pub records: Records,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// A file with one JSON message a line.
    pub data: Option<&'a Path>,
    /// Whether the topic's last messages are read.
    pub topic: bool,
    /// Bytes of a made-up payload.
    pub record_bytes: Option<usize>,
}

/// Takes a sample.
///
/// # Errors
/// Refused where there are no records, with what to do. Files and brokers that can't be read.
pub fn take(plan: &Plan, asked: Asked<'_>) -> Result<Sample> {
    match (&plan.source, plan.pipeline.source.kafka()) {
        (PlannedSource::Files(files), _) => {
            if asked.data.is_some() || asked.topic || asked.record_bytes.is_some() {
                return Err(Error::refused(
                    "--data, --sample and --record-bytes are for a source of messages: files are measured with their \
                     own records",
                ));
            }
            let mut reader = files.open(None)?;
            let records = reader.next()?.ok_or_else(|| Error::refused("the source has no records to measure with"))?;
            Ok(Sample { from: From::File, messages: None, records })
        }
        (PlannedSource::Kafka(topic), Some(kafka)) => of_messages(plan, topic, kafka, asked),
        _ => Err(Error::refused("kolk size is for pipelines whose source is Kafka or Parquet")),
    }
}

fn of_messages(plan: &Plan, topic: &PlannedTopic, kafka: &KafkaSource, asked: Asked<'_>) -> Result<Sample> {
    let (pipeline, groups) = (&plan.pipeline, groups(plan));
    let (from, messages) = match asked.data {
        Some(path) => (From::File, lines(pipeline, kafka, path)?),
        None if asked.topic => return last(kafka, topic),
        None if has_schemas(kafka) => {
            return Err(Error::refused(
                "messages with schemas can't be made up: measure with the topic's last ones, kolk size --sample",
            ));
        }
        None => (From::Made, made::messages(pipeline, kafka, &topic.decoder.layout, groups, asked.record_bytes)),
    };
    let records = decode(&topic.decoder, &messages)?;
    Ok(Sample { from, messages: Some(messages), records })
}

/// Whether keys or payloads have schemas, which only a registry knows.
fn has_schemas(kafka: &KafkaSource) -> bool {
    kafka.encoding.has_schemas() || kafka.encoding.key_format.has_schema()
}

/// The records of messages; refused if none is good.
fn decode(decoder: &PlannedDecoder, messages: &Messages) -> Result<Records> {
    let decoded = decode_patiently(&mut *decoder.decoder()?, messages, PATIENCE);
    let decoded = decoded.map_err(|error| Error::failed(format!("the sample can't be decoded: {error}")))?;
    if decoded.records.bad.len() < decoded.records.len() {
        return Ok(decoded.records);
    }
    let why = match (decoded.details.first(), decoded.records.bad.first()) {
        (Some((_, detail)), _) => detail.clone(),
        (None, Some((_, reason))) => (*reason).to_string(),
        (None, None) => "there are none".into(),
    };
    Err(Error::refused(format!(
        "no message of the sample is a record of this pipeline: {why}\n\
         measure with real ones: --data FILE (one JSON message a line), or --sample (the topic's last ones)"
    )))
}

fn last(kafka: &KafkaSource, topic: &PlannedTopic) -> Result<Sample> {
    if kafka.topics.is_some() {
        return Err(Error::refused("--sample is for one topic: give messages of them with --data FILE"));
    }
    let sample = LastMessages::take(kafka, topic.partitions, &topic.decoder)
        .map_err(|why| Error::failed(format!("topic {}: its last messages can't be read: {why}", *kafka.topic)))?;
    let fullest = sample.partitions.into_values().max_by_key(|(messages, _)| messages.len());
    let Some((messages, _)) = fullest.filter(|(messages, _)| !messages.is_empty()) else {
        return Err(Error::refused(format!("topic {} has no messages to measure with", *kafka.topic)));
    };
    let records = decode(&topic.decoder, &messages)?;
    Ok(Sample { from: From::Topic, messages: Some(messages), records })
}

/// The messages of a file, one a line.
fn lines(pipeline: &Pipeline, kafka: &KafkaSource, path: &Path) -> Result<Messages> {
    let refused = |what: &dyn std::fmt::Display| Error::refused(format!("{}: {what}", path.display()));
    if has_schemas(kafka) {
        return Err(Error::refused(
            "--data is for JSON, also in keys: measure with the topic's last messages, --sample",
        ));
    }
    let length = std::fs::metadata(path).map_err(|error| refused(&error))?.len();
    if length > BYTES {
        return Err(refused(&"more than 64 MiB: some thousands of messages are enough"));
    }
    let text = std::fs::read(path).map_err(|error| refused(&error))?;
    let mut messages = Messages::of(&kafka.topic, 0);
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    for (index, line) in lines.take(RECORDS).enumerate() {
        let key = made::key(pipeline, kafka, index);
        messages.push(index as i64, made::TIME, key.as_deref(), Some(line));
    }
    if messages.is_empty() { Err(refused(&"there are no messages in it")) } else { Ok(messages) }
}
