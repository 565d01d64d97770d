//! Pages over real sockets.

use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;

fn start() -> (Server, Arc<Metrics>, Arc<Health>) {
    let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::default()));
    (serving(Http::default(), &metrics, &health).unwrap(), metrics, health)
}

/// Serves at a port that is free.
fn serving(http: Http, metrics: &Arc<Metrics>, health: &Arc<Health>) -> Result<Server> {
    let address = http.address.or("127.0.0.1:0".parse().ok());
    let versions = Versions::from([("kolk", "1.2.3".to_owned())]);
    Ok(serve(&Http { address, ..http }, versions, metrics, health)?.unwrap())
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

fn said(ready: bool, reasons: &[&str]) -> String {
    format!("{}\n", serde_json::json!({ "ready": ready, "reasons": reasons, "warnings": [] }))
}

#[test]
fn ready_only_while_running_and_says_why_not() {
    let (server, metrics, health) = start();
    let page = |path| {
        let (head, body) = get_page(&server, path);
        (head.split(' ').nth(1).unwrap().to_string(), body)
    };
    assert_eq!(page("/readyz"), ("503".into(), said(false, &["starting"])));
    assert_eq!(page("/healthz"), ("200".into(), "ok\n".into()));
    health.running();
    assert_eq!(page("/readyz"), ("200".into(), said(true, &[])));
    health.not_ready("disk full");
    assert_eq!(page("/readyz"), ("503".into(), said(false, &["disk full"])));
    assert_eq!(page("/other").0, "404");
    health.running();
    (0..30).for_each(|_| _ = metrics.refusals.note("bad_json"));
    let (status, body) = page("/readyz");
    assert_eq!(status, "200");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let warning = body["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("most of what comes is refused: 100 %"), "{body}");
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
    let http = Http { address: Some(address), ..Http::default() };
    let error = serving(http.clone(), &metrics, &health).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    drop(server);
    serving(http, &metrics, &health).unwrap();
}

#[test]
fn an_idle_connection_does_not_hold_up_the_drop() {
    let (server, ..) = start();
    let mut socket = TcpStream::connect(server.address()).unwrap();
    drop(server);
    let mut rest = String::new();
    assert_eq!(socket.read_to_string(&mut rest).unwrap_or(0), 0);
}

/// The answer to a request as it is written.
fn ask(server: &Server, request: &str) -> String {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // A connection that is closed while its request is still being sent is reset.
    let _ = socket.read_to_string(&mut answer);
    answer
}

fn with_token(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n")
}

#[test]
fn a_token_is_asked_for_and_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::default()));
    let http = Http { token: Some(file.clone()), ..Http::default() };
    let refused = serving(http.clone(), &metrics, &health).unwrap_err().to_string();
    assert!(refused.contains(&file.display().to_string()), "{refused}");
    std::fs::write(&file, "short\n").unwrap();
    assert!(serving(http.clone(), &metrics, &health).unwrap_err().to_string().contains("16 to 4096"));
    std::fs::write(&file, "a-long-enough-token-1\n").unwrap();
    let server = serving(http, &metrics, &health).unwrap();
    for path in ["/metrics", "/version"] {
        let denied = get_page(&server, path).0;
        assert!(denied.starts_with("HTTP/1.1 401") && denied.to_lowercase().contains("www-authenticate: bearer"));
        assert!(ask(&server, &with_token(path, "a-long-enough-token-2")).starts_with("HTTP/1.1 401"));
        assert!(ask(&server, &with_token(path, "a-long-enough-token-1")).starts_with("HTTP/1.1 200"));
    }
    assert_eq!(get_page(&server, "/healthz").1, "ok\n");
    assert_eq!(get_page(&server, "/readyz").1, "{\"ready\":false}\n");
    assert!(ask(&server, &with_token("/readyz", "a-long-enough-token-1")).contains("starting"));
    std::fs::write(&file, "a-long-enough-token-2").unwrap();
    assert!(ask(&server, &with_token("/version", "a-long-enough-token-2")).contains("{\"kolk\":\"1.2.3\"}"));
    assert!(ask(&server, &with_token("/version", "a-long-enough-token-1")).starts_with("HTTP/1.1 401"));
}

#[test]
fn an_address_that_others_reach_is_served_only_if_it_is_guarded_or_meant() {
    let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::default()));
    let http = Http { address: "0.0.0.0:0".parse().ok(), ..Http::default() };
    let refused = serving(http.clone(), &metrics, &health).unwrap_err().to_string();
    assert!(refused.contains("--http-token") && refused.contains("--http-insecure"), "{refused}");
    serving(Http { insecure: true, ..http }, &metrics, &health).unwrap();
}

#[test]
fn clients_that_say_nothing_or_too_much_hold_up_nobody() {
    let (server, ..) = start();
    let idle: Vec<TcpStream> = (0..63).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    assert_eq!(get_page(&server, "/healthz").1, "ok\n");
    let one_more = TcpStream::connect(server.address()).unwrap();
    // All places are taken, so what comes now is closed at once.
    assert_eq!(ask(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"), "");
    drop((idle, one_more));
    let long = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    let answer = (0..1000).map(|_| ask(&server, &long)).find(|answer| !answer.is_empty()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let posted = ask(&server, "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
}
