//! Files of Keras and PyTorch give, in our layout, the outputs that Keras and PyTorch give.

use std::collections::BTreeMap;
use std::path::PathBuf;

use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{self, Array};
use crate::kernel::CellKind;
use crate::model::testing::{step, zero_state};
use crate::model::weights::keras_config::model;
use crate::network::testing::plain;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The last output for a window [steps][features], from zero state.
fn last(architecture: &Architecture, tensors: &[Tensor], window: &[Vec<f32>]) -> Vec<f64> {
    let mut state = zero_state(architecture);
    window.iter().map(|x| step(architecture, tensors, x, &mut state)).last().unwrap()
}

fn agree(found: &[f64], wanted: &[f64], of: &str) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-5, "{of}: {found} {wanted}");
    }
}

fn stack() -> Architecture {
    let mut architecture = plain(2, &[(CellKind::Lstm, 5), (CellKind::Gru, 4), (CellKind::Lstm, 5)]);
    architecture.layers.push(Layer::dense(6, Activation::Relu));
    architecture.outputs = 3;
    architecture
}

fn functional() -> Architecture {
    let mut architecture = plain(2, &[(CellKind::RnnRelu, 4), (CellKind::RnnTanh, 4)]);
    architecture.outputs = 2;
    architecture
}

#[test]
fn a_file_of_keras_computes_what_keras_computes() {
    for (name, architecture, window, notes) in [("stack", stack(), Some(7), 0), ("functional", functional(), None, 1)] {
        // In pipelines the network has scaling; that of the file counts.
        let wanted = Architecture { scaling: true, ..architecture };
        let found = read(&fixture(&format!("keras/{name}.keras")), &wanted, &[]).unwrap();
        assert_eq!((found.window, found.notes.len()), (window, notes), "{:?}", found.notes);
        let (fitted, tensors) = found.fit(&wanted).unwrap();
        assert_eq!(fitted.scaling, name == "functional");
        let text = std::fs::read_to_string(fixture(&format!("keras/{name}.json"))).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let x: Vec<Vec<Vec<f32>>> = serde_json::from_value(json["x"].clone()).unwrap();
        let y: Vec<Vec<f64>> = serde_json::from_value(json["y"].clone()).unwrap();
        for (x, y) in x.iter().zip(&y) {
            agree(&last(&fitted, &tensors, x), y, name);
        }
    }
}

