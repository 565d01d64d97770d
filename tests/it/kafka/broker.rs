//! The broker of a test: its topics, groups and offsets, and its end and beginning again.

use std::cell::Cell;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::bindings::rd_kafka_brokers_add;
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::proxy::Proxy;

/// Partitions of a test's topic.
pub const PARTITIONS: i32 = 4;
/// Nodes of a cluster.
pub const NODES: usize = 3;
/// A broker that knows groups of the classic protocol only.
const CLASSIC: &[(&str, &str)] = &[("KOLK_KAFKA_PROTOCOLS", "classic")];
/// What a cluster is started with: a node that is away costs the tests three seconds, not Kafka's nine.
const CLUSTER: &[(&str, &str)] = &[("KOLK_KAFKA_NODES", "3"), ("KOLK_KAFKA_SESSION_MS", "3000")];
const TIMEOUT: Duration = Duration::from_secs(30);

/// A broker that runs, or a cluster of them.
pub struct Broker {
    /// `host:port`; of several nodes with commas in between.
    pub address: String,
    /// The folder of one that was started for this test alone.
    own: Option<PathBuf>,
    /// Variables of the environment that its script has.
    environment: &'static [(&'static str, &'static str)],
}

impl Broker {
    /// The broker that all tests share.
    pub fn shared() -> Broker {
        let address = std::env::var("KOLK_KAFKA").unwrap_or_else(|_| {
            panic!(
                "this test needs a Kafka: `make test` starts one, or set KOLK_KAFKA to host:port (scripts/kafka.sh start prints it)"
            )
        });
        Broker::at(&address)
    }

    /// A broker for one test, which may stop it. It stops when the value is dropped.
    pub fn own(name: &str) -> Broker {
        Broker::start(name, &[])
    }

    /// A cluster of three nodes for one test: topics with three replicas of which two have to be in sync, so that any
    /// one node may be killed, frozen or stopped.
    pub fn cluster(name: &str) -> Broker {
        Broker::start(name, CLUSTER)
    }

    /// A broker for one test, without the consumer protocol.
    pub fn classic(name: &str) -> Broker {
        Broker::start(name, CLASSIC)
    }

