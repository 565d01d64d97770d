//! What `kolk train` and `kolk models` have in common about a version that is published: its signature, and whether it
//! becomes the champion.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::model::signing::{PublicKeys, SigningKey};
use crate::model::{Version, registry};
use crate::{Error, Result};

/// How a version is published.
#[derive(Debug, Clone, Default, Args)]
pub struct PublishArgs {
    /// Sign the version with this private key (P-256, PEM), as `model_signing sign key` does
    #[arg(long = "sign-key", value_name = "FILE")]
    pub sign_key: Option<PathBuf>,
    /// Leave the champion as it is: `kolk models promote` makes the version the champion later
    #[arg(long = "no-champion")]
    pub no_champion: bool,
}

impl PublishArgs {
    /// The key that signs, if there is one. `trusted` are the keys of those who will run the version.
    ///
    /// # Errors
    /// A file that is no key; a version that they would refuse.
    pub fn key(&self, trusted: &PublicKeys) -> Result<Option<SigningKey>> {
        let key = self.sign_key.as_deref().map(SigningKey::read).transpose()?;
        match &key {
            Some(key) if !trusted.is_empty() && !trusted.has(key) => Err(Error::refused(format!(
                "the key of --sign-key ({}) is not one of `public_key`: what it signs would be refused. Add its public \
                 key there first",
                key.hash()
            ))),
            None if !trusted.is_empty() && !self.no_champion => Err(Error::refused(
                "with a `public_key` only signed versions are taken, so an unsigned one can't become the champion: add \
                 --sign-key FILE, or publish with --no-champion, sign the version and run `kolk models promote`",
            )),
            _ => Ok(key),
        }
    }

    /// Makes a version the champion, unless it isn't to be.
    ///
    /// # Errors
    /// A registry that can't be written.
    pub fn promote(&self, models: &Path, version: &Version) -> Result<()> {
        if self.no_champion {
            return Ok(());
        }
        registry::set_champion(models, &version.name, version.number)
    }
}

/// The keys of some files.
///
/// # Errors
/// A file that holds no public key.
pub fn keys(files: &[PathBuf]) -> Result<PublicKeys> {
    let mut keys = PublicKeys::none();
    files.iter().try_for_each(|file| keys.add(file))?;
    Ok(keys)
}
