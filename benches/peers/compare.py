"""Training of kolk beside that of PyTorch's CPU modules: asks both in turn, several rounds, and prints the best of
each.

    compare.py BENCH [PYTHON]

BENCH is the binary of benches/train.rs; PYTHON has torch (without it kolk is measured alone). ROUNDS and SECONDS in the
environment: how often, and how long each time.
"""

import os
import pathlib
import subprocess
import sys

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = os.environ.get("SECONDS_EACH", "0.5")

# Cell, units, inputs, timesteps, batch, and how many times PyTorch's rate is asked for.
SHAPES = [
    ("lstm", 50, 1, 10, 32, 5.0),
    ("gru", 50, 1, 10, 32, 6.0),
    ("rnn", 50, 1, 10, 32, 6.0),
    ("lstm", 50, 1, 10, 256, 2.0),
    ("gru", 50, 1, 10, 256, 2.0),
    ("rnn", 50, 1, 10, 256, 1.5),
    ("lstm", 128, 8, 64, 32, 1.25),
]
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


class Asked:
    """A process that measures what it is asked for."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = self.process.stdout.readline().strip()
        if not self.name:
            sys.exit(f"{command[0]} did not start")

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + f" {SECONDS}\n")
        self.process.stdin.flush()
        return [float(word) for word in self.process.stdout.readline().split()]


def flop(cell, units, inputs, steps):
    """Of the matrix products of a sample, forward and backward; the gradient of the input isn't wanted."""
    width = GATES[cell] * units
    return 2 * steps * width * (2 * (inputs + units) + units)


def main():
    ours = Asked(sys.argv[1], "--ask")
    script = pathlib.Path(__file__).with_name("torch_train.py")
    peer = Asked(sys.argv[2], script) if len(sys.argv) > 2 else None
    who = [ours] + ([peer] if peer else [])
    print(f"{ours.name} beside {peer.name if peer else 'nothing: no PyTorch'}; whole training steps with Adam, the "
          f"best of {ROUNDS} rounds in turn", flush=True)
    best, peak = {}, 0.0
    for _ in range(ROUNDS):
        peak = max([peak] + [asked.ask("sgemm", 1024, 1)[0] for asked in who])
        for cell, units, inputs, steps, batch, _ in SHAPES:
            for threads in (1, 2):
                for asked in who:
                    key = (asked, threads, cell, units, batch)
                    rates = asked.ask(cell, units, inputs, steps, batch, threads)
                    best[key] = [max(pair) for pair in zip(best.get(key, [0, 0]), rates)]
    print(f"sgemm of one thread: {peak:.0f} GFLOP/s")
    print()
    print("| cell(units), inputs, timesteps, batch | kolk, samples per CPU second | PyTorch | times | asked for | "
          "share of sgemm | kolk on two threads, samples/s | times one | PyTorch on two |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cell, units, inputs, steps, batch, asked_for in SHAPES:
        one, two = best[ours, 1, cell, units, batch], best[ours, 2, cell, units, batch]
        share = one[1] * flop(cell, units, inputs, steps) / 1e9 / peak
        theirs = ["", "", ""]
        if peer:
            alone, both = best[peer, 1, cell, units, batch], best[peer, 2, cell, units, batch]
            theirs = [f"{alone[1]:,.0f}", f"{one[1] / alone[1]:.2f}", f"{both[0]:,.0f}"]
        print(f"| {cell.upper()}({units}), {inputs}, {steps}, {batch} | {one[1]:,.0f} | {theirs[0]} | {theirs[1]} | "
              f"{asked_for} | {100 * share:.0f} % | {two[0]:,.0f} | {two[0] / one[0]:.2f} | {theirs[2]} |")


main()
