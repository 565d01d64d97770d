//! The typed pipeline, except its `train` section (`training`). Fields are named as in the file (`docs/pipeline.md`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::search::Search;
use super::words::word_of;
use super::{
    At, DeadLetters, Delivery, Encoding, Infer, KafkaSink, KafkaSource, Key, KeyFormat, LettersSource, Moment, Record,
    Span, Stage, Train,
};
use crate::problem::Place;

/// One pipeline file.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The file itself.
    pub file: PathBuf,
    /// Name of the pipeline; state is kept under it.
    pub name: At<String>,
    /// Where records come from.
    pub source: Source,
    /// Which columns are key, time and values.
    pub record: Record,
    /// What to do with records that are not as they should be.
    pub on: Policies,
    /// Where refused records go; by default the folder `dead_letters/` next to the pipeline file.
    pub dead_letters: At<DeadLetters>,
    /// Operators in order.
    pub stages: Vec<At<Stage>>,
    /// Where output goes. Only `run` needs one.
    pub sink: Option<At<Sink>>,
    /// Where state is kept and how often.
    pub state: State,
    /// Threads, batches, HTTP.
    pub runtime: Runtime,
    /// Labels that every metric has, in order.
    pub metric_labels: Vec<(At<String>, String)>,
    /// The registry's root; by default `models/` next to the pipeline file.
    pub models: At<PathBuf>,
    /// Files of the public keys of which one has to have signed a version; none: unsigned versions are taken too.
    pub public_keys: Vec<At<PathBuf>>,
    /// How to train, for `kolk train`.
    pub train: Option<At<Train>>,
    /// Fields of `train` with values to try.
    pub search: Option<Search>,
    /// How the user wrote durations and moments whose canonical form is another: `14d` for `2w`.
    pub written: BTreeMap<String, String>,
}

impl Pipeline {
    /// The folder that relative paths of the file are relative to.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    /// The command that deletes its state.
    pub fn reset_command(&self) -> String {
        format!("kolk state reset {}", quoted(&self.file))
    }

    /// The command that trains its model.
    pub fn train_command(&self) -> String {
        format!("kolk train {}", quoted(&self.file))
    }

    /// How the records' keys are written in messages; text where they aren't the messages' keys.
    pub fn key_format(&self) -> KeyFormat {
        match (self.source.encoding(), &self.record.key) {
            (Some(Encoding { key: Some(name), key_format, .. }), Key::Column(key)) if name.value == key.value => {
                *key_format
            }
            _ => KeyFormat::Text,
        }
    }

    /// The `infer` stage, if the pipeline has one.
    pub fn infer(&self) -> Option<At<&Infer>> {
        self.stages.iter().find_map(|stage| match &stage.value {
            Stage::Infer(infer) => Some(At { value: infer, place: stage.place }),
            _ => None,
        })
    }
}

/// A path as an argument of a command.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ':' | '@');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// A path (absolute; relative ones are to the pipeline file's folder) or a URL (`s3://`, `gs://`, `az://`), as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location(pub String);

/// `source:`
#[derive(Debug, Clone)]
pub struct Source {
    /// What is read.
    pub input: Input,
    /// Records before it are not read.
    pub from: Option<At<Moment>>,
    /// Records at or after it are not read.
    pub until: Option<At<Moment>>,
    /// Records before it advance the state, without output.
    pub emit_from: Option<At<Moment>>,
}

impl Source {
    /// The path of a source of files.
    pub fn path(&self) -> Option<&At<Location>> {
        match &self.input {
            Input::Parquet(files) => Some(&files.path),
            Input::DeadLetters(letters) => Some(&letters.path),
            Input::Kafka(_) => None,
        }
    }

    /// The Kafka source, if it is one.
    pub fn kafka(&self) -> Option<&KafkaSource> {
        match &self.input {
            Input::Kafka(kafka) => Some(kafka),
            Input::Parquet(_) | Input::DeadLetters(_) => None,
        }
    }

    /// The same, to be changed by arguments of the command.
    pub fn kafka_mut(&mut self) -> Option<&mut KafkaSource> {
        match &mut self.input {
            Input::Kafka(kafka) => Some(kafka),
            Input::Parquet(_) | Input::DeadLetters(_) => None,
        }
    }

    /// How its messages become records, where it has messages.
    pub fn encoding(&self) -> Option<&Encoding> {
        match &self.input {
            Input::Kafka(kafka) => Some(&kafka.encoding),
            Input::DeadLetters(letters) => Some(&letters.encoding),
            Input::Parquet(_) => None,
        }
    }
}

/// What `source:` reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// `parquet: { path, order }`
    Parquet(ParquetFiles),
    /// `kafka: { … }`
    Kafka(Box<KafkaSource>),
    /// `dead_letters: { path, … }`
    DeadLetters(Box<LettersSource>),
}

/// `parquet: { path, order }`
#[derive(Debug, Clone, Default)]
pub struct ParquetFiles {
    /// File, folder, glob or URL; of a list the first entry.
    pub path: At<Location>,
    /// The entries if `path` is a list: files, in the order in which they are read.
    pub list: Vec<At<Location>>,
    /// The order in which files are read.
    pub order: At<FileOrder>,
}

impl From<At<Location>> for ParquetFiles {
    fn from(path: At<Location>) -> ParquetFiles {
        ParquetFiles { path, ..ParquetFiles::default() }
    }
}

/// `order:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileOrder {
    /// By their paths, or as they are listed.
    #[default]
    Path,
    /// By their first times, as their footers say.
    Time,
}

