//! The client against a registry that is silent, late, forgetful or replaced by something else. These tests wait for
//! real time to pass, since that is what they are about.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::config::At;
use crate::format::answers::GRACE;

const KNOWN: &str = r#"{"schema":"{\"type\":\"record\",\"name\":\"S\",\"fields\":[]}"}"#;
const MISSING: &str = r#"{"error_code":40403,"message":"Schema not found"}"#;

/// A registry that gives these answers, by the time since it was started; `None`: it never answers.
fn registry(answer: fn(Duration) -> Option<(u16, &'static str)>) -> Arc<Registry> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let started = Instant::now();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for client in listener.incoming().flatten() {
            match answer(started.elapsed()) {
                Some((status, body)) => answered(client, status, body),
                None => silent.push(client),
            }
        }
    });
    registry_at(url)
}

fn registry_at(url: String) -> Arc<Registry> {
    let source = SchemaSource {
        registry: At::default_value(url),
        written: None,
        auth: None,
        token: None,
        tls: crate::config::Tls::default(),
        files: Vec::new(),
        output: None,
        subject: At::default_value("s".into()),
        message: None,
    };
    Arc::new(Registry::new(&source).unwrap())
}

fn answered(mut client: TcpStream, status: u16, body: &str) {
    let _ = client.read(&mut [0; 4096]);
    let _ = write!(
        client,
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
}

/// Asks until there is another verdict than that there is none, for that long at most. No question may take long.
fn asked(registry: &Arc<Registry>, id: u32, most: Duration) -> (Verdict, Duration) {
    let started = Instant::now();
    loop {
        let before = Instant::now();
        let verdict = registry.by_name(id.into(), Language::Avro);
        assert!(before.elapsed() < Duration::from_millis(500), "the caller's thread waits: {:?}", before.elapsed());
        if !matches!(verdict, Verdict::Pending(_)) || started.elapsed() >= most {
            return (verdict, started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_answer_that_is_too_long_is_not_read() {
    static LONG: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "x".repeat(MOST_BYTES + 1));
    let registry = registry(|_| Some((200, LONG.as_str())));
    let started = Instant::now();
    loop {
        match registry.by_name(7.into(), Language::Avro) {
            Verdict::Pending(why) if why.contains("more than 8388608 bytes is not read") => break,
            Verdict::Pending(_) => assert!(started.elapsed() < Duration::from_secs(60)),
            other => panic!("{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_answer_that_points_to_another_host_is_not_followed() {
    let (other, here) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = other.local_addr().unwrap().port();
    let registry = registry_at(format!("http://{}", here.local_addr().unwrap()));
    std::thread::spawn(move || {
        for mut client in here.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let to = format!("Location: http://localhost:{port}/\r\nConnection: close\r\nContent-Length: 0");
            let _ = write!(client, "HTTP/1.1 302 x\r\n{to}\r\n\r\n");
        }
    });
    let Err(Silence::Unavailable(why)) = registry.reader("s", None, Language::Avro) else { panic!("an answer") };
    assert!(why.contains("status 302"), "{why}");
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "it was asked");
}

#[test]
fn a_silent_registry_keeps_nobody_waiting() {
    let registry = registry(|_| None);
    let why = |verdict| match verdict {
        Verdict::Pending(why) => why,
        other => panic!("{other:?}"),
    };
    let first = why(asked(&registry, 7, Duration::from_millis(100)).0);
    assert_eq!(first, "waiting for the schema registry's answer about schema 7");
    let later = why(asked(&registry, 7, PATIENCE + Duration::from_secs(1)).0);
    assert!(later.starts_with("the schema registry doesn't answer: "), "{later}");
}

#[test]
fn an_id_that_is_known_a_moment_later_was_never_unknown() {
    let registry =
        registry(|since| Some(if since < Duration::from_millis(700) { (404, MISSING) } else { (200, KNOWN) }));
    let (verdict, took) = asked(&registry, 7, GRACE);
    assert!(matches!(verdict, Verdict::Schema(_)), "{verdict:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn an_id_that_stays_missing_is_unknown() {
    let registry = registry(|_| Some((404, MISSING)));
    let (verdict, took) = asked(&registry, 7, GRACE * 3);
    assert!(matches!(verdict, Verdict::Unknown) && took >= GRACE, "{verdict:?} after {took:?}");
}

#[test]
fn what_is_no_registry_decides_nothing() {
    for answer in [|_| Some((404, "<html>not here</html>")), |_| Some((401, "{}")), |_| Some((200, "hello"))] {
        let registry = registry(answer);
        let (verdict, _) = asked(&registry, 7, Duration::from_secs(1));
        assert!(matches!(&verdict, Verdict::Pending(why) if !why.starts_with("waiting")), "{verdict:?}");
    }
}

#[test]
fn a_schema_of_another_language_is_refused_for_good() {
    let registry = registry(|_| Some((200, r#"{"schema":"{}","schemaType":"JSON"}"#)));
    let (verdict, _) = asked(&registry, 7, GRACE);
    assert!(matches!(&verdict, Verdict::Refused(why) if why.ends_with("schema 7: is JSON")), "{verdict:?}");
}
