//! What checkpoints of a large partition cost: 1,000,000 keys with the state of LSTM(50).
//!
//! `cargo run --release --example checkpoints` (a folder as argument: where the files are written)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kolk::Error;
use kolk::config::Location;
use kolk::record::murmur2;
use kolk::state::{
    Bank, Checkpoint, Checkpoints, CommitPosition, Fingerprint, Keys, Log, Memory, ModelEpoch, RowLayout, StateSpec,
    Type,
};

const KEYS: u32 = 1_000_000;
/// Units of the network.
const UNITS: usize = 50;
const WAIT: Duration = Duration::from_secs(600);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Lane {
    keys: Keys,
    memory: Memory,
    sequence: u64,
}

impl Lane {
    fn checkpoint(&mut self) -> Checkpoint {
        self.sequence += 1;
        let (keys, rows) = (self.keys.list().clone(), self.memory.freeze());
        let at = Some(CommitPosition { sequence: self.sequence, offset: self.sequence as i64, hash: self.sequence });
        Checkpoint { position: self.sequence, keys, rows, at, ..Checkpoint::default() }
    }
}

fn main() -> Result<()> {
    let folder = match std::env::args().nth(1) {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let at = Location(folder.path().display().to_string());
    let open = || Log::open(&at, "measured", "id", &Fingerprint { partitions: 1, ..Fingerprint::default() });
    let mut lane = Lane { keys: Keys::default(), memory: Memory::new(layout()), sequence: 0 };
    for n in 0..KEYS {
        let key = format!("key-{n:07}");
        lane.keys.slot(murmur2(key.as_bytes()), key.as_bytes());
    }
    lane.memory.grow_to(lane.keys.len());
    touch(&mut lane.memory, 0..KEYS);
    let width = layout().width();
    println!("keys, row, rows          {KEYS}, {} bytes, {} MB", width * 8, lane.memory.bytes() >> 20);

    let mut log = open()?;
    write(&mut log, &mut lane, "base, all pages written")?;
    time("    next write of each key", || touch(&mut lane.memory, 0..KEYS));
    time("    and again", || touch(&mut lane.memory, 0..KEYS));
    write(&mut log, &mut lane, "base again")?;
    touch(&mut lane.memory, 0..KEYS / 100);
    write(&mut log, &mut lane, "delta, 1 % of the pages")?;
    touch(&mut lane.memory, (0..KEYS).step_by(1000));
    write(&mut log, &mut lane, "delta, one key of 1,000")?;
    drop(log);

    let mut log = open()?;
    let at = CommitPosition { sequence: lane.sequence, offset: lane.sequence as i64, hash: lane.sequence };
    let checkpoint = time("restore: base, two deltas", || {
        log.load(0.into(), at, &ModelEpoch::default())?;
        log.loaded(WAIT)?.pop().map_or_else(|| Err(Error::failed("nothing was read")), |loaded| loaded.checkpoint)
    })?;
    let keys = time("    its table of keys", || Keys::from_list(checkpoint.keys.clone())).ok_or("a key twice")?;
    let mut memory = Memory::new(layout());
    if !time("    its rows", || memory.restore(&checkpoint.rows))? || keys.len() != memory.len() {
        return Err("the checkpoint doesn't fit".into());
    }
    println!("a key's state, one by one: rows and bank compared with one block of memory");
    drop(checkpoint);
    hot_path(&mut memory);
    Ok(())
}

/// The engine's header, then one stage: a count, and h and c of the network.
fn layout() -> Arc<RowLayout> {
    let header = StateSpec::default().i64("time", 0).flag("seen", false);
    let zero = [0; UNITS * size_of::<f32>()];
    let network = StateSpec::default().u64("steps", 0).tensor("h", Type::F32, &zero).tensor("c", Type::F32, &zero);
    Arc::new(RowLayout::new([("kolk", header), ("infer", network)]))
}

/// Calls `step` with each slot, its row and its numbers.
fn each(memory: &mut Memory, slots: impl Iterator<Item = u32>, step: impl Fn(u32, &mut [u64], &mut [f32])) {
    let mut state = memory.part(1);
    let Some(Bank::Host(bank)) = state.bank else { return };
    let mut numbers = bank.numbers();
    slots.for_each(|slot| step(slot, state.rows.get_mut(slot), bytemuck::cast_slice_mut(numbers.get_mut(slot))));
}

fn touch(memory: &mut Memory, slots: impl Iterator<Item = u32>) {
    each(memory, slots, |slot, row, numbers| {
        row[0] += 1;
        numbers[0] += slot as f32;
    });
}

fn write(log: &mut Log, lane: &mut Lane, what: &str) -> Result<()> {
    let checkpoint = time(&format!("{what}: snapshot"), || lane.checkpoint());
    let written = time(&format!("{what}: write"), || log.write(0.into(), checkpoint).and_then(|()| log.written(WAIT)))?;
    if written.is_empty() { Err("not written in time".into()) } else { Ok(()) }
}

/// Keys in an order that no cache likes, as records come.
fn hot_path(memory: &mut Memory) {
    let slots: Vec<u32> = (0..KEYS).map(|n| (u64::from(n) * 7_919 % u64::from(KEYS)) as u32).collect();
    let few: Vec<u32> = slots.iter().map(|slot| slot % 10_000).collect();
    let width = layout().width();
    let mut block = vec![0_u64; KEYS as usize * width];
    for (name, slots) in [("1,000,000 keys", &slots), ("10,000 keys", &few)] {
        let mut best: BTreeMap<&str, Duration> = BTreeMap::new();
        for _ in 0..7 {
            let started = Instant::now();
            each(memory, slots.iter().copied(), |_, row, numbers| {
                row[0] += 1;
                step(numbers);
            });
            keep(&mut best, "memory", started);
            let started = Instant::now();
            for slot in slots {
                let at = *slot as usize * width + 2;
                block[at] += 1;
                step(bytemuck::cast_slice_mut(&mut block[at + 1..at + width - 2]));
            }
            keep(&mut best, "block", started);
        }
        let ns = |what| best.get(what).map_or(0.0, |time: &Duration| time.as_secs_f64() * 1e9 / slots.len() as f64);
        println!("    {name:<20} {:.1} ns, {:.1} ns: {:.2}", ns("memory"), ns("block"), ns("memory") / ns("block"));
    }
}

/// Reads and writes what a step of the network would.
fn step(numbers: &mut [f32]) {
    numbers.iter_mut().for_each(|value| *value = *value * 0.5 + 1.0);
}

fn keep<'a>(best: &mut BTreeMap<&'a str, Duration>, what: &'a str, started: Instant) {
    let took = started.elapsed();
    let kept = best.entry(what).or_insert(took);
    *kept = took.min(*kept);
}

fn time<T>(what: &str, of: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = of();
    println!("{what:<40} {:>10.3} ms", started.elapsed().as_secs_f64() * 1e3);
    result
}
