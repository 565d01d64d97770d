//! What whole runs need: series on disk, a model in a registry, pipelines, the binary, and the output read back.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kolk::kernel::CellKind;
use kolk::model::onnx::export;
use kolk::model::{Input, Manifest, ModelKind, registry};
use kolk::network::{Architecture, Embedding, Layer, Vocabulary};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

/// A record of a test: key, time in milliseconds, value.
pub type Row = (String, i64, f64);

/// A noisy wave per key, one row an hour, keys interleaved; deterministic.
pub fn series(keys: usize, rows: usize) -> Vec<Row> {
    let mut out = Vec::new();
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for row in 0..rows {
        for key in 0..keys {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let wobble = (noise >> 40) as f64 / (1 << 24) as f64 - 0.5;
            let value = 10.0 * key as f64 + (row as f64 * 0.26 + key as f64).sin() * 3.0 + wobble;
            out.push((format!("key-{key:03}"), row as i64 * 3_600_000, value));
        }
    }
    out
}

/// Writes rows as `key, ts, value`, cut into row groups of that size.
pub fn write(path: &Path, rows: &[Row], row_group: usize) {
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.0.as_str())));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|r| r.1)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.2)));
    write_columns(path, vec![("key", keys), ("ts", times), ("value", values)], row_group);
}

/// Writes any columns.
pub fn write_columns(path: &Path, columns: Vec<(&str, ArrayRef)>, row_group: usize) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(row_group)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A network of untrained but fixed numbers, published as `name` in `folder/models`: one feature `value`, horizon 2.
pub fn publish(folder: &Path, name: &str, cell: CellKind, kind: ModelKind, window: Option<usize>) {
    publish_units(folder, name, cell, kind, window, 9);
}

/// The same with another width of the first layer, and so with other numbers.
pub fn publish_units(folder: &Path, name: &str, cell: CellKind, kind: ModelKind, window: Option<usize>, units: usize) {
    publish_forecast(folder, name, &[Layer::recurrent(cell, units), Layer::recurrent(cell, 5)], kind, window, 0, &[]);
}

/// The same of any layers, with so many lags of `value` as features, and with quantiles.
pub fn publish_forecast(
    folder: &Path,
    name: &str,
    layers: &[Layer],
    kind: ModelKind,
    window: Option<usize>,
    lags: u32,
    quantiles: &[f64],
) {
    let (features, outputs) = (1 + lags as usize, 2 * quantiles.len().max(1));
    let architecture = Architecture {
        features,
        network: (0..features).collect(),
        residual: vec![0; outputs],
        outputs,
        ..of_one_value(layers)
    };
    let mut network = kolk::train::Network::<f32>::new(&architecture, 3);
    let means: Vec<f32> = (0..outputs).map(|n| [0.1, 0.2][n % 2]).collect();
    let deviations: Vec<f32> = (0..outputs).map(|n| [2.0, 3.0][n % 2]).collect();
    network.set_scaling(&vec![12.0; features], &vec![9.0; features], &means, &deviations);
    let manifest = Manifest {
        window,
        inputs: (0..=lags).map(|lag| Input::back("value", lag)).collect(),
        states: architecture.states(),
        horizon: 2,
        targets: vec!["value".into()],
        quantiles: quantiles.to_vec(),
        warm_up: 3,
        seed: 3,
        architecture: Some(architecture),
        ..manifest(name, kind)
    };
    let onnx = export::onnx(manifest.architecture.as_ref().unwrap(), &network.tensors(), name).unwrap();
    let root = folder.join("models");
    let version = registry::publish(&root, manifest, &onnx, "<html></html>", None).unwrap();
    registry::set_champion(&root, name, version.number).unwrap();
}

/// Layers between the value of now and two outputs, to which the value is added.
pub fn of_one_value(layers: &[Layer]) -> Architecture {
    Architecture {
        features: 1,
        network: vec![0],
        skip: vec![],
        groups: 0,
        embeddings: vec![],
        residual: vec![0; 2],
        layers: layers.to_vec(),
        outputs: 2,
        scaling: true,
        pool: Default::default(),
        softmax: false,
        quantiles: Vec::new(),
        members: 1,
        patch: 1,
        segments: 0,
        centred: vec![],
    }
}

