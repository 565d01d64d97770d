"""Writes small ONNX files, good and bad, for the test of `kolk models import`. Usage: write_onnx.py FOLDER"""

import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

folder = sys.argv[1]


def tensor(name, *shape, of=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, of, shape)


def save(name, nodes, inputs, outputs, initializers=(), opset=17, ir=8, **options):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.save(model, os.path.join(folder, name + ".onnx"), **options)
    return model


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


node = helper.make_node
x, s = tensor("x", "batch", 3), tensor("s", "batch", 3)
y, s_out = tensor("y", "batch", 3), tensor("s_out", "batch", 3)
carried = node("Tanh", ["sum"], ["s_out"])
added = node("Add", ["x", "s"], ["sum"])

# Right: two states of equal shape that sort the other way round than they pair; one input looked up; a constant.
numbers = np.random.default_rng(7)
weights = numbers.standard_normal((3, 4)).astype(np.float32)
table = numbers.standard_normal((10, 4)).astype(np.float32)
good = save(
    "good",
    [
        node("MatMul", ["x", "w"], ["product"]),
        node("Gather", ["table", "word"], ["looked"]),
        node("Add", ["product", "looked"], ["seen"]),
        node("Mul", ["seen", "rate"], ["scaled"]),
        node("Add", ["scaled", "b_in"], ["first"]),
        node("Sigmoid", ["first"], ["alpha"]),
        node("Mul", ["alpha", "a_in"], ["kept"]),
        node("Add", ["kept", "scaled"], ["zeta"]),
        node("Tanh", ["zeta"], ["y"]),
    ],
    [
        tensor("x", "batch", 3),
        tensor("word", "batch", of=TensorProto.INT64),
        tensor("rate"),
        tensor("b_in", "batch", 4),
        tensor("a_in", "batch", 4),
    ],
    [tensor("y", "batch", 4), tensor("zeta", "batch", 4), tensor("alpha", "batch", 4)],
    [constant("w", weights), constant("table", table)],
)
session = ReferenceEvaluator(good)
steps, batch = 5, 3
given = {"x": numbers.standard_normal((steps, batch, 3)).astype(np.float32), "word": numbers.integers(0, 10, (steps, batch))}
a, b = np.full((batch, 4), 0.5, np.float32), np.zeros((batch, 4), np.float32)
rows = []
for step in range(steps):
    feed = {"x": given["x"][step], "word": given["word"][step], "rate": np.float32(0.5), "a_in": a, "b_in": b}
    out, a, b = session.run(["y", "zeta", "alpha"], feed)
    rows.append(out)
np.savez(os.path.join(folder, "reference.npz"), **given, y=np.stack(rows))
np.savez_compressed(os.path.join(folder, "wrong.npz"), **given, y=np.stack(rows) + 0.25)
np.save(os.path.join(folder, "half.npy"), np.full(4, 0.5, np.float32))

# A window: the sum of its rows.
window = save(
    "window",
    [node("ReduceSum", ["x", "time"], ["y"], keepdims=0)],
    [tensor("x", "batch", 6, 2)],
    [tensor("y", "batch", 2)],
    [constant("time", np.array([1]))],
)
rows = numbers.standard_normal((9, 6, 2)).astype(np.float32)
np.savez(os.path.join(folder, "window.npz"), x=rows, y=rows.sum(axis=1))

# Two forecasts, each the last value of its column three times, beside another output.
save(
    "heads",
    [
        node("Gather", ["x", "first"], ["y_a"], axis=1),
        node("Gather", ["x", "second"], ["y_b"], axis=1),
        node("Add", ["x", "s"], ["sum"]),
        node("Tanh", ["sum"], ["s_out"]),
        node("ReduceSum", ["s_out", "last"], ["s_sum"]),
    ],
    [tensor("x", "batch", 2), tensor("s", "batch", 2)],
    [tensor("y_a", "batch", 3), tensor("y_b", "batch", 3), tensor("s_out", "batch", 2), tensor("s_sum", "batch", 1)],
    [constant("first", np.zeros(3, np.int64)), constant("second", np.ones(3, np.int64)), constant("last", np.array([1]))],
)

# Wrong, each in its own way.
both = ([x, s], [y, s_out])
save("random", [added, carried, node("RandomNormalLike", ["sum"], ["noise"]), node("Add", ["sum", "noise"], ["y"])], *both)
save(
    "by_data",
    [added, carried, node("NonZero", ["sum"], ["y"])],
    [x, s],
    [tensor("y", 2, "n", of=TensorProto.INT64), s_out],
)
then = helper.make_graph([node("Identity", ["sum"], ["then"])], "then", [], [tensor("then", "batch", 3)])
other = helper.make_graph([node("Neg", ["sum"], ["other"])], "other", [], [tensor("other", "batch", 3)])
save(
    "branch",
    [
        added,
        carried,
        node("ReduceSum", ["sum"], ["total"], keepdims=0),
        node("Greater", ["total", "zero"], ["positive"]),
        node("If", ["positive"], ["y"], then_branch=then, else_branch=other),
    ],
    *both,
    [constant("zero", np.float32(0))],
)
save("fine", [added, carried, node("Neg", ["sum"], ["y"])], *both)
save("newer", [added, carried, node("Neg", ["sum"], ["y"])], *both, opset=99, ir=14)
save("unwritten", [added, node("Neg", ["sum"], ["y"])], [x, s], [y])
outside = [added, carried, node("Add", ["sum", "bias"], ["y"])]
save("outside", outside, *both, [constant("bias", np.ones(3, np.float32))])
model = onnx.load(os.path.join(folder, "outside.onnx"))
stored = model.graph.initializer[0]
stored.ClearField("raw_data")
stored.data_location = TensorProto.EXTERNAL
for key, value in [("location", "../bias.bin"), ("offset", "0"), ("length", "12")]:
    stored.external_data.add(key=key, value=value)
with open(os.path.join(folder, "outside.onnx"), "wb") as file:
    file.write(model.SerializeToString())
with open(os.path.join(folder, "large.onnx"), "wb") as file:
    file.truncate((2 << 30) + 5)
with open(os.path.join(folder, "bytes.onnx"), "wb") as file:
    file.write(np.random.default_rng(1).bytes(5000))
open(os.path.join(folder, "empty.onnx"), "wb").close()
