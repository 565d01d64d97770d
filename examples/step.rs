//! Steps an exported model by hand: a line of numbers in, a line of outputs out.
//!
//! `cargo add ort@=2.0.0-rc.15 serde_json`, then `cargo run FOLDER < rows.csv` with `ORT_DYLIB_PATH` set if ort loads
//! its library. Each line holds the numbers of one step of one sequence, those of all inputs side by side in the order
//! of graph.json. For a window model, each line after the first rows gives the output for the last rows. For a model of
//! sequences each line gives the output for the sequence so far.
//! No tensor may be float16, which needs a crate of its own; step.py knows every type.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type States = HashMap<String, DynValue>;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or(".".into()));
    let environment = ort::init().with_telemetry(false).build()?;
    print!("{}", outputs(&environment, &folder, &io::read_to_string(io::stdin())?)?);
    Ok(())
}

/// A line of outputs for each line of numbers.
pub fn outputs(environment: &Environment, folder: &Path, lines: &str) -> Result<String> {
    let graph: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("graph.json"))?)?;
    let mut session = Session::builder(environment)?.commit_from_file(folder.join("model.onnx"))?;
    let window = graph["window"].as_u64().map_or(1, |rows| rows as usize);
    let is_window = !graph["window"].is_null();
    let mut states = start(folder, &graph)?;
    let (mut rows, mut text): (Vec<Vec<f64>>, String) = (Vec::new(), String::new());
    for line in lines.lines() {
        rows.push(line.split(',').map(|number| number.trim().parse()).collect::<std::result::Result<_, _>>()?);
        if rows.len() < window {
            continue;
        }
        let mut y = Vec::new();
        if list(&graph, "states").is_empty() {
            y = step(&mut session, &graph, &rows, &mut states)?;
        } else {
            if is_window {
                states = start(folder, &graph)?;
            }
            for row in rows.chunks(1) {
                y = step(&mut session, &graph, row, &mut states)?;
            }
        }
        // What has no state sees the whole sequence.
        if graph["lengths"].is_null() || !states.is_empty() {
            rows.remove(0);
        }
        let y: Vec<String> = y.iter().map(f64::to_string).collect();
        text += &y.join(",");
        text.push('\n');
    }
    Ok(text)
}

