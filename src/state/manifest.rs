//! What a commit says: the manifest of a partition, the parts it brings, and the fingerprint of the pipeline.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::difference::{Change, Sides, Written, of_section};
use super::{FieldSpec, SourceFiles};
use crate::Result;
use crate::error::Context;
use crate::record::{Origin, PartitionId, SourceTopic};

/// Folder, below an output folder, of parts that no manifest names yet. Readers of folders skip names with `_`.
pub const STAGED: &str = "_kolk/staged";

/// One commit of one partition: `<pipeline>/<partition>/<sequence>.json` in the state folder. It is never changed; that
/// it can be created only once is what keeps two processes off one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the manifest itself; 1.
    pub format: u32,
    /// Number of the partition.
    pub partition: u32,
    /// Its topic, where the source has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<OfTopic>,
    /// The process that made it, by a random number.
    pub owner: String,
    /// Number of the commit within the partition, from 0.
    pub sequence: u64,
    /// Records of the partition that are done.
    pub position: u64,
    /// Position of the last of them in the source.
    pub origin: Option<Origin>,
    /// Whether the source was at its end.
    pub finished: bool,
    /// If so, how many files it had; not in what was written before a source could grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<usize>,
    /// Parts with what stages held back, emitted because the source ended. The state is as of before that. If the
    /// source grows, the next commit removes them: their rows come again, in their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<String>,
    /// The `tail` of the commit before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removes: Vec<String>,
    /// Keys the partition has.
    pub keys: u64,
    /// File name of the checkpoint, next to the manifest.
    pub checkpoint: String,
    /// Its length.
    pub checkpoint_bytes: u64,
    /// Its crc32.
    pub checkpoint_crc32: u32,
    /// Parts of the output that this commit makes visible.
    pub parts: Vec<Part>,
    /// The checkpoint's `extra`.
    pub counters: BTreeMap<String, u64>,
    /// The version of the model that the state, and the rows since the last commit, were made with; empty without a
    /// model, and in what was written before manifests said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Whose words are where in a row; empty in what was written before manifests said so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowSpan>,
    /// What it was computed with: ONNX Runtime, CPU features.
    pub environment: BTreeMap<String, String>,
}

/// A topic among several, as state names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
}

impl OfTopic {
    /// How state names a topic; `None` for the only one.
    pub fn of(topic: SourceTopic) -> Option<OfTopic> {
        topic.name().map(|name| OfTopic { name: name.into(), id: topic.id().into() })
    }

    /// The topic.
    pub fn topic(&self) -> SourceTopic {
        SourceTopic::new(&self.name, &self.id)
    }
}

impl Manifest {
    /// The partition.
    pub fn id(&self) -> PartitionId {
        PartitionId::of(self.topic.as_ref().map_or(SourceTopic::ONLY, OfTopic::topic), self.partition)
    }

    /// Files at the start of the source that have been read, the last one perhaps in part. For commits that don't say
    /// it: there were `known`, or `hashed` where an earlier version kept a hash of them.
    pub fn files_read(&self, known: usize, hashed: Option<usize>) -> usize {
        match (self.finished, self.files) {
            (true, Some(files)) => files,
            (true, None) => hashed.unwrap_or(known),
            (false, _) => self.origin.map_or(0, |origin| origin.file as usize + 1),
        }
    }
}

/// The end of a source, for a commit.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// Files of the source.
    pub files: usize,
    /// How many of the commit's parts, the last ones, hold what only the end made stages emit.
    pub tail: usize,
    /// Counters with what the end added.
    pub counters: BTreeMap<String, u64>,
}

/// Which folder a part belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The sink's.
    Output,
    /// The dead letters'.
    DeadLetters,
}

