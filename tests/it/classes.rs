//! Networks that tell classes, of fixed numbers, and records that form sequences.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray, TimestampMillisecondArray};
use kolk::kernel::CellKind;
use kolk::model::onnx::export;
use kolk::model::{Input, Manifest, ModelKind, registry};
use kolk::network::{Architecture, Layer, Pool, RecurrentLayer, Tensor};

use super::common::*;

pub const SECOND: i64 = 1_000;
pub const KEYS: usize = 13;
pub const CLASSES: [&str; 3] = ["go", "no", "stay"];

/// Cells with their units, and whether they run in both directions.
pub type Layers = &'static [(CellKind, usize, bool)];

/// A network of fixed numbers that tells three classes by `value`, published as `name`.
pub fn publish_classes(folder: &Path, name: &str, layers: &[(CellKind, usize, bool)], pool: Pool) {
    let kind = if pool.is_none() { ModelKind::Carry } else { ModelKind::Sequence };
    publish_tokens(folder, name, layers, pool, (kind, CLASSES));
}

/// The same with other names, and of any kind.
pub fn publish_tokens(
    folder: &Path,
    name: &str,
    layers: &[(CellKind, usize, bool)],
    pool: Pool,
    (kind, classes): (ModelKind, [&str; 3]),
) {
    publish_of(folder, name, layers, pool, (kind, classes, false));
}

/// A network of three tokens, the last of them the blank, in one direction: of whole sequences, or of mode carry.
pub fn publish_transcripts(folder: &Path, name: &str, layers: Layers, kind: ModelKind, tokens: [&str; 3]) {
    publish_of(folder, name, layers, Pool::None, (kind, tokens, kind == ModelKind::Carry));
}

fn publish_of(
    folder: &Path,
    name: &str,
    layers: &[(CellKind, usize, bool)],
    pool: Pool,
    (kind, classes, transcripts): (ModelKind, [&str; 3], bool),
) {
    let layer = |(cell, units, bidirectional): &(CellKind, usize, bool)| {
        let (cell, units, bidirectional) = (*cell, *units, *bidirectional);
        Layer::Recurrent(RecurrentLayer { cell, units, double_bias: false, bidirectional })
    };
    let architecture = Architecture {
        features: 1,
        network: vec![0],
        skip: vec![],
        groups: 0,
        embeddings: vec![],
        residual: vec![],
        layers: layers.iter().map(layer).collect(),
        outputs: CLASSES.len(),
        scaling: true,
        pool,
        softmax: true,
        quantiles: Vec::new(),
        members: 1,
        patch: 1,
        segments: 0,
        centred: vec![],
    };
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let mut number = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        (noise >> 40) as f32 / (1 << 24) as f32 * 2.0 - 1.0
    };
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let data = match name.as_str() {
            "scaling/mean" => vec![5.0],
            "scaling/sd" => vec![2.0],
            "output/bias" => vec![0.0; shape[0]],
            "output/kernel" => (0..shape.iter().product()).map(|_| 5.0 * number()).collect(),
            _ => (0..shape.iter().product()).map(|_| number()).collect(),
        };
        Tensor { name, shape, data }
    };
    let tensors: Vec<Tensor> = architecture.tensor_shapes().into_iter().map(tensor).collect();
    let onnx = export::onnx(&architecture, &tensors, name).unwrap();
    let manifest = Manifest {
        inputs: vec![Input::now("value")],
        states: architecture.states(),
        horizon: 1,
        targets: vec!["label".into()],
        classes: classes.map(String::from).into(),
        transcripts,
        pool,
        seed: 3,
        architecture: Some(architecture),
        ..manifest(name, kind)
    };
    let root = folder.join("models");
    let version = registry::publish(&root, manifest, &onnx, "<html></html>", None).unwrap();
    registry::set_champion(&root, name, version.number).unwrap();
}

/// A network that advances with each row, one whose answer is a mean, one that must see whole sequences.
pub const MODELS: [(&str, Layers, Pool); 3] = [
    ("last", &[(CellKind::Gru, 7, false), (CellKind::Lstm, 5, false)], Pool::Last),
    ("mean", &[(CellKind::Lstm, 6, false)], Pool::Mean),
    ("whole", &[(CellKind::Gru, 5, true), (CellKind::Lstm, 4, true)], Pool::Last),
];

pub fn publish_all(folder: &Path) {
    MODELS.iter().for_each(|(name, layers, pool)| publish_classes(folder, name, layers, *pool));
}

/// A record: key, time, value, whether it is the last one of its sequence, and what the sequence is.
pub type Record = (String, i64, Option<f64>, bool, String);

/// Sequences of 1 to 9 records a second apart, with pauses of 10 s between them, of keys that are interleaved; the last
/// one of each key has no end.
pub fn records() -> Vec<Record> {
    let mut noise = 77_u64;
    let mut next = |below: u64| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) % below
    };
    let mut keys = vec![(0_i64, 0_u64, 0_u64); KEYS];
    let mut out = Vec::new();
    for _ in 0..110 * KEYS {
        let key = next(KEYS as u64) as usize;
        let (time, left, number) = &mut keys[key];
        if *left == 0 {
            (*time, *left, *number) = (*time + 10 * SECOND, 1 + next(9), *number + 1);
        }
        (*time, *left) = (*time + SECOND, *left - 1);
        let value = (next(11) > 0).then(|| next(1000) as f64 / 100.0);
        out.push((format!("key-{key:03}"), *time, value, *left == 0, format!("{key}-{number}")));
    }
    out
}

/// Writes them to a file.
pub fn write_records(path: &Path, records: &[Record]) {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(records.iter().map(|r| &r.0)));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(records.iter().map(|r| r.1)));
    let values: ArrayRef = Arc::new(records.iter().map(|r| r.2).collect::<Float64Array>());
    let last: ArrayRef = Arc::new(records.iter().map(|r| Some(r.3)).collect::<BooleanArray>());
    let label: ArrayRef = Arc::new(StringArray::from_iter_values(records.iter().map(|r| &r.4)));
    let columns = vec![("key", keys), ("ts", times), ("value", values), ("last", last), ("label", label)];
    write_columns(path, columns, 300);
}
