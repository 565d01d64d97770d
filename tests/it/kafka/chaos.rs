//! Everything that can go wrong, under load, and then: one output per input, in order per key, with the bits of the
//! model version that made it.
//!
//! A seed says what happens in which order and with which pauses; `KOLK_CHAOS_SEED` repeats one. What the machine makes
//! of it differs from run to run, so a seed that failed is run a few times. The short form is part of `make test`, the
//! long one is `make chaos` (`KOLK_CHAOS=long`). `KOLK_CHAOS_PROTOCOL=consumer` lets the brokers assign the partitions.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::broker::{Broker, NODES, PARTITIONS};
use super::process::{Kolk, Setup};
use super::proxy::Proxy;
use super::records::*;
use super::swap::{assert_law, publish};
use crate::common::{Row, series};

/// The session's timeout is 6 s (`process.rs`): a process that sleeps for longer has lost its partitions.
const ASLEEP: Duration = Duration::from_secs(9);
/// After the last record: what a killed process left open ends by its timeout, and a backlog is worked off.
const LATE: Duration = Duration::from_secs(120);
/// Longest time from one output to the next; a busy machine needs a good part of it.
const STUCK: Duration = Duration::from_secs(90);
const EXTRA: &str = "state: { path: state/, checkpoint_every: 3s, or_records: 4000 }\nruntime: { workers: 2, instance: \"${KOLK_INSTANCE}\", model_every: 200ms }";

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// SIGKILL; a new process under the same name comes at once.
    Kill,
    /// SIGKILL three times in a row, at moments that may lie within the start and the replay.
    KillWhileStarting,
    /// SIGKILL, and no process has that name for some time: the others take over.
    KillAndLeave,
    /// SIGSTOP for longer than the session's timeout, then SIGCONT: it wakes up believing that it owns its partitions.
    Sleep,
    /// SIGSTOP for a moment: in the middle of a transaction, but within the session's timeout.
    Blink,
    /// SIGTERM; it has to drain and to end with 143; then it comes back.
    Restart,
    /// To that many processes. The group moves partitions while transactions are open.
    Scale(usize),
    /// The broker stops and comes back with its data.
    Broker,
    /// SIGSTOP to the broker for longer than a session, and for as long as a request of a transaction may take: commits
    /// time out and their outcome is unknown.
    Freeze,
    /// SIGKILL to that node of a cluster; it comes back after its partitions and coordinators have moved.
    KillNode(usize),
    /// SIGSTOP to a node until others have its partitions: it wakes up believing that it leads them.
    FreezeNode(usize),
    /// A node stops in order and comes back at once.
    RestartNode(usize),
    /// Partitions of input and output move to other nodes.
    Reassign,
    /// Somebody else takes a worker's transactional id: its open transaction is aborted under its hands, and it is
    /// fenced.
    Fence,
    /// Somebody writes records and takes them back.
    Abort,
    /// A new version of the model is published.
    Swap,
}

/// Every action once, in any order, but with the scales 2, 3, 1 in theirs.
fn round(random: &mut Random) -> Vec<Action> {
    use Action::{
        Abort, Blink, Broker, Fence, Freeze, Kill, KillAndLeave, KillWhileStarting, Restart, Scale, Sleep, Swap,
    };
    let mut actions = vec![
        Kill,
        KillWhileStarting,
        KillAndLeave,
        Sleep,
        Blink,
        Restart,
        Scale(2),
        Scale(2),
        Scale(2),
        Broker,
        Freeze,
        Fence,
        Abort,
        Abort,
        Swap,
        Swap,
    ];
    shuffle(random, &mut actions);
    let mut sizes = [2, 3, 1].into_iter();
    for action in &mut actions {
        if let Scale(size) = action {
            *size = sizes.next().unwrap_or(1);
        }
    }
    actions
}

