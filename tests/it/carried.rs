//! Windows of Keras and PyTorch that are carried on because their cards ask for it: the errors that `kolk models import`
//! shows are those of two runs, one as a window and one with the state carried.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{AsArray, TimestampMillisecondArray};
use arrow::datatypes::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::common::*;

const WINDOW: usize = 10;
const KEYS: usize = 2;
const ROWS: usize = 300;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).display().to_string()
}

fn card(onnx: &str, name: &str, input: &str, output: &str, mode: &str) -> String {
    format!(
        "onnx: {}\nname: {name}\nlayout: window\nwindow: {WINDOW}\n{mode}inputs: {{ \"{input}\": {{ columns: [value] }} }}\n\
         outputs: {{ \"{output}\": {{ column: next, targets: [value], horizon: 1 }} }}\n",
        fixture(onnx)
    )
}

/// The RMSE of the first step, over the rows of a key from a full window on.
fn error(output: &Path, truth: &BTreeMap<(String, i64), f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    let mut seen = BTreeMap::<String, usize>::new();
    let mut rows = Vec::new();
    let files = std::fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")) {
        for batch in
            ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap().build().unwrap()
        {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let keys = arrow::compute::cast(column("key"), &arrow::datatypes::DataType::Utf8).unwrap();
            let times = column("ts").as_any().downcast_ref::<TimestampMillisecondArray>().unwrap().clone();
            let next = column("next").as_primitive::<Float32Type>();
            for row in 0..batch.num_rows() {
                let next = (!next.is_null_at(row)).then(|| f64::from(next.value(row)));
                rows.push((keys.as_string::<i32>().value(row).to_owned(), times.value(row), next));
            }
        }
    }
    rows.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    for (key, time, next) in rows {
        let nth = seen.entry(key.clone()).or_default();
        *nth += 1;
        if let (true, Some(next), Some(truth)) = (*nth >= WINDOW, next, truth.get(&(key, time + 3_600_000))) {
            sum += (next - truth).powi(2);
            count += 1;
        }
    }
    assert_eq!(count, KEYS * (ROWS - WINDOW), "of {}", output.display());
    (sum / count as f64).sqrt()
}

trait NullAt {
    fn is_null_at(&self, row: usize) -> bool;
}

impl NullAt for arrow::array::Float32Array {
    fn is_null_at(&self, row: usize) -> bool {
        use arrow::array::Array;
        self.is_null(row) || self.value(row).is_nan()
    }
}

#[test]
fn a_window_that_is_carried_shows_both_errors_and_they_are_those_of_runs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let values = |key: usize, row: usize| {
        let t = (row + 37 * key) as f64;
        0.6 * (t * 0.21).sin() + 0.3 * (t * 0.77).sin() + 0.05 * ((row * 7919 + key * 31) % 97) as f64 / 97.0
    };
    let all = (0..ROWS).flat_map(|row| (0..KEYS).map(move |key| (key, row)));
    let rows: Vec<Row> =
        all.map(|(key, row)| (format!("key-{key}"), row as i64 * 3_600_000, values(key, row))).collect();
    let truth = rows.iter().map(|(key, time, value)| ((key.clone(), *time), *value)).collect();
    write(&root.join("data.parquet"), &rows, 100);
    let models = root.join("models");
    let import = |code: i32, text: &str, data: Option<&Path>| -> String {
        let card = root.join("card.yaml");
        std::fs::write(&card, text).unwrap();
        let mut arguments = vec!["models", "import", card.to_str().unwrap(), "--models", models.to_str().unwrap()];
        arguments.extend(data.iter().flat_map(|data| ["--data", data.to_str().unwrap()]));
        let (out, errors) = kolk_exits(code, &arguments);
        out + &errors
    };
    let data = |infer: &str| {
        let file = pipeline(root, infer, "parquet: { path: out/ }", "");
        let named = root.join(format!("{}.yaml", infer.replace(|c: char| !c.is_alphanumeric(), "_")));
        std::fs::rename(file, &named).unwrap();
        named
    };
    for (onnx, input, output) in [
        ("keras_gru.onnx", "keras_tensor_6", "Identity:0"),
        ("keras_rnn.onnx", "keras_tensor", "Identity:0"),
        ("torch_lstm_window_script.onnx", "x", "y"),
    ] {
        let of = onnx.split('.').next().unwrap();
        let (window, carry) = (format!("{of}_w"), format!("{of}_c"));
        let as_window = data(&format!("model: {window}, mode: window, window: {WINDOW}"));
        let as_carry = data(&format!("model: {carry}, mode: carry"));
        let mode = "mode: carry\n";
        let said = import(0, &card(onnx, &window, input, output, ""), Some(&as_window));
        assert!(
            said.contains("rows of 2 keys of data.parquet as 53 sequences of 10 steps, run twice: the same bits"),
            "{said}"
        );

        // Only when it is asked for, with data to measure it on, for the mode that the pipeline has.
        let text = card(onnx, &carry, input, output, mode);
        assert!(import(2, &text, None).contains("card.yaml:5:7: `mode: carry` of a window model needs rows"));
        let said = import(2, &card(onnx, &window, input, output, mode), Some(&as_window));
        assert!(said.contains("runs the model in mode window, window 10, the card makes one for mode carry"), "{said}");
        let said = import(0, &text, Some(&as_carry));
        assert!(said.contains("step by step from the initial state: outputs differ by at most"), "{said}");
        assert!(said.contains("is an input and an output now"), "{said}");

        let shown = said.split("RMSE of \"value\": ").nth(1).unwrap();
        let number = |text: &str| text.split_whitespace().next().unwrap().parse::<f64>().unwrap();
        let shown = (number(shown), number(shown.split("as a window, ").nth(1).unwrap()));
        let run = |pipeline: &Path| {
            ["out", "state"].iter().for_each(|folder| drop(std::fs::remove_dir_all(root.join(folder))));
            kolk_exits(0, &["run", pipeline.to_str().unwrap()]);
            error(&root.join("out"), &truth)
        };
        let found = (run(&as_window), run(&as_carry));
        assert!((found.0 - shown.0).abs() < 2e-6 && (found.1 - shown.1).abs() < 2e-6, "{found:?} {shown:?}");
        assert_ne!(shown.0, shown.1);
        let worse = said.contains("carried on, the forecasts of \"value\" are worse");
        assert_eq!(worse, shown.1 > shown.0, "{said}");
        let report = std::fs::read_to_string(models.join(&carry).join("1/report.html")).unwrap();
        assert!(report.contains(&format!("<td>value, RMSE<td>{:.6}<td>{:.6}", shown.0, shown.1)), "{report}");
    }
    assert_eq!(std::fs::read_dir(&models).unwrap().count(), 6);
}
