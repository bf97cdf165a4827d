"""Experiments 1, 2 and 5 with three layers: N = 70, constant learning rate.

The paper's text speaks of five layers; its code and data have three. In the notebook's model the layers share the position
embedding and, for d_h != d, the maps in front of and behind the heads.
"""

from empirical.experiments.experiment import PAPER, Experiment, Grid, by_head_dim, by_heads, by_mlp_width, cut, smoke
from empirical.training import TrainingSettings

SETTINGS = TrainingSettings.deep()  # constant 0.0025, with an MLP as without
LAYERS = 3
DIMS, COUNTS, TIMES = (7, 10, 13), range(1, 22, 4), range(0, 41, 8)
SHORT = cut(SETTINGS, epochs=16, num_batches=64)
SMOKE = "2 points a curve, 2 repetitions, 8 steps"

EXP_1 = Experiment(
    name="exp_1_deep",
    title="Accuracy against the number of heads, three layers",
    question="Is memory linear in H with three layers too?",
    paper_says="The line of experiment 1 is drawn through the points.",
    source=f"{PAPER}, experiment 1 with several layers",
    axis="num_heads",
    vocab_size=70,
    paper=Grid(by_heads(DIMS, COUNTS, SETTINGS, num_layers=LAYERS), repetitions=5),
    quick=Grid(
        by_heads((7, 10), (1, 9, 17), SHORT, num_layers=LAYERS), 2,
        "2 widths of 3, 3 points of 6, 2 repetitions; 16 epochs of 64 batches in place of 64 of 128",
    ),
    smoke=Grid(by_heads((7,), (1, 5), smoke(SETTINGS), num_layers=LAYERS), 2, SMOKE),
    published_as="exp_1_deep",
)  # fmt: skip

EXP_2 = Experiment(
    name="exp_2_deep",
    title="Accuracy against the head dimension, three layers",
    question="How does memory grow with d_h with three layers?",
    paper_says="The curve of experiment 2 is drawn through the points.",
    source=f"{PAPER}, experiment 2 with several layers",
    axis="head_dim",
    vocab_size=70,
    paper=Grid(by_head_dim(10, 21, range(1, 11), SETTINGS, num_layers=LAYERS), repetitions=5),
    quick=Grid(
        by_head_dim(10, 21, (1, 3, 5, 7, 9), SHORT, num_layers=LAYERS), 2,
        "5 points of 10, 2 repetitions; 16 epochs of 64 batches in place of 64 of 128",
    ),
    smoke=Grid(by_head_dim(10, 21, (1, 10), smoke(SETTINGS), num_layers=LAYERS), 2, SMOKE),
    published_as="exp_2_deep",
)  # fmt: skip

EXP_5 = Experiment(
    name="exp_5_deep",
    title="Heads or an MLP, three layers",
    question="Heads against heads with MLPs at equal parameters, three layers of each?",
    paper_says="Drawn like experiment 5; a conclusion in words is not held here. (One plotting script counts five layers' "
    "parameters for three.)",
    source=f"{PAPER}, experiment 5 with several layers",
    axis="nominal_parameters",
    vocab_size=70,
    paper=Grid(
        (
            *by_heads(DIMS, COUNTS, SETTINGS, label="attention, d = {}", num_layers=LAYERS),
            *by_mlp_width(DIMS, TIMES, SETTINGS, num_layers=LAYERS),
        ),
        repetitions=5,
    ),
    quick=Grid(
        (
            *by_heads((7,), (1, 9, 17), SHORT, label="attention, d = {}", num_layers=LAYERS),
            *by_mlp_width((7,), (0, 16, 32), SHORT, num_layers=LAYERS),
        ),
        2, "1 width of 3, 3 points of 6, 2 repetitions; 16 epochs of 64 batches in place of 64 of 128",
    ),
    smoke=Grid(
        (
            *by_heads((7,), (1, 5), smoke(SETTINGS), label="attention, d = {}", num_layers=LAYERS),
            *by_mlp_width((7,), (0, 8), smoke(SETTINGS), num_layers=LAYERS),
        ),
        2, SMOKE,
    ),
    published_as="exp_5_deep",
)  # fmt: skip
