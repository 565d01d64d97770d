//! What checkpoints of a large partition cost: 1,000,000 keys with the state of LSTM(50).
//!
//! `cargo run --release --example checkpoints` (a folder as argument: where the files are written)

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kolk::Error;
use kolk::config::Location;
use kolk::record::murmur2;
use kolk::state::{Arena, Checkpoint, Checkpoints, CommitPosition, Fingerprint, Keys, Log, ModelEpoch};

const KEYS: u32 = 1_000_000;
/// The engine's header, then one stage: a header and h and c of 50 `f32` each.
const WIDTH: usize = 2 + 2 + 50;
const WAIT: Duration = Duration::from_secs(600);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Lane {
    keys: Keys,
    arena: Arena,
    sequence: u64,
}

impl Lane {
    fn checkpoint(&mut self) -> Checkpoint {
        self.sequence += 1;
        let (keys, rows) = (self.keys.list().clone(), self.arena.freeze());
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
    let mut lane = Lane { keys: Keys::default(), arena: Arena::new(vec![0; WIDTH]), sequence: 0 };
    for n in 0..KEYS {
        let key = format!("key-{n:07}");
        lane.keys.slot(murmur2(key.as_bytes()), key.as_bytes());
    }
    lane.arena.grow_to(lane.keys.len());
    touch(&mut lane.arena, 0..KEYS);
    println!("keys, row, rows          {KEYS}, {} bytes, {} MB", WIDTH * 8, lane.arena.bytes() >> 20);

    let mut log = open()?;
    write(&mut log, &mut lane, "base, all pages written")?;
    time("    next write of each key", || touch(&mut lane.arena, 0..KEYS));
    time("    and once more", || touch(&mut lane.arena, 0..KEYS));
    write(&mut log, &mut lane, "base again")?;
    touch(&mut lane.arena, 0..KEYS / 100);
    write(&mut log, &mut lane, "delta, 1 % of the pages")?;
    touch(&mut lane.arena, (0..KEYS).step_by(1000));
    write(&mut log, &mut lane, "delta, one key of 1,000")?;
    drop(log);

    let mut log = open()?;
    let at = CommitPosition { sequence: lane.sequence, offset: lane.sequence as i64, hash: lane.sequence };
    let checkpoint = time("restore: base, two deltas", || {
        log.load(0, at, &ModelEpoch::default())?;
        log.loaded(WAIT)?.pop().map_or_else(|| Err(Error::failed("nothing was read")), |loaded| loaded.checkpoint)
    })?;
    let keys = time("    its table of keys", || Keys::from_list(checkpoint.keys.clone())).ok_or("a key twice")?;
    let mut arena = Arena::new(vec![0; WIDTH]);
    if !time("    its rows", || arena.restore(&checkpoint.rows)) || keys.len() != arena.len() {
        return Err("the checkpoint doesn't fit".into());
    }
    println!("a key's rows, one by one: the arena beside one block of memory");
    drop(checkpoint);
    hot_path(&mut arena);
    Ok(())
}

fn touch(arena: &mut Arena, slots: impl Iterator<Item = u32>) {
    let mut rows = arena.rows(2, WIDTH - 2);
    for slot in slots {
        let (header, state) = rows.split_mut::<[i64; 2], f32>(slot);
        header[0] += 1;
        state[0] += slot as f32;
    }
}

fn write(log: &mut Log, lane: &mut Lane, what: &str) -> Result<()> {
    let checkpoint = time(&format!("{what}: snapshot"), || lane.checkpoint());
    let written = time(&format!("{what}: write"), || log.write(0, checkpoint).and_then(|()| log.written(WAIT)))?;
    if written.is_empty() { Err("not written in time".into()) } else { Ok(()) }
}

/// Keys in an order that no cache likes, as records come.
fn hot_path(arena: &mut Arena) {
    let slots: Vec<u32> = (0..KEYS).map(|n| (u64::from(n) * 7_919 % u64::from(KEYS)) as u32).collect();
    let few: Vec<u32> = slots.iter().map(|slot| slot % 10_000).collect();
    let mut block = vec![0_u64; KEYS as usize * WIDTH];
    for (name, slots) in [("1,000,000 keys", &slots), ("10,000 keys", &few)] {
        let mut best: BTreeMap<&str, Duration> = BTreeMap::new();
        for _ in 0..7 {
            let started = Instant::now();
            let mut rows = arena.rows(2, WIDTH - 2);
            slots.iter().for_each(|slot| step(rows.get_mut(*slot)));
            keep(&mut best, "arena", started);
            let started = Instant::now();
            for slot in slots {
                let at = *slot as usize * WIDTH + 2;
                step(&mut block[at..at + WIDTH - 2]);
            }
            keep(&mut best, "block", started);
        }
        let ns = |what| best.get(what).map_or(0.0, |time: &Duration| time.as_secs_f64() * 1e9 / slots.len() as f64);
        println!("    {name:<20} {:.1} ns, {:.1} ns: {:.2}", ns("arena"), ns("block"), ns("arena") / ns("block"));
    }
}

/// Reads and writes what a step of the network would.
fn step(row: &mut [u64]) {
    let state: &mut [f32] = bytemuck::cast_slice_mut(row);
    state.iter_mut().for_each(|value| *value = *value * 0.5 + 1.0);
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
