"""What the paper tier of every experiment costs on two cores: projected from a few steps of every shape, not run.

    python -m benchmarks.experiment_cost [--steps 32] [--variant notebook] [--experiments exp_1 exp_5]

Every shape of an experiment is trained for a few steps, all its repetitions at once, on one thread; processor seconds per
model-step times the steps of its schedule, summed over the models and halved, are the projected wall time on two cores. One
model of every shape is measured on its table as well. Models that two experiments share are counted once in the sum.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from time import process_time

import torch

from benchmarks.training_cost import seconds_per_model_step
from empirical.capacity import measure
from empirical.cells import Cell
from empirical.experiments import EXPERIMENTS
from empirical.training import TrainingSettings, train_members

CORES = 2


@dataclass(frozen=True)
class Cost:
    """Processor seconds of one model of a shape, training and measuring, and its cost per step."""

    seconds: float
    per_step: float


def cost(cell: Cell, repetitions: int, steps: int) -> Cost:
    """The cost of a cell, timed beside the other repetitions of its shape."""
    task = cell.task()
    shorter = steps if cell.vocab_size * cell.settings.batch_size < 100_000 else max(16, steps // 2)
    step = seconds_per_model_step(task, cell.shape, repetitions, cell.settings, shorter, cell.variant)
    brief = TrainingSettings(batch_size=8, num_batches=1, epochs=2, accuracy_window=1)
    model = train_members(task=task, members=[(cell.shape, 0)], settings=brief, variant=cell.variant, seed=0)[0]
    start = process_time()
    measure(model.to_transformer(), task, cross_entropy=False)
    return Cost(step * cell.settings.num_steps + process_time() - start, step)


def main() -> None:
    parser = argparse.ArgumentParser(description="Projected cost of the paper tier of every experiment on two cores.")
    parser.add_argument("--steps", type=int, default=32, help="steps timed per shape, half of it for large ones (default 32)")
    parser.add_argument("--variant", choices=("notebook", "paper"), default="notebook")
    parser.add_argument("--experiments", nargs="*", default=list(EXPERIMENTS), choices=list(EXPERIMENTS), metavar="NAME")
    parser.add_argument("--tier", choices=("smoke", "quick", "paper"), default="paper")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    known: dict[tuple[str, object], Cost] = {}
    counted: dict[str, float] = {}
    print(f"projected, not run: {chosen.tier} tier, variant {chosen.variant}, {CORES} cores")
    print("experiment     models  shapes | ms per model-step, least .. most | minutes")
    for name in chosen.experiments:
        cells = EXPERIMENTS[name].cells(chosen.tier, chosen.variant)
        kinds = Counter((cell.company.key, cell.shape) for cell in cells)
        for cell in cells:
            kind = (cell.company.key, cell.shape)
            if kind not in known:
                known[kind] = cost(cell, kinds[kind], chosen.steps)
        seconds = {cell.key: known[cell.company.key, cell.shape].seconds for cell in cells}
        steps = [1e3 * known[kind].per_step for kind in kinds]
        counted |= seconds
        minutes = sum(seconds.values()) / CORES / 60
        print(f"{name:12s} {len(cells):8d} {len(kinds):7d} | {min(steps):10.3f} .. {max(steps):7.3f} {minutes:18.1f}", flush=True)
    total = sum(counted.values()) / CORES
    print(f"all, shared models once: {len(counted)} models, projected {total / 60:.1f} minutes = {total / 3600:.2f} hours")


if __name__ == "__main__":
    main()
