//! `score` on a topic whose rows have no regular clock, around a kill.

use super::broker::{Broker, eventually};
use super::process::Setup;
use super::records::{Sender, all};
use crate::score::{assert_joined, without_a_clock};
use rdkafka::Message;

const EXTRA: &str = "state: { path: state/, checkpoint_every: 300ms }\nruntime: { instance: \"${KOLK_INSTANCE}\" }";

#[test]
fn predictions_wait_for_their_row_through_a_kill() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "scored", EXTRA);
    let text = std::fs::read_to_string(setup.file()).unwrap();
    let scored = text.replace("mode: carry }\n", "mode: carry }\n  - score: { step: 2 }\n");
    assert_ne!(text, scored);
    std::fs::write(setup.file(), scored).unwrap();
    let rows = without_a_clock(120);
    let sender = Sender::new(&broker);
    let outputs = |count: usize| {
        eventually(&format!("{count} outputs"), || {
            Some(all(&broker, &setup.output)).filter(|messages| messages.len() >= count)
        })
    };
    let mut taken = 0;
    for to in [100, 233, rows.len()] {
        let kolk = setup.start("a");
        sender.send(&setup.input, &rows[taken..to]);
        sender.flush();
        outputs(to);
        taken = to;
        kolk.kill();
    }
    let messages = outputs(rows.len());
    assert_eq!(messages.len(), rows.len());
    assert_joined(messages.iter().map(|message| serde_json::from_slice(message.payload().unwrap()).unwrap()));
}
