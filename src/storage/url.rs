//! What a URL of an object store means, and the runtime that its requests run on.
//!
//! Lives here: the one place that looks for credentials in the environment. Must not live here: what is read or
//! written.

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use url::Url;

use crate::config::{is_secret, remember};
use crate::error::Context;
use crate::{Error, Result};

/// A store and the path in it that a URL means. Access is configured by the environment: variables that start with
/// `AWS_`, `GOOGLE_` or `AZURE_`, by the names that `object_store` knows; one that isn't UTF-8 is left out.
///
/// # Errors
/// A scheme that isn't known, settings that don't fit.
pub fn open_url(url: &Url) -> std::result::Result<(Arc<dyn ObjectStore>, ObjectPath), String> {
    // reqwest has no TLS provider of its own. The only possible error: one is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = settings(std::env::vars_os());
    let (store, path) = object_store::parse_url_opts(url, options).map_err(|e| e.to_string())?;
    Ok((Arc::from(store), path))
}

/// The variables that configure access to object stores.
fn settings(variables: impl Iterator<Item = (OsString, OsString)>) -> impl Iterator<Item = (String, String)> {
    variables.filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        let is_ours = ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
        if is_ours && is_secret(&name) {
            remember(&value);
        }
        is_ours.then_some((name, value))
    })
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
        assert_eq!(settings(variables.into_iter()).collect::<Vec<_>>(), [("AWS_REGION".to_string(), "r".to_string())]);
    }

    #[test]
    fn a_bucket_can_be_opened_without_a_tls_provider_of_reqwest() {
        let (_, path) = open_url(&Url::parse("s3://bucket/folder/a.parquet").unwrap()).unwrap();
        assert_eq!(path.as_ref(), "folder/a.parquet");
    }
}
