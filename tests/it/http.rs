//! Watching a run from outside while it runs: metrics, health, readiness over a real socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::common::*;
use super::kafka::front::certificates;
use kolk::config::Http;
use kolk::http::{Health, Server, serve};
use kolk::kernel::CellKind;
use kolk::metrics::Metrics;
use kolk::model::ModelKind;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The whole answer to a request, if there is one.
pub fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// An address that nothing listens at.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The value of the first metric that begins so.
pub fn value(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_run_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(&folder.join("data.parquet"), &series(200, 1_500), 10_000);
    publish(folder, "m", CellKind::Lstm, ModelKind::Carry, None);
    let file = pipeline(
        folder,
        "model: m, mode: carry",
        "parquet: { path: out/, part_records: 4000 }",
        "state: { checkpoint_every: 1ms }",
    );
    let address = free_address();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kolk"))
        .args(["run", file.to_str().unwrap(), "--http", &address])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut metrics, mut ready, mut health) = (String::new(), String::new(), String::new());
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(60) {
        for (path, kept) in [("/readyz", &mut ready), ("/healthz", &mut health), ("/metrics", &mut metrics)] {
            if let Some(answer) = get(&address, path) {
                *kept = answer;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let value = |name: &str| value(&metrics, name).unwrap_or_else(|| panic!("no {name} in {metrics}"));
    assert!(value("kolk_records_in_total") > 0.0);
    assert!(value("kolk_records_out_total") > 0.0);
    assert_eq!(value("kolk_source_rows "), 300_000.0);
    assert!(value("kolk_source_rows_read_total") > 0.0);
    assert!(value("kolk_state_keys") > 0.0);
    assert!(value("kolk_state_bytes") > 0.0);
    assert!(value("kolk_inference_seconds_count") > 0.0);
    assert!(value("kolk_stage_seconds_count{stage=\"1:inputs\"}") > 0.0);
    assert_eq!(value("kolk_model_version{model=\"m\"}"), 1.0);
}

/// The answer over TLS to a client that trusts the authority of a folder; an error where it doesn't trust the server.
fn over_tls(server: &Server, folder: &Path) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(server.address())?);
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn pages_over_tls_with_a_certificate_that_is_renewed() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (first.path(), second.path());
    certificates(first);
    certificates(second);
    let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::default()));
    let start = |certificate: &Path, key: &Path| {
        let address = Some("127.0.0.1:0".parse().unwrap());
        let http = Http { address, tls: Some((certificate.into(), key.into())), ..Http::default() };
        serve(&http, [("kolk", "1.2.3".to_owned())].into(), &metrics, &health)
    };
    let (certificate, key) = (first.join("server.pem"), first.join("server.key"));
    for (certificate, key) in [(&certificate, &first.join("client.key")), (&first.join("none.pem"), &key)] {
        let refused = start(certificate, key).unwrap_err();
        assert!(
            refused.exit_code() == 2 && refused.to_string().contains(&certificate.display().to_string()),
            "{refused}"
        );
    }
    let server = start(&certificate, &key).unwrap().unwrap();
    let answer = over_tls(&server, first).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("{\"kolk\":\"1.2.3\"}"), "{answer}");
    over_tls(&server, second).unwrap_err();
    assert!(!get(&server.address().to_string(), "/version").unwrap_or_default().contains("200"));
    // Renewed: first one file, then the other.
    std::fs::copy(second.join("server.key"), &key).unwrap();
    over_tls(&server, first).unwrap();
    std::fs::copy(second.join("server.pem"), &certificate).unwrap();
    let renewed = over_tls(&server, second).unwrap();
    assert!(renewed.starts_with("HTTP/1.1 200"), "{renewed}");
}
