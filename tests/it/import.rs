//! `kolk models inspect` and `kolk models import`: a graph of others becomes a version, or is refused and nothing is
//! published. The files are written by Python's `onnx`.

use std::path::Path;
use std::process::Command;

use super::common::*;

/// A folder with the files; `None` without Python.
pub fn files() -> Option<tempfile::TempDir> {
    let Some(python) = std::env::var("KOLK_PYTHON").ok() else {
        assert!(std::env::var_os("CI").is_none(), "KOLK_PYTHON is not set in CI");
        eprintln!("KOLK_PYTHON is not set (make test sets it): the tests with it were not run");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/write_onnx.py");
    let out = Command::new(python).arg(script).arg(folder.path().join("files")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    std::fs::write(folder.path().join("bias.bin"), [0; 12]).unwrap();
    Some(folder)
}

const GOOD: &str = "\
onnx: good.onnx
name: good
layout: step
inputs:
  x: { columns: [a, b, c] }
  word: { ids: word, below: 10 }
  rate: { constant: 0.5 }
states:
  b_in: { out: alpha }
  a_in: { out: zeta, init: { file: half.npy } }
outputs:
  y: { column: answer }
";

const CELL: &str = "\
onnx: fine.onnx
name: cell
layout: step
inputs: { x: { columns: [a, b, c] } }
states: { s: { out: s_out } }
outputs: { y: { column: z } }
";

#[test]
fn graphs_of_others_are_published_or_refused() {
    let Some(folder) = files() else { return };
    let files = folder.path().join("files");
    let (card, models) = (files.join("card.yaml"), folder.path().join("models"));
    let import = |code: i32, text: &str, more: &[&str]| -> String {
        std::fs::write(&card, text).unwrap();
        let mut arguments = vec!["models", "import", card.to_str().unwrap(), "--models", models.to_str().unwrap()];
        arguments.extend(more);
        let (out, errors) = kolk_exits(code, &arguments);
        out + &errors
    };

    // Each is refused with exit code 2, at its place in the card, and nothing is published.
    let cell = |onnx: &str| CELL.replace("fine", onnx);
    let good = |from: &str, to: &str| GOOD.replace(from, to);
    for (text, messages) in [
        (cell("bytes"), &["card.yaml:1:7: ", "bytes.onnx"][..]),
        (cell("empty"), &["card.yaml:1:7: ", "empty.onnx"]),
        (cell("large"), &["card.yaml:1:7: ", "has 2147483653 bytes, an ONNX file has less than 2 GiB"]),
        (cell("none"), &["card.yaml:1:7: ", "No such file"]),
        (cell("random"), &["card.yaml:1:7: ", "RandomNormalLike", "draws random numbers"]),
        (cell("by_data"), &["card.yaml:1:7: ", "NonZero", "the shape of its result depends on the data"]),
        (cell("branch"), &["card.yaml:1:7: ", "(If)", "which nodes run depends on the data"]),
        (cell("newer"), &["card.yaml:1:7: ", "load the model into ONNX Runtime"]),
        (cell("outside"), &["card.yaml:1:7: ", "../bias.bin"]),
        (cell("unwritten"), &["card.yaml:5:21: the graph has no output \"s_out\" (there are: y)"]),
        (good("out: alpha", "out: ~"), &["card.yaml:9:16: `out`: expected the output that gives the next state"]),
        (good("  b_in: { out: alpha }\n", ""), &["the graph's input \"b_in\" (float32 [batch, 4]) is missing"]),
        (good("  x:", "  u: { columns: [d] }\n  x:"), &["card.yaml:5:3: the graph has no input \"u\""]),
        (good("out: zeta", "out: alpha"), &["card.yaml:10:16: \"alpha\" is the `out` of \"b_in\" already"]),
        (good("{ out: alpha }", "{ out: alpha, shape: [4, batch] }"), &["card.yaml:9:30: state \"b_in\"", "4]"]),
        (good("{ out: alpha }", "{ out: alpha, shape: [batch, 5] }"), &["card.yaml:9:30: ", "5 against 4"]),
        (good("[a, b, c] }", "[a, b, c], shape: [batch, 4] }"), &["card.yaml:5:35: ", "4 against 3"]),
        (good("below: 10", "below: 11"), &["card.yaml:6:29: `below` is 11", "has 10 rows"]),
        (good("init: { file: half.npy }", "init: 1e39"), &["card.yaml:10:28: state \"a_in\" is float32", "be 1e39"]),
        (good("init: { file: half.npy }", "init: { file: reference.npz }"), &["card.yaml:10:36: ", "no NumPy file"]),
    ] {
        let said = import(2, &text, &[]);
        for message in messages {
            assert!(said.contains(message), "{message} in {said}\nof {text}");
        }
        assert!(!models.exists(), "something was published: {said}");
    }

    // What inspect prints, with what is missing filled in, is taken.
    let onnx = files.join("good.onnx");
    let (found, _) = kolk_exits(0, &["models", "inspect", onnx.to_str().unwrap()]);
    let text = found.split_once("\n\n").unwrap().1;
    assert!(text.contains("a_in: { out: ~") && text.contains("fill in out: zeta or alpha"), "{text}");
    assert!(text.contains("word: { ids: word, below: 10 }") && text.contains("rate: { constant: ~ }"), "{text}");
    // What a run costs is the same whichever output is which state's; but a number that isn't known may matter.
    assert!(found.contains("\ncost        not measured: what the card leaves open"), "{found}");
    let fine = files.join("fine.onnx");
    let (found, _) = kolk_exits(0, &["models", "inspect", fine.to_str().unwrap()]);
    assert!(found.contains("\ncost        one by one ") && found.contains(", 64 in one run "), "{found}");
    let (json, _) = kolk_exits(0, &["models", "inspect", fine.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let cost = |name: &str| json["cost"][name].as_f64().unwrap();
    assert!(cost("rows") == 64.0 && cost("seconds_alone") > 0.0 && cost("seconds_beside") > 0.0, "{json}");
    assert!(import(2, text, &[]).contains("`out`: expected the output"));
    let filled = text
        .replace("b_in: { out: ~", "b_in: { out: alpha")
        .replace("a_in: { out: ~", "a_in: { out: zeta")
        .replace("constant: ~", "constant: 0.5");
    let said = import(0, &filled, &[]);
    assert!(said.contains("published good/1, bitwise: yes"), "{said}");
    let root = models.to_str().unwrap();
    let (listed, _) = kolk_exits(0, &["models", "list", "--models", root]);
    assert!(listed.lines().any(|line| line.starts_with("good") && line.contains("carry")), "{listed}");
    let (shown, _) = kolk_exits(0, &["models", "show", "good", "--models", root]);
    for part in [
        "word: int64 [batch] from word, ids below 10",
        "b_in: float32 [batch, 4] from alpha, begins as zero",
        "y: float32 [batch, 4] becomes y",
        "run twice: the same bits",
    ] {
        assert!(shown.contains(part) && !shown.contains("held-out"), "{part} in {shown}");
    }
    let reference = |name: &str| files.join(name).to_str().unwrap().to_owned();
    let said = import(0, GOOD, &["--reference", &reference("reference.npz")]);
    assert!(said.contains("output \"y\" differs from the reference by at most") && said.contains("good/2"), "{said}");
    let said = import(2, GOOD, &["--reference", &reference("wrong.npz")]);
    assert!(said.contains("output \"y\" differs by up to") && said.contains("of the reference"), "{said}");
    assert!(!models.join("good/3").exists());

    let window = "onnx: window.onnx\nname: sum\nlayout: window\nwindow: 6\ninputs: { x: { columns: [a, b] } }\n\
                  outputs: { y: { column: total } }\n";
    let said = import(0, window, &["--reference", &reference("window.npz")]);
    assert!(said.contains("over 6 steps of 9 sequences") && said.contains("sum/1"), "{said}");

    // Columns of a pipeline say how wide inputs are, and which there are.
    write(&folder.path().join("data.parquet"), &series(2, 10), 1000);
    let data = pipeline(folder.path(), "model: m, mode: carry", "stdout: {}", "");
    let said = import(2, CELL, &["--data", data.to_str().unwrap()]);
    assert!(said.contains("card.yaml:4:26: ") && said.contains("has no column \"a\" before `infer`"), "{said}");
    assert!(
        said.contains("card.yaml:2:7: ") && said.contains("names the model \"m\" in its `infer`, the card"),
        "{said}"
    );
    let data = pipeline(folder.path(), "model: cell, mode: window, window: 3", "stdout: {}", "");
    let said = import(2, CELL, &["--data", data.to_str().unwrap()]);
    assert!(said.contains("runs the model in mode window, window 3, the card makes one for mode carry"), "{said}");
    let data = pipeline(folder.path(), "model: cell, mode: carry", "stdout: {}", "");
    let said = import(2, &CELL.replace("[a, b, c]", "[value]"), &["--data", data.to_str().unwrap()]);
    assert!(said.contains("takes 3 numbers a row") && said.contains("its columns have 1"), "{said}");
    let (json, _) = kolk_exits(0, &["models", "inspect", onnx.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["inputs"][0], serde_json::json!({ "name": "x", "type": "float32", "shape": ["batch", 3] }));
    assert_eq!(json["card"].as_str(), Some(text));
}

/// Cells that are no operator of ONNX, each type of number, ids, the batch in the last axis, states that sort the other
/// way round than they pair, with values from a file, and NaN that a graph makes: imported, run, and compared with a loop.
#[test]
fn graphs_of_others_give_what_a_loop_gives() {
    let Some(python) = super::official::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/small_models.py");
    let helper = |words: &[&str]| {
        let output = finished(Command::new(&python).arg(&script).arg(words[0]).arg(folder).args(&words[1..]));
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let models = folder.join("models");
    let listed = helper(&["make"]);
    assert_eq!(listed.lines().count(), 9, "{listed}");
    for line in listed.lines() {
        let (name, bitwise) = line.split_once('\t').unwrap();
        let path = |ending: &str| folder.join(format!("{name}{ending}")).to_str().unwrap().to_owned();
        let (out, said) =
            kolk_exits(0, &["models", "import", &path(".card.yaml"), "--models", models.to_str().unwrap()]);
        assert!(said.contains(&format!("published {name}/1, {bitwise}")), "{name}: {out}{said}");
        if bitwise.contains("no") {
            assert!(said.contains("a row differs by up to") && said.contains("so bitwise: no"), "{said}");
        }
        kolk_exits(0, &["run", &path(".yaml")]);
        helper(&["check", name]);
    }
}

/// Only a run tells that a graph takes too long, or computes the sizes of a tensor that no memory holds.
#[test]
fn a_graph_that_takes_too_long_or_too_much_memory_is_refused() {
    use kolk::model::onnx::{proto, values};
    use prost::Message;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let gru = fixtures.join("torch_gru_step_script.onnx");
    let (_, said) = kolk_exits(2, &["models", "inspect", gru.to_str().unwrap(), "--time-limit", "0"]);
    assert!(said.contains("inspecting the model took more than 0 minutes"), "{said}");
    let mut model = proto::ModelProto::decode(std::fs::read(&gru).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let node = |op: &str, from: &str, to: &str| proto::NodeProto {
        op_type: Some(op.into()),
        input: vec![from.into()],
        output: vec![to.into()],
        ..Default::default()
    };
    graph.initializer.push(values::integers("many", &[2], &[-(1 << 24), -(1 << 24)]));
    graph.node.splice(0..0, [node("Abs", "many", "sizes"), node("ConstantOfShape", "sizes", "bomb")]);
    graph.node.splice(2..2, [node("ReduceMax", "bomb", "most")]);
    let name = graph.output[0].name().to_string();
    let last = graph.node.iter_mut().find(|node| node.output.contains(&name)).unwrap();
    last.output.iter_mut().filter(|output| **output == name).for_each(|output| *output = "without".into());
    let mut add = node("Add", "without", &name);
    add.input.push("most".into());
    graph.node.push(add);
    let folder = tempfile::tempdir().unwrap();
    let bomb = folder.path().join("bomb.onnx");
    std::fs::write(&bomb, model.encode_to_vec()).unwrap();
    // It isn't run: why, is beside the rest of what is in the file.
    let (shown, _) = kolk_exits(0, &["models", "inspect", bomb.to_str().unwrap(), "--json"]);
    assert!(shown.contains("not_measured") && shown.contains("ConstantOfShape node"), "{shown}");
}
