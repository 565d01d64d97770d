//! Networks of the same layers side by side, whose outputs are averaged before the linear path and the softmax.
//!
//! Lives here: how trained networks become one, and how it runs. Must not live here: how each is trained (`members` of
//! the room above); gradients are of one network.

use super::{Network, Pass, State, Workspace};
use crate::kernel::float::Float;

impl<F: Float> Network<F> {
    /// The mean of networks of the same shape and scaling. Its linear path is the mean of theirs.
    pub fn mean_of(members: Vec<Network<F>>) -> Option<Network<F>> {
        let mut members = members.into_iter();
        let mut mean = members.next()?;
        mean.others = members.collect();
        mean.shape.members = 1 + mean.others.len();
        let first = mean.skip.and_then(|skip| mean.tensors.get(skip)).map(|tensor| tensor.range.start);
        for at in first.unwrap_or(mean.parameters.len())..mean.parameters.len() {
            let others = mean.others.iter().map(|other| other.parameters[at].to_f64());
            let sum = others.fold(mean.parameters[at].to_f64(), |sum, value| sum + value);
            mean.parameters[at] = F::from_f64(sum / (1 + mean.others.len()) as f64);
        }
        Some(mean)
    }

    /// Gives every member the scaling of the first.
    pub(super) fn share_scaling(&mut self) {
        let Network { others, scaling, .. } = self;
        others.iter_mut().for_each(|other| other.scaling.clone_from(scaling));
    }

    /// How many numbers are trained, in all members; of a linear path once.
    pub fn count(&self) -> usize {
        let path: usize =
            self.tensors.iter().skip(self.skip.unwrap_or(self.tensors.len())).map(|t| t.range.len()).sum();
        self.parameters.len() + self.others.len() * (self.parameters.len() - path)
    }

    /// Runs the other members, and turns the first one's outputs in `work` into the mean of all: the sum in the order
    /// of the members, then the division, as in the graph.
    pub(super) fn average(&self, pass: Pass<'_, F>, state: &mut State<F>, work: &mut Workspace<F>) {
        let Workspace { layers, others, threads, .. } = work;
        let Some(mean) = layers.last_mut().filter(|_| !self.others.is_empty()) else { return };
        others.resize_with(self.others.len(), Workspace::default);
        let recurrent = self.shape.recurrent().count();
        for (at, (other, work)) in self.others.iter().zip(others).enumerate() {
            work.threads = threads.clone();
            let range = (at + 1) * recurrent..(at + 2) * recurrent;
            let take = |values: &mut [Vec<F>]| values.iter_mut().map(std::mem::take).collect();
            let mut own = State { h: take(&mut state.h[range.clone()]), c: take(&mut state.c[range.clone()]) };
            other.run(pass, &mut own, work);
            let made = work.layers.last().map_or(&[][..], |layer| &layer.output);
            mean.output.iter_mut().zip(made).for_each(|(sum, value)| *sum += *value);
            for (into, from) in [(&mut state.h, own.h), (&mut state.c, own.c)] {
                into[range.clone()].iter_mut().zip(from).for_each(|(into, from)| *into = from);
            }
        }
        let count = F::from_f64(self.shape.members as f64);
        mean.output.iter_mut().for_each(|sum| *sum = *sum / count);
    }
}