/// A network that also looks up the key, among these: its vectors are the same by id, so other ids give other outputs.
pub fn publish_keys(folder: &Path, name: &str, kind: ModelKind, window: Option<usize>, keys: &[&str]) {
    let architecture = Architecture {
        embeddings: vec![Embedding { rows: keys.len() + 1, size: 2 }],
        ..of_one_value(&[Layer::recurrent(CellKind::Gru, 6)])
    };
    let mut network = kolk::train::Network::<f32>::new(&architecture, 3);
    network.set_scaling(&[12.0], &[9.0], &[0.1, 0.2], &[2.0, 3.0]);
    let mut tensors = network.tensors();
    let table = tensors.iter_mut().find(|tensor| tensor.name == "embedding_0/table").unwrap();
    table.data.iter_mut().enumerate().for_each(|(at, number)| *number = (at as f32 * 0.7).sin());
    let manifest = Manifest {
        window,
        inputs: vec![Input::now("value")],
        vocabularies: vec![Vocabulary { column: None, tokens: keys.iter().map(|key| (*key).into()).collect() }],
        states: architecture.states(),
        horizon: 2,
        targets: vec!["value".into()],
        warm_up: 3,
        seed: 3,
        architecture: Some(architecture),
        ..manifest(name, kind)
    };
    let onnx = export::onnx(manifest.architecture.as_ref().unwrap(), &tensors, name).unwrap();
    let root = folder.join("models");
    let version = registry::publish(&root, manifest, &onnx, "<html></html>", None).unwrap();
    registry::set_champion(&root, name, version.number).unwrap();
}

/// The manifest of a model that has nothing of what not every model has.
pub fn manifest(name: &str, kind: ModelKind) -> Manifest {
    Manifest {
        format: 1,
        name: name.into(),
        kind,
        form: "operator".into(),
        bitwise: true,
        window: None,
        inputs: vec![],
        states: vec![],
        horizon: 0,
        targets: vec![],
        quantiles: vec![],
        classes: vec![],
        transcripts: false,
        pool: Default::default(),
        stages: vec![],
        warm_up: 0,
        seed: 0,
        data_hash: String::new(),
        metrics: BTreeMap::new(),
        architecture: None,
        keys: vec![],
        vocabularies: vec![],
        groups: None,
        signature: None,
        proofs: vec![],
        from: None,
        opset: export::OPSET,
        ir_version: export::IR_VERSION,
        onnx_runtime: String::new(),
        tz_database: None,
        files: BTreeMap::new(),
    }
}

/// The smallest pipeline over `data*.parquet` in a folder; `extra` is appended as it is.
pub fn pipeline(folder: &Path, infer: &str, sink: &str, extra: &str) -> PathBuf {
    let file = folder.join("pipeline.yaml");
    let text = format!(
        "name: test\nsource:\n  parquet: {{ path: data*.parquet }}\nrecord:\n  key: key\n  time: ts\n  values: [value]\n\
         stages:\n  - infer: {{ {infer} }}\nsink:\n  {sink}\n{extra}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// Lets SIGHUP do what it does by default, also where the tests were started with `nohup`.
#[allow(unsafe_code)]
pub fn default_hangup(command: &mut Command) {
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
}

/// Runs the binary to its end.
pub fn kolk(arguments: &[&str]) -> Output {
    finished(Command::new(env!("CARGO_BIN_EXE_kolk")).args(arguments))
}

/// Runs a program to its end. One that takes ten minutes is killed: a test that fails says more than one that never
/// ends.
pub fn finished(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = child.id().to_string();
    let (ended, ending) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if ending.recv_timeout(Duration::from_secs(600)) == Err(RecvTimeoutError::Timeout) {
            Command::new("kill").args(["-KILL", &process]).status().unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    output
}

/// Runs the binary and asserts its exit code; gives stdout and stderr.
pub fn kolk_exits(code: i32, arguments: &[&str]) -> (String, String) {
    let output = kolk(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into());
    assert_eq!(output.status.code(), Some(code), "kolk {arguments:?}\nstdout: {out}\nstderr: {err}");
    (out, err)
}

/// Every file of a folder (but hidden and `_` folders) with its bytes.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            files.insert(entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// All rows of all parts of an output folder as text, per key, in the order of the parts.
pub fn rows(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in files(folder).keys() {
        let file = std::fs::File::open(folder.join(name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let options = FormatOptions::default().with_null("null");
            let columns: Vec<_> =
                batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
                rows.entry(cells[0].clone()).or_default().push(cells[1..].join(" "));
            }
        }
    }
    rows
}

/// The output file by file, and the state of each key.
pub fn made(folder: &Path, file: &Path, keys: usize) -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let of = |key: usize| {
        let shown = kolk_exits(0, &["state", "get", file.to_str().unwrap(), &format!("key-{key:03}")]).0;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["stages"].to_string()
    };
    (files(&folder.join("out")), (0..keys).map(of).collect())
}

/// Runs a pipeline and kills it, once after each of so many milliseconds; one kill at least comes before its end.
pub fn killed_at_moments(pipeline: &str, millis: impl Iterator<Item = u64>) {
    let mut kills = 0;
    for millis in millis {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_kolk"));
        let mut child = command.args(["run", pipeline]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        kills += usize::from(!child.wait().unwrap().success());
    }
    assert!(kills > 0);
}
