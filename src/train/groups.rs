//! A network for each group of keys: `train.per`.
//!
//! Lives here: which keys are a group, which groups have a network of their own, and how those do beside the network of
//! all keys. Must not live here: one training (`training`), running the networks of a version (`model::executor`).
//!
//! The network of all keys is trained first. It serves whatever has no network of its own: values that the training
//! never saw, null, and groups with too few examples. Classes, vocabularies and, with `layers: auto`, layers are those
//! that it learned. Then one group after the other is trained like a training of its keys alone.

use std::collections::HashMap;
use std::ops::Range;

use super::backtest::{self, Backtest, Learned};
use super::dataset::Dataset;
use super::fit::{Event, Phase, Progress};
use super::head::Evaluation;
use super::keep::Keep;
use super::pass::Model;
use super::start::GroupStart;
use super::trained::Trained;
use super::training::{self, Given};
use super::{Network, Plan, Series};
use crate::config::Per;
use crate::error::counted;
use crate::model::{Input, ModelKind};
use crate::network::{Architecture, Tensor};
use crate::{Error, Result};

/// Groups with a network of their own at most: each is a graph in memory, once for every worker.
pub const MOST: usize = 256;
/// Examples of the train part that a group needs for a network of its own.
pub const LEAST: usize = 100;
/// The same of sequences.
pub const LEAST_SEQUENCES: usize = 20;
/// Groups that a warning names.
const NAMED: usize = 8;

/// The groups of a training.
#[derive(Debug, Clone)]
pub struct Groups {
    /// The column that tells them; `None`: each key is one.
    pub column: Option<String>,
    /// Those with a value, in the order of their texts.
    pub of: Vec<Group>,
    /// How the network of all keys alone did on the test part, by name.
    pub shared: Vec<(String, f64)>,
}

/// Keys with the same value.
#[derive(Debug, Clone)]
pub struct Group {
    /// The value.
    pub value: String,
    /// Its series among those that were trained on.
    pub series: Range<usize>,
    /// Examples in train, validation and test.
    pub examples: [usize; 3],
    /// Its own network; `None`: that of all keys serves it.
    pub own: Option<Box<Trained>>,
    /// Main figures of its test part: name, that of its own network, that of the network of all keys.
    pub figures: Vec<(String, Option<f64>, f64)>,
}

impl Group {
    /// Whether the network of all keys does better on its test part.
    pub fn is_beaten(&self) -> bool {
        matches!(self.figures.last(), Some((_, Some(own), shared)) if shared < own)
    }
}

impl Groups {
    /// What the groups are of, in words.
    pub fn of_what(&self) -> String {
        self.column.as_ref().map_or_else(|| "the key".into(), |column| format!("\"{column}\""))
    }

    /// What the user should know, a sentence each.
    fn warnings(&self) -> Vec<String> {
        let named = |groups: &[&Group]| named(&groups.iter().map(|group| group.value.as_str()).collect::<Vec<_>>());
        let of = self.of_what();
        let few: Vec<&Group> = self.of.iter().filter(|group| group.own.is_none()).collect();
        let few = (!few.is_empty()).then(|| {
            format!(
                "{} of {} values of {of} have too few examples for a network of their own ({LEAST} of the train part, \
                 {LEAST_SEQUENCES} sequences; one of validation and test): the network of all keys serves them: {}",
                few.len(),
                self.of.len(),
                named(&few)
            )
        });
        let beaten: Vec<&Group> = self.of.iter().filter(|group| group.is_beaten()).collect();
        let beaten = (!beaten.is_empty()).then(|| {
            format!(
                "of {} of {} values of {of} the network of all keys is better on the test part than their own: {}; \
                 where that is most of them, leave `per` out",
                beaten.len(),
                self.of.iter().filter(|group| group.own.is_some()).count(),
                named(&beaten)
            )
        });
        few.into_iter().chain(beaten).collect()
    }
}

/// Values for a warning.
fn named(values: &[&str]) -> String {
    let more = values.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names: Vec<String> = values.iter().take(NAMED).map(|value| super::report::name(value)).collect();
    format!("{}{more}", names.join(", "))
}

/// The value of a key's rows; `None`: they have none.
///
/// # Errors
/// Refused: it isn't the same in all of them.
fn value<'a>(series: &'a Series, per: &Per) -> Result<Option<&'a str>> {
    let Per::Column(column) = per else { return Ok(Some(&series.key)) };
    // The plan puts its column last.
    let Some(texts) = series.texts.last() else { return Ok(None) };
    let first = texts.iter().next().flatten();
    let Some(other) = texts.iter().find(|text| *text != first) else { return Ok(first) };
    let shown = |text: Option<&str>| text.map_or("no value".into(), |text| format!("{text:?}"));
    Err(Error::refused(format!(
        "train.per: key \"{}\" has {} and {} in column \"{}\": all rows of a key must have the same, since a network \
         learns from all of them",
        series.key,
        shown(first),
        shown(other),
        column.value
    )))
}