    fn start(name: &str, environment: &'static [(&'static str, &'static str)]) -> Broker {
        // Also where this test has a broker of its own: it is one of those that need `make test`.
        Broker::shared();
        let beside = std::env::var_os("KOLK_KAFKA_DIR").map(PathBuf::from);
        let parent = beside.as_deref().and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_path_buf);
        let folder = parent.join(unique(name));
        Broker { address: scripted(&folder, &["start"], environment), own: Some(folder), environment }
    }

    /// The same broker with the address of a proxy in front of it, for those that are to go through it.
    pub fn behind(&self, proxy: &Proxy) -> Broker {
        Broker::at(&proxy.address)
    }

    /// One that is started and stopped elsewhere.
    pub fn at(address: &str) -> Broker {
        Broker { address: address.into(), own: None, environment: &[] }
    }

    /// Where a proxy has to listen and where it has to connect, for each node.
    pub fn proxied(&self) -> Vec<(String, String)> {
        Broker::routes(self.own.as_ref().expect("a broker of its own"))
    }

    /// The same of the broker that all tests share, for which no proxy listens.
    pub fn shared_routes() -> Vec<(String, String)> {
        let folder = std::env::var_os("KOLK_KAFKA_DIR").map(PathBuf::from);
        Broker::routes(&folder.expect("KOLK_KAFKA_DIR: `make test` sets it"))
    }

    fn routes(folder: &Path) -> Vec<(String, String)> {
        let routes = script(folder, "proxied");
        let route = |line: &str| line.split_once(' ').map(|(listen, target)| (listen.to_string(), target.to_string()));
        routes.lines().map(|line| route(line).unwrap()).collect()
    }

    /// Stops the broker and starts it again on its data.
    pub fn restart(&self, pause: Duration) {
        self.restart_after(&|| std::thread::sleep(pause));
    }

    /// The same, with something to do in between.
    pub fn restart_after(&self, meanwhile: &dyn Fn()) {
        let folder = self.own.as_ref().expect("a broker of its own");
        script(folder, "stop");
        meanwhile();
        assert_eq!(script(folder, "start"), self.address);
    }

    /// Stops the broker and starts it again with another password for the user kolk.
    pub fn restart_with_password(&self, password: &str) {
        let folder = self.own.as_ref().expect("a broker of its own");
        script(folder, "stop");
        assert_eq!(scripted(folder, &["start"], &[("KOLK_KAFKA_PASSWORD", password)]), self.address);
    }

    /// Address and CA of its secure listener.
    pub fn secure(&self) -> (String, String) {
        let folder = self.own.as_ref().expect("a broker of its own");
        let told = script(folder, "secure");
        let (address, ca) = told.split_once(' ').unwrap();
        (address.to_string(), ca.to_string())
    }

    /// Changes what the user kolk may do: `--add` or `--remove`, an operation, and what on, by how it begins.
    pub fn acl(&self, change: &str, operation: &str, on: &[&str]) {
        let shared = std::env::var_os("KOLK_KAFKA_DIR").map(PathBuf::from);
        let folder = self.own.clone().or(shared).expect("KOLK_KAFKA_DIR: `make test` sets it");
        let words = ["acl", change, "--allow-principal", "User:kolk", "--operation", operation];
        scripted(&folder, &[&words[..], &["--resource-pattern-type", "prefixed"], on].concat(), &[]);
    }

    /// Sends the broker's process a signal, such as `STOP`, after which it is there and doesn't answer.
    pub fn signal(&self, signal: &str) {
        let folder = self.own.as_ref().expect("a broker of its own");
        let pid = std::fs::read_to_string(folder.join("pid")).unwrap();
        assert!(Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status().unwrap().success());
    }

    /// Sends the process of one node of a cluster a signal; nodes count from 1.
    pub fn signal_node(&self, node: usize, signal: &str) {
        let folder = self.own.as_ref().expect("a cluster of its own");
        let pid = std::fs::read_to_string(folder.join(node.to_string()).join("pid")).unwrap();
        assert!(Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status().unwrap().success());
    }

    /// Stops one node, in order.
    pub fn stop_node(&self, node: usize) {
        scripted(self.own.as_ref().expect("a cluster of its own"), &["stop", &node.to_string()], &[]);
    }

    /// Starts one node that was stopped or killed, and waits until it is ready.
    pub fn start_node(&self, node: usize) {
        let folder = self.own.as_ref().expect("a cluster of its own");
        scripted(folder, &["start", &node.to_string()], self.environment);
    }

    /// Moves the partitions of topics while they are used: to two nodes first, so that some leaders have to go, then to
    /// three again, of which one has to fetch everything.
    pub fn reassign(&self, topics: &[&str], shift: usize) {
        let folder = self.own.as_ref().expect("a cluster of its own");
        for (shift, count) in [(shift, "2"), (shift + 1, "3")] {
            scripted(folder, &[&["reassign", &shift.to_string(), count], topics].concat(), &[]);
        }
    }

    /// A configuration for a client of this broker.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        // With the defaults, a client whose broker was stopped for a while asks again only after a minute, and one
        // whose broker was frozen while it connected after twenty seconds.
        config.set("socket.timeout.ms", "10000");
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("api.version.request.timeout.ms", "3000");
        config
    }

    /// Makes a topic, with as many replicas as the broker's topics have.
    pub fn topic(&self, name: &str, settings: &[(&str, &str)]) {
        self.make(NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1)), settings);
    }

    /// Makes a topic of one partition that is on one node only.
    pub fn topic_on(&self, name: &str, node: usize) {
        let replicas = [node as i32];
        let only = ("min.insync.replicas", "1");
        self.make(NewTopic::new(name, 1, TopicReplication::Variable(&[&replicas])), &[only]);
    }

    fn make<'a>(&self, mut topic: NewTopic<'a>, settings: &[(&'a str, &'a str)]) {
        let name = topic.name;
        topic.config = settings.to_vec();
        // A topic of that name that was just deleted may not be gone altogether.
        eventually(&format!("making topic {name}"), || {
            let made = wait(self.admin().create_topics([&topic], &options())).unwrap();
            made[0].is_ok().then_some(())
        });
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, name: &str, partitions: usize) {
        let grown = NewPartitions::new(name, partitions);
        wait(self.admin().create_partitions([&grown], &options())).unwrap()[0].as_ref().unwrap();
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        wait(self.admin().delete_topics(&[name], &options())).unwrap()[0].as_ref().unwrap();
    }

    /// Deletes a group, which must have no members.
    pub fn delete_group(&self, name: &str) {
        eventually(&format!("deleting group {name}"), || {
            wait(self.admin().delete_groups(&[name], &options())).unwrap()[0].as_ref().ok().map(|_| ())
        });
    }

    /// Deletes the records of every partition before the offset given for it, as retention does.
    pub fn delete_records(&self, topic: &str, before: &[i64]) {
        let done = wait(self.admin().delete_records(&offsets(topic, before), &options())).unwrap();
        done.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Commits offsets for a group without members, as people do to reset one.
    pub fn reset_offsets(&self, group: &str, topic: &str, to: &[i64]) {
        // Refused as long as the group still knows members.
        eventually(&format!("resetting the offsets of {group}"), || {
            self.member(group).commit(&offsets(topic, to), CommitMode::Sync).ok()
        });
    }

    /// The offsets that a group has committed, one for each partition.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        // A group that is new may have no coordinator yet.
        let found = eventually("asking for committed offsets", || {
            self.member(group).committed_offsets(offsets(topic, &[-1; PARTITIONS as usize]), TIMEOUT).ok()
        });
        let offset = |partition| match found.find_partition(topic, partition).unwrap().offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        (0..PARTITIONS).map(offset).collect()
    }

    /// Where the partitions of a topic begin and end; with `committed`, where the first open transaction begins.
    pub fn ranges(&self, topic: &str, committed: bool) -> Vec<(i64, i64)> {
        let isolation = if committed { "read_committed" } else { "read_uncommitted" };
        // A client for each attempt: one that a broker told of no broker would never get an answer (see `Bootstrap`).
        eventually("asking for offsets", || {
            let consumer: BaseConsumer = self.client().set("isolation.level", isolation).create().unwrap();
            (0..PARTITIONS).map(|partition| consumer.fetch_watermarks(topic, partition, TIMEOUT).ok()).collect()
        })
    }

    /// Waits until no transaction is open on a topic.
    pub fn settled(&self, topic: &str) {
        eventually("the end of all transactions", || {
            (self.ranges(topic, true) == self.ranges(topic, false)).then_some(())
        });
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    fn member(&self, group: &str) -> BaseConsumer {
        self.client().set("group.id", group).set("enable.auto.commit", "false").create().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(folder) = &self.own {
            // What a broker has to say about a test that failed is worth keeping.
            if std::thread::panicking() {
                script(folder, "stop");
                eprintln!("left for you to look at: {}", folder.display());
            } else {
                script(folder, "clean");
            }
        }
    }
}

