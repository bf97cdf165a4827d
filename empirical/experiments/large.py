"""Experiments 1, 2 and 5 in large dimensions: N = 200, d = 40 to 60.

65,536 training draws for 40,000 pairs: some 19% of the pairs are never drawn, and accuracy on draws says nothing of those. The
accuracy on the uniform table counts them.
"""

from dataclasses import replace

from empirical.experiments.experiment import PAPER, Experiment, Grid, by_head_dim, by_heads, by_mlp_width, cut, smoke
from empirical.training import TrainingSettings

SETTINGS = TrainingSettings.large_dimension()
# The schedule for models with an MLP is that of experiment 5: the rate falls to a hundredth.
MLP = replace(SETTINGS, final_learning_rate=TrainingSettings.experiment_5_mlp().final_learning_rate)
DIMS, COUNTS, TIMES = (40, 50, 60), range(1, 12, 2), range(0, 21, 4)
SHORT, SHORT_MLP = cut(SETTINGS, epochs=16), cut(MLP, epochs=16)
SMOKE = "2 points a curve, 2 repetitions, 8 steps"

EXP_1 = Experiment(
    name="exp_1_large",
    title="Accuracy against the number of heads, large dimensions",
    question="Is memory linear in H for d = d_h = 40 to 60 too?",
    paper_says="The line of experiment 1 is drawn through the points.",
    source=f"{PAPER}, experiment 1 in large dimensions",
    axis="num_heads",
    vocab_size=200,
    paper=Grid(by_heads(DIMS, COUNTS, SETTINGS), repetitions=5),
    quick=Grid(by_heads((40,), (1, 5, 9), SHORT), 2, "1 width of 3, 3 points of 6, 2 repetitions; 16 epochs of 64"),
    smoke=Grid(by_heads((40,), (1, 3), smoke(SETTINGS)), 2, SMOKE),
    published_as="exp_1_large",
)

EXP_2 = Experiment(
    name="exp_2_large",
    title="Accuracy against the head dimension, large dimensions",
    question="How does memory grow with d_h for d = 50?",
    paper_says="Linearly, says the text; the script of the figure draws a quadratic fit (and says H = 20 where its "
    "data have 11).",
    source=f"{PAPER}, experiment 2 in large dimensions",
    axis="head_dim",
    vocab_size=200,
    paper=Grid(by_head_dim(50, 11, (1, *range(5, 51, 5)), SETTINGS), repetitions=5),
    quick=Grid(by_head_dim(50, 11, (1, 10, 20, 30, 40), SHORT), 1, "5 points of 11, 1 repetition; 16 epochs of 64"),
    smoke=Grid(by_head_dim(50, 11, (1, 10), smoke(SETTINGS)), 2, SMOKE),
    published_as="exp_2_large",
)

EXP_5 = Experiment(
    name="exp_5_large",
    title="Heads or an MLP, large dimensions",
    question="Heads against an MLP at equal parameters, d = d_h = 40 to 60?",
    paper_says="Drawn like experiment 5; a conclusion in words is not held here.",
    source=f"{PAPER}, experiment 5 in large dimensions",
    axis="nominal_parameters",
    vocab_size=200,
    paper=Grid(
        (*by_heads(DIMS, COUNTS, SETTINGS, label="attention, d = {}"), *by_mlp_width(DIMS, TIMES, MLP)), repetitions=5
    ),
    quick=Grid(
        (*by_heads((40,), (1, 5, 9), SHORT, label="attention, d = {}"), *by_mlp_width((40,), (0, 8, 16), SHORT_MLP)), 1,
        "1 width of 3, 3 points of 6, 1 repetition; 16 epochs of 64",
    ),
    smoke=Grid(
        (*by_heads((40,), (1, 3), smoke(SETTINGS), label="attention, d = {}"), *by_mlp_width((40,), (0, 4), smoke(MLP))), 2, SMOKE
    ),
    published_as="exp_5_large",
)  # fmt: skip
