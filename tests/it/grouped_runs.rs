//! Versions with a network for each group of keys, served: each row is that of its network alone, however batches are
//! cut, when a key's value changes, and when such a version takes over from another one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use kolk::kernel::CellKind;
use kolk::model::onnx::export;
use kolk::model::{GroupNetwork, Groups, Input, Manifest, ModelKind, registry};
use kolk::network::{Architecture, Layer};

use super::common::*;
use super::retrained::{Written, killed_at, taken_over, written};

const SINK: &str = "parquet: { path: out/, fields: [value], part_records: 200 }";
const KEYS: usize = 6;
const ROWS: usize = 3_000;
/// Values with the seeds of their networks; the network of all keys has the seed 1.
pub const NETWORKS: [(&str, u64); 2] = [("north", 2), ("south", 3)];

fn extra(batch: usize, workers: usize) -> String {
    format!(
        "state: {{ path: state/, checkpoint_every: 1ms, or_records: 200, partitions: 3 }}\n\
         runtime: {{ workers: {workers}, batch: {batch} }}"
    )
}

fn architecture() -> Architecture {
    of_one_value(&[Layer::recurrent(CellKind::Lstm, 6)])
}

/// A graph of untrained but fixed numbers.
fn graph(seed: u64) -> Vec<u8> {
    let mut network = kolk::train::Network::<f32>::new(&architecture(), seed);
    network.set_scaling(&[12.0], &[9.0], &[0.1, 0.2], &[2.0, 3.0]);
    export::onnx(&architecture(), &network.tensors(), "m").unwrap()
}

fn manifest_of(kind: ModelKind, groups: Option<Groups>) -> Manifest {
    Manifest {
        window: (kind == ModelKind::Window).then_some(5),
        inputs: vec![Input::now("value")],
        states: architecture().states(),
        horizon: 2,
        targets: vec!["value".into()],
        warm_up: 3,
        architecture: Some(architecture()),
        groups,
        ..manifest("m", kind)
    }
}

/// A version of one network.
pub fn publish_one(folder: &Path, kind: ModelKind, seed: u64) {
    let root = folder.join("models");
    let version = registry::publish(&root, manifest_of(kind, None), &graph(seed), "<html></html>", None).unwrap();
    registry::set_champion(&root, "m", version.number).unwrap();
}

/// A version with networks of these values.
pub fn publish_groups(folder: &Path, kind: ModelKind, column: Option<&str>, values: &[(&str, u64)]) {
    let file = |at: usize| format!("group_{}.onnx", at + 1);
    let network = |(at, (value, _)): (usize, &(&str, u64))| GroupNetwork {
        value: (*value).into(),
        file: file(at),
        architecture: None,
        keys: vec![],
    };
    let groups =
        Groups { column: column.map(String::from), networks: values.iter().enumerate().map(network).collect() };
    let files = values.iter().enumerate().map(|(at, (_, seed))| (file(at), graph(*seed))).collect();
    let root = folder.join("models");
    let manifest = manifest_of(kind, Some(groups));
    let version = registry::publish_with(&root, manifest, &graph(1), "<html></html>", files, None).unwrap();
    registry::set_champion(&root, "m", version.number).unwrap();
}

/// Rows with the region of each.
pub type Placed = (Row, Option<&'static str>);

fn placed(of: impl Fn(&str, usize) -> Option<&'static str>) -> Vec<Placed> {
    let place = |(at, row): (usize, Row)| {
        let region = of(&row.0, at / KEYS);
        (row, region)
    };
    series(KEYS, ROWS).into_iter().enumerate().map(place).collect()
}

fn region_of(key: &str, _row: usize) -> Option<&'static str> {
    match key {
        "key-000" | "key-003" => Some("north"),
        "key-001" => Some("south"),
        "key-002" => None,
        _ => Some("never seen"),
    }
}

pub fn write_placed(folder: &Path, rows: &[Placed]) {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(row, _)| row.0.as_str())));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|(row, _)| row.1)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|(row, _)| row.2)));
    let regions: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|(_, region)| *region)));
    let columns = vec![("key", keys), ("ts", times), ("value", values), ("region", regions)];
    write_columns(&folder.join("data.parquet"), columns, 1_000);
}