/// The outputs of the last one of some rows; `states` become those after it.
fn step(session: &mut Session, graph: &Value, rows: &[Vec<f64>], states: &mut States) -> Result<Vec<f64>> {
    let mut feed: Vec<(String, SessionInputValue<'_>)> = Vec::new();
    let mut begin = 0;
    for tensor in list(graph, "inputs") {
        let (sizes, places) = places(tensor, rows.len());
        let width = sizes.iter().product::<i64>() as usize / if has_time(tensor) { rows.len() } else { 1 };
        let number = |(row, at): &(usize, usize)| rows[*row].get(begin + at).copied().ok_or("a line is too short");
        let values = places.iter().map(number).collect::<std::result::Result<_, _>>()?;
        feed.push((text(tensor, "name"), made(tensor, sizes, values)?.into()));
        begin += width;
    }
    for state in list(graph, "states") {
        let name = text(state, "name");
        feed.push((name.clone(), states.remove(&name).ok_or("no state")?.into()));
    }
    if let Some(lengths) = graph.get("lengths") {
        let rows = vec![rows.len() as f64];
        feed.push((text(lengths, "name"), made(lengths, vec![1], rows)?.into()));
    }
    let mut found = session.run(feed)?;
    let mut y = Vec::new();
    for output in list(graph, "outputs") {
        let numbers = numbers(&found[text(output, "name")])?;
        let places = places(output, if has_time(output) { rows.len() } else { 1 }).1;
        let last = places.iter().map(|(row, _)| *row).max();
        y.extend(places.iter().zip(numbers).filter(|((row, _), _)| Some(*row) == last).map(|(_, number)| number));
    }
    for state in list(graph, "states") {
        let next = found.remove(text(state, "out")).ok_or("no state")?;
        states.insert(text(state, "name"), next);
    }
    Ok(y)
}

/// The states before the first step.
fn start(folder: &Path, graph: &Value) -> Result<States> {
    let mut states = States::new();
    for state in list(graph, "states") {
        let sizes = places(state, 1).0;
        let width = sizes.iter().product::<i64>() as usize;
        let initial = &state["initial"];
        let values = match (initial["number"].as_f64(), initial["file"].as_str()) {
            (Some(number), _) => vec![number; width],
            (_, Some(file)) => npy(&std::fs::read(folder.join(file))?, &text(state, "type"))?,
            _ => vec![0.0; width],
        };
        states.insert(text(state, "name"), made(state, sizes, values)?);
    }
    Ok(states)
}

/// The sizes of a tensor for one sequence of so many rows; and of each of its numbers the row, and its place there.
fn places(tensor: &Value, rows: usize) -> (Vec<i64>, Vec<(usize, usize)>) {
    let time = |axis: &Value| axis == "time";
    let size = |axis: &Value| if time(axis) { rows as i64 } else { axis.as_i64().unwrap_or(1) };
    let axes = list(tensor, "shape");
    let sizes: Vec<i64> = axes.iter().map(size).collect();
    let mut places = vec![(if has_time(tensor) { 0 } else { rows - 1 }, 0)];
    for (axis, size) in axes.iter().zip(&sizes) {
        let along = |(row, at): &(usize, usize)| {
            let (row, at) = (*row, *at);
            (0..*size as usize).map(move |n| if time(axis) { (n, at) } else { (row, at * *size as usize + n) })
        };
        places = places.iter().flat_map(along).collect();
    }
    (sizes, places)
}

/// A tensor of its type.
fn made(tensor: &Value, sizes: Vec<i64>, values: Vec<f64>) -> Result<DynValue> {
    Ok(match tensor["type"].as_str() {
        Some("float32") => all(sizes, values, |value| value as f32)?,
        Some("float64") => all(sizes, values, |value| value)?,
        Some("int64") => all(sizes, values, |value| value as i64)?,
        Some("int32") => all(sizes, values, |value| value as i32)?,
        Some("bool") => all(sizes, values, |value| value != 0.0)?,
        _ => return Err(format!("{} is {}, which step.py knows", tensor["name"], tensor["type"]).into()),
    })
}

fn all<T>(sizes: Vec<i64>, values: Vec<f64>, of: fn(f64) -> T) -> Result<DynValue>
where
    T: ort::value::PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static,
{
    Ok(Tensor::from_array((sizes, values.into_iter().map(of).collect::<Vec<T>>()))?.into_dyn())
}

/// The numbers of a tensor.
fn numbers(value: &DynValue) -> Result<Vec<f64>> {
    Ok(match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => {
            value.try_extract_tensor::<f32>()?.1.iter().map(|value| f64::from(*value)).collect()
        }
        Some(TensorElementType::Float64) => value.try_extract_tensor::<f64>()?.1.to_vec(),
        Some(TensorElementType::Int64) => {
            value.try_extract_tensor::<i64>()?.1.iter().map(|value| *value as f64).collect()
        }
        Some(TensorElementType::Int32) => {
            value.try_extract_tensor::<i32>()?.1.iter().map(|value| f64::from(*value)).collect()
        }
        Some(TensorElementType::Bool) => {
            value.try_extract_tensor::<bool>()?.1.iter().map(|value| f64::from(u8::from(*value))).collect()
        }
        other => return Err(format!("an output of type {other:?}").into()),
    })
}

/// The numbers of an `.npy`, after its header.
fn npy(bytes: &[u8], of: &str) -> Result<Vec<f64>> {
    let length = bytes.get(8..10).ok_or("no NumPy file")?;
    let data = bytes.get(10 + usize::from(u16::from_le_bytes([length[0], length[1]]))..).ok_or("no NumPy file")?;
    Ok(match of {
        "float32" => data.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value).into()).collect(),
        "float64" => data.as_chunks().0.iter().map(|value| f64::from_le_bytes(*value)).collect(),
        "int64" => data.as_chunks().0.iter().map(|value| i64::from_le_bytes(*value) as f64).collect(),
        "int32" => data.as_chunks().0.iter().map(|value| i32::from_le_bytes(*value).into()).collect(),
        _ => data.iter().map(|value| (*value).into()).collect(),
    })
}

fn has_time(tensor: &Value) -> bool {
    list(tensor, "shape").iter().any(|axis| axis == "time")
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
