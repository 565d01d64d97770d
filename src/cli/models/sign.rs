//! `kolk models sign` and `kolk models promote`: the signature of a version, and which one is the champion.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::messages::say_with;
use crate::model::registry;
use crate::model::signing::{PublicKeys, SigningKey};
use crate::{Error, Result};

/// Signs a version; its label.
///
/// # Errors
/// No such version, or one that was changed; with `keys`, one that none of them signed before.
pub(super) fn sign(root: &Path, target: &str, key: &Path, keys: &PublicKeys) -> Result<String> {
    let key = SigningKey::read(key)?;
    let (name, number) = registry::sign(root, target, keys, &key)?;
    let (label, hash) = (format!("{name}/{number}"), key.hash());
    say_with(format_args!("signed {label} with the key {hash}"), json!({ "model": label, "key": hash }));
    Ok(label)
}

/// Makes a version the champion; its label.
///
/// # Errors
/// No such version, or one that was changed; with `keys`, one that none of them signed.
pub(super) fn promote(root: &Path, target: &str, keys: &PublicKeys) -> Result<String> {
    if !target.contains('/') {
        let near = registry::list(root)?.into_iter().find(|entry| entry.name == target);
        let last = near.and_then(|entry| entry.versions.last().copied());
        let example = last.map_or_else(|| "NAME/3".into(), |last| format!("{target}/{last}"));
        return Err(Error::refused(format!("name the version that becomes the champion, as {example}")));
    }
    let version = registry::open(root, target, keys)?;
    registry::set_champion(root, &version.name, version.number)?;
    let label = format!("{}/{}", version.name, version.number);
    say_with(format_args!("{label} is the champion"), json!({ "model": label, "signed_by": version.signed_by }));
    Ok(label)
}

/// Who signed a version, for tables and lists.
pub(super) enum Signer {
    Nobody,
    /// What the signature says; nobody checked it.
    Claimed(String),
    Checked(String),
    /// Keys were given, and none of them signed what is there.
    Refused(String),
}

impl Signer {
    /// Without keys, what the signature says; with them, the whole version is checked.
    pub fn of(root: &Path, name: &str, number: u64, keys: &PublicKeys) -> Signer {
        if keys.is_empty() {
            return registry::claimed_signer(root, name, number).map_or(Signer::Nobody, Signer::Claimed);
        }
        match registry::open(root, &format!("{name}/{number}"), keys) {
            Ok(version) => version.signed_by.map_or(Signer::Nobody, Signer::Checked),
            Err(error) => Signer::Refused(error.to_string()),
        }
    }

    /// For a cell: the beginning of the key's hash.
    pub fn short(&self) -> String {
        let short = |key: &str| key.chars().take(12).collect::<String>();
        match self {
            Signer::Nobody => "-".into(),
            Signer::Claimed(key) => format!("{} (unchecked)", short(key)),
            Signer::Checked(key) => short(key),
            Signer::Refused(_) => "refused".into(),
        }
    }

    /// For a line.
    pub fn text(&self) -> String {
        match self {
            Signer::Nobody => "nobody".into(),
            Signer::Claimed(key) => format!("{key} (unchecked: --public-key FILE checks it)"),
            Signer::Checked(key) => format!("{key} (checked)"),
            Signer::Refused(why) => format!("refused: {why}"),
        }
    }

    /// The same as JSON.
    pub fn describe(&self, value: &mut Value) {
        let (key, checked) = match self {
            Signer::Nobody => (None, false),
            Signer::Claimed(key) => (Some(key), false),
            Signer::Checked(key) => (Some(key), true),
            Signer::Refused(why) => {
                value["refused"] = why.as_str().into();
                (None, false)
            }
        };
        value["signed_by"] = json!(key);
        value["signature_checked"] = checked.into();
    }
}
