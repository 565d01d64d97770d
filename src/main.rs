//! The `kolk` binary.

fn main() -> std::process::ExitCode {
    kolk::cli::main()
}
