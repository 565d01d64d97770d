//! Which of our cells a recurrent operator is. Must not live here: its numbers (`onnx_layers`).

use crate::kernel::CellKind;
use crate::model::onnx::proto::NodeProto;
use crate::model::onnx::view::{self, float, integer};

/// The cell of a recurrent operator, if it computes what ours does.
pub(super) fn cell(node: &NodeProto) -> Result<CellKind, String> {
    let written = view::texts(node, "activations");
    // Those of a second direction follow, also where there is none.
    let directions = if view::text(node, "direction") == Some("bidirectional") { 2 } else { 1 };
    let is = |wanted: &[&str]| {
        let all = wanted.iter().cycle().take(directions * wanted.len());
        written.is_empty()
            || written.len() >= directions * wanted.len()
                && written.iter().zip(all).all(|(own, word)| own.eq_ignore_ascii_case(word))
    };
    let (cell, wanted): (CellKind, &[&str]) = match node.op_type() {
        "LSTM" => (CellKind::Lstm, &["Sigmoid", "Tanh", "Tanh"]),
        "GRU" => (CellKind::Gru, &["Sigmoid", "Tanh"]),
        _ if !written.is_empty() && is(&["Relu"]) => (CellKind::RnnRelu, &["Relu"]),
        _ => (CellKind::RnnTanh, &["Tanh"]),
    };
    match is(wanted) {
        true => Ok(cell),
        false => Err(format!("has the activations {}, ours has {}", written.join(", "), wanted.join(", "))),
    }
}

/// Refuses attributes by which an operator computes something else than our cell.
pub(super) fn plain(node: &NodeProto) -> Result<(), String> {
    let mut wrong = Vec::new();
    if let Some(clip) = float(node, "clip") {
        wrong.push(format!("clips at {clip} (clip)"));
    }
    if integer(node, "layout").unwrap_or(0) != 0 {
        wrong.push("has layout 1, which ONNX Runtime doesn't run".into());
    }
    if integer(node, "input_forget").unwrap_or(0) != 0 {
        wrong.push("couples its input and forget gates (input_forget)".into());
    }
    if node.op_type() == "GRU" && integer(node, "linear_before_reset").unwrap_or(0) == 0 {
        wrong.push(
            "has linear_before_reset 0 (Keras' reset_after=False): ours multiplies by the reset gate after the recurrent \
             kernel"
                .into(),
        );
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}
