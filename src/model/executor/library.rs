//! ONNX Runtime's shared library: where it is looked for, loading it once, its version.
//! Must not live here: sessions (`ort`).

use std::error::Error as _;
use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;

use crate::{Error, Result};

/// The version of ONNX Runtime that kolk is tested with, from `onnxruntime.version`: the one place where it is pinned.
pub const PINNED: &str = include_str!("../../../onnxruntime.version").trim_ascii();

/// The loaded library.
#[derive(Debug)]
pub struct Library {
    /// ONNX Runtime's environment, one per process.
    pub environment: Environment,
    /// The library's own version, `1.31.1`.
    pub version: String,
    /// Where it was found.
    pub path: PathBuf,
}

/// Where kolk looks for the library with CUDA, in order: `ORT_DYLIB_PATH` (alone, if set), kolk's cache, next to the
/// binary.
pub(super) fn gpu_candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let name = format!("libonnxruntime.so.{PINNED}");
    let mut paths: Vec<PathBuf> = cache()
        .map(|cache| cache.join("kolk/onnxruntime-gpu").join(PINNED).join("lib").join(&name))
        .into_iter()
        .collect();
    let binary = std::env::current_exe().ok();
    if let Some(folder) = binary.as_deref().and_then(Path::parent) {
        paths.push(folder.join(&name));
        paths.push(folder.join("libonnxruntime.so"));
    }
    paths
}

/// The folder of caches.
fn cache() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or(home)
}

/// The library, loaded by the first call. Refused if there is none, with the places that were searched.
pub fn library() -> Result<&'static Library> {
    static LIBRARY: OnceLock<std::result::Result<Library, String>> = OnceLock::new();
    LIBRARY.get_or_init(|| load(candidates())).as_ref().map_err(Error::refused)
}

/// Version of the loaded library, for manifests and checkpoints: bits are the same only within one version.
pub fn version() -> Result<&'static str> {
    Ok(&library()?.version)
}

/// Where kolk looks for the library, in order: `ORT_DYLIB_PATH` (alone, if set), kolk's cache, next to the binary, the
/// system.
pub fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let name = format!("libonnxruntime.so.{PINNED}");
    let mut paths = Vec::new();
    if super::device::cuda().is_some() {
        paths.extend(gpu_candidates());
    }
    if let Some(cache) = cache() {
        paths.push(cache.join("kolk/onnxruntime").join(PINNED).join("lib").join(&name));
    }
    let binary = std::env::current_exe().ok();
    if let Some(folder) = binary.as_deref().and_then(Path::parent) {
        paths.push(folder.join(&name));
        paths.push(folder.join("libonnxruntime.so"));
    }
    paths.extend(["/usr/local/lib", "/usr/lib"].map(|folder| Path::new(folder).join(&name)));
    // Without a folder: the dynamic linker's own search.
    paths.extend([PathBuf::from(name), PathBuf::from("libonnxruntime.so")]);
    paths
}

fn load(candidates: Vec<PathBuf>) -> std::result::Result<Library, String> {
    let mut tried = Vec::new();
    for path in candidates {
        let by_linker = path.components().count() == 1;
        if !by_linker && !path.exists() {
            tried.push(format!("{}: not there", path.display()));
            continue;
        }
        match open(&path) {
            Ok(library) => return Ok(library),
            Err(_) if by_linker => tried.push(format!("{}: not found by the dynamic linker", path.display())),
            Err(error) => tried.push(format!("{}: {error}", path.display())),
        }
    }
    Err(format!(
        "ONNX Runtime {PINNED} is needed and was not found; get it with `make onnxruntime`, or set ORT_DYLIB_PATH to a \
         libonnxruntime.so; searched:\n  {}",
        tried.join("\n  ")
    ))
}

fn open(path: &Path) -> std::result::Result<Library, String> {
    let version = version_of(path)?;
    let environment = ort::init_from(path)
        .map_err(|error| error.to_string())?
        .with_telemetry(false)
        .build()
        .map_err(|error| error.to_string())?;
    environment.set_log_level(ort::logging::LogLevel::Fatal);
    Ok(Library { environment, version, path: path.to_owned() })
}

/// The first entries of `OrtApiBase`, which ONNX Runtime keeps stable over all versions (onnxruntime_c_api.h).
#[repr(C)]
struct ApiBase {
    get_api: *const std::ffi::c_void,
    get_version_string: unsafe extern "C" fn() -> *const c_char,
}

/// Asked of the library itself: `ort` doesn't hand it out, and a file's name can lie.
#[allow(unsafe_code)]
fn version_of(path: &Path) -> std::result::Result<String, String> {
    // SAFETY: loading runs the library's initialisers, which the user requested by naming it. `OrtGetApiBase` is ONNX
    // Runtime's documented entry and returns a pointer to a static table of the layout above, whose version string is
    // static and ends in NUL. The library stays loaded: `ort` opens it again and never closes it.
    unsafe {
        let library = libloading::Library::new(path).map_err(|error| {
            let words = said(&error);
            words.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&words).to_owned()
        })?;
        let base: libloading::Symbol<unsafe extern "C" fn() -> *const ApiBase> =
            library.get(b"OrtGetApiBase").map_err(|_| "not an ONNX Runtime library".to_owned())?;
        let base = base().as_ref().ok_or("OrtGetApiBase gave nothing")?;
        let version = CStr::from_ptr((base.get_version_string)()).to_string_lossy().into_owned();
        std::mem::forget(library);
        Ok(version)
    }
}

/// Why the dynamic linker could not open a library, in its own words: they begin with the library that it lacks.
pub(super) fn said(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_the_command_and_every_place() {
        let text = std::env::temp_dir().join("kolk-not-a-library.so");
        std::fs::write(&text, "no library").unwrap();
        let message =
            load(vec!["/nowhere/libonnxruntime.so".into(), text.clone(), "libkolk-none.so".into()]).unwrap_err();
        std::fs::remove_file(&text).unwrap();
        for part in ["make onnxruntime", "ORT_DYLIB_PATH", PINNED, "/nowhere/libonnxruntime.so: not there"] {
            assert!(message.contains(part), "{part} in: {message}");
        }
        assert!(message.contains(&format!("{}: file too short", text.display())), "{message}");
        assert!(message.contains("libkolk-none.so: not found by the dynamic linker"), "{message}");
    }

    #[test]
    fn the_pinned_version_is_one_version() {
        assert_eq!(PINNED.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{PINNED:?}");
    }

    #[test]
    fn the_loaded_library_says_its_version() {
        let library = library().unwrap();
        assert!(library.version.starts_with("1."), "{library:?}");
    }
}
