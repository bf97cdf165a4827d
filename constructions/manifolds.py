"""Transformers built for functions on manifolds: charts, local polynomials on grids, exact products by attention.

    network = build(Circle().embedded(8, seed=0), function, grid=64)
    network(points), network.num_blocks, network.num_tokens

The function is cut by the charts' partition of unity, each part is written in its chart's d coordinates, and there it is a sum
over cells of bumps times local polynomials. The number of cells follows the accuracy; the number of blocks doesn't.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import comb, isfinite
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

import theory.manifolds
from constructions._manifold_layout import Layout
from constructions._manifold_pieces import Function, local_pieces
from constructions._token_model import ModelFileError
from constructions.interaction import InteractionNetwork, load_network_with_provenance
from constructions.transformer import Transformer
from theory._manifold_base import BUMP_POWER
from theory.manifolds import Charts, Manifold
from theory.shapes import checked_integer

__all__ = ["Function", "ManifoldNetwork", "build"]

MAX_DEGREE = 8  # beyond, neighbouring Chebyshev points are close enough for rounding to rule
MOST_TERMS = 3 << 20
"""Of cells and monomials on them: each takes some 200 bytes while the network is built, and more when it is evaluated."""
PROVENANCE_KEY = "manifold network"


@dataclass(frozen=True, eq=False)
class ManifoldNetwork:
    """A transformer that approximates a function on a manifold, and how it came about.

    `network` has one token for each ambient coordinate and answers with one number; `charts` are those it was built on, `grid`
    is N, the cells on each axis of a chart, `degree` that of the local polynomials; `indicator` says whether it tells far sheets
    of the manifold apart.
    """

    network: InteractionNetwork
    manifold: Manifold
    charts: Charts
    grid: int
    degree: int
    indicator: bool = True

    def __call__(self, points: Float[np.ndarray, "points ambient"]) -> Float[np.ndarray, " points"]:
        """The network's answers at points of the manifold, pair by pair (`InteractionNetwork.evaluate`)."""
        return self.network.evaluate(points)

    @property
    def num_blocks(self) -> int:
        """Blocks: ceil(log2(d + m + 1)) + 3 with m = degree where that exceeds 1, else 0. No accuracy in it."""
        return self.network.num_blocks

    @property
    def num_tokens(self) -> int:
        """l."""
        return self.network.num_tokens

    @property
    def num_heads(self) -> int:
        """Heads of all blocks together."""
        return self.network.num_heads

    @property
    def num_parameters(self) -> int:
        """As `InteractionNetwork.num_parameters` defines it."""
        return self.network.num_parameters

    def dense(self, dtype: torch.dtype = torch.float64, tolerance: float = 1e-6) -> Transformer:
        """The same network as the project's transformer, all pairs of tokens attended to: `InteractionNetwork.dense`."""
        return self.network.dense(dtype, tolerance)

    def save(self, path: str | os.PathLike[str], provenance: Mapping[str, str] | None = None) -> None:
        """Write network and manifold to one safetensors file, whole or not at all.

        Raises ValueError for a manifold of a class that theory.manifolds doesn't have: it couldn't be read back.
        """
        kept = {
            "manifold": _described(self.manifold), "radius": float(self.charts.radius), "grid": self.grid,
            "degree": self.degree, "indicator": self.indicator,
        }  # fmt: skip
        self.network.save(Path(path), {**(provenance or {}), PROVENANCE_KEY: json.dumps(kept)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ManifoldNetwork":
        """Read what `save` wrote. Raises ModelFileError (a ValueError) for anything else, FileNotFoundError for no file."""
        network, provenance = load_network_with_provenance(Path(path))
        try:
            kept = json.loads(provenance[PROVENANCE_KEY])
            manifold = _from_description(kept["manifold"])
            grid, degree = checked_integer("grid", kept["grid"], 1), checked_integer("degree", kept["degree"], 0)
            charts = _charts(manifold, float(kept["radius"]), degree)
            if not isinstance(kept["indicator"], bool) or network.ambient_dim != manifold.ambient_dim:
                raise ValueError("does not fit the network")
            return cls(network, manifold, charts, grid, degree, kept["indicator"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(f"{path}: is no network on a manifold: its description can't be read ({error})") from None


def build(
    manifold: Manifold, function: Function, grid: int, degree: int = 1, *, radius: float | None = None,
    slack: float | None = None, indicator: bool = True, skip_zeros: bool = True,
) -> ManifoldNetwork:  # fmt: skip
    r"""A transformer whose answers approximate a function on a manifold, its weights written by hand.

    It computes \(\sum_n 1_n(x) \sum_k P_{n,k}(u) \prod_i \psi(u_i)\), \(u = (T_n^\top (x - c_n) - z_k) / h\), with a bump
    \(\psi\), the local polynomials \(P_{n,k}\) of \((f \rho_n)\) in chart n and ramps \(1_n\) of \(|x - c_n|^2\) that are 1 where
    \(\rho_n\) isn't 0 and switch off sheets of the manifold that are far off but project onto the same coordinates. Products are
    exact, attention scores being bilinear, so all error is that of the sum: of order \(h^{m+1}\) (m >= 1) for smooth functions,
    \(h^{\min(\beta, 1)}\) at least for Hölder functions, h = 2 r / N. From m = 6 on the bumps behind the partition are of power
    m + 1 instead of 6, which would hold the order at 6.

    Args:
        manifold: a manifold of theory.manifolds.
        function: from points (n, D) of the manifold to numbers (n,); asked at the nodes, never for derivatives.
        grid: N >= 2, cells on each axis of each chart. Tokens grow as N^d.
        degree: m from 0 to 8. 0: constants under trapezoids; 1: values under hats, which is piecewise linear; from 2 on, local
            polynomials of total degree m under hats.
        radius: r of the charts; their own default if not given.
        slack: the ramp falls from 1 at |x - c|^2 = r^2 to 0 at r^2 + slack; if not given, r^2 / 2 or half the way to the next
            sheet, whichever is less.
        indicator: whether there are ramps at all; without them far sheets answer too.
        skip_zeros: leave out cells whose coefficient is exactly zero.

    Returns:
        The network. Its blocks depend on d and the degree only.

    Raises:
        ValueError: an argument out of range, or a function that doesn't give one finite number for each point.

    Source: Havrilla and Liao 2024, Theorem 2 and its construction (recalled, not checked against the text); degrees above 1,
    shared subtrees and all constants are derived here.
    """
    if not isinstance(manifold, Manifold):
        raise ValueError(f"manifold = {manifold!r}: a manifold of theory.manifolds is legal, such as manifold_named('circle')")
    grid, degree = checked_integer("grid", grid, 2), checked_integer("degree", degree, 0)
    if degree > MAX_DEGREE:
        raise ValueError(f"degree = {degree}: 0 to {MAX_DEGREE} is legal")
    charts = _charts(manifold, radius, degree)
    width = min(charts.radius**2, charts.largest_slack) / 2 if slack is None else slack
    if isinstance(width, bool) or not isinstance(width, Real) or not (isfinite(width) and width > 0):
        raise ValueError(f"slack = {slack!r}: a finite number > 0 is legal")
    if indicator and width > charts.largest_slack:
        raise ValueError(f"slack = {slack!r}: at most {charts.largest_slack:.4g} is legal here, or far sheets would answer too")
    terms = charts.num_charts * (grid + 1) ** manifold.dimension * comb(manifold.dimension + degree, degree if degree > 1 else 0)
    if terms > MOST_TERMS:
        where = f"{charts.num_charts} charts of dimension {manifold.dimension}"
        raise ValueError(f"grid = {grid}: is {terms:.2g} terms on {where}; a grid with at most {MOST_TERMS:,} is legal")
    pieces = local_pieces(charts, function, grid, degree)
    layout = Layout(
        charts, pieces, manifold.coordinate_bound, float(width), indicator=indicator, skip_zeros=skip_zeros
    )
    return ManifoldNetwork(layout.network(), manifold, charts, grid, degree, indicator)


def _charts(manifold: Manifold, radius: float | None, degree: int) -> Charts:
    # A bump's power p leaves p - 1 derivatives at its rim, so that order m + 1 takes p = m + 1.
    return manifold.charts(radius, power=max(BUMP_POWER, degree + 1))


def _described(manifold: object) -> dict[str, Any]:
    """The manifold's class and fields, in words and numbers."""
    name = type(manifold).__name__
    known = isinstance(manifold, Manifold) and getattr(theory.manifolds, name, None) is type(manifold)
    if not known or not is_dataclass(manifold) or isinstance(manifold, type):
        raise ValueError(f"manifold is a {name}: a class of theory.manifolds is legal in a file")
    return {"class": name, "fields": {each.name: _plain(getattr(manifold, each.name)) for each in fields(manifold)}}


def _plain(value: object) -> Any:
    if isinstance(value, Manifold):
        return _described(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _from_description(kept: Mapping[str, Any]) -> Manifold:
    made = getattr(theory.manifolds, str(kept["class"]), None)
    if not (isinstance(made, type) and issubclass(made, Manifold) and made is not Manifold):
        raise ValueError(f"class {kept['class']!r} is no manifold")
    manifold = made(**{name: _object(value) for name, value in kept["fields"].items()})
    if not isinstance(manifold, Manifold):
        raise ValueError(f"class {kept['class']!r} is no manifold")
    return manifold


def _object(value: object) -> Any:
    if isinstance(value, dict):
        return _from_description(value)
    return tuple(_object(each) for each in value) if isinstance(value, list) else value
