"""Training the models of a cell side by side: Adam, one schedule, and the weights of the step with the least held-out loss."""

import math
from collections.abc import Callable
from time import process_time

import numpy as np
import torch
from torch import Tensor

from empirical._manifold_cell import Batch, CellSamples, ManifoldCell
from empirical.cell_store import Row
from empirical.manifold_models import StackedRegressors

Progress = Callable[[int, int, float], None]
BETAS = (0.9, 0.99)
WARMUP = 0.05
"""Share of the steps in which the rate rises."""
LOOKS = 50
"""How often held-out loss is looked at, evenly over the steps."""
AT_ONCE = 50
"""Batches drawn together."""


def rate_share(step: int, steps: int) -> float:
    """The rate of a step (0 is the first) over the largest: a linear rise over 5 per cent of all, then half a cosine to 0."""
    rising = max(1, round(WARMUP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 + 0.5 * math.cos(math.pi * (step - rising) / max(1, steps - rising))


def train_cell(cell: ManifoldCell, progress: Progress | None = None) -> list[Row]:
    """Train a cell's models and measure them: one row a seed.

    The weights that count are those of the step with the least loss on held-out samples, which are as noisy as those trained on
    and disjoint from them; steps are looked at 50 times. Their error is measured on 4096 fresh points without noise, at which
    nothing was chosen. A model whose loss is not finite has no error but a `failure`. Same cell, same numbers (on one machine
    with one number of threads).

    Args:
        cell: the settings.
        progress: called with (steps done, steps, held-out loss, mean over models) whenever held-out loss is looked at; what it
            raises ends the work.
    """
    start = process_time()
    samples = CellSamples(cell)
    models = StackedRegressors([cell.model(seed) for seed in cell.seeds])
    best = _Best(models)
    adam = torch.optim.Adam(models.parameters(), lr=cell.rate, betas=BETAS, fused=True)
    looks = {round(look * cell.steps / LOOKS) for look in range(1, LOOKS + 1)}
    waiting: list[Batch] = []
    for step in range(cell.steps):
        if not waiting:
            waiting = samples.batches(min(AT_ONCE, cell.steps - step))
        points, labels = waiting.pop(0)
        adam.param_groups[0]["lr"] = cell.rate * rate_share(step, cell.steps)
        adam.zero_grad()
        ((models(points) - labels) ** 2).mean(1).sum().backward()
        adam.step()
        if step + 1 in looks:
            loss = errors(models, samples.held_out)
            best.look(step + 1, loss, models)
            if progress is not None:
                progress(step + 1, cell.steps, float(loss.mean()))
    test = samples.test()
    final = errors(models, test)
    best.put_back(models)
    chosen, variance = errors(models, test), test[1].double().var(1, correction=0)
    seconds = (process_time() - start) / len(cell.seeds)
    target = samples.functions[0]
    shared = {
        "kind": "trained", "experiment": cell.experiment, "manifold": cell.manifold, "dimension": target.manifold.dimension,
        "ambient_dim": cell.ambient_dim, "target": cell.target, "beta": cell.beta, "attention": cell.attention,
        "width": cell.width, "layers": cell.layers, "parameters": cell.model(0).num_parameters, "samples": cell.seen,
        "noise": cell.noise, "steps": cell.steps, "check": cell.check, "rate": cell.rate,
        "versions": f"torch {torch.__version__}, numpy {np.__version__}", "seconds": seconds,
    }  # fmt: skip
    return [
        shared | {
            "seed": seed, "mse": float(chosen[i]) if not best.failure[i] else math.nan, "target_variance": float(variance[i]),
            "stopped_at": int(best.at[i]), "held_out_loss": float(best.loss[i]), "final_mse": float(final[i]),
            "failure": best.failure[i],
        }
        for i, seed in enumerate(cell.seeds)
    ]  # fmt: skip


@torch.no_grad()
def errors(models: StackedRegressors, batch: Batch) -> Tensor:
    """Mean square of (answer - label) of every model on its own points (M,), float64; in parts that fit the caches."""
    points, labels = batch
    sums = torch.zeros(len(points), dtype=torch.float64)
    for rows, values in zip(points.split(256, 1), labels.split(256, 1), strict=True):
        sums += ((models(rows) - values).double() ** 2).sum(1)
    return sums / points.shape[1]


class _Best:
    """The weights of every model at its least held-out loss so far."""

    def __init__(self, models: StackedRegressors) -> None:
        self.loss = torch.full((models.num_models,), math.inf, dtype=torch.float64)
        self.at = torch.zeros(models.num_models, dtype=torch.long)
        self.failure = [""] * models.num_models
        self.weights = [weights.detach().clone() for weights in models.parameters()]

    def look(self, step: int, loss: Tensor, models: StackedRegressors) -> None:
        for place in torch.nonzero(~loss.isfinite()).flatten().tolist():
            self.failure[place] = self.failure[place] or f"the held-out loss was not finite at step {step}"
        better = loss < self.loss  # never for NaN
        self.loss, self.at = torch.where(better, loss, self.loss), torch.where(better, step, self.at)
        for kept, weights in zip(self.weights, models.parameters(), strict=True):
            kept[better] = weights.detach()[better]

    @torch.no_grad()
    def put_back(self, models: StackedRegressors) -> None:
        for kept, weights in zip(self.weights, models.parameters(), strict=True):
            weights.copy_(kept)
