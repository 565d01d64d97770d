//! `layers: auto`: a short list of layers, the best of which on the validation part is trained.
//!
//! Lives here: which layers are tried, for how long, and which are taken. Must not live here: a training (`fit`).
//!
//! Successive halving (Jamieson and Talwalkar 2016) by a third: all candidates are trained for 150 updates, the better
//! third of them, two at least, for 450. The best of those is what is trained then, from scratch: so the model is the
//! one that these layers give when they are written, to the bit. Counted in updates, so the same data give the same
//! choice; with `max_time` the trials take a third of that time, and the clock has a say.

use std::time::Duration;

use crate::config::{self, Length, Recurrent, TrainLayer};
use crate::error::counted;
use crate::kernel::CellKind;
use crate::network::{Architecture, Layer};
use crate::{Error, Result};

use super::Plan;
use super::dataset::Dataset;
use super::dropout::Dropout;
use super::fit::{Event, Phase, fit};
use super::keep::{Found, Keep, Record, unusable};
use super::report::figure;
use super::ridge::Linear;

/// Layers from the smallest to the largest.
const TRIED: [&[(CellKind, usize)]; 5] = [
    &[(CellKind::Gru, 32)],
    &[(CellKind::Gru, 64)],
    &[(CellKind::Lstm, 64)],
    &[(CellKind::Gru, 128)],
    &[(CellKind::Gru, 64), (CellKind::Gru, 64)],
];
/// Updates of each rung.
const RUNGS: [usize; 2] = [150, 450];
/// Candidates of each rung.
const LEFT: [usize; 2] = [TRIED.len(), 2];
/// The trials take one part in so many of `max_time`.
const PART: u32 = 3;

/// Layers that are tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The layers, those of `head` among them.
    pub layers: Vec<Layer>,
    /// What is dropped in them.
    pub dropout: Dropout,
}

/// How a candidate did.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Its layers in words.
    pub layers: String,
    /// Updates that it was trained for.
    pub updates: usize,
    /// Its best validation loss.
    pub loss: f64,
}

/// What was chosen, and how all did.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The candidates, the chosen one first, then from the longest trained and best on.
    pub tried: Vec<Tried>,
    /// The validation loss of the linear path without a network.
    pub alone: Option<f64>,
}

/// A choice, and the time that is left for the training.
#[derive(Debug, Clone)]
pub struct Picked {
    /// The layers.
    pub candidate: Candidate,
    /// How they compare.
    pub chosen: Chosen,
    /// What is left of `max_time`.
    pub time: Option<Duration>,
}

impl Chosen {
    /// The validation losses by name, for the manifest.
    pub fn metrics(&self) -> Vec<(String, f64)> {
        let all = self.tried.iter().map(|tried| (format!("layers_auto.{}", tried.layers), tried.loss));
        all.chain(self.alone.map(|alone| ("layers_auto.linear path alone".into(), alone)))
            .filter(|(_, loss)| loss.is_finite())
            .collect()
    }

    /// In a sentence.
    pub fn text(&self) -> String {
        let Some((first, others)) = self.tried.split_first() else { return String::new() };
        let of = |tried: &Tried| {
            format!("{} {} after {}", tried.layers, figure(tried.loss), counted(tried.updates, "update"))
        };
        let others: Vec<String> = others.iter().map(of).collect();
        let alone = self.alone.map(|alone| format!(", the linear path alone {}", figure(alone))).unwrap_or_default();
        format!("`layers: auto` chose {}; validation losses: {}, {}{alone}", first.layers, of(first), others.join(", "))
    }
}

/// The candidates of a `train` section.
pub fn candidates(train: &config::Train, architecture: impl Fn(&config::Train) -> Architecture) -> Vec<Candidate> {
    if !train.auto_layers {
        return Vec::new();
    }
    let of = |layers: &&[(CellKind, usize)]| {
        let layers = layers.iter().map(|(cell, units)| TrainLayer::Recurrent(Recurrent::new(*cell, *units)));
        let layers = layers.map(config::At::default_value).collect();
        let train = config::Train { layers, ..train.clone() };
        Candidate { layers: architecture(&train).layers, dropout: Dropout::new(&train) }
    };
    TRIED.iter().map(of).collect()
}

