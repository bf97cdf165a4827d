"""Does the trainer reach the accuracies that Dana, Pydi and Chevaleyre 2025 published for experiments 1 and 6?

    python -m benchmarks.published_accuracy [--tables 8] [--seed 0] [--experiments 6 1]

Trains every published point anew with the paper's schedule (64 epochs of 64 batches of 256) on `--tables` random look-up
tables, with as many repetitions per table as were published (20 for experiment 6, 5 for experiment 1), and compares the
mean accuracy on the training draws. Table t is drawn from seed s + t and trained with seed s + t, s = 0 unless given: no
seed is chosen.

The interval. A published value is the mean over its repetitions on ONE table, of unknown spread. So we measure, on our own
runs, the variance between the means of tables: each such mean has the published one's number of repetitions and its own
table and draws, so that variance is what a published value scatters with, tables and repetitions together. With T tables our
overall mean scatters with a T-th of it, and the difference lies within t(0.975, T-1) sqrt(V (1 + 1/T)) in 95 of 100 cases, if
both are the same experiment. Printed beside it: the half-width from the spread of repetitions alone, as if all tables were
equally hard. Of 10 intervals at 95%, 0.5 are missed on average by an exact replication.
"""

import argparse
from math import sqrt
from statistics import fmean, variance
from time import perf_counter

import torch
from scipy.stats import t as student_t

from empirical.comparison import read_published
from empirical.training import TrainedModels, train
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

EXPERIMENTS = {  # number: N, d = d_h, repetitions, heads; the values are those of empirical/published.csv
    6: (10, 2, 20, (1, 5, 9, 13, 17, 21)),
    1: (50, 10, 5, (1, 11, 21, 31)),
}


def published_values(number: int, heads: tuple[int, ...]) -> dict[int, float]:
    """Accuracy on training draws by number of heads."""
    rows = read_published()
    rows = rows[rows["experiment"] == f"exp_{number}"].set_index("num_heads")
    return {count: float(rows.loc[count, "draw_accuracy"]) for count in heads}


def intervals(tables: list[list[float]], published_repetitions: int) -> tuple[float, float, float]:
    """Overall mean; half-width from tables and repetitions; from repetitions alone."""
    means = [fmean(table) for table in tables]
    count = len(tables)
    within = fmean(variance(table) for table in tables)
    total = sum(len(table) for table in tables)
    narrow = 1.96 * sqrt(within * (1 / published_repetitions + 1 / total))
    if count == 1:
        return fmean(means), narrow, narrow
    factor = float(student_t.ppf(0.975, count - 1)) * sqrt(1 + 1 / count)
    return fmean(means), factor * sqrt(variance(means)), narrow


def main() -> None:
    parser = argparse.ArgumentParser(description="Trained accuracy beside the published values of experiments 1 and 6.")
    parser.add_argument("--tables", type=int, default=8, help="random look-up tables per point (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first table (default 0)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--experiments", type=int, nargs="*", default=[6, 1], help="which of 6 and 1 (default both)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.tables} table(s), seeds {arguments.seed} to {arguments.seed + arguments.tables - 1}, none left out")
    print("exp   N   d   H |  measured published deviation | 95% half-width (repetitions only) | inside | uniform")
    for number, (vocab, dim, repetitions, counts) in EXPERIMENTS.items():
        if number not in arguments.experiments:
            continue
        values = published_values(number, counts)
        shapes = [AttentionShape(dim, heads, dim) for heads in values]
        start = perf_counter()
        runs: list[TrainedModels] = []
        for seed in range(arguments.seed, arguments.seed + arguments.tables):
            task = AssociationTask.complete(vocab, 2, seed=seed)
            runs.append(train(task=task, shapes=shapes, num_models=repetitions, seed=seed))
        seconds = perf_counter() - start
        for shape, value in zip(shapes, values.values(), strict=True):
            finished = [[model for model in run.of_shape(shape) if not model.diverged] for run in runs]
            mean, wide, narrow = intervals([[m.notebook_accuracy for m in models] for models in finished], repetitions)
            uniform = fmean(
                uniform_accuracy(model.to_transformer(torch.float32), run.task)
                for run, models in zip(runs, finished, strict=True)
                for model in models
            )
            inside = abs(mean - value) <= wide
            print(
                f"{number:3d} {vocab:3d} {dim:3d} {shape.num_heads:3d} |    {mean:.4f}    {value:.4f}   {mean - value:+.4f} |"
                f"         {wide:.4f} ({narrow:.4f})         | {'yes' if inside else 'NO':6s} | {uniform:.4f}",
                flush=True,
            )
        diverged = sum(len(run.diverged) for run in runs)
        count = sum(len(run) for run in runs)
        each = seconds / arguments.tables
        print(f"    {count} models, {diverged} diverged, {seconds:.1f} s ({each:.1f} s a table)", flush=True)


def uniform_accuracy(model: torch.nn.Module, task: AssociationTask) -> float:
    """Share of the table's rows that the model gets right, each row counted once."""
    with torch.no_grad():
        logits = model(torch.tensor(task.sequences))
    return float((logits.argmax(1) == torch.tensor(task.targets)).float().mean())


if __name__ == "__main__":
    main()
