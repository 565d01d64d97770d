//! Signatures of PyPI's model-signing (`tests/python/sign_models.py`), and of our own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::Result;
use crate::model::registry::{self, Version};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signed").join(name)
}

fn keys(files: &[&str]) -> PublicKeys {
    let mut keys = PublicKeys::none();
    files.iter().for_each(|file| keys.add(&fixture(file)).unwrap());
    keys
}

/// A registry with the signed version of the fixtures as air/1.
fn registry() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("air/1");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(fixture("version")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    (root, folder)
}

fn open(root: &tempfile::TempDir, keys: &PublicKeys) -> Result<Version> {
    registry::open(root.path(), "air/1", keys)
}

fn refusal(root: &tempfile::TempDir) -> String {
    let error = open(root, &keys(&["first.pub"])).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn what_model_signing_signed_is_taken() {
    let (root, folder) = registry();
    let hash = registry::sha256(&fs::read(fixture("first.pub")).unwrap());
    for keys in [keys(&["first.pub"]), keys(&["other.pub", "first.pub"])] {
        let version = open(&root, &keys).unwrap();
        assert_eq!((version.onnx.as_slice(), version.signed_by.as_ref()), (&b"the graph"[..], Some(&hash)));
    }
    assert_eq!(open(&root, &PublicKeys::none()).unwrap().signed_by, None);
    assert_eq!(registry::claimed_signer(root.path(), "air", 1), Some(hash.clone()));
    // One file with both keys, and a signature that doesn't name its key.
    let both = root.path().join("both.pub");
    let text = |name: &str| fs::read_to_string(fixture(name)).unwrap();
    fs::write(&both, text("other.pub") + "a comment\n" + &text("first.pub")).unwrap();
    let mut keys = PublicKeys::none();
    keys.add(&both).unwrap();
    assert_eq!(open(&root, &keys).unwrap().signed_by.as_ref(), Some(&hash));
    fs::copy(fixture("no_hint.sig"), folder.join(SIGNATURE)).unwrap();
    assert_eq!(open(&root, &keys).unwrap().signed_by, Some(hash));
    // What model_signing leaves out too is in nobody's way.
    fs::create_dir(folder.join(".git")).unwrap();
    fs::write(folder.join(".gitignore"), "x").unwrap();
    open(&root, &keys).unwrap();
}

#[test]
fn bad_signatures_are_refused_with_what_is_wrong() {
    let said = BTreeMap::from([
        ("absolute_path", "it signs \"/etc/passwd\", which is not the name of a file"),
        ("bundle_twice", "duplicate field `mediaType`"),
        ("certificate", "signed by a certificate or an identity"),
        ("der_cut", "doesn't belong to its content or to a trusted key"),
        ("der_empty", "doesn't belong"),
        ("der_long_length", "doesn't belong"),
        ("der_longer", "doesn't belong"),
        ("der_no_sequence", "doesn't belong"),
        ("der_zeros", "doesn't belong"),
        ("dot_path", "it signs \".\""),
        ("edited_statement", "doesn't belong"),
        ("empty_path", "it signs \"\""),
        ("encoding_of_0_2", "doesn't belong"),
        ("folder_path", "it signs \"sub/model.onnx\""),
        ("hashed_otherwise", "hashed by sha256, found blake2"),
        ("more_files", "air/1/more.txt: No such file"),
        ("name_twice", "it signs model.onnx twice"),
        ("no_base64", "its signature is no base64"),
        ("no_json", "it is no Sigstore bundle"),
        ("no_signature", "it has 0 signatures"),
        ("no_statement", "it signs no statement"),
        ("no_subject", "it has 0 subjects"),
        ("nothing", "it is no Sigstore bundle"),
        ("other_algorithm", "expected digests by sha256, found blake3"),
        ("other_bundle", "expected a bundle of type application/vnd.dev.sigstore.bundle.v0.3+json"),
        ("other_key", "it is signed by another key"),
        ("other_payload", "expected a payload of type application/vnd.in-toto+json"),
        ("other_predicate", "found https://slsa.dev/provenance/v1"),
        ("other_root", "the digest of its subject"),
        ("other_statement", "found https://in-toto.io/Statement/v0.1"),
        ("p384", "it is signed by another key"),
        ("parent_path", "it signs \"../model.onnx\""),
        ("predicate_of_0_2", "found https://model_signing/Digests/v0.1"),
        ("report_left_out", "report.html is not in the version's signature"),
        ("shards", "found shards"),
        ("short_digest", "is no sha256"),
        ("statement_twice", "duplicate field `subject`"),
        ("two_signatures", "it has 2 signatures"),
        ("two_subjects", "it has 2 subjects"),
    ]);
    let cases = serde_json::from_slice(&fs::read(fixture("refused.json")).unwrap()).unwrap();
    let cases: BTreeMap<String, String> = cases;
    let (root, folder) = registry();
    for (name, text) in &cases {
        fs::write(folder.join(SIGNATURE), text).unwrap();
        let message = refusal(&root);
        let expected = said.get(name.as_str()).unwrap_or_else(|| panic!("{name}: {message}"));
        assert!(message.contains(expected), "{name}: {message}");
    }
    assert_eq!(cases.len(), said.len());
    for (text, expected) in [("[".repeat(100_000), "it is no Sigstore bundle"), (" ".repeat((4 << 20) + 1), "at most")]
    {
        fs::write(folder.join(SIGNATURE), text).unwrap();
        let message = refusal(&root);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn files_that_are_not_what_was_signed_are_refused_by_name() {
    let file =
        |name: &'static str, bytes: &'static str| move |folder: &Path| fs::write(folder.join(name), bytes).unwrap();
    let link = |folder: &Path| {
        fs::rename(folder.join("model.onnx"), folder.join("../../elsewhere")).unwrap();
        std::os::unix::fs::symlink("../../elsewhere", folder.join("model.onnx")).unwrap();
    };
    let pipe = |folder: &Path| {
        fs::remove_file(folder.join("model.onnx")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.join("model.onnx")).status().unwrap();
        assert!(made.success());
    };
    type Change<'a> = &'a dyn Fn(&Path);
    let cases: [(Change<'_>, &str); 12] = [
        (&file("model.onnx", "the grapH"), "model.onnx is not what was published"),
        (&file("report.html", "<html>"), "report.html is not what was published"),
        (&file("manifest.json", "{}"), "manifest.json is not what was published"),
        (&file("weights.bin", "more"), "weights.bin is not in the version's signature: remove it"),
        (&file(".hidden", "more"), ".hidden is not in the version's signature"),
        (&|folder| fs::create_dir(folder.join("sub")).unwrap(), "sub is not in the version's signature"),
        (&|folder| fs::remove_file(folder.join("report.html")).unwrap(), "report.html: No such file"),
        (&|folder| fs::remove_file(folder.join(SIGNATURE)).unwrap(), "air/1 is not signed"),
        (&|folder| fs::remove_file(folder.join("manifest.json")).unwrap(), "manifest.json: No such file"),
        (&link, "model.onnx: it is a symbolic link"),
        (&pipe, "model.onnx: it is not a file"),
        (
            &|folder| {
                fs::rename(folder.join(SIGNATURE), folder.join("../sig")).unwrap();
                std::os::unix::fs::symlink("../sig", folder.join(SIGNATURE)).unwrap();
            },
            "model.sig is refused: it is a symbolic link",
        ),
    ];
    for (change, expected) in cases {
        let (root, folder) = registry();
        change(&folder);
        let message = refusal(&root);
        assert!(message.contains(expected), "{message}");
    }
    // A version of one model is not taken for another's.
    let (root, folder) = registry();
    fs::create_dir(root.path().join("water")).unwrap();
    fs::rename(folder, root.path().join("water/1")).unwrap();
    let message = registry::open(root.path(), "water/1", &keys(&["first.pub"])).unwrap_err().to_string();
    assert!(message.contains("signed as a version of air, not of water"), "{message}");
}

#[test]
fn what_we_sign_we_take_with_either_form_of_a_key() {
    let (root, folder) = registry();
    for name in ["first.key", "first-sec1.key"] {
        fs::remove_file(folder.join(SIGNATURE)).unwrap();
        let key = SigningKey::read(&fixture(name)).unwrap();
        assert!(keys(&["first.pub"]).has(&key) && !keys(&["other.pub"]).has(&key));
        registry::sign(root.path(), "air/1", &PublicKeys::none(), &key).unwrap();
        assert_eq!(open(&root, &keys(&["first.pub"])).unwrap().signed_by.as_deref(), Some(key.hash()));
        assert!(open(&root, &keys(&["other.pub"])).unwrap_err().to_string().contains("signed by another key"));
        // Nothing is left beside the version.
        assert_eq!(fs::read_dir(root.path().join("air")).unwrap().count(), 1);
    }
    // With keys, only what they signed is signed again.
    let key = SigningKey::read(&fixture("first.key")).unwrap();
    registry::sign(root.path(), "air/1", &keys(&["first.pub"]), &key).unwrap();
    let error = registry::sign(root.path(), "air/1", &keys(&["other.pub"]), &key).unwrap_err();
    assert!(error.to_string().contains("signed by another key"), "{error}");
    fs::write(folder.join("model.onnx"), "other").unwrap();
    let error = registry::sign(root.path(), "air/1", &PublicKeys::none(), &key).unwrap_err();
    assert!(error.to_string().contains("is not what was published"), "{error}");
}

#[test]
fn files_that_hold_no_p256_key_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let certificate = file("x", "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n");
    let text = fs::read_to_string(fixture("first.pub")).unwrap();
    for (path, expected) in [
        (fixture("p384.pub"), "not a P-256 key"),
        (fixture("first.key"), "it is a private key"),
        (certificate, "it is a certificate"),
        (file("e", ""), "holds no public key"),
        (file("b", &text.replace("MFkw", "*Fkw")), "damaged PEM"),
        (file("c", &text.replace("MFkw", "MFkx")), "not a P-256 key"),
        (folder.path().join("none"), "No such file"),
        (folder.path().to_owned(), "not a file"),
    ] {
        let error = PublicKeys::none().add(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let encrypted = file("f", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----\n");
    for (path, expected) in [
        (fixture("p384.key"), "not a P-256 key"),
        (fixture("first.pub"), "holds no private key"),
        (encrypted, "it is encrypted"),
    ] {
        let error = SigningKey::read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
