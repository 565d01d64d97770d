//! The pages, and the token that some of them ask for. Must not live here: connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::{Health, Versions};
use crate::metrics::Metrics;

/// Bytes that a token may have.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=4096;

struct Pages {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    token: Option<PathBuf>,
    versions: Versions,
}

type Shared = State<Arc<Pages>>;

/// The pages. With `token`, the file of a token, those that tell more than a status ask for it.
pub(super) fn router(metrics: Arc<Metrics>, health: Arc<Health>, token: Option<PathBuf>, versions: Versions) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready_page))
        .route("/version", get(version_page))
        .with_state(Arc::new(Pages { metrics, health, token, versions }))
}

/// The token in a file, without the spaces and line ends around it.
pub(super) fn token(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let token = text.trim();
    let fits = TOKEN.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| token.to_owned())
        .ok_or_else(|| format!("a token has {} to {} visible ASCII characters", TOKEN.start(), TOKEN.end()))
}

impl Pages {
    /// Whether a request has the token. The file is read for each: it may be replaced while the process runs.
    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(file) = &self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given =
            given.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        match (given, token(file)) {
            (Some((_, given)), Ok(token)) => same(given.trim().as_bytes(), token.as_bytes()),
            _ => false,
        }
    }
}

/// Takes as long wherever the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn unauthorised() -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "this page asks for a token\n").into_response()
}

fn page(status: StatusCode, content: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{content}\n")).into_response()
}

async fn metrics_page(State(pages): Shared, headers: HeaderMap) -> Response {
    if !pages.allows(&headers) {
        return unauthorised();
    }
    match pages.metrics.text(pages.health.reason().is_none()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The status is for everyone, as probes have no token; the reasons are not.
async fn ready_page(State(pages): Shared, headers: HeaderMap) -> Response {
    let reason = pages.health.reason();
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !pages.allows(&headers) {
        return page(status, &json!({ "ready": reason.is_none() }));
    }
    // It stays ready where most is refused: another process, or a restart, would refuse the same records.
    let warnings: Vec<String> =
        pages.metrics.refusals.mostly().map(|warning| warning.to_string()).into_iter().collect();
    let reasons: Vec<&String> = reason.iter().collect();
    page(status, &json!({ "ready": reason.is_none(), "reasons": reasons, "warnings": warnings }))
}

async fn version_page(State(pages): Shared, headers: HeaderMap) -> Response {
    if !pages.allows(&headers) {
        return unauthorised();
    }
    page(StatusCode::OK, &json!(pages.versions))
}
