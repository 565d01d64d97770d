//! `kolk models import CARD`: a graph of others becomes a version.

use std::path::Path;

use serde_json::json;

use crate::cli::messages::say_with;
use crate::cli::progress;
use crate::model::{import, registry};
use crate::network::Run;
use crate::{Result, config};

/// Imports a card; the label of the version.
pub fn run(card: &Path, models: &Path) -> Result<String> {
    let card = config::card(card)?;
    let bar = progress::steps(5);
    let imported = import::import(&card, &|_| None, &mut |what, done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        bar.set_message(what.to_owned());
    })
    .map_err(|error| import::at_file(&card, error));
    bar.finish_and_clear();
    let imported = imported?;
    imported.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    imported.manifest.proofs.iter().for_each(|proof| tracing::info!("{proof}"));
    let manifest = &imported.manifest;
    let one_by_one = manifest.signature.as_ref().is_some_and(|signature| signature.batch == Run::One);
    let bitwise = match (manifest.bitwise, one_by_one) {
        (true, true) => "yes (one by one)",
        (true, false) => "yes",
        (false, _) => "no",
    };
    let version = imported.publish(models)?;
    registry::set_champion(models, &version.name, version.number)?;
    let label = format!("{}/{}", version.name, version.number);
    let report = version.folder.join(registry::REPORT).display().to_string();
    say_with(
        format_args!("published {label}, bitwise: {bitwise}: {report}"),
        json!({ "model": label, "report": report, "bitwise": bitwise, "proofs": version.manifest.proofs }),
    );
    Ok(label)
}
