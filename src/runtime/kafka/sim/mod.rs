//! A Kafka cluster, a store of checkpoints and processes that die, all simulated: so that the worker, the same code
//! that runs on a broker, meets thousands of schedules a minute, each reproducible by its seed.
//!
//! Lives here: logs with gaps and open transactions, the group with its generations, the coordinator of transactions
//! with epochs and requests that come late, the clock, a scheduler that decides by the dice which process runs and what
//! fails, and the oracle that knows what must come out. Must not live here: anything that a worker does.
//!
//! `KOLK_SIM_SEED=n cargo test --release --lib sim:: -- --nocapture` plays one schedule again and shows its trace;
//! `KOLK_SIM_SCHEDULES=n` plays more of them than a test run does.
//!
//! ```text
//! dice ── plan ── scheduler ── client, producer, store   what a worker calls
//!                     │
//!                   world ── log, group, transactions, meddling
//!                     │
//!                   oracle ── work                       what must come out, and of what
//! ```

mod bounded;
mod client;
mod dice;
mod ending;
mod fetch;
mod group;
mod log;
mod meddling;
mod oracle;
mod plan;
mod processes;
mod producer;
mod scheduler;
mod store;
mod topics;
mod transactions;
mod work;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Faults;
use crate::metrics::Metrics;
use dice::Dice;
use meddling::Meddling;
use plan::Plan;
use scheduler::{Outcome, Sim};

/// Schedules of a test run.
const SCHEDULES: u64 = 1_000;
/// Schedules in which a mistake must show.
const ENOUGH: u64 = 2_000;

fn play(seed: u64, faults: Faults, traced: bool) -> Outcome {
    let mut dice = Dice::new(seed);
    let plan = Plan::of(&mut dice, faults);
    Sim::new(dice, plan, traced).run()
}

