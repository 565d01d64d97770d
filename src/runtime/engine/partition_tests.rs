//! Rows under another version of the model, and time that moves on for all keys.

use std::path::Path;

use arrow::datatypes::{DataType, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::config;
use crate::error::Problems;
use crate::metrics::Metrics;
use crate::record::murmur2;
use crate::record::{Clock, KeyType, Origin};
use crate::runtime::engine::Order;
use crate::stage;
use crate::stage::Stage;
use crate::state::{State, StateSpec};
use std::sync::Arc;

/// A stage whose part of a new row is a number, over and over.
struct Keeps {
    initial: u64,
    width: usize,
    meaning: Option<&'static str>,
}

impl Stage for Keeps {
    fn name(&self) -> &'static str {
        "keeps"
    }

    fn state(&self) -> StateSpec {
        (0..self.width).fold(StateSpec::default(), |spec, word| spec.u64(format!("word {word}"), self.initial))
    }

    fn meaning(&self) -> Option<String> {
        self.meaning.map(str::to_owned)
    }

    fn process(&mut self, _: &mut Batch, _: &mut State<'_>) -> Result<()> {
        Ok(())
    }
}

fn chain(metrics: &Arc<Metrics>, parts: &[(u64, usize, Option<&'static str>)]) -> Chain {
    let stage = |(initial, width, meaning): &(u64, usize, Option<&'static str>)| {
        Box::new(Keeps { initial: *initial, width: *width, meaning: *meaning }) as Box<dyn Stage>
    };
    Chain::new(parts.iter().map(stage).collect(), Order::default(), metrics.clone())
}

#[test]
fn what_means_the_same_is_kept_and_the_rest_begins_anew() {
    let metrics = Arc::new(Metrics::new().unwrap());
    let from = chain(
        &metrics,
        &[(0, 2, Some("lags")), (0, 0, Some("none")), (0, 3, None), (0, 1, Some("a")), (0, 2, Some("wide"))],
    );
    let to = chain(
        &metrics,
        &[(7, 2, Some("lags")), (7, 0, Some("none")), (8, 1, None), (9, 1, Some("b")), (6, 3, Some("wide"))],
    );
    let mut partition = Partition::new(0.into(), &from);
    for n in 0..3000_u64 {
        let key = n.to_string();
        let slot = partition.keys.slot(murmur2(key.as_bytes()), key.as_bytes());
        partition.memory.grow_to(partition.keys.len());
        for (part, place) in from.layout().parts().iter().enumerate() {
            let mut state = partition.memory.part(part);
            let words = state.rows.get_mut(slot).iter_mut().zip(place.start..);
            words.for_each(|(word, at)| *word = 100 * n + at as u64);
        }
    }
    let before = partition.freeze().1;
    let before = before.resolve().unwrap();
    let after = partition.converted(&from, &to).freeze();
    let after = after.resolve().unwrap();
    assert_eq!(after.len(), 3000);
    for n in 0..3000 {
        let header_and_lags: Vec<u64> = (0..4).map(|word| 100 * n + word).collect();
        let expected = [&header_and_lags[..], &[8, 9, 6, 6, 6]].concat();
        assert_eq!(after.row(n as u32), expected);
        assert_eq!(before.row(n as u32)[9], 100 * n + 9, "the rows that there were are as they were");
    }
    // The same stages keep every row that has a meaning.
    let same = partition.converted(&from, &from).freeze();
    let same = same.resolve().unwrap();
    assert_eq!(same.row(5)[..4], before.row(5)[..4]);
    assert_eq!((&same.row(5)[4..7], &same.row(5)[7..]), (&[0, 0, 0][..], &before.row(5)[7..]));
}

/// A record: key, time in seconds, value.
type Row = (u8, i64, f64);

/// The stages of a pipeline without a network, with these lines of `on` and `stages`, on records of one value.
fn planned(on: &str, stages: &str) -> (Chain, Layout) {
    let yaml = format!(
        "name: p\nsource: {{ parquet: {{ path: x.parquet }} }}\nrecord: {{ key: key, time: ts, values: [value] }}\n\
         on: {{ {on} }}\nstages: [ {stages} ]"
    );
    let pipeline = config::parse(&yaml, Path::new("/p/p.yaml")).unwrap();
    let mut layout =
        Layout::new("key", KeyType::Utf8, "ts", Clock::of(&DataType::Timestamp(TimeUnit::Second, None), None).unwrap());
    layout.add("value", Kind::Number, Role::Value);
    let mut problems = Problems::new("p.yaml");
    let stages = stage::chain(&stage::steps(&pipeline, None), layout.clone(), &mut problems).build(&mut problems);
    let stages = problems.finish(stages).unwrap();
    (Chain::new(stages, Order::of(&pipeline), Arc::new(Metrics::new().unwrap())), layout)
}

fn records(rows: &[Row]) -> Records {
    let mut records = Records { values: vec![Vec::new()], ..Records::default() };
    for (key, time, value) in rows {
        let key = [b'a' + key];
        records.hashes.push(murmur2(&key));
        records.key_text.extend(key);
        records.key_ends.push(records.key_text.len());
        records.times.push(*time);
        records.values[0].push(*value);
        records.origins.push(Origin::default());
    }
    records
}

/// The output: key, time, bits of the value, position of the record that released it; and the rejects.
type Came = (Vec<(u8, i64, u64, u64)>, Vec<Reject>);

/// Runs records in batches that end at `cuts`; where `restored` says so, on a partition that is made of what the one
/// before left.
fn run(on: &str, stages: &str, rows: &[Row], cuts: &[usize], restored: bool) -> Came {
    let (mut chain, layout) = planned(on, stages);
    let mut partition = Partition::new(0.into(), &chain);
    let (mut came, mut refused) = (Vec::new(), Vec::new());
    let mut from = 0;
    for to in cuts.iter().copied().chain([rows.len()]).filter(|to| *to <= rows.len()) {
        if to <= from {
            continue;
        }
        let batch = partition.process(&mut chain, &layout, &records(&rows[from..to])).unwrap();
        from = to;
        for row in 0..batch.rows() {
            let key = partition.keys.get(batch.slots[row])[0] - b'a';
            came.push((key, batch.times[row], batch.columns[0].numbers()[row].to_bits(), batch.positions[row]));
        }
        refused.extend(batch.rejects);
        if restored {
            let ((keys, pages), position, watermark) = (partition.freeze(), partition.position, partition.watermark);
            partition = Partition::new(0.into(), &chain);
            partition.restore(keys, &pages, position, watermark).unwrap();
        }
    }
    (came, refused)
}

const BUCKETS: &str = "resample: { every: 10s, aggregate: sum, fill: zero, max_gap: 20s, delay: 2s }";

#[test]
fn a_bucket_is_closed_by_a_record_of_its_partition() {
    let rows = [(0, 1, 1.0), (1, 3, 2.0), (1, 12, 4.0), (1, 13, 8.0), (0, 9, 16.0), (1, 43, 32.0), (0, 41, 64.0)];
    let value = |v: f64| v.to_bits();
    // The first bucket ends at 10 and is over with 13; a later record of key 0 for it is late. 43 releases those that
    // end at 20 and 30; that of 40 is more than max_gap after the last record of key 0, and has the zero of key 1.
    let expected = [
        (0, 10, value(1.0), 3),
        (1, 10, value(2.0), 3),
        (0, 20, value(0.0), 5),
        (0, 30, value(0.0), 5),
        (1, 20, value(12.0), 5),
        (1, 30, value(0.0), 5),
        (1, 40, value(0.0), 5),
    ];
    let (came, refused) = run("watermark: partition", BUCKETS, &rows, &[], false);
    assert_eq!(came, expected);
    assert_eq!(refused, [Reject { position: 4, reason: "late" }]);
    // By its own records alone, key 0 has everything in its one bucket, and no other row before 41.
    let (came, refused) = run("watermark: key", BUCKETS, &rows, &[], false);
    let of_key_0: Vec<_> = came.iter().filter(|row| row.0 == 0).copied().collect();
    assert_eq!(of_key_0[0], (0, 10, value(17.0), 6));
    assert!(refused.is_empty());
}

#[test]
fn a_held_record_is_let_go_by_its_partition() {
    let rows = [(0, 10, 1.0), (1, 11, 2.0), (1, 14, 3.0), (1, 16, 4.0), (1, 21, 5.0)];
    // The partition advanced with 10, 16 and 21, each five seconds or more after the last; key 0 itself never does.
    let (came, _) = run("watermark: partition, reorder: 5s", "", &rows, &[], false);
    assert_eq!(
        came.iter().map(|row| (row.0, row.1, row.3)).collect::<Vec<_>>(),
        [(0, 10, 3), (1, 11, 3), (1, 14, 4), (1, 16, 4)]
    );
}

#[test]
fn a_filter_knows_key_and_time_wherever_it_stands() {
    let rows = [(0, 1, 1.0), (1, 3, 2.0), (1, 12, 4.0), (0, 13, 16.0), (1, 43, 32.0), (0, 45, 64.0)];
    let came = |stages: &str| -> Vec<(u8, i64)> {
        let (came, _) = run("watermark: partition", stages, &rows, &[2, 3], true);
        came.iter().map(|row| (row.0, row.1)).collect()
    };
    assert_eq!(came("filter: { where: \"key != 'b'\" }"), [(0, 1), (0, 13), (0, 45)]);
    assert_eq!(came("filter: { where: \"ts > '1970-01-01 00:00:03' and key = 'b'\" }"), [(1, 12), (1, 43)]);
    // Rows that no record of their own key brought know their key as well.
    let buckets = "resample: { every: 10s, max_gap: 10s }";
    let closed = came(&format!("{buckets}, filter: {{ where: \"key = 'a' and ts < '1970-01-01 00:00:20'\" }}"));
    assert_eq!(closed, [(0, 10)]);
}

proptest! {
    /// However batches are cut, and whether or not the partition is restored from its state in between: the same rows
    /// and refusals.
    #[test]
    fn time_moves_on_by_records_alone(
        steps in prop::collection::vec((0_u8..4, -6_i64..9, -50_i32..50), 1..120),
        cuts in prop::collection::btree_set(0_usize..120, 0..40),
        restored: bool, reorder: bool, dead_letter: bool,
    ) {
        let mut now = 0;
        let rows: Vec<Row> = steps.into_iter().map(|(key, step, value)| {
            now += step;
            (key, now, f64::from(value))
        }).collect();
        let on = format!(
            "watermark: partition{}{}",
            if reorder { ", reorder: 4s" } else { "" },
            if dead_letter { ", late: dead_letter" } else { "" }
        );
        let whole = run(&on, BUCKETS, &rows, &[], false);
        let cut = run(&on, BUCKETS, &rows, &cuts.into_iter().collect::<Vec<_>>(), restored);
        prop_assert_eq!(whole, cut);
    }

    /// If records come in the order of time and all keys continue to the end, it only matters for the moment whose
    /// records close a bucket.
    #[test]
    fn in_order_the_rows_of_a_key_are_those_of_its_own_time(
        steps in prop::collection::vec((0_u8..3, 0_i64..9, -50_i32..50), 1..80),
    ) {
        let mut now = 0;
        let mut rows: Vec<Row> = steps.into_iter().map(|(key, step, value)| {
            now += step;
            (key, now, f64::from(value))
        }).collect();
        rows.extend((0..3).map(|key| (key, now + 100, 1.0)));
        let by_key = |on: &str| {
            let (mut came, refused) = run(on, BUCKETS, &rows, &[], false);
            assert!(refused.is_empty());
            came.sort_by_key(|row| (row.0, row.1));
            came.into_iter().map(|(key, time, value, _)| (key, time, value)).collect::<Vec<_>>()
        };
        prop_assert_eq!(by_key("watermark: partition"), by_key("watermark: key"));
    }
}