/// `on:`
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Null, NaN or infinite values.
    pub null: OnNull,
    /// Records older than their key's newest, beyond `reorder`.
    pub late: OnLate,
    /// How long records are held per key so that they can be emitted in the order of their times; zero by default.
    pub reorder: Option<At<Span>>,
    /// How far a record's time may be ahead of its message's timestamp; `None`: any far.
    pub ahead: Option<At<Span>>,
    /// Which records show that a bucket is over, and that a held record may be emitted.
    pub watermark: Watermark,
    /// Messages with a key and without a payload.
    pub tombstone: OnTombstone,
    /// Records that can't be decoded: null key, null time.
    pub error: OnError,
    /// Partitions that a topic gets.
    pub partitions: At<OnPartitions>,
}

/// `on.partitions`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnPartitions {
    /// A topic must keep their number: with more of them, most producers send keys elsewhere, away from their state.
    #[default]
    Refuse,
    /// New partitions begin with no state: the producers leave keys where they are.
    Adopt,
}

/// `on.watermark`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watermark {
    /// Those of the key itself.
    #[default]
    Key,
    /// Those of any key of its partition.
    Partition,
}

/// `on.tombstone`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTombstone {
    /// All that is remembered of the key is forgotten.
    #[default]
    Reset,
    /// Nothing happens.
    Skip,
    /// To the dead letters.
    DeadLetter,
}

/// `on.null`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnNull {
    /// The key's last value is used, marked as not observed. Before there is one: as `skip`.
    #[default]
    Carry,
    /// No step is taken; the row is written with a null prediction.
    Skip,
    /// As `skip`, and the key's recurrent state is reset.
    Reset,
    /// The record goes to the dead letters.
    Refuse,
}

/// The words of `on.null`.
pub(super) const ON_NULL: [(&str, OnNull); 4] =
    [("carry", OnNull::Carry), ("skip", OnNull::Skip), ("reset", OnNull::Reset), ("refuse", OnNull::Refuse)];

impl OnNull {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&ON_NULL, self)
    }
}

/// `on.late`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLate {
    /// Taken in the order of the source.
    #[default]
    Process,
    /// To the dead letters.
    DeadLetter,
}

/// `on.error`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// To the dead letters.
    #[default]
    DeadLetter,
    /// The run fails.
    Refuse,
}

/// `sink:`
#[derive(Debug, Clone)]
pub enum Sink {
    /// `parquet: { path, fields, part_records }`
    Parquet {
        /// Folder or URL.
        path: At<Location>,
        /// Further columns of the record that are written.
        fields: Vec<At<String>>,
        /// A part holds the output of at most that many input records of a partition.
        part_records: u64,
    },
    /// `stdout: { fields }`: JSON lines.
    Stdout {
        /// Further columns of the record that are written.
        fields: Vec<At<String>>,
    },
    /// `kafka: { … }`
    Kafka(Box<KafkaSink>),
}

impl Sink {
    /// Input records of a part, unless written otherwise.
    pub const PART_RECORDS: u64 = 131_072;

    /// Further columns of the record that are written.
    pub fn fields(&self) -> &[At<String>] {
        match self {
            Sink::Parquet { fields, .. } | Sink::Stdout { fields } => fields,
            Sink::Kafka(kafka) => &kafka.fields,
        }
    }
}

/// `state:`
#[derive(Debug, Clone)]
pub struct State {
    /// Folder or URL; by default `state/` next to the pipeline file. Holds one folder per pipeline name.
    pub path: At<Location>,
    /// A checkpoint is due when that long has passed since the last, nanoseconds.
    pub checkpoint_every: std::time::Duration,
    /// A checkpoint is due after that many records of a partition.
    pub or_records: u64,
    /// Virtual partitions of a Parquet source.
    pub partitions: u32,
}

/// `runtime:`
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Worker threads.
    pub workers: usize,
    /// Records of a micro-batch at most.
    pub batch: usize,
    /// Kafka: how long a micro-batch may wait to fill, 5 ms by default.
    pub linger: std::time::Duration,
    /// Kafka: what a crash may do to the output.
    pub delivery: At<Delivery>,
    /// Kafka: a transaction is committed after that time, 100 ms by default.
    pub commit_every: std::time::Duration,
    /// Kafka to Kafka: how often the registry is asked for a new champion, 10 s by default; `None`: at the start only.
    pub model_every: Option<std::time::Duration>,
    /// Kafka: how long SIGTERM may take to drain, commit and checkpoint, 25 s by default (Kubernetes kills after 30).
    pub grace: std::time::Duration,
    /// Kafka: name of this process, for stable transactional ids; without it a restart waits for a timeout (20 s).
    pub instance: Option<At<String>>,
    /// Where metrics and health are served; by default they are not.
    pub http: Option<At<super::Http>>,
    /// What networks run on.
    pub device: At<Device>,
}

/// `device:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// This CUDA device.
    Cuda(i32),
    /// CUDA if there is all that it needs, else the CPU.
    Auto,
}

/// What a file without `runtime:` has, on one worker.
impl Default for Runtime {
    fn default() -> Self {
        Runtime {
            workers: 1,
            batch: 4096,
            linger: std::time::Duration::from_millis(5),
            delivery: At::default(),
            commit_every: std::time::Duration::from_millis(100),
            model_every: Some(std::time::Duration::from_secs(10)),
            grace: std::time::Duration::from_secs(25),
            instance: None,
            http: None,
            device: At::default(),
        }
    }
}

/// Where a section that was not written would have stood.
pub const NOWHERE: Place = Place::new(0, 0);
