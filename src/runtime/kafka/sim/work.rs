//! What the workers compute: cheap, and such that every lost, doubled or reordered record changes all that follows. The
//! state of a key is a running hash over its values, and the output is that hash: of each record, or of those that end
//! a sequence. A key that no record came of is closed, by the clock or by records of other keys, which is one more
//! value and one more output.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, TimeUnit};

use super::client::Client;
use super::topics::id;
use crate::Result;
use crate::config::{self, OnError, OnTombstone, Watermark};
use crate::error::Problems;
use crate::format::{Decided, DecodeError, Decoded, Decoder, Encoder, Messages, Payloads};
use crate::kafka::MessageHeader;
use crate::metrics::Metrics;
use crate::record::murmur2;
use crate::record::{Batch, Clock, Column, KeyType, Kind, Layout, Origin, PartitionId, Records, Role, Values};
use crate::runtime::engine::{Chain, Order};
use crate::runtime::kafka::versions::{Models, Versions};
use crate::runtime::kafka::{Incoming, Processing};
use crate::sink;
use crate::stage::Stage;
use crate::state::{State, StateSpec};

/// First word of the stage's part in a row of state: after the engine's own header.
pub const STATE: usize = 2;
/// Marks a value whose schema the registry may not know yet.
pub const FOREIGN: u64 = 1 << 63;
/// In the place of a key: the message is a dead letter.
pub const LETTER: u8 = u8::MAX;

/// An output: of which key, and the hash. A dead letter: of which offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    pub partition: PartitionId,
    pub key: u8,
    pub hash: u64,
}

impl Payload {
    /// From what the encoder wrote.
    pub fn read(bytes: &[u8]) -> Option<Payload> {
        let (partition, key, hash) = (bytes.get(..4)?, *bytes.get(4)?, bytes.get(5..13)?);
        Some(Payload {
            partition: id(u32::from_le_bytes(partition.try_into().ok()?) as usize),
            key,
            hash: u64::from_le_bytes(hash.try_into().ok()?),
        })
    }

    /// From the headers of a dead letter.
    pub fn letter(headers: &[MessageHeader]) -> Option<Payload> {
        let number = |name: &str| {
            let (_, value) = headers.iter().find(|(header, _)| header == name)?;
            std::str::from_utf8(value.as_ref()?).ok()?.parse::<u64>().ok()
        };
        let topic = headers.iter().find(|(header, _)| header == "kolk.topic")?.1.clone()?;
        let place = (0..).map(id).find(|it| it.topic.name().is_some_and(|name| name.as_bytes() == topic))?;
        let partition = PartitionId::of(place.topic, u32::try_from(number("kolk.partition")?).ok()?);
        Some(Payload { partition, key: LETTER, hash: number("kolk.offset")? })
    }
}

/// Name of a key; it contains its partition.
pub fn key(partition: u32, key: u8) -> [u8; 3] {
    [b'0' + (partition % 10) as u8, b'.', b'0' + key]
}

fn parse_key(text: &[u8]) -> Option<(u32, u8)> {
    match text {
        [partition, b'.', key] => Some((u32::from(partition - b'0'), key - b'0')),
        _ => None,
    }
}

/// The running hash after one more value.
pub fn mix(before: u64, value: u64) -> u64 {
    (before ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31)
}

/// What a value is to a hash, by a version of the model.
pub fn step(before: u64, value: u64, version: u64) -> u64 {
    mix(before, value ^ mix(version, 0))
}

/// What closing a key at a time is to its hash.
pub fn close(before: u64, last: i64) -> u64 {
    mix(before, !last as u64)
}

/// What records do beside adding to their key's hash.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// They move the time of all keys of their partition on, in steps of that many milliseconds.
    pub closes: Option<i64>,
    /// Only one that ends a sequence has an output; the next one begins again.
    pub sequences: bool,
}

/// Whether a record with this value ends a sequence.
pub fn ends(value: u64) -> bool {
    value.is_multiple_of(3)
}

/// Per key: the hash, and the time of the newest record since it was closed, or 0. Another version of the model begins
/// again.
struct Running {
    version: u64,
    rules: Rules,
}

