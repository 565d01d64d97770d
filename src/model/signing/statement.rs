//! The signature itself: bundle, envelope and statement. Must not live here: keys, and files on the disk.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::{IGNORED, PublicKeys, SIGNATURE, SigningKey};
use crate::Result;
use crate::error::{Context, printable};
use crate::model::registry::sha256;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// What a signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The key that signed, by the sha256 of its PEM.
    pub key: String,
    /// The sha256 of each file.
    pub files: BTreeMap<String, String>,
}

// Unknown fields are ignored, as the formats want it. A field of these that is there twice is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<Key>,
}

#[derive(Deserialize)]
struct Key {
    hint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate: String,
}

#[derive(Deserialize)]
struct Statement {
    subject: Vec<Subject>,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Subject {
    digest: Sha,
}

#[derive(Deserialize)]
struct Sha {
    sha256: String,
}

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// Checks a signature: that one of `keys` made it, and what it says of which files. Nothing that it says is looked at
/// before.
///
/// # Errors
/// What is wrong with it, in words.
pub fn verify(bundle: &[u8], keys: &PublicKeys) -> std::result::Result<Signed, String> {
    let bundle: Bundle =
        serde_json::from_slice(bundle).map_err(|error| format!("it is no Sigstore bundle: {error}"))?;
    expect("a bundle of type", &bundle.media_type, BUNDLE)?;
    let Some(key) = bundle.verification_material.public_key else {
        return Err("it is signed by a certificate or an identity: sign with a key (`model_signing sign key`)".into());
    };
    let envelope = bundle.dsse_envelope;
    expect("a payload of type", &envelope.payload_type, PAYLOAD)?;
    let [signature] = &envelope.signatures[..] else {
        return Err(format!("it has {} signatures, one was expected", envelope.signatures.len()));
    };
    let payload = STANDARD.decode(&envelope.payload).map_err(|_| "its payload is no base64")?;
    let signature = STANDARD.decode(&signature.sig).map_err(|_| "its signature is no base64")?;
    let hint = key.hint.as_deref().filter(|hint| !hint.is_empty());
    let key = keys.signer(hint, &encoded(&payload), &signature)?.to_owned();
    Ok(Signed { key, files: stated(&payload)? })
}

/// The key that a signature names, unchecked.
pub fn claimed(bundle: &[u8]) -> Option<String> {
    serde_json::from_slice::<Bundle>(bundle).ok()?.verification_material.public_key?.hint.map(|hint| printable(&hint))
}

/// The files of a statement.
fn stated(payload: &[u8]) -> std::result::Result<BTreeMap<String, String>, String> {
    let wrong = |error: serde_json::Error| format!("it signs no statement about a model: {error}");
    let head: Head = serde_json::from_slice(payload).map_err(wrong)?;
    expect("a statement of type", &head.kind, STATEMENT)?;
    expect("a predicate of type", &head.predicate, PREDICATE)?;
    let Statement { subject, predicate } = serde_json::from_slice(payload).map_err(wrong)?;
    expect("files that are signed by", &predicate.serialization.method, "files")?;
    expect("files that are hashed by", &predicate.serialization.hash_type, "sha256")?;
    let mut digests = Vec::new();
    let mut files = BTreeMap::new();
    for Resource { name, algorithm, digest } in predicate.resources {
        // A version has no folders within, so whatever leads elsewhere isn't one of its files either.
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']) {
            return Err(format!("it signs \"{}\", which is not the name of a file of a version", printable(&name)));
        }
        expect("digests by", &algorithm, "sha256")?;
        let Some(bytes) = from_hex(&digest) else {
            return Err(format!("the digest of {} is no sha256", printable(&name)));
        };
        digests.extend_from_slice(&bytes);
        if let Some(_before) = files.insert(name.clone(), digest.to_ascii_lowercase()) {
            return Err(format!("it signs {} twice", printable(&name)));
        }
    }
    let [subject] = &subject[..] else {
        return Err(format!("it has {} subjects, one was expected", subject.len()));
    };
    if !subject.digest.sha256.eq_ignore_ascii_case(&sha256(&digests)) {
        return Err("the digest of its subject is not that of its files".into());
    }
    Ok(files)
}

fn from_hex(digest: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digest.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn expect(what: &str, found: &str, expected: &str) -> std::result::Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("expected {what} {expected}, found {}", printable(&found.chars().take(100).collect::<String>())))
}

/// What is signed: DSSE's pre-authentication encoding, v1.
fn encoded(payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

/// The signature of files, given by their sha256, for the model `name`.
///
/// # Errors
/// A key that can't sign.
pub fn sign(name: &str, files: &BTreeMap<String, String>, key: &SigningKey) -> Result<Vec<u8>> {
    let digests: Vec<u8> = files.values().filter_map(|digest| from_hex(digest)).flatten().collect();
    let root = sha256(&digests);
    let resource =
        |(name, digest): (&String, &String)| json!({ "name": name, "algorithm": "sha256", "digest": digest });
    let resources: Vec<_> = files.iter().map(resource).collect();
    let mut ignored = IGNORED.to_vec();
    ignored.push(SIGNATURE);
    let statement = json!({
        "_type": STATEMENT,
        "subject": [{ "name": name, "digest": { "sha256": root } }],
        "predicateType": PREDICATE,
        "predicate": {
            "resources": resources,
            "serialization": {
                "method": "files", "hash_type": "sha256", "allow_symlinks": false, "ignore_paths": ignored,
            },
        },
    });
    let payload = statement.to_string().into_bytes();
    let signature = key.sign(&encoded(&payload))?;
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": key.hash() }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&payload),
            "payloadType": PAYLOAD,
            "signatures": [{ "sig": STANDARD.encode(signature), "keyid": "" }],
        },
    });
    serde_json::to_vec(&bundle).or_failed(|| "write the signature as JSON".into())
}
