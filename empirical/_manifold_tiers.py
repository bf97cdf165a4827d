"""The cells of the experiment on manifolds: seconds, minutes on two cores, hours."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from constructions.attention import AttentionKind
from empirical._manifold_cell import Experiment, ManifoldCell

AMBIENT_DIM = 6
ROUGH = 0.75
"""beta of the Weierstrass targets: three or four of their scales have more variance than what a small model leaves."""
NOISE = 0.5
"""Of labels in experiments on data; targets have a variance of 0.6 to 0.8."""
DATA_WIDTH = 16
LAYERS, HEADS, BATCH = 2, 2, 64
RATE_TIMES_WIDTH = 0.16


def learning_rate(width: int) -> float:
    """The largest learning rate of a model of that width, 0.16 / m, which Yang et al. 2021 derive for Adam (rates fall as 1/m).

    Tried on experiments on models, 1000 steps (geometric mean of the error over the seeds 100 to 102, which no tier has; * is the
    rule's):

        sphere, smooth            m = 4: .02 1.5e-3, .04* 4.8e-4, .08 2.9e-4        m = 16: .005 1.2e-4, .01* 6.0e-5, .03 5.5e-5
        sphere, smooth            m = 26: .0031 5.9e-5, .0062* 3.7e-5, .01 2.6e-5, .03 1.9e-4 (one seed lost)
        torus-3, Weierstrass .75  m = 4: .02 .318, .04* .294, .08 .440              m = 16: .005 .186, .01* .165, .02 .207
        circle, Weierstrass .75, 1000 noisy samples, m = 16: .001 .039, .003 .027, .01* .023

    It is within a factor of 1.7 of the best rate tried, everywhere; the error that larger rates would take off smooth targets
    they put onto rough ones. ReLU attention has the same rule, untried, and so have widths beyond 26.
    """
    return RATE_TIMES_WIDTH / width


def _cell(
    experiment: Experiment, manifold: str, target: str, size: int, steps: int, seeds: int, attention: AttentionKind
) -> ManifoldCell:
    """A cell on `size` samples, or with models of that width."""
    beta = None if target == "smooth" else ROUGH
    samples, noise, width = (size, NOISE, DATA_WIDTH) if experiment == "data" else (0, 0.0, size)
    shape = width, LAYERS, HEADS, attention, steps, BATCH, learning_rate(width), tuple(range(seeds))
    return ManifoldCell(experiment, manifold, AMBIENT_DIM, target, beta, samples, noise, *shape)


def _series(
    experiment: Experiment, manifold: str, target: str, sizes: Sequence[int], steps: int, seeds: int,
    attention: AttentionKind = "softmax",
) -> Iterator[ManifoldCell]:  # fmt: skip
    """A cell of each size, and the largest again with twice the steps."""
    cells = [_cell(experiment, manifold, target, size, steps, seeds, attention) for size in sizes]
    yield from cells
    yield replace(cells[-1], steps=2 * steps, check="longer")


MANIFOLDS = ("circle", "sphere", "torus-3")
TARGETS = ("smooth", "weierstrass")


def _quick() -> Iterator[ManifoldCell]:
    for manifold in MANIFOLDS:
        for target in TARGETS:
            yield from _series("data", manifold, target, QUICK_SAMPLES, QUICK_STEPS, QUICK_SEEDS)
            yield from _series("model", manifold, target, QUICK_WIDTHS, QUICK_STEPS, QUICK_SEEDS)
    yield from _series("data", "circle", "smooth", QUICK_SAMPLES[::2], QUICK_STEPS, QUICK_SEEDS, "relu")
    yield from _series("model", "circle", "smooth", QUICK_WIDTHS[::2], QUICK_STEPS, QUICK_SEEDS, "relu")


def _paper() -> Iterator[ManifoldCell]:
    for manifold in (*MANIFOLDS, "torus", "sphere-3", "swiss-roll"):
        for target in TARGETS:
            for attention in ATTENTIONS:
                yield from _series("data", manifold, target, PAPER_SAMPLES, PAPER_STEPS, 5, attention)
                yield from _series("model", manifold, target, PAPER_WIDTHS, PAPER_STEPS, 5, attention)


QUICK_SAMPLES, QUICK_WIDTHS, QUICK_STEPS, QUICK_SEEDS = (100, 316, 1000, 3162, 10_000), (4, 6, 10, 16, 26), 1600, 4
PAPER_SAMPLES, PAPER_WIDTHS, PAPER_STEPS = (100, 316, 1000, 3162, 10_000, 31_623), (4, 6, 10, 16, 26, 40, 64), 20_000
ATTENTIONS: tuple[AttentionKind, ...] = ("softmax", "relu")

TIERS: dict[str, tuple[ManifoldCell, ...]] = {
    "smoke": (
        *_series("data", "circle", "smooth", (30, 100, 300), 60, 2), *_series("model", "circle", "smooth", (4, 8, 16), 60, 2),
    ),
    "quick": tuple(_quick()),
    "paper": tuple(_paper()),
}  # fmt: skip
"""Cells by tier; within one, each `name` is there once. Models have two layers of two heads, MLPs twice as wide as the stream,
and read points of R^6; the embedding is another for every seed.

    smoke: 60 steps on the circle, seconds; learns next to nothing, shows that everything works.
    quick: circle, sphere and a torus of three circles (d = 1, 2, 3), a smooth target and Weierstrass' with beta = 0.75. Data: 100
        to 10 thousand samples with noise 0.5, 4304 parameters. Model: 308 to 11,154 parameters, fresh samples without noise.
        Four seeds, 1600 steps. On the circle also ReLU attention, on fewer sizes.
    paper: six manifolds, both attentions, up to 32 thousand samples and 67 thousand parameters, 20 thousand steps, five seeds;
        about a day on one core.
"""


def expected_seconds(cell: ManifoldCell) -> float:
    """About what a cell takes on one core of 2026, from steps that were timed.

    Three models with two layers of two heads, seven tokens and batches of 64 took 5.5, 6.2, 6.9, 6.2 and 8.7 ms a step at widths
    4, 6, 10, 16 and 26 on a quiet core, without the drawing of samples; 8.5 to 11.7 in all at width 16 on a core that others
    fought for. What is said here is between the two.
    """
    tokens = (cell.ambient_dim + 1) / 7
    work = len(cell.seeds) / 3 * cell.batch / 64 * cell.layers / 2 * tokens
    return cell.steps * cell.layers / 2 * STEP_SECONDS * (0.4 + 0.6 * work * (0.75 + cell.width / 64)) + 1.0


STEP_SECONDS = 0.008
