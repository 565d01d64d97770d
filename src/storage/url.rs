//! What a URL of an object store means, and the runtime that its requests run on.
//!
//! Lives here: the one place that looks for credentials in the environment. Must not live here: what is read or
//! written.

use std::ffi::OsString;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use object_store::ObjectStore;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::path::Path as ObjectPath;
use url::Url;

use crate::config::{is_secret, remember};
use crate::error::Context;
use crate::{Error, Result};

/// A store and the path in it that a URL means. Access is configured by the environment: variables that start with
/// `AWS_`, `GOOGLE_` or `AZURE_`, by the names that `object_store` knows; one that isn't UTF-8 is left out. Such a name
/// with `_FILE` after it names a file that holds the value.
///
/// # Errors
/// A scheme that isn't known, settings that don't fit, a file that can't be read.
pub fn open_url(url: &Url) -> std::result::Result<(Arc<dyn ObjectStore>, ObjectPath), String> {
    // reqwest has no TLS provider of its own. The only possible error: one is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = settings(std::env::vars_os())?;
    let (store, path) = object_store::parse_url_opts(url, options).map_err(|e| e.to_string())?;
    Ok((Arc::from(store), path))
}

/// The variables that configure access to object stores.
fn settings(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> std::result::Result<Vec<(String, String)>, String> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let is_ours = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
    let variables: Vec<_> = variables.filter_map(text).filter(|(name, _)| is_ours(name)).collect();
    let mut settings = Vec::with_capacity(variables.len());
    for (name, value) in &variables {
        let (name, value) = match name.strip_suffix("_FILE").filter(|short| is_option(short) && !is_option(name)) {
            Some(short) if variables.iter().any(|(other, _)| other == short) => {
                return Err(format!("{short} and {name} are both set; unset one of them"));
            }
            Some(short) => {
                let content = std::fs::read_to_string(value).map_err(|e| format!("{name}: can't read {value}: {e}"))?;
                (short, content.trim_end_matches(['\r', '\n']).to_string())
            }
            None => (name.as_str(), value.clone()),
        };
        if is_secret(name) {
            remember(&value);
        }
        settings.push((name.to_string(), value));
    }
    Ok(settings)
}

/// Whether an object store knows an option of this name.
fn is_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    AmazonS3ConfigKey::from_str(&name).is_ok()
        || GoogleConfigKey::from_str(&name).is_ok()
        || AzureConfigKey::from_str(&name).is_ok()
}

/// Waits for a future of an object store. One small runtime serves the whole process; it never sits between records.
pub fn block_on<F: Future>(future: F) -> Result<F::Output> {
    Ok(runtime()?.block_on(future))
}

/// Lets a future run on that runtime, for those who can't wait.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    runtime()?.spawn(future);
    Ok(())
}

fn runtime() -> Result<&'static tokio::runtime::Runtime> {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    if RUNTIME.get().is_none() {
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("kolk-store")
            .enable_all()
            .build()
            .or_failed(|| "cannot start the threads for files".into())?;
        // Another thread may have been first; then this one is dropped.
        let _ = RUNTIME.set(built);
    }
    RUNTIME.get().ok_or_else(|| Error::failed("cannot start the threads for files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_utf_8_is_left_out() {
        use std::os::unix::ffi::OsStringExt;
        let broken = || OsString::from_vec(vec![b'A', b'W', b'S', b'_', 0xff]);
        let variables = [
            ("AWS_REGION".into(), "r".into()),
            (broken(), "x".into()),
            ("AWS_KEY".into(), broken()),
            ("HOME".into(), "/".into()),
        ];
        let settings = settings(variables.into_iter()).unwrap();
        assert_eq!(settings, [("AWS_REGION".to_string(), "r".to_string())]);
    }

    #[test]
    fn a_file_holds_a_value_if_its_variable_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "the secret\n").unwrap();
        let path = path.to_str().unwrap();
        let of = |variables: &[(&str, &str)]| {
            settings(variables.iter().map(|(name, value)| (OsString::from(*name), OsString::from(*value))))
        };
        let pairs =
            |list: &[(&str, &str)]| list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
        // An option whose own name ends so stays as it is: object_store reads that file, again and again.
        let token = ("AWS_WEB_IDENTITY_TOKEN_FILE", path);
        let federated = ("AZURE_FEDERATED_TOKEN_FILE", path);
        let given = [("AWS_SECRET_ACCESS_KEY_FILE", path), token, federated, ("AWS_REGION", "r"), ("A_FILE", path)];
        let read = [("AWS_SECRET_ACCESS_KEY", "the secret"), token, federated, ("AWS_REGION", "r")];
        assert_eq!(of(&given).unwrap(), pairs(&read));
        assert_eq!(crate::config::hide("it is the secret"), "it is ***");
        let missing = of(&[("AZURE_STORAGE_ACCOUNT_KEY_FILE", "/no/file")]).unwrap_err();
        assert!(missing.starts_with("AZURE_STORAGE_ACCOUNT_KEY_FILE: can't read /no/file: "), "{missing}");
        let both = of(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_ACCESS_KEY_ID_FILE", path)]).unwrap_err();
        assert_eq!(both, "AWS_ACCESS_KEY_ID and AWS_ACCESS_KEY_ID_FILE are both set; unset one of them");
    }

    #[test]
    fn a_bucket_can_be_opened_without_a_tls_provider_of_reqwest() {
        let (_, path) = open_url(&Url::parse("s3://bucket/folder/a.parquet").unwrap()).unwrap();
        assert_eq!(path.as_ref(), "folder/a.parquet");
    }
}
