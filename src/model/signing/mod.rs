//! Signatures of versions: OpenSSF model signing v1 with P-256 keys, as PyPI's `model-signing` writes and reads them.
//!
//! Lives here: the keys ([`PublicKeys`], [`SigningKey`]), and the bytes of a signature: a Sigstore bundle (v0.3) whose
//! DSSE envelope holds an in-toto statement (v1) with the sha256 of each file. Must not live here: which files a
//! version has, and reading them (`version_files`).

mod keys;
mod statement;

#[cfg(test)]
mod tests;

pub use keys::{PublicKeys, SigningKey};
pub use statement::{Signed, claimed, sign, verify};

/// The signature of a version, beside what it signs.
pub const SIGNATURE: &str = "model.sig";

/// What `model_signing` leaves out of a signature by default, besides the signature itself.
pub const IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];
