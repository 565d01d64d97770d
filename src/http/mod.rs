//! Serves metrics and health over HTTP, on its own thread that never delays a record.
//!
//! Lives here: `/metrics`, `/healthz`, `/readyz`, and what "ready" means ([`Health`]). Must not live here: the metrics
//! themselves (`metrics`), and anything that changes a run: these pages only read.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use crate::config::hide;
use crate::error::Context;
use crate::metrics::Metrics;
use crate::{Error, Result};

/// How long a client that is being answered may hold up the end of a run.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

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

/// Starts to serve; returns once the port is open.
///
/// # Errors
/// Refused if the address can't be listened on, as when the port is in use.
pub fn serve(address: SocketAddr, metrics: Arc<Metrics>, health: Arc<Health>) -> Result<Server> {
    let advice = |e: std::io::Error| {
        Error::refused(format!(
            "http: can't listen on {address}: {e}; choose another address with --http or runtime.http"
        ))
    };
    let listener = TcpListener::bind(address).map_err(advice)?;
    listener.set_nonblocking(true).map_err(advice)?;
    let address = listener.local_addr().map_err(advice)?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "metrics and health can be read from other machines");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .or_refused(|| "start the thread of http".to_string())?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("http".to_string())
        .spawn(move || {
            let served = runtime.block_on(run(listener, router(metrics, health), stopped));
            if let Err(error) = served {
                tracing::error!(%error, "http: stopped serving");
            }
        })
        .or_refused(|| "start the thread of http".to_string())?;
    Ok(Server { address, stop: Some(stop), thread: Some(thread) })
}

async fn run(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (begin, mut begun) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        // Dropping the sender is the signal: there is nothing to say.
        stopped.await.ok();
        drop(begin);
    });
    let too_long = async {
        (&mut begun).await.ok();
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = serving => served,
        () = too_long => Ok(()),
    }
}

type Shared = State<(Arc<Metrics>, Arc<Health>)>;

fn router(metrics: Arc<Metrics>, health: Arc<Health>) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(show_ready))
        .with_state((metrics, health))
}

async fn show_metrics(State((metrics, health)): Shared) -> Response {
    match metrics.text(health.reason().is_none()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn show_ready(State((metrics, health)): Shared) -> Response {
    match health.reason() {
        // It stays ready: another process, or a restart, would refuse the same records.
        None => match metrics.refusals.mostly() {
            Some(warning) => format!("ready\nwarning: {warning}\n").into_response(),
            None => "ready\n".into_response(),
        },
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn start() -> (Server, Arc<Metrics>, Arc<Health>) {
        let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::default()));
        let server = serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&metrics), Arc::clone(&health)).unwrap();
        (server, metrics, health)
    }

    /// Status line, headers and body of a page.
    fn get_page(server: &Server, path: &str) -> (String, String) {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_string(), body.to_string())
    }

    #[test]
    fn ready_only_while_running_and_says_why_not() {
        let (server, metrics, health) = start();
        let page = |path| {
            let (head, body) = get_page(&server, path);
            (head.split(' ').nth(1).unwrap().to_string(), body)
        };
        assert_eq!(page("/readyz"), ("503".into(), "starting\n".into()));
        assert_eq!(page("/healthz"), ("200".into(), "ok\n".into()));
        health.running();
        assert_eq!(page("/readyz"), ("200".into(), "ready\n".into()));
        health.not_ready("disk full");
        assert_eq!(page("/readyz"), ("503".into(), "disk full\n".into()));
        assert_eq!(page("/other").0, "404");
        health.running();
        (0..30).for_each(|_| _ = metrics.refusals.note("bad_json"));
        let (status, body) = page("/readyz");
        assert_eq!(status, "200");
        assert!(body.starts_with("ready\nwarning: most of what comes is refused: 100 %"), "{body}");
    }

    #[test]
    fn metrics_are_served_as_prometheus_reads_them() {
        let (server, metrics, health) = start();
        metrics.records_out.inc_by(5);
        health.running();
        let (head, body) = get_page(&server, "/metrics");
        assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(body.contains("\nkolk_records_out_total 5\n") && body.contains("\nkolk_ready 1\n"), "{body}");
    }

    #[test]
    fn a_port_in_use_is_refused_and_free_again_after_the_drop() {
        let (server, metrics, health) = start();
        let address = server.address();
        let error = serve(address, Arc::clone(&metrics), Arc::clone(&health)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        drop(server);
        serve(address, metrics, health).unwrap();
    }

    #[test]
    fn an_idle_connection_does_not_hold_up_the_drop() {
        let (server, ..) = start();
        let mut socket = TcpStream::connect(server.address()).unwrap();
        drop(server);
        let mut rest = String::new();
        assert_eq!(socket.read_to_string(&mut rest).unwrap_or(0), 0);
    }
}