/// On a cluster, in any order: one node is killed, another one frozen, the third restarted; in between partitions move,
/// and happens what happens to processes.
fn round_of_nodes(random: &mut Random) -> Vec<Action> {
    use Action::{Fence, FreezeNode, Kill, KillAndLeave, KillNode, Reassign, Restart, RestartNode, Scale, Sleep, Swap};
    let mut nodes: Vec<usize> = (1..=NODES).collect();
    shuffle(random, &mut nodes);
    let mut troubles = [KillNode(nodes[0]), FreezeNode(nodes[1]), RestartNode(nodes[2])];
    shuffle(random, &mut troubles);
    let [first, second, third] = troubles;
    let mut actions = vec![Kill, Fence, Restart, Sleep, KillAndLeave];
    shuffle(random, &mut actions);
    actions.truncate(3);
    vec![Scale(2), first, actions[0], Reassign, second, Swap, actions[1], third, Scale(1), actions[2]]
}

fn shuffle<T>(random: &mut Random, all: &mut [T]) {
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last as u64 + 1) as usize);
    }
}

/// Whether the long form is asked for.
pub fn is_long() -> bool {
    std::env::var("KOLK_CHAOS").is_ok_and(|form| form == "long")
}

#[test]
fn whatever_happens_every_record_counts_once() {
    // At that pace the records last as long as a round, or five; backlogs are worked off in between.
    let (keys, rows, pace) = if is_long() { (1000, 200, 700.0) } else { (500, 80, 500.0) };
    let broker = Broker::own("chaos");
    // After a broker was away, some of kolk's clients get no answer to the question whether their positions are still
    // right.
    let mut proxy = Proxy::new(&broker);
    proxy.rules(&[json!({ "keys": ["OffsetForLeaderEpoch"], "every": 2, "mode": "drop" })]);
    play(&broker, &broker.behind(&proxy), round, keys, rows, pace);
    println!("{} questions for positions were never answered", proxy.count("dropped"));
}

#[test]
fn whatever_happens_to_the_nodes_of_a_cluster() {
    // A round, or a dozen.
    let (keys, rows, pace) = if is_long() { (500, 400, 300.0) } else { (300, 50, 300.0) };
    let broker = Broker::cluster("cluster");
    play(&broker, &broker, round_of_nodes, keys, rows, pace);
}

/// Sends that many records for each of so many keys, so many a second, and lets rounds of actions happen meanwhile.
/// `kolks` is the broker as the processes see it.
fn play(broker: &Broker, kolks: &Broker, round: fn(&mut Random) -> Vec<Action>, keys: usize, rows: usize, pace: f64) {
    let seed = match std::env::var("KOLK_CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("KOLK_CHAOS_SEED: a number"),
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64,
    };
    println!("{} records of {keys} keys, {pace} a second; KOLK_CHAOS_SEED={seed} repeats this", keys * rows);

    let setup = Setup::new(kolks, "chaos", EXTRA);
    if std::env::var("KOLK_CHAOS_PROTOCOL").is_ok_and(|protocol| protocol == "consumer") {
        setup.use_consumer_protocol();
    }
    let rows = series(keys, rows);
    let (sent, round_over, given_up) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let chaos = Chaos {
        broker,
        setup: &setup,
        rows: &rows,
        round,
        reader: Reader::new(broker, &setup.output),
        random: Random(seed | 1),
        processes: vec![setup.start("p0")],
        version: 1,
        sent: &sent,
        round_over: &round_over,
        started: Instant::now(),
    };
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(broker, &setup, &rows, pace, [&round_over, &given_up], &sent));
        let _guard = OnPanic(&given_up);
        chaos.run(&|| sending.is_finished());
        sending.join().unwrap();
    });
}

/// Is set when the thread panics. A scope waits for its threads, so what they wait for must come in any case.
struct OnPanic<'a>(&'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        self.0.store(std::thread::panicking(), Ordering::Relaxed);
    }
}

/// Sends all records at a steady pace. On a machine that is busy with other things the last of them wait for the end of
/// the first round: what happens happens under load. Where the test has failed, nobody needs the rest.
fn send(
    broker: &Broker,
    setup: &Setup,
    rows: &[Row],
    pace: f64,
    [round_over, given_up]: [&AtomicBool; 2],
    sent: &AtomicUsize,
) {
    let sender = Sender::new(broker);
    let started = Instant::now();
    while sent.load(Ordering::Relaxed) < rows.len() {
        if given_up.load(Ordering::Relaxed) {
            return;
        }
        let from = sent.load(Ordering::Relaxed);
        let most = if round_over.load(Ordering::Relaxed) { rows.len() } else { rows.len() * 9 / 10 };
        let to = ((started.elapsed().as_secs_f64() * pace) as usize).min(most).max(from);
        sender.send(&setup.input, &rows[from..to]);
        sent.store(to, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(10));
    }
    sender.flush();
}

