"""What an experiment says of itself: its question, its curves, and how much of them each tier trains."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from empirical.cells import Cell, DeviceKind
from empirical.training import TrainingSettings, Variant
from theory.shapes import TransformerShape

Tier = Literal["smoke", "quick", "paper"]
TIERS: tuple[Tier, ...] = get_args(Tier)
Axis = Literal["num_heads", "head_dim", "embed_dim", "nominal_parameters"]

PAPER = "Dana, Pydi and Chevaleyre 2025"


@dataclass(frozen=True)
class Curve:
    """One curve of a figure: its label, its shapes in the order of the axis, and how they are trained."""

    label: str
    shapes: tuple[TransformerShape, ...]
    settings: TrainingSettings


@dataclass(frozen=True)
class Grid:
    """What a tier trains: every shape of every curve so many times; `note` says what is cut from the paper's."""

    curves: tuple[Curve, ...]
    repetitions: int
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """An experiment of the paper: what is trained, what is plotted, what is said of it.

    All have S = 2, the table of all N^2 pairs with one uniformly random target each, and one table and one set of training draws
    for all models. Variant "notebook" is what was run for the paper's figures, "paper" the model of its equations (1)-(2).

    Attributes:
        name: "exp_1", "exp_5_large", ..
        title: a few words.
        question: what the experiment asks.
        paper_says: what the paper reads from it, and where paper, README and code disagree.
        source: of grid and schedule.
        axis: what is plotted along x; "nominal_parameters" is the paper's own count, see `plotted_parameters`.
        vocab_size: N.
        paper, quick, smoke: the full grid; minutes; seconds.
        published_as: `experiment` of the published rows that belong to it.
    """

    name: str
    title: str
    question: str
    paper_says: str
    source: str
    axis: Axis
    vocab_size: int
    paper: Grid
    quick: Grid
    smoke: Grid
    published_as: str

    def grid(self, tier: Tier) -> Grid:
        """What a tier trains. Raises ValueError for an unknown tier."""
        if tier not in TIERS:
            raise ValueError(f"tier = {tier!r}: must be one of {', '.join(map(repr, TIERS))}")
        return {"smoke": self.smoke, "quick": self.quick, "paper": self.paper}[tier]

    def cells(
        self, tier: Tier, variant: Variant = "notebook", *, device: DeviceKind = "cpu", seed: int = 0
    ) -> tuple[Cell, ...]:
        """The cells of a tier, distinct, curve by curve.

        `seed` draws the table and all that is random in training: other seeds are other tables with models of their own. A cell
        that two curves share (a network of width 0 is a layer of heads) is there once.

        Raises ValueError for an unknown tier, variant or device, or a seed below 0.
        """
        grid = self.grid(tier)
        found = (
            cell
            for curve in grid.curves
            for shape in curve.shapes
            for cell in self.point(curve, shape, grid.repetitions, variant, device=device, seed=seed)
        )
        return tuple(dict.fromkeys(found))

    def point(
        self, curve: Curve, shape: TransformerShape, repetitions: int, variant: Variant, *, device: DeviceKind, seed: int
    ) -> tuple[Cell, ...]:
        """The repetitions of one point of a curve."""
        first = Cell(self.vocab_size, shape, 0, variant, curve.settings, table_seed=seed, seed=seed, device=device)
        return tuple(replace(first, repetition=repetition) for repetition in range(repetitions))

    def series(self, shape: TransformerShape) -> str:
        """Label of the curve that a shape belongs to, the first where two share it.

        Raises ValueError for a shape that is not part of the experiment.
        """
        for grid in (self.paper, self.quick, self.smoke):
            for curve in grid.curves:
                if shape in curve.shapes:
                    return curve.label
        raise ValueError(f"shape = {shape}: is no point of {self.name}")

    def axis_value(self, shape: TransformerShape) -> int:
        """Where a shape lies along x."""
        if self.axis == "nominal_parameters":
            return plotted_parameters(self.vocab_size, shape)
        return int(getattr(shape, self.axis))


def plotted_parameters(vocab_size: int, shape: TransformerShape) -> int:
    """L (4 H d d_h + 2 d width) + d (2N + 1): the paper's count on the axis of experiment 5.

    One position vector is counted, and no biases. Experiment 5 has d_h = d, 4 d^2 for a head; for d_h != d it is the count of
    equations (1)-(2), which have maps of d times d_h, and not that of the notebook's heads of d_h times d_h behind shared maps.
    """
    dim = shape.embed_dim
    layer = 4 * shape.num_heads * dim * shape.head_dim + 2 * dim * shape.mlp_width
    return shape.num_layers * layer + dim * (2 * vocab_size + 1)


def smoke(settings: TrainingSettings) -> TrainingSettings:
    """The same rates over 2 epochs of 4 batches of 64: whether it runs, not what it learns."""
    return replace(settings, batch_size=64, num_batches=4, epochs=2, accuracy_window=4)


def cut(settings: TrainingSettings, *, epochs: int, num_batches: int | None = None) -> TrainingSettings:
    """The same rates, first to last, over fewer epochs and draws."""
    return replace(settings, epochs=epochs, num_batches=settings.num_batches if num_batches is None else num_batches)


def by_heads(
    dims: Iterable[int], heads: Iterable[int], settings: TrainingSettings, *, label: str = "d = {}", num_layers: int = 1
) -> tuple[Curve, ...]:
    """One curve for each d = d_h, along H."""
    counts = tuple(heads)
    shapes = {dim: tuple(TransformerShape(dim, count, dim, num_layers) for count in counts) for dim in dims}
    return tuple(Curve(label.format(dim), some, settings) for dim, some in shapes.items())


def by_head_dim(
    dim: int, heads: int, head_dims: Iterable[int], settings: TrainingSettings, *, num_layers: int = 1
) -> tuple[Curve, ...]:
    """One curve along d_h at fixed d and H."""
    shapes = tuple(TransformerShape(dim, heads, width, num_layers) for width in head_dims)
    return (Curve(f"d = {dim}, H = {heads}", shapes, settings),)


def by_mlp_width(
    dims: Iterable[int], times: Iterable[int], settings: TrainingSettings, *, num_layers: int = 1
) -> tuple[Curve, ...]:
    """One curve for each d = d_h, of one head with a network of width `times` d behind it."""
    factors = tuple(times)
    return tuple(
        Curve(f"MLP, d = {dim}", tuple(TransformerShape(dim, 1, dim, num_layers, factor * dim) for factor in factors), settings)
        for dim in dims
    )

