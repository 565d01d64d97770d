//! `kolk train --from` with a network for each group of keys: each goes on with its own, or with the one of all keys.

use std::path::Path;

use kolk::model::onnx::import;
use kolk::model::registry;
use kolk::model::signing::PublicKeys;
use kolk::network::Tensor;

use super::common::*;
use super::grouped::{KEYS, pipeline_of, write_groups};
use super::serve_as_trained::ROWS;

/// The graph of a network of a version: that of a value, or that of all keys.
fn graph(folder: &Path, number: u64, value: Option<&str>) -> Vec<u8> {
    let version = registry::open(&folder.join("models"), &format!("m/{number}"), &PublicKeys::none()).unwrap();
    let Some(value) = value else { return version.onnx };
    let groups = version.manifest.groups.unwrap();
    let network = groups.networks.iter().find(|network| network.value == value).unwrap();
    version.files[&network.file].clone()
}

fn numbers(folder: &Path, number: u64, value: Option<&str>) -> Vec<Tensor> {
    import::network(&graph(folder, number, value)).unwrap().1
}

/// A learning rate that moves nothing, so that what a training begins with is what it ends with.
const STILL: &str = "  optimizer: { adam: { learning_rate: 1e-60 } }\n";
const MOVING: &str = "  optimizer: { adam: { learning_rate: 0.02 } }\n";

fn pipeline(folder: &Path, infer: &str, train: &str, optimizer: &str) -> String {
    let file = pipeline_of(folder, "data.parquet", infer, train, "");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(MOVING));
    std::fs::write(&file, text.replace(MOVING, optimizer).replace("updates: 200", "updates: 60")).unwrap();
    file
}

#[test]
fn each_network_goes_on_with_its_own() {
    for (infer, train) in [
        ("mode: window, window: 2", "  per: region\n"),
        // Each has lags and linear paths per key of its own, and two members.
        ("mode: carry", "  per: region\n  seeds: 2\n  embeddings: [ { key: true, size: 2 } ]\n"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write_groups(&folder.join("data.parquet"), &KEYS[..5], ROWS);
        kolk_exits(0, &["train", &pipeline(folder, infer, train, MOVING)]);
        let still = pipeline(folder, infer, train, STILL);
        kolk_exits(0, &["train", &still, "--from", "m/1"]);
        for value in [None, Some("down"), Some("up")] {
            // Not their bytes: adding 0 makes 0 of -0.
            let [before, after] = [1, 2].map(|number| import::network(&graph(folder, number, value)).unwrap());
            assert!(before == after, "{infer}: {value:?} begins with other numbers");
        }
        // From scratch they are others; and from there they move.
        assert!(numbers(folder, 1, Some("down")) != numbers(folder, 1, Some("up")));
        kolk_exits(0, &["train", &pipeline(folder, infer, train, MOVING), "--from", "m/1"]);
        kolk_exits(0, &["run", &still]);
        for value in [None, Some("down"), Some("up")] {
            assert!(numbers(folder, 3, value) != numbers(folder, 1, value), "{infer}: {value:?} stays");
        }
        let manifest = registry::read_manifest(&folder.join("models/m/3")).unwrap();
        assert_eq!(manifest.from.as_deref(), Some("m/1"));
    }
}

/// A value that the version has no network for begins with that of all keys, and so does each of one that has none.
/// Values whose keys are gone are told.
#[test]
fn values_that_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let infer = "mode: window, window: 2";
    let train = "  per: region\n";
    write_groups(&folder.join("data.parquet"), &KEYS[..3], ROWS);
    kolk_exits(0, &["train", &pipeline(folder, infer, train, MOVING)]);
    let other = [("a", Some("up")), ("c", Some("up")), ("x", Some("new"))];
    write_groups(&folder.join("data.parquet"), &other, ROWS);
    let (_, told) = kolk_exits(0, &["train", &pipeline(folder, infer, train, STILL), "--from", "m/1"]);
    assert!(told.contains("m/1 has networks for values that have too few examples here for one"), "{told}");
    assert!(told.contains("serves them from now on: down"), "{told}");
    assert_eq!(numbers(folder, 2, Some("up")), numbers(folder, 1, Some("up")));
    assert_eq!(numbers(folder, 2, Some("new")), numbers(folder, 1, None));

    let plain = pipeline(folder, infer, "", STILL);
    let (_, told) = kolk_exits(2, &["train", &plain, "--from", "m/1"]);
    assert!(told.contains("m/1, which has a network for each value of \"region\", the pipeline one for all"), "{told}");
    let by_key = pipeline(folder, infer, "  per: key\n", STILL);
    let (_, told) = kolk_exits(2, &["train", &by_key, "--from", "m/1"]);
    assert!(told.contains("the pipeline one for each key: write `per: region`"), "{told}");
    let wider = pipeline(folder, infer, train, STILL);
    std::fs::write(&wider, std::fs::read_to_string(&wider).unwrap().replace("gru: 6", "gru: 7")).unwrap();
    let (_, told) = kolk_exits(2, &["train", &wider, "--from", "m/1"]);
    assert!(told.contains("layers: m/1 has GRU(6)"), "{told}");
    let folds = pipeline(folder, infer, "  per: region\n  backtest: { folds: 2 }\n", STILL);
    let (_, told) = kolk_exits(2, &["train", &folds, "--from", "m/1"]);
    assert!(told.contains("a backtest can't go on from a version"), "{told}");
    let auto = pipeline(folder, infer, train, STILL);
    std::fs::write(&auto, std::fs::read_to_string(&auto).unwrap().replace("[ gru: 6 ]", "auto")).unwrap();
    let (_, told) = kolk_exits(2, &["train", &auto, "--from", "m/1"]);
    assert!(told.contains("`layers: auto` chooses the layers of a training from scratch"), "{told}");

    // From one network, each begins with it.
    kolk_exits(0, &["train", &pipeline(folder, infer, "", STILL)]);
    kolk_exits(0, &["train", &pipeline(folder, infer, train, STILL), "--from", "m/3"]);
    for value in [None, Some("new"), Some("up")] {
        assert_eq!(numbers(folder, 4, value), numbers(folder, 3, None), "{value:?}");
    }
}

