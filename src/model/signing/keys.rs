//! Keys, read from PEM files: public ones that are trusted, and the private one that signs.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use crate::model::registry::sha256;
use crate::storage::read_file;
use crate::{Error, Result};

/// What comes before the point in the DER of a P-256 key: its algorithm and its curve, and "uncompressed".
const P256: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// Length of the DER with its point.
const P256_DER: usize = P256.len() + 64;

/// A larger file is no file of keys.
const LARGEST: u64 = 1 << 20;

/// The keys that may have signed a version. None: signatures are not asked for.
#[derive(Debug, Clone, Default)]
pub struct PublicKeys(Vec<PublicKey>);

#[derive(Debug, Clone)]
struct PublicKey {
    /// 0x04 and the two coordinates.
    point: Vec<u8>,
    /// The sha256 of its PEM, by which signatures name it.
    hash: String,
}

impl PublicKeys {
    /// No keys: unsigned versions are taken too.
    pub fn none() -> PublicKeys {
        PublicKeys::default()
    }

    /// Adds the keys of a PEM file. It may hold several.
    ///
    /// # Errors
    /// A file that can't be read or holds no public key, or one of another kind than P-256.
    pub fn add(&mut self, file: &Path) -> Result<()> {
        let refused = |why: &str| Err(Error::refused(format!("the public key {}: {why}", file.display())));
        let pem = match read_file(file, LARGEST) {
            Ok(pem) => pem,
            Err(why) => return refused(&why.to_string()),
        };
        let keys: std::result::Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(&pem).collect();
        let Ok(keys) = keys else { return refused("it is damaged PEM") };
        if keys.is_empty() {
            let text = String::from_utf8_lossy(&pem);
            return refused(if text.contains("PRIVATE KEY-----") {
                "it is a private key: `openssl pkey -in FILE -pubout` writes its public key"
            } else if text.contains("BEGIN CERTIFICATE-----") {
                "it is a certificate: `openssl x509 -in FILE -pubkey -noout` writes its public key"
            } else {
                "it holds no public key (PEM, BEGIN PUBLIC KEY)"
            });
        }
        for key in keys {
            match PublicKey::of(key.as_ref()) {
                Some(key) => self.0.push(key),
                None => return refused("it is not a P-256 key (`openssl pkey -pubin -in FILE -text` shows its kind)"),
            }
        }
        Ok(())
    }

    /// Whether signatures are not asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what a key signs is taken.
    pub fn has(&self, key: &SigningKey) -> bool {
        self.0.iter().any(|known| known.hash == key.hash())
    }

    /// The hash of the key that signed a message; `hint` is the hash that the signature names.
    pub(super) fn signer(
        &self,
        hint: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> std::result::Result<&str, String> {
        let named: Vec<&PublicKey> =
            self.0.iter().filter(|key| hint.is_none_or(|hint| hint.eq_ignore_ascii_case(&key.hash))).collect();
        let listed = || self.0.iter().map(|key| key.hash.as_str()).collect::<Vec<_>>().join(", ");
        if named.is_empty() {
            let hint = crate::error::printable(hint.unwrap_or_default());
            return Err(format!("it is signed by another key, {hint}; trusted is {}", listed()));
        }
        let signed = |key: &&PublicKey| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.point).verify(message, signature).is_ok()
        };
        let found = named.into_iter().find(signed).map(|key| key.hash.as_str());
        found.ok_or_else(|| format!("the signature doesn't belong to its content or to a trusted key ({})", listed()))
    }
}

impl PublicKey {
    fn of(der: &[u8]) -> Option<PublicKey> {
        if der.len() != P256_DER || !der.starts_with(&P256) {
            return None;
        }
        Some(PublicKey { point: der[P256.len() - 1..].to_vec(), hash: sha256(pem(der).as_bytes()) })
    }
}

/// The PEM of a public key as every tool writes it.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for (i, character) in text.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + "\n-----END PUBLIC KEY-----\n"
}

/// The private key that signs versions.
#[derive(Debug)]
pub struct SigningKey {
    key: Arc<dyn rustls::sign::SigningKey>,
    hash: String,
}

impl SigningKey {
    /// Reads a P-256 key, PKCS#8 or SEC 1, as PEM.
    ///
    /// # Errors
    /// A file that can't be read or holds no such key.
    pub fn read(file: &Path) -> Result<SigningKey> {
        let refused = |why: &str| Error::refused(format!("the signing key {}: {why}", file.display()));
        let pem = read_file(file, LARGEST).map_err(|why| refused(&why.to_string()))?;
        let text = String::from_utf8_lossy(&pem);
        if text.contains("ENCRYPTED") {
            return Err(refused("it is encrypted: `openssl pkey -in FILE -out NEW` decrypts it"));
        }
        let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| refused("it holds no private key (PEM)"))?;
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&der).ok();
        let hash = key.as_ref().and_then(|key| PublicKey::of(key.public_key()?.as_ref())).map(|key| key.hash);
        let (Some(key), Some(hash)) = (key, hash) else {
            return Err(refused(
                "it is not a P-256 key: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE` makes \
                 one",
            ));
        };
        Ok(SigningKey { key, hash })
    }

    /// The sha256 of its public key's PEM.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signer = self.key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signed = signer.and_then(|signer| signer.sign(message).ok());
        signed.ok_or_else(|| Error::failed("the signing key could not sign"))
    }
}
