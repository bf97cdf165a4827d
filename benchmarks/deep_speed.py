"""Milliseconds per step of one model of several layers: the hand-written engine, and torch.autograd on `Transformer` beside it.

    python -m benchmarks.deep_speed [--steps 60] [--cases 0 3]

One thread. Both take turns; the ratio is the median over the turns. A step is forward pass, gradient and Adam on one batch in
float32; the engine steps a stack of models at once, and its time is divided by their number. Times are processor time of
the thread, the median over a turn, so that a busy neighbour counts little.
"""

import argparse
from statistics import median
from time import thread_time

import numpy as np
import torch

from constructions.transformer import Transformer
from empirical._models import drawn_weights, engine_of, layout_of
from empirical._parameters import StackedParameters
from empirical._run import softmax_in_place, summed_loss_gradient
from theory.shapes import TransformerShape

CASES = (  # what, N, batch, (d, H, d_h, L, w), models of a stack
    ("MLP of experiment 5", 70, 1024, (7, 1, 7, 1, 140), 5),
    ("MLP of experiment 5", 70, 1024, (10, 1, 10, 1, 300), 5),
    ("MLP of experiment 5", 70, 1024, (13, 1, 13, 1, 780), 5),
    ("large MLP", 200, 1024, (40, 1, 40, 1, 320), 5),
    ("large MLP", 200, 1024, (60, 1, 60, 1, 1200), 3),
    ("deep AoT", 70, 512, (7, 1, 7, 3, 0), 5),
    ("deep AoT", 70, 512, (7, 21, 7, 3, 0), 5),
    ("deep AoT", 70, 512, (10, 11, 10, 3, 0), 5),
    ("deep AoT", 70, 512, (13, 5, 13, 3, 0), 5),
    ("deep AoT", 70, 512, (13, 21, 13, 3, 0), 5),
    ("deep AoT", 70, 512, (10, 21, 1, 3, 0), 5),
    ("deep AoT", 70, 512, (10, 21, 5, 3, 0), 5),
    ("deep MLP", 70, 512, (7, 1, 7, 3, 56), 5),
    ("deep MLP", 70, 512, (10, 1, 10, 3, 160), 5),
    ("deep MLP", 70, 512, (13, 1, 13, 3, 520), 5),
)


class Stack:
    """A stack in training: engine, loss and Adam."""

    def __init__(self, vocab_size: int, batch: int, shape: TransformerShape, models: int) -> None:
        layout = layout_of(vocab_size, 2, shape, "notebook")
        self.parameters = StackedParameters(layout, models, torch.float32, torch.device("cpu"))
        for model in range(models):
            self.parameters.put(model, drawn_weights(layout, np.random.default_rng(model)))
        self.engine = engine_of(self.parameters, batch)
        self.tokens = torch.randint(vocab_size, (models, 2, batch))
        self.targets = torch.randint(vocab_size, (models, 1, batch))
        self.mean, self.square = torch.zeros_like(self.parameters.flat), torch.zeros_like(self.parameters.flat)

    def step(self) -> None:
        probabilities = softmax_in_place(self.engine.logits(self.tokens))
        self.engine.backward(summed_loss_gradient(probabilities, self.targets, None))
        gradient = self.parameters.flat_grad
        self.mean.lerp_(gradient, 0.1)
        self.square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        self.parameters.flat.addcdiv_(self.mean, self.square.sqrt().add_(1e-6), value=-1e-3)


class Plain:
    """One model in training by autograd."""

    def __init__(self, vocab_size: int, batch: int, shape: TransformerShape) -> None:
        sizes = (shape.embed_dim, shape.num_heads, shape.head_dim, shape.num_layers, shape.mlp_width)
        self.model = Transformer(vocab_size, 2, *sizes, positions="attention", dtype=torch.float32)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.uniform_(-0.3, 0.3)
        self.adam = torch.optim.Adam(self.model.parameters())
        self.tokens, self.targets = torch.randint(vocab_size, (batch, 2)), torch.randint(vocab_size, (batch,))

    def step(self) -> None:
        self.adam.zero_grad()
        torch.nn.functional.cross_entropy(self.model(self.tokens), self.targets).backward()
        self.adam.step()


def seconds(training: Stack | Plain, steps: int) -> float:
    """Median seconds of processor time of a step."""
    taken = []
    for _ in range(steps):
        start = thread_time()
        training.step()
        taken.append(thread_time() - start)
    return median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description="Milliseconds per model-step of models of several layers.")
    parser.add_argument("--steps", type=int, default=60, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="which cases, counted from 0")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("what                   N batch   d   H d_h L    w models | engine ms/model-step  autograd ms  ratio")
    for number in arguments.cases:
        what, vocab_size, batch, sizes, models = CASES[number]
        shape = TransformerShape(*sizes)
        stack, plain = Stack(vocab_size, batch, shape, models), Plain(vocab_size, batch, shape)
        seconds(stack, 3), seconds(plain, 3)
        turns = [(seconds(stack, arguments.steps) / models, seconds(plain, arguments.steps // 4)) for _ in range(arguments.turns)]
        ours, theirs = (1000 * median(times) for times in zip(*turns, strict=True))
        d, heads, head_dim, layers, width = sizes
        print(
            f"{what:20s} {vocab_size:3d} {batch:5d} {d:3d} {heads:3d} {head_dim:3d} {layers:1d} {width:4d} {models:6d} | "
            f"{ours:20.3f} {theirs:12.2f} {median(b / a for a, b in turns):6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
