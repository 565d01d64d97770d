//! `kolk train` killed at any moment and started again, as often as it takes: the version is byte for byte that of one
//! uninterrupted training.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::common::*;

const FILES: [&str; 3] = ["model.onnx", "manifest.json", "report.html"];

fn pipeline_of(folder: &Path, infer: &str, train: &str) -> String {
    write(&folder.join("data.parquet"), &series(3, 400), 1_000);
    let train = format!("train: {{ target: value, layers: [ lstm: 4, gru: 3 ], batch_size: 8, {train} }}");
    let file = pipeline(folder, &format!("model: m, {infer}"), "stdout: {}", &train);
    file.to_str().unwrap().to_string()
}

/// Starts a training and kills it after it has written so many checkpoints; `false`: it was over before.
fn killed_after(folder: &Path, file: &str, checkpoints: usize) -> bool {
    // What begins with a dot is on its way to its name.
    let now = || -> Vec<u64> {
        let files = std::fs::read_dir(folder.join("models/.training/m")).into_iter().flatten().flatten();
        let files = files.filter(|file| !file.file_name().to_string_lossy().starts_with('.'));
        let mut inodes: Vec<u64> = files.filter_map(|file| Some(file.metadata().ok()?.ino())).collect();
        inodes.sort_unstable();
        inodes
    };
    let (mut before, mut seen) = (now(), 0);
    killed_when(file, &mut || {
        let found = now();
        // At its end it removes them.
        if found != before && !found.is_empty() {
            before = found;
            seen += 1;
        }
        seen >= checkpoints
    })
}

/// Starts a training and kills it as soon as something is so; `false`: it was over before.
fn killed_when(file: &str, is_so: &mut dyn FnMut() -> bool) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kolk"))
        .args(["train", file, "--checkpoint-every", "0s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        if is_so() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        assert!(started.elapsed() < Duration::from_secs(300), "it never is so");
        std::thread::yield_now();
    }
}

fn version(folder: &Path, number: usize) -> Vec<Vec<u8>> {
    let file = |name| std::fs::read(folder.join(format!("models/m/{number}")).join(name)).unwrap();
    FILES.map(file).to_vec()
}

#[test]
fn killed_again_and_again_the_version_is_that_of_one_training() {
    for (infer, train) in [
        ("mode: carry", "chunk: 16, updates: 60, patience: 30, refit: best_epochs"),
        ("mode: window, window: 6", "epochs: 2, refit: best_epochs"),
        (
            "mode: window, window: 6",
            "epochs: 2, horizon: 4, patch: 2, decoder: position, subtract: last, residual: last, \
             embeddings: [ { key: true, size: 1 } ], head: [ { dropout: 0.2 } ]",
        ),
    ] {
        let whole = tempfile::tempdir().unwrap();
        kolk_exits(0, &["train", &pipeline_of(whole.path(), infer, train)]);
        assert!(!whole.path().join("models/.training").exists());
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let file = pipeline_of(folder, infer, train);
        let mut kills = 0;
        let published = || folder.join("models/m/1").exists();
        while killed_after(folder, &file, 3 + 5 * (kills % 4)) && !published() {
            kills += 1;
            assert!(kills < 1_000);
        }
        assert!(kills >= 3, "{kills} kills");
        for (name, (found, expected)) in FILES.iter().zip(version(folder, 1).iter().zip(version(whole.path(), 1))) {
            assert!(*found == expected, "{infer}: {name} after {kills} kills");
        }
    }
}

