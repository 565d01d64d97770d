//! What stands in front of registries: TLS that asks for a client's certificate, a bearer token, a context in the path,
//! GUIDs. All answers are the real registry's.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Writes ca.pem, and certificates with keys of a server and a client.
const CERTIFICATES: &str = r#"
import datetime, ipaddress, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
now = datetime.datetime.now(datetime.timezone.utc)
def make(name, issuer=None):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    by, by_key = issuer or (subject, key)
    cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(by_key, hashes.SHA256()))
    write = lambda end, data: open(f"{sys.argv[1]}/{name}{end}", "wb").write(data)
    write(".pem", cert.public_bytes(serialization.Encoding.PEM))
    write(".key", key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return subject, key
ca = make("ca")
make("server", ca)
make("client", ca)
make("stranger")
"#;

/// Puts them into a folder.
pub fn certificates(folder: &Path) {
    let python = std::env::var("KOLK_PYTHON").expect("KOLK_PYTHON is not set: `make test` sets it");
    let made = Command::new(python).args(["-c", CERTIFICATES]).arg(folder).status().unwrap();
    assert!(made.success());
}

/// The context in the path of its URL.
pub const CONTEXT: &str = "/contexts/:.lab:";

/// A server in front of the registry; it ends with the process of the tests.
pub struct Front {
    pub url: String,
    pub token: Arc<Mutex<String>>,
    /// The ids of GUIDs.
    pub guids: Arc<Mutex<HashMap<String, u32>>>,
}

impl Front {
    /// With certificates that it puts into a folder.
    pub fn new(folder: &Path, token: &str) -> Front {
        certificates(folder);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let own = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![own], PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = Front {
            url: format!("https://{}{CONTEXT}", listener.local_addr().unwrap()),
            token: Arc::new(Mutex::new(token.to_string())),
            guids: Arc::default(),
        };
        let (config, token, guids) = (Arc::new(config), front.token.clone(), front.guids.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let connection = ServerConnection::new(config.clone()).unwrap();
                let (token, guids) = (token.lock().unwrap().clone(), guids.lock().unwrap().clone());
                // A client that is refused goes away.
                std::thread::spawn(move || drop(serve(StreamOwned::new(connection, client), &token, &guids)));
            }
        });
        front
    }
}

/// Where the real registry is.
pub fn url() -> String {
    std::env::var("KOLK_REGISTRY").expect("KOLK_REGISTRY is not set: `make test` sets it")
}

/// Its address, and its path.
fn registry() -> (String, String) {
    let url = url();
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    (host.to_string(), path.to_string())
}

fn serve(
    mut client: StreamOwned<ServerConnection, TcpStream>,
    token: &str,
    guids: &HashMap<String, u32>,
) -> std::io::Result<()> {
    let (head, body) = request(&mut client)?;
    let (method, rest) = head.split_once(' ').unwrap_or_default();
    let path = rest.split(' ').next().unwrap_or_default();
    let answer = if !head.to_ascii_lowercase().contains(&format!("authorization: bearer {}\r\n", token.to_lowercase()))
    {
        b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec()
    } else {
        let path = path.strip_prefix(CONTEXT).unwrap_or("/nowhere").to_string();
        let path = match path.strip_prefix("/schemas/guids/").map(|guid| guids.get(guid)) {
            Some(Some(id)) => format!("/schemas/ids/{id}"),
            _ => path,
        };
        forward(method, &path, &body)?
    };
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

/// The head of a request, and its body.
fn request(client: &mut impl Read) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = client.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some(end) = text.find("\r\n\r\n") else {
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let head = text[..end + 2].to_string();
        let length = head.to_ascii_lowercase().split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
        });
        if bytes.len() >= end + 4 + length {
            return Ok((head, bytes[end + 4..].to_vec()));
        }
    }
}

/// The real registry's answer, whole.
fn forward(method: &str, path: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let (host, base) = registry();
    let mut stream = TcpStream::connect(&host)?;
    let head = format!(
        "{method} /{base}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Registers a schema; gives its id.
pub fn register(subject: &str, schema_type: &str, schema: &str) -> u32 {
    let body = serde_json::json!({ "schema": schema, "schemaType": schema_type }).to_string();
    let answer = forward("POST", &format!("/subjects/{subject}/versions"), body.as_bytes()).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let id = answer.split_once("\"id\":").unwrap_or_else(|| panic!("{answer}")).1;
    id.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// The versions of a subject, as the registry lists them.
pub fn versions(subject: &str) -> String {
    got(&format!("/subjects/{subject}/versions"))
}

/// The newest version of a subject, as the registry writes it.
pub fn newest(subject: &str) -> String {
    got(&format!("/subjects/{subject}/versions/latest"))
}

fn got(path: &str) -> String {
    let answer = forward("GET", path, &[]).unwrap();
    String::from_utf8_lossy(&answer).split("\r\n\r\n").nth(1).unwrap_or_default().to_string()
}
