//! Steps an exported model by hand: a line of numbers in, a line of outputs out.
//!
//! `cargo add ort@=2.0.0-rc.15 serde_json`, then `cargo run FOLDER < rows.csv` with `ORT_DYLIB_PATH` set if ort loads
//! its library. Each line holds the numbers of one step of one sequence, those of all inputs side by side in the order
//! of graph.json. For a window model, each line after the first rows gives the output for the last rows.
//! All tensors have to be float32; step.py knows every type.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use serde_json::Value;

type States = HashMap<String, Vec<f32>>;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or(".".into()));
    let environment = ort::init().with_telemetry(false).build()?;
    print!("{}", outputs(&environment, &folder, &io::read_to_string(io::stdin())?)?);
    Ok(())
}

/// A line of outputs for each line of numbers.
pub fn outputs(environment: &Environment, folder: &Path, lines: &str) -> Result<String, Box<dyn Error>> {
    let graph: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("graph.json"))?)?;
    let mut session = Session::builder(environment)?.commit_from_file(folder.join("model.onnx"))?;
    let window = graph["window"].as_u64().map(|rows| rows as usize);
    let mut states = start(folder, &graph)?;
    let (mut rows, mut text): (Vec<Vec<f32>>, String) = (Vec::new(), String::new());
    for line in lines.lines() {
        let numbers = line.split(',').map(|number| number.trim().parse()).collect::<Result<Vec<f32>, _>>()?;
        let mut y = Vec::new();
        match window {
            None => y = step(&mut session, &graph, &numbers, &mut states)?,
            Some(window) => {
                rows.push(numbers);
                if rows.len() < window {
                    continue;
                }
                states = start(folder, &graph)?;
                for row in &rows {
                    y = step(&mut session, &graph, row, &mut states)?;
                }
                rows.remove(0);
            }
        }
        let y: Vec<String> = y.iter().map(f32::to_string).collect();
        text += &y.join(",");
        text.push('\n');
    }
    Ok(text)
}

/// The outputs of one step; `states` become those after it.
fn step(
    session: &mut Session,
    graph: &Value,
    numbers: &[f32],
    states: &mut States,
) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut feed: Vec<(String, SessionInputValue<'_>)> = Vec::new();
    let mut at = 0;
    for tensor in list(graph, "inputs") {
        let sizes = sizes(tensor)?;
        let width = sizes.iter().product::<i64>() as usize;
        let values = numbers.get(at..at + width).ok_or("a line has too few numbers")?.to_vec();
        feed.push((text(tensor, "name"), Tensor::from_array((sizes, values))?.into()));
        at += width;
    }
    for state in list(graph, "states") {
        let name = text(state, "name");
        let values = states.remove(&name).unwrap_or_default();
        feed.push((name, Tensor::from_array((sizes(state)?, values))?.into()));
    }
    let found = session.run(feed)?;
    for state in list(graph, "states") {
        let (_, values) = found[text(state, "out").as_str()].try_extract_tensor::<f32>()?;
        states.insert(text(state, "name"), values.to_vec());
    }
    let mut y = Vec::new();
    for output in list(graph, "outputs") {
        y.extend_from_slice(found[text(output, "name").as_str()].try_extract_tensor::<f32>()?.1);
    }
    Ok(y)
}

/// The states before the first step.
fn start(folder: &Path, graph: &Value) -> Result<States, Box<dyn Error>> {
    let mut states = States::new();
    for state in list(graph, "states") {
        let width = sizes(state)?.iter().product::<i64>() as usize;
        let initial = &state["initial"];
        let values = match (initial["number"].as_f64(), initial["file"].as_str()) {
            (Some(number), _) => vec![number as f32; width],
            (_, Some(file)) => {
                let bytes = std::fs::read(folder.join(file))?;
                bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
            }
            _ => vec![0.0; width],
        };
        states.insert(text(state, "name"), values);
    }
    Ok(states)
}

/// The axes of one step of one sequence.
fn sizes(tensor: &Value) -> Result<Vec<i64>, Box<dyn Error>> {
    if tensor["type"] != "float32" {
        return Err(format!(
            "{} is {}: this example knows float32, step.py every type",
            tensor["name"], tensor["type"]
        )
        .into());
    }
    Ok(list(tensor, "shape").iter().map(|axis| axis.as_i64().unwrap_or(1)).collect())
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
