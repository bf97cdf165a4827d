"""Experiment 6: the slope of memory in the number of heads at d = d_h = 2, where Corollary 1 speaks."""

from empirical.experiments.experiment import PAPER, Experiment, Grid, by_heads, smoke
from empirical.training import TrainingSettings

SETTINGS = TrainingSettings.notebook()
COUNTS = range(1, 22, 4)

EXPERIMENT = Experiment(
    name="exp_6",
    title="Memory in two dimensions",
    question="How does the memory of trained models compare with H d_h + d at d = d_h = 2, N = 10?",
    paper_says="It grows 1.3 times as fast in H. (Earlier versions print twice and 1.7, the notebook 1.5, which is what the "
    "published points give. The text has d_h = 5; code and caption have 2.)",
    source=f"{PAPER}, experiment 6",
    axis="num_heads",
    vocab_size=10,
    paper=Grid(by_heads((2,), COUNTS, SETTINGS), repetitions=20),
    quick=Grid(by_heads((2,), COUNTS, SETTINGS), 5, "all points, 5 repetitions of 20; the full schedule"),
    smoke=Grid(by_heads((2,), (1, 5, 21), smoke(SETTINGS)), 2, "3 points, 2 repetitions, 8 steps"),
    published_as="exp_6",
)
