//! Everything that reads bytes of others, each as one function of these bytes: whatever they are, it returns, and takes
//! no more memory than its bound. For fuzzing (`fuzz/`), and for tests that change valid bytes. Only there.
//!
//! Lives here: what is read how, valid bytes to begin with, the count of memory. Must not live here: bounds themselves.

#![allow(clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, Encoding};
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;

use crate::error::Problems;
use crate::format::{Decoder, law};
use crate::kernel::CellKind;
use crate::model::onnx::{self, bounds, declared, inspect, operators, recognise};
use crate::model::{Manifest, card, weights};
use crate::network::{Architecture, Layer, Tensor};
use crate::source::Files;
use crate::{config, model, source, state};

/// What is read: its name, how, valid bytes, and the most megabytes that a small input may take.
pub struct Kind {
    /// Its name, that of the fuzz target.
    pub name: &'static str,
    /// Reads bytes.
    pub read: fn(&[u8]),
    /// Valid bytes to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The most memory that it may take for bytes of some kilobytes.
    pub megabytes: usize,
}

/// All that reads bytes of others.
pub const KINDS: [Kind; 9] = [
    Kind { name: "onnx", read: onnx, seeds: onnx_seeds, megabytes: 64 },
    Kind { name: "parquet", read: parquet, seeds: parquet_seeds, megabytes: 1600 },
    Kind { name: "avro", read: avro, seeds: avro_seeds, megabytes: 64 },
    Kind { name: "protobuf", read: protobuf, seeds: protobuf_seeds, megabytes: 64 },
    Kind { name: "json", read: json, seeds: json_seeds, megabytes: 64 },
    Kind { name: "pipeline", read: pipeline, seeds: pipeline_seeds, megabytes: 128 },
    Kind { name: "checkpoint", read: state::hostile::read, seeds: state::hostile::seeds, megabytes: 64 },
    Kind { name: "manifest", read: manifest, seeds: manifest_seeds, megabytes: 64 },
    Kind { name: "weights", read: weights, seeds: weights_seeds, megabytes: 256 },
];

/// The kind of a name.
pub fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).expect("a kind")
}

/// Everything that is done with an ONNX file before ONNX Runtime gets it.
fn onnx(bytes: &[u8]) {
    let _ = onnx::import::network(bytes);
    let Ok(mut model) = onnx::import::model(bytes) else { return };
    if bounds::check(&model).is_err() || onnx::inline::inline(&mut model, Path::new("/nowhere")).is_err() {
        return;
    }
    inspect::layers(&model);
    operators::find(&model, &[]);
    let _ = recognise::unrolled(&model);
    let _ = weights::of_layers(&model);
    let _ = card::propose(&model).card("model.onnx", "model");
    let names: Vec<String> = model.graph.iter().flat_map(|g| &g.input).map(|info| info.name().to_string()).collect();
    names.iter().for_each(|name| drop(onnx::constants::constant(&mut model, name, &[1.0])));
    onnx::constants::settle(&mut model);
    if let Some(graph) = &mut model.graph {
        declared::inputs(graph);
        declared::outputs(graph);
        onnx::lengths::leave_out(graph, &|_| false);
    }
}

fn onnx_seeds() -> Vec<Vec<u8>> {
    let of = |cell| {
        let architecture = Architecture {
            features: 2,
            network: vec![0, 1],
            skip: vec![1],
            groups: 0,
            embeddings: vec![],
            residual: vec![0],
            layers: vec![Layer::recurrent(cell, 2)],
            outputs: 1,
            scaling: true,
            pool: crate::network::Pool::None,
            softmax: false,
            members: 1,
            quantiles: vec![],
            patch: 1,
            segments: 0,
            centred: vec![],
        };
        let shapes = architecture.tensor_shapes();
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let data = vec![0.5; shape.iter().product()];
            Tensor { name, shape, data }
        };
        let tensors: Vec<Tensor> = shapes.into_iter().map(tensor).collect();
        onnx::export::onnx(&architecture, &tensors, "seed").expect("a graph")
    };
    [CellKind::Gru, CellKind::Lstm, CellKind::RnnTanh].map(of).into()
}

