//! Exports of Keras and PyTorch of networks in both directions, of sequences and of classes: our network of their
//! weights computes what the frameworks computed. `tests/python/recurrent_exports.py` makes the files.

use std::path::PathBuf;

use super::*;
use crate::fixtures;
use crate::model::executor::trial::Trial;
use crate::model::onnx::proto::{TensorProto, tensor_proto::DataType};
use crate::model::onnx::{export, values};
use crate::network::testing::plain;
use crate::network::{DenseLayer, Tensor};

fn file(name: &str, extension: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exports").join(format!("{name}.{extension}"))
}

/// The architecture that a file's layers are, with `pool`, of classes or not.
fn architecture(found: &Found, pool: Pool, softmax: bool, outputs: usize) -> Architecture {
    let (_, others) = found.layers.split_last().unwrap();
    let inputs = found.layers[0].inputs;
    Architecture {
        layers: others.iter().map(|found| found.layer).collect(),
        outputs,
        pool,
        softmax,
        ..plain(inputs, &[])
    }
}

/// `y` of our graph, [batch, outputs] of pooled ones, else [batch, time, outputs].
fn run(architecture: &Architecture, tensors: &[Tensor], x: &fixtures::Array, lengths: &[i32]) -> Vec<f32> {
    let (b, t, n) = (x.shape[0], x.shape[1], x.shape[2]);
    let place = |step: usize, row: usize, at: usize| x.data[(row * t + step) * n + at] as f32;
    let turned: Vec<f32> = (0..t * b * n).map(|i| place(i / (b * n), i / n % b, i % n)).collect();
    let mut given = vec![values::floats("x", &[t, b, n], &turned)];
    if architecture.takes_lengths() {
        let bytes = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        given.push(values::tensor("lengths", DataType::Int32, &[b], bytes));
    }
    for state in architecture.states() {
        let width = state.shape.iter().product::<usize>();
        given.push(values::floats(&state.input, &[b, width], &vec![0.0; b * width]));
    }
    let onnx = export::onnx(architecture, tensors, "read").unwrap();
    let made = Trial::of_bytes(&onnx).unwrap().run(&given).unwrap();
    let y: &TensorProto = made.iter().find(|tensor| tensor.name() == "y").unwrap();
    let (y, o) = (values::to_floats(y).unwrap(), architecture.outputs);
    if y.len() == b * o {
        return y;
    }
    (0..b * t * o).map(|i| y[((i / o % t) * b + i / (o * t)) * o + i % o]).collect()
}

#[test]
fn both_directions_sequences_and_classes_compute_what_the_frameworks_compute() {
    for (name, layers, end, pool, window) in [
        ("keras_bilstm", "Bidirectional(LSTM(4)), Dense(2)", End::Numbers, Pool::Last, Some(8)),
        ("keras_bigru2", "Bidirectional(GRU(4)), Bidirectional(GRU(5)), Dense(3)", End::Softmax, Pool::Last, None),
        ("keras_birnn", "Bidirectional(SimpleRNN(4)), Dense(6, relu), Dense(3)", End::Softmax, Pool::Last, Some(8)),
        ("keras_bilstm_mean", "Bidirectional(LSTM(4)), Dense(1)", End::Sigmoid, Pool::Mean, None),
        ("keras_lstm_mean", "LSTM(4), Dense(3)", End::Softmax, Pool::Mean, None),
        ("keras_gru_each", "GRU(4), Dense(3)", End::Softmax, Pool::None, None),
        (
            "torch_bigru2_script",
            "Bidirectional(GRU(4)), Bidirectional(GRU(4)), Dense(3)",
            End::LogSoftmax,
            Pool::Last,
            None,
        ),
        (
            "torch_bigru2_dynamo",
            "Bidirectional(GRU(4)), Bidirectional(GRU(4)), Dense(3)",
            End::LogSoftmax,
            Pool::Last,
            None,
        ),
        ("torch_bilstm_dynamo", "Bidirectional(LSTM(4)), Dense(3)", End::Softmax, Pool::Last, None),
        ("torch_bilstm_each_script", "Bidirectional(LSTM(4)), Dense(3)", End::Softmax, Pool::None, None),
        (
            "torch_bilstm_lengths_script",
            "Bidirectional(LSTM(4)), Bidirectional(LSTM(4)), Dense(3)",
            End::Softmax,
            Pool::Last,
            None,
        ),
        ("torch_bilstm_mean_lengths_script", "Bidirectional(LSTM(4)), Dense(3)", End::Softmax, Pool::Mean, None),
        ("torch_lstm_mean_dynamo", "LSTM(4), Dense(1)", End::Sigmoid, Pool::Mean, None),
        ("torch_gru_logits_script", "GRU(4), Dense(4)", End::Numbers, Pool::Last, None),
        // Unrolled over the steps.
        ("torch_rnn2_dynamo", "SimpleRNN(4), SimpleRNN(4), Dense(3)", End::Numbers, Pool::Last, Some(9)),
        ("torch_birnn_dynamo", "Bidirectional(SimpleRNN(4)), Dense(3)", End::Numbers, Pool::Last, Some(9)),
    ] {
        let any = architecture(&Found { layers: vec![dense(3)], ..Found::default() }, Pool::None, false, 3);
        let found = read(&file(name, "onnx"), &any, &[]).unwrap();
        let words: Vec<String> = found.layers.iter().map(|found| found.layer.in_words()).collect();
        assert_eq!((words.join(", ").as_str(), found.end, found.pool, found.window), (layers, end, Some(pool), window));
        let softmax = end != End::Numbers;
        let outputs = if end == End::Sigmoid { 2 } else { found.layers.last().unwrap().layer.units() };
        let wanted = architecture(&found, pool, softmax, outputs);
        let (fitted, tensors) = found.fit(&wanted).unwrap();
        let arrays = fixtures::npz(file(name, "npz"));
        let (x, y) = (&arrays["x"], &arrays["y"]);
        let lengths = arrays.get("lengths").map_or(vec![x.shape[1] as f64; x.shape[0]], |own| own.data.clone());
        let lengths: Vec<i32> = lengths.iter().map(|length| *length as i32).collect();
        let own = run(&fitted, &tensors, x, &lengths);
        let own: Vec<f64> = match end {
            End::Sigmoid => own.chunks(2).map(|pair| f64::from(pair[1])).collect(),
            End::LogSoftmax => own.iter().map(|p| f64::from(*p).ln()).collect(),
            _ => own.iter().map(|y| f64::from(*y)).collect(),
        };
        assert_eq!(own.len(), y.data.len(), "{name}");
        let apart = own.iter().zip(&y.data).map(|(own, y)| (own - y).abs()).fold(0.0, f64::max);
        assert!(apart < 2e-6, "{name}: {apart}");
    }
}

