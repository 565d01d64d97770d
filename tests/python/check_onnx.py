"""Checks an ONNX file with the official checker and plain ONNX Runtime, outside of kolk.

    check_onnx.py MODEL.onnx CASE.json

CASE.json holds arrays as {"shape": [...], "data": [...]}:

    {"inputs": {"x": ..., "h_0": ...}, "expected": {"y": ..., "h_0_out": ...}, "tolerance": 1e-5, "bits": false}

Inputs that are left out are zero: a state [B, n] takes B from the second axis of x. The checker runs with
full_check, which includes strict shape inference. Without "expected" the outputs are printed in the same form; with
it, they are compared: within the tolerance (default 1e-5), or bit for bit. Exit code 1 and a line on stderr for each
difference.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime


def array(entry):
    return np.array(entry["data"], dtype=np.float32).reshape(entry["shape"])


def main(model_path, case_path):
    onnx.checker.check_model(onnx.load(model_path), full_check=True)
    with open(case_path, encoding="utf-8") as file:
        case = json.load(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
    given = {name: array(entry) for name, entry in case["inputs"].items()}
    batch = given["x"].shape[1]
    feeds = {entry.name: np.zeros([batch, entry.shape[-1]], np.float32) for entry in session.get_inputs()}
    wrong = [f"the graph has no input {name}" for name in given if name not in feeds]
    feeds.update((name, value) for name, value in given.items() if name in feeds)
    names = [entry.name for entry in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, feeds)))
    expected = case.get("expected")
    if expected is None:
        print(json.dumps({n: {"shape": list(o.shape), "data": o.ravel().tolist()} for n, o in outputs.items()}))
    for name, entry in (expected or {}).items():
        want = array(entry)
        have = outputs.get(name)
        if have is None:
            wrong.append(f"the graph has no output {name} (it has {names})")
        elif have.shape != want.shape:
            wrong.append(f"{name}: shape {list(have.shape)}, expected {list(want.shape)}")
        elif case.get("bits", False) and have.tobytes() != want.tobytes():
            wrong.append(f"{name}: other bits, largest difference {np.abs(have - want).max():.3g}")
        elif not np.allclose(have, want, rtol=0, atol=case.get("tolerance", 1e-5)):
            wrong.append(f"{name}: largest difference {np.abs(have - want).max():.3g}")
    for line in wrong:
        print(f"{model_path}: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
