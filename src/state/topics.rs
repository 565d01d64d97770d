//! The topics of a source that reads several: what state knows of each.
//!
//! State is per topic: `<pipeline>/topic-<id>/<partition>/`, with `topic.json` beside the partitions, which says whose
//! id it is. A topic of the same name and another id was created again: its offsets mean other records, so it is
//! refused. `topics.json` has the topics of the first start; one that comes later is read from its beginning.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Store;
use super::chain::{TOPIC, topic_folder};
use super::manifest::OfTopic;
use crate::error::Context;
use crate::record::SourceTopic;
use crate::{Error, Result};

/// What to do where a topic has more partitions.
pub const GROWTH: &str = "to begin again: kolk state reset, or another name; to keep the state: a topic that keeps its \
                          number of partitions, or, if the producers leave keys where they are, \
                          on: { partitions: adopt }";

const FIRST: &str = "topics.json";
const TAKEN: &str = "topic.json";

/// A topic that state knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownTopic {
    /// Name and id.
    pub of: SourceTopic,
    /// Partitions that it had when it was first read.
    pub partitions: u32,
    /// Whether it came after the first start.
    pub is_later: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    format: u32,
    topic: OfTopic,
    partitions: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    later: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct First {
    format: u32,
    topics: BTreeSet<String>,
}

impl Store {
    /// The topics that were ever read; none where the source has one.
    ///
    /// # Errors
    /// A store that can't be read.
    pub fn topics(&self) -> Result<Vec<KnownTopic>> {
        let mut known = Vec::new();
        for folder in self.folder().folders()?.into_iter().filter(|folder| folder.starts_with(TOPIC)) {
            known.extend(self.taken(&folder)?);
        }
        Ok(known)
    }

    fn taken(&self, folder: &str) -> Result<Option<KnownTopic>> {
        let taken: Option<Taken> = self.json(&self.folder().folder(folder), TAKEN)?;
        let known = |it: Taken| KnownTopic { of: it.topic.topic(), partitions: it.partitions, is_later: it.later };
        Ok(taken.map(known))
    }

    /// Refuses topics whose names state knows with other ids.
    ///
    /// # Errors
    /// That, and a store that can't be read.
    pub fn refuse_recreated<'a>(&self, found: impl IntoIterator<Item = &'a SourceTopic>) -> Result<()> {
        let known: BTreeMap<&str, &str> =
            self.topics()?.into_iter().filter_map(|known| known.of.name().map(|name| (name, known.of.id()))).collect();
        for topic in found {
            let name = topic.name().unwrap_or_default();
            if known.get(name).is_some_and(|id| *id != topic.id()) {
                return Err(Error::refused(format!(
                    "topic {name} was deleted and created again: the state in {} is of the topic that is gone, and its \
                     offsets mean other records now\n\
                     to begin again with what the new topic holds: kolk state reset --topic {name}",
                    self.folder()
                )));
            }
        }
        Ok(())
    }

    /// Refuses topics that were created again, and those with more partitions than they had when they were first read,
    /// unless `adopts`.
    ///
    /// # Errors
    /// That, and a store that can't be read.
    pub fn agrees_with_topics(&self, found: &[(SourceTopic, u32)], adopts: bool) -> Result<()> {
        self.refuse_recreated(found.iter().map(|(topic, _)| topic))?;
        let known = self.topics()?;
        let grown = |(topic, count): &&(SourceTopic, u32)| {
            known.iter().any(|known| known.of == *topic && known.partitions < *count)
        };
        match found.iter().find(grown).filter(|_| !adopts) {
            None => Ok(()),
            Some((topic, count)) => Err(Error::refused(format!(
                "topic {} has {count} partitions, more than when it was first read: from then on its keys went to \
                 other partitions, away from their state\n{GROWTH}",
                topic.name().unwrap_or_default()
            ))),
        }
    }

    /// Takes topics up, with the number of their partitions. Those that are known stay as they are; the others are of
    /// the first start if it is this one. The state must be begun.
    ///
    /// # Errors
    /// Refused: a topic that was created again. A store that can't be written.
    pub fn take_up(&self, found: &[(SourceTopic, u32)]) -> Result<Vec<KnownTopic>> {
        self.refuse_recreated(found.iter().map(|(topic, _)| topic))?;
        let names = || found.iter().filter_map(|(topic, _)| topic.name()).map(str::to_string).collect();
        let first: Option<First> = self.json(self.folder(), FIRST)?;
        let first = match first {
            Some(first) => first,
            None => {
                let mine = First { format: 1, topics: names() };
                match self.folder().create(FIRST, pretty(&mine)?)? {
                    true => mine,
                    // Another process was quicker.
                    false => self.json(self.folder(), FIRST)?.unwrap_or(mine),
                }
            }
        };
        let mut known = Vec::with_capacity(found.len());
        for (topic, partitions) in found {
            let folder = topic_folder(topic.id());
            if let Some(there) = self.taken(&folder)? {
                known.push(there);
                continue;
            }
            let (Some(of), Some(name)) = (OfTopic::of(*topic), topic.name()) else { continue };
            let later = !first.topics.contains(name);
            let taken = Taken { format: 1, topic: of, partitions: *partitions, later };
            self.folder().folder(&folder).create(TAKEN, pretty(&taken)?)?;
            known.extend(self.taken(&folder)?);
        }
        Ok(known)
    }

    /// Deletes the state of a topic, so that it is a new one. False: there is none.
    ///
    /// # Errors
    /// A store that can't be written.
    pub fn forget_topic(&self, name: &str) -> Result<bool> {
        let known = self.topics()?.into_iter().filter(|known| known.of.name() == Some(name));
        let mut found = false;
        for topic in known {
            self.folder().folder(&topic_folder(topic.of.id())).remove_all()?;
            found = true;
        }
        Ok(found)
    }
}

fn pretty(what: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(what).or_failed(|| "cannot write what is known of a topic".into())
}