/// A folder in memory, where there is one, of this process.
fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let folder = root.join(format!("kolk-hostile-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The whole way of a file of records: found, planned and read to its end.
fn parquet(bytes: &[u8]) {
    thread_local!(static FILE: PathBuf = folder().join(format!("{:?}.parquet", std::thread::current().id())));
    let path = FILE.with(Clone::clone);
    std::fs::write(&path, bytes).expect("a file");
    for record in ["key: k, time: ts, values: [v], vectors: { w: 3 }", "columns_as_keys: [v, i], time: ts"] {
        let text = format!(
            "name: p\nsource: {{ parquet: {{ path: \"{}\" }} }}\nrecord: {{ {record} }}\nsink: {{ stdout: {{ fields: [s] }} }}",
            path.display()
        );
        let pipeline = config::parse(&text, Path::new("/p/p.yaml")).expect("a pipeline");
        let fields = [config::At::default_value("s".to_string())];
        let mut problems = Problems::new("p.yaml");
        let Some(planned) = source::parquet::plan(&pipeline, &fields, &mut problems) else { continue };
        let mut reader = Files::open(&planned, None).expect("a source");
        // A file of a few bytes may have rows without end.
        for _ in 0..20 {
            if !matches!(reader.next(), Ok(Some(_))) {
                break;
            }
        }
    }
}

/// Files of all encodings and kinds of compression.
fn parquet_seeds() -> Vec<Vec<u8>> {
    let rows = 300;
    let text = |n: usize| (!n.is_multiple_of(7)).then(|| format!("text-{}", n % 11));
    let lists = (0..rows).map(|n| Some(vec![Some(n as f64), None, Some(1.0)]).filter(|_| n % 5 != 0));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", Arc::new((0..rows).map(|n| Some(format!("key-{}", n % 3))).collect::<StringArray>())),
        ("ts", Arc::new((0..rows as i64).map(|n| n * 1000).collect::<Int64Array>())),
        ("v", Arc::new((0..rows).map(|n| (n % 4 != 0).then_some(n as f64 / 3.0)).collect::<Float64Array>())),
        ("i", Arc::new((0..rows).map(|n| n as f32).collect::<Float32Array>())),
        ("w", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))),
        ("s", Arc::new((0..rows).map(text).collect::<StringArray>())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).expect("rows");
    let write = |codec, version, encoding: Option<Encoding>| {
        let mut properties = WriterProperties::builder()
            .set_compression(codec)
            .set_writer_version(version)
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(50)
            .set_max_row_group_row_count(Some(200));
        if let Some(encoding) = encoding {
            properties = properties.set_dictionary_enabled(false).set_column_encoding("s".into(), encoding);
        }
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).expect("a writer");
        writer.write(&batch).and_then(|()| writer.close()).expect("a file");
        bytes
    };
    use WriterVersion::{PARQUET_1_0 as FIRST, PARQUET_2_0 as SECOND};
    vec![
        write(Compression::UNCOMPRESSED, FIRST, None),
        write(Compression::UNCOMPRESSED, SECOND, None),
        write(Compression::UNCOMPRESSED, FIRST, Some(Encoding::PLAIN)),
        write(Compression::UNCOMPRESSED, SECOND, Some(Encoding::DELTA_BYTE_ARRAY)),
        write(Compression::SNAPPY, FIRST, Some(Encoding::DELTA_LENGTH_BYTE_ARRAY)),
        write(Compression::ZSTD(Default::default()), SECOND, None),
        write(Compression::GZIP(Default::default()), FIRST, Some(Encoding::DELTA_BYTE_ARRAY)),
        write(Compression::BROTLI(Default::default()), SECOND, None),
        write(Compression::LZ4, FIRST, None),
        write(Compression::LZ4_RAW, SECOND, Some(Encoding::DELTA_LENGTH_BYTE_ARRAY)),
    ]
}

