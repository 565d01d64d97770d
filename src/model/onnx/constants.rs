//! An input that never changes becomes part of the graph, so that what depends on it alone can be folded: a sampling
//! rate on which an `If` chooses a branch. Must not live here: folding (`fold`).

use super::proto::{ModelProto, TensorProto, tensor_proto::DataType};
use super::values;
use super::view::{self, Dim};
use crate::{Error, Result};

/// The most values that a constant may have.
const MOST: usize = 1 << 28;

/// Makes an initialiser of the graph's input `name`, of the input's own type. One value fills the input's shape, where
/// an axis that the file leaves open counts as 1; otherwise there are as many values as the shape has.
///
/// # Errors
/// Refused if there is no such input, if the values are of another number than the shape's, or if the type can't hold
/// them.
pub fn constant(model: &mut ModelProto, name: &str, given: &[f64]) -> Result<Vec<String>> {
    let Some(graph) = &mut model.graph else { return Err(Error::refused("the file holds no graph")) };
    let Some(at) = graph.input.iter().position(|info| info.name() == name) else {
        let names: Vec<&str> = graph.input.iter().map(|info| info.name()).collect();
        return Err(Error::refused(format!("the graph has no input \"{name}\"; its inputs are {}", names.join(", "))));
    };
    let info = &graph.input[at];
    let dims = view::dims(info).unwrap_or_default();
    let shape = shape_for(&dims, given.len()).map_err(|expected| {
        Error::refused(format!("the constant \"{name}\" has {} values, the input takes {expected}", given.len()))
    })?;
    let count = shape.iter().try_fold(1_usize, |all, size| all.checked_mul(*size)).filter(|count| *count <= MOST);
    let count =
        count.ok_or_else(|| Error::refused(format!("the input \"{name}\" has the sizes {shape:?}: too many")))?;
    let kind = view::element(info).and_then(|code| DataType::try_from(code).ok()).unwrap_or_default();
    let mut bytes = Vec::new();
    for index in 0..count {
        let value = given[if given.len() == 1 { 0 } else { index }];
        let encoded = encode(kind, value).ok_or_else(|| {
            Error::refused(format!(
                "the constant \"{name}\" is {value}, which the input's type {} can't hold",
                word(kind)
            ))
        })?;
        bytes.extend(encoded);
    }
    graph.input.remove(at);
    graph.initializer.retain(|tensor| tensor.name() != name);
    graph.initializer.push(values::tensor(name, kind, &shape, bytes));
    let shown = match given {
        [value] => value.to_string(),
        _ => format!("{given:?}"),
    };
    Ok(vec![format!("the input \"{name}\" is the constant {shown} ({} {shape:?})", word(kind))])
}

/// Initialisers that are inputs too could be given another value in a run, so nothing that depends on them is folded.
/// kolk never gives one: they become plain initialisers.
pub fn settle(model: &mut ModelProto) -> Vec<String> {
    let Some(graph) = &mut model.graph else { return Vec::new() };
    let known: Vec<String> = graph.initializer.iter().map(|tensor: &TensorProto| tensor.name().to_owned()).collect();
    let before = graph.input.len();
    graph.input.retain(|info| !known.iter().any(|name| name == info.name()));
    match before - graph.input.len() {
        0 => Vec::new(),
        1 => vec!["1 input that has a value of its own in the file is a constant".into()],
        n => vec![format!("{n} inputs that have values of their own in the file are constants")],
    }
}

/// The shape that so many values have, or what the input takes instead.
fn shape_for(dims: &[Dim], values: usize) -> std::result::Result<Vec<usize>, String> {
    let open = dims.iter().filter(|dim| !matches!(dim, Dim::Fixed(_))).count();
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 1 };
    let fixed = dims.iter().fold(1_usize, |all, dim| all.saturating_mul(size(dim)));
    let fill = |open: usize| dims.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { open }).collect();
    match values {
        1 => Ok(fill(1)),
        n if n == fixed => Ok(fill(1)),
        n if open == 1 && fixed > 0 && n > 0 && n % fixed == 0 => Ok(fill(n / fixed)),
        _ if open == 0 => Err(format!("1 or {fixed}")),
        _ => Err(format!("1 or a multiple of {fixed}")),
    }
}

/// A value in the type's own bytes; `None` if the type can't hold it exactly, or nearest for a fraction.
fn encode(kind: DataType, value: f64) -> Option<Vec<u8>> {
    let whole = |low: f64, high: f64| (value.fract() == 0.0 && value >= low && value <= high).then_some(value as i64);
    Some(match kind {
        DataType::Float => {
            let narrow = value as f32;
            (narrow.is_finite() || !value.is_finite()).then(|| narrow.to_le_bytes().to_vec())?
        }
        DataType::Double => value.to_le_bytes().to_vec(),
        DataType::Int64 => whole(-(2f64.powi(53)), 2f64.powi(53))?.to_le_bytes().to_vec(),
        DataType::Int32 => (whole(f64::from(i32::MIN), f64::from(i32::MAX))? as i32).to_le_bytes().to_vec(),
        DataType::Int16 => (whole(f64::from(i16::MIN), f64::from(i16::MAX))? as i16).to_le_bytes().to_vec(),
        DataType::Int8 => vec![whole(-128.0, 127.0)? as u8],
        DataType::Uint8 => vec![whole(0.0, 255.0)? as u8],
        DataType::Bool => vec![whole(0.0, 1.0)? as u8],
        DataType::Float16 => values::half_from(value)?.to_le_bytes().to_vec(),
        _ => return None,
    })
}