/// From a graph of others, imported as it is or as weights.
#[test]
fn each_begins_with_a_network_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let infer = "mode: window, window: 10";
    write_groups(&folder.join("data.parquet"), &KEYS[..5], ROWS);
    let onnx = format!("{}/tests/fixtures/keras_gru.onnx", env!("CARGO_MANIFEST_DIR"));
    let card = folder.join("card.yaml");
    let text = format!(
        "onnx: {onnx}\nname: m\nlayout: window\nwindow: 10\ninputs: {{ keras_tensor_6: {{ columns: [value] }} }}\n\
         outputs: {{ \"Identity:0\": {{ column: prediction, targets: [value], horizon: 1 }} }}\n"
    );
    std::fs::write(&card, text).unwrap();
    let models = folder.join("models");
    kolk_exits(0, &["models", "import", card.to_str().unwrap(), "--models", models.to_str().unwrap()]);
    let train = "  per: region\n  skip: none\n";
    let file = pipeline(folder, infer, train, STILL);
    let text = std::fs::read_to_string(&file).unwrap();
    let text =
        text.replace("horizon: 2", "horizon: 1").replace("gru: 6", "gru: 50").replace("updates: 60", "updates: 3");
    std::fs::write(&file, text).unwrap();
    kolk_exits(0, &["models", "import", &onnx, "--pipeline", &file]);
    for from in ["m/1", "m/2"] {
        kolk_exits(0, &["train", &file, "--from", from]);
    }
    for value in [None, Some("down"), Some("up")] {
        assert_eq!(numbers(folder, 3, value), numbers(folder, 2, None), "{value:?} of the graph");
        assert_eq!(numbers(folder, 4, value), numbers(folder, 2, None), "{value:?} of the weights");
    }
    kolk_exits(0, &["run", &file]);
}
