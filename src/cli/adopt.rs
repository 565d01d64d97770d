//! `kolk state adopt`: continues from the newest checkpoint of each partition if the group's offsets no longer fit it,
//! or the topic begins after them. First it says what that skips or repeats.

use std::collections::BTreeMap;

use serde_json::Value;

use super::messages::say;
use crate::config::{KafkaSource, Pipeline, Sink};
use crate::error::counted;
use crate::kafka::{Committed, LogRange, Seen, commit, look};
use crate::record::{Origin, PartitionId, SourceTopic};
use crate::runtime::kafka::{AdoptionStep, Situation, adoption_step};
use crate::state::{Kept, Saved, Store};
use crate::storage::Folder;
use crate::{Error, Result};

/// Runs it; `confirmed` asks for confirmation.
///
/// # Errors
/// Refused: a group that is running, no state, a topic created again, no confirmation. Failed: no broker, an unreadable
/// store.
pub fn run(pipeline: &Pipeline, confirmed: &dyn Fn() -> Result<bool>) -> Result<()> {
    let Some(kafka) = pipeline.source.kafka() else {
        return Err(Error::refused(
            "adopt is for a Kafka source: for a Parquet source, the state itself holds the position",
        ));
    };
    match pipeline.sink.as_deref() {
        Some(Sink::Kafka(_)) => adopt(pipeline, kafka, confirmed),
        Some(Sink::Parquet { path, .. }) => {
            let letters = pipeline.dead_letters.folder().map(|at| Folder::open(at)).transpose()?;
            let store = Store::open(&pipeline.state.path, &pipeline.name)?;
            skip(&store.with_targets(Some(Folder::open(path)?), letters), kafka, confirmed)
        }
        _ => Err(Error::refused("without a Kafka or Parquet sink no state is kept: there is nothing to adopt")),
    }
}

/// From Kafka to Kafka: commits offsets that fit the checkpoints.
fn adopt(pipeline: &Pipeline, kafka: &KafkaSource, confirmed: &dyn Fn() -> Result<bool>) -> Result<()> {
    let found = look(kafka)?;
    let store = Store::open(&pipeline.state.path, &pipeline.name)?;
    let kept = kept(&store, kafka, &found)?;
    let mut offsets = Vec::new();
    let mut refused = 0;
    for (partition, (range, committed)) in found.iter().flat_map(|(one, seen)| partitions(kafka, one, seen)) {
        let mut chosen = kept.of(partition)?;
        let decided = loop {
            let (saved, highest) = (chosen.saved.as_slice(), chosen.highest);
            let decided = adoption_step(&Situation { range: *range, committed: committed.as_ref(), saved, highest });
            let AdoptionStep::Adopt(adoption) = &decided else { break decided };
            match adoption.from.clone() {
                Some(from) if !kept.is_whole(partition, &from)? => chosen.saved.retain(|saved: &Saved| *saved != from),
                _ => break decided,
            }
        };
        match decided {
            AdoptionStep::Leave(why) => say(format_args!("partition {partition}: left alone: {why}")),
            AdoptionStep::Refuse(why) => {
                refused += 1;
                say(format_args!("partition {partition}: cannot be resumed: {why}"));
            }
            AdoptionStep::Adopt(adoption) => {
                say(format_args!("partition {partition}: {}", adoption.lines().join("\n  ")));
                offsets.push((partition, adoption.offset, adoption.metadata));
            }
        }
    }
    if refused > 0 {
        return Err(Error::refused(format!(
            "nothing was changed: {} cannot be resumed\nto begin again: kolk state reset",
            counted(refused, "partition")
        )));
    }
    if offsets.is_empty() {
        say("there is nothing to do");
        return Ok(());
    }
    if !confirmed()? {
        return Err(Error::refused("nothing was changed"));
    }
    commit(kafka, &offsets)?;
    say(format_args!("group {} can continue: kolk run", kafka.group.value));
    Ok(())
}

