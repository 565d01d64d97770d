//! Serves metrics and health over HTTP, on its own thread that never delays a record.
//!
//! Lives here: the pages ([`pages`]), what "ready" means ([`Health`]), who may read them, and the bounds of connections
//! ([`connections`]). Must not live here: the metrics themselves (`metrics`), and anything that changes a run: these
//! pages only read.

mod connections;
mod pages;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::tls::Tls;
use crate::config::{Http, hide};
use crate::error::Context;
use crate::metrics::Metrics;
use crate::{Error, Result};

/// Versions of what a process is made of, by name, for `/version`.
pub type Versions = BTreeMap<&'static str, String>;

/// Whether the process does its work, as `/readyz` says it.
#[derive(Debug)]
pub struct Health {
    /// Why it doesn't; `None` while it does.
    reason: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Health { reason: Mutex::new(Some("starting".to_string())) }
    }
}

impl Health {
    /// From now on it does its work.
    pub fn running(&self) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on it doesn't, for this reason: `restoring state`, `stopping`, an error's message.
    pub fn not_ready(&self, reason: impl fmt::Display) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(hide(&reason.to_string()).into_owned());
    }

    /// Why it doesn't do its work; `None` while it does.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens; with the port that was found where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only serves: a panic of it has been reported by the panic hook and must not end the run.
            thread.join().ok();
        }
    }
}

/// Starts to serve; returns once the port is open, with `None` where nothing is to be served.
///
/// # Errors
/// Refused: an address that can't be listened on, as when the port is in use; one that other machines reach, without a
/// token, TLS or the user's word that anyone may read it; a token or certificate that can't be read.
pub fn serve(http: &Http, versions: Versions, metrics: &Arc<Metrics>, health: &Arc<Health>) -> Result<Option<Server>> {
    let Some(address) = http.address else { return Ok(None) };
    let is_guarded = http.token.is_some() || http.tls.is_some();
    if !address.ip().is_loopback() && !is_guarded && !http.insecure {
        return Err(Error::refused(format!(
            "http: other machines reach {address}: give a token (--http-token FILE) or TLS (--http-certificate, \
             --http-key), or say that anyone may read it (--http-insecure); see `runtime.http` for the pipeline file"
        )));
    }
    let tls = http.tls.as_ref().map(|(certificate, key)| Tls::new(certificate, key)).transpose()?;
    if let Some(token) = &http.token {
        pages::token(token).map_err(|why| Error::refused(format!("http: the token in {}: {why}", token.display())))?;
    }
    let advice = |e: std::io::Error| {
        Error::refused(format!(
            "http: can't listen on {address}: {e}; choose another address with --http or runtime.http"
        ))
    };
    let listener = TcpListener::bind(address).map_err(advice)?;
    listener.set_nonblocking(true).map_err(advice)?;
    let address = listener.local_addr().map_err(advice)?;
    if !address.ip().is_loopback() && !is_guarded {
        tracing::warn!(%address, "metrics and health can be read from other machines");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .or_refused(|| "start the thread of http".to_string())?;
    let (stop, stopped) = oneshot::channel();
    let pages = pages::router(metrics.clone(), health.clone(), http.token.clone(), versions);
    let thread = std::thread::Builder::new()
        .name("http".to_string())
        .spawn(move || {
            if let Err(error) = runtime.block_on(connections::serve(listener, tls, pages, stopped)) {
                tracing::error!(%error, "http: stopped serving");
            }
        })
        .or_refused(|| "start the thread of http".to_string())?;
    Ok(Some(Server { address, stop: Some(stop), thread: Some(thread) }))
}
