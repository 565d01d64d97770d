//! A training from captured series to a network with its errors.
//!
//! Lives here: the order of things, and what is refused before it starts. Must not live here: each of the things.

use crate::config::{Length, Skip};
use crate::error::counted;
use crate::model::ModelKind;
use crate::{Error, Result};

use super::backtest::{self, Backtest, Learned};
use super::calibration::{self, calibrate};
use super::dataset::Dataset;
use super::examples;
use super::fit::{Event, Fitted, Phase};
use super::gradients::{self, Gradients, carried};
use super::groups;
use super::keep::Keep;
use super::lanes;
use super::layers::{self, Chosen};
use super::magnitude;
use super::members::{self, fit_members};
use super::pass::Model;
use super::ridge::{self, Choice};
use super::share::share;
use super::split::{Cuts, Subset};
use super::trained::{KeySplit, Trained};
use super::{Plan, Series, vocabulary};

/// Keys that a warning names.
const NAMED: usize = 8;

/// Trains on the train part, evaluates on the test part, and, if the plan says so, trains again on all data for as long
/// as was best. The same series, plan and seed give the same bits. `watch` gets what happens meanwhile.
///
/// # Errors
/// Refuses series of which no key has an example in train or in test, and a split or patience that can't be; fails
/// where the loss is no longer finite.
pub fn train(series: &[Series], plan: &Plan, watch: &mut dyn FnMut(Event)) -> Result<Trained> {
    train_kept(series, plan, &mut Keep::nothing(), watch)
}

/// The same, with checkpoints: a training that was killed goes on from them, to the same bits. They are to be removed
/// when the version is published.
///
/// # Errors
/// As [`train`].
pub fn train_kept(series: &[Series], plan: &Plan, keep: &mut Keep, watch: &mut dyn FnMut(Event)) -> Result<Trained> {
    match &plan.per {
        Some(per) => groups::train(series, plan, per, keep, watch),
        None => Ok(train_one(series, plan, Given::Nothing, keep, watch)?.0),
    }
}

/// What a plan has besides the pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// Nothing.
    Nothing,
    /// What is learned before a network: classes, vocabularies.
    Learned,
}

/// Trains one network, or the mean of several seeds; returns it with the model that was evaluated.
pub(super) fn train_one(
    series: &[Series],
    plan: &Plan,
    knows: Given,
    keep: &mut Keep,
    watch: &mut dyn FnMut(Event),
) -> Result<(Trained, Model)> {
    backtest::check(plan)?;
    let given = plan;
    let is_new = knows == Given::Nothing;
    let worded = if is_new { vocabulary::learned(series, plan)? } else { None };
    let plan = worded.as_ref().unwrap_or(plan);
    let data = Dataset::new(series, plan)?;
    let keys = key_splits(&data);
    check(&data, &keys)?;
    let learned = if is_new { plan.learned(&data)? } else { None };
    let (learned, choices) = match learned {
        Some(learned) => (Some(learned), None),
        None => with_linear(&data, watch).unzip(),
    };
    let plan = learned.as_ref().unwrap_or(plan);
    let data = if learned.is_some() { Dataset::new(series, plan)? } else { data };
    let mut warnings = magnitude::warnings(&data);
    warnings.extend(lacking(&keys, plan));
    let warned = warnings.len();
    for warning in &warnings {
        watch(Event::Warning(warning));
    }
    let data_hash = data.hash();
    let linear = choices.as_ref().map(|choices| ridge::fit(&data, choices));
    let picked = match plan.candidates.is_empty() {
        true => None,
        false => {
            keep.begin(plan, &data_hash);
            Some(layers::choose(&data, linear.as_ref(), keep, watch)?)
        }
    };
    let own = picked.as_ref().map(|picked| Plan { max_time: picked.time, ..plan.with_layers(&picked.candidate) });
    let plan = own.as_ref().unwrap_or(plan);
    let data = if own.is_some() { Dataset::new(series, plan)? } else { data };
    let chosen = picked.as_ref().map(|picked| picked.chosen.clone());
    chosen.iter().for_each(|chosen| watch(Event::Note(&chosen.text())));
    keep.begin(plan, &data_hash);
    let fitted = fit_members((series, false), &data, linear.as_ref(), &|_| plan.length, Phase::Train, keep, watch)?;
    let mut model = members::mean(&fitted)?;
    let part = linear.as_ref().and_then(|_| share(&data, &mut model));
    let path = choices.as_ref().map(|choices| path_text(choices, part));
    path.iter().for_each(|path| watch(Event::Note(path)));
    let part = part.map(|(factor, _)| factor);
    // As that of the members, before the quantiles are moved.
    let validation = if fitted.len() > 1 { model.validation_loss(&data, 1) } else { None };
    let calibration = calibrate(&data, &model);
    calibration.iter().for_each(|calibration| calibration.apply(&mut model));
    watch(Event::Start(Phase::Evaluate, "evaluates"));
    let evaluation = plan.head.evaluate(&data, &model)?;
    let members = members::results(&data, &fitted, part)?;
    let Some(first) = fitted.first() else { return Err(Error::failed("no network: internal error, please report")) };
    let gradients = Gradients { carried: carried(&data, &first.model), ..first.gradients.clone() };
    warnings.extend(calibration::warning(plan, calibration.as_ref()));
    warnings.extend(fitted.iter().find_map(|fitted| too_short(plan, fitted)));
    warnings.extend(gradients::warnings(plan, &gradients));
    warnings.extend(evaluation.warnings());
    let mut metrics = evaluation.metrics();
    let evaluated = model.clone();
    let judged = given.backtest.map(|section| (section, model.clone()));
    let (model, refit_updates) = if plan.refit {
        let (mut model, updates) = refit(series, &data, choices.as_deref(), (&fitted, part), keep, watch)?;
        // Nothing is left to calibrate on: it gets what was right before.
        calibration.iter().for_each(|calibration| calibration.apply(&mut model));
        (model, Some(updates))
    } else {
        (model, None)
    };
    metrics.extend(chosen.iter().flat_map(Chosen::metrics));
    let given = picked.as_ref().map_or_else(|| given.clone(), |picked| given.with_layers(&picked.candidate));
    let folds = |(section, model)| {
        let learned = Learned { plan, model: &model, prepare: &|_| {} };
        backtest::backtest(series, &given, section, &learned, keep, watch)
    };
    let backtest = judged.map(folds).transpose()?;
    metrics.extend(backtest.iter().flat_map(Backtest::metrics));
    let trained = Trained {
        plan: plan.clone(),
        architecture: plan.architecture.clone(),
        parameters: model.net.count(),
        tensors: model.net.tensors(),
        warm_up: evaluation.warm_up(),
        metrics,
        members,
        validation,
        looks: first.looks.clone(),
        best: first.best,
        stopped_early: first.stopped_early,
        path,
        chosen,
        refit_updates,
        evaluation,
        backtest,
        gradients,
        keys,
        warnings,
        warned,
        data_hash,
        groups: None,
    };
    Ok((trained, evaluated))
}