/// A finished file, uploaded where no reader looks, until a commit names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it belongs.
    pub target: Target,
    /// Its final name in the target's folder.
    pub name: String,
    /// Its name in that folder until then; it contains a hash of the content, so that two writers never share it.
    pub staged: String,
    /// Rows in it, at least one.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// sha256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Target {
    /// The start of the names of a partition's parts.
    pub fn stem(self, pipeline: &str, partition: PartitionId) -> String {
        let topic = partition.topic.name().map(|name| format!("{name}-")).unwrap_or_default();
        let number = partition.number;
        match self {
            Target::Output => format!("part-{topic}{number:05}-"),
            // Pipelines of one folder share its dead letters.
            Target::DeadLetters => format!("dead-{pipeline}-{topic}{number:05}-"),
        }
    }

    /// The final name of the part that begins at a position; one with output that no record caused has the number of
    /// its commit, since another part may begin there too.
    pub fn part(self, pipeline: &str, partition: PartitionId, first: u64, commit: Option<u64>) -> String {
        let commit = commit.map(|number| format!("-{number:06}")).unwrap_or_default();
        format!("{}{first:012}{commit}.parquet", self.stem(pipeline, partition))
    }

    /// Its name until it is committed.
    pub fn staged(self, pipeline: &str, partition: PartitionId, first: u64, sha256: &str) -> String {
        let sum = sha256.get(..16).unwrap_or(sha256);
        format!("{STAGED}/{pipeline}.{}{first:012}.{sum}", self.stem(pipeline, partition))
    }

    /// Whether a file of the staged folder is a part of that partition that begins before a position.
    pub(super) fn is_before(self, file: &str, pipeline: &str, partition: PartitionId, position: u64) -> bool {
        file.strip_prefix(&format!("{pipeline}.{}", self.stem(pipeline, partition)))
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(first, _)| first.parse::<u64>().ok())
            .is_some_and(|first| first < position)
    }
}

/// What state was made by, section by section, so that a later start can say which one changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of the fingerprint itself: [`Fingerprint::VERSION`]; 0 for what was written before it had one.
    #[serde(default)]
    pub version: u32,
    /// Everything that changes results, by name (`source`, `record`, `stages`, `model`, `sink`, …): must be equal. Each
    /// in canonical form, without what has its default. Before version 2, a text.
    pub sections: BTreeMap<String, Value>,
    /// What results depend on in their last bits only (ONNX Runtime, CPU features), and the tz database. A change is
    /// logged, not refused.
    pub environment: BTreeMap<String, String>,
    /// Virtual partitions.
    pub partitions: u32,
    /// Whose words are where in a row of state.
    pub rows: Vec<RowSpan>,
    /// The user's words for values that are kept in another form, to show them. Not compared.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    pub written: Written,
    /// The command that deletes the state, for messages. Not kept.
    #[serde(skip)]
    pub reset: String,
    /// The files of the source, where it has any. State goes on with those that come behind them.
    #[serde(default, skip_serializing_if = "no_files")]
    pub source: SourceFiles,
}

fn no_files(source: &SourceFiles) -> bool {
    source.files.is_empty()
}

/// One stage's part of a row of state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSpan {
    /// The stage, or `engine` for the header of the row.
    pub stage: String,
    /// First word.
    pub start: usize,
    /// Words.
    pub width: usize,
    /// What they mean; empty in what was written before fields had names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldSpec>,
}

impl Change {
    /// Logs a change of what results were computed with.
    pub fn warn(&self) {
        let effect = match self.field.as_str() {
            TZ_DATABASE => "new output may differ from the old where the rules of a time zone changed",
            _ => "the last bits of new output may differ from those of the old",
        };
        tracing::warn!(section = self.field, before = self.before, now = self.now, "{effect}");
    }
}

/// The part of the environment with the version of the tz database; only where a time zone matters.
pub const TZ_DATABASE: &str = "tz_database";
/// What all versions had compiled in that said nothing of it.
const FIRST_TZ_DATABASE: &str = "2025b";

impl Fingerprint {
    /// The version that is written.
    pub const VERSION: u32 = 2;

    /// Whether it is of a version that kept a hash of the source's files and no list.
    pub(super) fn has_hash_of_files(&self) -> bool {
        match self.sections.get("source") {
            Some(Value::String(_)) => self.source.files.is_empty(),
            Some(section) => section.get("files").is_some() && self.source.files.is_empty(),
            None => false,
        }
    }

