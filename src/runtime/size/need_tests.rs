use super::super::costs::{Costs, Piece};
use super::super::limits::limits;
use super::super::sample::From;
use super::*;
use proptest::prelude::*;

/// Two microseconds a message, 600 bytes a key, 400 in a checkpoint.
fn costs() -> Costs {
    let piece =
        |name: &str, worker: f64, client: f64, replayed: bool| Piece { name: name.into(), worker, client, replayed };
    Costs {
        from: From::Made,
        batch: 4096,
        pieces: vec![
            piece("receive", 300.0, 200.0, true),
            piece("stages", 700.0, 0.0, true),
            piece("send", 500.0, 300.0, false),
        ],
        network: 500.0,
        steps: 1.0,
        message_bytes: 100.0,
        rows: 1.0,
        row_bytes: 150.0,
        keys: 400_000,
        key_bytes: 600.0,
        fixed_bytes: 100e6,
        worker_bytes: 5e6,
        stored_bytes: 400.0,
        page_keys: 128.0,
        write_rate: 1e9,
        load_rate: 500e6,
        step: (1, true),
    }
}

fn settings() -> Settings {
    Settings {
        commit_every: 0.1,
        linger: 0.005,
        checkpoint_every: 30.0,
        or_records: 1e6,
        from_topic: true,
        to_topic: true,
        transactions: true,
    }
}

fn rate(events: f64, keys: f64) -> Rate {
    Rate { events, keys, active: keys }
}

#[test]
fn known_costs_give_a_known_answer() {
    let (costs, assumed) = (costs(), Assumed { commit: 0.025, ..Assumed::default() });
    let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-3, "{a} {b}");
    near(costs.message(), 2e-6);
    near(costs.worker(), 1.5e-6);
    near(costs.replay(), 1e-6);
    let need = Need::of(&costs, rate(1e6, 1e6), &assumed, &settings()).unwrap();
    // 2 cores for the messages; 400 MB in 7 s, as fast as a million records of a partition come or sooner.
    let every: f64 = (1e6 / (1e6 / need.partitions)).min(30.0);
    near(need.checkpoints.every, every);
    near(need.checkpoints.share, 1.0);
    near(need.checkpoints.rate, 400e6 / every);
    near(need.cores, 2.0 + 0.4 / every);
    assert_eq!((need.pods, need.workers, need.partitions), (2.0, 2.0, 16.0));
    near(need.worker_rate, 0.8 / 1.5e-6);
    near(need.memory.1, 300e6);
    near(need.memory.0, 100e6 + 5e6 + 300e6 + 2.0 * 2.0 * 37.5e6 + 2.0 * WORKER);
    near(need.network.0, 250e6);
    near(need.network.2, 500e6);
    assert_eq!(need.brokers, 8.0);
    near(need.transactions.0, 40.0);
    near(need.pod.load, 200e6 / 100e6 + 200e6 / 1e9);
    near(need.pod.replay, 5e5 * every * 1e-6 / 2.0);
    near(need.pod.lost() - need.pod.restart(), 45.0);
    near(need.latency, 0.005 + 1250.0 * 1.5e-6 + 0.05 + 0.025);
}

#[test]
fn few_changes_are_written_as_changes() {
    let settings = Settings { or_records: 1e12, ..settings() };
    // 1,000 records of 100,000,000 keys between two checkpoints: each of a page of its own.
    let few = Need::of(&costs(), rate(33.3, 1e8), &Assumed::default(), &settings).unwrap().checkpoints;
    assert!((few.changed - 1e-5).abs() < 1e-7 && few.share < 0.12, "{few:?}");
    // One per 128 keys is one per page: all of it.
    let many = Need::of(&costs(), rate(1e6, 1e8), &Assumed::default(), &settings).unwrap().checkpoints;
    assert!(many.changed > 0.25 && many.share == 1.0, "{many:?}");
}

#[test]
fn memory_and_restores_need_pods_where_the_rate_does_not() {
    let many = Need::of(&costs(), rate(1000.0, 1e9), &Assumed::default(), &settings()).unwrap();
    assert!(many.cores < many.pods && many.memory.0 <= 8e9 * FILLED && many.pods > 90.0, "{many:?}");
    let quick = Assumed { restore: 10.0, ..Assumed::default() };
    let quick = Need::of(&costs(), rate(1000.0, 1e9), &quick, &settings()).unwrap();
    assert!(quick.pods > 3.0 * many.pods && quick.pod.restart() <= 10.0, "{quick:?}");
    let none = Assumed { memory: 50e6, ..Assumed::default() };
    assert_eq!(Need::of(&costs(), rate(1000.0, 1e6), &none, &settings()), None, "a process alone is larger");
}

#[test]
fn what_breaks_first_depends_on_what_there_is() {
    let first = |assumed: &Assumed, events: f64, keys: f64| {
        let need = Need::of(&costs(), rate(events, keys), assumed, &settings()).unwrap();
        limits(&need, &costs(), assumed, &settings()).first().map(|limit| limit.name)
    };
    let plain = Assumed { broker_rate: 94e6, partition_rate: 100e6, ..Assumed::default() };
    assert_eq!(first(&plain, 1e6, 1e5), Some("bytes of a broker"), "8 brokers are just enough");
    let narrow = Assumed { partition_rate: 9.4e6, broker_rate: 1e9, ..plain.clone() };
    assert_eq!(first(&narrow, 1e6, 1e5), Some("bytes of a partition"));
    let plain = Assumed { broker_rate: 1e9, ..plain };
    assert_eq!(first(&plain, 1.1e6, 1e5), Some("CPU of the pods"));
    assert_eq!(first(&plain, 1e4, 1e9), Some("memory of the pods"));
    let slow = Assumed { store_rate: 10e6, restore: 1e5, ..plain };
    assert_eq!(first(&slow, 1e5, 1e8), Some("bytes of checkpoints to the store"));
}

#[test]
fn files_need_no_brokers() {
    let settings = Settings { from_topic: false, to_topic: false, transactions: false, ..settings() };
    let need =
        Need::of(&Costs { message_bytes: 0.0, ..costs() }, rate(1e6, 1e6), &Assumed::default(), &settings).unwrap();
    assert_eq!((need.brokers, need.transactions), (0.0, (0.0, 0.0)));
}

proptest! {
    /// Twice the events or keys never need less of anything that counts. A little more may: pods and partitions are
    /// whole numbers.
    #[test]
    fn more_needs_more(events in 1e3..1e7_f64, keys in 1e3..1e9_f64, more in 2.0..10.0_f64) {
        let assumed = Assumed::default();
        let of = |events, keys| Need::of(&costs(), rate(events, keys), &assumed, &settings()).unwrap();
        let base = of(events, keys);
        for grown in [of(events * more, keys), of(events, keys * more), of(events * more, keys * more)] {
            let grows = grown.pods >= base.pods * 0.97 && grown.brokers >= base.brokers;
            prop_assert!(grows, "steps of 2 % {base:?} {grown:?}");
            prop_assert!(grown.partition_rate <= assumed.partition_rate * 1.0001);
            prop_assert!(grown.partitions >= 2.0 * grown.pods * grown.workers);
            prop_assert!(grown.cores >= base.cores * 0.8, "checkpoints of more partitions are rarer");
        }
        let limits = limits(&base, &costs(), &assumed, &settings());
        prop_assert!(limits.iter().all(|limit| limit.at >= 0.99), "{limits:?}");
        prop_assert!(limits.windows(2).all(|pair| pair[0].at <= pair[1].at));
        prop_assert!(base.partitions % (base.pods * base.workers) == 0.0);
    }
}
