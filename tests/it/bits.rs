//! Same records, same version, same bits: however they are batched, split, checkpointed, interleaved or distributed
//! over workers.

use std::collections::BTreeMap;
use std::path::Path;

use super::common::*;
use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Runs rows through a pipeline and gives the output per key.
fn output(
    folder: &Path,
    rows_: &[Row],
    infer: &str,
    row_group: usize,
    part: u64,
    extra: &str,
) -> BTreeMap<String, Vec<String>> {
    for name in ["out", "state"] {
        let _ = std::fs::remove_dir_all(folder.join(name));
    }
    write(&folder.join("data.parquet"), rows_, row_group);
    let sink = format!("parquet: {{ path: out/, fields: [value], part_records: {part} }}");
    let file = pipeline(folder, infer, &sink, extra);
    let pipeline = kolk::config::load(&file).unwrap();
    kolk::runtime::run(kolk::runtime::plan(pipeline, kolk::runtime::Purpose::Run).unwrap(), None).unwrap();
    rows(&folder.join("out"))
}

/// A shuffled interleaving: the order within each key stays.
fn interleave(rows: &[Row], seed: u64) -> Vec<Row> {
    let mut queues: BTreeMap<&str, std::collections::VecDeque<&Row>> = BTreeMap::new();
    for row in rows {
        queues.entry(&row.0).or_default().push_back(row);
    }
    let mut queues: Vec<_> = queues.into_values().collect();
    let mut random = seed | 1;
    let mut out = Vec::with_capacity(rows.len());
    while !queues.is_empty() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = (random % queues.len() as u64) as usize;
        // A few of the same key in a row, so that runs of steps come up too.
        for _ in 0..random % 7 + 1 {
            out.extend(queues[at].pop_front().cloned());
        }
        if queues[at].is_empty() {
            queues.swap_remove(at);
        }
    }
    out
}

fn any_cut_gives_the_same(cell: CellKind, kind: ModelKind, infer: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let window = (kind == ModelKind::Window).then_some(6);
    publish(folder, "m", cell, kind, window);
    let rows = series(21, 90);
    let expected = output(folder, &rows, infer, 100_000, 100_000, "runtime: { workers: 1 }");
    assert_eq!(expected.len(), 21);
    assert!(expected.values().all(|rows| rows.len() == 90));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() });
    let cuts = (1_usize..400, 1_usize..300, 1_u64..400, 1_usize..4, 1_u32..7, any::<u64>(), 1_u64..500);
    runner
        .run(&cuts, |(row_group, batch, part, workers, partitions, seed, checkpoint)| {
            let extra = format!(
                "runtime: {{ workers: {workers}, batch: {batch} }}\nstate: {{ path: state/, partitions: {partitions}, or_records: {checkpoint} }}"
            );
            let got = output(folder, &interleave(&rows, seed), infer, row_group, part, &extra);
            prop_assert_eq!(&got, &expected);
            Ok(())
        })
        .unwrap();
}

#[test]
fn lstm_carry() {
    any_cut_gives_the_same(CellKind::Lstm, ModelKind::Carry, "model: m, mode: carry");
}

#[test]
fn gru_carry_with_gaps() {
    any_cut_gives_the_same(CellKind::Gru, ModelKind::Carry, "model: m, mode: carry, gap: 90m");
}

#[test]
fn rnn_carry() {
    any_cut_gives_the_same(CellKind::RnnTanh, ModelKind::Carry, "model: m, mode: carry");
}

#[test]
fn gru_window() {
    any_cut_gives_the_same(CellKind::Gru, ModelKind::Window, "model: m, mode: window, window: 6");
}