/// Puts keys with the same value one after the other, in the order of the values; those without one come last. Leaves
/// them as they are where the plan has no groups.
///
/// # Errors
/// Refused: a key with several values.
pub fn arrange(series: Vec<Series>, plan: &Plan) -> Result<Vec<Series>> {
    let Some(per) = &plan.per else { return Ok(series) };
    let place = |series: Series| {
        let value = value(&series, per)?.map(str::to_string);
        Ok(((value.is_none(), value), series))
    };
    let mut placed = series.into_iter().map(place).collect::<Result<Vec<_>>>()?;
    placed.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(placed.into_iter().map(|(_, series)| series).collect())
}

/// The values with the places of their keys.
fn ranges(series: &[Series], per: &Per) -> Result<Vec<(String, Range<usize>)>> {
    let mut ranges: Vec<(String, Range<usize>)> = Vec::new();
    for (at, series) in series.iter().enumerate() {
        let Some(value) = value(series, per)? else { continue };
        match ranges.last_mut() {
            Some((last, range)) if last == value => range.end = at + 1,
            _ => ranges.push((value.to_string(), at..at + 1)),
        }
    }
    if !ranges.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(Error::failed("the keys are not in the order of their groups: internal error, please report"));
    }
    Ok(ranges)
}

/// A group before it is trained.
struct Found {
    value: String,
    range: Range<usize>,
    examples: [usize; 3],
    /// Whether it gets a network.
    is_own: bool,
}

fn found(series: &[Series], plan: &Plan, per: &Per) -> Result<Vec<Found>> {
    let data = Dataset::new(series, plan)?;
    let sizes = data.sizes();
    let sum = |range: &Range<usize>, part: usize| sizes[range.clone()].iter().map(|parts| parts[part]).sum::<usize>();
    let validated = sum(&(0..series.len()), 1) > 0;
    let least = if plan.kind == ModelKind::Sequence { LEAST_SEQUENCES } else { LEAST };
    let found = |(value, range): (String, Range<usize>)| {
        let examples = [0, 1, 2].map(|part| sum(&range, part));
        let is_own = examples[0] >= least && (examples[1] > 0 || !validated) && examples[2] > 0;
        Found { value, range, examples, is_own }
    };
    let found: Vec<Found> = ranges(series, per)?.into_iter().map(found).collect();
    let own = found.iter().filter(|group| group.is_own).count();
    if own > MOST {
        let of = per.column().map_or("the key".into(), |column| format!("column \"{column}\""));
        return Err(Error::refused(format!(
            "train.per: {own} values of {of} have enough examples for a network, at most {MOST} are possible: group by \
             a column with fewer values, or give one network an embedding of it (`train.embeddings`)"
        )));
    }
    Ok(found)
}

