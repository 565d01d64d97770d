//! The registry on disk: `<root>/<name>/<n>/` with `model.onnx`, `manifest.json`, `report.html`, where it is signed
//! `model.sig`, and `<root>/<name>/champion`. Must not live here: what is in a graph (`import`), and who becomes
//! champion (`train`).
//!
//! A version is written to a temporary folder, synced, and renamed, so that it exists completely or not at all; it
//! never changes after that. Two that publish at once get different numbers, because a rename onto a version fails.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use super::signing::{self, PublicKeys, SIGNATURE, SigningKey};
use super::version_files::VersionFiles;
use super::{Manifest, version_files};
use crate::error::Context;
use crate::error::did_you_mean;
use crate::{Error, Result};

/// The graph of a version.
pub const MODEL: &str = "model.onnx";
/// What the graph promises.
pub const MANIFEST: &str = "manifest.json";
/// The report of its training.
pub const REPORT: &str = "report.html";
const CHAMPION: &str = "champion";
/// Format of the manifest that this program writes and reads.
pub const FORMAT: u32 = 1;

/// One version, opened: its files are those that were published.
#[derive(Debug, Clone)]
pub struct Version {
    /// Name of the model.
    pub name: String,
    /// Number of the version, from 1.
    pub number: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// `model.onnx`, as it was checked.
    pub onnx: Vec<u8>,
    /// Further files by name, such as initial states.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The key that signed it, by the sha256 of its PEM, if that was asked for.
    pub signed_by: Option<String>,
}

/// A model of the registry: which versions there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the model.
    pub name: String,
    /// Its versions, ascending.
    pub versions: Vec<u64>,
    /// The version that `model: name` means.
    pub champion: Option<u64>,
}

