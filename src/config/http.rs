//! `runtime.http`: where metrics and health are served, and who may read them. Must not live here: the server.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::one_line;
use super::read::{Field, Reader};
use super::table::{Shape, names, word};
use super::words::Words;
use super::yaml::Kind;

/// `http:`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Http {
    /// Where to listen; `None`: nothing is served.
    pub address: Option<SocketAddr>,
    /// A file with the token that `/metrics` and `/version` ask for.
    pub token: Option<PathBuf>,
    /// The certificate and its chain, and its private key, both as PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether others may read it without either.
    pub insecure: bool,
}

/// Whether anyone may read what is served.
const ACCESS: [(&str, bool); 2] = [("guarded", false), ("anyone", true)];
const ADDRESS: Shape = Shape::Pattern(r"^(localhost|[0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]+$");
const HTTP: Words = Words::new(
    "`http`",
    &[
        word("address", ADDRESS, "Where to listen, such as 0.0.0.0:9464").needed(),
        word("token", Shape::Path, "A file with the token that /metrics and /version ask for"),
        word("certificate", Shape::Path, "For TLS: a file with the certificate and its chain, as PEM"),
        word("key", Shape::Path, "For TLS: a file with the certificate's private key, as PEM"),
        word(
            "access",
            Shape::Word(&names(&ACCESS)),
            "Who may read it at an address that other machines reach: those with the token or over TLS, or anyone",
        )
        .or("guarded"),
    ],
);
/// An address, or a section with one.
pub(super) const SHAPE: Shape = Shape::Any(&[ADDRESS, Shape::Section(&HTTP)]);

/// An address, or a section with one.
pub(super) fn read(reader: &mut Reader, field: Field<'_>) -> Option<Http> {
    let Kind::Map(_) = field.node.kind else {
        return Some(Http { address: Some(address(reader, field)?), ..Http::default() });
    };
    let fields = reader.section(field, &HTTP)?;
    let address = reader.need(&fields, "address").and_then(|field| address(reader, field));
    let mut file = |name: &'static str| Some(fields.get(name).and_then(|f| reader.location(f))?.value.0.into());
    let (token, certificate, key) = (file("token"), file("certificate"), file("key"));
    if fields.get("certificate").is_some() || fields.get("key").is_some() {
        reader.need(&fields, "certificate");
        reader.need(&fields, "key");
    }
    let insecure = fields.get("access").and_then(|field| reader.word(field, &ACCESS, &[])).unwrap_or_default();
    Some(Http { address, token, tls: certificate.zip(key), insecure })
}

fn address(reader: &mut Reader, field: Field<'_>) -> Option<SocketAddr> {
    const EXPECTED: &str = "an address and a port, such as 127.0.0.1:9464";
    let text = reader.text(field, EXPECTED)?;
    match http_address(&text) {
        Ok(address) => Some(address),
        Err(_) => reader.expected(field, EXPECTED),
    }
}

/// Reads `127.0.0.1:9464`, `[::1]:9464` or `localhost:9464`.
///
/// # Errors
/// What was expected instead, for the user.
pub fn http_address(text: &str) -> std::result::Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_string(),
    };
    numeric
        .parse()
        .map_err(|_| format!("expected an address and a port, such as 127.0.0.1:9464, found \"{}\"", one_line(text)))
}
