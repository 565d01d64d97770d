//! What keys cost in memory and in checkpoints: as many of them as fit, really there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::load::Load;
use super::measure::{BLOCK, nanos};
use crate::Result;
use crate::metrics::{Spent, Used, resident as memory};
use crate::record::Records;
use crate::runtime::engine::{Chain, Partition};
use crate::runtime::plan::Plan;
use crate::state::{Checkpoint, CommitPosition};

/// Bytes of state at most, and keys.
const MOST: (f64, u64) = (256e6, 1_000_000);
/// How long keys are added at most.
const PATIENCE: Duration = Duration::from_secs(4);

/// What was measured.
pub struct Resident {
    /// Keys that were there.
    pub keys: u64,
    /// Bytes of memory of a key.
    pub key_bytes: f64,
    /// Bytes of a checkpoint of a key.
    pub stored_bytes: f64,
    /// Keys of a page.
    pub page_keys: f64,
    /// Bytes of a checkpoint that are made in a CPU second.
    pub write_rate: f64,
    /// Bytes of a checkpoint that are taken in again in a CPU second.
    pub load_rate: f64,
    /// What a record costs more than where all keys are in the processor's cache, nanoseconds.
    pub miss: f64,
}

/// Fills a partition with keys, gives each another record in another order, and writes and loads a checkpoint of it.
///
/// # Errors
/// As in a run.
pub fn measure(plan: &Plan, chain: &mut Chain, load: &mut Load, wanted: u64) -> Result<Resident> {
    let batch = plan.pipeline.runtime.batch as u64;
    let few = second_records(plan, chain, load, batch)?;
    let mut partition = Partition::new(0.into(), chain);
    fill(plan, chain, load, &mut partition, 0..batch)?;
    let each = partition.bytes() as f64 / batch as f64;
    let most = ((MOST.0 / each.max(1.0)) as u64).clamp(batch * 4, MOST.1);
    let keys = wanted.clamp(batch * 4, most) / batch * batch;
    // From a tenth on: what the allocator and the tables keep at first is not a key's.
    let tenth = (keys / 10).max(batch) / batch * batch;
    fill(plan, chain, load, &mut partition, batch..tenth)?;
    let (before, started, mut there) = (memory(), Instant::now(), tenth);
    while there < keys && started.elapsed() < PATIENCE {
        fill(plan, chain, load, &mut partition, there..there + batch)?;
        there += batch;
    }
    let grown = memory().zip(before).map(|(now, before)| now.saturating_sub(before) as f64);
    let added = (there - tenth) as f64;
    let own = partition.bytes() as f64 / there as f64;
    // Less than what is known to be held: then the allocator had it before.
    let key_bytes = grown.filter(|_| added > 0.0).map_or(own, |bytes| bytes / added).max(own);
    load.pass(None);
    let many = update(plan, chain, load, &mut partition, there)?;
    let at = partition.position;
    let (list, rows) = partition.freeze();
    let page_keys = rows.resolve()?.rows_of_page() as f64;
    let checkpoint = Checkpoint {
        position: at,
        keys: list,
        rows,
        extra: BTreeMap::new(),
        at: Some(CommitPosition { sequence: 1, offset: at as i64, hash: 1 }),
        spans: chain.layout().spans().to_vec(),
        ..Checkpoint::default()
    };
    let began = Used::own();
    let bytes = checkpoint.encode()?;
    let written = began.since();
    drop((checkpoint, partition));
    let began = Used::own();
    let read = Checkpoint::decode(&bytes)?;
    let mut partition = Partition::new(0.into(), chain);
    partition.restore(read.keys, &read.rows, read.position, read.watermark)?;
    let loaded = began.since();
    let rate = |spent: Spent| bytes.len() as f64 / spent.own.as_secs_f64().max(1e-6);
    Ok(Resident {
        keys: there,
        key_bytes,
        stored_bytes: bytes.len() as f64 / there as f64,
        page_keys,
        write_rate: rate(written),
        load_rate: rate(loaded),
        miss: (many - few).max(0.0),
    })
}

/// Adds keys; batches of them.
fn fill(
    plan: &Plan,
    chain: &mut Chain,
    load: &mut Load,
    partition: &mut Partition,
    keys: std::ops::Range<u64>,
) -> Result<()> {
    let batch = plan.pipeline.runtime.batch;
    for first in keys.clone().step_by(batch) {
        let mut records = load.batch(first..(first + batch as u64).min(keys.end))?;
        partition.process_taking(chain, plan.layout_of_source(), &mut records)?;
    }
    Ok(())
}

/// The second record of each key, in an order far from that of the first; nanoseconds each.
fn update(plan: &Plan, chain: &mut Chain, load: &mut Load, partition: &mut Partition, keys: u64) -> Result<f64> {
    let batch = plan.pipeline.runtime.batch as u64;
    // Odd and not a factor: each key comes once.
    let stride = (keys * 5 / 13) | 1;
    let stride = (stride..).step_by(2).find(|stride| gcd(*stride, keys) == 1).unwrap_or(1);
    let (mut done, mut spent, started) = (0, Spent::default(), Instant::now());
    while done + batch <= keys && started.elapsed() < PATIENCE {
        let mut block: Vec<Records> = Vec::new();
        while block.len() < BLOCK && done + batch <= keys {
            block.push(load.batch((done..done + batch).map(|n| n * stride % keys))?);
            done += batch;
        }
        let began = Used::own();
        for records in &mut block {
            partition.process_taking(chain, plan.layout_of_source(), records)?;
        }
        spent += began.since();
    }
    Ok(nanos(spent, done as usize))
}

/// What the second record of a key costs where there are few keys, nanoseconds.
fn second_records(plan: &Plan, chain: &mut Chain, load: &mut Load, batch: u64) -> Result<f64> {
    let (mut done, mut spent, started) = (0, Spent::default(), Instant::now());
    let at = load.time;
    while started.elapsed() < Duration::from_millis(300) || done == 0 {
        let mut block = Vec::new();
        for _ in 0..BLOCK {
            let mut partition = Partition::new(0.into(), chain);
            load.time = at;
            fill(plan, chain, load, &mut partition, 0..batch)?;
            load.pass(None);
            block.push((partition, load.batch(0..batch)?));
        }
        let began = Used::own();
        for (partition, records) in &mut block {
            partition.process_taking(chain, plan.layout_of_source(), records)?;
        }
        spent += began.since();
        done += BLOCK * batch as usize;
    }
    load.time = at;
    Ok(nanos(spent, done))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
