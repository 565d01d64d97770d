"""Writes ONNX's own node tests of operators with a state, as an exporter would write them: weights inside the file.

For each test two files in the folder that is given: NAME.onnx, and NAME.data with the inputs and expected outputs as
initialisers of a graph (an input has its name, an output "expected:NAME").
"""
import sys
import warnings
from pathlib import Path

import numpy as np
from onnx import checker, helper, numpy_helper

warnings.filterwarnings("ignore")
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

OPERATORS = {"RNN", "GRU", "LSTM", "LinearAttention", "CausalConvWithState"}
WEIGHTS = {"W", "R", "B", "P", "weight", "bias", "sequence_lens"}

folder = Path(sys.argv[1])
for case in collect_testcases(None):
    model = case.model
    nodes = model.graph.node
    if len(nodes) != 1 or nodes[0].op_type not in OPERATORS:
        continue
    inputs, outputs = case.data_sets[0]
    given = {info.name: np.asarray(value) for info, value in zip(model.graph.input, inputs)}
    expected = {info.name: np.asarray(value) for info, value in zip(model.graph.output, outputs)}
    if "sequence_lens" in given and (given["sequence_lens"] == given["X"].shape[0]).all():
        # All rows have all steps, which is what its absence says.
        node = nodes[0]
        node.input[list(node.input).index("sequence_lens")] = ""
    for info in list(model.graph.input):
        if info.name in WEIGHTS:
            model.graph.input.remove(info)
            if info.name in nodes[0].input:
                model.graph.initializer.append(numpy_helper.from_array(given[info.name], info.name))
            del given[info.name]
    checker.check_model(model)
    tensors = [numpy_helper.from_array(value, name) for name, value in given.items()]
    tensors += [numpy_helper.from_array(value, f"expected:{name}") for name, value in expected.items()]
    data = helper.make_model(helper.make_graph([], "data", [], [], tensors))
    name = case.name.removeprefix("test_")
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    (folder / f"{name}.data").write_bytes(data.SerializeToString())