/// The checkpoints of the source's topics.
fn kept(store: &Store, kafka: &KafkaSource, found: &[(KafkaSource, Seen)]) -> Result<Kept> {
    if kafka.topics.is_some() {
        store.refuse_recreated(
            &found.iter().map(|(one, seen)| SourceTopic::new(&one.topic, &seen.topic_id)).collect::<Vec<_>>(),
        )?;
        return Kept::open(store, "");
    }
    Kept::open(store, found.first().map_or("", |(_, seen)| &seen.topic_id))
}

/// The partitions of a topic, as the state names them.
fn partitions<'a>(
    kafka: &KafkaSource,
    one: &KafkaSource,
    seen: &'a Seen,
) -> impl Iterator<Item = (PartitionId, &'a (LogRange, Option<Committed>))> + use<'a> {
    let topic = match kafka.topics.is_some() {
        true => SourceTopic::new(&one.topic, &seen.topic_id),
        false => SourceTopic::ONLY,
    };
    (0..).map(move |number| PartitionId::of(topic, number)).zip(&seen.partitions)
}

/// From Kafka to files: the state itself holds the position; it must skip offsets only if the topic begins after it.
fn skip(store: &Store, kafka: &KafkaSource, confirmed: &dyn Fn() -> Result<bool>) -> Result<()> {
    let Some(fingerprint) = store.fingerprint()? else {
        return Err(Error::refused(format!("pipeline {} has no state in {}", store.pipeline(), store.folder())));
    };
    let found = look(kafka)?;
    if kafka.topics.is_some() {
        kept(store, kafka, &found)?;
    }
    let is_same = |before: &Value| found.iter().all(|(_, seen)| before.as_str() == Some(seen.topic_id.as_str()));
    if fingerprint.sections.get("topic id").is_some_and(|before| !is_same(before)) {
        return Err(Error::refused(format!(
            "topic {} was deleted and created again: its offsets mean other records now\nto begin again: kolk state \
             reset",
            kafka.topic.value
        )));
    }
    let ranges: BTreeMap<PartitionId, LogRange> = found
        .iter()
        .flat_map(|(one, seen)| partitions(kafka, one, seen))
        .map(|(partition, (range, _))| (partition, *range))
        .collect();
    let mut skips: Vec<(PartitionId, i64)> = Vec::new();
    for manifest in store.status()? {
        let partition = manifest.id();
        let Some(range) = ranges.get(&partition) else { continue };
        let offset = manifest.origin.map_or(0, |origin| origin.row as i64 + 1);
        if range.end < offset {
            return Err(Error::refused(format!(
                "partition {partition}: the topic ends at {}, before offset {offset} of the state: it was truncated \
                 or created again\n\
                 to begin again: kolk state reset",
                range.end
            )));
        }
        if range.start > offset {
            say(format_args!(
                "partition {partition}: continues at offset {}, with the state of {} as of offset {offset}\n  \
                 skips offsets {offset} to \
                 {}, which the topic no longer has: their records are in no state\n  repeats nothing",
                range.start,
                counted(manifest.keys, "key"),
                range.start - 1
            ));
            skips.push((partition, range.start));
        } else {
            say(format_args!(
                "partition {partition}: left alone: it continues at offset {offset}, which the topic has"
            ));
        }
    }
    if skips.is_empty() {
        say("there is nothing to do: with a file sink the state holds the position, whatever the group's offsets are");
        return Ok(());
    }
    if !confirmed()? {
        return Err(Error::refused("nothing was changed"));
    }
    skips.into_iter().try_for_each(|(partition, start)| skip_to(store, partition, start))
}

/// Commits the same state at a later offset.
fn skip_to(store: &Store, partition: PartitionId, start: i64) -> Result<()> {
    let Some(manifest) = store.recover(partition)? else { return Ok(()) };
    let mut checkpoint = store.load(&manifest)?;
    checkpoint.origin = Some(Origin { file: 0, row: start as u64 - 1 });
    store.commit(partition, Some(&manifest), &checkpoint, Vec::new(), None).map(|_| ())
}
