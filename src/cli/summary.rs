//! `kolk summary X`: the layers of a network, as Keras 3's `model.summary()` prints them.

use std::fmt::Write;
use std::path::Path;

use super::{SummaryArgs, print};
use crate::error::Context;
use crate::model::onnx::{import, inspect};
use crate::model::{ModelKind, registry};
use crate::network::Architecture;
use crate::network::summary::LayerRow;
use crate::runtime::{self, Purpose};
use crate::{Error, Result, config};

/// Inner widths of the columns, as Keras has them on a terminal of 80; a longer cell widens its column.
const WIDTHS: [usize; 3] = [33, 24, 15];

/// Runs `kolk summary`; for a pipeline file it prints the network of its train section.
///
/// # Errors
/// No such file or model; every problem of a pipeline.
pub fn command(args: &SummaryArgs) -> Result<()> {
    let path = Path::new(&args.what);
    let text = if matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml")) {
        let plan = runtime::plan(config::load(path)?, Purpose::Train)?;
        let training = plan.train.ok_or_else(|| Error::refused("the pipeline has no `train` section"))?;
        if !training.candidates.is_empty() {
            return Err(Error::refused("`layers: auto` is chosen by the training: give the model that it published"));
        }
        let window = (training.kind == ModelKind::Window).then_some(training.window);
        of_architecture(&plan.pipeline.name, &training.architecture, window)
    } else {
        run(&args.what, &args.models)?
    };
    print(text.trim_end())
}

/// The summary of an ONNX file, of a version's folder, or of `name` or `name/3` in the registry at `models`.
pub fn run(what: &str, models: &Path) -> Result<String> {
    let path = Path::new(what);
    if path.is_file() {
        let name = path.file_stem().map_or(what.into(), |stem| stem.to_string_lossy());
        return of_file(path, &name, None);
    }
    if path.join(registry::MODEL).is_file() {
        let name = path.file_name().map_or(what.into(), |name| name.to_string_lossy());
        return of_folder(path, &name);
    }
    if what.ends_with(".onnx") {
        return Err(Error::refused(format!("there is no file {what}")));
    }
    let (name, number) = registry::find(models, what)?;
    of_folder(&models.join(&name).join(number.to_string()), &format!("{name}/{number}"))
}

/// The summary of a network that isn't trained yet, that of a pipeline's train section. `window` as for
/// [`Architecture::layer_table`].
pub fn of_architecture(name: &str, architecture: &Architecture, window: Option<usize>) -> String {
    table(name, &architecture.layer_table(window))
}

/// A version's folder; one without a manifest, such as an imported graph, is read as a file.
fn of_folder(folder: &Path, name: &str) -> Result<String> {
    let mut window = None;
    let mut bytes = None;
    if folder.join(registry::MANIFEST).exists() {
        let (manifest, onnx) = registry::open_folder(folder)?;
        (window, bytes) = (manifest.window, Some(onnx));
    }
    let path = folder.join(registry::MODEL);
    match bytes {
        Some(bytes) => of_bytes(&bytes, &path, name, window),
        None => of_file(&path, name, window),
    }
}

fn of_file(path: &Path, name: &str, window: Option<usize>) -> Result<String> {
    let bytes = std::fs::read(path).or_refused(|| format!("read {}", path.display()))?;
    of_bytes(&bytes, path, name, window)
}

fn of_bytes(bytes: &[u8], path: &Path, name: &str, window: Option<usize>) -> Result<String> {
    let model = import::model(bytes).map_err(|error| Error::refused(format!("{}: {error}", path.display())))?;
    Ok(match import::architecture(&model)? {
        Some(architecture) => of_architecture(name, &architecture, window),
        None => table(name, &inspect::layers(&model)),
    })
}

