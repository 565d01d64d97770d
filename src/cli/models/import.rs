//! `kolk models import CARD`: a graph of others becomes a version.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::PublishArgs;
use crate::cli::messages::say_with;
use crate::cli::progress;
use crate::config::{At, Card, CardFeed, Mode};
use crate::error::{Problems, did_you_mean};
use crate::model::import::{AskedRows, Beside, RowsOf};
use crate::model::signing::PublicKeys;
use crate::model::{import, registry};
use crate::network::Run;
use crate::record::Kind;
use crate::runtime::{self, BeforeInfer};
use crate::{Result, config};

/// Where the version goes.
#[derive(Clone, Copy)]
pub struct To<'a> {
    /// The registry.
    pub models: &'a Path,
    /// The keys of those who will run it.
    pub trusted: &'a PublicKeys,
    /// Its signature.
    pub publish: &'a PublishArgs,
}

/// Imports a card; the label of the version.
pub fn run(card: &Path, data: Option<&Path>, reference: Option<&Path>, to: To<'_>) -> Result<String> {
    let card = config::card(card)?;
    let before = data.map(|data| BeforeInfer::plan(config::load(data)?)).transpose()?;
    let key = to.publish.key(&match &before {
        Some(before) if to.trusted.is_empty() => runtime::trusted(before.pipeline())?,
        _ => to.trusted.clone(),
    })?;
    let widths = before.as_ref().map(|before| columns(&card, before)).transpose()?;
    let width = |column: &str| widths.as_ref().and_then(|widths| widths.get(column).copied());
    let rows = |asked: AskedRows<'_>| {
        let Some(before) = &before else { return Ok(None) };
        let rows = before.rows(asked)?;
        if let (None, Some(kafka)) = (&rows, before.pipeline().source.kafka()) {
            tracing::warn!("{} has no messages yet: the model is proved on made-up rows alone", kafka.shown());
        }
        Ok(rows)
    };
    let rows = before.is_some().then_some(&rows as RowsOf<'_>);
    let bar = progress::steps(5);
    let imported = import::import(&card, Beside { width: &width, rows, reference }, &mut |what, done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        bar.set_message(what.to_owned());
    })
    .map_err(|error| import::at_file(&card, error));
    bar.finish_and_clear();
    let imported = imported?;
    imported.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    imported.manifest.proofs.iter().for_each(|proof| tracing::info!("{proof}"));
    if let Some(cost) = &imported.cost {
        tracing::info!("rows run one by one: {cost}");
    }
    let manifest = &imported.manifest;
    let one_by_one = manifest.signature.as_ref().is_some_and(|signature| signature.batch == Run::One);
    let bitwise = match (manifest.bitwise, one_by_one) {
        (true, true) => "yes (one by one)",
        (true, false) => "yes",
        (false, _) => "no",
    };
    let version = imported.publish(to.models, key.as_ref())?;
    to.publish.promote(to.models, &version)?;
    let label = format!("{}/{}", version.name, version.number);
    let report = version.folder.join(registry::REPORT).display().to_string();
    say_with(
        format_args!("published {label}, bitwise: {bitwise}: {report}"),
        json!({ "model": label, "report": report, "bitwise": bitwise, "proofs": version.manifest.proofs }),
    );
    Ok(label)
}

/// How wide each column is before `infer` in a pipeline; every column of the card has to be there, and what `infer`
/// says has to be what the card says.
fn columns(card: &Card, before: &BeforeInfer) -> Result<BTreeMap<String, usize>> {
    let layout = &before.layout;
    let width = |kind: &Kind| match kind {
        Kind::Vector(width) | Kind::Doubles(width) => Some(*width),
        Kind::Number | Kind::Integer | Kind::Flag => Some(1),
        Kind::Samples | Kind::Time | Kind::Passthrough(_) => None,
    };
    let known = layout.columns.iter().filter_map(|column| Some((column.name.clone(), width(&column.kind)?)));
    let known: BTreeMap<String, usize> = known.collect();
    let file = before.pipeline().file.display();
    let mut problems = Problems::new(&card.file);
    for input in &card.inputs {
        let named: Vec<&At<String>> = match &input.feed {
            CardFeed::Columns(columns) => columns.iter().collect(),
            CardFeed::Ids(column, _) | CardFeed::PerKey(column) => vec![column],
            CardFeed::Constant(_) => Vec::new(),
        };
        for column in named.into_iter().filter(|column| !known.contains_key(&column.value)) {
            let near = did_you_mean(column, known.keys().map(String::as_str));
            let there: Vec<&str> = known.keys().map(String::as_str).collect();
            let there = there.join(", ");
            let message =
                format!("{file} has no column \"{}\" before `infer`{near} (there are: {there})", column.value);
            problems.add(column.place, message);
        }
    }
    if let Some(infer) = before.pipeline().infer() {
        let named = registry::name_of(&infer.model);
        if named != card.name.value {
            let message = format!(
                "{file} names the model \"{named}\" in its `infer`, the card \"{}\": write the same name in both",
                card.name.value
            );
            problems.add(card.name.place, message);
        }
        let shown = |mode, window: Option<usize>| match (mode, window) {
            (Mode::Window, Some(window)) => format!("mode window, window {window}"),
            (mode, _) => format!("mode {}", mode.word()),
        };
        let window = card.as_window();
        let mode = if window.is_some() { Mode::Window } else { Mode::Carry };
        let written = infer.window.as_ref().map(|window| window.value).filter(|_| infer.mode == Mode::Window);
        if (infer.mode, written) != (mode, window) {
            let message = format!(
                "{file} runs the model in {}, the card makes one for {}",
                shown(infer.mode, written),
                shown(mode, window)
            );
            problems.add(card.layout.place, message);
        }
    }
    problems.finish(known)
}
