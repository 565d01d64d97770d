//! One file per command.
//!
//! Lives here: the arguments of every command, what goes to stdout and stderr, exit codes. Must not live here: what a
//! command does; each file calls into the modules that know.
//!
//! Data goes to stdout ([`print`]), everything else to stderr ([`messages`]). Exit codes: 0 done, 1 failed while
//! running, 2 refused before anything started.

mod adopt;
mod check;
mod messages;
pub mod models;
mod progress;
mod reset;
mod run;
mod search;
mod signals;
mod size;
pub mod state;
mod state_export;
pub mod summary;
mod train;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::Result;
use crate::config::{Http, Span, Until};
use crate::error::Context;
use crate::model::executor::library;
use crate::record::Shard;
use crate::zone::database;
use messages::Log;

/// Runs recurrent neural networks on streams: one hidden state per key, one step per event.
#[derive(Debug, Parser)]
#[command(name = "kolk", version, arg_required_else_help = true)]
#[command(
    after_help = "KOLK_LOG filters log lines, such as debug or warn,kolk=trace (default: warn,kolk=info, without librdkafka)."
)]
struct Cli {
    /// Format of log lines on stderr
    #[arg(long, global = true, value_enum, default_value_t = Log::Text, value_name = "FORMAT")]
    log: Log,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a pipeline: to the end of its files, or on Kafka until a signal or `until`
    Run(RunArgs),
    /// Train the model of a pipeline, evaluate it on held-out time, publish a version
    Train(TrainArgs),
    /// Train with other values of a pipeline's `train` section, and print the best ones
    Search(SearchArgs),
    /// List every problem of a pipeline, without starting it
    Check(CheckArgs),
    /// Measure a pipeline on this machine, and print what it needs at a rate and a number of keys
    Size(size::SizeArgs),
    /// Print the JSON Schema of pipeline files or of cards, for editors
    Schema {
        /// Of which files
        #[arg(value_parser = ["pipeline", "card"], default_value = "pipeline")]
        of: String,
        /// Of files that pipelines include: there nothing is needed
        #[arg(long)]
        shared: bool,
    },
    /// Print the layers and parameters of a model
    Summary(SummaryArgs),
    /// Print the model registry
    Models(models::ModelsArgs),
    /// Print, export, delete or adopt the state that a pipeline keeps per key
    State(state::StateArgs),
}

/// What is served over HTTP; each takes precedence over its field of `runtime.http`
#[derive(Debug, Clone, Default, Args)]
pub struct HttpArgs {
    /// Serve /metrics, /healthz, /readyz and /version at this address; takes precedence over `runtime.http`
    #[arg(long = "http", value_name = "ADDR", value_parser = crate::config::http_address)]
    pub address: Option<SocketAddr>,
    /// A file with the token that /metrics and /version ask for (`Authorization: Bearer …`)
    #[arg(long = "http-token", value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// For TLS: a file with the certificate and its chain, as PEM
    #[arg(long = "http-certificate", value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// For TLS: a file with the certificate's private key, as PEM
    #[arg(long = "http-key", value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// Let other machines read it without a token and without TLS
    #[arg(long = "http-insecure")]
    pub insecure: bool,
}

impl HttpArgs {
    /// What the pipeline file says, with what was given on the command line.
    fn over(&self, file: Option<&Http>) -> Http {
        let file = file.cloned().unwrap_or_default();
        Http {
            address: self.address.or(file.address),
            token: self.token.clone().or(file.token),
            tls: self.certificate.clone().zip(self.key.clone()).or(file.tls),
            insecure: self.insecure || file.insecure,
        }
    }
}

/// `kolk run P`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The pipeline file
    pub pipeline: PathBuf,
    /// What is served over HTTP
    #[command(flatten)]
    pub http: HttpArgs,
    /// Read a topic up to here and end with exit code 0: `end` (what can be read at the start), `now`, or a time; takes
    /// precedence over `source.kafka.until`
    #[arg(long, value_name = "WHERE", value_parser = Until::parse)]
    pub until: Option<Until>,
    /// Take only the keys of one of N shards of a run over files, 0/N to N-1/N. Together the shards write what one run
    /// does
    #[arg(long, value_name = "I/N", value_parser = Shard::parse)]
    pub shard: Option<Shard>,
}

/// `kolk train P`
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// The pipeline file
    pub pipeline: PathBuf,
    /// What is served over HTTP
    #[command(flatten)]
    pub http: HttpArgs,
    /// Go on with the weights of a version, NAME/VERSION or NAME (its champion); its layers must be the pipeline's
    #[arg(long, value_name = "VERSION")]
    pub from: Option<String>,
    /// Start from scratch even where a killed training could be resumed
    #[arg(long)]
    pub fresh: bool,
    /// Time between two training checkpoints, from which a killed training resumes
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub checkpoint_every: Duration,
    /// How the version is published
    #[command(flatten)]
    pub publish: models::PublishArgs,
}

