//! The networks of a version with groups as one executor: each sequence runs through that of its group.
//!
//! Since a row has the same bits in every batch, cutting a run by groups changes none. Must not live here: which group
//! a row is of (`stage::infer`), running one network (`onnx_runtime`).

use std::collections::HashMap;
use std::sync::Arc;

use super::{Executor, Input, OnnxRuntime, Output, Rows, Session, Steps};
use crate::metrics::Metrics;
use crate::model::{Manifest, Version};
use crate::network::{Feed, Signature};
use crate::state::Bank;
use crate::{Error, Result};

/// Runs the networks of a version. The last of the inputs is the number of the group.
pub struct Grouped {
    networks: Vec<Network>,
    run: Run,
}

/// The network of a group.
struct Network {
    executor: OnnxRuntime,
    /// Its inputs among those of the version.
    takes: Vec<Taken>,
}

/// An input of a network.
struct Taken {
    /// Its place among those of the version.
    place: usize,
    /// For the input of linear paths per key: by the version's number of a key, that of the network.
    numbers: Option<Vec<i64>>,
    /// The rows of it in a run.
    rows: Vec<i64>,
}

/// The sequences of a group in a run.
#[derive(Default)]
struct Run {
    /// The group of each sequence.
    groups: Vec<u32>,
    slots: Vec<u32>,
    rows: Vec<u32>,
    gives: Vec<u32>,
    reset: Vec<bool>,
    lengths: Vec<u32>,
}

/// What runs a version: one network, or one of several by the group of a record.
///
/// # Errors
/// Refused: a graph that isn't what the manifest says or is missing.
pub fn of(version: &Version, metrics: Arc<Metrics>) -> Result<Box<dyn Executor>> {
    let manifest = &version.manifest;
    let Some(groups) = &manifest.groups else { return Ok(Box::new(OnnxRuntime::of(version, metrics)?)) };
    let interface = manifest.interface()?;
    let shared = manifest.of_shared();
    let mut networks = vec![Network::new(&version.onnx, &shared, &interface, metrics.clone())?];
    for network in &groups.networks {
        let missing = || {
            Error::refused(format!(
                "the manifest of {} names no {} under files: restore it or publish a new version",
                manifest.name, network.file
            ))
        };
        let graph = version.files.get(&network.file).ok_or_else(missing)?;
        let of = |error| match error {
            Error::Refused(message) => Error::refused(format!("{}, of \"{}\": {message}", network.file, network.value)),
            other => other,
        };
        let alone = shared.of_network(network);
        networks.push(Network::new(graph, &alone, &interface, metrics.clone()).map_err(of)?);
    }
    Ok(Box::new(Grouped { networks, run: Run::default() }))
}

impl Network {
    fn new(graph: &[u8], manifest: &Manifest, interface: &Signature, metrics: Arc<Metrics>) -> Result<Network> {
        let signature = manifest.signature()?;
        let taken = signature.inputs.iter().map(|input| {
            let all = &interface.inputs;
            let place = all.iter().position(|other| other.tensor.name == input.tensor.name).ok_or_else(misfit)?;
            let numbers = match (&interface.inputs[place].feed, &input.feed) {
                (Feed::Key(all), Feed::Key(own)) if all != own => Some(numbers(all, own)),
                _ => None,
            };
            Ok(Taken { place, numbers, rows: Vec::new() })
        });
        let takes = taken.collect::<Result<_>>()?;
        let executor = OnnxRuntime::new(Session::own(graph, &signature)?, &|_| None, metrics)?;
        Ok(Network { executor, takes })
    }

