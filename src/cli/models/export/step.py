"""Steps the model of this folder by hand: a line of numbers in, a line of outputs out.

python step.py < rows.csv, with numpy and onnxruntime installed. Each line holds the numbers of one step of one sequence,
those of all inputs side by side in the order of graph.json. For a window model, each line after the first rows gives the
output for the last rows."""

import json
import pathlib
import sys

import numpy as np
import onnxruntime

folder = pathlib.Path(__file__).parent
graph = json.loads((folder / "graph.json").read_text())
session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def sizes(tensor):
    """The axes of one step of one sequence."""
    return [1 if axis in ("time", "batch") else axis for axis in tensor["shape"]]


def initial(state):
    """A state before the first step."""
    if state["initial"] == "zero":
        return np.zeros(sizes(state), state["type"])
    ((kind, value),) = state["initial"].items()
    if kind == "number":
        return np.full(sizes(state), value, state["type"])
    return np.fromfile(folder / value, state["type"]).reshape(sizes(state))


def start():
    return {state["name"]: initial(state) for state in graph["states"]}


def step(numbers, states):
    """The outputs of one step; `states` become those after it."""
    feed, at = dict(states), 0
    for tensor in graph["inputs"]:
        shape = sizes(tensor)
        width = int(np.prod(shape))
        feed[tensor["name"]] = np.array(numbers[at : at + width]).astype(tensor["type"]).reshape(shape)
        at += width
    outputs = [tensor["name"] for tensor in graph["outputs"]]
    found = session.run(outputs + [state["out"] for state in graph["states"]], feed)
    states.update(zip([state["name"] for state in graph["states"]], found[len(outputs) :]))
    return np.concatenate([output.ravel() for output in found[: len(outputs)]])


states, rows, window = start(), [], graph["window"]
for line in sys.stdin:
    numbers = [float(number) for number in line.split(",")]
    if window is None:
        y = step(numbers, states)
    else:
        rows = (rows + [numbers])[-window:]
        if len(rows) < window:
            continue
        states = start()
        for row in rows:
            y = step(row, states)
    print(",".join(repr(float(number)) for number in y))
