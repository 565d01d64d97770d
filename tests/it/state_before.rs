//! State that an earlier version wrote is taken up, and what is written now is not refused for a field that comes
//! later.

use std::path::Path;

use super::common::*;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/state/parquet");

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A second version of the model goes on from what an earlier version of kolk committed, pinned or not.
#[test]
fn another_version_of_the_model_goes_on_from_earlier_state() {
    let folder = tempfile::tempdir().unwrap();
    let file = taken_up(folder.path());
    copy(&folder.path().join("models/tiny/1"), &folder.path().join("models/tiny/2"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("model: tiny/1", "model: tiny/2")).unwrap();
    kolk_exits(0, &["check", file.to_str().unwrap()]);
    let (_, told) = kolk_exits(0, &["run", file.to_str().unwrap()]);
    assert!(told.contains("another model version") && told.contains("tiny/2"), "{told}");
    kolk_exits(0, &["check", file.to_str().unwrap()]);
}

/// The fixture in a folder of its own, its paths those of the folder.
fn taken_up(folder: &Path) -> std::path::PathBuf {
    copy(Path::new(FIXTURE), folder);
    let made_by = folder.join("state/p/pipeline.json");
    let text = std::fs::read_to_string(&made_by).unwrap();
    std::fs::write(&made_by, text.replace("{here}", folder.to_str().unwrap())).unwrap();
    folder.join("p.yaml")
}

#[test]
fn what_an_earlier_version_wrote_goes_on_to_the_same_bytes() {
    let (folder, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = taken_up(folder.path());
    kolk_exits(0, &["check", file.to_str().unwrap()]);
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    let from_scratch = taken_up(whole.path());
    for name in ["state", "out"] {
        std::fs::remove_dir_all(whole.path().join(name)).unwrap();
    }
    kolk_exits(0, &["run", from_scratch.to_str().unwrap()]);
    let (gone_on, all) = (files(&folder.path().join("out")), files(&whole.path().join("out")));
    assert!(gone_on.len() > 10 && all.len() > gone_on.len(), "{} of {}", gone_on.len(), all.len());
    for (name, bytes) in gone_on {
        assert_eq!(Some(&bytes), all.get(&name), "{name}");
    }
}

#[test]
fn what_differs_is_said_of_either_version() {
    let folder = tempfile::tempdir().unwrap();
    let file = taken_up(folder.path());
    let text = std::fs::read_to_string(&file).unwrap();
    let refused = |text: &str| {
        std::fs::write(&file, text).unwrap();
        kolk_exits(2, &["check", file.to_str().unwrap()]).1
    };
    let other = text.replace("late: dead_letter, ", "");
    let message = refused(&other);
    assert!(message.contains("\n  on.late: dead_letter -> process\n"), "{message}");
    let refused_by = |from: &str, to: &str| refused(&text.replace(from, to));
    for (from, to, expected) in [
        ("half_life: 5d", "half_life: 14d", "\n  stages[3].scale.half_life: 5d -> 14d\n"),
        ("gap: 1d", "gap: 2w", "\n  stages[5].infer.gap: 1d -> 2w\n"),
        ("every: 30m", "every: 1h", "\n  stages[1].resample.every: 30m -> 1h\n"),
        ("temp: [1, 2]", "temp: [1, 3]", "\n  stages[4].lags.temp: [1, 2] -> [1, 3]\n"),
        ("partitions: 2", "partitions: 3", "\n  state.partitions: 2 -> 3\n"),
    ] {
        let message = refused_by(from, to);
        assert!(message.contains(expected), "{from}: {message}");
        for word in ["Some(", "Nanos", "Policies", "{ null", "717f430374"] {
            assert!(!message.contains(word), "{word}: {message}");
        }
    }
    // Written again by this version, single fields are named.
    std::fs::remove_dir_all(folder.path().join("state")).unwrap();
    std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    std::fs::write(&file, &text).unwrap();
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    let message = refused(&other);
    assert!(message.contains("\n  on.late: dead_letter -> (not written)\n"), "{message}");
    let message = refused(&text.replace("min_count: 3", "min_count: 4"));
    assert!(message.contains("\n  stages[3].scale.min_count: 3 -> 4\n"), "{message}");
    // A default that is written is none that is written.
    std::fs::write(
        &file,
        text.replace("gap: 1d", "gap: 1d, mode: carry").replace("null: skip", "null: skip, error: dead_letter"),
    )
    .unwrap();
    kolk_exits(0, &["check", file.to_str().unwrap()]);
}

/// A tail was that of a Gaussian before. Its residuals are not those that ranks are of, so its state is refused.
#[test]
fn what_scored_by_a_gaussian_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = taken_up(folder.path());
    for name in ["state", "out"] {
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let scored = text.replace("gap: 1d }", "gap: 1d }\n  - score: { actual: temp, tail: 0.01 }");
    assert_ne!(scored, text);
    std::fs::write(&file, scored).unwrap();
    kolk_exits(0, &["run", file.to_str().unwrap()]);
    kolk_exits(0, &["check", file.to_str().unwrap()]);
    let made_by = folder.path().join("state/p/pipeline.json");
    let text = std::fs::read_to_string(&made_by).unwrap();
    let mut before: serde_json::Value = serde_json::from_str(&text).unwrap();
    let score = before["sections"]["stages"][6]["score"].as_object_mut().unwrap();
    assert_eq!(score.remove("calibration"), Some("rank".into()));
    std::fs::write(&made_by, serde_json::to_vec(&before).unwrap()).unwrap();
    let (_, message) = kolk_exits(2, &["run", file.to_str().unwrap()]);
    assert!(message.contains("score.calibration") && message.contains("kolk state reset"), "{message}");
}