/// The first of some seeds whose schedule goes wrong, and the calls of all that were played.
fn search(seeds: std::ops::Range<u64>, faults: Faults) -> (Option<u64>, u64) {
    let (next, calls) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let wrong = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || seed > wrong.load(Ordering::Relaxed) {
                        break;
                    }
                    let outcome = play(seed, faults, false);
                    calls.fetch_add(outcome.calls, Ordering::Relaxed);
                    if outcome.failure.is_some() {
                        wrong.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner();
    ((wrong < u64::MAX).then_some(wrong), calls.into_inner())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: {text} is not a number")))
}

/// Plays a seed again, to show how it went.
fn told(seed: u64, faults: Faults) -> String {
    let outcome = play(seed, faults, true);
    format!("{}\nseed {seed}: {:?}", outcome.trace.join("\n"), outcome.failure)
}

#[test]
fn no_schedule_breaks_the_promise() {
    if let Some(seed) = number("KOLK_SIM_SEED") {
        let told = told(seed, Faults::default());
        println!("{told}");
        assert!(told.ends_with("None"), "{told}");
        return;
    }
    let schedules = number("KOLK_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let started = Instant::now();
    let (wrong, calls) = search(0..schedules, Faults::default());
    if let Some(seed) = wrong {
        panic!("{}\nto see it again: KOLK_SIM_SEED={seed}", told(seed, Faults::default()));
    }
    println!("{schedules} schedules, {calls} calls, {:.1} s", started.elapsed().as_secs_f64());
}

/// What a seed comes to with batches of at most that many messages.
fn seed_with(seed: u64, batch: usize) -> (u64, u64, Vec<String>) {
    let mut dice = Dice::new(seed);
    let mut plan = Plan::of(&mut dice, Faults::default());
    plan.settings.batch = batch;
    let outcome = Sim::new(dice, plan, true).run();
    (outcome.calls, outcome.digest, outcome.trace)
}

/// Only the seed may decide: not the machine, not other programs. Otherwise a failed schedule could not be reproduced.
#[test]
fn a_seed_is_a_schedule() {
    const SEEDS: u64 = 20;
    for batch in [1, 3, 64] {
        let alone: Vec<_> = (0..SEEDS).map(|seed| seed_with(seed, batch)).collect();
        std::thread::scope(|scope| {
            let play =
                |first: u64| (0..SEEDS).map(move |n| (first + n) % SEEDS).map(|seed| (seed, seed_with(seed, batch)));
            let threads: Vec<_> =
                (0..4).map(|thread| scope.spawn(move || play(thread * 5).collect::<Vec<_>>())).collect();
            for thread in threads {
                for (seed, beside) in thread.join().unwrap() {
                    assert_eq!(beside, alone[seed as usize], "seed {seed}, batches of {batch}");
                }
            }
        });
    }
}

/// A worker with a mistake in it must be found out.
fn is_found(faults: Faults) {
    let (wrong, _) = search(0..ENOUGH, faults);
    let seed = wrong.unwrap_or_else(|| panic!("{ENOUGH} schedules, and none shows {faults:?}"));
    let outcome = play(seed, faults, false);
    println!("seed {seed}: {}", outcome.failure.unwrap_or_default());
}

#[test]
fn metadata_of_the_commit_before_is_found() {
    is_found(Faults { metadata_late: true, ..Faults::default() });
}

#[test]
fn a_replay_that_emits_is_found() {
    is_found(Faults { replay_emits: true, ..Faults::default() });
}

#[test]
fn a_commit_of_revoked_partitions_is_found() {
    is_found(Faults { commit_after_revoke: true, ..Faults::default() });
}

#[test]
fn a_checkpoint_of_what_is_not_committed_is_found() {
    is_found(Faults { checkpoint_uncommitted: true, ..Faults::default() });
}

#[test]
fn outputs_of_lost_partitions_are_found() {
    is_found(Faults { resend_lost: true, ..Faults::default() });
}

#[test]
fn an_unknown_outcome_taken_for_a_failure_is_found() {
    is_found(Faults { unknown_is_failure: true, ..Faults::default() });
}

#[test]
fn a_producer_that_goes_on_while_a_request_is_on_its_way_is_found() {
    is_found(Faults { late_requests: true, ..Faults::default() });
}

#[test]
fn partitions_of_a_deleted_topic_that_are_kept_are_found() {
    is_found(Faults { keep_deleted: true, ..Faults::default() });
}

#[test]
fn a_partition_that_nobody_looks_after_is_found() {
    is_found(Faults { unwatched: true, ..Faults::default() });
}

#[test]
fn a_commit_of_another_topic_is_found() {
    let outcome = |seed| recreated(seed, Faults { topic_unasked: true, ..Faults::default() });
    let seed = (0..60).find(|seed| outcome(*seed).failure.is_some()).expect("60 schedules, and none shows it");
    println!("seed {seed}: {}", outcome(seed).failure.unwrap_or_default());
}

#[test]
fn gauges_tell_of_a_restore_from_its_begin() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let mut plan = Plan::calm(&mut dice);
        // A worker leaves, and another one takes over what it has saved, while records still come.
        (plan.span, plan.loading) = (60_000, Some(7_000));
        plan.workers = vec![(0, 1), (10_000, 0), (15_000, 1)];
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        plan.metrics = Some(metrics.clone());
        let partitions = f64::from(plan.partitions);
        let outcome = Sim::new(dice, plan, true).run();
        assert!(outcome.failure.is_none(), "{}\nseed {seed}: {:?}", outcome.trace.join("\n"), outcome.failure);
        let text = metrics.text(true).expect("metrics");
        let of = |name: &str| -> f64 {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
            value.unwrap_or_else(|| panic!("{name} in {text}"))
        };
        // Each partition is opened twice, first without a checkpoint to be read.
        let (count, seconds) = (of("kolk_restore_seconds_count"), of("kolk_restore_seconds_sum"));
        assert!(count == 2.0 * partitions && seconds >= 7.0 * partitions, "{count} restores took {seconds} s");
    }
}

/// Schedules of bounded runs alone.
fn bounded(seed: u64, faults: Faults) -> Outcome {
    let mut dice = Dice::new(seed);
    let mut plan = Plan::of(&mut dice, faults);
    plan.bound(&mut dice);
    Sim::new(dice, plan, true).run()
}

#[test]
fn a_bounded_run_does_what_is_before_its_end_and_nothing_else() {
    for seed in 0..200 {
        let outcome = bounded(seed, Faults::default());
        assert!(outcome.failure.is_none(), "{}\nseed {seed}: {:?}", outcome.trace.join("\n"), outcome.failure);
    }
}

#[test]
fn a_bounded_run_that_ends_elsewhere_is_found() {
    for faults in [Faults { ends_early: true, ..Faults::default() }, Faults { reads_beyond: true, ..Faults::default() }]
    {
        let wrong = (0..ENOUGH).find_map(|seed| bounded(seed, faults).failure);
        println!("{}", wrong.unwrap_or_else(|| panic!("{ENOUGH} schedules, and none shows {faults:?}")));
    }
}

#[test]
fn markers_that_are_never_committed_are_found() {
    is_found(Faults { markers_stay: true, ..Faults::default() });
}

#[test]
fn a_high_watermark_taken_for_the_end_is_found() {
    is_found(Faults { high_watermark: true, ..Faults::default() });
}

#[test]
fn a_swap_that_does_not_wait_is_found() {
    is_found(Faults { swap_early: true, ..Faults::default() });
}

