"""One cell of the experiment on manifolds: what determines it, and the samples that its models see.

Everything random hangs on a seed: the embedding of the manifold, sample points, noise, initial weights and batches all differ
from seed to seed, the function on the manifold never does. So seeds are independent repetitions of the whole experiment.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from constructions.attention import AttentionKind
from empirical.manifold_models import ManifoldRegressor
from theory.manifolds import Target, manifold_named, target_named
from theory.shapes import checked_integer

Experiment = Literal["data", "model"]
HELD_OUT_SHARE = 5
"""One in so many samples is held out to choose the step at which training stops .."""
MOST_HELD_OUT = 1000
""".. but no more than so many, which are also held out of fresh samples."""
TEST_POINTS = 4096
FORMAT = 1
# What a seed's generators are for; numbers, so that each has a stream of its own.
SAMPLES, NOISE, BATCHES, TEST, WEIGHTS = range(5)


@dataclass(frozen=True)
class ManifoldCell:
    """Models of one shape, one a seed, trained on a function on a manifold.

    Attributes:
        experiment: "data" (few samples, seen often) or "model" (fresh samples at every step).
        manifold: a name that `theory.manifolds.manifold_named` understands. ambient_dim: D of the space it is embedded in.
        target: "smooth" or "weierstrass". beta: of the latter; None for smooth ones.
        samples: n >= 10, those held out counted in; 0 for fresh ones at every step.
        noise: standard deviation of the Gaussian error of every label, held-out ones too.
        width: m of the stream; MLPs are twice as wide. layers: L. heads: of a layer, each m / heads wide. attention: its kind.
        steps: of Adam. batch: samples of a step (all that there are where these are fewer). rate: the largest learning rate.
        seeds: distinct.
        check: "" or "longer": a run of more steps that shows what the others' steps cost.

    Raises ValueError for anything else.
    """

    experiment: Experiment
    manifold: str
    ambient_dim: int
    target: str
    beta: float | None
    samples: int
    noise: float
    width: int
    layers: int
    heads: int
    attention: AttentionKind
    steps: int
    batch: int
    rate: float
    seeds: tuple[int, ...]
    check: str = ""

    def __post_init__(self) -> None:
        if self.experiment not in get_args(Experiment):
            raise ValueError(f"experiment = {self.experiment!r}: 'data' and 'model' are legal")
        for name, least in (("width", 1), ("layers", 1), ("heads", 1), ("steps", 1), ("batch", 1), ("samples", 0)):
            checked_integer(name, getattr(self, name), least)
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads}: must divide the width {self.width}")
        if (self.experiment == "model") != (self.samples == 0) or 0 < self.samples < 2 * HELD_OUT_SHARE:
            legal = f"0 in an experiment on models, {2 * HELD_OUT_SHARE} or more in one on data"
            raise ValueError(f"samples = {self.samples}: must be {legal}")
        for name, value in (("noise", self.noise), ("rate", self.rate)):
            if not (math.isfinite(value) and value >= 0) or (name == "rate" and value == 0):
                raise ValueError(f"{name} = {value}: must be finite and not negative (a rate > 0)")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds = {self.seeds}: distinct whole numbers >= 0, at least one, are legal")
        if (self.target == "smooth") != (self.beta is None):
            raise ValueError(f"beta = {self.beta}: None for a smooth target, a number for others")
        if self.check not in ("", "longer"):
            raise ValueError(f"check = {self.check!r}: '' and 'longer' are legal")
        self.function(self.seeds[0])

    @property
    def name(self) -> str:
        """Such as "data-circle-smooth-softmax-n1000"; unique within a tier."""
        rough = self.target if self.beta is None else f"{self.target}{self.beta:g}"
        size = f"n{self.samples}" if self.experiment == "data" else f"m{self.width}"
        words = (self.experiment, self.manifold.replace(" ", ""), rough, self.attention, size, self.check)
        return "-".join(word for word in words if word)

    @property
    def spec(self) -> dict[str, Any]:
        """All that determines the result, for `empirical.cell_store.CellStore`."""
        return {"method": "manifold", "format": FORMAT, "name": self.name, **asdict(self), "seeds": list(self.seeds)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "ManifoldCell":
        """The cell with this `spec`."""
        known = {field.name: spec[field.name] for field in fields(cls)}
        return cls(**{**known, "seeds": tuple(spec["seeds"])})

    def function(self, seed: int) -> Target:
        """The function on this seed's embedding of the manifold."""
        return target_named(manifold_named(self.manifold, self.ambient_dim, seed), self.target, self.beta or 0.5)

    def model(self, seed: int) -> ManifoldRegressor:
        """This seed's model before training, in float32."""
        made = ManifoldRegressor(
            self.ambient_dim, self.width, self.heads, self.width // self.heads, self.layers, 2 * self.width,
            attention=self.attention, dtype=torch.float32,
        )  # fmt: skip
        return made.initialise_(torch.Generator().manual_seed(5 * seed + WEIGHTS))

    @property
    def seen(self) -> int:
        """Labelled samples behind one model, those held out counted in."""
        return self.samples or self.steps * self.batch + MOST_HELD_OUT


Batch = tuple[Float[torch.Tensor, "members batch ambient"], Float[torch.Tensor, "members batch"]]


class CellSamples:
    """What the models of a cell see: batches, held-out samples, and at the end fresh points with the true values."""

    def __init__(self, cell: ManifoldCell) -> None:
        self.cell = cell
        self.functions = [cell.function(seed) for seed in cell.seeds]
        self.generators = {
            kind: [np.random.default_rng([seed, kind]) for seed in cell.seeds] for kind in (SAMPLES, NOISE, BATCHES, TEST)
        }
        held_out = min(cell.samples // HELD_OUT_SHARE, MOST_HELD_OUT) if cell.samples else MOST_HELD_OUT
        self.held_out = self._drawn(held_out, SAMPLES, cell.noise)
        self.num_training = cell.samples - held_out if cell.samples else 0
        self.training = self._drawn(self.num_training, SAMPLES, cell.noise) if cell.samples else None
        self.batch = min(cell.batch, self.num_training) if cell.samples else cell.batch

    def batches(self, count: int) -> list[Batch]:
        """The next `count` batches: fresh ones, or drawn from the samples there are, with replacement."""
        if self.training is None:
            points, labels = self._drawn(count * self.batch, SAMPLES, self.cell.noise)
        else:
            chosen = np.stack([each.integers(self.num_training, size=count * self.batch) for each in self.generators[BATCHES]])
            index = torch.from_numpy(chosen)
            points = torch.stack([rows[own] for rows, own in zip(self.training[0], index, strict=True)])
            labels = self.training[1].gather(1, index)
        return list(zip(points.split(self.batch, 1), labels.split(self.batch, 1), strict=True))

    def test(self) -> Batch:
        """Fresh points with the values of the function there, no noise; others at every call."""
        return self._drawn(TEST_POINTS, TEST, 0.0)

    def _drawn(self, count: int, kind: int, noise: float) -> Batch:
        points, labels = [], []
        for function, place, error in zip(self.functions, self.generators[kind], self.generators[NOISE], strict=True):
            drawn = function.manifold.sample(count, place)
            values = function(drawn)
            points.append(drawn)
            labels.append(values + noise * error.standard_normal(count) if noise else values)
        return torch.from_numpy(np.stack(points)).float(), torch.from_numpy(np.stack(labels)).float()
