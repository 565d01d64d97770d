//! Watching a run from outside while it runs: metrics, health, readiness over a real socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::common::*;
use kolk::kernel::CellKind;
use kolk::model::ModelKind;

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