struct Chaos<'a> {
    broker: &'a Broker,
    setup: &'a Setup,
    rows: &'a [Row],
    round: fn(&mut Random) -> Vec<Action>,
    reader: Reader,
    random: Random,
    processes: Vec<Kolk>,
    /// The newest version of the model.
    version: usize,
    sent: &'a AtomicUsize,
    round_over: &'a AtomicBool,
    started: Instant,
}

impl Chaos<'_> {
    fn run(mut self, all_sent: &dyn Fn() -> bool) {
        let mut actions = 0;
        // One round, and then for as long as records come.
        'rounds: for number in 0.. {
            for action in (self.round)(&mut self.random) {
                if number > 0 && all_sent() {
                    break 'rounds;
                }
                self.act(action);
                self.breathe();
                self.revive();
                actions += 1;
            }
            self.round_over.store(true, Ordering::Relaxed);
        }
        self.say("calm");
        let until = Instant::now() + LATE;
        while self.reader.count < self.rows.len() {
            assert!(Instant::now() < until, "{} of {} outputs {LATE:?} later", self.reader.count, self.rows.len());
            self.revive();
            self.reader.follow(Duration::from_millis(100));
        }
        self.silence();

        for process in self.processes.drain(..) {
            process.stop();
        }
        self.broker.settled(&self.setup.output);
        self.reader.read(LATE);
        assert_eq!(count(self.broker, &self.setup.input), self.rows.len(), "the input, which is not kolk's");
        assert_law(self.setup, &self.reader, self.rows);
        assert!(Reader::is_empty(self.broker, &self.setup.dead), "dead letters");
        let swaps: usize = self.reader.versions.values().map(|versions| versions.len() - 1).sum();
        assert!(swaps > 0, "no partition got another version");
        self.say(&format!("{actions} actions, {swaps} swaps: one output for each record, all bits equal"));
    }

    /// Behind the last record only aborted ones: killed there, the restarts have to find the ends of all partitions.
    fn silence(&mut self) {
        self.abort();
        std::thread::sleep(Duration::from_secs(1));
        let names: Vec<String> = self.processes.iter().map(|process| process.name.clone()).collect();
        self.processes.drain(..).for_each(Kolk::kill);
        self.processes.extend(names.iter().map(|name| self.setup.start(name)));
        // Which of them gets a partition is the group's business.
        super::broker::eventually("a restart without output", || {
            let logs: String = self.processes.iter().map(Kolk::log).collect();
            let is_opened = |partition| logs.contains(&format!("partition opened partition={partition} "));
            (0..PARTITIONS).all(is_opened).then_some(())
        });
    }

    fn act(&mut self, action: Action) {
        self.say(&format!("{action:?}"));
        match action {
            Action::Kill => {
                let process = self.any();
                self.again(process);
            }
            Action::KillWhileStarting => {
                let mut process = self.any();
                for _ in 0..3 {
                    let name = process.name.clone();
                    process.kill();
                    process = self.setup.start(&name);
                    std::thread::sleep(self.pause(2500));
                }
                self.processes.push(process);
            }
            Action::KillAndLeave => {
                self.grow(2);
                let process = self.any();
                let name = process.name.clone();
                process.kill();
                let pause = self.pause(6000);
                self.reader.follow(pause);
                self.processes.push(self.setup.start(&name));
            }
            Action::Sleep => {
                // With another process, that one has partitions of it when it wakes up; without, there are none.
                let size = 1 + self.random.below(2) as usize;
                self.grow(size);
                let process = self.any();
                process.signal("STOP");
                self.reader.follow(ASLEEP);
                std::thread::sleep(Duration::from_millis(self.random.below(500)));
                process.signal("CONT");
                self.processes.push(process);
            }
            Action::Blink => {
                let process = self.any();
                process.signal("STOP");
                std::thread::sleep(self.pause(3000));
                process.signal("CONT");
                self.processes.push(process);
            }
            Action::Restart => {
                let process = self.any();
                let name = process.name.clone();
                process.stop();
                self.processes.push(self.setup.start(&name));
            }
            Action::Scale(size) => {
                self.grow(size);
                while self.processes.len() > size {
                    self.any().stop();
                }
            }
            Action::Broker => {
                let pause = self.pause(3000);
                self.broker.restart(pause);
            }
            Action::Freeze => {
                self.broker.signal("STOP");
                std::thread::sleep(Duration::from_secs(7) + self.pause(11000));
                self.broker.signal("CONT");
            }
            Action::KillNode(node) => {
                self.broker.signal_node(node, "KILL");
                let pause = Duration::from_secs(3) + self.pause(4000);
                self.reader.follow(pause);
                self.broker.start_node(node);
            }
            Action::FreezeNode(node) => {
                self.broker.signal_node(node, "STOP");
                let pause = Duration::from_secs(3) + self.pause(6000);
                self.reader.follow(pause);
                self.broker.signal_node(node, "CONT");
            }
            Action::RestartNode(node) => {
                self.broker.stop_node(node);
                self.broker.start_node(node);
            }
            Action::Reassign => {
                let shift = self.random.below(NODES as u64) as usize;
                self.broker.reassign(&[&self.setup.input, &self.setup.output], shift);
            }
            Action::Fence => {
                let process = self.any();
                fence(self.broker, &self.setup.transactional_id(&process.name, self.random.below(2)));
                self.processes.push(process);
            }
            Action::Abort => self.abort(),
            Action::Swap => {
                self.version += 1;
                publish(self.setup, self.version);
            }
        }
    }

    /// Takes out one of the processes.
    fn any(&mut self) -> Kolk {
        let at = self.random.below(self.processes.len() as u64) as usize;
        self.processes.swap_remove(at)
    }

    fn again(&mut self, process: Kolk) {
        let name = process.name.clone();
        process.kill();
        self.processes.push(self.setup.start(&name));
    }

    /// Starts processes until there are that many; each has a name of its own.
    fn grow(&mut self, size: usize) {
        for number in 0.. {
            if self.processes.len() >= size {
                return;
            }
            let name = format!("p{number}");
            if self.processes.iter().all(|process| process.name != name) {
                self.processes.push(self.setup.start(&name));
            }
        }
    }

    fn abort(&mut self) {
        let from = self.random.below(self.rows.len() as u64 - 500) as usize;
        let wrong: Vec<Row> = self.rows[from..from + 500].iter().map(|(key, ts, _)| (key.clone(), *ts, 1e6)).collect();
        send_and_abort(self.broker, &self.setup.input, &wrong);
    }

    /// No process ends on its own, except one that was started while there was no broker: that one is started again. (A
    /// broker that goes while librdkafka asks it about a group aborts the process: confluentinc/librdkafka#4605.)
    fn revive(&mut self) {
        for process in &mut self.processes {
            let excused = |log: &str| log.contains("no broker answers at") || log.contains("eonce->refcnt > 0");
            if excused(&process.log()) && process.has_ended() {
                *process = self.setup.start(&process.name);
            }
            process.assert_runs();
        }
    }

    /// Half of the time the next event happens soon, half of the time while work continues: otherwise all events would
    /// hit processes that wait for the group to notice who is dead.
    fn breathe(&mut self) {
        if self.random.below(2) == 0 {
            let pause = self.pause(1500);
            return self.reader.follow(pause);
        }
        let (before, started) = (self.reader.count, Instant::now());
        let more = 200 + self.random.below(2000) as usize;
        while self.reader.count < (before + more).min(self.sent.load(Ordering::Relaxed)) {
            assert!(started.elapsed() < STUCK, "no progress: {} read, {before} before", self.reader.count);
            self.revive();
            self.reader.follow(Duration::from_millis(100));
        }
    }

    fn pause(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.random.below(most))
    }

    fn say(&self, what: &str) {
        println!(
            "{:6.1} s  {:>6} sent {:>6} read  {} processes  {what}",
            self.started.elapsed().as_secs_f64(),
            self.sent.load(Ordering::Relaxed),
            self.reader.count,
            self.processes.len()
        );
    }
}

/// xorshift: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % most
    }
}
