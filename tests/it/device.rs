//! The device that networks run on: what is missing is refused before anything starts, and `auto` says what it took.

use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float32Type;
use kolk::kernel::CellKind;
use kolk::model::ModelKind;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::common::*;

#[test]
fn a_device_that_is_not_there_is_refused_with_all_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, "m", CellKind::Gru, ModelKind::Carry, None);
    write(&folder.join("data.parquet"), &series(2, 20), 100);
    let with = |device: &str| {
        let file = pipeline(folder, "model: m", "parquet: { path: out/ }", &format!("runtime: {{ device: {device} }}"));
        file.to_str().unwrap().to_string()
    };
    for wrong in ["gpu", "\"cuda:\"", "cuda:-1", "cuda:1000", "[cuda]"] {
        let (_, said) = kolk_exits(2, &["check", &with(wrong)]);
        assert!(said.contains(":12:20: ") && said.contains("`device`: expected one of: cpu, cuda, cuda:1"), "{said}");
    }
    // No machine has so many, whatever else it has.
    let many = with("cuda:999");
    for command in ["check", "run"] {
        let (_, said) = kolk_exits(2, &[command, &many]);
        assert!(said.contains(":12:20: ") && said.contains("networks can't run on cuda:999; missing:"), "{said}");
        if !said.contains("device cuda:999: the driver has") {
            for library in
                ["libcuda.so.1", "libcudart.so.13", "libcublasLt.so.13", "libcudnn.so.9", "make onnxruntime-gpu"]
            {
                assert!(said.contains(library), "{library}: {said}");
            }
        }
    }
    assert!(!folder.join("out").exists());
    // Without a network there is nothing to put anywhere.
    let text = std::fs::read_to_string(&many).unwrap().replace("infer: { model: m }", "filter: { where: value > 0 }");
    std::fs::write(&many, text).unwrap();
    kolk_exits(0, &["check", &many]);
    let auto = with("auto");
    let (_, said) = kolk_exits(0, &["check", &auto]);
    assert!(said.contains("device auto: networks run on "), "{said}");
    let (_, said) = kolk_exits(0, &["run", &auto]);
    assert!(said.contains("device auto: networks run on "), "{said}");
}

/// Where there is a GPU with all that networks need; elsewhere `check` says what is missing, and that is all.
#[test]
fn a_gpu_gives_the_numbers_of_the_cpu_up_to_the_last_digits() {
    let records = series(40, 50);
    for cell in CellKind::ALL.iter().copied() {
        for (kind, window, infer) in
            [(ModelKind::Carry, None, "model: m"), (ModelKind::Window, Some(12), "model: m, mode: window, window: 12")]
        {
            let run = |device: &str, batch: usize| {
                let folder = tempfile::tempdir().unwrap();
                let folder = folder.path();
                write(&folder.join("data.parquet"), &records, 1000);
                publish(folder, "m", cell, kind, window);
                let runtime = format!("runtime: {{ device: {device}, batch: {batch} }}");
                let file = pipeline(folder, infer, "parquet: { path: out/ }", &runtime);
                let output = kolk(&["run", file.to_str().unwrap()]);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                match output.status.code() {
                    Some(0) => Ok(predictions(&folder.join("out"))),
                    Some(2) => Err(said),
                    _ => panic!("{cell:?} {kind:?}: {said}"),
                }
            };
            let on_gpu = match run("cuda", 4096) {
                Err(said) if said.contains("networks can't run on cuda:0; missing:") => {
                    return println!("not run, since there is no GPU with all that networks need: {said}");
                }
                // The one cell that ONNX Runtime has no CUDA kernel for.
                Err(said) if cell == CellKind::RnnRelu => {
                    assert!(said.contains("since it has no CUDA kernel for them: RNN \""), "{said}");
                    continue;
                }
                on_gpu => on_gpu.unwrap(),
            };
            assert_eq!(run("cuda", 4096).as_ref(), Ok(&on_gpu), "{cell:?} {kind:?}: again");
            for (device, batch) in [("cuda", 7), ("cpu", 4096)] {
                let other = run(device, batch).unwrap();
                assert_eq!(other.len(), on_gpu.len());
                let difference = on_gpu.iter().zip(&other).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
                let difference = difference.fold(0.0, f32::max);
                println!("{cell:?} {kind:?}: {device} with micro-batches of {batch}: {difference:e}");
                assert!(difference < 1e-5, "{cell:?} {kind:?} {device} {batch}: {difference:e}");
            }
        }
    }
}

/// All predictions of a run, in the order that they were written.
fn predictions(folder: &Path) -> Vec<f32> {
    let mut all = Vec::new();
    for name in files(folder).keys() {
        let file = std::fs::File::open(folder.join(name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let lists = batch.column_by_name("prediction").unwrap().as_fixed_size_list();
            let numbers = lists.values().as_primitive::<Float32Type>();
            all.extend((0..batch.num_rows()).flat_map(|row| {
                (0..2).map(move |step| if lists.is_valid(row) { numbers.value(row * 2 + step) } else { -1.0 })
            }));
        }
    }
    assert!(all.len() >= 4000, "{} predictions", all.len());
    all
}
