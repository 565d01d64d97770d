//! Groups whose partitions the brokers assign (KIP-848, `group.protocol: consumer`).

use std::time::Duration;

use super::broker::{Broker, PARTITIONS, eventually};
use super::process::{Kolk, Setup};
use super::records::*;
use crate::common::{kolk, kolk_exits, series};

const EXTRA: &str = "state: { path: state/, checkpoint_every: 1s, or_records: 500 }\n\
                     runtime: { workers: 1, instance: \"${KOLK_INSTANCE:-x}\" }";
/// A killed process is a member until its session is over, 45 s on a broker with Kafka's own settings.
const LATE: Duration = Duration::from_secs(180);

fn opened(kolk: &Kolk) -> usize {
    kolk.log().matches("partition opened").count()
}

#[test]
fn a_group_of_the_consumer_protocol_grows_and_shrinks() {
    let broker = Broker::shared();
    let setup = Setup::new(&broker, "protocol", EXTRA);
    setup.use_consumer_protocol();
    let rows = series(40, 100);
    let expected = expected(setup.path(), &rows);
    let (sender, mut reader) = (Sender::new(&broker), Reader::new(&broker, &setup.output));

    let first = setup.start("p0");
    sender.send(&setup.input, &rows[..1000]);
    reader.read_until(1000, LATE);
    assert_eq!(opened(&first), PARTITIONS as usize);
    // From 1 process to 3, while records come.
    sender.send(&setup.input, &rows[1000..1500]);
    let second = setup.start("p1");
    sender.send(&setup.input, &rows[1500..2000]);
    let third = setup.start("p2");
    eventually("partitions of the others", || (opened(&second) > 0 && opened(&third) > 0).then_some(()));
    sender.send(&setup.input, &rows[2000..2500]);
    reader.read_until(2500, LATE);
    // One of them is killed and comes back, as another member: what it had is free when its session is over.
    sender.send(&setup.input, &rows[2500..2700]);
    second.kill();
    let second = setup.start("p1");
    sender.send(&setup.input, &rows[2700..3000]);
    reader.read_until(3000, LATE);
    // Back to 1.
    sender.send(&setup.input, &rows[3000..3500]);
    third.stop();
    second.stop();
    sender.send(&setup.input, &rows[3500..]);
    reader.read_until(rows.len(), LATE);
    first.stop();

    broker.settled(&setup.output);
    reader.read(LATE);
    assert_equal(&reader.outputs, &expected);
    assert!(Reader::is_empty(&broker, &setup.dead));
    // What looks at the group from outside, and a process of the other protocol that continues.
    let file = setup.file();
    let file = file.to_str().unwrap();
    let (_, said) = kolk_exits(0, &["check", file]);
    assert!(!said.contains("group"), "{said}");
    kolk_exits(0, &["run", file, "--until", "end"]);
    setup.use_classic_protocol();
    kolk_exits(0, &["run", file, "--until", "end"]);
    assert_eq!(count(&broker, &setup.output), rows.len());
    setup.use_consumer_protocol();
    // A member that was stopped while its partitions were moving may be one until its session is over.
    eventually("a group without members", || {
        kolk(&["state", "reset", file, "--to", "0", "--yes"]).status.success().then_some(())
    });
    assert_eq!(broker.committed(&setup.group, &setup.input), vec![Some(0); PARTITIONS as usize]);
}

#[test]
fn a_broker_without_the_consumer_protocol_is_named() {
    let broker = Broker::classic("classic");
    let setup = Setup::new(&broker, "classic", EXTRA);
    setup.use_consumer_protocol();
    let (_, said) = kolk_exits(2, &["run", setup.file().to_str().unwrap()]);
    assert!(said.contains("group.protocol: consumer") && said.contains("Kafka 4.0"), "{said}");
}
