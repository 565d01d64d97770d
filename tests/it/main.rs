//! Whole runs of the binary and the library, in one test binary so that everything is linked once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod bits;
mod columns;
mod common;
mod dead_letters;
mod documents;
mod grows;
mod house;
mod http;
mod kafka;
mod kill;
mod messages;
mod official;
mod order;
mod parquet_differ;
mod parquet_folders;
mod parquet_keys;
mod parquet_skip;
mod parquet_text;
mod parquet_train;
mod parquet_types;
mod parquet_writers;
mod pipeline_file;
mod retrained;
mod score;
mod secrets;
mod serve_as_trained;
mod signals;
mod state_before;
mod summary;
mod training;
mod vectors;
mod weights;
mod zones;