impl Stage for Running {
    fn name(&self) -> &'static str {
        "running"
    }

    fn state(&self) -> StateSpec {
        StateSpec::default().u64("hash", 0).i64("newest", 0)
    }

    fn meaning(&self) -> Option<String> {
        None
    }

    fn due(&self, since: i64) -> Option<i64> {
        self.rules.closes.map(|step| since + step)
    }

    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()> {
        let (mut out, mut kept) = (Vec::with_capacity(batch.rows()), vec![true; batch.rows()]);
        for (row, slot) in batch.slots.iter().enumerate() {
            let words = state.rows.get_mut(*slot);
            let value = batch.columns[0].numbers()[row] as u64;
            words[0] = step(words[0], value, self.version);
            words[1] = words[1].max(batch.times[row] as u64);
            kept[row] = !self.rules.sequences || ends(value);
            if kept[row] {
                out.push(words[0] as i64);
            }
            if self.rules.sequences && kept[row] {
                words[0] = 0;
            }
        }
        batch.keep(&kept);
        batch.columns.push(Column::from(Values::Integer(out)));
        Ok(())
    }

    fn advance(
        &mut self,
        until: Option<i64>,
        state: &mut State<'_>,
        keys: u32,
        position: u64,
    ) -> Result<Option<Batch>> {
        let Some(until) = until else { return Ok(None) };
        let mut closed = Batch::default();
        let mut out = Vec::new();
        for slot in 0..keys {
            let words = state.rows.get_mut(slot);
            let last = words[1] as i64;
            if last == 0 || last > until {
                continue;
            }
            words[0] = close(words[0], last);
            words[1] = 0;
            closed.slots.push(slot);
            closed.times.push(last);
            closed.positions.push(position);
            out.push(words[0] as i64);
        }
        closed.columns.push(Column::from(Values::Number(vec![f64::NAN; out.len()])));
        closed.columns.push(Column::from(Values::Integer(out)));
        Ok((!closed.is_empty()).then_some(closed))
    }
}

/// Print the model registry, as one worker sees it.
struct Registry {
    client: Client,
    wanted: u64,
}

fn chain(version: u64, rules: Rules) -> Chain {
    let watermark = if rules.closes.is_some() { Watermark::Partition } else { Watermark::Key };
    let order = Order { watermark, ..Order::default() };
    Chain::new(vec![Box::new(Running { version, rules })], order, metrics())
}

fn name(version: u64) -> String {
    format!("m/{version}")
}

/// The number in a version's name.
pub fn version(name: &str) -> u64 {
    name.strip_prefix("m/").and_then(|number| number.parse().ok()).expect("a version of the simulator")
}

impl Client {
    /// The version of the model that is wanted, and what records do.
    fn wanted(&self) -> (u64, Rules) {
        let world = self.sim.world();
        (world.champion, world.plan.rules())
    }
}

impl Models for Registry {
    fn look(&mut self) -> Option<(String, Chain)> {
        let (champion, rules) = self.client.wanted();
        let is_new = champion != self.wanted;
        self.wanted = champion;
        is_new.then(|| (name(champion), chain(champion, rules)))
    }

    fn chain(&mut self, model: &str) -> Result<Chain> {
        Ok(chain(version(model), self.client.wanted().1))
    }
}

/// A message's key is the record's, its payload is 8 bytes. Of foreign values it asks the simulated registry.
struct Asking {
    client: Client,
    /// When it first asked, and when the answer first was that the schema is unknown.
    asked: Option<i64>,
    missing: Option<i64>,
}

impl Asking {
    /// Whether the registry knows the schema; it answers late, and an unknown schema must be missing for a while.
    fn answer(&mut self) -> std::result::Result<bool, DecodeError> {
        let later = |why: &str| Err(DecodeError::Unavailable(why.into()));
        let world = self.client.sim.world();
        let (now, plan) = (world.now, &world.plan);
        if now < *self.asked.get_or_insert(now) + plan.registry_answers {
            return later("the registry hasn't answered yet");
        }
        match world.registry() {
            None => later("the registry is down"),
            Some(false) if now < *self.missing.get_or_insert(now) + plan.registry_grace => {
                later("the registry doesn't know a schema yet")
            }
            Some(known) => Ok(known),
        }
    }

    /// Whether the messages' schemas are known, decided now or as before; what is unknown.
    fn unknown(
        &mut self,
        messages: &Messages,
        range: Range<usize>,
        decided: &mut Decided,
    ) -> std::result::Result<Vec<usize>, DecodeError> {
        let mut unknown = Vec::new();
        for index in range {
            if value_of(messages, index) & FOREIGN == 0 {
                continue;
            }
            let offset = messages.offsets[index];
            if decided.replay && decided.is_unknown(offset) {
                unknown.push(index);
                continue;
            }
            match self.answer()? {
                true => {}
                false if decided.replay => {
                    return Err(DecodeError::Unavailable("the registry has forgotten a schema".into()));
                }
                false => unknown.push(index),
            }
        }
        if !decided.replay {
            for index in &unknown {
                let before = index.checked_sub(1).map(|before| messages.offsets[before]);
                decided.note(messages.offsets[*index], before);
            }
        }
        Ok(unknown)
    }
}

