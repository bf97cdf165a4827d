"""The paper's experiments trained anew, measured on the uniform table: what to train, on how many tables, and the memory reached.

A claim's interval is over tables: table t is a fresh look-up table with its own draws, batches and initial weights (all from
seed + t), so that tables are independent of each other; models on one table are averaged first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from empirical.capacity import measure
from empirical.training import TrainingSettings, Variant, train
from headcount.claims.claim import Effort, Inquiry
from theory.shapes import AttentionShape, TransformerShape
from theory.tasks import AssociationTask

Memories = Mapping[AttentionShape, float]
"""Memory X, in associations, by shape."""


@dataclass(frozen=True)
class Runs:
    """What is trained on each table, by default with the paper's schedule: 64 epochs of 64 batches of 256.

    Attributes:
        vocab_size: N; the tables hold all N^2 pairs.
        variant: "paper", equations (1)-(2), or "notebook", the code published with the paper.
        shapes: of the models.
        num_models: of each shape.
        settings: another schedule.
    """

    vocab_size: int
    variant: Variant
    shapes: tuple[AttentionShape, ...]
    num_models: int = 1
    settings: TrainingSettings | None = None

    @property
    def num_associations(self) -> int:
        """T0."""
        return self.vocab_size**2


KEPT: dict[tuple[Runs, int], Memories] = {}
"""Tables trained in this process: several claims look at the same ones, and training is a pure function of runs and seed."""


def heads(inquiry: Inquiry) -> Runs:
    """Experiment 1, d = d_h: memory against the number of heads. The paper's model and the notebook's are of one kind here."""
    counts: dict[int, tuple[int, ...]] = {
        3: (1, 11, 21, 31), 5: (1, 11, 21, 31), 7: (1, 6, 11, 21), 10: (1, 6, 11, 16, 21), 13: (1, 6, 11)
    }  # fmt: skip
    if inquiry.effort is Effort.EXHAUSTIVE:
        counts = {dim: (1, 6, 11, 16, 21, 26, 31) for dim in range(3, 14)}
    return Runs(50, "paper", tuple(AttentionShape(dim, count, dim) for dim, some in counts.items() for count in some))


def head_dims(inquiry: Inquiry) -> Runs:
    """Experiment 2, d = 10, the paper's own model: memory against d_h at H = 20 as printed, and at H = 8, far from saturation."""
    widths: dict[int, Sequence[int]] = {8: (1, 2, 5, 10), 20: (1, 2, 3, 5, 10)}
    if inquiry.effort is Effort.EXHAUSTIVE:
        widths = {8: range(1, 11), 20: range(1, 11)}
    return Runs(50, "paper", tuple(AttentionShape(10, count, width) for count, some in widths.items() for width in some))


def shared_head_dims(inquiry: Inquiry) -> Runs:
    """Experiment 2 as its code ran it: one map into R^{d_h} for all heads; d_h < d, since at d_h = d the code has no such map."""
    widths = range(1, 10) if inquiry.effort is Effort.EXHAUSTIVE else (1, 3, 5, 7, 9)
    return Runs(50, "notebook", tuple(AttentionShape(10, 20, width) for width in widths))


def two_dimensions(inquiry: Inquiry) -> Runs:
    """Experiment 6 as its code ran it: N = 10, d = d_h = 2."""
    return Runs(10, "notebook", tuple(AttentionShape(2, count, 2) for count in (1, 5, 9, 13, 17, 21)), inquiry.pick(3, 3, 20))


def embed_dims(variant: Variant) -> Runs:
    """Experiment 3 far from saturation, at H = 8: memory against d on either side of d_h = 10."""
    return Runs(50, variant, tuple(AttentionShape(dim, 8, 10) for dim in (5, 10, 15)))


def equal_parameters() -> tuple[Runs, Runs]:
    """Experiment 5 made small, N = 40: 11 heads, and one head with a network of the parameters of 10, each at its own rates."""
    notebook = TrainingSettings.notebook()
    mlp = replace(notebook, final_learning_rate=TrainingSettings.experiment_5_mlp().final_learning_rate)
    return (
        Runs(40, "notebook", (TransformerShape(7, 11, 7),), settings=notebook),
        Runs(40, "notebook", (TransformerShape(7, 1, 7, mlp_width=2 * 7 * 10),), settings=mlp),
    )


def train_table(runs: Runs, seed: int, progress: Callable[[int, int, float], None]) -> Memories:
    """Train on one table; the mean memory by shape.

    Raises ArithmeticError where a model diverged: a mean over the others would be a choice of models.
    """
    task = AssociationTask.complete(runs.vocab_size, 2, seed=seed)
    trained = train(
        task=task, shapes=runs.shapes, num_models=runs.num_models, settings=runs.settings, variant=runs.variant, seed=seed,
        progress=progress,
    )  # fmt: skip
    if trained.diverged:
        raise ArithmeticError(f"table {seed}, {trained.diverged[0].shape}: training diverged, {trained.diverged[0].reason}")
    return {
        shape: fmean(measure(model.to_transformer(), task).memory for model in trained.of_shape(shape)) for shape in runs.shapes
    }


def memories(inquiry: Inquiry, runs: Runs, num_tables: int, part: tuple[float, float] = (0.0, 1.0)) -> list[Memories]:
    """Memory by shape on each of `num_tables` tables; reports progress within `part` of the whole check."""
    start, end = part

    def report(table: int, done: int, total: int, loss: float) -> None:
        inquiry.report(start + (end - start) * (table + done / total) / num_tables)

    found = []
    for table in range(num_tables):
        key = (runs, inquiry.seed + table)
        if key not in KEPT:
            KEPT[key] = train_table(*key, partial(report, table))
        found.append(KEPT[key])
    inquiry.report(end)
    return found
