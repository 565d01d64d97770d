//! Publishing and opening versions.

use super::*;
use crate::kernel::CellKind;
use crate::model::testing::{manifest, published};
use crate::network::testing::plain;

/// Opens a version, signed or not.
fn open(root: &Path, target: &str) -> Result<Version> {
    super::open(root, target, &PublicKeys::none())
}

fn publish(root: &Path, manifest: Manifest, onnx: &[u8], report: &str) -> Result<Version> {
    super::publish(root, manifest, onnx, report, None)
}

fn refusal(result: Result<Version>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn what_was_published_opens_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("not/there/yet");
    let first = published(&root, "air", 1);
    let second = published(&root, "air", 2);
    assert_eq!((first.number, second.number), (1, 2));
    set_champion(&root, "air", 1).unwrap();
    let opened = open(&root, "air").unwrap();
    assert_eq!((opened.number, &opened.manifest, &opened.onnx), (1, &first.manifest, &first.onnx));
    assert_eq!(open(&root, "air/2").unwrap().manifest, second.manifest);
    set_champion(&root, "air", 2).unwrap();
    assert_eq!(open(&root, "air").unwrap().number, 2);
    let entry = Entry { name: "air".into(), versions: vec![1, 2], champion: Some(2) };
    assert_eq!(list(&root).unwrap(), [entry]);
    // There is nothing but the versions.
    let mut names: Vec<String> =
        fs::read_dir(root.join("air")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["1", "2", "champion"]);
}

#[test]
fn further_files_of_a_version_are_opened_with_it_and_checked() {
    let root = tempfile::tempdir().unwrap();
    let manifest = || manifest("air", &plain(1, &[(CellKind::Gru, 2)]), 1);
    let file = |name: &str| BTreeMap::from([(name.to_owned(), vec![1, 2, 3])]);
    let version = publish_with(root.path(), manifest(), b"graph", "report", file("h0.bin"), None).unwrap();
    assert_eq!(open(root.path(), "air/1").unwrap().files, file("h0.bin"));
    fs::write(version.folder.join("h0.bin"), "other").unwrap();
    let message = refusal(open(root.path(), "air/1"));
    assert!(message.contains("h0.bin is not what was published"), "{message}");
    for name in ["../h0.bin", "a/b", ".hidden", MANIFEST, MODEL, SIGNATURE] {
        refusal(publish_with(root.path(), manifest(), b"", "", file(name), None));
    }
    assert_eq!(list(root.path()).unwrap()[0].versions, [1]);
}

#[test]
fn equal_versions_are_equal_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (published(a.path(), "air", 1), published(b.path(), "air", 1));
    for file in [MODEL, MANIFEST, REPORT] {
        assert_eq!(fs::read(a.folder.join(file)).unwrap(), fs::read(b.folder.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    assert!(refusal(open(root, "air")).contains("it is empty"));
    published(root, "air-quality", 1);
    let message = refusal(open(root, "air-qualty"));
    assert!(
        message.contains("there are: air-quality") && message.contains("did you mean \"air-quality\"?"),
        "{message}"
    );
    assert!(refusal(open(root, "air-quality")).contains("no champion: name a version, as air-quality/1"));
    assert!(refusal(open(root, "air-quality/4")).contains("no version 4 (there are: 1)"));
    assert!(refusal(open(root, "air-quality/new")).contains("the number of a version"));
    assert!(refusal(open(root, "../air-quality")).contains("is not a name for a model"));
    assert_eq!(set_champion(root, "air-quality", 3).unwrap_err().exit_code(), 2);
    fs::write(root.join("air-quality/champion"), "new").unwrap();
    assert!(refusal(open(root, "air-quality")).contains("not a version's number"));
}

#[test]
fn a_changed_file_is_refused() {
    for file in [MODEL, REPORT] {
        let root = tempfile::tempdir().unwrap();
        let path = published(root.path(), "air", 1).folder.join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let message = refusal(open(root.path(), "air/1"));
        assert!(message.contains("is not what was published") && message.contains(file), "{message}");
        fs::remove_file(&path).unwrap();
        assert!(refusal(open(root.path(), "air/1")).contains(file));
    }
}

#[test]
fn what_the_manifest_does_not_name_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = published(root.path(), "air", 1).folder;
    // File systems and tools leave such.
    fs::write(folder.join(".nfs0001"), "").unwrap();
    open(root.path(), "air/1").unwrap();
    fs::write(folder.join("weights.bin"), "x").unwrap();
    let message = refusal(open(root.path(), "air/1"));
    assert!(message.contains("weights.bin is not part of the version") && message.contains("remove it"), "{message}");
    fs::remove_file(folder.join("weights.bin")).unwrap();
    let path = folder.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    for name in ["../../other", "/etc/passwd", "sub/x"] {
        fs::write(&path, text.replace("model.onnx", name)).unwrap();
        let message = refusal(open(root.path(), "air/1"));
        assert!(
            message.contains(&format!("names the file {name:?}")) || message.contains("model.onnx is not part"),
            "{message}"
        );
    }
}

#[test]
fn a_manifest_of_another_format_is_refused_by_its_number() {
    let root = tempfile::tempdir().unwrap();
    let path = published(root.path(), "air", 1).folder.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(refusal(open(root.path(), "air/1")).contains("format 2, this program reads format 1"));
    fs::write(&path, "{}").unwrap();
    assert!(refusal(open(root.path(), "air/1")).contains("format null"));
}

#[test]
fn those_who_publish_at_once_get_different_numbers() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|i| scope.spawn(move || [0, 1, 2].map(|j| published(root, "air", i * 3 + j).number))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=24).collect::<Vec<u64>>());
    for number in numbers {
        open(root, &format!("air/{number}")).unwrap();
    }
}

#[test]
fn what_a_killed_process_left_is_in_nobodys_way() {
    let root = tempfile::tempdir().unwrap();
    published(root.path(), "air", 1);
    for count in 0..200 {
        let left = root.path().join("air").join(format!(".new-{}-{count}", std::process::id()));
        let _ = fs::create_dir(left);
    }
    assert_eq!(published(root.path(), "air", 2).number, 2);
    set_champion(root.path(), "air", 2).unwrap();
    assert_eq!(open(root.path(), "air").unwrap().number, 2);
}

#[test]
fn a_publish_that_fails_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let architecture = plain(1, &[(CellKind::Gru, 2)]);
    assert!(publish(root.path(), manifest("a/b", &architecture, 1), b"", "").is_err());
    assert!(publish(root.path(), manifest(".air", &architecture, 1), b"", "").is_err());
    fs::write(root.path().join("air"), "in the way").unwrap();
    assert_eq!(publish(root.path(), manifest("air", &architecture, 1), b"", "").unwrap_err().exit_code(), 1);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    assert_eq!(list(root.path()).unwrap(), []);
}
