"""Makes tests/fixtures/signed: versions and signatures as PyPI's model-signing writes them, good ones and bad ones.

    python -m venv VENV && VENV/bin/pip install model-signing==1.1.1 pyOpenSSL==26.4.0
    VENV/bin/python tests/python/sign_models.py

The good ones are written by its own command. In the bad ones the statement, the envelope or the bundle is changed and,
where only a key's owner could make them, signed again with the same library. Signatures have random numbers in them, so
a second run makes other bytes.
"""

import base64
import copy
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing._signing import sign_sigstore_pb

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "signed"


def key(name, curve=ec.SECP256R1()):
    """A private key as PKCS#8 and SEC 1, and its public key."""
    private = ec.generate_private_key(curve)
    for form, suffix in ((serialization.PrivateFormat.PKCS8, ""), (serialization.PrivateFormat.TraditionalOpenSSL, "-sec1")):
        (FOLDER / f"{name}{suffix}.key").write_bytes(
            private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (FOLDER / f"{name}.pub").write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, spki))
    return private


def model_signing(folder, name, *more):
    """Signs with the command, as a user does."""
    target = folder / "model.sig"
    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(folder)]
    subprocess.run(
        [*command, "--private_key", str(FOLDER / f"{name}.key"), "--signature", str(target), *more], check=True
    )
    return target.read_text()


def signed(private, statement, payload_type="application/vnd.in-toto+json", pae=None):
    """A bundle about a statement, by the library's own encoding."""
    payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    message = (pae or sign_sigstore_pb.pae)(payload)
    bundle = copy.deepcopy(GOOD)
    bundle["dsseEnvelope"] = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"sig": base64.b64encode(private.sign(message, ec.ECDSA(hashes.SHA256()))).decode(), "keyid": ""}],
    }
    return bundle


def rooted(statement):
    """With the digest of its resources as that of its subject."""
    digests = b"".join(bytes.fromhex(it["digest"]) for it in statement["predicate"]["resources"])
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(digests).hexdigest()
    return statement


shutil.rmtree(FOLDER, ignore_errors=True)
FOLDER.mkdir(parents=True)
first, _other, _p384 = key("first"), key("other"), key("p384", ec.SECP384R1())

# The files of a version; the test's registry has the same bytes.
version = FOLDER / "version"
version.mkdir()
graph, report = b"the graph", b"<html></html>"
hashed = {"model.onnx": hashlib.sha256(graph).hexdigest(), "report.html": hashlib.sha256(report).hexdigest()}
manifest = {
    **{"format": 1, "name": "air", "kind": "carry", "form": "operator", "bitwise": True, "inputs": [], "states": []},
    **{"horizon": 1, "targets": [], "quantiles": [], "stages": [], "warm_up": 0, "seed": 0, "data_hash": ""},
    **{"metrics": {}, "opset": 17, "ir_version": 8, "onnx_runtime": "", "files": hashed},
}
(version / "model.onnx").write_bytes(graph)
(version / "report.html").write_bytes(report)
(version / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")

refused = {
    "p384": model_signing(version, "p384"),
    "other_key": model_signing(version, "other"),
    "report_left_out": model_signing(version, "first", "--ignore-paths", str(version / "report.html")),
}
(version / "more.txt").write_text("signed too\n")
refused["more_files"] = model_signing(version, "first")
(version / "more.txt").unlink()
text = model_signing(version, "first")
GOOD = json.loads(text)
statement = json.loads(base64.b64decode(GOOD["dsseEnvelope"]["payload"]))


def refuse(name, bundle):
    refused[name] = bundle if isinstance(bundle, str) else json.dumps(bundle)


def changed(change, root=True):
    """The statement with a change, signed by the right key."""
    it = copy.deepcopy(statement)
    change(it)
    return signed(first, rooted(it) if root else it)


def named(name):
    return changed(lambda it: it["predicate"]["resources"].append({"name": name, "algorithm": "sha256", "digest": "0" * 64}))


refuse("parent_path", named("../model.onnx"))
refuse("absolute_path", named("/etc/passwd"))
refuse("folder_path", named("sub/model.onnx"))
refuse("dot_path", named("."))
refuse("empty_path", named(""))
refuse("name_twice", named("model.onnx"))
refuse("other_algorithm", changed(lambda it: it["predicate"]["resources"][0].update(algorithm="blake3")))
refuse("short_digest", changed(lambda it: it["predicate"]["resources"][0].update(digest="00")))
refuse("other_root", changed(lambda it: it["subject"][0]["digest"].update(sha256="0" * 64), root=False))
refuse("two_subjects", changed(lambda it: it["subject"].append(it["subject"][0])))
refuse("no_subject", changed(lambda it: it.update(subject=[]), root=False))
refuse("shards", changed(lambda it: it["predicate"]["serialization"].update(method="shards")))
refuse("hashed_otherwise", changed(lambda it: it["predicate"]["serialization"].update(hash_type="blake2")))
refuse("other_statement", changed(lambda it: it.update(_type="https://in-toto.io/Statement/v0.1")))
refuse("other_predicate", changed(lambda it: it.update(predicateType="https://slsa.dev/provenance/v1")))
refuse("predicate_of_0_2", changed(lambda it: it.update(predicateType="https://model_signing/Digests/v0.1")))
refuse("no_statement", signed(first, b"[1, 2"))
refuse("statement_twice", signed(first, json.dumps(statement).replace('"subject"', '"subject": [], "subject"', 1).encode()))
refuse("encoding_of_0_2", signed(first, statement, pae=sign_sigstore_pb.pae_compat))
refuse("other_payload", signed(first, statement, payload_type="application/json"))

# Without the key: what anyone can change.
payload = json.dumps(rooted({**copy.deepcopy(statement)})).replace("model.onnx", "model.onny").encode()
edited = copy.deepcopy(GOOD)
edited["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
refuse("edited_statement", edited)


def envelope(change):
    it = copy.deepcopy(GOOD)
    change(it["dsseEnvelope"]["signatures"])
    return it


der = base64.b64decode(GOOD["dsseEnvelope"]["signatures"][0]["sig"])
for name, wrong in (
    ("der_cut", der[:-1]),
    ("der_longer", der + b"\0"),
    ("der_long_length", bytes([der[0], 0x81]) + der[1:]),
    ("der_empty", b""),
    ("der_no_sequence", b"\x04" + der[1:]),
    ("der_zeros", bytes.fromhex("3006020100020100")),
):
    refuse(name, envelope(lambda it, wrong=wrong: it[0].update(sig=base64.b64encode(wrong).decode())))
refuse("no_base64", envelope(lambda it: it[0].update(sig="*")))
refuse("no_signature", envelope(lambda it: it.clear()))
refuse("two_signatures", envelope(lambda it: it.append(it[0])))
refuse("other_bundle", {**GOOD, "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2"})
refuse("certificate", {**GOOD, "verificationMaterial": {"certificate": {"rawBytes": "MII="}, "tlogEntries": []}})
refuse("no_json", text[:-1])
refuse("nothing", "")
refuse("bundle_twice", text.replace('"mediaType":', '"mediaType": "", "mediaType":', 1))
(FOLDER / "refused.json").write_text(json.dumps(refused, indent=1) + "\n")
for name in ("p384-sec1.key", "other-sec1.key", "other.key"):
    (FOLDER / name).unlink()
# Signatures without the name of their key, as before 1.1.
old = copy.deepcopy(GOOD)
del old["verificationMaterial"]["publicKey"]["hint"]
(FOLDER / "no_hint.sig").write_text(json.dumps(old))