    /// Runs steps of sequences that are all of its group.
    fn run(&mut self, steps: &Steps<'_>, bank: Option<&mut Bank>, outputs: &mut [Output<'_>]) -> Result<()> {
        for taken in &mut self.takes {
            taken.translate(steps)?;
        }
        let mut inputs = Vec::with_capacity(self.takes.len());
        for taken in &self.takes {
            let given = steps.inputs.get(taken.place).copied().ok_or_else(misfit)?;
            let own = Input { values: Rows::I64(&taken.rows), ..given };
            inputs.push(if taken.numbers.is_some() { own } else { given });
        }
        self.executor.run(&Steps { inputs: &inputs, ..*steps }, bank, outputs)
    }
}

/// By the place of a key among all, from 1, its place among a network's own; 0: it is none of those.
fn numbers(all: &[String], own: &[String]) -> Vec<i64> {
    let places: HashMap<&str, i64> = own.iter().map(String::as_str).zip(1..).collect();
    std::iter::once(0).chain(all.iter().map(|key| places.get(key.as_str()).copied().unwrap_or(0))).collect()
}

impl Taken {
    /// The rows that a run takes, in the network's own numbers.
    fn translate(&mut self, steps: &Steps<'_>) -> Result<()> {
        let Some(numbers) = &self.numbers else { return Ok(()) };
        let Some(Input { values: Rows::I64(given), .. }) = steps.inputs.get(self.place) else { return Err(misfit()) };
        self.rows.resize(given.len(), 0);
        for row in steps.rows {
            let row = *row as usize;
            self.rows[row] = usize::try_from(given[row]).ok().and_then(|at| numbers.get(at)).copied().unwrap_or(0);
        }
        Ok(())
    }
}

impl Executor for Grouped {
    fn run(&mut self, steps: &Steps<'_>, mut bank: Option<&mut Bank>, outputs: &mut [Output<'_>]) -> Result<()> {
        let Grouped { networks, run } = self;
        let Some(Input { values: Rows::I64(of_rows), .. }) = steps.inputs.last() else { return Err(misfit()) };
        let count = steps.slots.len();
        // The last step's: a sequence that is shorter than a run repeats its last row.
        let last = steps.rows.len().checked_sub(count).ok_or_else(misfit)?;
        run.groups.clear();
        run.groups.extend(steps.rows[last..].iter().map(|row| of_rows[*row as usize] as u32));
        let Some(first) = run.groups.first().copied() else { return Err(misfit()) };
        if run.groups.iter().all(|group| *group == first) {
            return networks.get_mut(first as usize).ok_or_else(misfit)?.run(steps, bank, outputs);
        }
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|sequence| run.groups[*sequence]);
        let groups = std::mem::take(&mut run.groups);
        for sequences in order.chunk_by(|a, b| groups[*a] == groups[*b]) {
            let network = networks.get_mut(groups[sequences[0]] as usize).ok_or_else(misfit)?;
            run.take(steps, sequences);
            network.run(&run.steps(steps), bank.as_deref_mut(), outputs)?;
        }
        run.groups = groups;
        Ok(())
    }
}

impl Run {
    /// Those sequences of a run.
    fn take(&mut self, steps: &Steps<'_>, sequences: &[usize]) {
        let count = steps.slots.len();
        let all = |from: &[u32], to: &mut Vec<u32>| {
            to.clear();
            to.extend(from.chunks_exact(count).flat_map(|step| sequences.iter().map(|sequence| step[*sequence])));
        };
        all(steps.slots, &mut self.slots);
        all(steps.rows, &mut self.rows);
        all(steps.gives, &mut self.gives);
        all(steps.lengths, &mut self.lengths);
        self.reset.clear();
        self.reset.extend(sequences.iter().map(|sequence| steps.reset[*sequence]));
    }

    /// As steps.
    fn steps<'a>(&'a self, of: &Steps<'a>) -> Steps<'a> {
        let Run { slots, rows, gives, reset, lengths, .. } = self;
        Steps { t: of.t, slots, inputs: of.inputs, rows, gives, reset, lengths }
    }
}

fn misfit() -> Error {
    Error::failed("the executor of groups got other inputs than its networks take: internal error, please report")
}
