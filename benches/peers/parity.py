"""A hundred Adam steps of every cell in Keras and in PyTorch, as the files that `src/train/parity_tests.rs` compares
with kolk's training: tests/fixtures/README.md says what is in them.

    parity.py FIXTURES FOLDER
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy
import torch
from torch import nn

CELLS = ["rnn", "lstm", "gru"]
RATE, BETAS, EPSILON, BATCH = 1e-3, (0.9, 0.999), 1e-7, 32


def batches(x, y):
    for first in range(0, len(x), BATCH):
        yield torch.from_numpy(x[first:first + BATCH]), torch.from_numpy(y[first:first + BATCH])


def of_keras(cell, x, y):
    keras.utils.set_random_seed(11)
    layer = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell]
    model = keras.Sequential([keras.Input(x.shape[1:]), layer(50), keras.layers.Dense(1)])
    initial = [weight.copy() for weight in model.get_weights()]
    adam = keras.optimizers.Adam(RATE, *BETAS, EPSILON)
    model.compile(adam, "mse")
    losses = [float(model.train_on_batch(a, b)) for a, b in fresh(model, x, y)]
    arrays = {f"init_{i}": weight for i, weight in enumerate(initial)}
    arrays |= {f"final_{i}": weight for i, weight in enumerate(model.get_weights())}
    return arrays | {"loss": numpy.array(losses)}


def fresh(model, x, y):
    """Batches; the mean of losses that Keras gives begins again with each."""
    for batch in batches(x, y):
        model.reset_metrics()
        yield batch


class Network(nn.Module):
    def __init__(self, cell, inputs):
        super().__init__()
        self.r = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](inputs, 50, batch_first=True)
        self.d = nn.Linear(50, 1)

    def forward(self, x):
        return self.d(self.r(x)[0][:, -1])


def of_torch(cell, x, y):
    torch.manual_seed(11)
    network = Network(cell, x.shape[2])
    adam = torch.optim.Adam(network.parameters(), RATE, BETAS, EPSILON)

    def named(when):
        return {f"{when}_{name}": value.detach().numpy().copy() for name, value in network.named_parameters()}

    arrays, losses = named("init"), []
    for a, b in batches(x, y):
        adam.zero_grad()
        loss = nn.functional.mse_loss(network(a), b)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return arrays | named("final") | {"loss": numpy.array(losses)}


def main():
    fixtures, folder = map(pathlib.Path, sys.argv[1:])
    torch.set_num_threads(1)
    data = numpy.load(fixtures / "parity_data.npz")
    x, y = data["x"].astype("float32"), data["y"].astype("float32")
    for cell in CELLS:
        for framework, updates in [("keras", of_keras), ("torch", of_torch)]:
            arrays = {name: numpy.ascontiguousarray(array) for name, array in updates(cell, x, y).items()}
            numpy.savez(folder / f"parity_{framework}_{cell}.npz", **arrays)
    print(f"Keras {keras.__version__}, PyTorch {torch.__version__}")


main()