/// The brokers of a client that lives as long as a test does. One that a starting broker has told of no broker never
/// connects again (confluentinc/librdkafka#5301) if it isn't told of them again.
pub struct Bootstrap {
    brokers: CString,
    told: Cell<Instant>,
}

impl Bootstrap {
    pub fn new(broker: &Broker) -> Bootstrap {
        Bootstrap { brokers: CString::new(broker.address.as_str()).unwrap(), told: Cell::new(Instant::now()) }
    }

    /// Tells the client now and then.
    #[allow(unsafe_code)]
    pub fn repeat<C: ClientContext>(&self, client: &Client<C>) {
        if self.told.get().elapsed() > Duration::from_secs(5) {
            self.told.set(Instant::now());
            // SAFETY: the client is alive; the list is copied.
            unsafe { rd_kafka_brokers_add(client.native_ptr(), self.brokers.as_ptr()) };
        }
    }
}

/// A name that no other test, and no other run of this one, has.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{name}-{:x}-{:x}-{}", std::process::id(), since.as_micros(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Tries until there is an answer, for up to two minutes: a busy machine needs a good part of them.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn script(folder: &Path, word: &str) -> String {
    scripted(folder, &[word], &[])
}

fn scripted(folder: &Path, words: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh"))
        .args(words)
        .env_remove("KOLK_KAFKA_PORT")
        .env_remove("KOLK_KAFKA_NODES")
        .env("KOLK_KAFKA_DIR", folder)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "scripts/kafka.sh {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

fn offsets(topic: &str, each: &[i64]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(each) {
        let offset = if *offset < 0 { Offset::Invalid } else { Offset::Offset(*offset) };
        list.add_partition_offset(topic, partition, offset).unwrap();
    }
    list
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