/// Trains the network of all keys, and those of the groups.
///
/// # Errors
/// As [`training::train_kept`]; those of a group name it.
pub(super) fn train(
    series: &[Series],
    plan: &Plan,
    per: &Per,
    keep: &mut Keep,
    watch: &mut dyn FnMut(Event),
) -> Result<Trained> {
    backtest::check(plan)?;
    let groups = found(series, plan, per)?;
    let own: Vec<usize> = (0..groups.len()).filter(|at| groups[*at].is_own).collect();
    let (whole, lost) = (plan, lost(plan, &groups));
    lost.iter().for_each(|lost| watch(Event::Warning(lost)));
    // The time is shared by all of them alike.
    let networks = u32::try_from(own.len() + 1).unwrap_or(1);
    let max_time = plan.max_time.map(|most| most / networks);
    let plan = Plan { max_time, backtest: None, starts: Vec::new(), ..plan.clone() };
    let told = format!("{} with a network of its own each, and one of all keys", counted(own.len(), "group"));
    watch(Event::Note(&told));
    let of = own.len() + 1;
    let mut watch_shared = |event: Event| match event {
        Event::Progress(now) => watch(Event::Progress(Progress { group: Some((0, of)), ..now })),
        other => other.tell_of(&"all keys", watch),
    };
    let (mut shared, shared_model) = training::train_one(series, &plan, Given::Nothing, keep, &mut watch_shared)?;
    let given = given_of(&plan, &shared);
    let mut models: Vec<(usize, Model)> = Vec::new();
    let mut trained: Vec<Option<Box<Trained>>> = groups.iter().map(|_| None).collect();
    for (turn, at) in own.iter().enumerate() {
        let Found { value, range, .. } = &groups[*at];
        let name = super::report::name(value);
        keep.group(Some(*at));
        let mut watch = |event: Event| match event {
            Event::Progress(now) => watch(Event::Progress(Progress { group: Some((turn + 1, of)), ..now })),
            Event::Warning(warning) => watch(Event::Warning(&format!("{name}: {warning}"))),
            other => other.tell_of(&name, watch),
        };
        let named = |error| match error {
            Error::Refused(message) => Error::refused(format!("{name}: {message}")),
            Error::Failed(message) => Error::failed(format!("{name}: {message}")),
            other => other,
        };
        let keys = &series[range.clone()];
        let given = begun(&given, whole.starts.iter().find(|start| start.value == *value));
        let (own, model) = training::train_one(keys, &given, Given::Learned, keep, &mut watch).map_err(named)?;
        models.push((*at, model));
        trained[*at] = Some(Box::new(own));
    }
    keep.group(None);
    watch(Event::Start(Phase::Evaluate, "evaluates the networks together"));
    let united = United::of(&shared, trained.iter().flatten());
    let shared_model = united.model(&shared, &shared_model)?;
    let mut apart = Vec::new();
    for (at, model) in &models {
        let own = trained[*at].as_deref().ok_or_else(|| Error::failed("no network: internal error, please report"))?;
        apart.push((groups[*at].range.clone(), united.model(own, model)?));
    }
    united.spread(&mut shared);
    trained.iter_mut().flatten().for_each(|own| united.spread(own));
    let prepare = |data: &mut Dataset| {
        for (Found { range, .. }, own) in
            groups.iter().zip(&trained).filter_map(|(found, own)| Some((found, own.as_ref()?)))
        {
            // Its network counts its own keys.
            data.groups[range.clone()].copy_from_slice(&Dataset::groups_of(&series[range.clone()], &own.plan));
        }
    };
    let all = shared_model.with(apart);
    let mut data = Dataset::new(series, &shared.plan)?;
    prepare(&mut data);
    let evaluation = data.plan.head.evaluate(&data, &all)?;
    let folds = |section| {
        let learned = Learned { plan: &shared.plan, model: &all, prepare: &prepare };
        backtest::backtest(series, &of_folds(whole, &shared), section, &learned, keep, watch)
    };
    let backtest = whole.backtest.map(folds).transpose()?;
    let mut of = Vec::new();
    for (Found { value, range, examples, .. }, own) in groups.into_iter().zip(trained) {
        let data = Dataset::new(&series[range.clone()], &shared.plan)?;
        let beside = if examples[2] > 0 { Some(data.plan.head.evaluate(&data, &shared_model)?) } else { None };
        let figures = beside.iter().flat_map(|beside| figures(&**beside)).map(|(name, shared)| {
            let own = own.as_ref().and_then(|own| own.evaluation.metrics().get(&name).copied());
            (name, own, shared)
        });
        of.push(Group { value, series: range, examples, figures: figures.collect(), own });
    }
    let groups = Groups { column: per.column().map(str::to_string), of, shared: figures(&*shared.evaluation) };
    // What was said of the network of all keys on its test part is not what is published.
    let said = shared.evaluation.warnings();
    shared.warnings.retain(|warning| !said.contains(warning));
    let of_groups = groups.of.iter().filter_map(|group| Some((group, group.own.as_ref()?))).flat_map(|(group, own)| {
        let warnings = own.warnings.iter().skip(own.warned);
        warnings.map(|warning| format!("{}: {warning}", super::report::name(&group.value)))
    });
    let of_groups: Vec<String> = of_groups.collect();
    shared.warnings.extend(evaluation.warnings());
    shared.warnings.extend(lost);
    shared.warnings.extend(groups.warnings());
    shared.warnings.extend(of_groups);
    let of_all = shared.evaluation.metrics();
    shared.metrics.retain(|name, _| !of_all.contains_key(name));
    shared.metrics.extend(evaluation.metrics());
    shared.metrics.extend(backtest.iter().flat_map(Backtest::metrics));
    shared.backtest = backtest;
    shared.warm_up = evaluation.warm_up();
    shared.evaluation = evaluation;
    shared.groups = Some(groups);
    Ok(shared)
}

/// The main figures by name.
fn figures(evaluation: &dyn Evaluation) -> Vec<(String, f64)> {
    let metrics = evaluation.metrics();
    evaluation.figures().into_iter().filter_map(|name| metrics.get(&name).map(|value| (name.clone(), *value))).collect()
}

