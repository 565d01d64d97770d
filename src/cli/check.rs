//! `kolk check`: everything that can be refused, without starting.

use super::CheckArgs;
use crate::{Result, config};

/// Prints `<file>: ok`, or returns every problem of the pipeline.
///
/// # Errors
/// Refused where anything is wrong with the pipeline.
pub fn run(args: &CheckArgs) -> Result<()> {
    let pipeline = config::load(&args.pipeline)?;
    super::print(format_args!("{}: ok", pipeline.file.display()))
}
