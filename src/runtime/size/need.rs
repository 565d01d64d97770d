//! From costs to pods, partitions, memory, bandwidth and brokers. Arithmetic only.

use super::assumed::{Assumed, Settings};
use super::costs::Costs;
use crate::state::{GRACE, checkpoint_share};

/// Pods at most, before it is said that there is no answer.
const PODS: f64 = 100_000.0;
/// Share of a pod's memory limit that is to be used.
const FILLED: f64 = 0.85;
/// Bytes that a worker holds besides state: librdkafka's fetch queue (64 MiB), messages that were gathered and outputs
/// that aren't committed yet (16 MiB each).
const WORKER: f64 = 96e6 * 1.048_576;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Messages a second.
    pub events: f64,
    /// Keys that have state.
    pub keys: f64,
    /// Those of them that have messages, all of them equally often.
    pub active: f64,
}

impl Rate {
    /// So many times as much of all.
    pub fn times(self, factor: f64) -> Rate {
        Rate { events: self.events * factor, keys: self.keys * factor, active: self.active * factor }
    }
}

/// What checkpoints take, of all partitions together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkpoints {
    /// Seconds between two of a partition.
    pub every: f64,
    /// Keys that change meanwhile, as a share of all.
    pub changed: f64,
    /// Bytes of one on average, as a share of a whole one.
    pub share: f64,
    /// Bytes a second.
    pub rate: f64,
    /// Objects a second.
    pub objects: f64,
    /// Bytes that the store holds: those that are kept, and those that were superseded lately.
    pub stored: f64,
}

/// How long a restore takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Restore {
    /// Until the group notices that a member is gone.
    pub noticed: f64,
    /// Reading checkpoints.
    pub load: f64,
    /// Replaying what came after them, at worst.
    pub replay: f64,
    /// Until what waited meanwhile is processed as well.
    pub catch_up: f64,
}

impl Restore {
    /// Until new records are processed, where nobody has to be noticed first.
    pub fn restart(&self) -> f64 {
        self.load + self.replay
    }

    /// The same where the group has to notice it.
    pub fn lost(&self) -> f64 {
        self.noticed + self.restart()
    }
}

/// What it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// At this rate.
    pub rate: Rate,
    /// CPU cores that are busy, checkpoints included.
    pub cores: f64,
    /// Messages a second that one worker can take.
    pub worker_rate: f64,
    /// Pods.
    pub pods: f64,
    /// Workers of a pod.
    pub workers: f64,
    /// Partitions of the topic.
    pub partitions: f64,
    /// Bytes of memory of a pod, and of those the state of its keys.
    pub memory: (f64, f64),
    /// Checkpoints.
    pub checkpoints: Checkpoints,
    /// Bytes a second from producers, to consumers (kolk, and one reader of the outputs), and between brokers.
    pub network: (f64, f64, f64),
    /// Bytes a second of a partition, of the topic that has more.
    pub partition_rate: f64,
    /// Brokers.
    pub brokers: f64,
    /// Transactions a second, and their markers.
    pub transactions: (f64, f64),
    /// A pod that is restored.
    pub pod: Restore,
    /// A partition that moves.
    pub partition: Restore,
    /// Seconds from a message's arrival to its output, on average.
    pub latency: f64,
}

impl Need {
    /// The smallest number of pods that is enough, and what follows from it; `None`: no number is.
    pub fn of(costs: &Costs, rate: Rate, assumed: &Assumed, settings: &Settings) -> Option<Need> {
        let mut pods = (rate.events * costs.message() / assumed.load / assumed.cores).ceil().max(1.0);
        while pods <= PODS {
            let need = Need::with(costs, rate, assumed, settings, pods, None);
            let fits = need.memory.0 <= assumed.memory * FILLED
                && need.pod.restart() <= assumed.restore
                && need.cores <= pods * assumed.cores * assumed.load
                && need.worker_load() <= assumed.load
                && need.checkpoints.rate <= pods * assumed.store_rate * assumed.load;
            if fits {
                return Some(need);
            }
            pods = (pods * 1.02).ceil().max(pods + 1.0);
        }
        None
    }

