//! `kolk models show`: one version of a model, with all that it promises.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::sign::Signer;
use super::{ERRORS, kind, layers, metric, parameters, plain, pretty, trimmed};
use crate::Result;
use crate::error::{Context, counted, printable};
use crate::model::signing::PublicKeys;
use crate::model::{Groups, registry};
use crate::network::{Feed, Initial, InputTensor, OutputTensor, Signature, StateTensor};

/// Values of groups that are shown.
const SHOWN: usize = 8;

/// One version: `name` (its champion) or `name/3`. As JSON: the manifest, with `version` and `champion` added.
pub fn show(root: &Path, target: &str, as_json: bool, keys: &PublicKeys) -> Result<String> {
    let (name, number) = registry::find(root, target)?;
    let folder = root.join(&name).join(number.to_string());
    let manifest = registry::read_manifest(&folder)?;
    let champion = registry::champion(root, &name)? == Some(number);
    // A version that isn't what was signed is not shown.
    if !keys.is_empty() {
        registry::open(root, &format!("{name}/{number}"), keys)?;
    }
    let signer = Signer::of(root, &name, number, keys);
    if as_json {
        let mut value = serde_json::to_value(&manifest).or_failed(|| "write the manifest as JSON".into())?;
        value["version"] = number.into();
        value["champion"] = champion.into();
        signer.describe(&mut value);
        return pretty(&value);
    }
    let inputs: Vec<String> = manifest
        .inputs
        .iter()
        .map(|input| match input.lag {
            0 if input.ahead > 0 => format!("{} {} ahead", input.column, counted(input.ahead, "row")),
            0 => input.column.clone(),
            lag => format!("{} {} back", input.column, counted(lag, "row")),
        })
        .collect();
    let foreign = manifest.signature.as_ref();
    let looked_up = manifest.vocabularies.iter().map(|vocabulary| {
        let of = if vocabulary.column.is_some() { "text" } else { "key" };
        format!("{}, among {}", printable(vocabulary.of()), counted(vocabulary.tokens.len(), of))
    });
    let inputs: Vec<String> = inputs.into_iter().chain(looked_up).collect();
    let inputs = foreign.map_or(inputs.join(", "), taken);
    let stages: Vec<String> = manifest.stages.iter().map(Value::to_string).collect();
    let mut lines = vec![
        ("model", format!("{name}/{number}{}", if champion { " (champion)" } else { "" })),
        ("folder", folder.display().to_string()),
        ("kind", kind(&manifest)),
        ("layers", layers(&manifest)),
        ("parameters", parameters(&manifest)),
        ("inputs", inputs),
        ("targets", manifest.targets.join(", ")),
        ("steps ahead", manifest.horizon.to_string()),
        ("stages before", if stages.is_empty() { "none".into() } else { stages.join("\n") }),
        ("warm-up", counted(manifest.warm_up, "row")),
        ("form", format!("{}, bitwise: {}", manifest.form, if manifest.bitwise { "yes" } else { "no" })),
        ("seed", manifest.seed.to_string()),
        ("data", manifest.data_hash.clone()),
        ("onnx", format!("opset {}, IR version {}", manifest.opset, manifest.ir_version)),
        ("checked with", format!("ONNX Runtime {}", manifest.onnx_runtime)),
    ];
    // What is told of a sequence, or of the record itself, is of no later row.
    lines.retain(|(word, _)| *word != "steps ahead" || manifest.horizon > 0);
    if let Some(signature) = foreign {
        lines.retain(|(word, _)| !matches!(*word, "seed" | "data" | "layers" | "parameters"));
        lines.extend([("states", carried(signature)), ("outputs", given(signature))]);
        lines.extend(manifest.proofs.iter().map(|proof| ("proved", proof.clone())));
    }
    lines.extend(manifest.groups.iter().map(|groups| ("networks", networks(groups))));
    lines.extend(manifest.from.iter().map(|from| ("weights from", from.clone())));
    lines.extend(manifest.tz_database.iter().map(|version| ("tz database", version.clone())));
    lines.extend(manifest.files.iter().map(|(file, hash)| ("sha256", format!("{hash} {file}"))));
    lines.push(("signed by", signer.text()));
    let mut table = plain(&[]);
    for (word, text) in lines {
        table.add_row([word, &text]);
    }
    let mut text = trimmed(&mut table, &[]);
    if manifest.targets.is_empty() || manifest.metrics.is_empty() && foreign.is_some() {
        return Ok(text);
    }
    let mut header = vec!["target"];
    header.extend(ERRORS.map(|(_, title)| title));
    let mut errors = plain(&header);
    for target in &manifest.targets {
        let mut row = vec![target.clone()];
        row.extend(ERRORS.map(|(error, _)| metric(&manifest, target, error)));
        errors.add_row(row);
    }
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "\nerrors on held-out time, and those of the naive forecasts\n{}",
        trimmed(&mut errors, &[1, 2, 3])
    );
    Ok(text)
}