/// The plan with the inputs of the linear path, and the regressions chosen for it; `None` where there is none to fit.
fn with_linear(data: &Dataset, watch: &mut dyn FnMut(Event)) -> Option<(Plan, Vec<Choice>)> {
    let head = data.plan.head.forecast().filter(|_| data.plan.skip == Skip::Ridge && data.plan.start.is_none())?;
    watch(Event::Start(Phase::Linear, "fits the linear path"));
    let choices = ridge::choose(data, head);
    Some((ridge::plan(data, head, &choices), choices))
}

/// What the linear path is, and what the network adds to it.
fn path_text(choices: &[Choice], part: Option<(f64, [f64; 2])>) -> String {
    let paths: Vec<String> = choices.iter().map(Choice::text).collect();
    let adds = match part {
        None => String::new(),
        Some((0.0, _)) => {
            "; the network adds nothing to it: no share of it is clearly better on the validation part".into()
        }
        Some((factor, [alone, whole])) => format!(
            "; on the validation part its loss is {alone:.4} alone and {whole:.4} with the network, whose part is \
             scaled by {factor}"
        ),
    };
    format!("the linear path is {}{adds}", paths.join(", "))
}

/// That the loss was still falling when the length was reached, and what to write instead.
fn too_short(plan: &Plan, fitted: &Fitted) -> Option<String> {
    // Of few examples the cross-entropy falls to zero, which is no reason to go on.
    let (falls, validation) = fitted.falling.filter(|(_, validation)| *validation || !plan.head.is_text())?;
    let updates = fitted.looks.last()?.updates;
    let (ended, word, longer) = match plan.length {
        Length::Epochs(n) => {
            let (epochs, updates) = (counted(n, "epoch"), counted(updates, "update"));
            (format!("its {epochs} ({updates}) were over"), "epochs", 2 * n)
        }
        Length::Updates(n) => (format!("its {} were over", counted(n, "update")), "updates", 2 * n),
        Length::Open => (format!("the bound of {updates} updates was reached"), "", 2 * updates),
    };
    let longer = match word {
        "" => format!("write `updates: {longer}`"),
        word if validation => {
            format!("write `{word}: {longer}`, or leave `{word}` out to train until validation no longer improves")
        }
        word => format!("write `{word}: {longer}`"),
    };
    let part = if validation { "validation" } else { "train" };
    Some(format!(
        "the {part} loss was still falling by {:.1} % per tenth of the training when {ended}: {longer}",
        falls * 100.0
    ))
}

