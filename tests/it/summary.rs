//! The three models of the founding text, as `kolk summary` prints them from a pipeline's train section.

use super::common::*;

#[test]
fn the_founding_models_show_their_parameters() {
    for (layer, lines) in [
        ("simple_rnn: 50", ["simple_rnn (SimpleRNN)", "2,600", "Total params: 2,651 (10.36 KB)"]),
        ("lstm: 50", ["lstm (LSTM)", "10,400", "Total params: 10,451 (40.82 KB)"]),
        ("gru: 50", ["gru (GRU)", "7,950", "Total params: 8,001 (31.25 KB)"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("data.parquet"), &series(1, 50), 1000);
        let train = format!("train: {{ target: value, layers: [ {{ {layer} }} ] }}");
        let file = pipeline(folder.path(), "model: m, mode: window, window: 10", "stdout: {}", &train);
        let (out, _) = kolk_exits(0, &["summary", file.to_str().unwrap()]);
        for line in lines.into_iter().chain(["dense (Dense)", " 51 ", "Non-trainable params: 0 (0.00 B)"]) {
            assert!(out.contains(line), "{line} in\n{out}");
        }
    }
}

#[test]
fn stdout_gets_a_line_of_json_for_each_record() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("data.parquet"), &series(3, 20), 1000);
    publish(folder.path(), "m", kolk::kernel::CellKind::Gru, kolk::model::ModelKind::Carry, None);
    let file = pipeline(folder.path(), "model: m, mode: carry", "stdout: { fields: [value] }", "");
    let (out, _) = kolk_exits(0, &["run", file.to_str().unwrap()]);
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 60);
    assert!(lines.iter().all(|line| line["prediction"].as_array().unwrap().len() == 2 && line["value"].is_number()));
}
