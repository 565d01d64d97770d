//! What breaks first: how many times the rate and the keys may grow before each limit is reached.

use super::assumed::{Assumed, Settings};
use super::costs::Costs;
use super::need::Need;

/// A limit of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// What it is of.
    pub name: &'static str,
    /// With so many times the events and keys it is reached.
    pub at: f64,
    /// What to do.
    pub remedy: &'static str,
    /// Whether more pods help, as long as there are partitions for them.
    pub pods_help: bool,
}

/// Growth that nobody asks for.
const MOST: f64 = 1e4;

/// The limits of a deployment, the nearest first.
pub fn limits(need: &Need, costs: &Costs, assumed: &Assumed, settings: &Settings) -> Vec<Limit> {
    let grown =
        |factor: f64| Need::with(costs, need.rate.times(factor), assumed, settings, need.pods, Some(need.partitions));
    // The limit as a share of what there is, which grows with the factor.
    let reached = |used: &dyn Fn(&Need) -> f64| -> f64 {
        let (mut low, mut high) = (0.0, MOST);
        if used(&grown(high)) < 1.0 {
            return high;
        }
        for _ in 0..60 {
            let middle = if low == 0.0 { high / 2.0 } else { f64::sqrt(low * high) };
            let is_over = used(&grown(middle)) >= 1.0;
            if is_over {
                high = middle;
            } else {
                low = middle;
            }
            if high / low.max(1e-9) < 1.0001 {
                break;
            }
        }
        high
    };
    let pods = "more pods, up to one worker per partition";
    let limit = |name, at, remedy, pods_help| Limit { name, at, remedy, pods_help };
    let mut all = vec![
        limit("CPU of the pods", reached(&|now| now.cores / (now.pods * assumed.cores)), pods, true),
        limit("a worker's one thread", reached(&Need::worker_load), pods, true),
        limit("memory of the pods", reached(&|now| now.memory.0 / assumed.memory), pods, true),
        limit(
            "restore of a pod",
            reached(&|now| now.pod.restart() / assumed.restore),
            "more pods, checkpoints more often (state.checkpoint_every), a faster store",
            true,
        ),
        limit(
            "bytes of checkpoints to the store",
            reached(&|now| now.checkpoints.rate / (now.pods * assumed.store_rate)),
            "more pods, or checkpoints less often (state.checkpoint_every, state.or_records)",
            true,
        ),
    ];
    if settings.from_topic {
        // Pods may be added until each partition has a worker.
        let room = need.partitions / (need.pods * need.workers);
        let first = all.iter().map(|limit| limit.at).fold(f64::INFINITY, f64::min);
        all.push(limit(
            "partitions: each has a worker",
            room * first,
            "more partitions, before there are keys: later they move keys away from their state",
            false,
        ));
        let rate = assumed.partition_rate / need.partition_rate.max(1e-9);
        all.push(limit("bytes of a partition", rate, "more partitions", false));
        all.push(limit(
            "members of the group: a rebalance takes long",
            assumed.members / (need.pods * need.workers) * first,
            "larger pods with fewer workers, or several pipelines with topics of their own",
            false,
        ));
        let taken = (need.network.0 + need.network.2) / need.brokers;
        all.push(limit("bytes of a broker", assumed.broker_rate / taken.max(1e-9), "more brokers", false));
    }
    if settings.transactions {
        // They grow with the pods, not with the rate.
        let of_broker = need.transactions.1 * assumed.replicas / need.brokers;
        all.push(limit(
            "markers of transactions",
            assumed.broker_markers / of_broker.max(1e-9) * 1.0_f64.max(need.partitions / (need.pods * need.workers)),
            "commits less often (runtime.commit_every), or more brokers",
            false,
        ));
    }
    all.retain(|limit| limit.at < MOST);
    all.sort_by(|a, b| a.at.total_cmp(&b.at));
    all
}
