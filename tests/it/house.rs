//! The shape of the sources: a room uses only the rooms below it, files stay small, public items say what they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, from the ground up. Code of a room may name its own room and those before it.
const FLOORS: [&str; 20] = [
    "problem", "error", "zone", "kernel", "config", "record", "metrics", "http", "storage", "network", "state",
    "model", "format", "stage", "kafka", "sink", "source", "train", "runtime", "cli",
];

/// Lines of a file at most. About 400 is the aim; above it there is usually a second idea in a file.
const LONGEST: usize = 450;

/// A source file without what only tests use.
struct Source {
    path: PathBuf,
    room: String,
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let path = path.strip_prefix(&root).unwrap().to_path_buf();
                let room = path.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_string();
                let lines = fs::read_to_string(root.join(&path)).unwrap().lines().map(String::from).collect();
                found.push(Source { path, room, lines });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The module files that are compiled for tests only: those behind `#[cfg(test)] mod name;`, and what is below them.
fn test_modules(sources: &[Source]) -> BTreeSet<PathBuf> {
    let mut modules = BTreeSet::new();
    for source in sources {
        for pair in source.lines.windows(3) {
            let is_test =
                |line: &str| line.starts_with("#[cfg(") && (line.contains("test)") || line.contains("(test,"));
            // A `#[path]` may stand between the two.
            let name = match (is_test(&pair[0]), pair[1].strip_prefix("#[path = \"")) {
                (true, Some(path)) => path.trim_end_matches("\"]").trim_end_matches(".rs").to_string(),
                (true, None) => match pair[1].split_once("mod ") {
                    Some((_, name)) if name.ends_with(';') => name.trim_end_matches(';').to_string(),
                    _ => continue,
                },
                _ => continue,
            };
            let folder = source.path.parent().unwrap();
            let stem = source.path.file_stem().unwrap();
            let folder = match stem.to_str() {
                Some("mod" | "lib") => folder.to_path_buf(),
                _ if pair[1].starts_with("#[path") => folder.to_path_buf(),
                _ => folder.join(stem),
            };
            modules.insert(folder.join(name));
        }
    }
    modules
}

/// The files that are part of the binary, each up to its `mod tests`.
fn code() -> Vec<Source> {
    let mut sources = sources();
    let tests = test_modules(&sources);
    sources.retain(|source| {
        !source.path.ancestors().any(|path| tests.contains(&path.with_extension("")))
            && !["lib", "main"].contains(&source.room.as_str())
    });
    for source in &mut sources {
        let end = source.lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
        source.lines.truncate(end.unwrap_or(source.lines.len()));
    }
    sources
}

/// The rooms that a file names by `crate::`.
fn rooms_named(source: &Source) -> BTreeSet<String> {
    let code: Vec<&str> = source.lines.iter().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let word =
            |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => _ = named.insert(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut start = 0;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            named.insert(word(&list[start..i]));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            named.insert(word(&list[start..i]));
                            start = i + 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    named
}

#[test]
fn a_room_uses_only_what_stands_below_it() {
    let floor = |room: &str| FLOORS.iter().position(|floor| *floor == room);
    let mut wrong = Vec::new();
    for source in code() {
        let own = floor(&source.room).unwrap_or_else(|| panic!("{} stands on no floor", source.path.display()));
        for named in rooms_named(&source) {
            if floor(&named).is_some_and(|other| other > own) {
                wrong.push(format!("src/{} uses {named}/, which stands above {}/", source.path.display(), source.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_of_the_floors_sees_every_way_to_name_a_room() {
    let lines = [
        "use crate::state::{Rows, Keys};",
        "use crate::{Result, sink, source::{a, b}};",
        "// crate::cli",
        "crate::cli::x()",
    ];
    let source = Source { path: "stage/x.rs".into(), room: "stage".into(), lines: lines.map(String::from).to_vec() };
    let named = rooms_named(&source);
    assert_eq!(named.into_iter().collect::<Vec<_>>(), ["Result", "cli", "sink", "source", "state"]);
    assert!(code().iter().flat_map(rooms_named).filter(|room| FLOORS.contains(&room.as_str())).count() > 300);
}

#[test]
fn a_file_holds_one_idea() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.lines.len() > LONGEST)
        .map(|source| format!("src/{}: {} lines, at most {LONGEST}", source.path.display(), source.lines.len()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn a_comment_is_wrapped_at_120_columns() {
    let wide: Vec<String> = sources()
        .iter()
        .flat_map(|source| source.lines.iter().enumerate().map(move |(number, line)| (source, number, line)))
        .filter(|(_, _, line)| line.trim_start().starts_with("//") && line.chars().count() > 120)
        .map(|(source, number, _)| format!("src/{}:{}", source.path.display(), number + 1))
        .collect();
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

/// The compiler asks for the docs of what the library shows; this asks for the rest.
#[test]
fn a_public_item_says_what_it_is_in_a_private_module_too() {
    let items =
        ["fn ", "const fn ", "unsafe fn ", "async fn ", "struct ", "enum ", "trait ", "const ", "static ", "type "];
    let mut bare = Vec::new();
    for source in code() {
        for (number, line) in source.lines.iter().enumerate() {
            let Some(item) = line.trim_start().strip_prefix("pub ") else { continue };
            if !items.iter().any(|word| item.starts_with(word)) {
                continue;
            }
            let above = source.lines[..number].iter().rev().map(|line| line.trim());
            let doc = above.into_iter().find(|line| !line.starts_with("#[") && !line.starts_with(")]"));
            if !doc.is_some_and(|line| line.starts_with("///")) {
                bare.push(format!("src/{}:{}: {}", source.path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(bare.is_empty(), "without a doc:\n{}", bare.join("\n"));
}

/// The image is built from copies of a few folders, so a file of another folder would be missing there.
#[test]
fn what_the_build_reads_is_copied_into_the_image() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let [docker, ignore] =
        ["deploy/Dockerfile", ".dockerignore"].map(|name| fs::read_to_string(root.join(name)).unwrap());
    let mut read = 0;
    for source in code() {
        for line in &source.lines {
            let Some((_, path)) = line.split_once("include_str!(\"").or_else(|| line.split_once("include_bytes!(\""))
            else {
                continue;
            };
            let path = root.join("src").join(&source.path).with_file_name(path.split_once('"').unwrap().0);
            let path = fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let top = path.strip_prefix(fs::canonicalize(root).unwrap()).unwrap().iter().next().unwrap();
            let top = top.to_string_lossy();
            let copied = docker.lines().filter(|line| line.starts_with("COPY ")).flat_map(str::split_whitespace);
            assert!(copied.into_iter().any(|word| word == top), "deploy/Dockerfile doesn't copy {top}, for {line}");
            assert!(ignore.lines().any(|line| line == format!("!{top}")), ".dockerignore has no !{top}, for {line}");
            read += 1;
        }
    }
    assert!(read > 10, "{read}");
}
