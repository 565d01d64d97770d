"""Makes tests/fixtures/exports: recurrent networks as Keras and PyTorch export them, with what they compute.

    python -m venv VENV && VENV/bin/pip install keras tensorflow-cpu tf2onnx onnx
    VENV/bin/python tests/python/recurrent_exports.py keras
    python -m venv VENV2 && VENV2/bin/pip install torch onnx onnxscript numpy
    VENV2/bin/python tests/python/recurrent_exports.py torch

Each NAME.onnx has a NAME.npz with x, lengths where it takes them, and the framework's y. Weights are random, biases too.
"""

import os
import pathlib
import sys

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "exports"


def of_keras():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)

    def save(name, steps, *stack):
        model = keras.Sequential([layers.Input((steps, 3)), *stack])
        for weight in model.weights:
            if "bias" in weight.path:
                weight.assign(np.random.default_rng(3).normal(0, 0.3, weight.shape))
        x = np.random.default_rng(1).normal(0, 1, (5, steps or 9, 3)).astype("float32")
        np.savez(FOLDER / f"{name}.npz", x=x, y=model.predict(x, verbose=0))
        model.export(str(FOLDER / f"{name}.onnx"), format="onnx", verbose=False)

    both, dense = layers.Bidirectional, layers.Dense
    save("keras_bilstm", 8, both(layers.LSTM(4)), dense(2))
    save("keras_bigru2", None, both(layers.GRU(4, return_sequences=True)), both(layers.GRU(5)), dense(3, "softmax"))
    save("keras_birnn", 8, both(layers.SimpleRNN(4)), dense(6, "relu"), dense(3, "softmax"))
    mean = layers.GlobalAveragePooling1D
    save("keras_bilstm_mean", None, both(layers.LSTM(4, return_sequences=True)), mean(), dense(1, "sigmoid"))
    save("keras_lstm_mean", None, layers.LSTM(4, return_sequences=True), mean(), dense(3, "softmax"))
    save("keras_gru_each", None, layers.GRU(4, return_sequences=True), dense(3, "softmax"))
    save("keras_bigru_sum", 8, both(layers.GRU(4), merge_mode="sum"), dense(3))
    save("keras_gru_back", 8, layers.GRU(4, go_backwards=True), dense(3))
    save("keras_lstm_mask", None, layers.Masking(), layers.LSTM(4), dense(3, "softmax"))
    save("keras_lstm_max", None, layers.LSTM(4, return_sequences=True), layers.GlobalMaxPooling1D(), dense(3))


def of_torch():
    import torch
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.manual_seed(7)

    class Net(nn.Module):
        def __init__(self, kind, layers=1, both=False, outputs=3, end="softmax", take="state"):
            super().__init__()
            self.cell = getattr(nn, kind)(3, 4, layers, batch_first=True, bidirectional=both)
            self.head = nn.Linear(8 if both else 4, outputs)
            self.both, self.end, self.take = both, end, take

        def forward(self, x, lengths=None):
            if lengths is not None:
                x = pack_padded_sequence(x, lengths, batch_first=True)
            y, state = self.cell(x)
            state = state[0] if isinstance(state, tuple) else state
            if lengths is not None:
                y, _ = pad_packed_sequence(y, batch_first=True)
            if self.take == "state":
                y = torch.cat((state[-2], state[-1]), -1) if self.both else state[-1]
            elif self.take == "output":
                y = y[:, -1]
            elif self.take == "mean":
                y = y.mean(1) if lengths is None else y.sum(1) / lengths.unsqueeze(1).to(y.dtype)
            y = self.head(y)
            ends = {"softmax": lambda y: torch.softmax(y, -1), "log": lambda y: torch.log_softmax(y, -1)}
            return {"sigmoid": torch.sigmoid, "none": lambda y: y, **ends}[self.end](y)

    def save(name, net, lengths=False, dynamo=False):
        net.eval()
        x = torch.randn(5, 9, 3)
        inputs = (x, torch.tensor([9, 7, 7, 4, 1])) if lengths else (x,)
        names = ["x", "lengths"][: len(inputs)]
        options = {"input_names": names, "output_names": ["y"]}
        if dynamo:
            batch, time = torch.export.Dim("batch", min=2, max=64), torch.export.Dim("time", min=2, max=64)
            shapes = ({0: batch, 1: time},)
            model = torch.onnx.export(net, inputs, dynamo=True, dynamic_shapes=shapes, **options).model_proto
            # Where in the source each node is from, and shapes of what is between them.
            for part in [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]:
                part.ClearField("metadata_props")
            model.graph.ClearField("value_info")
            (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString())
        else:
            axes = {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}, "y": {0: "batch"}}
            axes = {name: axes[name] for name in [*names, "y"]}
            torch.onnx.export(net, inputs, str(FOLDER / f"{name}.onnx"), dynamo=False, dynamic_axes=axes, **options)
        arrays = {name: value.numpy() for name, value in zip(names, inputs)}
        with torch.no_grad():
            np.savez(FOLDER / f"{name}.npz", **arrays, y=net(*inputs).numpy())

    save("torch_bigru2_script", Net("GRU", 2, both=True, end="log"))
    save("torch_bigru2_dynamo", Net("GRU", 2, both=True, end="log"), dynamo=True)
    save("torch_bilstm_dynamo", Net("LSTM", both=True), dynamo=True)
    save("torch_bilstm_each_script", Net("LSTM", both=True, take="each"))
    save("torch_bilstm_lengths_script", Net("LSTM", 2, both=True), lengths=True)
    save("torch_bilstm_mean_lengths_script", Net("LSTM", both=True, take="mean"), lengths=True)
    save("torch_lstm_mean_dynamo", Net("LSTM", outputs=1, end="sigmoid", take="mean"), dynamo=True)
    save("torch_gru_logits_script", Net("GRU", outputs=4, end="none"))
    save("torch_rnn2_dynamo", Net("RNN", 2, end="none"), dynamo=True)
    save("torch_birnn_dynamo", Net("RNN", both=True, end="none"), dynamo=True)
    save("torch_bilstm_output_script", Net("LSTM", both=True, end="none", take="output"))
    save("torch_gru_several_script", Net("GRU", outputs=4, end="sigmoid"))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    {"keras": of_keras, "torch": of_torch}[sys.argv[1]]()
