//! The whole job, Parquet to Parquet: 10 million rows of 10,000 keys through LSTM(50), and ONNX Runtime alone on the
//! same model in the same run. Not criterion: one run takes half a minute, and the memory is part of the answer.
//!
//! `cargo bench --bench whole` (`KOLK_ROWS=1000000` for a shorter one)

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{DictionaryArray, Float32Array, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Int32Type;
use kolk::kernel::CellKind;
use kolk::model::executor::Buffer;
use kolk::model::onnx::export;
use kolk::model::{Input, Manifest, ModelKind, Session, registry};
use kolk::network::{Architecture, Layer, Signature, TensorSpec};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

const KEYS: usize = 10_000;
const UNITS: usize = 50;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let rows: usize = std::env::var("KOLK_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    eprintln!("writing {rows} rows of {KEYS} keys");
    let bytes = write(&folder.join("data.parquet"), rows)?;
    let onnx = publish(folder)?;
    std::fs::write(
        folder.join("pipeline.yaml"),
        "name: whole\nsource: { parquet: { path: data.parquet } }\nrecord: { key: key, time: ts, values: [value] }\n\
         stages: [ infer: { model: whole, mode: carry } ]\nsink: { parquet: { path: out/ } }\n",
    )?;

    // Before and after the run: these machines drift.
    let before = raw(&onnx)?;
    let run = run(folder)?;
    let after = raw(&onnx)?;
    let raw = before.min(after);

    let per_row = |seconds: f64| seconds / rows as f64 * 1e9;
    println!("rows                          {rows} ({:.0} MB of Parquet)", bytes as f64 / 1e6);
    println!("kolk run, wall                {:.2} s, {:.0} rows/s", run.wall, rows as f64 / run.wall);
    println!("kolk run, CPU                 {:.2} s, {:.0} ns a row", run.cpu, per_row(run.cpu));
    println!("kolk run, peak memory         {:.0} MB", run.peak_kb as f64 / 1e3);
    println!("ONNX Runtime alone, one core  {:.0} ns a row ({:.0} before, {:.0} after)", raw, before, after);
    println!("CPU, kolk / ONNX Runtime      {:.2}", per_row(run.cpu) / raw);
    Ok(())
}

/// Rows by time, every key in each hour.
fn write(path: &Path, rows: usize) -> Result<u64> {
    let names: Vec<String> = (0..KEYS).map(|key| format!("key-{key:05}")).collect();
    let names = Arc::new(StringArray::from(names));
    let mut writer: Option<ArrowWriter<File>> = None;
    for hour in 0..rows / KEYS {
        let keys = DictionaryArray::<Int32Type>::try_new(Int32Array::from_iter_values(0..KEYS as i32), names.clone())?;
        let times = TimestampMillisecondArray::from_iter_values((0..KEYS).map(|_| hour as i64 * 3_600_000));
        let values = Float32Array::from_iter_values((0..KEYS).map(|key| ((hour + key) as f32 * 0.26).sin()));
        let batch = RecordBatch::try_from_iter([
            ("key", Arc::new(keys) as _),
            ("ts", Arc::new(times) as _),
            ("value", Arc::new(values) as _),
        ])?;
        if writer.is_none() {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(Default::default()))
                .set_max_row_group_row_count(Some(1 << 20))
                .build();
            writer = Some(ArrowWriter::try_new(File::create(path)?, batch.schema(), Some(properties))?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch)?;
        }
    }
    if let Some(writer) = writer {
        writer.close()?;
    }
    Ok(std::fs::metadata(path)?.len())
}

fn publish(folder: &Path) -> Result<Vec<u8>> {
    let architecture = Architecture {
        features: 1,
        network: vec![0],
        skip: vec![],
        groups: 0,
        embeddings: vec![],
        residual: vec![],
        layers: vec![Layer::recurrent(CellKind::Lstm, UNITS)],
        outputs: 1,
        scaling: false,
        pool: Default::default(),
        softmax: false,
        quantiles: Vec::new(),
        members: 1,
        patch: 1,
        segments: 0,
        centred: vec![],
    };
    let network = kolk::train::Network::<f32>::new(&architecture, 1);
    let onnx = export::onnx(&architecture, &network.tensors(), "whole")?;
    let manifest = Manifest {
        format: 1,
        name: "whole".into(),
        kind: ModelKind::Carry,
        form: "operator".into(),
        bitwise: true,
        window: None,
        inputs: vec![Input::now("value")],
        states: architecture.states(),
        horizon: 1,
        targets: vec!["value".into()],
        quantiles: vec![],
        classes: vec![],
        transcripts: false,
        pool: Default::default(),
        stages: vec![],
        warm_up: 0,
        seed: 1,
        data_hash: String::new(),
        metrics: Default::default(),
        architecture: Some(architecture),
        vocabularies: Vec::new(),
        groups: None,
        keys: Vec::new(),
        signature: None,
        proofs: vec![],
        from: None,
        opset: export::OPSET,
        ir_version: export::IR_VERSION,
        onnx_runtime: String::new(),
        tz_database: None,
        files: Default::default(),
    };
    let version = registry::publish(&folder.join("models"), manifest, &onnx, "", None)?;
    registry::set_champion(&folder.join("models"), "whole", version.number)?;
    Ok(onnx)
}

/// Nanoseconds a row of ONNX Runtime alone: the same model, batches of 1024 on one thread, state fed back.
fn raw(onnx: &[u8]) -> Result<f64> {
    const BATCH: usize = 1024;
    let network = kolk::model::onnx::import::network(onnx)?.0;
    let signature = Signature::of_own(&network, Vec::new(), &[], None);
    let mut session = Session::own(onnx, &signature)?;
    let x: Vec<f32> = (0..BATCH).map(|row| (row as f32).sin()).collect();
    let buffers = |of: Vec<TensorSpec>| -> Vec<Buffer> {
        of.iter().map(|tensor| Buffer::of(&vec![0.0_f32; tensor.numbers(1, BATCH)])).collect()
    };
    let (mut taken, mut given) = (buffers(signature.taken()), buffers(signature.given()));
    taken[0] = Buffer::of(&x);
    let (mut rows, mut started) = (0, Instant::now());
    for round in 0.. {
        session.run(1, BATCH, &taken, &mut given)?;
        taken[1..].swap_with_slice(&mut given[1..]);
        rows += BATCH;
        if round == 20 {
            (rows, started) = (0, Instant::now());
        } else if started.elapsed() > Duration::from_secs(3) {
            break;
        }
    }
    Ok(started.elapsed().as_nanos() as f64 / rows as f64)
}

struct Run {
    wall: f64,
    cpu: f64,
    peak_kb: u64,
}

fn run(folder: &Path) -> Result<Run> {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kolk"))
        .arg("run")
        .arg(folder.join("pipeline.yaml"))
        .stdout(Stdio::null())
        .spawn()?;
    // The kernel's own counts, read until the process is gone.
    let (mut peak_kb, mut cpu) = (0, 0.0);
    let status = loop {
        let proc = format!("/proc/{}", child.id());
        if let Ok(text) = std::fs::read_to_string(format!("{proc}/status")) {
            let peak =
                text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
            peak_kb = peak.unwrap_or(peak_kb);
        }
        if let Ok(text) = std::fs::read_to_string(format!("{proc}/stat")) {
            let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
            let ticks: f64 = fields[11..13].iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
            cpu = if ticks > 0.0 { ticks / 100.0 } else { cpu };
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if !status.success() {
        return Err(format!("kolk run: {status}").into());
    }
    Ok(Run { wall: started.elapsed().as_secs_f64(), cpu, peak_kb })
}
