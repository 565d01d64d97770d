"""Small recurrent models as others have them, with their cards, and a loop over one sequence at a time.

foreign_models.py write FOLDER       writes the models and a card for each
foreign_models.py run < REQUEST      runs sequences; JSON in, JSON out
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

UNITS, WINDOW = 4, 5
node = helper.make_node


def tensor(name, shape, of=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, of, shape)


def write(folder, name, seed, cell="GRU", window=False, code=2):
    """`value`, an id and a vector of the key go in; `level` (float64) and `code` come out."""
    numbers = np.random.default_rng(seed)
    gates = {"GRU": 3, "LSTM": 4}[cell]
    weights = {
        "table": numbers.standard_normal((6, 3)),
        "W": numbers.standard_normal((1, gates * UNITS, 4)) * 0.5,
        "R": numbers.standard_normal((1, gates * UNITS, UNITS)) * 0.5,
        "B": numbers.standard_normal((1, 2 * gates * UNITS)) * 0.1,
        "level_w": numbers.standard_normal((UNITS, 1)),
        "code_w": numbers.standard_normal((UNITS, code)),
        "scale": np.float32(0.1),
    }
    weights = {key: np.asarray(value, np.float32) for key, value in weights.items()}
    weights["axis"] = np.array([0 if window else 1])
    if code == 3:
        weights["voice_w"] = np.ones((2, 3), np.float32)
    time = ["batch", WINDOW] if window else ["time", "batch"]
    seen = [
        node("Mul", ["value", "scale"], ["scaled"]),
        node("Gather", ["table", "token"], ["looked"]),
        node("Concat", ["scaled", "looked"], ["seen"], axis=2),
    ]
    states = ["h", "c"][: 1 if cell == "GRU" else 2]
    outs = [f"{state}_next" for state in states]
    if window:
        nodes = seen + [
            node("Transpose", ["seen"], ["steps"], perm=[1, 0, 2]),
            node(cell, ["steps", "W", "R", "B"], ["", "last"], hidden_size=UNITS),
            node("Squeeze", ["last", "axis"], ["units"]),
        ]
        inputs, outputs = [], []
        lead = ["batch"]
    else:
        nodes = seen + [
            node(cell, ["seen", "W", "R", "B", "", *states], ["all", *outs], hidden_size=UNITS),
            node("Squeeze", ["all", "axis"], ["units"]),
        ]
        inputs = [tensor(state, [1, "batch", UNITS]) for state in states]
        outputs = [tensor(out, [1, "batch", UNITS]) for out in outs]
        lead = time
    nodes += [
        node("MatMul", ["units", "level_w"], ["level_32"]),
        node("Cast", ["level_32"], ["level"], to=TensorProto.DOUBLE),
        node("MatMul", ["units", "code_w"], ["spoken"]),
        node("MatMul", ["voice", "voice_w"], ["turned"]) if code == 3 else node("Identity", ["voice"], ["turned"]),
        node("Add", ["spoken", "turned"], ["code"]),
    ]
    inputs = [
        tensor("value", [*time, 1]),
        tensor("token", time, TensorProto.INT64),
        tensor("voice", ["batch", 2]),
    ] + inputs
    outputs = [tensor("level", [*lead, 1], TensorProto.DOUBLE), tensor("code", [*lead, code])] + outputs
    initializers = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / f"{name}.onnx")

    card = f"onnx: {name}.onnx\nname: {'w' if window else 'm'}\nlayout: {'window' if window else 'time_first'}\n"
    card += f"window: {WINDOW}\n" if window else "warm_up: 2\n"
    card += "inputs:\n  value: { columns: [value] }\n  token: { ids: token, below: 6 }\n  voice: { per_key: voice }\n"
    if not window:
        np.save(folder / f"{name}.npy", np.linspace(-0.5, 0.5, UNITS, dtype=np.float32).reshape(1, UNITS))
        init = {"h": f"{{ file: {name}.npy }}", "c": "0.25"}
        card += "states:\n"
        for state, out in zip(states, outs):
            card += f"  {state}: {{ out: {out}, shape: [1, batch, {UNITS}], init: {init[state]} }}\n"
    card += "outputs:\n  level: { column: level }\n  code: { column: code }\n"
    (folder / f"{name}.yaml").write_text(card)


def run(request):
    """Each step of each sequence; null where there is none."""
    session = onnxruntime.InferenceSession(request["model"], providers=["CPUExecutionProvider"])
    names = [info.name for info in session.get_inputs()][3:]
    begin = {"h": np.linspace(-0.5, 0.5, UNITS, dtype=np.float32).reshape(1, 1, UNITS)}
    begin["c"] = np.full((1, 1, UNITS), 0.25, np.float32)
    outputs = ["level", "code", *(f"{name}_next" for name in names)]
    answers = []
    for sequence in request["sequences"]:
        states, rows, past = {name: begin[name] for name in names}, [], []
        for row in sequence:
            if row is None:
                rows.append(None)
                continue
            past = (past + [row])[-WINDOW:]
            window = past if request["window"] else [row]
            if request["window"] and len(window) < WINDOW:
                rows.append(None)
                continue
            axis = 0 if request["window"] else 1
            feed = {
                "value": np.expand_dims(np.array([[r["value"]] for r in window], np.float32), axis),
                "token": np.expand_dims(np.array([r["token"] for r in window], np.int64), axis),
                "voice": np.array([row["voice"]], np.float32),
            }
            level, code, *after = session.run(outputs, feed | states)
            states = dict(zip(names, after))
            rows.append([float(level.ravel()[0]), *(float(number) for number in code.ravel())])
        answers.append({"rows": rows, "states": {name: state.ravel().tolist() for name, state in states.items()}})
    return answers


if sys.argv[1] == "write":
    folder = Path(sys.argv[2])
    write(folder, "m1", 1)
    write(folder, "m2", 2)
    write(folder, "m3", 3, cell="LSTM")
    write(folder, "m4", 4, code=3)
    write(folder, "w1", 5, window=True)
    write(folder, "w2", 6, window=True)
else:
    json.dump(run(json.load(sys.stdin)), sys.stdout)