/// Bytes in pieces, each ended by a byte that is rare in text.
fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split(|byte| *byte == 0xff).map(<[u8]>::to_vec).collect()
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Messages of known schemas, and of one that is in the bytes.
fn avro(bytes: &[u8]) {
    thread_local!(static DECODERS: RefCell<[Box<dyn Decoder>; 2]> = RefCell::new([law::avro(false), law::avro(true)]));
    let all = pieces(bytes);
    let payloads: Vec<Vec<u8>> = all.iter().map(|body| law::in_frame(body)).collect();
    DECODERS.with_borrow_mut(|decoders| {
        decoders.iter_mut().for_each(|decoder| law::alone_as_together(decoder.as_mut(), &payloads).expect("the law"));
    });
    if let [schema, bodies @ ..] = &all[..] {
        law::by_schema("avro", &text(schema), &bodies.concat());
    }
}

fn avro_seeds() -> Vec<Vec<u8>> {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","namespace":"n","fields":[{fields}]}}"#);
    let usual = r#"{"name":"k","type":"string"},{"name":"ts","type":"long"},{"name":"v","type":["null","double"]}"#;
    let inner = r#"{"name":"d","type":["null",{"type":"record","name":"D","fields":[{"name":"e","type":"string"},{"name":"v","type":"double"}]}]},{"name":"s","type":{"type":"enum","name":"E","symbols":["a","b"]}}"#;
    let other = r#"{"name":"l","type":{"type":"array","items":{"type":"map","values":["null","n.R"]}}},{"name":"f","type":{"type":"fixed","name":"F","size":3}},{"name":"m","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}"#;
    let body = [&[2, b'a', 2, 2][..], &1.5_f64.to_le_bytes()].concat();
    let with = |schema: String, body: &[u8]| [schema.as_bytes(), &[0xff], body].concat();
    vec![
        body.clone(),
        with(record(usual), &body),
        with(record(&format!("{usual},{inner}")), &[&body[..], &[0, 2]].concat()),
        with(record(&format!("{usual},{inner},{other}")), &[&body[..], &[0, 2, 0, 1, 2, 3, 0]].concat()),
    ]
}

/// As of Avro.
fn protobuf(bytes: &[u8]) {
    thread_local!(static DECODER: RefCell<Box<dyn Decoder>> = RefCell::new(law::protobuf()));
    let all = pieces(bytes);
    let payloads: Vec<Vec<u8>> = all.iter().map(|body| law::in_frame(body)).collect();
    DECODER.with_borrow_mut(|decoder| law::alone_as_together(decoder.as_mut(), &payloads).expect("the law"));
    if let [schema, bodies @ ..] = &all[..] {
        law::by_schema("protobuf", &text(schema), &bodies.concat());
    }
}

fn protobuf_seeds() -> Vec<Vec<u8>> {
    let body = [&[2, 2, 0][..], &[0x0a, 1, b'a', 0x10, 5, 0x1a, 9, 9], &1.5_f64.to_le_bytes()].concat();
    let plain = [&[0][..], &[0x0a, 1, b'a', 0x10, 5, 0x19], &1.5_f64.to_le_bytes(), &[0x22, 1, b's']].concat();
    let schema = "syntax = \"proto3\"; import \"google/protobuf/wrappers.proto\"; message M { string k = 1; int64 ts = 2; \
                  optional double v = 3; string s = 4; message D { string e = 1; repeated D all = 2; } D d = 5; oneof o \
                  { int32 a = 6; bytes b = 7; } map<string, int32> m = 8; }";
    vec![body, [schema.as_bytes(), &[0xff], &plain].concat()]
}

fn json(bytes: &[u8]) {
    thread_local!(static DECODER: RefCell<Box<dyn Decoder>> = RefCell::new(law::json()));
    DECODER.with_borrow_mut(|decoder| law::alone_as_together(decoder.as_mut(), &pieces(bytes)).expect("the law"));
}

fn json_seeds() -> Vec<Vec<u8>> {
    let messages = [
        r#"{"k":"a","ts":1000,"a":1.5,"b":null,"shop":"x","n":7,"on":true,"more":[{"x":[1,2,{"y":"z"}]}]}"#,
        r#"{"k":7,"ts":1e3,"a":"NaN","b":-0.0e-5,"n":-9223372036854775808,"on":false,"shop":{"a":1}}"#,
        r#"{"k":"\u00e9\ud83d\ude00","ts":1,"a":1e999999,"b":123456789012345678901234567890}"#,
    ];
    messages.iter().map(|text| text.as_bytes().to_vec()).chain([messages.join("\u{1}").into_bytes()]).collect()
}