/// All models under `root`, by name; none if there is no such folder.
pub fn list(root: &Path) -> Result<Vec<Entry>> {
    let names = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::refused(format!("read the registry {}: {error}", root.display()))),
    };
    let mut found = Vec::new();
    for entry in names {
        let entry = entry.or_refused(|| format!("read the registry {}", root.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if check_name(&name).is_err() || !entry.path().is_dir() {
            continue;
        }
        let versions = versions(&entry.path())?;
        if !versions.is_empty() {
            let champion = champion(root, &name)?;
            found.push(Entry { name, versions, champion });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Opens `name` (its champion) or `name/3`, and checks each file against the manifest's sha256; with `keys`, also that
/// one of them signed it. Refused, with the nearest name or the versions there are, if there is no such thing or if it
/// was changed.
pub fn open(root: &Path, target: &str, keys: &PublicKeys) -> Result<Version> {
    let (name, number) = find(root, target)?;
    let folder = root.join(&name).join(number.to_string());
    let mut read = version_files::read(&folder, &name, keys)?;
    let onnx = graph(&folder, &mut read)?;
    let VersionFiles { manifest, mut files, signed_by, .. } = read;
    files.remove(REPORT);
    Ok(Version { name, number, folder, manifest, onnx, files, signed_by })
}

/// The manifest and the graph of a version by its folder, wherever that is; each file is checked as by [`open`].
pub fn open_folder(folder: &Path) -> Result<(Manifest, Vec<u8>)> {
    let mut read = version_files::read(folder, "", &PublicKeys::none())?;
    let onnx = graph(folder, &mut read)?;
    Ok((read.manifest, onnx))
}

fn graph(folder: &Path, read: &mut VersionFiles) -> Result<Vec<u8>> {
    let missing = || Error::refused(format!("{} names no {MODEL} under files", folder.join(MANIFEST).display()));
    read.files.remove(MODEL).ok_or_else(missing)
}

/// Signs a version that is there, in place of a signature that it may have. With `keys`, one of them must have signed
/// it before.
pub fn sign(root: &Path, target: &str, keys: &PublicKeys, key: &SigningKey) -> Result<(String, u64)> {
    let (name, number) = find(root, target)?;
    let home = root.join(&name);
    let folder = home.join(number.to_string());
    let read = version_files::read(&folder, &name, keys)?;
    let aside = Aside::new(&home)?;
    let new = aside.0.join(SIGNATURE);
    write_synced(&new, &signing::sign(&read.manifest.name, &read.hashes, key)?)?;
    let path = folder.join(SIGNATURE);
    fs::rename(&new, &path).or_failed(|| format!("replace {}", path.display()))?;
    sync(&folder)?;
    Ok((name, number))
}

/// The key that signed a version, as its signature says; unchecked.
pub fn claimed_signer(root: &Path, name: &str, number: u64) -> Option<String> {
    version_files::claimed(&root.join(name).join(number.to_string()))
}

/// Name and number that `name` or `name/3` means, without opening it.
pub fn find(root: &Path, target: &str) -> Result<(String, u64)> {
    let (name, number) = match target.split_once('/') {
        None => (target, None),
        Some((name, number)) => (name, Some(number)),
    };
    check_name(name)?;
    let models = list(root)?;
    let Some(entry) = models.iter().find(|entry| entry.name == name) else {
        let names: Vec<&str> = models.iter().map(|entry| entry.name.as_str()).collect();
        let there = if names.is_empty() { "it is empty".into() } else { format!("there are: {}", names.join(", ")) };
        return Err(Error::refused(format!(
            "there is no model \"{name}\" in {} ({there}){}",
            root.display(),
            did_you_mean(name, names.iter().copied())
        )));
    };
    let there = entry.versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let number = match number {
        Some(text) => text.parse().map_err(|_| {
            Error::refused(format!("\"{target}\": after the slash comes the number of a version (there are: {there})"))
        })?,
        None => entry.champion.ok_or_else(|| {
            Error::refused(format!(
                "model \"{name}\" in {} has no champion: name a version, as {name}/{}",
                root.display(),
                entry.versions.last().unwrap_or(&1)
            ))
        })?,
    };
    if !entry.versions.contains(&number) {
        return Err(Error::refused(format!(
            "model \"{name}\" in {} has no version {number} (there are: {there})",
            root.display()
        )));
    }
    Ok((entry.name.clone(), number))
}

/// The name in `name` or `name/3`.
pub fn name_of(target: &str) -> &str {
    target.split_once('/').map_or(target, |(name, _)| name)
}

/// The manifest of a version's folder, as it is: it says what to expect, before or without opening the version.
pub fn read_manifest(folder: &Path) -> Result<Manifest> {
    version_files::read_manifest(folder)
}

/// A manifest of a file's bytes.
pub(super) fn parse_manifest(path: &Path, bytes: &[u8]) -> Result<Manifest> {
    let json: serde_json::Value = serde_json::from_slice(bytes).or_refused(|| format!("read {}", path.display()))?;
    // Looked at first: another format need not have the fields of this one.
    if json["format"] != FORMAT {
        return Err(Error::refused(format!(
            "{} has format {}, this program reads format {FORMAT}",
            path.display(),
            json["format"]
        )));
    }
    serde_json::from_value(json).or_refused(|| format!("read {}", path.display()))
}

/// Publishes a version under `manifest.name` with the next free number, and returns it opened. `manifest.files` is
/// filled in here. The champion stays who it was: see [`set_champion`]. With a key, it is signed from the start.
pub fn publish(
    root: &Path,
    manifest: Manifest,
    onnx: &[u8],
    report: &str,
    key: Option<&SigningKey>,
) -> Result<Version> {
    publish_with(root, manifest, onnx, report, BTreeMap::new(), key)
}

/// As [`publish`], with further files by name, such as initial states.
pub fn publish_with(
    root: &Path,
    mut manifest: Manifest,
    onnx: &[u8],
    report: &str,
    files: BTreeMap<String, Vec<u8>>,
    key: Option<&SigningKey>,
) -> Result<Version> {
    check_name(&manifest.name)?;
    for file in files.keys() {
        check_name(file)?;
        if [MODEL, REPORT, MANIFEST, SIGNATURE].contains(&file.as_str()) {
            return Err(Error::refused(format!("a further file of a version can't be named {file}")));
        }
    }
    let name = manifest.name.clone();
    let home = root.join(&name);
    fs::create_dir_all(&home).or_failed(|| format!("create {}", home.display()))?;
    manifest.format = FORMAT;
    let mut all = vec![(MODEL, onnx), (REPORT, report.as_bytes())];
    all.extend(files.iter().map(|(file, bytes)| (file.as_str(), bytes.as_slice())));
    manifest.files = all.iter().map(|(file, bytes)| ((*file).to_owned(), sha256(bytes))).collect();
    let mut json = serde_json::to_string_pretty(&manifest).or_failed(|| "write the manifest as JSON".into())?;
    json.push('\n');
    all.push((MANIFEST, json.as_bytes()));
    let mut hashes = manifest.files.clone();
    hashes.insert(MANIFEST.into(), sha256(json.as_bytes()));
    let signature = key.map(|key| signing::sign(&name, &hashes, key)).transpose()?;
    all.extend(signature.iter().map(|bytes| (SIGNATURE, bytes.as_slice())));
    let aside = Aside::new(&home)?;
    for (file, bytes) in all {
        write_synced(&aside.0.join(file), bytes)?;
    }
    sync(&aside.0)?;
    let number = aside.rename_to_next(&home)?;
    sync(&home)?;
    sync(root)?;
    let folder = home.join(number.to_string());
    let signed_by = key.map(|key| key.hash().to_owned());
    Ok(Version { name, number, folder, manifest, onnx: onnx.to_vec(), files, signed_by })
}

/// The version that `model: name` means, if one was named.
pub fn champion(root: &Path, name: &str) -> Result<Option<u64>> {
    let path = root.join(name).join(CHAMPION);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Error::refused(format!("{} holds {text:?}, not a version's number", path.display()))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::refused(format!("read {}: {error}", path.display()))),
    }
}

/// Makes a version the one that `model: name` means. Readers see the old or the new one, nothing between.
pub fn set_champion(root: &Path, name: &str, number: u64) -> Result<()> {
    let home = root.join(name);
    if !home.join(number.to_string()).is_dir() {
        return Err(Error::refused(format!("model \"{name}\" in {} has no version {number}", root.display())));
    }
    let aside = Aside::new(&home)?;
    let (new, path) = (aside.0.join(CHAMPION), home.join(CHAMPION));
    write_synced(&new, format!("{number}\n").as_bytes())?;
    fs::rename(&new, &path).or_failed(|| format!("replace {}", path.display()))?;
    sync(&home)
}

/// Names are folders and words of a pipeline file: letters, digits, `.`, `_`, `-`, not starting with a dot.
pub(super) fn check_name(name: &str) -> Result<()> {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(fine) {
        return Ok(());
    }
    Err(Error::refused(format!("\"{name}\" is not a name for a model: letters, digits, \".\", \"_\" and \"-\" only")))
}

/// Numbers of the versions in a model's folder, ascending.
fn versions(home: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(home).or_refused(|| format!("read {}", home.display()))? {
        let entry = entry.or_refused(|| format!("read {}", home.display()))?;
        let name = entry.file_name();
        // "03" or "+3" were not written by us and would be looked for as "3".
        if let Some(number) = name.to_str().and_then(|name| name.parse::<u64>().ok().filter(|n| n.to_string() == name))
            && entry.path().is_dir()
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// sha256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hidden folder next to the versions, removed unless it becomes one.
struct Aside(PathBuf);

impl Aside {
    fn new(home: &Path) -> Result<Self> {
        loop {
            let path = home.join(aside_name());
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Aside(path)),
                // Left by a process that was killed: in a container the next one has the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::failed(format!("create {}: {error}", path.display()))),
            }
        }
    }

    /// Renames the folder to the first free number after all versions there are.
    fn rename_to_next(&self, home: &Path) -> Result<u64> {
        let last = versions(home)?.last().copied().unwrap_or(0);
        for number in last + 1.. {
            let path = home.join(number.to_string());
            match fs::rename(&self.0, &path) {
                Ok(()) => return Ok(number),
                // Another process took this number meanwhile.
                Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {}
                Err(error) => return Err(Error::failed(format!("create {}: {error}", path.display()))),
            }
        }
        Err(Error::failed(format!("{}: no free number for a version", home.display())))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After the rename there is nothing with that name; before, half a version is of no use.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn aside_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(".new-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Writes a new file, durably once its folder is.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().or_failed(|| format!("write {}", path.display()))
}

/// A rename is durable once its folder is.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).or_failed(|| format!("sync {}", folder.display()))
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
