//! Valid bytes that are changed many times: nothing panics, nothing takes more memory than its bound. `KOLK_RUNS` gives
//! another number of runs than the few of `make test`.

use super::*;

#[global_allocator]
static COUNTING: Counting = Counting;

fn changed_often(name: &str, runs: u64) {
    let runs = std::env::var("KOLK_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(runs);
    let kind = kind(name);
    let mut seeds = (kind.seeds)();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let beside = match name {
        "onnx" => &["torch_gru_step_script.onnx", "keras_lstm.onnx"][..],
        "weights" => &["keras/stack.keras", "keras/functional.keras"],
        _ => &[],
    };
    seeds.extend(beside.iter().filter_map(|file| std::fs::read(folder.join(file)).ok()));
    seeds.iter().for_each(|seed| within(kind, seed));
    let started = std::time::Instant::now();
    for run in 0..runs {
        let mut random = random(run);
        let mut bytes = seeds[(random() % seeds.len() as u64) as usize].clone();
        changed(&mut bytes, &mut random);
        let what = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| within(kind, &bytes)));
        if let Err(panic) = what {
            let path = std::env::temp_dir().join(format!("kolk-{name}-{run}"));
            std::fs::write(&path, &bytes).unwrap();
            panic!("run {run}, {}: {}", path.display(), crate::error::panic_text(panic.as_ref()));
        }
    }
    println!("{name}: {runs} runs in {:.1?}", started.elapsed());
}

macro_rules! kinds {
    ($($test:ident $name:literal $runs:literal;)*) => {
        $(#[test] fn $test() { changed_often($name, $runs); })*
    };
}

kinds! {
    changed_onnx_files_are_read_or_refused "onnx" 2000;
    changed_parquet_files_are_read_or_refused "parquet" 600;
    changed_avro_messages_and_schemas_are_read_or_refused "avro" 2000;
    changed_protobuf_messages_and_schemas_are_read_or_refused "protobuf" 1000;
    changed_json_messages_are_read_or_refused "json" 3000;
    changed_pipeline_files_and_cards_are_read_or_refused "pipeline" 1000;
    changed_checkpoints_and_deltas_are_read_or_refused "checkpoint" 5000;
    changed_manifests_are_read_or_refused "manifest" 5000;
    changed_weights_are_read_or_refused "weights" 1000;
}

#[test]
fn valid_bytes_are_valid() {
    for seed in parquet_seeds() {
        let path = folder().join("valid.parquet");
        std::fs::write(&path, seed).unwrap();
        let text = format!(
            "name: p\nsource: {{ parquet: {{ path: \"{}\" }} }}\nrecord: {{ key: k, time: ts, values: [v], vectors: {{ w: 3 }} }}",
            path.display()
        );
        let pipeline = config::parse(&text, Path::new("/p/p.yaml")).unwrap();
        let fields = [config::At::default_value("s".to_string())];
        let mut problems = Problems::new("p.yaml");
        let planned = source::parquet::plan(&pipeline, &fields, &mut problems);
        let planned = problems.finish(planned).unwrap().unwrap();
        let mut reader = Files::open(&planned, None).unwrap();
        let mut rows = 0;
        while let Some(records) = reader.next().unwrap() {
            assert!(records.bad.is_empty(), "{:?}", records.bad);
            rows += records.len();
        }
        assert_eq!(rows, 300);
    }
    for text in pipeline_seeds().into_iter().take(2) {
        let text = String::from_utf8(text).unwrap();
        let read = config::parse(&text, Path::new("/p/p.yaml")).map(drop);
        let card = config::card_of(&text, Path::new("/p/c.yaml")).map(drop);
        assert!(read.is_ok() || card.is_ok(), "{read:?} {card:?}");
    }
    for seed in onnx_seeds() {
        bounds::check(&onnx::import::model(&seed).unwrap()).unwrap();
    }
    for seed in manifest_seeds() {
        serde_json::from_slice::<Manifest>(&seed).unwrap().signature().unwrap();
    }
}
