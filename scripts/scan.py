"""Microseconds of one step of the cells that ONNX has no operator for: in a Scan, as kolk exports them, and without.

Run: $(scripts/python.sh) scripts/scan.py
The graphs are those of src/kernel/min_gru.rs and layer_norm_lstm.rs with 8 inputs and 64 units, on one thread.
"""

import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

INPUTS, UNITS = 8, 64
NORM = {"axis": -1, "epsilon": 1e-3}

# Operator, inputs, outputs, attributes.
CELLS = {
    "min_gru": (
        ["h"],
        [("MatMul", "x W", "product", {}), ("Add", "product bias", "inputs", {})],
        [
            ("Split", "inputs", "z_sum v", {"axis": -1}),
            ("Sigmoid", "z_sum", "z", {}),
            ("Sub", "v h", "way", {}),
            ("Mul", "z way", "taken", {}),
            ("Add", "h taken", "h'", {}),
        ],
        {"W": (INPUTS, 2 * UNITS), "bias": (2 * UNITS,)},
    ),
    "layer_norm_lstm": (
        ["h", "c"],
        [
            ("MatMul", "x W", "product", {}),
            ("LayerNormalization", "product input_gain", "normalised", NORM),
            ("Add", "normalised bias", "inputs", {}),
        ],
        [
            ("MatMul", "h U", "h_product", {}),
            ("LayerNormalization", "h_product recurrent_gain", "h_normalised", NORM),
            ("Add", "inputs h_normalised", "sum", {}),
            ("Split", "sum", "i_sum f_sum g_sum o_sum", {"axis": -1}),
            ("Sigmoid", "i_sum", "i", {}),
            ("Sigmoid", "f_sum", "f", {}),
            ("Tanh", "g_sum", "g", {}),
            ("Sigmoid", "o_sum", "o", {}),
            ("Mul", "f c", "kept", {}),
            ("Mul", "i g", "new", {}),
            ("Add", "kept new", "c'", {}),
            ("LayerNormalization", "c' state_gain state_shift", "state", NORM),
            ("Tanh", "state", "state_tanh", {}),
            ("Mul", "o state_tanh", "h'", {}),
        ],
        {
            "W": (INPUTS, 4 * UNITS),
            "U": (UNITS, 4 * UNITS),
            "bias": (4 * UNITS,),
            "input_gain": (4 * UNITS,),
            "recurrent_gain": (4 * UNITS,),
            "state_gain": (UNITS,),
            "state_shift": (UNITS,),
        },
    ),
}


def floats(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def session(cell, scan):
    states, before, step, shapes = CELLS[cell]
    numbers = np.random.default_rng(1)
    weights = [numpy_helper.from_array(numbers.normal(0, 0.2, s).astype(np.float32), n) for n, s in shapes.items()]
    node = lambda op, taken, given, attributes: helper.make_node(op, taken.split(), given.split(), **attributes)
    nodes = [node(*each) for each in before]
    body = [node(*each) for each in step]
    if scan:
        body.append(helper.make_node("Identity", ["h'"], ["out"]))
        taken = [floats(s, "B", UNITS) for s in states] + [floats("inputs", "B", None)]
        given = [floats(f"{s}'", "B", UNITS) for s in states] + [floats("out", "B", UNITS)]
        graph = helper.make_graph(body, "body", taken, given)
        ins, outs = [f"{s}_0" for s in states] + ["inputs"], [f"{s}_0_out" for s in states] + ["y"]
        nodes.append(helper.make_node("Scan", ins, outs, body=graph, num_scan_inputs=1))
    else:
        weights.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
        names = {"inputs": "one"} | {s: f"{s}_0" for s in states} | {f"{s}'": f"{s}_0_out" for s in states}
        for each in body:
            for words in (each.input, each.output):
                words[:] = [names.get(word, word) for word in words]
        nodes.append(helper.make_node("Squeeze", ["inputs", "axis"], ["one"]))
        nodes += body + [helper.make_node("Unsqueeze", ["h_0_out", "axis"], ["y"])]
    taken = [floats("x", "T", "B", INPUTS)] + [floats(f"{s}_0", "B", UNITS) for s in states]
    given = [floats("y", "T", "B", UNITS)] + [floats(f"{s}_0_out", "B", UNITS) for s in states]
    graph = helper.make_graph(nodes, cell, taken, given, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def microseconds(run, rows):
    runs, best = max(20, 20000 // (rows + 100)), float("inf")
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(runs):
            run()
        best = min(best, (time.perf_counter() - start) / runs)
    return 1e6 * best


for cell, (states, *_) in CELLS.items():
    sessions = [session(cell, True), session(cell, False)]
    for rows in [1, 64, 1024]:
        numbers = np.random.default_rng(rows)
        feed = {"x": numbers.normal(size=(1, rows, INPUTS)).astype(np.float32)}
        feed |= {f"{s}_0": numbers.normal(size=(rows, UNITS)).astype(np.float32) for s in states}
        found = [each.run(None, feed) for each in sessions]
        same = all((a == b).all() for a, b in zip(*found))
        scan, without = [microseconds(lambda: each.run(None, feed), rows) for each in sessions]
        print(f"{cell:16} {rows:5} rows: Scan {scan:7.1f}, without {without:7.1f}, same bits: {same}")
