//! A Kafka cluster, a store of checkpoints and processes that die, all simulated: so that the worker, the same code that runs on a
//! broker, meets thousands of schedules a minute, each of which its seed brings back.
//!
//! Lives here: logs with gaps and open transactions, the group with its generations, the coordinator of transactions with
//! epochs and requests that come late, the clock, a scheduler that decides by the dice who goes on and what goes wrong,
//! and the oracle that knows what must come out. Must not live here: anything that a worker does.
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

mod client;
mod dice;
mod group;
mod log;
mod meddling;
mod oracle;
mod plan;
mod producer;
mod scheduler;
mod store;
mod transactions;
mod work;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Faults;
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
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: {text} is no number")))
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

#[test]
fn a_seed_is_a_schedule() {
    for seed in 0..20 {
        let (a, b) = (play(seed, Faults::default(), true), play(seed, Faults::default(), true));
        assert_eq!((a.calls, a.trace), (b.calls, b.trace), "seed {seed}");
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
    // Where others came in the place of what was there, the hash shows it.
    is_refused(Meddling::Truncated, &["truncated or made anew", "compacted or changed since"]);
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
