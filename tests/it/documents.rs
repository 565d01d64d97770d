//! The documents name only what exists: files of the repository, and headings that links point to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The documents, relative to the repository.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from).into();
    for folder in ["docs", "docs/runbook"].map(Path::new) {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                found.push(folder.join(name));
            }
        }
    }
    found
}

fn read(document: &Path) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap()
}

/// The parts of a text between two marks.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
}

/// The anchors of a document's headings, as they are made from their text.
fn anchors(document: &Path) -> BTreeSet<String> {
    let of = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    read(document).lines().filter(|line| line.starts_with('#')).map(of).collect()
}

/// Names of all files under a folder.
fn names(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names(&path, into);
        } else if let Some(name) = path.file_name() {
            into.insert(name.to_string_lossy().into_owned());
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in documents() {
        let text = read(&document);
        for link in between(&text, "](", ")").filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => {
                    let (mut folder, mut file) = (document.parent().unwrap(), file);
                    while let Some(rest) = file.strip_prefix("../") {
                        (folder, file) = (folder.parent().unwrap(), rest);
                    }
                    folder.join(file)
                }
            };
            assert!(root.join(&target).exists(), "{}: {link}: there is no {}", document.display(), target.display());
            if !anchor.is_empty() {
                assert!(anchors(&target).contains(anchor), "{}: {link}: there is no such heading", document.display());
            }
        }
    }
}

#[test]
fn paths_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = BTreeSet::new();
    // An export writes one of the examples.
    ["src", "examples"].iter().for_each(|folder| names(&root.join(folder), &mut sources));
    for document in documents() {
        let text = read(&document);
        for words in between(&text, "`", "`").filter(|words| !words.contains(['<', ' ', '{', '\n'])) {
            let folders = ["src/", "tests/", "scripts/", "docs/", "pipelines/", "deploy/"];
            if folders.iter().any(|folder| words.starts_with(folder)) {
                assert!(root.join(words).exists(), "{}: there is no {words}", document.display());
            } else if words.ends_with(".rs") {
                let there = words.rsplit('/').next().is_some_and(|name| sources.contains(name));
                assert!(there, "{}: there is no {words} under src or examples", document.display());
            }
        }
    }
}
