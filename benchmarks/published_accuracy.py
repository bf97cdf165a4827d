"""Does the trainer reach the accuracies that Dana, Pydi and Chevaleyre 2025 published?

    python -m benchmarks.published_accuracy [exp_1 exp_2 exp_3 exp_6] [--tables 1] [--seed 0] [--dims 10] [--threads 2]
                                            [--store FILE [--read-only]] [--published FILE.csv]

Trains the paper tier of the experiments named (the notebook variant; with `--dims` only these d) and prints every published value
beside ours: mean accuracy on the training draws, its deviation, what is allowed, and our accuracy on the uniform table. With
`--store` cells that the store holds are not trained again, and new ones are kept; `--read-only` trains nothing. `--published`
takes values from a file like `empirical/published.csv` in place of that one.

What is allowed is 0.03, and in experiment 6 the half-width of a 95% interval for the difference (see
`empirical.experiments.deviations`). A published value is the mean over its repetitions on ONE table, of unknown spread. With
`--tables` T of at least 2, table t drawn from seed s + t and trained with that seed, the variance between the means of our tables
is what a published value scatters with, tables and repetitions together. With one table the spread of its repetitions is known,
and that between tables is taken from an earlier measurement (TABLE_SPREAD). Of 10 intervals at 95%, 0.5 are missed on average by
an exact replication.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Hashable
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from empirical.experiments import EXPERIMENTS, Experiment, deviations, results
from empirical.store import Store
from empirical.sweep import run

DEFAULT = ("exp_1", "exp_2", "exp_3", "exp_6")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trained accuracy beside published values.")
    parser.add_argument("experiments", nargs="*", default=list(DEFAULT), help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--tables", type=int, default=1, help="random look-up tables per point (default 1, as published)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first table (default 0)")
    parser.add_argument("--dims", type=int, nargs="*", help="only points of these d (default all)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--store", type=Path, help="where results are and go (default a file thrown away at the end)")
    parser.add_argument("--read-only", action="store_true", help="train nothing")
    parser.add_argument("--published", type=Path, help="published values, columns as of empirical/published.csv")
    given = parser.parse_args()
    unknown = [name for name in given.experiments if name not in EXPERIMENTS]
    if unknown or given.tables < 1:
        parser.error(f"unknown experiment {unknown[0]}" if unknown else "--tables: at least 1 is legal")
    return given


def compared(experiment: Experiment, store: Store, given: argparse.Namespace, published: pd.DataFrame | None) -> pd.DataFrame:
    """Trains what is missing; deviations over all tables."""
    seeds = range(given.seed, given.seed + given.tables)
    if not given.read_only:
        cells = [cell for seed in seeds for cell in experiment.cells("paper", seed=seed)]
        run([cell for cell in cells if not given.dims or cell.shape.embed_dim in given.dims], store, threads=given.threads)
    tables = [results(experiment, store, "paper", seed=seed) for seed in seeds]
    return deviations(pd.concat(tables), published=published)


def line(row: dict[Hashable, Any]) -> str:
    """One published value beside ours."""
    shape = f"{row['embed_dim']:3d} {row['head_dim']:4d} {row['num_heads']:3d} {row['mlp_width']:3d} {row['num_layers']:1d}"
    values = f"{row['ours']:.4f}    {row['published']:.4f}   {row['difference']:+.4f}  {row['allowed']:.4f} {row['basis']:9s}"
    inside = "yes" if row["inside"] else "NO"
    return f"{shape} |   {values} | {inside:6s} |  {row['uniform']:.4f} | {row['num_models']:6d} {row['num_missing']:7d}"


def main() -> None:
    given = arguments()
    published = None if given.published is None else pd.read_csv(given.published)
    print(f"{given.tables} table(s), seeds {given.seed} to {given.seed + given.tables - 1}, none left out")
    with contextlib.ExitStack() as stack:
        file = given.store or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "cells.sqlite"
        store = stack.enter_context(Store(file))
        for name in given.experiments:
            start = perf_counter()
            found = compared(EXPERIMENTS[name], store, given, published)
            seconds = perf_counter() - start
            outside = int((~found["inside"].astype(bool)).sum())
            print(f"{name}: {len(found)} published values, {outside} outside, {seconds:.1f} s")
            if len(found):
                print("  d  d_h   H MLP L | measured published deviation allowed           | inside | uniform | models missing")
            for row in found.to_dict("records"):
                print(line(row), flush=True)


if __name__ == "__main__":
    main()