    /// Differences that change results, field by field; those of the source's files aside.
    pub fn changes(&self, now: &Fingerprint) -> Vec<Change> {
        let mut changes = Vec::new();
        let sides = Sides { before: &self.written, now: &now.written };
        for name in names(&self.sections, &now.sections) {
            changes.extend(of_section(name, self.sections.get(name), now.sections.get(name), sides));
        }
        let add = |changes: &mut Vec<Change>, field: &str, before: String, now: String| {
            if before != now {
                changes.push(Change { field: field.into(), before, now });
            }
        };
        let of_topic = now.sections.get("source").is_some_and(|source| source.get("reads").is_some());
        let partitions = if of_topic { "partitions of the topic" } else { "state.partitions" };
        add(&mut changes, partitions, self.partitions.to_string(), now.partitions.to_string());
        let rows = |spans: &[RowSpan]| {
            let spans: Vec<String> = spans.iter().map(|s| format!("{}@{}+{}", s.stage, s.start, s.width)).collect();
            spans.join(" ")
        };
        // They follow from the stages, which say it better.
        if changes.is_empty() {
            add(&mut changes, "rows of state", rows(&self.rows), rows(&now.rows));
        }
        changes
    }

    /// A hash of what must be equal.
    pub(super) fn hash(&self) -> Result<String> {
        // Names of fields tell what words mean and change none of them.
        let bare = |span: &RowSpan| RowSpan { fields: Vec::new(), ..span.clone() };
        let rows: Vec<RowSpan> = self.rows.iter().map(bare).collect();
        let text = serde_json::to_vec(&(&self.sections, self.partitions, &rows))
            .or_failed(|| "cannot write the fingerprint".into())?;
        Ok(Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Differences that may show in the last bits, or where the rules of a time zone changed.
    pub fn environment_changes(&self, now: &Fingerprint) -> Vec<Change> {
        let mut before = self.environment.clone();
        if now.environment.contains_key(TZ_DATABASE) {
            before.entry(TZ_DATABASE.into()).or_insert_with(|| FIRST_TZ_DATABASE.into());
        }
        differences(&before, &now.environment)
    }
}

/// Names of either side.
fn names<'a, T>(before: &'a BTreeMap<String, T>, now: &'a BTreeMap<String, T>) -> BTreeSet<&'a str> {
    before.keys().chain(now.keys()).map(String::as_str).collect()
}

fn differences(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<Change> {
    names(before, now)
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| Change {
            field: name.to_string(),
            before: before.get(name).cloned().unwrap_or_default(),
            now: now.get(name).cloned().unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made_by(sections: Value) -> Fingerprint {
        Fingerprint {
            version: Fingerprint::VERSION,
            sections: serde_json::from_value(sections).unwrap(),
            ..Fingerprint::default()
        }
    }

    #[test]
    fn what_differs_is_named_with_both_sides() {
        let before = made_by(json!({
            "record": {"time": "ts", "values": ["a"]}, "model": {"version": "m/1"},
            "stages": [{"scale": {"half_life": "5d"}}, {"lags": [["a", [1]]]}],
        }));
        let now = made_by(json!({
            "record": {"time": "time", "unit": "ms", "values": ["a", "b"]},
            "stages": [{"scale": {"half_life": "6d"}}, {"lags": [["a", [1, 2]]]}],
        }));
        let changes: Vec<String> =
            before.changes(&now).iter().map(|c| format!("{}: {} -> {}", c.field, c.before, c.now)).collect();
        assert_eq!(
            changes,
            [
                "model: { version: m/1 } -> (not written)",
                "record.time: ts -> time",
                "record.time.unit: (not written) -> ms",
                "record.values: [a] -> [a, b]",
                "stages[0].scale.half_life: 5d -> 6d",
                "stages[1].lags.a: [1] -> [1, 2]",
            ]
        );
        assert!(before.changes(&before).is_empty());
    }

    /// What was written before there were versions is read, and hashes as it did.
    #[test]
    fn the_hash_of_earlier_texts_is_what_it_was() {
        let text = r#"{"sections": {"record": "Record { … }"}, "environment": {}, "partitions": 2, "rows": []}"#;
        let before: Fingerprint = serde_json::from_str(text).unwrap();
        assert_eq!(before.version, 0);
        let sections = BTreeMap::from([("record".to_string(), "Record { … }".to_string())]);
        let rows: Vec<RowSpan> = Vec::new();
        let expected = Sha256::digest(serde_json::to_vec(&(&sections, 2_u32, &rows)).unwrap());
        let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(before.hash().unwrap(), expected);
    }
}
