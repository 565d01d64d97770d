"""Writes small models of Keras, with inputs and the outputs that Keras gives: tests/fixtures/keras/*.keras and *.json.

KERAS_BACKEND=jax python make_keras.py FOLDER, with keras and jax installed."""

import json
import pathlib
import sys

import keras
import numpy as np
from keras import layers

folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(7)


def save(name, model, steps, features):
    # Biases begin at zero: their order would not matter.
    weights = [random.normal(0, 0.6, w.shape).astype("float32") for w in model.get_weights()]
    for at, layer in enumerate(model.layers):
        if isinstance(layer, layers.Normalization):
            weights[:3] = [np.array([3.0, -2.0], "float32"), np.array([4.0, 0.25], "float32"), weights[2]]
    model.set_weights(weights)
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
    x = random.normal(0, 1, (6, steps, features)).astype("float32")
    model.save(folder / f"{name}.keras")
    y = model.predict(x, verbose=0)
    text = json.dumps({"x": x.astype(float).tolist(), "y": y.astype(float).tolist()})
    (folder / f"{name}.json").write_text(text + "\n")


# Names in another order than the layers.
stack = keras.Sequential(
    [
        keras.Input((7, 2)),
        layers.LSTM(5, return_sequences=True, name="z"),
        layers.Dropout(0.2),
        layers.GRU(4, return_sequences=True, name="lstm"),
        layers.LSTM(5, name="a"),
        layers.Dense(6, activation="relu", name="output"),
        layers.Dense(3, name="dense"),
    ]
)
save("stack", stack, 7, 2)

entry = keras.Input((None, 2))
flow = layers.Normalization()(entry)
flow = layers.SimpleRNN(4, activation="relu", return_sequences=True, use_bias=False)(flow)
flow = layers.SimpleRNN(4)(flow)
flow = layers.Rescaling(2.5, offset=-1.0)(layers.Dense(2)(flow))
save("functional", keras.Model(entry, flow), 5, 2)