fn dense(units: usize) -> FoundLayer {
    let layer = Layer::Dense(DenseLayer { units, activation: Activation::Linear });
    FoundLayer { name: "d".into(), layer, inputs: 1, tensors: vec![] }
}

#[test]
fn what_is_of_both_directions_or_a_sequence_in_another_way_is_refused_by_name() {
    let any = architecture(&Found { layers: vec![dense(3)], ..Found::default() }, Pool::None, false, 3);
    for (name, words) in [
        ("keras_bigru_sum", "mixes both directions (merge_mode): ours are side by side"),
        ("keras_gru_back", "which runs backwards in time alone (go_backwards, direction reverse)"),
        ("keras_lstm_mask", "compares numbers, as Keras' Masking does"),
        ("keras_lstm_max", "(ReduceMax) takes the largest or smallest of the steps"),
        ("torch_bilstm_output_script", "`torch.cat((h[-2], h[-1]), -1)`, as Keras' Bidirectional does"),
        ("torch_gru_several_script", "the graph ends in 4 probabilities of their own (Sigmoid)"),
    ] {
        let error = read(&file(name, "onnx"), &any, &[]).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(words), "{name}: {error}");
    }
}

#[test]
fn a_pipeline_that_takes_the_steps_or_the_classes_otherwise_is_told_both_sides() {
    let read = |name: &str| {
        let any = architecture(&Found { layers: vec![dense(3)], ..Found::default() }, Pool::None, false, 3);
        super::read(&file(name, "onnx"), &any, &[]).unwrap()
    };
    let refused = |name: &str, pool, softmax, outputs| {
        let found = read(name);
        let wanted = architecture(&found, pool, softmax, outputs);
        found.fit(&wanted).unwrap_err().to_string()
    };
    let message = refused("keras_lstm_mean", Pool::Last, true, 3);
    let words = "the file makes the mean of the steps (`pool: mean`) of a sequence or window, the pipeline's network the \
                 state after the last step (`pool: last`)";
    assert!(message.contains(words), "{message}");
    let message = refused("keras_bilstm_mean", Pool::Mean, true, 0);
    assert!(message.contains("names of the 2 classes into `train.classes`"), "{message}");
    let message = refused("keras_bigru2", Pool::Last, true, 4);
    assert!(message.contains("layer 3: the pipeline has Dense(4) on 10 inputs"), "{message}");
    let message = refused("keras_birnn", Pool::Last, false, 3);
    assert!(message.contains("the file gives the probabilities of classes"), "{message}");
    let found = read("keras_bigru2");
    let mut wanted = architecture(&found, Pool::Last, true, 3);
    wanted.layers[0] = Layer::recurrent(crate::kernel::CellKind::Gru, 8);
    let message = found.fit(&wanted).unwrap_err().to_string();
    for words in ["layer 1: the pipeline has GRU(8) on 3 inputs", "Bidirectional(GRU(4)) on 3 inputs: kernel [3, 12]"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    // One number before a sigmoid is that of the second class; so is one without.
    let found = read("torch_lstm_mean_dynamo");
    let wanted = architecture(&found, Pool::Mean, true, 2);
    let (_, tensors) = found.fit(&wanted).unwrap();
    let kernel = tensors.iter().find(|tensor| tensor.name == "output/kernel").unwrap();
    assert_eq!(kernel.shape, [4, 2]);
    assert!(kernel.data.chunks(2).all(|pair| pair[0] == 0.0 && pair[1] != 0.0));
    // In one direction the last output is that of the last state.
    let found = read("torch_gru_logits_script");
    assert!(found.note_on_classes(&architecture(&found, Pool::None, true, 4)).is_some());
    found.clone().fit(&architecture(&found, Pool::None, false, 4)).unwrap();
    let wanted = architecture(&found, Pool::Last, true, 4);
    found.fit(&wanted).unwrap();
}
