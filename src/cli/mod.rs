//! One file per command.

pub mod models;
pub mod summary;

/// Runs the command of the process' arguments.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
