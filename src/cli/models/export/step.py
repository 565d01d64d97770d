"""Steps the model of this folder by hand: a line of numbers in, a line of outputs out.

python step.py < rows.csv, with numpy and onnxruntime installed. Each line holds the numbers of one step of one sequence,
those of all inputs side by side in the order of graph.json. For a window model, each line after the first rows gives the
output for the last rows. For a model of sequences each line gives the output for the sequence so far."""

import json
import pathlib
import sys

import numpy as np
import onnxruntime

folder = pathlib.Path(__file__).parent
graph = json.loads((folder / "graph.json").read_text())
session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def sizes(tensor):
    """The axes of one step of one sequence, without that of time."""
    return [1 if axis == "batch" else axis for axis in tensor["shape"] if axis != "time"]


def initial(state):
    """A state before the first step."""
    if state["initial"] == "zero":
        return np.zeros(sizes(state), state["type"])
    ((kind, value),) = state["initial"].items()
    if kind == "number":
        return np.full(sizes(state), value, state["type"])
    return np.load(folder / value).reshape(sizes(state))


def start():
    return {state["name"]: initial(state) for state in graph["states"]}


def step(rows, states):
    """The outputs of the last one of some rows; `states` become those after it."""
    feed, at = dict(states), 0
    for tensor in graph["inputs"]:
        width = int(np.prod(sizes(tensor)))
        steps = [np.array(row[at : at + width]).astype(tensor["type"]).reshape(sizes(tensor)) for row in rows]
        has_time = "time" in tensor["shape"]
        feed[tensor["name"]] = np.stack(steps, tensor["shape"].index("time")) if has_time else steps[-1]
        at += width
    if "lengths" in graph:
        feed[graph["lengths"]["name"]] = np.array([len(rows)], graph["lengths"]["type"])
    outputs = [tensor["name"] for tensor in graph["outputs"]]
    found = session.run(outputs + [state["out"] for state in graph["states"]], feed)
    states.update(zip([state["name"] for state in graph["states"]], found[len(outputs) :]))
    last = []
    for tensor, output in zip(graph["outputs"], found):
        last.append(output.take(-1, tensor["shape"].index("time")) if "time" in tensor["shape"] else output)
    return np.concatenate([output.ravel() for output in last])


states, rows, window = start(), [], graph["window"]
# What has no state sees the whole sequence.
is_whole = "lengths" in graph and not states
for line in sys.stdin:
    rows = (rows + [[float(number) for number in line.split(",")]])[0 if is_whole else -(window or 1) :]
    if len(rows) < (window or 1):
        continue
    if not states:
        y = step(rows, states)
    else:
        states = start() if window else states
        for row in rows:
            y = step([row], states)
    print(",".join(repr(float(number)) for number in y))