fn word(kind: DataType) -> String {
    match kind {
        DataType::Float => "float32".into(),
        DataType::Double => "float64".into(),
        other => other.as_str_name().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::executor::trial::Trial;
    use crate::model::onnx::fold::fold;
    use crate::model::onnx::graph::{Axis, Graph, graph};
    use crate::model::onnx::proto::tensor_shape_proto::{Dimension, dimension::Value};
    use crate::model::onnx::proto::{TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
    use crate::model::onnx::testing::{model, noise};
    use crate::model::onnx::values::floats;

    fn input(name: &str, kind: DataType, sizes: &[i64]) -> ValueInfoProto {
        let dim = sizes
            .iter()
            .map(|size| Dimension { value: (*size >= 0).then_some(Value::DimValue(*size)), ..Default::default() });
        let tensor =
            type_proto::Tensor { elem_type: Some(kind as i32), shape: Some(TensorShapeProto { dim: dim.collect() }) };
        ValueInfoProto {
            name: Some(name.into()),
            r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
            ..Default::default()
        }
    }

    /// `y = sr == 16000 ? x * 2 : x * 3`, as voice models choose their branch.
    fn by_rate() -> ModelProto {
        let mut net = Graph::default();
        net.input("x", &[Axis::Open("batch"), Axis::Fixed(4)]);
        net.0.input.push(input("sr", DataType::Int64, &[]));
        net.output("y", &[Axis::Open("batch"), Axis::Fixed(4)]);
        net.0.initializer.push(values::integers("rate", &[], &[16000]));
        net.node("Equal", &["sr", "rate"], "is_16k", vec![]);
        let branch = |name: &str, by: f32| {
            let mut branch = Graph::default();
            let factor = branch.floats("factor", &[1], &[by], "");
            branch.output("branch_y", &[Axis::Open("batch"), Axis::Fixed(4)]);
            branch.node("Mul", &["x", &factor], "branch_y", vec![]);
            graph(name, branch.0)
        };
        net.node("If", &["is_16k"], "y", vec![branch("then_branch", 2.0), branch("else_branch", 3.0)]);
        model(net, 18)
    }

    #[test]
    fn an_if_on_a_constant_input_folds_and_the_graph_gives_the_same() {
        let x = floats("x", &[5, 4], &noise(20, 1));
        for (rate, left) in [(16000, 2.0), (8000, 3.0)] {
            let before = by_rate();
            let given = [x.clone(), values::integers("sr", &[], &[rate])];
            let expected = Trial::new(&before).unwrap().run(&given).unwrap();
            let mut after = before.clone();
            let notes = constant(&mut after, "sr", &[rate as f64]).unwrap();
            assert_eq!(notes, [format!("the input \"sr\" is the constant {rate} (int64 [])")]);
            let notes = fold(&mut after).unwrap();
            assert!(notes[0].contains("1 If of 1"), "{notes:?}");
            let graph = after.graph.as_ref().unwrap();
            assert!(graph.node.iter().all(|node| node.op_type() != "If"), "{graph:?}");
            assert_eq!(Trial::new(&after).unwrap().run(std::slice::from_ref(&x)).unwrap(), expected, "{left}");
        }
    }

    #[test]
    fn a_constant_has_the_inputs_type_and_shape() {
        let made = |kind, sizes: &[i64], given: &[f64]| {
            let mut model = by_rate();
            model.graph.as_mut().unwrap().input[1] = input("sr", kind, sizes);
            constant(&mut model, "sr", given).map(|_| model.graph.unwrap().initializer.pop().unwrap())
        };
        let one = made(DataType::Float, &[-1, 3], &[0.5]).unwrap();
        assert_eq!((one.dims.clone(), values::to_floats(&one).unwrap()), (vec![1, 3], vec![0.5; 3]));
        let half = made(DataType::Float16, &[2], &[1.0, -0.5]).unwrap();
        assert_eq!(values::to_numbers(&half).unwrap(), [1.0, -0.5]);
        let many = made(DataType::Double, &[-1, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(many.dims, [2, 2]);
        for (kind, sizes, given, expected) in [
            (DataType::Int64, &[][..], &[16000.5][..], "16000.5, which the input's type int64 can't hold"),
            (DataType::Bool, &[], &[2.0], "can't hold"),
            (DataType::Float, &[], &[1e300], "can't hold"),
            (DataType::Float, &[3], &[1.0, 2.0], "has 2 values, the input takes 1 or 3"),
        ] {
            let error = made(kind, sizes, given).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = constant(&mut by_rate(), "rate", &[1.0]).unwrap_err().to_string();
        assert_eq!(error, "the graph has no input \"rate\"; its inputs are x, sr");
    }

    #[test]
    fn initialisers_that_are_inputs_too_become_plain_ones() {
        let mut model = by_rate();
        let graph = model.graph.as_mut().unwrap();
        graph.input.push(input("rate", DataType::Int64, &[]));
        assert_eq!(settle(&mut model).len(), 1);
        assert_eq!(model.graph.as_ref().unwrap().input.len(), 2);
        assert!(settle(&mut model).is_empty());
    }
}
