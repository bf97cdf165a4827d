"""What `headcount manifold figure` does: networks built and clouds drawn here, tables of what was trained, then the drawings."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from constructions.manifolds import build
from empirical.dimension import bias_curve, dimension_by_scale, plateau
from empirical.manifold_reach import reach_slopes, reach_table
from empirical.manifold_runs import EXPONENT_COLUMNS, TRAINED_COLUMNS
from headcount import console
from headcount._output import output_folder, write_figure
from headcount._progress import stages
from headcount.figures import manifolds as drawings
from headcount.figures._manifold_looks import exponent_words
from theory.manifolds import manifold_named, target_named

FIGURES = ("reach", "circle", "sphere", "bias", "scales", "data", "model", "text", "identity")
TRAINED = {"data": ("manifold.csv", "exponents.csv"), "model": ("manifold.csv", "exponents.csv"),
           "text": ("text.csv", "text_observed.csv")}
"""Figures of what is trained, and the files in the tier's folder that they are drawn from."""
REACH = (
    ("circle", 8, "smooth", 1.0, (16, 32, 64, 128, 256), 1),
    ("circle", 8, "smooth", 1.0, (16, 32, 64, 128), 3),
    ("circle", 8, "weierstrass", 0.5, (16, 32, 64, 128, 256), 0),
    ("torus", None, "smooth", 1.0, (8, 16, 32, 64), 1),
    ("sphere", None, "smooth", 1.0, (8, 16, 32), 1),
)
"""Manifold, ambient dimension, target, beta, grids, degree of the networks that are built for the figure."""
REACH_POINTS = 600
CIRCLE_GRIDS, SPHERE_GRIDS = (4, 16, 64), (4, 8, 16)
BIAS_POINTS, BIAS_DIMENSIONS = 3600, (1, 2, 3, 5, 10, 15, 20, 30, 50, 100)
BIAS_METHODS = ("levina_bickel", "two_nn")
NOISE = 0.01
"""Of the circle in 50 dimensions whose dimension is looked at by scale, in each direction."""


