"""Whole training steps of PyTorch's own modules on the CPU. For each line `cell units inputs steps batch threads
seconds` on stdin it prints `samples/s samples/CPU-second`; for `sgemm size threads seconds` the rate of a matrix
product in GFLOP/s. compare.py talks to it."""

import sys
import time

import torch
from torch import nn


class Network(nn.Module):
    def __init__(self, cell, inputs, units):
        super().__init__()
        self.recurrent = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](inputs, units)
        self.dense = nn.Linear(units, 1)

    def forward(self, x):
        outputs, _ = self.recurrent(x)
        return self.dense(outputs[-1])


def train(cell, units, inputs, steps, batch, threads, seconds):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    network = Network(cell, inputs, units)
    adam = torch.optim.Adam(network.parameters())
    mse = nn.MSELoss()
    x = torch.sin(torch.arange(steps * batch * inputs, dtype=torch.float32) * 0.37).reshape(steps, batch, inputs)
    y = torch.full((batch, 1), 0.5)

    def update():
        adam.zero_grad()
        mse(network(x), y).backward()
        adam.step()

    for _ in range(3):
        update()
    updates, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        for _ in range(5):
            update()
        updates += 5
    samples = updates * batch
    return samples / (time.perf_counter() - started), samples / (time.process_time() - cpu)


def sgemm(size, threads, seconds):
    torch.set_num_threads(threads)
    a, b = torch.rand(size, size), torch.rand(size, size)
    out = torch.mm(a, b)
    best, started = 0.0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        before = time.perf_counter()
        torch.mm(a, b, out=out)
        best = max(best, 2 * size**3 / (time.perf_counter() - before))
    return best / 1e9, 0.0


print("torch", torch.__version__, flush=True)
for line in sys.stdin:
    word, *numbers = line.split()
    seconds = float(numbers.pop())
    numbers = [int(number) for number in numbers]
    found = sgemm(*numbers, seconds) if word == "sgemm" else train(word, *numbers, seconds)
    print(*found, flush=True)
