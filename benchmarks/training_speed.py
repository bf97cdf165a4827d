"""Speed of the stacked trainer beside the plain baseline: model-steps per second, their ratio, and that both learn alike.

    python -m benchmarks.training_speed [--threads 2] [--repeats 7]

Trainer and baseline take turns on the same threads; the ratio is the median over the turns of the ratio within one turn, so
that a busy neighbour, who slows both, does not decide it. A model-step is one optimiser step of one model on one batch
of 256. The last columns train both with the same short schedule (8 epochs of 64 batches, 0.01 to 0.0005) and compare
the accuracy on the training batches of the last 101, all but the last one.
"""

import argparse
from statistics import median
from time import perf_counter

import numpy as np
import torch

from benchmarks.notebook_baseline import train_baseline
from empirical.training import TrainingSettings, train
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

CASES = (  # N, d = d_h, H, models, ratio to reach
    (50, 10, 11, 5, 50),
    (50, 13, 31, 5, 40),
    (10, 2, 21, 20, 100),
)
SHORT = TrainingSettings(epochs=8)
"""The schedule on which accuracies are compared."""


def turn(task: AssociationTask, shape: AttentionShape, models: int, baseline_steps: int) -> tuple[float, float]:
    """Model-steps per second of the trainer and of the baseline, one after the other."""
    timed = TrainingSettings(epochs=4, accuracy_window=6)  # the window's share of the steps is the notebook's
    start = perf_counter()
    train(task=task, shapes=[shape], num_models=models, settings=timed, seed=0)
    stacked = models * timed.num_steps / (perf_counter() - start)
    run = train_baseline(
        np.array(task.sequences),
        np.array(task.targets),
        task.vocab_size,
        embed_dim=shape.embed_dim,
        num_heads=shape.num_heads,
        head_dim=shape.head_dim,
        seed=0,
        max_steps=baseline_steps,
    )
    return stacked, run.steps / run.seconds


def accuracies(task: AssociationTask, shape: AttentionShape, models: int) -> tuple[list[float], list[float]]:
    """Accuracy of every model of the trainer and of the baseline after the short schedule."""
    stacked = train(task=task, shapes=[shape], num_models=models, settings=SHORT, seed=0)
    plain = [
        train_baseline(
            np.array(task.sequences),
            np.array(task.targets),
            task.vocab_size,
            embed_dim=shape.embed_dim,
            num_heads=shape.num_heads,
            head_dim=shape.head_dim,
            seed=seed,
            epochs=SHORT.epochs,
        ).notebook_accuracy
        for seed in range(models)
    ]
    return [model.notebook_accuracy for model in stacked], plain


def main() -> None:
    parser = argparse.ArgumentParser(description="Model-steps per second of the stacked trainer against the plain baseline.")
    parser.add_argument("--threads", type=int, default=2, help="torch threads, the same for both (default 2)")
    parser.add_argument("--repeats", type=int, default=7, help="turns per case (default 7)")
    parser.add_argument("--baseline-steps", type=int, default=20, help="optimiser steps of the baseline per turn")
    parser.add_argument("--no-accuracy", action="store_true", help="leave the comparison of accuracies out")
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)), help="which cases, counted from 0")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s) for both, median of {arguments.repeats} interleaved turns")
    print("  N   d   H models | stacked/s baseline/s  ratio (least .. most)  aim | accuracy: ours, baseline, difference +- 95%")
    for number in arguments.cases:
        vocab, dim, heads, models, aim = CASES[number]
        task, shape = AssociationTask.complete(vocab, 2, seed=0), AttentionShape(dim, heads, dim)
        turn(task, shape, models, 3)  # warm-up
        turns = [turn(task, shape, models, arguments.baseline_steps) for _ in range(arguments.repeats)]
        ratios = [ours / theirs for ours, theirs in turns]
        stacked, plain = (median(rates) for rates in zip(*turns, strict=True))
        line = (
            f"{vocab:3d} {dim:3d} {heads:3d} {models:6d} | {stacked:9.0f} {plain:10.1f} "
            f"{median(ratios):6.1f} ({min(ratios):5.1f} .. {max(ratios):5.1f}) {aim:4d} |"
        )
        if not arguments.no_accuracy:
            ours, theirs = accuracies(task, shape, min(models, 5))
            spread = 1.96 * np.sqrt(np.var(ours, ddof=1) / len(ours) + np.var(theirs, ddof=1) / len(theirs))
            line += f" {np.mean(ours):.4f} {np.mean(theirs):.4f} {np.mean(ours) - np.mean(theirs):+.4f} +- {spread:.4f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
