//! Layers of many rows at once: sixteen rows side by side in a vector, all timesteps of them before the next sixteen.
//!
//! Lives here: the form that most cells run in ([`serves`]): the recurrent product with packed weights, the cell on
//! vectors of rows, and the sums over rows that gradients are; for the vectors of each processor. Must not live here:
//! formulas of a cell, and cells that mix the units of a row (`recurrent`).
//!
//! Vectors hold a unit of sixteen rows, [unit][row], so no width of a layer wastes any of them, and no operation of the
//! forward pass mixes rows: a row has the same bits whatever is beside it. Gradients are sums in an order that depends
//! on the batch alone, not on threads and not on the processor.

mod backward;
mod cells;
mod forward;
mod portable;
mod product;
mod sums;
#[cfg(test)]
mod tests;
mod trace;
#[cfg(target_arch = "x86_64")]
mod transpose;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use backward::backward;
pub(super) use cells::serves;
pub(super) use forward::forward;
pub use portable::Portable;
pub use trace::{LaneScratch, LaneTrace};
pub use vector::{LANES, Vector, Work};
pub(super) use vector::{sigmoid as sigmoid_of, tanh as tanh_of};

/// Instructions that there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of arrays.
    Portable,
}

impl Isa {
    /// All that this machine has, the best first.
    pub fn all() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(x86::has_avx512().then_some(Isa::Avx512));
            all.extend(x86::has_avx2().then_some(Isa::Avx2));
        }
        all.push(Isa::Portable);
        all
    }

    /// The best of this machine.
    pub fn best() -> Isa {
        #[cfg(target_arch = "x86_64")]
        if x86::has_avx512() {
            return Isa::Avx512;
        } else if x86::has_avx2() {
            return Isa::Avx2;
        }
        Isa::Portable
    }

    /// [`Vector::COLUMNS`] of its vectors.
    pub fn columns(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::Avx512::COLUMNS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::Avx2::COLUMNS,
            Isa::Portable => Portable::<f32>::COLUMNS,
        }
    }

    /// Runs work on its vectors; on portable ones where the machine doesn't have them.
    #[allow(unsafe_code)]
    pub fn run(self, work: impl Work<f32>) {
        match self {
            // SAFETY: found on this machine.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if x86::has_avx512() => unsafe { x86::on_avx512(work) },
            // SAFETY: found on this machine.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 if x86::has_avx2() => unsafe { x86::on_avx2(work) },
            _ => work.run::<Portable<f32>>(),
        }
    }
}
