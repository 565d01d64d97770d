//! The graph of others in a whole run: ids, numbers of 64 bits and a vector that is set once per key go in, several
//! outputs come out, none of which is a forecast. Killed and restarted, and with the rows of a key in other runs, it
//! writes what the same arithmetic gives by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array, StringArray};
use arrow::array::{RecordBatch, TimestampMillisecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use kolk::model::onnx::proto::{
    ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto, ValueInfoProto, type_proto,
};
use kolk::model::{Manifest, ModelKind, registry};
use kolk::network::{
    Axis, Element, Feed, Initial, Input, InputTensor, OutputTensor, Run, Signature, StateTensor, TensorSpec,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;

use super::common::*;
use super::retrained::killed_at;

const KEYS: usize = 5;
const ROWS: usize = 1_500;
const BELOW: u64 = 4;

fn value(name: &str, element: i32) -> ValueInfoProto {
    let tensor = type_proto::Tensor { elem_type: Some(element), shape: None };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() });
    ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

/// `level` becomes half of it and the value, in 64 bits; `code` is the id's row of a table and the key's vector.
fn graph() -> Vec<u8> {
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: Some(op.into()),
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    };
    let constant = |name: &str, of: i32, dims: &[i64], raw: Vec<u8>| TensorProto {
        name: Some(name.into()),
        data_type: Some(of),
        dims: dims.to_vec(),
        raw_data: Some(raw),
        ..Default::default()
    };
    let mut model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(Default::default()),
        ..Default::default()
    };
    let graph = model.graph.as_mut().unwrap();
    graph.name = Some("foreign".into());
    graph.node = vec![
        node("Mul", &["level", "half"], "halved"),
        node("Add", &["halved", "value"], "level_next"),
        node("Identity", &["level_next"], "smooth"),
        node("Gather", &["table", "token"], "row"),
        node("Add", &["row", "voice"], "code"),
    ];
    let table = (0..8).flat_map(|n| (n as f32 * 0.25).to_le_bytes()).collect();
    graph.initializer =
        vec![constant("half", 11, &[], 0.5_f64.to_le_bytes().to_vec()), constant("table", 1, &[4, 2], table)];
    graph.input = vec![value("value", 11), value("token", 7), value("voice", 1), value("level", 11)];
    graph.output = vec![value("level_next", 11), value("smooth", 11), value("code", 1)];
    model.encode_to_vec()
}

fn publish(folder: &Path) {
    let tensor = |name: &str, element, width: Option<usize>| TensorSpec {
        name: name.into(),
        element,
        shape: std::iter::once(Axis::Batch).chain(width.map(Axis::Fixed)).collect(),
    };
    let output = |tensor: TensorSpec| OutputTensor { column: tensor.name.clone(), tensor, forecast: None };
    let signature = Signature {
        inputs: vec![
            InputTensor {
                tensor: tensor("value", Element::Float64, Some(1)),
                feed: Feed::Columns(vec![Input::now("value")]),
            },
            InputTensor {
                tensor: tensor("token", Element::Int64, None),
                feed: Feed::Ids { column: "token".into(), below: BELOW },
            },
            InputTensor { tensor: tensor("voice", Element::Float32, Some(2)), feed: Feed::PerKey("voice".into()) },
        ],
        states: vec![StateTensor {
            tensor: tensor("level", Element::Float64, Some(1)),
            out: "level_next".into(),
            initial: Initial::File("level.bin".into()),
        }],
        outputs: vec![
            output(tensor("smooth", Element::Float64, Some(1))),
            output(tensor("code", Element::Float32, Some(2))),
        ],
        batch: Run::Many,
        lengths: None,
        steps: Run::One,
    };
    let manifest = Manifest { signature: Some(signature), opset: 17, ir_version: 8, ..manifest("m", ModelKind::Carry) };
    let root = folder.join("models");
    let files = BTreeMap::from([("level.bin".to_owned(), 100.5_f64.to_le_bytes().to_vec())]);
    let version = registry::publish_with(&root, manifest, &graph(), "<html></html>", files, None).unwrap();
    registry::set_champion(&root, "m", version.number).unwrap();
}

/// What a key's rows become: the level, and the code where there is one.
type Expected = BTreeMap<String, Vec<(Option<f64>, Option<Vec<f32>>)>>;