/// From scratch on everything: as many epochs as were best, or as many updates as go as often over the data. The model,
/// and the updates of its first network.
fn refit(
    series: &[Series],
    data: &Dataset,
    choices: Option<&[Choice]>,
    (best, part): (&[Fitted], Option<f64>),
    keep: &mut Keep,
    watch: &mut dyn FnMut(Event),
) -> Result<(Model, usize)> {
    let everything = Dataset::everything(series, data.plan)?;
    let count = |data: &Dataset| match data.plan.kind {
        ModelKind::Window | ModelKind::Sequence => {
            (0..series.len()).map(|s| data.origins(s, Subset::Train).count()).sum::<usize>()
        }
        ModelKind::Carry => lanes::stretches(data).iter().map(|(_, from, to)| (to - from) as usize).sum(),
    };
    let length = |member: usize| match data.plan.length {
        // Where the version that it went on with was the best, it is trained at least once on everything.
        Length::Epochs(_) => Length::Epochs(best[member].best.epoch.max(1)),
        Length::Updates(_) | Length::Open => {
            let more = count(&everything) as f64 / count(data) as f64;
            Length::Updates(((best[member].best.updates as f64 * more).round() as usize).max(1))
        }
    };
    let linear = choices.map(|choices| ridge::fit(&everything, choices));
    let refitted = fit_members((series, true), &everything, linear.as_ref(), &length, Phase::Refit, keep, watch)?;
    let mut model = members::mean(&refitted)?;
    if let Some(part) = part {
        model.net.scale_output(part as f32);
    }
    Ok((model, refitted.first().map_or(0, |first| first.best.updates)))
}

fn key_splits(data: &Dataset) -> Vec<KeySplit> {
    data.series
        .iter()
        .zip(data.sizes())
        .zip(&data.steps)
        .map(|((s, examples), steps)| KeySplit {
            key: s.key.clone(),
            rows: s.times.len(),
            usable: steps.rows.len(),
            examples,
            span: s.times.first().copied().zip(s.times.last().copied()),
        })
        .collect()
}

fn check(data: &Dataset, keys: &[KeySplit]) -> Result<()> {
    let plan = data.plan;
    for (part, index) in Subset::ALL.iter().zip(0..) {
        if *part != Subset::Validation && keys.iter().all(|key| key.examples[index] == 0) {
            return Err(Error::refused(examples::none_in(data, *part)));
        }
    }
    if plan.patience.is_some() && keys.iter().all(|key| key.examples[1] == 0) {
        return Err(Error::refused(
            "patience needs a validation part, but no key has an example in one: change split or leave patience out",
        ));
    }
    if plan.kind == ModelKind::Carry {
        let steps: usize = lanes::stretches(data).iter().map(|(_, from, to)| (to - from) as usize).sum();
        if steps / lanes::width(data, steps) <= plan.burn_in {
            return Err(Error::refused(format!(
                "burn_in takes {} of a lane, but the train part has only {steps} in all: lower burn_in",
                counted(plan.burn_in, "step")
            )));
        }
    }
    Ok(())
}

/// One sentence per combination of lacking parts, and one where no key has a validation part. Where whole keys or
/// sequences are in one part, that each lacks the others says nothing.
fn lacking(keys: &[KeySplit], plan: &Plan) -> Vec<String> {
    let mut kinds: Vec<Vec<&str>> = keys.iter().map(KeySplit::lacks).filter(|lacks| !lacks.is_empty()).collect();
    kinds.sort();
    kinds.dedup();
    let blind = keys.iter().all(|key| key.examples[1] == 0);
    let blind = blind.then(|| {
        "no key has an example in the validation part: nothing tells when to stop, so the last weights are kept; give \
         `split` a validation part"
            .to_string()
    });
    if blind.is_some() {
        kinds.retain(|lacks| lacks[..] != ["validation"]);
    }
    if plan.kind == ModelKind::Sequence || matches!(plan.split, Cuts::ByKey(_)) {
        kinds.clear();
    }
    let kinds = kinds.into_iter().map(|lacks| {
        let names: Vec<&str> = keys.iter().filter(|key| key.lacks() == lacks).map(|key| key.key.as_str()).collect();
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "{} of {} keys have no example in {}: {}{more}",
            names.len(),
            keys.len(),
            lacks.join(", "),
            names[..names.len().min(NAMED)].join(", ")
        )
    });
    blind.into_iter().chain(kinds).collect()
}
