"""The data of a call of `train`: which associations are drawn, and in which batches each model meets them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from theory.tasks import AssociationTask

if TYPE_CHECKING:
    from empirical.training import TrainingSettings

Batch = tuple[Tensor, Tensor, Tensor | None]
"""Tokens (models, S, rows) or (1, S, rows), targets (models, 1, rows), row weights (models, rows) or None for all 1."""

# first numbers of the seeds of the three streams of random numbers, so that none overlaps another
DRAWS_STREAM, ORDER_STREAM, WEIGHTS_STREAM = 1, 2, 3

CHUNK_ROWS = 1 << 14
"""Rows of data looked up at a time, over all models of a stack."""

ROW_MULTIPLE = 32
"""Rows of a step come in multiples of this: torch computes the last entries of an elementwise function, fewer than two vectors of
the processor (32 numbers at most), one by one and with other rounding."""


def rows_of_a_step(task: AssociationTask, settings: "TrainingSettings") -> int:
    """Rows of a step: the whole table, each row weighted by its draws, where that is shorter than a batch.

    Rounded up to whole vectors of the processor by rows of weight 0, so that no model's result depends on its neighbours.
    """
    return -(-min(task.num_associations, settings.batch_size) // ROW_MULTIPLE) * ROW_MULTIPLE


def draws(num_associations: int, settings: "TrainingSettings", seed: int) -> Int[np.ndarray, " draws"]:
    """Which associations a call of `train` draws, with replacement: all that its models ever see."""
    total = settings.batch_size * settings.num_batches
    return np.random.default_rng([DRAWS_STREAM, seed]).integers(num_associations, size=total)


class Batches:
    """The draws of a call, and the batches that the repetitions of one stack see in an epoch."""

    def __init__(
        self, task: AssociationTask, settings: "TrainingSettings", seed: int, repetitions: list[int], device: torch.device
    ) -> None:
        self.settings, self.device = settings, device
        self.num_associations = task.num_associations
        self.draws = draws(task.num_associations, settings, seed)
        self.orders = {
            repetition: np.random.default_rng([ORDER_STREAM, seed, repetition]) for repetition in sorted(set(repetitions))
        }
        places = {repetition: place for place, repetition in enumerate(self.orders)}
        self.place = torch.tensor([places[repetition] for repetition in repetitions], device=device)
        self.whole_table = task.num_associations < settings.batch_size
        self.rows = rows_of_a_step(task, settings)
        tokens, targets = np.array(task.sequences.T), np.array(task.targets)
        if self.whole_table:
            unused = self.rows - self.num_associations
            tokens, targets = np.pad(tokens, ((0, 0), (0, unused))), np.pad(targets, (0, unused))
        self.tokens = torch.as_tensor(tokens if self.whole_table else tokens.T.copy(), device=device)  # (S, T0) or (T0, S)
        self.targets = torch.as_tensor(targets, device=device)

    def epoch(self) -> Iterator[Batch]:
        """Tokens, targets and row weights (None: all 1) of the batches of the next epoch; weights sum to the batch size."""
        batches, size = self.settings.num_batches, self.settings.batch_size
        drawn = np.stack([order.permutation(self.draws) for order in self.orders.values()]).reshape(-1, batches, size)
        return self._weighted_table(drawn) if self.whole_table else self._batches(drawn)

    def _weighted_table(self, drawn: Int[np.ndarray, "repetitions batches size"]) -> Iterator[Batch]:
        repetitions, batches, size = drawn.shape
        base = np.arange(repetitions * batches)[:, None] * self.rows
        counts = np.bincount((drawn.reshape(-1, size) + base).ravel(), minlength=base.size * self.rows)
        weights = torch.as_tensor(counts.reshape(repetitions, batches, self.rows), device=self.device)
        weights = weights.to(self.settings.dtype)[self.place].transpose(0, 1).contiguous()
        targets = self.targets.expand(len(self.place), 1, -1)
        for batch in range(batches):
            yield self.tokens.unsqueeze(0), targets, weights[batch]

    def _batches(self, drawn: Int[np.ndarray, "repetitions batches size"]) -> Iterator[Batch]:
        _, batches, size = drawn.shape
        models, unused = len(self.place), self.rows - size
        weights = None
        if unused:
            drawn = np.pad(drawn, ((0, 0), (0, 0), (0, unused)))
            weights = torch.ones(models, self.rows, dtype=self.settings.dtype, device=self.device)
            weights[:, size:] = 0
        together = max(1, CHUNK_ROWS // (models * size)) if self.device.type == "cpu" else batches
        for start in range(0, batches, together):
            rows = torch.as_tensor(drawn[:, start : start + together], device=self.device)[self.place].transpose(0, 1)
            sizes = (*rows.shape, -1)
            tokens = self.tokens.index_select(0, rows.reshape(-1)).view(sizes).transpose(2, 3).contiguous()
            targets = self.targets.index_select(0, rows.reshape(-1)).view(rows.shape).unsqueeze(2)
            yield from zip(tokens, targets, [weights] * len(tokens), strict=True)