#[test]
fn more_decisions_than_a_commit_can_hold_are_found() {
    is_found(Faults { overfill: true, ..Faults::default() });
}

#[test]
fn unknown_schemas_in_a_backlog_wait_for_checkpoints() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let mut plan = if seed < 10 { Plan::calm(&mut dice) } else { Plan::of(&mut dice, Faults::default()) };
        plan.crowd();
        let outcome = Sim::new(dice, plan, true).run();
        assert!(outcome.failure.is_none(), "{}\nseed {seed}: {:?}", outcome.trace.join("\n"), outcome.failure);
    }
}

/// What was meddled with must be refused, with one of these words, in every schedule.
fn is_refused(meddling: Meddling, words: &[&str]) {
    let mut refused = 0;
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let mut plan = Plan::calm(&mut dice);
        plan.meddling = Some((dice.between(100, plan.span), meddling));
        let outcome = Sim::new(dice, plan, true).run();
        let trace = || outcome.trace.join("\n");
        assert!(outcome.failure.is_none(), "{}\nseed {seed}: {:?}", trace(), outcome.failure);
        refused += outcome.refusals.len();
        for refusal in &outcome.refusals {
            assert!(words.iter().any(|words| refusal.contains(words)), "{}\nseed {seed}: {refusal}", trace());
        }
    }
    // In some schedules there is never anything between a checkpoint and what is committed.
    assert!(refused >= 20, "only {refused} of 60 schedules came to it");
}

/// A schedule in which the topic is deleted and created again while processes run.
fn recreated(seed: u64, faults: Faults) -> Outcome {
    let mut dice = Dice::new(seed);
    let mut plan = Plan::calm(&mut dice);
    plan.settings.faults = faults;
    plan.meddling = Some((dice.between(100, plan.span), Meddling::Recreated));
    Sim::new(dice, plan, true).run()
}

#[test]
fn a_topic_that_is_created_again_ends_the_run() {
    let mut refused = 0;
    for seed in 0..100 {
        let outcome = recreated(seed, Faults::default());
        let trace = || outcome.trace.join("\n");
        assert!(outcome.failure.is_none(), "{}\nseed {seed}: {:?}", trace(), outcome.failure);
        assert!(outcome.refusals.iter().all(|it| it.contains("was deleted and created again")), "{}", trace());
        refused += outcome.refusals.len();
    }
    assert_eq!(refused, 100, "a running process finds out");
}

/// What was meddled with doesn't matter: everything gets done, in every schedule.
fn is_gone_on_with(meddling: Meddling) {
    let mut meddled = 0;
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let mut plan = Plan::calm(&mut dice);
        plan.transactional = (0.9, 0.5);
        plan.meddling = Some((dice.between(100, plan.span), meddling));
        let outcome = Sim::new(dice, plan, true).run();
        assert!(outcome.failure.is_none(), "{}\nseed {seed}: {:?}", outcome.trace.join("\n"), outcome.failure);
        meddled += usize::from(outcome.meddled);
    }
    assert!(meddled >= 20, "only {meddled} of 60 schedules came to it");
}

#[test]
fn a_topic_that_lost_markers_only_is_gone_on_with() {
    is_gone_on_with(Meddling::Markers);
}

#[test]
fn a_topic_that_lost_what_no_replay_misses_is_gone_on_with() {
    is_gone_on_with(Meddling::Gap);
}

#[test]
fn a_topic_that_lost_what_was_never_read_is_refused() {
    is_refused(
        Meddling::Unread,
        &["never read\nto continue from the existing state (it says first what that skips or repeats): kolk state \
             adopt"],
    );
}

#[test]
fn a_topic_that_was_compacted_is_refused() {
    is_refused(Meddling::Compacted, &["compacted or changed since"]);
}

#[test]
fn a_topic_that_lost_what_is_needed_is_refused() {
    is_refused(Meddling::Retention, &["retention has removed them"]);
}

#[test]
fn a_topic_that_was_truncated_is_refused() {
    // If other records are in their place, the hash shows it.
    is_refused(Meddling::Truncated, &["truncated or created again", "compacted or changed since"]);
}

#[test]
fn a_group_without_offsets_is_refused() {
    is_refused(Meddling::Expired, &["the group has no offset"]);
}

#[test]
fn an_offset_that_was_set_by_hand_is_refused() {
    is_refused(Meddling::Reset, &["was not committed by kolk"]);
}

#[test]
fn an_offset_before_every_checkpoint_is_refused() {
    is_refused(Meddling::Rewound, &["offsets were reset by hand"]);
}

#[test]
fn state_that_was_deleted_is_refused() {
    is_refused(Meddling::StateDeleted, &["there is no checkpoint of the state"]);
}
