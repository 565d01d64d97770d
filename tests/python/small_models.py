"""Small models of others with a state, each with its card and a pipeline over the same records.

small_models.py make FOLDER         writes NAME.onnx, NAME.card.yaml, NAME.yaml for each, and data.parquet; prints
                                      a line for each: its name, and what its import has to say
small_models.py check FOLDER NAME   compares NAME/ with a loop over one key and one step at a time
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

KEYS, ROWS, WIDTH = 7, 90, 13
NAN_KEY, NAN_ROW = 2, 30  # here a key's number makes NaN in the graph that takes a logarithm
node = helper.make_node
numbers = np.random.default_rng(11)


def weights(*shape, of=np.float32):
    return (numbers.standard_normal(shape) * 0.4).astype(of)


def tensor(name, *shape, of=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, of, shape)


def gated(activation, of=np.float32):
    """A minGRU as one step: h becomes (1 - z) h + z c, z = sigmoid(x wz), c = an activation of x wc."""
    kind = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16, np.float64: TensorProto.DOUBLE}[of]
    nodes = [
        node("MatMul", ["x", "wz"], ["az"]),
        node("Sigmoid", ["az"], ["z"]),
        node("MatMul", ["x", "wc"], ["ac"]),
        *activation,
        node("Sub", ["one", "z"], ["rest"]),
        node("Mul", ["rest", "h"], ["kept"]),
        node("Mul", ["z", "c"], ["new"]),
        node("Add", ["kept", "new"], ["hn"]),
        node("MatMul", ["hn", "wy"], ["y"]),
    ]
    tables = {"wz": weights(3, WIDTH, of=of), "wc": weights(3, WIDTH, of=of), "wy": weights(WIDTH, 1, of=of),
              "one": np.asarray(1, of)}
    return (nodes, [tensor("x", "batch", 3, of=kind), tensor("h", "batch", WIDTH, of=kind)],
            [tensor("y", "batch", 1, of=kind), tensor("hn", "batch", WIDTH, of=kind)], tables)


SIGMOID = [node("Sigmoid", ["ac"], ["c"])]
SOFTPLUS = [node("Softplus", ["ac"], ["c"])]
LOG = [node("Exp", ["ac"], ["e"]), node("Add", ["e", "one"], ["more"]), node("Log", ["more"], ["c"])]
X = "x: { columns: [a, b, c] }"
H = "h: { out: hn }"

# name: the graph; inputs, states and outputs of the card; what import says. The loop takes the same.
MODELS = {
    "sigmoid": (gated(SIGMOID), X, H, "y: { column: y }", "bitwise: yes:"),
    "softplus": (gated(SOFTPLUS), X, H, "y: { column: y }", "bitwise: no:"),
    "log": (gated(LOG), X, H, "y: { column: y }", "bitwise: no:"),
    "half": (gated(SIGMOID, np.float16), X, H, "y: { column: y }", "bitwise: yes:"),
    "double": (gated(SIGMOID, np.float64), X, H, "y: { column: y }", "bitwise: yes:"),
    # Two states of equal shape that sort the other way round than they pair, one with values from a file.
    "pairs": (
        ([node("Add", ["x", "b_in"], ["sum"]), node("Tanh", ["sum"], ["alpha"]),
          node("Mul", ["a_in", "half"], ["less"]), node("Add", ["less", "alpha"], ["zeta"]),
          node("ReduceSum", ["zeta", "last"], ["y"], keepdims=1)],
         [tensor("x", "batch", 3), tensor("a_in", "batch", 3), tensor("b_in", "batch", 3)],
         [tensor("y", "batch", 1), tensor("alpha", "batch", 3), tensor("zeta", "batch", 3)],
         {"half": np.float32(0.5), "last": np.asarray([1])}),
        X, "a_in: { out: zeta, init: { file: a.npy } }\n  b_in: { out: alpha, init: 0.25 }", "y: { column: y }",
        "bitwise:",
    ),
    # Whole numbers that are looked up in a table.
    "ids": (
        ([node("Gather", ["table", "token"], ["row"]), node("Mul", ["h", "half"], ["less"]),
          node("Add", ["less", "row"], ["hn"]), node("Identity", ["hn"], ["y"])],
         [tensor("token", "batch", of=TensorProto.INT64), tensor("h", "batch", 4)],
         [tensor("y", "batch", 4), tensor("hn", "batch", 4)],
         {"half": np.float32(0.5), "table": weights(9, 4)}),
        "token: { ids: token, below: 9 }", H, "y: { column: y }", "bitwise: yes:",
    ),
    # The batch is the last axis.
    "last_axis": (
        ([node("MatMul", ["w", "x"], ["seen"]), node("Mul", ["h", "half"], ["less"]),
          node("Add", ["seen", "less"], ["sum"]), node("Tanh", ["sum"], ["hn"]), node("MatMul", ["wy", "hn"], ["y"])],
         [tensor("x", 3, "batch"), tensor("h", 8, "batch")],
         [tensor("y", 2, "batch"), tensor("hn", 8, "batch")],
         {"half": np.float32(0.5), "w": weights(8, 3), "wy": weights(2, 8)}),
        "x: { columns: [a, b, c], shape: [3, batch] }", "h: { out: hn, shape: [8, batch] }",
        "y: { column: y, shape: [2, batch] }", "bitwise: yes:",
    ),
    # The graph itself makes NaN of a number below zero, which then is in the key's state.
    "nan": (
        ([node("Log", ["x"], ["seen"]), node("Mul", ["h", "half"], ["less"]), node("Add", ["less", "seen"], ["hn"]),
          node("Identity", ["hn"], ["y"])],
         [tensor("x", "batch", 1), tensor("h", "batch", 1)],
         [tensor("y", "batch", 1), tensor("hn", "batch", 1)],
         {"half": np.float32(0.5)}),
        "x: { columns: [positive] }", H, "y: { column: y }", "bitwise: no:",
    ),
}


def rows() -> dict[str, np.ndarray]:
    """[ROWS, KEYS] of each column."""
    made = np.random.default_rng(5)
    columns = {name: made.standard_normal((ROWS, KEYS)).round(3) for name in "abc"}
    columns["token"] = made.integers(0, 9, (ROWS, KEYS)).astype(np.float64)
    columns["positive"] = made.uniform(0.5, 3, (ROWS, KEYS)).round(3)
    columns["positive"][NAN_ROW, NAN_KEY] = -1
    return columns


def make(folder: pathlib.Path) -> None:
    np.save(folder / "a.npy", np.linspace(-1, 1, 3).astype(np.float32))
    at = [(row, key) for row in range(ROWS) for key in range(KEYS)]
    columns = {name: [values[row, key] for row, key in at] for name, values in rows().items()}
    times = pa.array([1_767_225_600_000 + row * 1000 for row, _ in at], pa.timestamp("ms", tz="UTC"))
    pq.write_table(pa.table({"key": [f"key-{key}" for _, key in at], "ts": times, **columns}), folder / "data.parquet")
    for name, ((nodes, inputs, outputs, tables), feed, states, given, said) in MODELS.items():
        tables = [numpy_helper.from_array(np.asarray(values), name) for name, values in tables.items()]
        graph = helper.make_graph(nodes, name, inputs, outputs, tables)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / f"{name}.onnx")
        (folder / f"{name}.card.yaml").write_text(
            f"onnx: {name}.onnx\nname: {name}\nlayout: step\ninputs:\n  {feed}\nstates:\n  {states}\n"
            f"outputs:\n  {given}\n")
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\nsource: {{ parquet: {{ path: data.parquet }} }}\n"
            "record: { key: key, time: ts, values: [a, b, c, token, positive] }\n"
            f"stages: [{{ infer: {{ model: {name} }} }}]\nsink: {{ parquet: {{ path: {name}/, fields: [] }} }}\n"
            f"state: {{ path: state-{name}/ }}\nruntime: {{ batch: 5 }}\n")
        print(name, said, sep="\t")


def loop(folder: pathlib.Path, name: str, key: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    columns = {column: values[:, key] for column, values in rows().items()}
    kinds = {"float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64}
    given = {
        one.name: ([1 if size == "batch" else size for size in one.shape], kinds[one.type[7:-1]])
        for one in session.get_inputs()
    }
    pairs = {"a_in": "zeta", "b_in": "alpha"} if name == "pairs" else {"h": "hn"}
    first = {"a_in": np.load(folder / "a.npy"), "b_in": 0.25}
    states = {state: np.broadcast_to(first.get(state, 0.0), given[state][0]).astype(given[state][1]) for state in pairs}
    taken = {"x": ["positive"] if name == "nan" else ["a", "b", "c"], "token": ["token"]}
    found = []
    for row in range(ROWS):
        feed = dict(states)
        for one, (shape, kind) in given.items():
            if one not in states:
                feed[one] = np.array([columns[column][row] for column in taken[one]]).astype(kind).reshape(shape)
        y, *after = session.run(["y", *pairs.values()], feed)
        states = dict(zip(pairs, after))
        found.append(y.ravel().astype(np.float64))
    return np.stack(found)


def check(folder: pathlib.Path, name: str) -> None:
    table = pq.read_table(folder / name).to_pandas()
    tolerance = {"half": 5e-3, "double": 1e-12}.get(name, 2e-6)
    for key in range(KEYS):
        found = [np.nan if y is None else y for y in table[table["key"] == f"key-{key}"]["y"]]
        found = np.stack([np.atleast_1d(np.asarray(y, np.float64)) for y in found])
        expected = loop(folder, name, key)
        missing = np.isnan(expected)
        if name == "nan":
            # From there on the key has no outputs; its neighbours have all.
            assert missing.ravel().tolist() == [key == NAN_KEY and row >= NAN_ROW for row in range(ROWS)]
        assert found.shape == expected.shape, (name, key, found.shape, expected.shape)
        assert (np.isnan(found) == missing).all(), (name, key, found[-3:], expected[-3:])
        apart = np.abs(found - expected)[~missing].max()
        assert apart <= tolerance, (name, key, apart)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(pathlib.Path(sys.argv[2]))
    else:
        check(pathlib.Path(sys.argv[2]), sys.argv[3])