def figures(*, names: Sequence[str], tier: str, seed: int, out: Path) -> None:
    """`headcount manifold figure`."""
    for name in names:
        if name not in (*FIGURES, "all"):
            raise ValueError(f"NAME {name}: {', '.join(FIGURES)} and all are legal")
    chosen = [name for name in FIGURES if name in names or "all" in names]
    missing = {name: _missing(out, tier, name) for name in chosen if name in TRAINED}
    for name, files in missing.items():
        if files and name in names:
            there = ", ".join(map(str, files))
            raise ValueError(f"figure {name}: {there} not there; headcount manifold train --tier {tier} makes it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with output_folder(out, "--out") as folder:
        for name in chosen:
            if not missing.get(name):
                stem = f"{name}-{tier}" if name in (*TRAINED, "identity") else name
                write_figure(folder, stem, *_MAKERS[name](folder, tier, seed))
    left_out = [name for name, files in missing.items() if files]
    if left_out:
        console.warn(f"left out: {', '.join(left_out)}; headcount manifold train --tier {tier} makes what they are drawn from")


NUMBERS = (
    "samples", "parameters", "mse", "target_variance", "dimension", "beta", "exponent", "low", "high", "predicted", "floor_off",
    "corrected", "corrected_low", "corrected_high", "predicted_data_exponent", "embed_dim", "tokens",
)  # fmt: skip
"""Columns of the tables read here that are drawn as numbers."""


def _places(folder: Path, tier: str, name: str) -> list[Path]:
    return [folder / tier / file for file in TRAINED[name]]


def _missing(folder: Path, tier: str, name: str) -> list[Path]:
    return [place for place in _places(folder, tier, name) if not place.is_file()]


def _read(place: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A table; text that is missing is empty. Raises ValueError for a file that is no such table."""
    try:
        table = pd.read_csv(place)
    except (ValueError, OSError) as error:
        raise ValueError(f"{place}: can't be read as a table ({error})".splitlines()[0]) from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"{place}: lacks the columns {', '.join(missing)}; headcount manifold train writes it anew")
    for name in [name for name in NUMBERS if name in table]:
        try:
            pd.to_numeric(table[name])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{place}: column {name} holds what is no number ({error})".splitlines()[0]) from None
    words = [name for name in ("reason", "check", "failure", "count", "tier") if name in table]
    return table.assign(**{name: table[name].astype(object).fillna("").astype(str) for name in words})


def _reach(folder: Path, tier: str, seed: int) -> drawings.Made:
    parts = []
    with stages() as tell:
        for place, (name, ambient, kind, beta, grids, degree) in enumerate(REACH):
            manifold = manifold_named(name, ambient, seed)
            target = target_named(manifold, kind, beta)
            parts.append(reach_table(manifold, target, grids, degree, num_points=REACH_POINTS, seed=seed))
            tell("networks built and measured", place + 1, len(REACH))
    table = pd.concat(parts, ignore_index=True)
    slopes = reach_slopes(table)
    for row in slopes[(slopes["error"] == "rms") & (slopes["against"] == "grid")].to_dict("records"):
        found = exponent_words(row["slope"], row["low"], row["high"])
        console.say(f"{row['manifold']}, {row['target']}, degree {row['degree']}: slope {found}, promised {row['predicted']:g}")
    return drawings.reach_figure(table, slopes)


def _circle(folder: Path, tier: str, seed: int) -> drawings.Made:
    circle = manifold_named("circle", 8, seed)
    targets = [(target_named(circle, "smooth", 1.0), 1), (target_named(circle, "weierstrass", 0.5), 0)]
    networks = [(target, [build(circle, target, grid, degree) for grid in CIRCLE_GRIDS]) for target, degree in targets]
    return drawings.circle_figure(networks)


def _sphere(folder: Path, tier: str, seed: int) -> drawings.Made:
    sphere = manifold_named("sphere")
    target = target_named(sphere, "smooth", 1.0)
    return drawings.sphere_figure([build(sphere, target, grid, 1) for grid in SPHERE_GRIDS], target)


def _bias(folder: Path, tier: str, seed: int) -> drawings.Made:
    with stages() as tell:
        curve = bias_curve(
            num_points=BIAS_POINTS, dimensions=BIAS_DIMENSIONS, method=BIAS_METHODS, seed=seed,
            progress=lambda done, everything: tell("clouds of known dimension", done, everything),
        )  # fmt: skip
    return drawings.bias_figure(curve)


def _scales(folder: Path, tier: str, seed: int) -> drawings.Made:
    """A sphere, where the estimates stay, and a circle with noise, where they fall from the noise's dimension to the circle's."""
    rng = np.random.default_rng(seed)
    noisy = manifold_named("circle", 50, seed).sample(BIAS_POINTS, rng)
    clouds = (
        ("2-sphere", 2, manifold_named("sphere").sample(BIAS_POINTS, rng)),
        (f"circle in $\\mathbb{{R}}^{{50}}$, noise {NOISE:g}", 1, noisy + NOISE * rng.standard_normal(noisy.shape)),
    )
    parts = []
    for name, dimension, points in clouds:
        found = dimension_by_scale(points, seed=seed)
        flat = plateau(found)
        words = flat.reason or f"plateau at {flat.dimension:.2f}, {flat.neighbours[0]} to {flat.neighbours[1]} neighbours"
        console.say(f"dimension by scale, {name.replace('$', '')}: {words}")
        parts.append(found.assign(name=name, true_dimension=dimension))
    return drawings.scales_figure(pd.concat(parts, ignore_index=True))


def _data(folder: Path, tier: str, seed: int) -> drawings.Made:
    return drawings.data_exponent_figure(*_trained(folder, tier))


def _model(folder: Path, tier: str, seed: int) -> drawings.Made:
    return drawings.model_exponent_figure(*_trained(folder, tier))


def _trained(folder: Path, tier: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    runs, exponents = _places(folder, tier, "data")
    return _read(runs, TRAINED_COLUMNS), _read(exponents, EXPONENT_COLUMNS)


def _text(folder: Path, tier: str, seed: int) -> drawings.Made:
    return drawings.text_figure(*map(_read, _places(folder, tier, "text")))


def _identity(folder: Path, tier: str, seed: int) -> drawings.Made:
    """Published fits, and beside them whatever was trained."""
    exponents, observed = _places(folder, tier, "data")[1], _places(folder, tier, "text")[1]
    return drawings.exponents_figure(_read(exponents) if exponents.is_file() else None,
                                     _read(observed) if observed.is_file() else None)


_MAKERS: dict[str, Callable[[Path, str, int], drawings.Made]] = {
    "reach": _reach, "circle": _circle, "sphere": _sphere, "bias": _bias, "scales": _scales, "data": _data, "model": _model,
    "text": _text, "identity": _identity,
}  # fmt: skip