/// The networks of groups of keys.
fn networks(groups: &Groups) -> String {
    let values: Vec<String> = groups.networks.iter().take(SHOWN).map(|network| printable(&network.value)).collect();
    let more = groups.networks.len() - values.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let of = groups.column.as_ref().map_or("the key".into(), |column| format!("\"{}\"", printable(column)));
    let count = counted(groups.networks.len(), "value");
    format!("one for each of {count} of {of}: {}{more}; the graph above is for all others", values.join(", "))
}

/// The inputs of a graph of others, a line each.
fn taken(signature: &Signature) -> String {
    let one = |input: &InputTensor| {
        let (name, spec) = (printable(&input.tensor.name), input.tensor.describe());
        let from = match &input.feed {
            Feed::Columns(columns) => {
                columns.iter().map(|input| printable(&input.column)).collect::<Vec<_>>().join(", ")
            }
            Feed::Ids { column, below } => format!("{}, ids below {below}", printable(column)),
            Feed::Tokens { column, tokens } => {
                format!("{}, among {}", printable(column), counted(tokens.len(), "text"))
            }
            Feed::PerKey(column) => format!("{}, kept per key", printable(column)),
            Feed::Key(keys) => format!("the key, among {}", counted(keys.len(), "key")),
        };
        format!("{name}: {spec} from {from}")
    };
    signature.inputs.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Its states.
fn carried(signature: &Signature) -> String {
    let one = |state: &StateTensor| {
        let initial = match &state.initial {
            Initial::Zero => "zero".into(),
            Initial::Number(number) => number.to_string(),
            Initial::File(file) => printable(file),
        };
        let (name, out) = (printable(&state.tensor.name), printable(&state.out));
        format!("{name}: {} from {out}, begins as {initial}", state.tensor.describe())
    };
    let states: Vec<String> = signature.states.iter().map(one).collect();
    if states.is_empty() { "none".into() } else { states.join("\n") }
}

/// Its outputs.
fn given(signature: &Signature) -> String {
    let one = |output: &OutputTensor| {
        let (name, column) = (printable(&output.tensor.name), printable(&output.column));
        let ahead = output.forecast.as_ref().map(|ahead| format!(", a forecast of {}", ahead.targets.join(", ")));
        format!("{name}: {} becomes {column}{}", output.tensor.describe(), ahead.unwrap_or_default())
    };
    signature.outputs.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::published;

    #[test]
    fn one_version_is_shown_with_all_that_it_promises() {
        let root = tempfile::tempdir().unwrap();
        let version = published(root.path(), "air", 7);
        let text = show(root.path(), "air/1", false, &PublicKeys::none()).unwrap();
        for part in [
            "air/1",
            "GRU(4), Dense(4)",
            "temp, temp 24 rows back",
            "opset 17",
            &version.manifest.files["model.onnx"],
            "12.50",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json: Value =
            serde_json::from_str(&show(root.path(), "air/1", true, &PublicKeys::none()).unwrap()).unwrap();
        assert_eq!(
            (json["version"].as_u64(), json["champion"].as_bool(), json["seed"].as_u64()),
            (Some(1), Some(false), Some(7))
        );
        assert_eq!(show(root.path(), "air", false, &PublicKeys::none()).unwrap_err().exit_code(), 2);
        assert_eq!(show(root.path(), "airs/1", false, &PublicKeys::none()).unwrap_err().exit_code(), 2);
    }
}
