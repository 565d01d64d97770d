//! Connections and their bounds: how many, how long, how large. A client that is slow, or says nothing, holds up
//! nobody. Must not live here: pages.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::tls::Tls;

/// Connections at once; what comes beyond them is closed.
const MOST: usize = 64;
/// From a connection's begin until its answer is sent. It has one request, so none is kept.
const LONGEST: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;
/// How long a client that is being answered may hold up the end of a run.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// After an `accept` that failed, as when there are no more file handles.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopped` is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    pages: Router,
    mut stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (free, tls) = (Arc::new(Semaphore::new(MOST)), Arc::new(tls));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(permit) = free.clone().try_acquire_owned() else { continue };
        let (pages, tls) = (pages.clone(), tls.clone());
        tokio::spawn(async move {
            // A client that is too slow, or breaks off, is of no interest to anyone.
            let _ = timeout(LONGEST, async {
                match &*tls {
                    None => answer(socket, pages).await,
                    Some(tls) => match tls.accept(socket).await {
                        Ok(socket) => answer(socket, pages).await,
                        Err(error) => tracing::debug!(%error, "http: a client without TLS, or with one that is broken"),
                    },
                }
            })
            .await;
            drop(permit);
        });
    }
    // All of them are free when everyone is answered.
    let _ = timeout(LAST_ANSWERS, free.acquire_many(MOST as u32)).await;
    Ok(())
}

async fn answer(socket: impl AsyncRead + AsyncWrite + Unpin + 'static, pages: Router) {
    let answered = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(pages))
        .await;
    if let Err(error) = answered {
        tracing::debug!(%error, "http: a connection ended early");
    }
}
