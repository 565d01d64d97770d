//! Networks that differ in their seed alone, trained one after the other, and their mean.
//!
//! Lives here: what each member's plan is, and what becomes of them together. Must not live here: one training (`fit`),
//! how a mean runs (`network`).
//!
//! A member is the network that its seed gives without the others: the first has `seed`, the next `seed + 1`, and so
//! on. What is averaged are the outputs before the softmax: so probabilities are the normalised geometric mean of the
//! members', forecasts and classes are one formula, and the graph has one softmax.

use std::collections::BTreeMap;

use crate::config::Length;
use crate::{Error, Result};

use super::dataset::Dataset;
use super::fit::{Event, Fitted, Member, Phase, Progress, fit};
use super::keep::Keep;
use super::pass::Model;
use super::ridge::Linear;
use super::trained::Look;
use super::{Network, Plan, Series};

/// How one member did.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberResult {
    /// Its seed.
    pub seed: u64,
    /// The look whose weights were kept.
    pub best: Look,
    /// Its validation loss by itself, as the mean's is measured.
    pub validation: Option<f64>,
    /// The head's main figures of the test part by name.
    pub figures: BTreeMap<String, f64>,
}

/// Trains every member of the plan, for as long as `length` says of each. `series`: those of `data`; `everything`:
/// whether all of them are the train part.
pub fn fit_members(
    (series, everything): (&[Series], bool),
    data: &Dataset,
    linear: Option<&Linear>,
    length: &dyn Fn(usize) -> Length,
    phase: Phase,
    keep: &mut Keep,
    watch: &mut dyn FnMut(Event),
) -> Result<Vec<Fitted>> {
    let of = data.plan.architecture.members;
    if of == 1 {
        return Ok(vec![fit(data, linear, length(0), phase, keep, watch)?]);
    }
    let mut fitted = Vec::with_capacity(of);
    for at in 0..of {
        let plan = data.plan.member(at);
        let data = match everything {
            true => Dataset::everything(series, &plan)?,
            false => Dataset::new(series, &plan)?,
        };
        let member = Member { at, of, seed: plan.seed };
        keep.member(at);
        let mut watch = |event: Event| match event {
            Event::Progress(now) => watch(Event::Progress(Progress { member: Some(member), ..now })),
            other => other.tell_of(&member, watch),
        };
        fitted.push(fit(&data, linear, length(at), phase, keep, &mut watch)?);
    }
    keep.member(0);
    Ok(fitted)
}

/// The mean of the members.
pub fn mean(fitted: &[Fitted]) -> Result<Model> {
    let nets = fitted.iter().map(|fitted| fitted.model.net.clone()).collect();
    let nothing = || Error::failed("trained no network: internal error, please report");
    let net = if fitted.len() > 1 { Network::mean_of(nets) } else { nets.into_iter().next() };
    Ok(Model {
        net: net.ok_or_else(nothing)?,
        scaling: fitted.first().ok_or_else(nothing)?.model.scaling.clone(),
        apart: Vec::new(),
    })
}

/// How each member did by itself, with its part scaled as that of the mean; nothing where there is one.
pub fn results(data: &Dataset, fitted: &[Fitted], share: Option<f64>) -> Result<Vec<MemberResult>> {
    if fitted.len() < 2 {
        return Ok(Vec::new());
    }
    let result = |(at, fitted): (usize, &Fitted)| {
        let model = share.map_or_else(|| fitted.model.clone(), |share| fitted.model.scaled(share));
        let evaluation = data.plan.head.evaluate(data, &model)?;
        let metrics = evaluation.metrics();
        let figures = evaluation.figures().into_iter().filter_map(|name| Some((name.clone(), *metrics.get(&name)?)));
        Ok(MemberResult {
            seed: data.plan.seed_of(at),
            best: fitted.best,
            validation: model.validation_loss(data, 1),
            figures: figures.collect(),
        })
    };
    fitted.iter().enumerate().map(result).collect()
}

impl Plan {
    /// The seed of a member.
    pub fn seed_of(&self, member: usize) -> u64 {
        self.seed.wrapping_add(member as u64)
    }

    /// What a member is trained by: its own seed, its own numbers of a version to go on with, its share of the time.
    pub(super) fn member(&self, at: usize) -> Plan {
        let of = self.architecture.members;
        Plan {
            architecture: self.architecture.single(),
            seed: self.seed_of(at),
            start: self.start.as_ref().map(|start| start.member(at, of)),
            max_time: self.max_time.map(|most| most / u32::try_from(of).unwrap_or(1).max(1)),
            ..self.clone()
        }
    }
}
