//! What runs a network: ONNX Runtime.
//!
//! Lives here: the seam ([`Executor`]), ONNX Runtime's executor ([`OnnxRuntime`]) with its library ([`library`]) and a
//! loaded graph ([`Session`]), and comparing what the graph takes and gives with what is expected of it. Must not live
//! here: which rows go into a run, and what becomes of the outputs (`stage::infer`).

mod binding;
mod buffer;
mod compare;
mod convert;
pub mod device;
pub mod grouped;
pub mod library;
pub mod limits;
mod onnx_runtime;
mod ort;
mod place;
mod states;
pub mod trial;

pub use self::onnx_runtime::OnnxRuntime;
pub use self::ort::Session;
pub use buffer::Buffer;
pub(crate) use convert::bytes_of;
pub use states::{described, initial};

use crate::Result;
use crate::state::Bank;

/// Runs a network over steps of many sequences at once. It takes each sequence's state out of the bank and puts it
/// back: one that works where the bank lies needs no copies.
pub trait Executor: Send {
    /// Runs the steps; `outputs` are those of the network, in order. Without a bank every sequence begins from its
    /// initial state, and the state it ends with is dropped.
    ///
    /// # Errors
    /// Whatever keeps the network from running. State and outputs are then undefined.
    fn run(&mut self, steps: &Steps<'_>, bank: Option<&mut Bank>, outputs: &mut [Output<'_>]) -> Result<()>;
}

/// `t` steps of as many sequences as there are slots.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    /// Steps of each sequence.
    pub t: usize,
    /// Per sequence, where its state lies in the bank. With a bank, no two are the same.
    pub slots: &'a [u32],
    /// The network's inputs, in order.
    pub inputs: &'a [Input<'a>],
    /// The row of the inputs that each step takes: [t, sequences].
    pub rows: &'a [u32],
    /// The row of the outputs that each step gives: [t, sequences]; [`Steps::NONE`] where it isn't needed.
    pub gives: &'a [u32],
    /// Per sequence, whether its state is the initial one before its first step.
    pub reset: &'a [bool],
    /// Per sequence, how many of the `t` steps it takes; empty where all take `t`.
    pub lengths: &'a [u32],
}

/// Numbers that a network takes, some for each row.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// [rows, width].
    pub values: Rows<'a>,
    /// Numbers of a row.
    pub width: usize,
}

/// Rows of numbers as they are at hand; they become the type that the network takes.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Of 32 bits.
    F32(&'a [f32]),
    /// Of 64 bits.
    F64(&'a [f64]),
    /// Whole ones.
    I64(&'a [i64]),
}

/// Room for rows of numbers, which become this type.
#[derive(Debug)]
pub enum RowsMut<'a> {
    /// Of 32 bits.
    F32(&'a mut [f32]),
    /// Of 64 bits.
    F64(&'a mut [f64]),
}

/// Where the numbers go that a network gives.
#[derive(Debug)]
pub struct Output<'a> {
    /// [rows, width].
    pub values: RowsMut<'a>,
    /// Numbers of a row.
    pub width: usize,
}

impl Steps<'_> {
    /// No row.
    pub const NONE: u32 = u32::MAX;
}
