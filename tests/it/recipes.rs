//! The recipes of docs/models.md: what they say is taken out of the document and run, and what comes out is compared
//! with a loop in Python. Two parts aren't run by themselves, and the document says so: the frameworks' own Python, unless
//! `KOLK_PYTHON_TORCH` or `KOLK_PYTHON_KERAS` names an interpreter that has them (files that they exported before take
//! its place), and the download of a wheel, which `scripts/silero.sh` does.

use std::path::Path;
use std::process::{Command, Output};

use super::common::*;
use super::official::python;

/// A block of a document: what its fence says, and its text.
type Block<'a> = (&'a str, &'a str);

/// The blocks below a heading.
fn blocks<'a>(document: &'a str, heading: &str) -> Vec<Block<'a>> {
    let begin = document.find(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = &document[begin + 1..];
    let section = &section[..section.find("\n###").unwrap_or(section.len())];
    let mut parts = section.split("\n```");
    parts.next();
    parts.step_by(2).map(|block| block.split_once('\n').unwrap()).collect()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn must(command: &mut Command) -> String {
    let output = finished(command);
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    said(&output)
}

/// Runs the commands of a block in a folder; what the document shows below each has to come.
fn run(console: &str, folder: &Path) {
    let mut printed = String::new();
    for line in console.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                let arguments = command.strip_prefix("kolk ").unwrap().split_whitespace();
                let mut kolk = Command::new(env!("CARGO_BIN_EXE_kolk"));
                printed = must(kolk.args(arguments).current_dir(folder));
            }
            None => assert!(printed.contains(line), "{line:?} isn't in what was printed:\n{printed}"),
        }
    }
}

#[test]
fn the_recipes_for_the_models_of_others_do_what_they_say() {
    let Some(python) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/models.md")).unwrap();
    let script = root.join("tests/python/recipes.py");
    for (heading, recipe) in [("From PyTorch", "torch"), ("From Keras", "keras"), ("A downloaded model", "silero")] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let helper = |words: &[&str]| must(Command::new(&python).arg(&script).args(words).arg(folder));
        let (mut consoles, mut wrote) = (0, 0);
        for (kind, text) in blocks(&document, heading) {
            match kind {
                "python" => match std::env::var(format!("KOLK_PYTHON_{}", recipe.to_uppercase())) {
                    Ok(python) => {
                        std::fs::write(folder.join("export.py"), text).unwrap();
                        must(Command::new(python).arg("export.py").current_dir(folder));
                    }
                    Err(_) => {
                        eprintln!(
                            "{heading}: its Python needs the framework and isn't run; an older export takes its place"
                        );
                        helper(&["files", recipe, root.join("tests/fixtures").to_str().unwrap()]);
                    }
                },
                "sh" => {
                    assert!(text.contains("pip download silero-vad==6.2.3"), "{text}");
                    let output = finished(Command::new(root.join("scripts/silero.sh")).current_dir(root));
                    if !output.status.success() {
                        assert!(std::env::var_os("CI").is_none(), "{}", said(&output));
                        eprintln!("{heading}: it was not run: {}", said(&output));
                        break;
                    }
                    let name = text.trim_end().rsplit('/').next().unwrap().trim_end_matches(" .");
                    let from = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join(name);
                    std::fs::copy(from, folder.join(name)).unwrap();
                }
                "yaml" => {
                    let name = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap();
                    std::fs::write(folder.join(name), text).unwrap();
                    wrote += 1;
                }
                "console" => {
                    helper(&["data", recipe]);
                    run(text, folder);
                    eprintln!("{heading}: {}", helper(&["check", recipe]));
                    consoles += 1;
                }
                other => panic!("{heading}: a block of {other:?}"),
            }
        }
        assert!(consoles == 1 && wrote == 2 || recipe == "silero" && consoles == 0, "{heading}");
    }
}
