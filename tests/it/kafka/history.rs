//! A topic with a history in Parquet files: the state begins with it, also where the outputs go to files.

use super::broker::Broker;
use super::process::Setup;
use super::records::{Sender, assert_equal, expected, written_until};
use crate::common::{self, series};

/// Checkpoints often, so that the second process has something to resume.
const EXTRA: &str = "state: { path: state/, checkpoint_every: 200ms }";

#[test]
fn into_files_the_state_begins_with_the_history() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "history-files", "");
    let rows = series(6, 40);
    let (old, new) = rows.split_at(120);
    common::write(&setup.path().join("old.parquet"), old, 50);
    setup.write(&broker, "parquet: { path: out/, fields: [value] }", EXTRA);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), text.replace("key: key, prop", "key: key, history: { path: old.parquet }, prop"))
        .unwrap();
    // What a run over the files alone would have made of the newer rows.
    let mut expected = expected(setup.path(), &rows);
    for (key, outputs) in &mut expected {
        outputs.drain(..old.iter().filter(|row| row.0 == *key).count());
    }
    expected.retain(|_, outputs| !outputs.is_empty());
    let sender = Sender::new(&broker);
    let out = setup.path().join("out");

    let kolk = setup.start("a");
    sender.send(&setup.input, &new[..60]);
    written_until(&out, 60);
    let log = kolk.stop();
    assert!(log.contains("the state begins with the history"), "{log}");
    // It is read once: the first commit has it.
    std::fs::remove_file(setup.path().join("old.parquet")).unwrap();
    common::write(&setup.path().join("old.parquet"), &old[..1], 50);
    let kolk = setup.start("a");
    sender.send(&setup.input, &new[60..]);
    let found = written_until(&out, new.len());
    let log = kolk.stop();
    assert!(!log.contains("the state begins with the history"), "{log}");
    assert_equal(&found, &expected);
}