fn value_of(messages: &Messages, index: usize) -> u64 {
    u64::from_le_bytes(messages.payload(index).unwrap_or_default().try_into().unwrap_or_default())
}

impl Decoder for Asking {
    fn decode(
        &mut self,
        messages: &Messages,
        range: Range<usize>,
        decided: &mut Decided,
    ) -> std::result::Result<Decoded, DecodeError> {
        let unknown = self.unknown(messages, range.clone(), decided)?;
        let mut records = Records { values: vec![Vec::new()], ..Records::default() };
        for (row, index) in range.enumerate() {
            let key = messages.key(index).unwrap_or_default();
            records.hashes.push(murmur2(key));
            records.key_text.extend_from_slice(key);
            records.key_ends.push(records.key_text.len());
            records.times.push(messages.timestamps[index]);
            records.values[0].push((value_of(messages, index) & !FOREIGN) as f64);
            records.origins.push(Origin { file: 0, row: messages.offsets[index] as u64 });
            if unknown.contains(&index) {
                records.bad.push((row, "unknown_schema"));
            }
        }
        Ok(Decoded { records, ..Decoded::default() })
    }

    fn key_of(
        &mut self,
        messages: &Messages,
        index: usize,
        _: &mut Decided,
    ) -> std::result::Result<Option<Vec<u8>>, DecodeError> {
        Ok(messages.key(index).map(<[u8]>::to_vec))
    }
}

/// Key and hash, as bytes.
struct Plain;

impl Encoder for Plain {
    fn encode(&mut self, rows: &RecordBatch, to: &mut Payloads) -> Result<()> {
        let keys = rows.column(0).as_any().downcast_ref::<StringArray>().expect("keys are text");
        let hashes = rows.column(2).as_any().downcast_ref::<Int64Array>().expect("the hash is an integer");
        for row in 0..rows.num_rows() {
            let (partition, key) = parse_key(keys.value(row).as_bytes()).expect("a key of the simulator");
            to.bytes.extend_from_slice(&partition.to_le_bytes());
            to.bytes.push(key);
            to.bytes.extend_from_slice(&hashes.value(row).to_le_bytes());
            to.ends.push(to.bytes.len());
        }
        Ok(())
    }
}

fn metrics() -> Arc<Metrics> {
    static METRICS: OnceLock<Arc<Metrics>> = OnceLock::new();
    METRICS.get_or_init(|| Arc::new(Metrics::new().expect("metrics"))).clone()
}

fn clock() -> Clock {
    Clock::of(&DataType::Timestamp(TimeUnit::Millisecond, None), None).expect("a clock")
}

/// How one worker reads.
pub fn incoming(client: impl Fn() -> Client) -> Incoming {
    let decoder = Box::new(Asking { client: client(), asked: None, missing: None });
    Incoming { topic: "in".into(), decoder, tombstone: OnTombstone::Reset, clock: clock() }
}

/// All that it does in between.
pub fn processing(client: impl Fn() -> Client) -> Processing {
    let (wanted, rules) = client().wanted();
    let versions = Registry { client: client(), wanted };
    let mut layout = Layout::new("key", KeyType::Utf8, "time", clock());
    layout.add("value", Kind::Number, Role::Value);
    let source = layout.clone();
    layout.add("hash", Kind::Integer, Role::Output);
    let mut problems = Problems::new("sim.yaml");
    let sink = sink::plan(&config::Sink::Stdout { fields: Vec::new() }, &layout, &mut problems).expect("a sink");
    Processing {
        pipeline: "sim".into(),
        topic: "in".into(),
        versions: Versions::new(name(wanted), chain(wanted, rules), Box::new(versions)),
        layout: source,
        sink,
        key_format: config::KeyFormat::default(),
        encoder: Box::new(Plain),
        payloads: Payloads::default(),
        history: None,
        batch: 64,
        emit_from: None,
        headers: crate::config::Headers::None,
        stamps: None,
        on_error: OnError::DeadLetter,
        longest_dead_letter: 1_000,
        dead_letter_folder: None,
        metrics: client().sim.world().plan.metrics.clone().unwrap_or_else(metrics),
        faults: Default::default(),
    }
}
