"""Experiment 5: accuracy against parameters, of heads alone and of one head with an MLP behind it."""

from empirical.experiments.experiment import PAPER, Curve, Experiment, Grid, by_heads, by_mlp_width, cut, smoke
from empirical.training import TrainingSettings

HEADS, MLP = TrainingSettings.experiment_5(), TrainingSettings.experiment_5_mlp()
DIMS, COUNTS = (7, 10, 13), (1, 6, 11, 16, 21, 26, 31)


def curves(dims: tuple[int, ...], counts: tuple[int, ...], heads: TrainingSettings, mlp: TrainingSettings) -> tuple[Curve, ...]:
    """Both kinds at each d = d_h: H heads, and one head with a network of width 2d (H - 1), which has as many parameters."""
    times = [2 * (count - 1) for count in counts]
    return (*by_heads(dims, counts, heads, label="attention, d = {}"), *by_mlp_width(dims, times, mlp))


EXPERIMENT = Experiment(
    name="exp_5",
    title="Heads or an MLP, at equal parameters",
    question="Does a layer of heads remember as much per parameter as one head with an MLP behind it?",
    paper_says="The MLP does better, and is harder to optimise. (The README and the first version: both scale alike.)",
    source=f"{PAPER}, experiment 5",
    axis="nominal_parameters",
    vocab_size=70,
    paper=Grid(curves(DIMS, COUNTS, HEADS, MLP), repetitions=5),
    quick=Grid(
        curves((7, 10), (1, 11, 21, 31), cut(HEADS, epochs=32, num_batches=64), cut(MLP, epochs=32, num_batches=64)), 2,
        "2 widths of 3, 4 points of 7, 2 repetitions; 32 epochs of 64 batches in place of 64 of 256",
    ),
    smoke=Grid(curves((7,), (1, 6), smoke(HEADS), smoke(MLP)), 2, "1 width, 2 points, 2 repetitions, 8 steps"),
    published_as="exp_5",
)  # fmt: skip
