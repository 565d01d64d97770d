//! `kolk state`: prints, exports and deletes the state of a pipeline; `adopt` continues from it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::messages::say;
use super::state_export::exported;
use super::{adopt, reset};
use crate::config::{Location, Moment, Pipeline, Start};
use crate::error::{Context, counted, printable};
use crate::record::{PartitionId, murmur2, partition_of};
use crate::state::{Checkpoint, FieldSpec, FieldValue, Fingerprint, RowSpan, Store, Stored};
use crate::storage::Folder;
use crate::{Error, Result};

/// Keys whose rows are exported at a time.
const EXPORTED: usize = 4096;

/// Arguments of `kolk state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: StateCommand,
}

/// What to do with the state of a pipeline.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Print the newest checkpoint of every partition: position, keys, size
    List {
        /// The pipeline file.
        pipeline: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// What is remembered of one key, as JSON: for each stage the names, types and values of its fields.
    Get {
        /// The pipeline file.
        pipeline: PathBuf,
        /// The key as text.
        key: String,
    },
    /// Write the state of all keys to a Parquet file: key, partition, slot, per stage a list of 64-bit words, and each
    /// of its fields by name and type
    Export {
        /// The pipeline file.
        pipeline: PathBuf,
        /// The file to write; it must not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Delete the state of a pipeline, so that its next run starts from scratch. The output stays
    Reset {
        /// The pipeline file.
        pipeline: PathBuf,
        /// Also delete the pipeline's output and dead letters, if they are files
        #[arg(long)]
        output: bool,
        /// On Kafka: where the next run begins in every partition: earliest, latest, a time, or an offset. Default:
        /// `start` of the pipeline file
        #[arg(long, value_name = "TIME|OFFSET", value_parser = start_at)]
        to: Option<Start>,
        /// With `topics`: only the state of this topic, which begins at its first message then, or at `--to`
        #[arg(long, value_name = "NAME", conflicts_with = "output")]
        topic: Option<String>,
        /// Don't ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// On Kafka: continue from the newest checkpoint of each partition if the group's offsets expired or were moved by
    /// hand, or the topic begins after them. First says what that skips or repeats
    Adopt {
        /// The pipeline file.
        pipeline: PathBuf,
        /// Don't ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

impl StateArgs {
    /// The pipeline file.
    pub fn pipeline(&self) -> &Path {
        match &self.command {
            StateCommand::List { pipeline, .. }
            | StateCommand::Get { pipeline, .. }
            | StateCommand::Export { pipeline, .. }
            | StateCommand::Reset { pipeline, .. }
            | StateCommand::Adopt { pipeline, .. } => pipeline,
        }
    }
}

/// Runs the command on the pipeline of its file. Data goes to `out`, messages to stderr.
///
/// # Errors
/// Refused: no state, an unknown key, a file that already exists. Failed: damaged state.
pub fn run(args: &StateArgs, pipeline: &Pipeline, out: &mut impl Write) -> Result<()> {
    match &args.command {
        StateCommand::List { json, .. } => list(&open(pipeline)?, *json, out),
        StateCommand::Get { key, .. } => get(&open(pipeline)?, key, out),
        StateCommand::Export { to, .. } => export(&open(pipeline)?, to),
        StateCommand::Reset { to, topic: Some(topic), yes, .. } => reset::topic(pipeline, topic, *to, *yes),
        StateCommand::Reset { output, to, yes, .. } => reset::all(pipeline, *output, *to, *yes),
        StateCommand::Adopt { yes, .. } => adopt::run(pipeline, &|| Ok(*yes || confirmed("changed")?)),
    }
}

pub(super) fn open(pipeline: &Pipeline) -> Result<Store> {
    Store::open(&pipeline.state.path, &pipeline.name)
}

fn made_by(store: &Store) -> Result<Fingerprint> {
    store.fingerprint()?.ok_or_else(|| {
        Error::refused(format!("pipeline {} has no state in {}: it was never run", store.pipeline(), store.folder()))
    })
}

fn list(store: &Store, as_json: bool, out: &mut impl Write) -> Result<()> {
    let newest = if store.fingerprint()?.is_some() { store.stored()? } else { Vec::new() };
    if as_json {
        let partitions: Vec<Value> = newest
            .iter()
            .map(|m| {
                let shown = json!({ "partition": m.partition.number, "position": m.position, "keys": m.keys,
                    "bytes": m.bytes, "sequence": m.sequence, "offset": m.offset, "model": m.model(),
                    "finished": m.finished });
                with_topic(shown, m.partition)
            })
            .collect();
        return write(out, &format!("{}\n", Value::from(partitions)));
    }
    if newest.is_empty() {
        say(format_args!("pipeline {} has no state in {}", store.pipeline(), store.folder()));
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["partition", "position", "keys", "bytes", "sequence", "offset", "finished"]);
    let row = |m: &Stored| {
        [m.partition.to_string(), m.position.to_string(), m.keys.to_string(), m.bytes.to_string()]
            .into_iter()
            .chain([m.sequence.to_string(), m.offset.map_or("-".into(), |offset| offset.to_string())])
            .chain([if m.finished { "yes".into() } else { "no".into() }])
    };
    newest.iter().for_each(|m| {
        table.add_row(row(m));
    });
    let sum = |of: fn(&Stored) -> u64| newest.iter().map(of).sum::<u64>().to_string();
    table.add_row(["all".to_string(), sum(|m| m.position), sum(|m| m.keys), sum(|m| m.bytes)]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    write(out, &format!("{}\n", table.trim_fmt()))
}

/// With the topic, where there are several.
fn with_topic(mut shown: Value, partition: PartitionId) -> Value {
    if let Some(topic) = partition.topic.name() {
        shown["topic"] = json!(topic);
    }
    shown
}

fn get(store: &Store, key: &str, out: &mut impl Write) -> Result<()> {
    let made_by = made_by(store)?;
    let found = find(store, &made_by, key)?;
    if found.is_empty() {
        return Err(Error::refused(format!("pipeline {} has no key \"{}\"", store.pipeline(), printable(key))));
    }
    found.into_iter().try_for_each(|found| show(store, &made_by, key, found, out))
}

fn show(
    store: &Store,
    made_by: &Fingerprint,
    key: &str,
    (found, checkpoint, slot): (Stored, Checkpoint, u32),
    out: &mut impl Write,
) -> Result<()> {
    let row = checkpoint.row(slot)?;
    let stages: Vec<Value> = spans(made_by, &found, &checkpoint)?
        .iter()
        .map(|(name, span)| {
            let words = &row[span.start..span.start + span.width];
            if span.fields.is_empty() {
                // Written before fields had names.
                let words: Vec<String> = words.iter().map(|word| format!("{word:016x}")).collect();
                return Ok(json!({ "stage": name, "words": words }));
            }
            let fields = span.fields.iter().map(|field| shown(field, words).ok_or_else(disagree));
            Ok(json!({ "stage": name, "fields": fields.collect::<Result<Vec<Value>>>()? }))
        })
        .collect::<Result<_>>()?;
    let state = json!({ "pipeline": store.pipeline(), "key": key, "partition": found.partition.number, "slot": slot,
        "sequence": found.sequence, "position": found.position, "offset": found.offset, "finished": found.finished, "stages": stages });
    write(out, &format!("{:#}\n", with_topic(state, found.partition)))
}

/// A field with its values; null for a number that isn't finite, and for a time or bucket that there is none of.
fn shown(field: &FieldSpec, words: &[u64]) -> Option<Value> {
    let value = |value: FieldValue| match value {
        FieldValue::F64(value) => json!(value),
        FieldValue::F32(value) => json!(value),
        FieldValue::I64(i64::MIN) => Value::Null,
        FieldValue::I64(value) => json!(value),
        FieldValue::U64(value) => json!(value),
        FieldValue::Flag(value) => json!(value),
    };
    let mut values: Vec<Value> = field.values(words)?.into_iter().map(value).collect();
    let value = if field.length.is_some() { Value::from(values) } else { values.pop()? };
    Some(json!({ "name": field.name, "type": field.of, "value": value }))
}

fn disagree() -> Error {
    Error::failed("the checkpoint and its description disagree on the width of a row")
}

/// The newest checkpoints that have a key, and its slot in them: one, or one of each topic. A stream's partitions are
/// those of its topic, whose producers may use another partitioner: then all must be searched.
fn find(store: &Store, made_by: &Fingerprint, key: &str) -> Result<Vec<(Stored, Checkpoint, u32)>> {
    let likely = partition_of(murmur2(key.as_bytes()), made_by.partitions.max(1)).into();
    let mut stored = store.stored()?;
    stored.sort_by_key(|stored| stored.partition != likely);
    let mut found: Vec<(Stored, Checkpoint, u32)> = Vec::new();
    for stored in stored {
        let topic = stored.partition.topic;
        if stored.partition != likely && stored.offset.is_none() && topic.is_only() {
            break;
        }
        if found.iter().any(|(other, ..)| other.partition.topic == topic) {
            continue;
        }
        let checkpoint = stored.load(store)?;
        if let Some(slot) = checkpoint.keys.find(key.as_bytes()) {
            found.push((stored, checkpoint, slot));
        }
    }
    Ok(found)
}

/// The stages that keep state, by unique names.
fn spans(made_by: &Fingerprint, stored: &Stored, checkpoint: &Checkpoint) -> Result<Vec<(String, RowSpan)>> {
    let mut spans: Vec<(String, RowSpan)> = Vec::new();
    let width = checkpoint.rows.resolve()?.width();
    let rows = stored.spans().unwrap_or(&made_by.rows);
    for span in rows.iter().filter(|span| span.width > 0) {
        if span.start + span.width > width {
            return Err(disagree());
        }
        let before = spans.iter().filter(|(_, other)| other.stage == span.stage).count();
        let name = if before == 0 { span.stage.clone() } else { format!("{}_{}", span.stage, before + 1) };
        spans.push((name, span.clone()));
    }
    Ok(spans)
}

fn export(store: &Store, to: &Path) -> Result<()> {
    let made_by = made_by(store)?;
    let (folder, name) = match (to.parent(), to.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => (if folder == Path::new("") { Path::new(".") } else { folder }, name),
        _ => return Err(Error::refused(format!("{} is not the name of a file", to.display()))),
    };
    let target = Folder::open(&Location(folder.display().to_string()))?;
    if target.size(name)?.is_some() {
        return Err(Error::refused(format!("{} already exists: delete it or name another file", to.display())));
    }
    let mut writer: Option<ArrowWriter<Vec<u8>>> = None;
    let failed = || format!("cannot write {}", to.display());
    let mut keys = 0;
    let mut columns = None;
    for stored in store.stored()? {
        let checkpoint = stored.load(store)?;
        let spans = spans(&made_by, &stored, &checkpoint)?;
        if *columns.get_or_insert_with(|| spans.clone()) != spans {
            return Err(Error::refused(
                "partitions have different model versions, whose rows differ: let kolk run until all have the new one",
            ));
        }
        let slots: Vec<u32> = (0..checkpoint.keys.len() as u32).collect();
        for slots in slots.chunks(EXPORTED) {
            let state: Vec<_> = slots.iter().map(|slot| checkpoint.row(*slot)).collect::<Result<_>>()?;
            let rows = exported(stored.partition, &checkpoint.keys, &spans, slots, &state).or_failed(failed)?;
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(ArrowWriter::try_new(Vec::new(), rows.schema(), None).or_failed(failed)?),
            };
            writer.write(&rows).or_failed(failed)?;
            keys += slots.len();
        }
    }
    let Some(writer) = writer else {
        return Err(Error::refused(format!("pipeline {} has no keys yet", store.pipeline())));
    };
    if !target.create(name, writer.into_inner().or_failed(failed)?)? {
        return Err(Error::refused(format!("{} already exists: delete it or name another file", to.display())));
    }
    say(format_args!("{} to {}", counted(keys, "key"), to.display()));
    Ok(())
}

/// Reads `--to`.
fn start_at(text: &str) -> std::result::Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        other => Moment::parse(other).map(Start::At),
    }
}

/// Asks on the terminal; `done` is the action, such as "deleted".
pub(super) fn confirmed(done: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::refused(format!("nothing was {done}: there is no terminal to ask on, confirm with --yes")));
    }
    eprint!("really? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).or_failed(|| "cannot read the answer".into())?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A reader that closes the pipe (`| head`) is not a failure.
fn write(out: &mut impl Write, text: &str) -> Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