/// Records, and what comes of them. Ids beyond the table are refused; without a vector yet a row is no step.
fn data(folder: &Path) -> (Expected, usize) {
    let (mut keys, mut times, mut values, mut tokens) = (vec![], vec![], vec![], vec![]);
    let (mut voices, mut there) = (Vec::new(), Vec::new());
    let mut expected = Expected::new();
    let (mut state, mut bad) = (BTreeMap::<String, (f64, Option<Vec<f32>>)>::new(), 0);
    for (n, (key, time, value)) in series(KEYS, ROWS).into_iter().enumerate() {
        let token = if n % 97 == 5 { 4.0 } else { (n % 4) as f64 };
        let voice = ((n / KEYS) % 700 == 3).then(|| vec![n as f32, 0.5]);
        if token < BELOW as f64 {
            let (level, kept) = state.entry(key.clone()).or_insert((100.5, None));
            *kept = voice.clone().or(kept.take());
            let row = match kept {
                None => (None, None),
                Some(voice) => {
                    *level = *level * 0.5 + value;
                    let code = (0..2).map(|i| (token as f32 * 2.0 + i as f32) * 0.25 + voice[i]).collect();
                    (Some(*level), Some(code))
                }
            };
            expected.entry(key.clone()).or_default().push(row);
        } else {
            bad += 1;
        }
        there.push(voice.is_some());
        voices.extend(voice.unwrap_or(vec![0.0; 2]));
        keys.push(key);
        times.push(time);
        values.push(value);
        tokens.push(token);
    }
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let voices = FixedSizeListArray::new(item, 2, Arc::new(Float32Array::from(voices)), Some(NullBuffer::from(there)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(keys))),
        ("ts", Arc::new(TimestampMillisecondArray::from(times))),
        ("value", Arc::new(Float64Array::from(values))),
        ("token", Arc::new(Float64Array::from(tokens))),
        ("voice", Arc::new(voices)),
    ];
    write_columns(&folder.join("data.parquet"), columns, 1_000);
    (expected, bad)
}

fn parts(folder: &Path) -> Vec<RecordBatch> {
    let open = |name: &String| std::fs::File::open(folder.join(name)).unwrap();
    let read = |file| ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap);
    files(folder).keys().flat_map(|name| read(open(name))).collect()
}

fn found(folder: &Path) -> Expected {
    let mut found = Expected::new();
    for batch in parts(&folder.join("out")) {
        let names: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["key", "ts", "smooth", "code", "model_version", "warm_up"], "no forecast has no time");
        let keys = batch.column(0).as_string::<i32>();
        let smooth = batch.column(2).as_primitive::<Float64Type>();
        let codes = batch.column(3).as_fixed_size_list();
        for row in 0..batch.num_rows() {
            let code = codes.is_valid(row).then(|| codes.value(row).as_primitive::<Float32Type>().values().to_vec());
            let smooth = smooth.is_valid(row).then(|| smooth.value(row));
            found.entry(keys.value(row).into()).or_default().push((smooth, code));
        }
    }
    found
}

#[test]
fn a_foreign_graph_runs_with_ids_vectors_and_several_outputs_through_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder);
    let (expected, bad) = data(folder);
    let file = folder.join("pipeline.yaml");
    let text = "name: test\nsource: { parquet: { path: data.parquet } }\n\
                record: { key: key, time: ts, values: [value, token], vectors: { voice: 2 } }\n\
                stages:\n  - filter: { where: value > -1000 }\n  - infer: { model: m }\n  - filter: { where: smooth is null or smooth > -1000 }\n\
                sink: { parquet: { path: out/, fields: [smooth], part_records: 200 } }\n\
                dead_letters: { parquet: { path: refused/ } }\n\
                state: { path: state/, checkpoint_every: 1ms, or_records: 100, partitions: 3 }\n\
                runtime: { workers: 1, batch: 32 }\n";
    std::fs::write(&file, text).unwrap();
    let name = file.to_str().unwrap();
    kolk_exits(0, &["check", name]);
    killed_at(&file, folder, 4);
    killed_at(&file, folder, 7);
    kolk_exits(0, &["run", name]);
    assert!(found(folder) == expected, "the rows differ from those by hand");

    let letters = parts(&folder.join("refused"));
    assert_eq!(letters.iter().map(RecordBatch::num_rows).sum::<usize>(), bad);
    let reasons = letters[0].column_by_name("reason").unwrap().as_string::<i32>();
    let details = letters[0].column_by_name("detail").unwrap().as_string::<i32>();
    assert_eq!(reasons.value(0), "bad_id");
    assert_eq!(details.value(0), "column \"token\" is 4, ids are whole numbers from 0 to 3");

    let (state, _) = kolk_exits(0, &["state", "get", name, "key-001"]);
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let stages = state["stages"].as_array().unwrap();
    let field = |name: &str| {
        let mut fields = stages.iter().flat_map(|stage| stage["fields"].as_array().unwrap());
        fields.find(|field| field["name"] == name).unwrap().clone()
    };
    let last = expected["key-001"].last().unwrap().0.unwrap();
    assert_eq!((field("level")["type"].as_str(), field("level")["value"][0].as_f64()), (Some("f64"), Some(last)));
    assert!(field("voice")["value"][0].as_f64().unwrap() > 0.0);
}
