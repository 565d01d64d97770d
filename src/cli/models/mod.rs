//! `kolk models`: one file per command.
//!
//! Lives here: the arguments of these commands, and what their tables share. Must not live here: what a command does.

mod bounded;
mod export;
mod import;
mod inspect;
mod list;
mod publishing;
mod show;
mod sign;
mod weights;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

pub use list::list;
pub use publishing::PublishArgs;
pub use show::show;

use self::bounded::bounded;
use super::print;
use crate::error::Context;
use crate::model::signing::PublicKeys;
use crate::model::weights::FILES;
use crate::model::{Manifest, ModelKind};
use crate::{Error, Result};

/// Errors of a manifest that are printed side by side: the model's and those of the naive forecasts.
const ERRORS: [(&str, &str); 3] = [("mae", "MAE"), ("mae_last_value", "last value"), ("mae_seasonal", "seasonal")];

/// `kolk models …`
#[derive(Debug, Clone, Args)]
pub struct ModelsArgs {
    /// Folder of the model registry
    #[arg(long, value_name = "DIR", default_value = "models", global = true)]
    pub models: PathBuf,
    /// A file with the public key that versions have to be signed by (P-256, PEM); may be repeated
    #[arg(long = "public-key", value_name = "FILE", global = true)]
    pub public_key: Vec<PathBuf>,
    /// Minutes that running an ONNX file of others may take: its graph may not end
    #[arg(long, value_name = "MINUTES", default_value_t = 30, global = true, hide_short_help = true)]
    pub time_limit: u64,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: ModelsCommand,
}

/// What `kolk models` does.
#[derive(Debug, Clone, Subcommand)]
pub enum ModelsCommand {
    /// Print what is in an ONNX file, and a card for it
    Inspect {
        /// The ONNX file
        file: PathBuf,
    },
    /// Publish a version: the graph of a card, after it is proved, or the weights of a file to train on
    Import(ImportArgs),
    /// List every version of every model
    List,
    /// Show the manifest of a version
    Show {
        /// NAME (its champion) or NAME/VERSION
        name: String,
    },
    /// Write a version as plain ONNX with its card, and programs in Python and Rust that step it
    Export {
        /// NAME (its champion) or NAME/VERSION
        name: String,
        /// The folder to write; new or empty
        folder: PathBuf,
    },
    /// Sign a version that is there, as `model_signing sign key` does
    Sign {
        /// NAME (its champion) or NAME/VERSION
        name: String,
        /// The private key (P-256, PEM)
        #[arg(long = "sign-key", value_name = "FILE")]
        sign_key: PathBuf,
    },
    /// Check a version and make it the champion of its model, which runs without a version take
    Promote {
        /// NAME/VERSION
        name: String,
    },
}

/// `kolk models import FILE`
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The card of an ONNX file; or, with --pipeline, a .keras file, a .safetensors file with PyTorch's names, or an
    /// .onnx file
    pub file: PathBuf,
    /// For a card: a pipeline with the records that the model will get. The model is proved on the first of them, and
    /// the columns say how wide inputs are
    #[arg(long, value_name = "PIPELINE")]
    pub data: Option<PathBuf>,
    /// For a card: an .npz with inputs and outputs of the original framework, compared with what the graph gives
    #[arg(long, value_name = "FILE")]
    pub reference: Option<PathBuf>,
    /// For weights: the pipeline whose `train` section describes the network
    #[arg(long, value_name = "PIPELINE")]
    pub pipeline: Option<PathBuf>,
    /// For weights: the modules of a .safetensors file in their order, where shapes leave it open: encoder,decoder,head
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub modules: Vec<String>,
    /// How the version is published
    #[command(flatten)]
    pub publish: PublishArgs,
}

/// Runs `kolk models`.
///
/// # Errors
/// A registry that can't be read or written; no such model; a card or a file that is refused.
pub fn command(args: &ModelsArgs) -> Result<()> {
    let keys = publishing::keys(&args.public_key)?;
    let text = match &args.command {
        ModelsCommand::Inspect { file } => {
            bounded(args.time_limit, "inspecting the model", || inspect::inspect(file, args.json))?
        }
        ModelsCommand::Import(import) => {
            bounded(args.time_limit, "importing the model", || imported(import, &args.models, &keys))?
        }
        ModelsCommand::List => list(&args.models, args.json, &keys)?,
        ModelsCommand::Show { name } => show(&args.models, name, args.json, &keys)?,
        ModelsCommand::Export { name, folder } => export::export(&args.models, name, folder, &keys)?,
        ModelsCommand::Sign { name, sign_key } => sign::sign(&args.models, name, sign_key, &keys)?,
        ModelsCommand::Promote { name } => sign::promote(&args.models, name, &keys)?,
    };
    print(text.trim_end())
}

/// The label of the version that a card or a file of weights becomes.
fn imported(args: &ImportArgs, models: &Path, trusted: &PublicKeys) -> Result<String> {
    let extension = args.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match &args.pipeline {
        Some(pipeline) => weights::import(&args.file, pipeline, &args.modules, &args.publish),
        None if extension == "onnx" => Err(Error::refused(format!(
            "to run the graph, import its card (`kolk models inspect {}` prints one); to train its weights on, add \
             --pipeline PIPELINE: its `train` section describes the network that they are of",
            args.file.display()
        ))),
        None if FILES.contains(&extension) => Err(Error::refused(
            "weights need --pipeline PIPELINE: its `train` section describes the network that they are of",
        )),
        None => {
            let to = import::To { models, trusted, publish: &args.publish };
            import::run(&args.file, args.data.as_deref(), args.reference.as_deref(), to)
        }
    }
}

fn kind(manifest: &Manifest) -> String {
    match (manifest.kind, manifest.window) {
        (ModelKind::Carry, _) => "carry".into(),
        (ModelKind::Sequence, _) => "sequence".into(),
        (ModelKind::Window, Some(window)) => format!("window of {window}"),
        (ModelKind::Window, None) => "window".into(),
    }
}

/// The layers in words; of the graphs of others only `kolk summary` knows them.
fn layers(manifest: &Manifest) -> String {
    manifest.architecture.as_ref().map_or("-".into(), |architecture| architecture.in_words())
}

fn parameters(manifest: &Manifest) -> String {
    manifest.architecture.as_ref().map_or("-".into(), |architecture| architecture.parameters().to_string())
}

/// An error of a target, to four digits; `-` where it wasn't measured.
fn metric(manifest: &Manifest, target: &str, error: &str) -> String {
    let Some(value) = manifest.metrics.get(&format!("{target}.{error}")) else { return "-".into() };
    let before = if value.abs() >= 1.0 { value.abs().log10() as i32 + 1 } else { 0 };
    if *value != 0.0 && value.abs() < 1e-3 {
        format!("{value:.3e}")
    } else {
        format!("{value:.*}", (4 - before).max(0) as usize)
    }
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header);
    }
    table
}

fn padded(mut row: Vec<String>, columns: usize) -> Vec<String> {
    row.resize(columns, String::new());
    row
}

/// The table as lines without blanks around them, the columns of numbers to the right.
fn trimmed(table: &mut Table, right: &[usize]) -> String {
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn pretty(value: &Value) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value).or_failed(|| "write JSON".into())?;
    text.push('\n');
    Ok(text)
}