/// What a version makes of rows, from scratch.
fn alone(
    rows: &[Placed],
    kind: ModelKind,
    publish: &dyn Fn(&Path),
    (batch, workers): (usize, usize),
) -> BTreeMap<String, Vec<Written>> {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path());
    write_placed(folder.path(), rows);
    let file = pipeline(folder.path(), infer(kind), SINK, &extra(batch, workers));
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    written(folder.path())
}

fn infer(kind: ModelKind) -> &'static str {
    if kind == ModelKind::Window { "model: m, mode: window, window: 5" } else { "model: m, mode: carry" }
}

fn plain(rows: &[Written]) -> Vec<(i64, Vec<u32>, u64)> {
    rows.iter().map(|(ts, _, prediction, value)| (*ts, prediction.clone(), *value)).collect()
}

#[test]
fn each_row_goes_through_the_network_of_its_value_however_batches_are_cut() {
    let rows = placed(region_of);
    for kind in [ModelKind::Carry, ModelKind::Window] {
        let by_region = |folder: &Path| publish_groups(folder, kind, Some("region"), &NETWORKS);
        let found = alone(&rows, kind, &by_region, (32, 1));
        assert!(found == alone(&rows, kind, &by_region, (1_000, 3)), "{kind:?}: other bits with other batches");
        let keys = [("key-000", 2), ("key-001", 3), ("key-003", 2)];
        let by_key = alone(&rows, kind, &|folder| publish_groups(folder, kind, None, &keys), (100, 2));
        assert!(found == by_key, "{kind:?}: by key");
        let of = [1, 2, 3].map(|seed| alone(&rows, kind, &|folder| publish_one(folder, kind, seed), (32, 1)));
        for (key, rows) in &found {
            let network = keys.iter().find(|(own, _)| own == key).map_or(1, |(_, seed)| *seed as usize);
            assert_eq!(plain(rows), plain(&of[network - 1][key]), "{kind:?}: {key}");
        }
        assert_ne!(plain(&of[0]["key-000"]), plain(&of[1]["key-000"]));
    }
}

/// The state of a network means nothing to another one; rows of a window do.
#[test]
fn a_key_whose_value_changes_begins_again_in_the_other_network() {
    // Null in between is another network too, and back is a change as well.
    let (change, back) = (1_001, 2_002);
    let region = |key: &str, row: usize| match key {
        "key-000" if row >= change => Some("south"),
        "key-003" if (change..back).contains(&row) => None,
        _ => region_of(key, row),
    };
    let rows = placed(region);
    for kind in [ModelKind::Carry, ModelKind::Window] {
        let by_region = |folder: &Path| publish_groups(folder, kind, Some("region"), &NETWORKS);
        let found = alone(&rows, kind, &by_region, (32, 1));
        assert!(found == alone(&rows, kind, &by_region, (500, 2)), "{kind:?}");
        let network = |seed: u64, first: usize| {
            let rest = &rows[if kind == ModelKind::Carry { first * KEYS } else { 0 }..];
            let made = alone(rest, kind, &|folder| publish_one(folder, kind, seed), (32, 1));
            move |key: &str, from: usize| {
                let rows = &made[key];
                plain(&rows[from - (ROWS - rows.len())..])
            }
        };
        let (all, north, south) = (network(1, change), network(2, 0), network(3, change));
        let (first, third) = (&found["key-000"], &found["key-003"]);
        assert_eq!(plain(&first[..change]), north("key-000", 0)[..change], "{kind:?}");
        assert_eq!(plain(&first[change..]), south("key-000", change), "{kind:?}");
        assert_eq!(plain(&third[..change]), north("key-003", 0)[..change], "{kind:?}");
        assert_eq!(plain(&third[change..back]), all("key-003", change)[..back - change], "{kind:?}");
        assert_eq!(plain(&third[back..]), network(2, back)("key-003", back), "{kind:?}");
    }
}

