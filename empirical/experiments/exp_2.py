"""Experiment 2: accuracy against the head dimension, d = 10, H = 20."""

from empirical.experiments.experiment import PAPER, Experiment, Grid, by_head_dim, smoke
from empirical.training import TrainingSettings

SETTINGS = TrainingSettings.notebook()

EXPERIMENT = Experiment(
    name="exp_2",
    title="Accuracy against the head dimension",
    question="How does what a layer remembers grow with the width d_h of its heads, at fixed d and H?",
    paper_says="Memory is quadratic in d_h. (The README says linear.) The notebook's model has one map from d to d_h in front of "
    "all heads and one back behind them when d_h < d, and neither when d_h = d: the last point is of another model. In the model "
    "of equations (1)-(2) the curve is concave.",
    source=f"{PAPER}, experiment 2",
    axis="head_dim",
    vocab_size=50,
    paper=Grid(by_head_dim(10, 20, range(1, 11), SETTINGS), repetitions=5),
    quick=Grid(by_head_dim(10, 20, range(1, 11), SETTINGS), 2, "all points, 2 repetitions; the full schedule"),
    smoke=Grid(by_head_dim(10, 20, (1, 5, 10), smoke(SETTINGS)), 2, "3 points, 2 repetitions, 8 steps"),
    published_as="exp_2",
)