/// `kolk search P`
#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// The pipeline file, with a section `search`
    pub pipeline: PathBuf,
    /// Folder of the trials' results, also in an object store; by default beside the pipeline file, with its name
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Train only the trials of one of N processes that share the results, 0/N to N-1/N
    #[arg(long, value_name = "I/N", value_parser = Shard::parse)]
    pub shard: Option<Shard>,
}

/// `kolk check P`
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The pipeline file
    pub pipeline: PathBuf,
    /// Don't contact object stores
    #[arg(long)]
    pub offline: bool,
    /// Print the file as it is understood: included files, variables and defaults written out, secrets hidden
    #[arg(long)]
    pub effective: bool,
    /// Also list what `kolk run --shard I/N` refuses
    #[arg(long, value_name = "I/N", value_parser = Shard::parse)]
    pub shard: Option<Shard>,
}

/// `kolk summary X`
#[derive(Debug, Clone, Args)]
pub struct SummaryArgs {
    /// A pipeline file (its train section), a model of the registry (NAME or NAME/VERSION) or an ONNX file
    pub what: String,
    /// Folder of the model registry, for NAME and NAME/VERSION
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub models: PathBuf,
}

/// A time of the command line, such as 30s or 5m.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    Span::parse(text)?.by_clock().ok_or_else(|| "expected a duration such as 30s or 5m".into())
}

/// Versions of what this process is made of.
fn versions() -> crate::http::Versions {
    let onnx_runtime = library::version().map(|version| ("onnx_runtime", version.to_string()));
    let own = [("kolk", env!("CARGO_PKG_VERSION").to_owned()), ("tz_database", database().to_string())];
    own.into_iter().chain(onnx_runtime).collect()
}

/// Runs the command of the process' arguments.
pub fn main() -> ExitCode {
    signals::catch();
    // A usage error ends here with exit code 2, `--help` and `--version` with 0.
    let version = format!("{}\ntz database {}", env!("CARGO_PKG_VERSION"), database());
    let command = Cli::command().long_version(&*Box::leak(version.into_boxed_str()));
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match messages::start(cli.log).and_then(|()| execute(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            messages::report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Search(args) => search::run(&args).map(done),
        Command::Check(args) => check::run(&args).map(done),
        Command::Run(args) => run::run(&args).map(done),
        Command::Train(args) => train::run(&args).map(done),
        Command::Size(args) => size::run(&args).map(done),
        Command::Schema { of, shared } => {
            let schema = if of == "card" { crate::config::card_schema() } else { crate::config::schema(shared) };
            print(format_args!("{schema:#}")).map(done)
        }
        Command::Summary(args) => summary::command(&args).map(done),
        Command::Models(args) => models::command(&args).map(done),
        Command::State(args) => state::run(&args, &crate::config::load(args.pipeline())?, &mut out()).map(done),
    }
}

/// Stdout for data. If its reader has closed it (`kolk … | head`), the process ends quietly.
#[derive(Debug)]
pub struct Out(std::io::Stdout);

/// Stdout for the data of a command.
pub fn out() -> Out {
    Out(std::io::stdout())
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        unless_closed(self.0.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        unless_closed(self.0.flush())
    }
}

fn unless_closed<T>(written: std::io::Result<T>) -> std::io::Result<T> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => signals::end_at_once(0),
        other => other,
    }
}

/// Writes a line of data to stdout.
///
/// # Errors
/// A failure if stdout can't be written, for example on a full disk.
pub fn print(line: impl Display) -> Result<()> {
    let mut out = out();
    writeln!(out, "{line}").and_then(|()| out.flush()).or_failed(|| "can't write to stdout".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_take_their_arguments() {
        let cli = Cli::try_parse_from(["kolk", "run", "p.yaml", "--http", "localhost:9464", "--log", "json"]).unwrap();
        assert_eq!(cli.log, Log::Json);
        let Command::Run(args) = cli.command else { panic!("not run") };
        assert_eq!(args.http.address.unwrap().to_string(), "127.0.0.1:9464");
        for line in ["check --offline p.yaml", "models list", "models show a/3", "summary m", "schema --shared"] {
            Cli::try_parse_from(["kolk"].into_iter().chain(line.split(' '))).unwrap();
        }
        for line in ["run", "run p.yaml --http 9464", "play p.yaml", "check p.yaml --log xml"] {
            let error = Cli::try_parse_from(["kolk"].into_iter().chain(line.split(' '))).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
