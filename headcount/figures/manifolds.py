"""The figures on functions on manifolds and on dimensions, one function each: from a result to a tidy table and what draws it.

    table, draw = sphere_figure([build(sphere, target, grid) for grid in (4, 8, 16)], target)
    draw(Path("sphere.png"), Path("sphere.pdf"))

A table holds everything that is drawn, intervals included, so that it can be published beside the figure. Drawings are the same
bytes for the same table; series have markers or line styles of their own, and colours whose lightness keeps their order.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from headcount.figures import style
from headcount.figures._manifold_circle import circle_drawing, circle_table
from headcount.figures._manifold_dimension import bias_drawing, bias_table, scales_drawing, scales_table
from headcount.figures._manifold_exponents import trained_drawing, trained_table
from headcount.figures._manifold_identity import identity_drawing, identity_table
from headcount.figures._manifold_reach import reach_drawing, reach_table
from headcount.figures._manifold_sphere import sphere_drawing, sphere_table
from headcount.figures._manifold_text import text_drawing, text_table

if TYPE_CHECKING:
    from constructions.manifolds import ManifoldNetwork
    from theory.manifolds import Target

__all__ = [
    "DRAWINGS",
    "Made",
    "bias_figure",
    "circle_figure",
    "data_exponent_figure",
    "exponents_figure",
    "model_exponent_figure",
    "reach_figure",
    "scales_figure",
    "sphere_figure",
    "text_figure",
]

Made = tuple[pd.DataFrame, Callable[[Path, Path], None]]
"""The data behind a figure, and what writes the figure to a PNG and a PDF (OSError where that fails)."""

DRAWINGS: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "reach": reach_drawing, "circle": circle_drawing, "sphere": sphere_drawing, "bias": bias_drawing, "scales": scales_drawing,
    "data": trained_drawing, "model": trained_drawing, "text": text_drawing, "identity": identity_drawing,
}  # fmt: skip
"""By the name of the figure: from its table, also one read back from a file, to the figure in matplotlib."""


def _made(name: str, table: pd.DataFrame) -> Made:
    return table, lambda png, pdf: style.save(DRAWINGS[name](table), png, pdf)


def reach_figure(table: pd.DataFrame, slopes: pd.DataFrame | None = None) -> Made:
    """Error of built networks against grid, tokens and parameters, and measured slopes beside promised ones.

    Of `empirical.manifold_reach.reach_table` and, made here if not given, `reach_slopes`. Raises ValueError for missing columns.
    """
    return _made("reach", reach_table(table, slopes))


def circle_figure(networks: Sequence[tuple["Target", Sequence["ManifoldNetwork"]]]) -> Made:
    """Functions on the circle: target, approximant at the coarsest grid, and residuals by grid, a row for each target.

    Raises ValueError for no target, a target without a network, or a network that is not on a circle.
    """
    return _made("circle", circle_table(networks))


def sphere_figure(networks: Sequence["ManifoldNetwork"], target: "Target") -> Made:
    """A function on the 2-sphere: target, approximants and residuals by grid, as seen from far away.

    Raises ValueError for no network or one that is not on a 2-sphere.
    """
    return _made("sphere", sphere_table(networks, target))


def bias_figure(curve: pd.DataFrame, beta: float = 1.0) -> Made:
    """Estimated against true dimension, and the error of the data exponent that follows for smoothness beta.

    Of `empirical.dimension.bias_curve`. Raises ValueError for missing columns, no row, or beta that is not finite and > 0.
    """
    return _made("bias", bias_table(curve, beta))


def scales_figure(table: pd.DataFrame) -> Made:
    """Estimated dimension by the scale looked at, of `empirical.dimension.dimension_by_scale`.

    Columns `name` and `true_dimension` may be added: a panel for each name, and a line at the truth. Raises ValueError for
    missing columns or no finite estimate.
    """
    return _made("scales", scales_table(table))


def data_exponent_figure(runs: pd.DataFrame, exponents: pd.DataFrame) -> Made:
    """Error of trained models against samples, with the exponents that seeds give and those of the theory.

    Of `empirical.manifold_runs.read_cells` and `measured_exponents`. Raises ValueError for missing columns or nothing to draw.
    """
    return _made("data", trained_table(runs, exponents, "data"))


def model_exponent_figure(runs: pd.DataFrame, exponents: pd.DataFrame) -> Made:
    """Error against parameters, trained models beside built networks, with their exponents. As `data_exponent_figure`."""
    return _made("model", trained_table(runs, exponents, "model"))


def text_figure(
    dimensions: pd.DataFrame, observed: pd.DataFrame, *, method: str = "levina_bickel", metric: str = "euclidean"
) -> Made:
    """Data exponents foretold by the dimension of hidden states against observed ones, and dimensions beside controls.

    Of `empirical.text_dimension.text_dimensions` and `observed_exponents`. Raises ValueError for missing columns, or where no row
    is of this method and metric.
    """
    return _made("text", text_table(dimensions, observed, method=method, metric=metric))


def exponents_figure(exponents: pd.DataFrame | None = None, observed: pd.DataFrame | None = None) -> Made:
    """1/alpha_D - 1/alpha_N, which theory says is 1: of published fits, and of models trained here where their tables are given.

    `exponents` of `empirical.manifold_runs.measured_exponents`, `observed` of `empirical.text_dimension.observed_exponents`.
    """
    return _made("identity", identity_table(exponents, observed))