impl Plan {
    /// The plan with the layers of a candidate, and nothing more to choose.
    pub(super) fn with_layers(&self, candidate: &Candidate) -> Plan {
        let architecture = Architecture { layers: candidate.layers.clone(), ..self.architecture.clone() };
        Plan { architecture, dropout: candidate.dropout.clone(), candidates: Vec::new(), ..self.clone() }
    }
}

/// Trials that are over.
#[derive(Debug, Default)]
struct Done {
    /// Rung, candidate and updates of each.
    trials: Vec<[u64; 3]>,
    /// The best validation loss of each.
    losses: Vec<f64>,
    /// That of the linear path alone, if there is one.
    alone: Option<f64>,
}

impl Done {
    fn of(&self, rung: usize, candidate: usize) -> Option<(usize, f64)> {
        let at = self.trials.iter().position(|[r, c, _]| (*r, *c) == (rung as u64, candidate as u64))?;
        Some((self.trials[at][2] as usize, self.losses[at]))
    }

    fn put(&self, record: &mut Record) {
        record.put("trials", &self.trials.concat());
        record.put("losses", &self.losses);
        record.put("alone", &self.alone.into_iter().collect::<Vec<f64>>());
    }

    fn take(record: &Record) -> std::result::Result<Done, String> {
        let (trials, losses) = (record.take::<u64>("trials")?, record.take::<f64>("losses")?);
        let trials: Vec<[u64; 3]> = trials.as_chunks().0.to_vec();
        if trials.len() != losses.len() {
            return Err(format!("{} trials with {} losses", trials.len(), losses.len()));
        }
        Ok(Done { trials, losses, alone: record.take::<f64>("alone")?.first().copied() })
    }

    /// Those of this training that was killed.
    fn kept(keep: &mut Keep, watch: &mut dyn FnMut(Event)) -> Done {
        match keep.find_trials() {
            Found::Nothing => {}
            Found::Not(why) => watch(Event::Warning(&why)),
            Found::Checkpoint(record, path) => match Done::take(&record) {
                Ok(done) => {
                    let trials = counted(done.trials.len(), "trial");
                    let shown = path.display();
                    watch(Event::Note(&format!("layers: auto, {trials} of the training checkpoint {shown} are over")));
                    return done;
                }
                Err(why) => watch(Event::Warning(&unusable(&path, &why))),
            },
        }
        Done::default()
    }
}