/// The table of Keras.
fn table(name: &str, layers: &[LayerRow]) -> String {
    let header = ["Layer (type)", "Output Shape", "Param #"].map(str::to_owned);
    let rows: Vec<[String; 3]> = layers
        .iter()
        .map(|layer| [format!("{} ({})", layer.name, layer.kind), shape(&layer.shape), grouped(layer.parameters)])
        .collect();
    let mut widths = WIDTHS;
    for row in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 2);
        }
    }
    let rule = |left: char, fill: char, between: char, right: char| {
        let line: Vec<String> = widths.iter().map(|width| fill.to_string().repeat(*width)).collect();
        format!("{left}{}{right}\n", line.join(&between.to_string()))
    };
    let line = |row: &[String; 3], border: char| {
        let [a, b, c] = row;
        let [wa, wb, wc] = widths.map(|width| width - 2);
        format!("{border} {a:<wa$} {border} {b:<wb$} {border} {c:>wc$} {border}\n")
    };
    let mut text = format!("Model: \"{name}\"\n");
    text += &rule('┏', '━', '┳', '┓');
    text += &line(&header, '┃');
    text += &rule('┡', '━', '╇', '┩');
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            text += &rule('├', '─', '┼', '┤');
        }
        text += &line(row, '│');
    }
    text += &rule('└', '─', '┴', '┘');
    for (what, trainable) in [("Total", None), ("Trainable", Some(true)), ("Non-trainable", Some(false))] {
        let counted = layers.iter().filter(|layer| trainable.is_none_or(|wanted| layer.trainable == wanted));
        let (count, bytes) = counted.fold((0, 0), |sum, layer| (sum.0 + layer.parameters, sum.1 + layer.bytes));
        // Writing to a string can't fail.
        let _ = writeln!(text, " {what} params: {} ({})", grouped(count), size(bytes));
    }
    text
}

/// `(None, 10, 50)`: the first axis is the batch; `?` if it isn't known.
fn shape(axes: &[Option<usize>]) -> String {
    if axes.is_empty() {
        return "?".into();
    }
    let sizes: Vec<String> = axes.iter().map(|axis| axis.map_or("None".into(), |size| size.to_string())).collect();
    format!("(None, {})", sizes.join(", "))
}

/// `1,102,000`
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as Keras writes them: steps of 1024, two decimals.
fn size(bytes: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KB", "MB", "GB", "TB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Activation, CellKind};
    use crate::model::onnx::export;
    use crate::network::Layer;
    use crate::network::testing::{plain, rich, tensors};

    /// Printed by Keras 3.15 for `Sequential([Input((10, 1)), SimpleRNN(50), Dense(1)])`.
    const SIMPLE_RNN: &str = "\
Model: \"sequential\"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ simple_rnn (SimpleRNN)          │ (None, 50)             │         2,600 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ dense (Dense)                   │ (None, 1)              │            51 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 2,651 (10.36 KB)
 Trainable params: 2,651 (10.36 KB)
 Non-trainable params: 0 (0.00 B)
