//! What a schedule consists of: how large everything is, and how often what goes wrong. Each seed turns on only some
//! kinds of trouble: together they would mostly hide each other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::bounded::Until;
use super::dice::Dice;
use super::meddling::Meddling;
use super::work::Rules;
use crate::config::Start;
use crate::metrics::Metrics;
use crate::runtime::kafka::{Faults, Settings};

/// A session of the group ends after that many milliseconds without a heartbeat.
pub const SESSION: i64 = 6_000;
/// Milliseconds after which the coordinator aborts a transaction.
pub const TRANSACTION: i64 = 20_000;
/// Milliseconds without a poll after which a member leaves the group.
pub const MAX_POLL: i64 = 60_000;
/// Milliseconds between two heartbeats at most.
pub const HEARTBEAT: i64 = 3_000;

/// How likely each kind of trouble is, per call that it can meet.
#[derive(Debug, Clone, Default)]
pub struct Odds {
    /// The process dies.
    pub kill: f64,
    /// The process stops for some seconds.
    pub freeze: f64,
    /// The transaction must be aborted.
    pub abort: f64,
    /// The outcome of a request is not known.
    pub unknown: f64,
    /// A request of a transaction is lost and repeated, successfully; the first one arrives late.
    pub repeated: f64,
    /// A partition stops delivering.
    pub stuck: f64,
    /// A call that may be repeated has no answer.
    pub none: f64,
    /// A call fails permanently.
    pub error: f64,
    /// Time jumps.
    pub jump: f64,
    /// The group's leader gives partitions to others than it must.
    pub shuffle: f64,
    /// Another worker is chosen to run.
    pub switch: f64,
}

/// The size of a schedule.
#[derive(Debug, Clone)]
pub struct Plan {
    pub partitions: u32,
    pub keys: u8,
    /// Records of the input, those of aborted transactions included.
    pub records: usize,
    /// Workers there should be, from a time on.
    pub workers: Vec<(i64, usize)>,
    /// Milliseconds for which records come and trouble may.
    pub span: i64,
    pub odds: Odds,
    /// Troubles in all.
    pub troubles: u32,
    /// Times at which the broker restarts, and for how long.
    pub restarts: Vec<(i64, i64)>,
    /// Times at which a worker is cut off from the broker, which, and for how long.
    pub cuts: Vec<(i64, usize, i64)>,
    /// Share of the input that is written in transactions, and of these how many are aborted.
    pub transactional: (f64, f64),
    /// Share of the values whose schema the registry knows only after `registry_knows` milliseconds.
    pub foreign: f64,
    pub registry_knows: i64,
    pub registry_down: Range<i64>,
    /// Milliseconds until a worker's first question to the registry is answered, and for which an unknown schema has to
    /// be missing before that is decided.
    pub registry_answers: i64,
    pub registry_grace: i64,
    /// All of the input is there from the start.
    pub backlog: bool,
    /// Records move the time of all keys of their partition on, in steps of that many milliseconds.
    pub closes: Option<i64>,
    /// Times at which a new version of the model is published.
    pub publishes: Vec<i64>,
    /// Where the run ends by itself, if it does.
    pub until: Option<Until>,
    /// When one of the topics is deleted.
    pub deletes: Option<i64>,
    /// What is changed by hand, and when.
    pub meddling: Option<(i64, Meddling)>,
    /// Milliseconds that each checkpoint takes to be read; `None`: the dice say it.
    pub loading: Option<i64>,
    /// The metrics of its processes; `None`: those of all schedules, which nobody looks at.
    pub metrics: Option<Arc<Metrics>>,
    pub settings: Settings,
}