/// The candidate that is best on the validation part of the data, beside this linear path. Trials that were over when
/// the training was killed are taken from `keep`.
///
/// # Errors
/// There is no validation part; those of a training.
pub fn choose(
    data: &Dataset,
    linear: Option<&Linear>,
    keep: &mut Keep,
    watch: &mut dyn FnMut(Event),
) -> Result<Picked> {
    let plan = data.plan;
    if data.sizes().iter().all(|parts| parts[1] == 0) {
        return Err(Error::refused(
            "`layers: auto` chooses by the validation loss, but no key has an example in the validation part: give \
             `split` a validation part, or write the layers",
        ));
    }
    let each = plan.max_time.map(|most| most / PART / LEFT.iter().sum::<usize>() as u32);
    let mut order: Vec<usize> = (0..plan.candidates.len()).collect();
    let mut tried: Vec<Option<Tried>> = vec![None; order.len()];
    let mut done = Done::kept(keep, watch);
    for (rung, (updates, left)) in RUNGS.into_iter().zip(LEFT).enumerate() {
        order.truncate(left);
        // The same order in each rung, whatever the losses.
        order.sort_unstable();
        for at in &order {
            let own = Plan { max_time: each, patience: None, ..plan.with_layers(&plan.candidates[*at]) };
            let own = Plan { architecture: own.architecture.single(), ..own };
            let layers = own.architecture.in_words();
            if let Some((updates, loss)) = done.of(rung, *at) {
                tried[*at] = Some(Tried { layers, updates, loss });
                continue;
            }
            watch(Event::Start(Phase::Train, &format!("layers: auto, {layers} for {updates} updates")));
            let mut end = |event: Event| match event {
                Event::Looks(looks, ends) if looks.last().is_some_and(|look| look.updates >= updates) => ends.set(true),
                Event::Progress(_) | Event::Warning(_) => watch(event),
                _ => {}
            };
            let own = Dataset::new(data.series, &own)?;
            let fitted = fit(&own, linear, Length::Open, Phase::Train, &mut Keep::nothing(), &mut end)?;
            if linear.is_some() && done.alone.is_none() {
                done.alone = fitted.model.scaled(0.0).validation_loss(data, 1);
            }
            let loss = fitted.best.validation.unwrap_or(f64::INFINITY);
            let updates = fitted.looks.last().map_or(0, |look| look.updates);
            tried[*at] = Some(Tried { layers, updates, loss });
            done.trials.push([rung as u64, *at as u64, updates as u64]);
            done.losses.push(loss);
            if let Some(why) = keep.save_trials(|record| done.put(record)) {
                watch(Event::Warning(&why));
            }
        }
        let loss = |at: &usize| tried[*at].as_ref().map_or(f64::INFINITY, |tried| tried.loss);
        // Of equals, the smaller one.
        order.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
    }
    let best = order.first().copied().unwrap_or_default();
    let chosen = tried[best].take();
    let mut others: Vec<Tried> = tried.into_iter().flatten().collect();
    others.sort_by(|a, b| b.updates.cmp(&a.updates).then(a.loss.total_cmp(&b.loss)));
    let tried = chosen.into_iter().chain(others).collect();
    let left = plan.max_time.map(|most| most - most / PART);
    Ok(Picked { candidate: plan.candidates[best].clone(), chosen: Chosen { tried, alone: done.alone }, time: left })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Split;
    use crate::train::dataset::tests::plain;
    use crate::train::plan::tests::{plan_of, section};
    use crate::train::{Series, train};

    fn series() -> Vec<Series> {
        let value = |i: usize| f64::sin(i as f64 * std::f64::consts::TAU / 12.0) + (i % 5) as f64 * 0.1;
        vec![plain("a", &(0..90).map(value).collect::<Vec<_>>())]
    }

    fn section_of(auto_layers: bool) -> config::Train {
        let mut train = section(1, &["v"]);
        (train.auto_layers, train.length, train.batch_size) = (auto_layers, Length::Updates(12), 4);
        train
    }

    /// A training that is killed in its trials goes on with those that are missing, to the same choice.
    #[test]
    fn trials_that_are_over_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (series, plan) = (series(), plan_of(&section_of(true), Some(3)));
        let data = Dataset::new(&series, &plan).unwrap();
        let hash = data.hash();
        let run = |stop: Option<usize>| {
            let mut keep = Keep::new(folder.path(), "m", std::time::Duration::ZERO);
            keep.begin(&plan, &hash);
            let mut starts = 0;
            // A panic ends it wherever it is, as a kill does.
            let picked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                choose(&data, None, &mut keep, &mut |event| {
                    if let Event::Start(..) = event {
                        assert!(Some(starts) != stop, "killed");
                        starts += 1;
                    }
                })
                .unwrap()
            }));
            (picked.ok(), starts, keep.goes_on())
        };
        let (none, starts, _) = run(Some(3));
        assert!(none.is_none() && starts == 3);
        // Seven in all: two more, then the last two, of which one is killed again.
        let (none, starts, goes_on) = run(Some(3));
        assert!(none.is_none() && starts == 3 && goes_on);
        let (picked, starts, _) = run(None);
        assert_eq!(starts, 1);
        let (again, starts, _) = run(None);
        assert_eq!(starts, 0);
        let fresh = choose(&data, None, &mut Keep::nothing(), &mut |_| {}).unwrap();
        assert_eq!(picked.unwrap().chosen, fresh.chosen);
        assert_eq!(again.unwrap().candidate, fresh.candidate);
    }

    /// The network that is published is the one of its layers, and the choice is the best of what was tried.
    #[test]
    fn the_choice_is_trained_as_if_it_were_written() {
        let mut starts = Vec::new();
        let trained = train(&series(), &plan_of(&section_of(true), Some(3)), &mut |event| {
            if let Event::Start(Phase::Train, what) = event {
                starts.push(what.to_string());
            }
        })
        .unwrap();
        let chosen = trained.chosen.as_ref().unwrap();
        assert_eq!(chosen.tried.len(), 5);
        let updates: Vec<usize> = chosen.tried.iter().map(|tried| tried.updates).collect();
        assert_eq!(updates, [450, 450, 150, 150, 150]);
        assert!(chosen.tried[0].loss <= chosen.tried[1].loss);
        // Each of the longer trained was among the best two of the short ones: seven trials, then the training.
        assert_eq!(starts.len(), 8, "{starts:?}");
        assert_eq!(starts[0], "layers: auto, GRU(32), Dense(1) for 150 updates");
        assert_eq!(chosen.tried[0].layers, trained.architecture.in_words());
        assert_eq!(trained.metrics[&format!("layers_auto.{}", chosen.tried[0].layers)], chosen.tried[0].loss);

        let layers = trained.architecture.layers.iter().map(|layer| match layer {
            Layer::Recurrent(own) => TrainLayer::Recurrent(Recurrent::new(own.cell, own.units)),
            other => panic!("{other:?}"),
        });
        let mut written = section_of(false);
        written.layers = layers.map(config::At::default_value).collect();
        let written = train(&series(), &plan_of(&written, Some(3)), &mut |_| {}).unwrap();
        assert_eq!(written.tensors, trained.tensors);
        assert!(written.chosen.is_none());
        let html = crate::train::report::html(&trained, "m").unwrap();
        assert!(html.contains(&format!("`layers: auto` chose {}", chosen.tried[0].layers)), "{html}");
    }

    #[test]
    fn without_a_validation_part_it_is_refused() {
        let mut train = section_of(true);
        train.split.value = Split::PerKey([0.8, 0.0, 0.2]);
        let error = super::super::train(&series(), &plan_of(&train, Some(3)), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("give `split` a validation part, or write the layers"), "{error}");
    }

    #[test]
    fn what_is_dropped_and_what_follows_is_that_of_each_candidate() {
        let mut train = section_of(true);
        train.head = vec![
            TrainLayer::Dropout(0.5),
            TrainLayer::Dense(config::Dense { units: 3, activation: Default::default() }),
        ];
        let plan = plan_of(&train, None);
        let words: Vec<String> = plan
            .candidates
            .iter()
            .map(|candidate| {
                let own = plan.with_layers(candidate);
                format!("{}; {}", own.architecture.in_words(), own.dropout.in_words(&own.architecture))
            })
            .collect();
        assert_eq!(words[0].split("; ").next().unwrap(), "GRU(32), Dense(3), Dense(1)");
        assert_eq!(words[4].split("; ").next().unwrap(), "GRU(64), GRU(64), Dense(3), Dense(1)");
        assert_eq!(plan.architecture.layers, plan.candidates[0].layers);
        for words in &words {
            assert!(words.contains("0.5") && words.contains("dense_0"), "{words}");
        }
    }

    #[test]
    fn a_choice_in_words() {
        let tried = |layers: &str, updates, loss| Tried { layers: layers.into(), updates, loss };
        let chosen = Chosen { tried: vec![tried("B", 450, 0.25), tried("A", 150, 0.5)], alone: Some(0.75) };
        assert_eq!(
            chosen.text(),
            "`layers: auto` chose B; validation losses: B 0.2500 after 450 updates, A 0.5000 after 150 updates, the \
             linear path alone 0.7500"
        );
    }
}
