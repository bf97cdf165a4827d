"""The strings that a run of hop training sees: each batch a pure function of the run's seed and the step."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from theory.hop_strings import random_strings
from theory.hops import HopTask

FRESH_STREAM, FIXED_STREAM = 0x484F5001, 0x484F5002
"""First words of the seeds of fresh batches and of a fixed set."""
CHUNK_STEPS = 32
"""Steps whose fresh strings are drawn at once: hops are maps that numpy applies to many strings as fast as to few."""

Batch = tuple[Int[Tensor, "batch positions"], Int[Tensor, "batch positions"]]
"""Tokens and targets, as `HopTask` gives them."""


def draw(task: HopTask, num_strings: int, generator: np.random.Generator) -> Batch:
    """Strings without adjacent repeats, and for each a k uniform on min_hops..max_hops, drawn behind the strings."""
    symbols = random_strings(task.vocab_size, task.seq_len, num_strings, repeats=False, generator=generator)
    num_hops = generator.integers(task.min_hops, task.max_hops + 1, size=num_strings)
    return torch.from_numpy(task.tokens(symbols, num_hops)), torch.from_numpy(task.targets(symbols, num_hops))


@dataclass
class FreshBatches:
    """New strings in every step."""

    task: HopTask
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        self._chunk, self._batches = -1, list[Batch]()

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0: the same whatever was asked before."""
        chunk, place = divmod(step, CHUNK_STEPS)
        if chunk != self._chunk:
            generator = np.random.default_rng([FRESH_STREAM, self.seed, chunk])
            tokens, targets = draw(self.task, CHUNK_STEPS * self.batch_size, generator)
            self._chunk = chunk
            self._batches = list(zip(tokens.split(self.batch_size), targets.split(self.batch_size), strict=True))
        return self._batches[place]


@dataclass
class FixedBatches:
    """A set drawn once, in whole batches, again and again in the same order; what does not fill a batch is left out."""

    task: HopTask
    batch_size: int
    seed: int
    num_samples: int

    def __post_init__(self) -> None:
        tokens, targets = draw(self.task, self.num_samples, np.random.default_rng([FIXED_STREAM, self.seed]))
        whole = self.num_samples // self.batch_size * self.batch_size
        pairs = zip(tokens[:whole].split(self.batch_size), targets[:whole].split(self.batch_size), strict=True)
        self._batches = list(pairs)

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0: the same whatever was asked before."""
        return self._batches[step % len(self._batches)]
