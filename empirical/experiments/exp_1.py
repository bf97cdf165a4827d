"""Experiment 1: accuracy against the number of heads, d = d_h from 3 to 13."""

from empirical.experiments.experiment import PAPER, Experiment, Grid, by_heads, smoke
from empirical.training import TrainingSettings

SETTINGS = TrainingSettings.notebook()

EXPERIMENT = Experiment(
    name="exp_1",
    title="Accuracy against the number of heads",
    question="How does what a layer remembers grow with the number of heads H, at d = d_h?",
    paper_says="Memory is linear in H until it saturates, and lies above H d_h + d.",
    source=f"{PAPER}, experiment 1",
    axis="num_heads",
    vocab_size=50,
    paper=Grid(by_heads(range(3, 14), range(1, 32, 5), SETTINGS), repetitions=5),
    quick=Grid(by_heads((3, 5, 7, 10, 13), range(1, 32, 5), SETTINGS), 2, "5 widths of 11, 2 repetitions; the full schedule"),
    smoke=Grid(by_heads((3, 10), (1, 6), smoke(SETTINGS)), 2, "2 widths, 2 head counts, 2 repetitions, 8 steps"),
    published_as="exp_1",
)
