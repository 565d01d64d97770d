//! The server's certificate, read again where its files change: it is renewed while the process runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::{Error, Result};

/// A certificate with its key, and the files that they come from.
pub(super) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    /// What was read last, and of when.
    read: Mutex<(Times, Arc<ServerConfig>)>,
}

type Times = (Option<SystemTime>, Option<SystemTime>);

impl Tls {
    /// # Errors
    /// Refused: files that are no certificate and no key, or don't belong together.
    pub(super) fn new(certificate: &Path, key: &Path) -> Result<Tls> {
        let times = times(certificate, key);
        let config = config(certificate, key).map_err(Error::refused)?;
        let read = Mutex::new((times, config));
        Ok(Tls { certificate: certificate.into(), key: key.into(), read })
    }

    pub(super) async fn accept(&self, socket: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current()).accept(socket).await
    }

    /// The present files. While they don't belong together, as between the writing of one and of the other, what was
    /// read before.
    fn current(&self) -> Arc<ServerConfig> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times(&self.certificate, &self.key);
        if times != read.0 {
            match config(&self.certificate, &self.key) {
                Ok(config) => *read = (times, config),
                Err(error) => tracing::warn!(error, "http: the certificate of before is used"),
            }
        }
        read.1.clone()
    }
}

fn times(certificate: &Path, key: &Path) -> Times {
    let time = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    (time(certificate), time(key))
}

fn config(certificate: &Path, key: &Path) -> std::result::Result<Arc<ServerConfig>, String> {
    let at = |path: &Path, what: &dyn std::fmt::Display| format!("http: {}: {what}", path.display());
    let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| at(certificate, &error))?;
    if chain.is_empty() {
        return Err(at(certificate, &"it holds no certificate (PEM)"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map(Arc::new)
        .map_err(|error| at(certificate, &error))
}