";

    #[test]
    fn the_founding_models_are_printed_as_keras_prints_them() {
        let architecture = plain(1, &[(CellKind::RnnTanh, 50)]);
        assert_eq!(of_architecture("sequential", &architecture, Some(10)), SIMPLE_RNN);
        for (cell, from, parameters, total) in [
            (CellKind::Lstm, "lstm (LSTM)            ", "10,400", "10,451 (40.82 KB)"),
            (CellKind::Gru, "gru (GRU)              ", " 7,950", "8,001 (31.25 KB)"),
        ] {
            let expected = SIMPLE_RNN
                .replace("simple_rnn (SimpleRNN) ", from)
                .replace(" 2,600", parameters)
                .replace("2,651 (10.36 KB)", total);
            assert_eq!(of_architecture("sequential", &plain(1, &[(cell, 50)]), Some(10)), expected);
        }
    }

    /// Keras 3.15: LSTM(50, return_sequences=True), LSTM(500), Dense(1000), Dense(1).
    #[test]
    fn a_stack_is_printed_as_keras_prints_it() {
        let mut architecture = plain(1, &[(CellKind::Lstm, 50), (CellKind::Lstm, 500)]);
        architecture.layers.push(Layer::dense(1000, Activation::Linear));
        let text = of_architecture("taxi-demand", &architecture, Some(10));
        for line in [
            "│ lstm (LSTM)                     │ (None, 10, 50)         │        10,400 │",
            "│ lstm_1 (LSTM)                   │ (None, 500)            │     1,102,000 │",
            "│ dense (Dense)                   │ (None, 1000)           │       501,000 │",
            "│ dense_1 (Dense)                 │ (None, 1)              │         1,001 │",
            " Total params: 1,614,401 (6.16 MB)",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn statistics_are_no_parameters_and_the_paths_beside_the_network_have_rows() {
        let text = of_architecture("rich", &rich(), None);
        for line in [
            "│ scaling (Rescaling)             │ (None, None, 5)        │             0 │",
            "│ skip (Dense)                    │ (None, None, 3)        │             9 │",
            "│ output_scaling (Rescaling)      │ (None, None, 3)        │             0 │",
            "│ residual (Add)                  │ (None, None, 3)        │             0 │",
            " Non-trainable params: 0 (0.00 B)",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn long_cells_widen_their_column() {
        let layer = LayerRow {
            name: "a".repeat(50),
            kind: "Dense".into(),
            shape: vec![],
            parameters: 0,
            bytes: 0,
            trainable: true,
        };
        let text = table("wide", &[layer]);
        let widths: Vec<usize> = text.lines().skip(1).take(5).map(|line| line.chars().count()).collect();
        assert_eq!(widths, [widths[0]; 5], "{text}");
    }

    fn fixture(name: &str) -> String {
        format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn files_of_keras_and_pytorch_are_counted_as_their_makers_count() {
        for (file, rows, total) in [
            (
                "keras/keras_rnn.onnx",
                &["simple_rnn (SimpleRNN)|(None, 50)|2,600", "dense (Dense)|(None, 1)|51"][..],
                "2,651 (10.36 KB)",
            ),
            (
                "keras/keras_lstm.onnx",
                &["lstm (LSTM)|(None, 50)|10,400", "dense (Dense)|(None, 1)|51"],
                "10,451 (40.82 KB)",
            ),
            ("keras/keras_gru.onnx", &["gru (GRU)|(None, 50)|7,950", "dense (Dense)|(None, 1)|51"], "8,001 (31.25 KB)"),
            ("torch/torch_rnn_window_script.onnx", &["simple_rnn (SimpleRNN)|(None, 50)|2,650"], "2,701 (10.55 KB)"),
            ("torch/torch_lstm_step_script.onnx", &["lstm (LSTM)|(None, None, 50)|10,600"], "10,651 (41.61 KB)"),
            ("torch/torch_gru_step_dynamo.onnx", &["gru (GRU)|(None, None, 50)|7,950"], "8,001 (31.25 KB)"),
            (
                "torch/torch_lstm2_window_dynamo.onnx",
                &["lstm (LSTM)|(None, 10, 50)|10,600", "lstm_1 (LSTM)|(None, 50)|20,400", "dense (Dense)|(None, 1)|51"],
                "31,051 (121.29 KB)",
            ),
            // Unrolled over ten steps: no layer to see, but each weight counts once.
            ("torch/torch_rnn_window_dynamo.onnx", &[], "2,701 (10.55 KB)"),
        ] {
            let text = run(&fixture(file), Path::new("nowhere")).unwrap();
            let lines: Vec<String> = text
                .lines()
                .filter(|line| line.starts_with('│'))
                .map(|line| line.trim_matches('│').split('│').map(str::trim).collect::<Vec<_>>().join("|"))
                .collect();
            for row in rows {
                assert!(lines.iter().any(|line| line == row), "{file}: {row} in\n{text}");
            }
            assert!(text.contains(&format!(" Total params: {total}\n")), "{file}: {total} in\n{text}");
        }
    }

    #[test]
    fn a_version_without_a_manifest_is_read_as_well() {
        let root = tempfile::tempdir().unwrap();
        let architecture = plain(1, &[(CellKind::RnnTanh, 50)]);
        let folder = root.path().join("taxi/2");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("model.onnx"),
            export::onnx(&architecture, &tensors(&architecture, 1), "g").unwrap(),
        )
        .unwrap();
        let by_name = run("taxi/2", root.path()).unwrap();
        assert!(by_name.starts_with("Model: \"taxi/2\"") && by_name.contains("2,651 (10.36 KB)"), "{by_name}");
        let by_folder = run(&folder.to_string_lossy(), Path::new("nowhere")).unwrap();
        assert!(by_folder.contains("│ simple_rnn (SimpleRNN)          │ (None, None, 50)"), "{by_folder}");
        for wrong in ["taxy/2", "taxi/3", "no.onnx"] {
            assert_eq!(run(wrong, root.path()).unwrap_err().exit_code(), 2, "{wrong}");
        }
        std::fs::write(folder.join("model.onnx"), "no model").unwrap();
        assert_eq!(run("taxi/2", root.path()).unwrap_err().exit_code(), 2);
    }
}