/// A pipeline file and a card.
fn pipeline(bytes: &[u8]) {
    let text = text(bytes);
    let _ = config::parse(&text, Path::new("/p/p.yaml"));
    let _ = config::card_of(&text, Path::new("/p/card.yaml"));
}

fn pipeline_seeds() -> Vec<Vec<u8>> {
    let pipeline = "name: p\nx-a: &a { column: ts, unit: ms }\nsource: { kafka: { brokers: b, topic: t, partitioned_by: \
                    key, format: { avro: { registry: \"http://r\" } } } }\nrecord: { key: k, time: *a, values: [a, b] }\n\
                    on: { reorder: 5s, late: dead_letter }\nstages:\n  - filter: a > 1 and (b is null or a in [1, 2])\n  \
                    - resample: { every: 1h }\n  - infer: { model: m, mode: carry }\nsink: { parquet: { path: \
                    \"${HOME:-/tmp}/out\" } }\n";
    let card = "onnx: m.onnx\nname: m\nlayout: step\ninputs: { x: { columns: [a, b] }, rate: { constant: 0.5 } }\n\
                states: { h: { out: h1 } }\noutputs: { y: { column: z } }\n";
    vec![include_str!("../pipelines/weather_gru.yaml").into(), card.into(), pipeline.into()]
}

/// The manifest of a version, and of a state of others.
fn manifest(bytes: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return };
    manifest.hash();
    manifest.ids();
    for signature in [manifest.signature(), manifest.interface()].into_iter().flatten() {
        let tensors = [signature.taken(), signature.given()].concat();
        tensors.iter().for_each(|tensor| drop((tensor.check(), tensor.describe(), tensor.row_bytes())));
    }
    if let Some(architecture) = manifest.architecture.filter(|architecture| architecture.validate().is_ok()) {
        architecture.tensor_shapes();
        architecture.in_words();
        architecture.parameters();
    }
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let text = r#"{"format":1,"name":"m","kind":"carry","form":"operator","bitwise":true,"window":null,"inputs":[{"column":"a","lag":0}],"states":[{"in":"h","out":"h1","shape":[2],"init":"zero"}],"horizon":1,"targets":["a"],"quantiles":[0.5],"stages":[{"lags":[["a",[1]]]}],"warm_up":3,"seed":1,"data_hash":"x","metrics":{"mae":0.5},"signature":{"inputs":[{"name":"x","type":"float32","shape":["time","batch",2],"feed":{"columns":[{"column":"a","lag":0}]}}],"states":[{"name":"h","type":"float32","shape":["batch",2],"out":"h1","initial":"zero"}],"outputs":[{"name":"y","type":"float32","shape":["time","batch",1],"column":"y"}],"batch":"many","steps":"many"},"opset":18,"ir_version":10,"onnx_runtime":"1","files":{"model.onnx":"00"}}"#;
    let groups = r#"{"format":1,"name":"m","kind":"window","form":"operator","bitwise":true,"window":2,"inputs":[{"column":"a","lag":0}],"states":[],"horizon":1,"targets":["a"],"quantiles":[],"stages":[],"warm_up":0,"seed":1,"data_hash":"x","metrics":{},"architecture":ARCHITECTURE,"keys":["a"],"groups":{"column":"c","networks":[{"value":"v","file":"group_1.onnx","keys":["b"]}]},"opset":17,"ir_version":8,"onnx_runtime":"1","files":{"model.onnx":"00","group_1.onnx":"00"}}"#;
    let architecture = serde_json::to_string(&architecture()).unwrap_or_default();
    vec![text.into(), groups.replace("ARCHITECTURE", &architecture).into()]
}

fn architecture() -> Architecture {
    Architecture {
        features: 2,
        network: vec![0, 1],
        skip: vec![],
        groups: 0,
        embeddings: vec![],
        residual: vec![],
        layers: vec![Layer::recurrent(CellKind::Gru, 2)],
        outputs: 1,
        scaling: true,
        pool: crate::network::Pool::None,
        softmax: false,
        members: 1,
        quantiles: vec![],
        patch: 1,
        segments: 0,
        centred: vec![],
    }
}