/// The plan of a group: that of all keys, with what their training learned of classes, vocabularies and layers.
fn given_of(plan: &Plan, shared: &Trained) -> Plan {
    let Architecture { embeddings, layers, outputs, .. } = shared.plan.architecture.clone();
    Plan {
        head: shared.plan.head.clone(),
        embeddings: shared.plan.embeddings.clone(),
        dropout: shared.plan.dropout.clone(),
        architecture: Architecture { embeddings, layers, outputs, ..plan.architecture.clone() },
        candidates: Vec::new(),
        ..plan.clone()
    }
}

/// The same, where its network goes on with that of a version: it then has the linear path of that one.
fn begun(given: &Plan, from: Option<&GroupStart>) -> Plan {
    let Some(GroupStart { architecture, keys, start, .. }) = from else { return given.clone() };
    Plan { architecture: architecture.clone(), keys: keys.clone(), start: Some(start.clone()), ..given.clone() }
}

/// The plan of the folds of a backtest: from scratch, but for layers that were chosen.
fn of_folds(plan: &Plan, shared: &Trained) -> Plan {
    let layers = shared.plan.architecture.layers.clone();
    let architecture = Architecture { layers, ..plan.architecture.clone() };
    Plan { architecture, dropout: shared.plan.dropout.clone(), candidates: Vec::new(), ..plan.clone() }
}

/// That values which had a network of their own in the version that the training goes on with have none from now on.
fn lost(plan: &Plan, groups: &[Found]) -> Option<String> {
    let is_own = |value: &str| groups.iter().any(|group| group.is_own && group.value == value);
    let lost: Vec<&str> = plan.starts.iter().map(|of| of.value.as_str()).filter(|value| !is_own(value)).collect();
    let from = &plan.starts.first().filter(|_| !lost.is_empty())?.start.from;
    Some(format!(
        "{from} has networks for values that have too few examples here for one: the network of all keys serves them from \
         now on: {}",
        named(&lost)
    ))
}

/// The features of any of the networks: what all of them are given. What a network doesn't use of them stays unused.
struct United {
    /// Each with the column that it is of.
    all: Vec<(Input, String)>,
    places: HashMap<Input, usize>,
}

impl United {
    fn of<'a>(shared: &'a Trained, own: impl Iterator<Item = &'a Box<Trained>>) -> United {
        let mut united = United { all: Vec::new(), places: HashMap::new() };
        for plan in std::iter::once(&shared.plan).chain(own.map(|own| &own.plan)) {
            for (input, column) in plan.inputs.iter().zip(&plan.columns) {
                united.places.entry(input.clone()).or_insert_with(|| {
                    united.all.push((input.clone(), column.clone()));
                    united.all.len() - 1
                });
            }
        }
        united
    }

    /// By the place of a feature in a plan, its place among all.
    fn moved(&self, plan: &Plan) -> Vec<usize> {
        plan.inputs.iter().filter_map(|input| self.places.get(input).copied()).collect()
    }

    fn architecture(&self, trained: &Trained) -> Architecture {
        let moved = self.moved(&trained.plan);
        let indices = |of: &[usize]| -> Vec<usize> { of.iter().filter_map(|at| moved.get(*at).copied()).collect() };
        let shape = &trained.architecture;
        Architecture {
            features: self.all.len(),
            network: indices(&shape.network),
            centred: indices(&shape.centred),
            skip: indices(&shape.skip),
            residual: indices(&shape.residual),
            ..shape.clone()
        }
    }

    fn tensors(&self, plan: &Plan, mut tensors: Vec<Tensor>) -> Vec<Tensor> {
        let moved = self.moved(plan);
        for (name, unused) in [("scaling/mean", 0.0), ("scaling/sd", 1.0)] {
            let Some(tensor) = tensors.iter_mut().find(|tensor| tensor.name == name) else { continue };
            let mut values = vec![unused; self.all.len()];
            moved.iter().zip(&tensor.data).for_each(|(at, value)| values[*at] = *value);
            (tensor.shape, tensor.data) = (vec![self.all.len()], values);
        }
        tensors
    }

    /// The network of a training before this.
    fn model(&self, trained: &Trained, model: &Model) -> Result<Model> {
        let tensors = self.tensors(&trained.plan, model.net.tensors());
        let net = Network::restored(&self.architecture(trained), &tensors)?;
        Ok(Model { net, scaling: model.scaling.clone(), apart: Vec::new() })
    }

    fn spread(&self, trained: &mut Trained) {
        trained.architecture = self.architecture(trained);
        trained.tensors = self.tensors(&trained.plan, std::mem::take(&mut trained.tensors));
        (trained.plan.inputs, trained.plan.columns) = self.all.iter().cloned().unzip();
        trained.plan.architecture = trained.architecture.clone();
    }
}
