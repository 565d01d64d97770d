//! The files of a version's folder, each read once and checked before anything looks into it. Must not live here: what
//! a signature is (`signing`), and where versions are (`registry`).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::Manifest;
use super::onnx::file::MAX_BYTES;
use super::registry::{MANIFEST, check_name, parse_manifest, sha256};
use super::signing::{self, IGNORED, PublicKeys, SIGNATURE, Signed};
use crate::error::printable;
use crate::storage::{read_file, read_file_itself};
use crate::{Error, Result};

/// The most bytes of a signature.
const LARGEST_SIGNATURE: u64 = 4 << 20;

/// The most bytes of a manifest.
const LARGEST_MANIFEST: u64 = 64 << 20;

/// What a version's folder holds.
pub(super) struct VersionFiles {
    /// Its manifest.
    pub manifest: Manifest,
    /// Every other file that the manifest names.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The sha256 of each, and of the manifest.
    pub hashes: BTreeMap<String, String>,
    /// The key that signed it, if signatures are asked for.
    pub signed_by: Option<String>,
}

/// Reads a version of the model `name`. With `keys`, one of them must have signed every file.
///
/// # Errors
/// Refused, with the file: one that was changed, is missing, or is there without being part of the version; with keys,
/// a version that none of them signed as it is.
pub(super) fn read(folder: &Path, name: &str, keys: &PublicKeys) -> Result<VersionFiles> {
    let signed = if keys.is_empty() { None } else { Some(signature(folder, keys)?) };
    let mut read: BTreeMap<String, (Vec<u8>, String)> = BTreeMap::new();
    if let Some(signed) = &signed {
        only(folder, &|file| signed.files.contains_key(file) || file == SIGNATURE || IGNORED.contains(&file), SIGNED)?;
        for (file, expected) in &signed.files {
            let (bytes, found) = hashed(&folder.join(file), file, keys)?;
            if found != *expected {
                return Err(changed(&folder.join(file), &found, "the signature", expected));
            }
            read.insert(file.clone(), (bytes, found));
        }
    } else {
        read.insert(MANIFEST.into(), hashed(&folder.join(MANIFEST), MANIFEST, keys)?);
    }
    let path = folder.join(MANIFEST);
    let Some((bytes, hash)) = read.remove(MANIFEST) else { return Err(unsigned(&path)) };
    let manifest = parse_manifest(&path, &bytes)?;
    let mut hashes = BTreeMap::from([(MANIFEST.to_owned(), hash)]);
    if signed.is_none() {
        // A name that begins with a dot is never a version's: file systems and tools leave such files.
        let part = |file: &str| manifest.files.contains_key(file) || [MANIFEST, SIGNATURE].contains(&file);
        only(folder, &|file| part(file) || file.starts_with('.'), PUBLISHED)?;
    } else if manifest.name != name {
        return Err(Error::refused(format!(
            "{} was signed as a version of {}, not of {name}: it was moved here",
            folder.display(),
            printable(&manifest.name)
        )));
    }
    let mut files = BTreeMap::new();
    for (file, expected) in &manifest.files {
        check_name(file).map_err(|_| Error::refused(format!("{} names the file {file:?}", path.display())))?;
        let at = folder.join(file);
        let (bytes, found) = match (read.remove(file), &signed) {
            (Some(read), _) => read,
            (None, None) => hashed(&at, file, keys)?,
            (None, Some(_)) => return Err(unsigned(&at)),
        };
        if found != *expected {
            return Err(changed(&at, &found, "the manifest", expected));
        }
        files.insert(file.clone(), bytes);
        hashes.insert(file.clone(), found);
    }
    Ok(VersionFiles { manifest, files, hashes, signed_by: signed.map(|signed| signed.key) })
}

/// The manifest alone, unchecked.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let (bytes, _) = hashed(&path, MANIFEST, &PublicKeys::none())?;
    parse_manifest(&path, &bytes)
}

/// Who signed a version, by what its signature says; unchecked. `None`: it isn't signed.
pub(super) fn claimed(folder: &Path) -> Option<String> {
    let bytes = read_file_itself(&folder.join(SIGNATURE), LARGEST_SIGNATURE).ok()?;
    Some(signing::claimed(&bytes).unwrap_or_else(|| "an unknown key".into()))
}

fn signature(folder: &Path, keys: &PublicKeys) -> Result<Signed> {
    let path = folder.join(SIGNATURE);
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Err(Error::refused(format!(
            "{} is not signed, and only signed versions are taken: sign it with `kolk models sign` or with \
             `model_signing sign key`, or name a signed one",
            folder.display()
        )));
    }
    read_file_itself(&path, LARGEST_SIGNATURE)
        .map_err(|error| error.to_string())
        .and_then(|bytes| signing::verify(&bytes, keys))
        .map_err(|why| Error::refused(format!("the signature {} is refused: {why}", path.display())))
}

/// How a file that isn't part of a version is refused.
const SIGNED: &str = "is not in the version's signature: remove it, or sign the version with it";
const PUBLISHED: &str = "is not part of the version, its manifest doesn't name it: remove it";

/// Refuses what is in a folder besides its own.
fn only(folder: &Path, is_own: &dyn Fn(&str) -> bool, why: &str) -> Result<()> {
    let shown = |error: std::io::Error| Error::refused(format!("read {}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(shown)? {
        let name = entry.map_err(shown)?.file_name();
        if !name.to_str().is_some_and(is_own) {
            let path = folder.join(name).display().to_string();
            return Err(Error::refused(format!("{} {why}", printable(&path))));
        }
    }
    Ok(())
}

/// A file and its sha256. Where signatures are asked for, no link is followed.
fn hashed(path: &Path, file: &str, keys: &PublicKeys) -> Result<(Vec<u8>, String)> {
    let most = if file == MANIFEST { LARGEST_MANIFEST } else { MAX_BYTES };
    let read = if keys.is_empty() { read_file(path, most) } else { read_file_itself(path, most) };
    let bytes = read.map_err(|why| Error::refused(format!("read {}: {why}", path.display())))?;
    let hash = sha256(&bytes);
    Ok((bytes, hash))
}

fn unsigned(path: &Path) -> Error {
    Error::refused(format!("{} {SIGNED}", path.display()))
}

fn changed(path: &Path, found: &str, by: &str, expected: &str) -> Error {
    Error::refused(format!(
        "{} is not what was published: its sha256 is {found}, {by} says {expected}; restore it or publish a new version",
        path.display()
    ))
}
