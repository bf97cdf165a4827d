"""Experiment 3: accuracy against the embedding dimension, d_h = 10, H = 20."""

from collections.abc import Iterable

from empirical.experiments.experiment import PAPER, Curve, Experiment, Grid, smoke
from empirical.training import TrainingSettings
from theory.shapes import TransformerShape

SETTINGS = TrainingSettings.notebook()


def by_embed_dim(dims: Iterable[int], settings: TrainingSettings) -> tuple[Curve, ...]:
    """One curve along d."""
    return (Curve("d_h = 10, H = 20", tuple(TransformerShape(dim, 20, 10) for dim in dims), settings),)


EXPERIMENT = Experiment(
    name="exp_3",
    title="Accuracy against the embedding dimension",
    question="How does what a layer remembers grow with d, at fixed d_h and H?",
    paper_says="Memory is linear in d on either side of d = d_h, with another slope. The knee belongs to the notebook's shared "
    "maps, through which all heads see min(d, d_h) dimensions.",
    source=f"{PAPER}, experiment 3",
    axis="embed_dim",
    vocab_size=50,
    paper=Grid(by_embed_dim(range(5, 16), SETTINGS), repetitions=5),
    quick=Grid(by_embed_dim(range(5, 16), SETTINGS), 2, "all points, 2 repetitions; the full schedule"),
    smoke=Grid(by_embed_dim((5, 10, 15), smoke(SETTINGS)), 2, "3 points, 2 repetitions, 8 steps"),
    published_as="exp_3",
)
