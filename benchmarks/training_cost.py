"""What training costs: model-steps per second against the number of heads, the width and the number of models of a stack.

    python -m benchmarks.training_cost [--out results] [--steps 96]

One thread. Seconds are those of the processor, which a busy neighbour changes less than those of the clock; on a quiet machine
they are the same. A model-step is one optimiser step of one model; the first steps, in which everything is set up, don't count.
Writes training_cost.png, training_cost.pdf and training_cost.csv into the folder, and prints the table.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time

import pandas as pd
import torch

from empirical.training import TrainingSettings, Variant, train_members
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

SMALL, LARGE = (50, 256), (200, 1024)  # (N, batch)
PANELS = ("heads", "width", "models")
LABELS = {"heads": "heads $H$", "width": "width $d = d_h$", "models": "models in one call"}
FIRST_REPORT = 16
"""Steps after which training is first heard of: those before it are not timed."""


def seconds_per_model_step(
    task: AssociationTask,
    shape: AttentionShape,
    models: int,
    settings: TrainingSettings,
    steps: int,
    variant: Variant = "notebook",
) -> float:
    """Processor seconds that a model-step takes, measured over `steps` steps with the sizes of `settings`."""
    timed = replace(settings, epochs=1, num_batches=FIRST_REPORT + steps, accuracy_window=max(1, steps // 40))
    seen: list[tuple[float, int, int]] = []

    def note(step: int, total: int, loss: float) -> None:
        seen.append((process_time(), step, total))

    members = [(shape, repetition) for repetition in range(models)]
    train_members(task=task, members=members, settings=timed, variant=variant, seed=0, progress=note)
    (start, first, total), (end, last, _) = seen[0], seen[-1]
    return (end - start) * total / ((last - first) * models * timed.num_steps)


def grid() -> list[tuple[str, int, int, AttentionShape, int]]:
    """Panel, N, batch size, shape and number of models of every point."""
    points: list[tuple[str, int, int, AttentionShape, int]] = []
    for (vocab, batch), dims in ((SMALL, (2, 4, 7, 10, 13, 20, 32)), (LARGE, (10, 20, 40, 60))):
        middle = 10 if vocab == 50 else 40
        for heads in (1, 3, 11, 31, 100) if vocab == 50 else (1, 3, 11, 31):
            points.append(("heads", vocab, batch, AttentionShape(middle, heads, middle), 5))
        for dim in dims:
            points.append(("width", vocab, batch, AttentionShape(dim, 11, dim), 5))
    for models in (1, 2, 5, 10, 20, 50):
        points.append(("models", *SMALL, AttentionShape(10, 11, 10), models))
    for models in (1, 2, 5):
        points.append(("models", *LARGE, AttentionShape(40, 11, 40), models))
    return points


def measured(steps: int) -> pd.DataFrame:
    """One row per point: panel, sizes, number of models, model-steps per second."""
    rows = []
    tasks = {vocab: AssociationTask.complete(vocab, 2, seed=0) for vocab, _ in (SMALL, LARGE)}
    for panel, vocab, batch, shape, models in grid():
        settings = TrainingSettings(batch_size=batch)
        cost = seconds_per_model_step(tasks[vocab], shape, models, settings, steps if vocab == 50 else max(16, steps // 3))
        rows.append((panel, vocab, batch, shape.embed_dim, shape.num_heads, shape.head_dim, models, 1 / cost))
        print(f"{panel:7s} N = {vocab:3d}, d = {shape.embed_dim:2d}, H = {shape.num_heads:3d}, "
              f"{models:2d} models: {1 / cost:8.0f} model-steps/s", flush=True)  # fmt: skip
    columns = ("panel", "vocab_size", "batch_size", "embed_dim", "num_heads", "head_dim", "models", "model_steps_per_second")
    return pd.DataFrame(rows, columns=list(columns))


def draw(table: pd.DataFrame, png: Path, pdf: Path) -> None:
    """Three panels with logarithmic axes, a curve per vocabulary."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

    from headcount.figures import style

    axis = {"heads": "num_heads", "width": "embed_dim", "models": "models"}
    looks = {50: (style.BLUE, "o", "N = 50, batch 256"), 200: (style.VERMILLION, "s", "N = 200, batch 1024")}
    with style.styled():
        figure = Figure(figsize=(2 * style.COLUMN_WIDTH, 2.3), layout="constrained")
        for axes, panel in zip(figure.subplots(1, 3, sharey=True), PANELS, strict=True):
            for vocab, (color, marker, label) in looks.items():
                rows = table[(table.panel == panel) & (table.vocab_size == vocab)]
                axes.plot(rows[axis[panel]], rows.model_steps_per_second, color=color, marker=marker, label=label)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50, 100]))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(LABELS[panel])
        figure.axes[0].set_ylabel("model-steps per second")
        figure.axes[0].legend()
    style.save(figure, png, pdf)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Model-steps per second against heads, width and models of a stack.")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for figure and table (default results)")
    parser.add_argument("--steps", type=int, default=96, help="steps timed per point, a third of it for N = 200 (default 96)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    table = measured(chosen.steps)
    stem = chosen.out / "training_cost"
    table.to_csv(stem.with_suffix(".csv"), index=False)
    draw(table, stem.with_suffix(".png"), stem.with_suffix(".pdf"))
    print(f"written: {stem}.png, .pdf, .csv")


if __name__ == "__main__":
    main()