    /// With so many pods, and partitions where there are some already.
    pub fn with(
        costs: &Costs,
        rate: Rate,
        assumed: &Assumed,
        settings: &Settings,
        pods: f64,
        partitions: Option<f64>,
    ) -> Need {
        let workers = assumed.cores.ceil().max(1.0);
        let all = pods * workers;
        // What a worker does is done one after the other; a commit is waited for.
        let busy =
            settings.commit_every / (settings.commit_every + if settings.to_topic { assumed.commit } else { 0.0 });
        let worker_rate = busy / costs.worker().max(1e-12);
        let bytes_in = rate.events * costs.message_bytes;
        let bytes_out = if settings.to_topic { rate.events * costs.rows * costs.row_bytes } else { 0.0 };
        let partitions = partitions.unwrap_or_else(|| {
            let for_rate = (bytes_in.max(bytes_out) / assumed.partition_rate).ceil();
            // A whole number for each worker.
            all * (assumed.growth.max(for_rate / all)).ceil()
        });
        let checkpoints = Checkpoints::of(costs, rate, settings, partitions);
        let cores = rate.events * costs.message() + checkpoints.rate / costs.write_rate.max(1.0);
        let pod = restore(costs, rate, assumed, &checkpoints, (1.0 / pods, workers, worker_rate));
        let partition = restore(costs, rate, assumed, &checkpoints, (1.0 / partitions, 1.0, worker_rate));
        let state = rate.keys * costs.key_bytes / pods;
        // A checkpoint that is written is there as bytes, and what changes meanwhile is copied: of one partition of
        // each worker.
        let copies = 2.0 * workers * rate.keys * costs.stored_bytes.max(costs.key_bytes) / partitions;
        let fixed = costs.fixed_bytes + (workers - 1.0) * costs.worker_bytes;
        let memory = fixed + state + copies + workers * WORKER;
        let produced = bytes_in + bytes_out;
        let copied = produced * (assumed.replicas - 1.0);
        let transactions = if settings.transactions { all / settings.commit_every } else { 0.0 };
        // Outputs of a partition go to the partition with its keys; one marker more for the offsets.
        let markers = if settings.transactions { partitions / settings.commit_every + transactions } else { 0.0 };
        let topics = f64::from(u8::from(settings.from_topic) + u8::from(settings.to_topic));
        let brokers = if topics == 0.0 {
            0.0
        } else {
            let for_bytes = (produced + copied) / assumed.broker_rate;
            let for_partitions = partitions * topics * assumed.replicas / assumed.broker_partitions;
            let for_markers = markers * assumed.replicas / assumed.broker_markers;
            for_bytes.max(for_partitions).max(for_markers).ceil().max(assumed.replicas)
        };
        let batch = (rate.events / all * settings.linger).clamp(1.0, costs.batch as f64) * costs.worker();
        let waits = if settings.transactions { settings.commit_every / 2.0 + assumed.commit } else { 0.0 };
        Need {
            rate,
            cores,
            worker_rate,
            pods,
            workers,
            partitions,
            memory: (memory, state),
            checkpoints,
            network: (produced, bytes_in + bytes_out, copied),
            partition_rate: bytes_in.max(bytes_out) / partitions,
            brokers,
            transactions: (transactions, markers),
            pod,
            partition,
            latency: settings.linger + batch + waits,
        }
    }

    /// Share of its time that a worker is busy.
    pub fn worker_load(&self) -> f64 {
        self.rate.events / (self.pods * self.workers) / self.worker_rate
    }
}

impl Checkpoints {
    fn of(costs: &Costs, rate: Rate, settings: &Settings, partitions: f64) -> Checkpoints {
        let each = rate.events / partitions;
        let every = settings.checkpoint_every.min(settings.or_records / each.max(1e-9)).max(0.1);
        // Records that fall on keys at random: so many keys have none.
        let touched = rate.active * (1.0 - (-rate.events * every / rate.active.max(1.0)).exp());
        let changed = (touched / rate.keys.max(1.0)).clamp(0.0, 1.0);
        // Of a page with one changed key all is written.
        let pages = 1.0 - (1.0 - changed).powf(costs.page_keys.max(1.0));
        let share = checkpoint_share(pages);
        let whole = rate.keys * costs.stored_bytes;
        let kept = 3.0 + GRACE.as_secs_f64() / every;
        Checkpoints {
            every,
            changed,
            share,
            rate: whole * share / every,
            objects: 2.0 * partitions / every,
            stored: whole * (1.0 + share * kept),
        }
    }
}

/// The restore of a share of everything by so many workers of such a rate.
fn restore(
    costs: &Costs,
    rate: Rate,
    assumed: &Assumed,
    checkpoints: &Checkpoints,
    (share, workers, worker_rate): (f64, f64, f64),
) -> Restore {
    // A base, and deltas of up to half of it.
    let chain = if checkpoints.share < 1.0 { 1.5 } else { 1.0 };
    let bytes = rate.keys * costs.stored_bytes * chain * share;
    // First it is fetched, then taken in.
    let load = bytes / assumed.store_rate + bytes / (costs.load_rate.max(1.0) * workers);
    let events = rate.events * share;
    let replay = events * checkpoints.every * costs.replay() / workers;
    let noticed = assumed.session;
    let spare = (worker_rate * workers - events).max(worker_rate * workers * 0.01);
    Restore { noticed, load, replay, catch_up: events * (noticed + load + replay) / spare }
}

#[cfg(test)]
#[path = "need_tests.rs"]
mod tests;