/// PyTorch's arrays of a fixture under other names, as a file of one type.
fn torch_file(
    fixture_name: &str,
    rename: &[(&str, &str)],
    kind: Dtype,
) -> (tempfile::TempDir, PathBuf, BTreeMap<String, Array>) {
    let arrays = fixtures::npz(fixture(fixture_name));
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = arrays
        .iter()
        .filter_map(|(name, array)| {
            let (from, to) = rename.iter().find(|(from, _)| name.starts_with(from))?;
            let values = array.data.iter().flat_map(|value| match kind {
                Dtype::F64 => value.to_le_bytes().to_vec(),
                _ => (*value as f32).to_le_bytes().to_vec(),
            });
            Some((format!("{to}{}", &name[from.len()..]), array.shape.clone(), values.collect()))
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, data)| (name, TensorView::new(kind, shape.clone(), data).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    (folder, path, arrays)
}

#[test]
fn a_file_of_pytorch_computes_what_pytorch_computes() {
    for (name, cell, layers) in [
        ("rnn", CellKind::RnnTanh, 1),
        ("lstm", CellKind::Lstm, 1),
        ("gru", CellKind::Gru, 1),
        ("lstm2", CellKind::Lstm, 2),
    ] {
        let architecture = plain(1, &vec![(cell, 50); layers]);
        for kind in [Dtype::F32, Dtype::F64] {
            let rename = [("r_", "encoder.rnn."), ("d_", "a.head.")];
            let (_folder, path, arrays) = torch_file(&format!("torch_{name}.npz"), &rename, kind);
            let found = read(&path, &architecture, &[]).unwrap();
            assert_eq!(found.notes.is_empty(), kind == Dtype::F32, "{:?}", found.notes);
            let (fitted, tensors) = found.fit(&architecture).unwrap();
            // Both biases are kept.
            let biases = |architecture: &Architecture| architecture.recurrent().filter(|l| l.has_two_biases()).count();
            assert_eq!(biases(&fitted), layers, "{name}");
            let (x, y) = (&arrays["x"], &arrays["y"]);
            for row in 0..8 {
                let window: Vec<Vec<f32>> = (0..10).map(|t| vec![x.data[row * 10 + t] as f32]).collect();
                agree(&last(&fitted, &tensors, &window), &y.data[row..=row], name);
            }
        }
    }
}

#[test]
fn an_order_that_shapes_and_numbers_leave_open_is_asked_for() {
    let mut architecture = plain(4, &[(CellKind::Gru, 4), (CellKind::Gru, 4)]);
    architecture.layers.extend([Layer::dense(4, Activation::Relu), Layer::dense(4, Activation::Tanh)]);
    let file = |modules: &[&str]| {
        let mut arrays: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (at, module) in modules.iter().enumerate() {
            let shapes: &[(&str, &[usize])] = match at {
                0 | 1 => &[
                    ("weight_ih_l0", &[12, 4]),
                    ("weight_hh_l0", &[12, 4]),
                    ("bias_ih_l0", &[12]),
                    ("bias_hh_l0", &[12]),
                ],
                2 | 3 => &[("weight", &[4, 4]), ("bias", &[4])],
                _ => &[("weight", &[1, 4]), ("bias", &[1])],
            };
            for (part, shape) in shapes {
                let values = vec![at as f32; shape.iter().product()];
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                arrays.push((format!("{module}.{part}"), shape.to_vec(), bytes));
            }
        }
        let views =
            arrays.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
        safetensors::serialize(views, None).unwrap()
    };
    let order = |bytes: &[u8], modules: &[&str]| {
        let modules: Vec<String> = modules.iter().map(|name| (*name).to_owned()).collect();
        let found = torch::read(bytes, &architecture, &modules)?;
        let (_, tensors) = found.fit(&architecture).map_err(|error| error.to_string())?;
        let firsts = tensors.iter().filter(|tensor| tensor.name.ends_with("/kernel"));
        Ok::<_, String>(firsts.map(|tensor| tensor.data[0] as usize).collect::<Vec<_>>())
    };
    // Numbers are numbers: 10 comes after 9.
    let numbered = file(&["gru9", "gru10", "head.0", "head.2", "out"]);
    assert_eq!(order(&numbered, &[]).unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(order(&numbered, &["gru10", "gru9", "head.2", "head.0", "out"]).unwrap(), [1, 0, 3, 2, 4]);
    let named = file(&["zeroth", "first", "head.0", "head.2", "out"]);
    let message = order(&named, &[]).unwrap_err();
    assert!(message.contains("--modules first,zeroth,head.0,head.2,out"), "{message}");
    assert!(message.contains("--modules zeroth,first,head.0,head.2,out"), "{message}");
    assert_eq!(order(&named, &["zeroth", "first", "head.0", "head.2", "out"]).unwrap(), [0, 1, 2, 3, 4]);
    let message = order(&named, &["zeroth", "head.0"]).unwrap_err();
    assert!(
        message.contains("--modules names zeroth, head.0, the file has first, head.0, head.2, out, zeroth"),
        "{message}"
    );
}

#[test]
fn what_does_not_fit_is_named_with_both_shapes() {
    let mut wanted = plain(3, &[(CellKind::Lstm, 5), (CellKind::Gru, 8), (CellKind::Lstm, 5)]);
    wanted.skip = vec![1];
    wanted.outputs = 3;
    let message = read(&fixture("keras/stack.keras"), &wanted, &[]).unwrap().fit(&wanted).unwrap_err();
    assert_eq!(message.exit_code(), 2);
    for line in [
        "layer 1: the pipeline has LSTM(5) on 3 inputs: kernel [3, 20], recurrent_kernel [5, 20], bias [20], the file has \
         \"z\", LSTM(5) on 2 inputs: kernel [2, 20]",
        "layer 2: the pipeline has GRU(8) on 5 inputs: kernel [5, 24], recurrent_kernel [8, 24], bias [2, 24], the file \
         has \"lstm\", GRU(4) on 5 inputs: kernel [5, 12], recurrent_kernel [4, 12], bias [2, 12]",
        "layer 4: the pipeline has Dense(3) on 5 inputs: kernel [5, 3], bias [3], the file has \"output\", Dense(6, relu)",
        "layer 5: the pipeline has none, the file has \"dense\", Dense(3) on 6 inputs",
        "`skip: linear`",
    ] {
        assert!(message.to_string().contains(line), "{line} in\n{message}");
    }
    let mut wanted = functional();
    wanted.layers[0] = Layer::recurrent(CellKind::RnnTanh, 4);
    let message = read(&fixture("keras/functional.keras"), &wanted, &[]).unwrap().fit(&wanted).unwrap_err().to_string();
    assert!(message.contains("SimpleRNN(4, tanh)") && message.contains("SimpleRNN(4, relu)"), "{message}");
    let (_folder, path, _) = torch_file("torch_gru.npz", &[("r_", "r."), ("d_", "d.")], Dtype::F32);
    let wanted = plain(1, &[(CellKind::Lstm, 50)]);
    let message = read(&path, &wanted, &[]).unwrap().fit(&wanted).unwrap_err().to_string();
    assert!(
        message.contains("LSTM(50)") && message.contains("\"r\", GRU(50) on 1 input: kernel [1, 150]"),
        "{message}"
    );
}

/// A model of such layers in a row.
fn config(layers: Value) -> Value {
    json!({ "class_name": "Sequential", "config": { "layers": layers } })
}

#[test]
fn what_no_network_of_ours_computes_is_refused_by_layer() {
    let layer = |class: &str, change: Value| {
        let mut config = json!({ "name": "mine", "units": 4, "activation": "tanh", "recurrent_activation": "sigmoid" });
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "class_name": class, "config": config })
    };
    for (class, change, words) in [
        ("GRU", json!({ "reset_after": false }), "reset_after=False"),
        ("LSTM", json!({ "recurrent_activation": "hard_sigmoid" }), "\"hard_sigmoid\", ours is sigmoid"),
        ("LSTM", json!({ "activation": "relu" }), "its activation is \"relu\", ours is tanh"),
        ("SimpleRNN", json!({ "go_backwards": true }), "backwards"),
        ("Bidirectional", json!({}), "read of ONNX files alone: save it with"),
        ("Conv1D", json!({}), "no such layer"),
        ("Dense", json!({ "activation": "softmax" }), "\"softmax\", which is read of ONNX files alone"),
        ("Masking", json!({}), "no such layer"),
    ] {
        let message = model(&config(json!([layer(class, change)]))).unwrap_err();
        assert!(message.contains(&format!("layer \"mine\" ({class})")) && message.contains(words), "{message}");
    }
    // Without a layer for its input, a model has the shape that it was built with.
    let mut built = config(json!([layer("GRU", json!({}))]));
    built["config"]["build_input_shape"] = json!([null, 9, 1]);
    assert_eq!(model(&built).unwrap().window, Some(9));
    // Two in a row need every step of the first.
    let message = model(&config(json!([layer("GRU", json!({})), layer("GRU", json!({}))]))).unwrap_err();
    assert!(message.contains("gives its last output only"), "{message}");
    // What does the same under another name.
    let inner = json!({ "class_name": "Dense", "config": { "name": "inner", "units": 3, "activation": "linear" } });
    let model = model(&config(json!([
        layer("LSTM", json!({ "return_sequences": true, "dtype": "mixed_float16" })),
        layer("TimeDistributed", json!({ "layer": inner })),
        layer("Activation", json!({ "activation": "relu" })),
    ])))
    .unwrap();
    assert_eq!(model.window, None);
    assert_eq!(model.entries[1].path, "layers/time_distributed/layer");
    assert!(
        matches!(model.entries[1].kind, keras_config::Kind::Dense { activation: Activation::Relu, .. }),
        "{model:?}"
    );
    assert!(model.notes[0].contains("mixed_float16"), "{:?}", model.notes);
}

#[test]
fn branches_are_refused_by_the_layers_that_are_left() {
    let call = |class: &str, name: &str, from: &[&str]| {
        let history: Vec<Value> =
            from.iter().map(|from| json!({ "config": { "keras_history": [from, 0, 0] } })).collect();
        let nodes = if from.is_empty() { json!([]) } else { json!([{ "args": history }]) };
        let config = json!({ "name": name, "units": 4, "activation": "linear" });
        json!({ "class_name": class, "config": config, "inbound_nodes": nodes })
    };
    let of = |layers: Vec<Value>| model(&json!({ "class_name": "Functional", "config": { "layers": layers } }));
    let (entry, a) = (call("InputLayer", "in", &[]), call("Dense", "a", &["in"]));
    let found = of(vec![call("Dense", "b", &["a"]), entry.clone(), a.clone()]).unwrap();
    // In the order of the calls; the folders are in the order of the list.
    let listed: Vec<(&str, &str)> = found.entries.iter().map(|e| (e.name.as_str(), e.path.as_str())).collect();
    assert_eq!(listed, [("a", "layers/dense_1"), ("b", "layers/dense")]);
    let message = of(vec![entry.clone(), a.clone(), call("Dense", "b", &["in"])]).unwrap_err();
    assert!(message.contains("after \"in\" come 2 of \"a\", \"b\""), "{message}");
    let message = of(vec![entry, a, call("Add", "sum", &["in", "a"])]).unwrap_err();
    assert!(message.contains("after \"a\" come 0 of \"sum\""), "{message}");
}

#[test]
fn random_bytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let architecture = stack();
    let whole = std::fs::read(fixture("keras/stack.keras")).unwrap();
    for (name, bytes, words) in [
        ("a.keras", b"PK random".to_vec(), "not a .keras file"),
        ("b.keras", whole[..whole.len() / 2].to_vec(), "not a .keras file"),
        ("a.safetensors", vec![255; 64], "not a .safetensors file"),
        ("a.h5", whole, "expected a .keras, a .safetensors or an .onnx file"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path, &architecture, &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(words) && error.to_string().contains(name), "{error}");
    }
    assert_eq!(read(&folder.path().join("none.keras"), &architecture, &[]).unwrap_err().exit_code(), 2);
}