impl Plan {
    pub fn of(dice: &mut Dice, faults: Faults) -> Plan {
        let span = dice.between(4, 24) * 1_000;
        let some = |dice: &mut Dice, most: f64| {
            if dice.chance(0.5) { most * dice.pick(&[0.1, 0.3, 1.0]) } else { 0.0 }
        };
        let odds = Odds {
            kill: some(dice, 0.01),
            freeze: some(dice, 0.006),
            abort: some(dice, 0.1),
            unknown: some(dice, 0.1),
            repeated: some(dice, 0.1),
            stuck: some(dice, 0.01),
            none: some(dice, 0.2),
            error: if dice.chance(0.2) { 0.003 } else { 0.0 },
            jump: some(dice, 0.01),
            shuffle: some(dice, 0.5),
            switch: dice.pick(&[0.05, 0.15, 0.4]),
        };
        let mut workers = vec![(0, dice.below(3) + 1)];
        let scales = if dice.chance(0.6) { dice.below(4) } else { 0 };
        for _ in 0..scales {
            workers.push((dice.between(0, span), dice.below(3) + 1));
        }
        let mut restarts = Vec::new();
        if dice.chance(0.3) {
            restarts.push((dice.between(0, span), dice.pick(&[200, 1_500, 8_000, 14_000])));
        }
        let mut cuts = Vec::new();
        if dice.chance(0.3) {
            cuts.push((dice.between(0, span), dice.below(3), dice.pick(&[500, 4_000, 9_000, 15_000])));
        }
        let down = dice.between(0, span);
        let mut plan = Plan {
            partitions: dice.between(1, 4) as u32,
            keys: dice.between(1, 4) as u8,
            records: dice.below(150) + 30,
            workers,
            span,
            odds,
            troubles: dice.below(16) as u32,
            restarts,
            cuts,
            transactional: (dice.pick(&[0.0, 0.3, 0.9]), dice.pick(&[0.2, 0.7])),
            foreign: dice.pick(&[0.0, 0.0, 0.1, 0.5]),
            registry_knows: dice.between(0, span),
            registry_down: down..down + dice.pick(&[0, 600, 7_000]),
            closes: dice.pick(&[None, Some(100), Some(2_000)]),
            publishes: if dice.chance(0.4) { vec![dice.between(0, span), dice.between(0, span)] } else { Vec::new() },
            registry_answers: dice.pick(&[0, 5, 700]),
            registry_grace: dice.pick(&[0, 300, 5_000]),
            backlog: false,
            meddling: None,
            loading: None,
            metrics: None,
            settings: settings(dice, faults),
            until: None,
            deletes: None,
        };
        if plan.partitions > 1 && dice.chance(0.15) {
            plan.deletes = Some(dice.between(0, span));
        }
        if dice.chance(0.02) {
            plan.crowd();
        } else if dice.chance(0.15) {
            plan.bound(dice);
        }
        plan
    }

    /// What records do; the number of records says whether they form sequences.
    pub fn rules(&self) -> Rules {
        Rules { closes: self.closes, sequences: self.records.is_multiple_of(3) }
    }

    /// Makes it a bounded run, which begins somewhere in the schedule; an end that is a time is before that.
    pub fn bound(&mut self, dice: &mut Dice) {
        let first = dice.between(0, self.span);
        self.workers.iter_mut().for_each(|(at, _)| *at = (*at).max(first));
        self.until = Some(if dice.chance(0.5) { Until::End } else { Until::At(dice.between(0, first)) });
    }

    /// Makes it a backlog in which every second schema is unknown: more of them than the commits of one checkpoint can
    /// hold.
    pub fn crowd(&mut self) {
        (self.partitions, self.records, self.backlog, self.deletes, self.until) = (1, 2_500, true, None, None);
        (self.foreign, self.registry_knows, self.registry_grace) = (0.5, i64::MAX, self.registry_grace.min(300));
        (self.settings.batch, self.settings.or_records) = (2_500, 1_000);
    }

    /// Without any trouble, so that a test can make one by hand.
    pub fn calm(dice: &mut Dice) -> Plan {
        Plan {
            odds: Odds { switch: 0.15, ..Odds::default() },
            workers: vec![(0, 1)],
            troubles: 0,
            restarts: Vec::new(),
            cuts: Vec::new(),
            registry_down: 0..0,
            registry_answers: 0,
            publishes: Vec::new(),
            until: None,
            deletes: None,
            ..Plan::of(dice, Faults::default())
        }
    }
}

fn settings(dice: &mut Dice, faults: Faults) -> Settings {
    let millis = Duration::from_millis;
    Settings {
        batch: dice.pick(&[1, 3, 8, 64]),
        commit_every: millis(dice.pick(&[20, 100, 500])),
        commit_bytes: dice.pick(&[60, 400, 1 << 20]),
        checkpoint_every: millis(dice.pick(&[300, 2_000, 10_000, 60_000])),
        or_records: dice.pick(&[3, 10, 1_000]),
        start: Start::Earliest,
        topics: Arc::default(),
        until: None,
        model_every: dice.pick(&[None, Some(50), Some(1_000)]).map(millis),
        idle: dice.pick(&[None, None, Some(200), Some(1_500)]).map(millis),
        silence: Duration::from_secs(12),
        grace: Duration::from_secs(30),
        faults,
    }
}
