//! What was measured of a pipeline on this machine.

use super::sample::From;

/// A piece of work, CPU nanoseconds per message.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// What it is.
    pub name: String,
    /// In the worker's thread.
    pub worker: f64,
    /// In threads of the Kafka client.
    pub client: f64,
    /// Whether a replay does it too.
    pub replayed: bool,
}

/// What a pipeline costs on this machine. A message is one of the topic; of files, a row.
#[derive(Debug, Clone)]
pub struct Costs {
    /// What it was measured with.
    pub from: From,
    /// Rows of the batches.
    pub batch: usize,
    /// The pieces, in order. What a message costs is their sum.
    pub pieces: Vec<Piece>,
    /// Of the stages, nanoseconds per message that ONNX Runtime took.
    pub network: f64,
    /// Steps of the network per message.
    pub steps: f64,
    /// Bytes of a message's key and payload; of files, 0.
    pub message_bytes: f64,
    /// Output rows per message.
    pub rows: f64,
    /// Bytes of an output's key and payload.
    pub row_bytes: f64,
    /// Keys that were in memory.
    pub keys: u64,
    /// Bytes of memory that a key takes.
    pub key_bytes: f64,
    /// Bytes of memory of a process without keys, with one worker.
    pub fixed_bytes: f64,
    /// Bytes of memory of the networks of each further worker.
    pub worker_bytes: f64,
    /// Bytes of a checkpoint per key.
    pub stored_bytes: f64,
    /// Keys of a page: a checkpoint of changes has whole pages.
    pub page_keys: f64,
    /// Bytes of a checkpoint that are made in a CPU second.
    pub write_rate: f64,
    /// Bytes of a checkpoint that are taken in again in a CPU second.
    pub load_rate: f64,
    /// Ticks of time between two records of a key, and whether the sample shows it.
    pub step: (i64, bool),
}

impl Costs {
    /// CPU seconds of a message.
    pub fn message(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.worker + piece.client).sum::<f64>() / 1e9
    }

    /// Seconds of the worker's thread for a message.
    pub fn worker(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.worker).sum::<f64>() / 1e9
    }

    /// Seconds of the worker's thread for a message that is replayed.
    pub fn replay(&self) -> f64 {
        self.pieces.iter().filter(|piece| piece.replayed).map(|piece| piece.worker).sum::<f64>() / 1e9
    }
}