/// Files of Keras and PyTorch, and NumPy's arrays.
fn weights(bytes: &[u8]) {
    let architecture = architecture();
    let kind = if bytes.starts_with(b"PK") { "keras" } else { "safetensors" };
    let read = || weights::of_bytes(Some(kind), bytes.to_vec(), &architecture, &[]);
    let _ = crate::error::contained(read).and_then(|found| found).map(|found| found.fit(&architecture));
    let _ = model::import::npy::read(bytes);
}

fn weights_seeds() -> Vec<Vec<u8>> {
    let header = r#"{"lstm.weight_ih_l0":{"dtype":"F32","shape":[6,2],"data_offsets":[0,48]},"lstm.weight_hh_l0":{"dtype":"F32","shape":[6,2],"data_offsets":[48,96]},"head.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[96,104]}}"#;
    let tensors = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 104]].concat();
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }";
    let npy = [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes(), &[0; 24]].concat();
    vec![tensors, npy]
}

/// Counts the memory of a thread that asks for it.
pub struct Counting;

thread_local! {
    /// What this thread has, since when it counts, and the most so far.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends counts no longer.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: everything is handed on to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        count(block.size() as isize);
        unsafe { System.alloc(block) }
    }

    unsafe fn alloc_zeroed(&self, block: Block) -> *mut u8 {
        count(block.size() as isize);
        unsafe { System.alloc_zeroed(block) }
    }

    unsafe fn dealloc(&self, at: *mut u8, block: Block) {
        count(-(block.size() as isize));
        unsafe { System.dealloc(at, block) }
    }

    unsafe fn realloc(&self, at: *mut u8, block: Block, size: usize) -> *mut u8 {
        count(size as isize - block.size() as isize);
        unsafe { System.realloc(at, block, size) }
    }
}

/// Begins a fuzz target: the valid bytes go to the folder that `KOLK_SEEDS` names, and a panic that is caught is none.
pub fn begin(name: &str) {
    if let Some(folder) = std::env::var_os("KOLK_SEEDS").map(PathBuf::from) {
        std::fs::create_dir_all(&folder).expect("a folder");
        for (n, seed) in (kind(name).seeds)().into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{n}")), seed).expect("a file");
        }
    }
    // libFuzzer's ends the process, also where the panic of a library becomes an error.
    std::panic::set_hook(Box::new(|_| {}));
}

/// The most memory that something took of this thread, where [`Counting`] counts.
pub fn most_memory<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = run();
    (result, usize::try_from(MOST.get() - before).unwrap_or(0))
}

/// Reads bytes, and panics if that took more memory than it may.
pub fn within(kind: &Kind, bytes: &[u8]) {
    let ((), most) = most_memory(|| (kind.read)(bytes));
    if most > kind.megabytes << 20 {
        eprintln!("{} took {most} bytes for {}", kind.name, bytes.len());
        panic!("{} took {most} bytes for {}", kind.name, bytes.len());
    }
}

/// Changes bytes: some of them, their order, their number, and numbers among them to those that are seldom right.
pub fn changed(bytes: &mut Vec<u8>, random: &mut impl FnMut() -> u64) {
    const ODD: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, u64::MAX];
    for _ in 0..=random() % 4 {
        let length = bytes.len().max(1) as u64;
        let (at, other) = ((random() % length) as usize, (random() % length) as usize);
        let (low, high) = (at.min(other).min(bytes.len()), at.max(other).min(bytes.len()));
        match random() % 8 {
            _ if bytes.is_empty() => bytes.push(random() as u8),
            0 => bytes[at] = random() as u8,
            1 => bytes[at] ^= 1 << (random() % 8),
            2 => drop(bytes.drain(low..high.min(low + 64))),
            3 => {
                let piece = bytes[low..high.min(low + 64)].to_vec();
                bytes.splice(other..other, piece);
            }
            4 => {
                let width = 1 << (random() % 4);
                let odd = ODD[(random() % 8) as usize].to_le_bytes();
                (at..bytes.len()).zip(&odd[..width]).for_each(|(at, byte)| bytes[at] = *byte);
            }
            // The largest number that seven bits a byte write.
            5 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x07])),
            6 => bytes.truncate(high),
            _ => bytes.swap(at, other),
        }
    }
}

/// Random numbers, the same for the same seed.
pub fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests;