#[test]
fn another_training_and_a_damaged_checkpoint_start_from_scratch_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let train = "chunk: 16, updates: 60";
    let file = pipeline_of(folder, "mode: carry", train);
    assert!(killed_after(folder, &file, 5));
    let checkpoint = folder.join("models/.training/m/train");
    let kept = std::fs::read(&checkpoint).unwrap();
    let (_, said) = kolk_exits(0, &["train", &file]);
    assert!(said.contains("goes on after ") && said.contains("models/.training/m/train"), "{said}");
    let expected = version(folder, 1);
    // Killed after it had published, but before it removed the checkpoint: it publishes nothing once more.
    std::fs::create_dir_all(checkpoint.parent().unwrap()).unwrap();
    std::fs::write(&checkpoint, &kept).unwrap();
    let (out, said) = kolk_exits(0, &["train", &file]);
    assert!(out.ends_with("m/1\n") && said.contains("goes on after ") && !checkpoint.exists(), "{out}{said}");
    assert!(!folder.join("models/m/2").exists());
    let again = |number: usize, bytes: &[u8], arguments: &[&str], words: &str| {
        std::fs::create_dir_all(checkpoint.parent().unwrap()).unwrap();
        std::fs::write(&checkpoint, bytes).unwrap();
        let (_, said) = kolk_exits(0, &[&["train", &file], arguments].concat());
        assert_eq!(said.contains("training checkpoint"), !words.is_empty(), "{said}");
        assert!(said.contains(words) && !said.contains("goes on after"), "{words}: {said}");
        version(folder, number)
    };
    let mut damaged = kept.clone();
    damaged[kept.len() / 2] ^= 1;
    assert_eq!(again(2, &damaged, &[], "training/m/train can't be used: it is damaged"), expected);
    assert_eq!(again(3, b"", &[], "it is no training checkpoint of this version of kolk"), expected);
    assert_eq!(again(4, &kept, &["--fresh"], ""), expected);
    pipeline_of(folder, "mode: carry", "chunk: 16, updates: 60, optimizer: { adam: { learning_rate: 0.01 } }");
    again(5, &kept, &[], "of another training (it had `learning_rate: 0.001`, now `learning_rate: 0.01`): starts from");
    pipeline_of(folder, "mode: carry", train);
    write(&folder.join("data.parquet"), &series(3, 401), 1_000);
    again(6, &kept, &[], "of another training (its data were others): starts from scratch");
}

/// Of networks by group, those that were trained before the kill are not trained again.
#[test]
fn a_training_by_group_goes_on_with_the_network_that_it_was_at() {
    let train = "per: key, skip: none, updates: 25, patience: 20, refit: best_epochs";
    let whole = tempfile::tempdir().unwrap();
    kolk_exits(0, &["train", &pipeline_of(whole.path(), "mode: carry", train)]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = pipeline_of(folder, "mode: carry", train);
    let mut kills = 0;
    let mut over = false;
    while !over && !folder.join("models/m/1").exists() {
        over = !killed_after(folder, &file, 20 + 15 * (kills % 3));
        kills += usize::from(!over);
        assert!(kills < 1_000);
    }
    assert!(kills >= 2, "{kills} kills");
    let (found, expected) = (files(&folder.join("models/m/1")), files(&whole.path().join("models/m/1")));
    assert!(found.contains_key("group_3.onnx") && found == expected, "after {kills} kills");
    // Killed after it has published, it leaves its checkpoints to the next training.
    assert!(!over || !folder.join("models/.training").exists());
}

/// Killed where one network is over and the next one begins, when all of them are, and while the version is published.
#[test]
fn a_training_by_group_is_killed_between_its_networks_and_while_it_publishes() {
    let train = "per: key, updates: 8, refit: best_epochs, backtest: { folds: 2 }";
    let whole = tempfile::tempdir().unwrap();
    kolk_exits(0, &["train", &pipeline_of(whole.path(), "mode: window, window: 3", train)]);
    let expected = files(&whole.path().join("models/m/1"));
    assert!(expected.contains_key("group_3.onnx"));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = pipeline_of(folder, "mode: window, window: 3", train);
    // Each is first written when its training begins, so that the one before is over.
    let moments = [
        ".training/m/group_0_train",
        ".training/m/group_1_refit",
        ".training/m/group_2_train",
        ".training/m/fold_0_train",
        ".training/m/group_1_fold_1_train",
        // The folder is there while the version is written, and then has its name.
        "m",
        "m/1",
    ];
    let models = folder.join("models");
    let mut killed = moments.to_vec();
    killed.retain(|moment| killed_when(&file, &mut || models.join(moment).exists()));
    // The last two are short, and a training that is too fast for one of them is over.
    assert!(killed.len() >= 5, "{killed:?}");
    // Killed after it has published, it publishes nothing once more.
    let goes_on = folder.join("models/.training/m/train").exists();
    kolk_exits(0, &["train", &file]);
    assert!(files(&folder.join("models/m/1")) == expected, "after kills at {killed:?}");
    assert!(!goes_on || !folder.join("models/m/2").exists());
    assert!(!folder.join("models/.training").exists());
}