/// A run is killed, a version with groups takes over from one of one network, or the other way round, and is killed in
/// turn. What only the version before looked up is no longer read.
#[test]
fn a_version_with_groups_takes_over_and_restarts() {
    for (kind, back) in [(ModelKind::Carry, false), (ModelKind::Window, false), (ModelKind::Carry, true)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let rows = placed(region_of);
        let one = |folder: &Path| publish_one(folder, kind, 5);
        let groups = |folder: &Path| publish_groups(folder, kind, Some("region"), &NETWORKS);
        let all: [&dyn Fn(&Path); 2] = [&one, &groups];
        let [one, groups] = if back { [all[1], all[0]] } else { all };
        write_placed(folder, &rows);
        one(folder);
        let file: PathBuf = pipeline(folder, infer(kind), SINK, &extra(32, 1));
        assert!(killed_at(&file, folder, 4), "the run has to be killed in its middle");
        groups(folder);
        kolk_exits(0, &["check", file.to_str().unwrap()]);
        assert!(killed_at(&file, folder, 7));
        kolk_exits(0, &["run", file.to_str().unwrap()]);
        let found = written(folder);
        let from = taken_over(&found, ROWS);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let is_left = |row: &&Placed| {
            let count = seen.entry(row.0.0.clone()).or_default();
            *count += 1;
            // The rows of a window are the same for every version.
            kind == ModelKind::Window || *count > from[row.0.0.as_str()]
        };
        let rest: Vec<Placed> = rows.iter().filter(is_left).cloned().collect();
        let (first, second) = (alone(&rows, kind, one, (32, 1)), alone(&rest, kind, groups, (32, 1)));
        for (key, rows) in &found {
            let at = from[key.as_str()];
            assert_eq!(plain(&rows[..at]), plain(&first[key][..at]), "{kind:?}: {key}: what was committed stays");
            let second = &second[key];
            assert_eq!(plain(&rows[at..]), plain(&second[second.len() - (ROWS - at)..]), "{kind:?}: {key}");
        }
    }
}

/// What isn't there, or isn't what the manifest says, is refused by its name.
#[test]
fn networks_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_placed(folder, &placed(region_of)[..600]);
    publish_groups(folder, ModelKind::Carry, Some("region"), &NETWORKS);
    let file = pipeline(folder, infer(ModelKind::Carry), SINK, &extra(32, 1));
    let file = file.to_str().unwrap();
    let version = folder.join("models/m/1");
    std::fs::write(version.join("group_2.onnx"), graph(9)).unwrap();
    let (_, told) = kolk_exits(2, &["run", file]);
    assert!(told.contains("group_2.onnx is not what was published"), "{told}");
    std::fs::remove_file(version.join("group_2.onnx")).unwrap();
    let (_, told) = kolk_exits(2, &["run", file]);
    assert!(told.contains("group_2.onnx"), "{told}");

    // A network of another shape among them.
    let other = Architecture { layers: vec![Layer::recurrent(CellKind::Lstm, 7)], ..architecture() };
    let network = kolk::train::Network::<f32>::new(&other, 4);
    let onnx = export::onnx(&other, &network.tensors(), "m").unwrap();
    let networks = vec![GroupNetwork {
        value: "north".into(),
        file: "group_1.onnx".into(),
        architecture: Some(other),
        keys: vec![],
    }];
    let groups = Groups { column: Some("region".into()), networks };
    let files = BTreeMap::from([("group_1.onnx".to_string(), onnx)]);
    let root = folder.join("models");
    let manifest = manifest_of(ModelKind::Carry, Some(groups));
    let version = registry::publish_with(&root, manifest, &graph(1), "<html></html>", files, None).unwrap();
    registry::set_champion(&root, "m", version.number).unwrap();
    let (_, told) = kolk_exits(2, &["run", file]);
    assert!(told.contains("the network of \"north\" takes or gives other tensors"), "{told}");

    // The column has to be there.
    publish_groups(folder, ModelKind::Carry, Some("region"), &NETWORKS);
    write(&folder.join("data.parquet"), &series(3, 50), 500);
    let (_, told) = kolk_exits(2, &["run", file]);
    assert!(told.contains("\"region\""), "{told}");
}
