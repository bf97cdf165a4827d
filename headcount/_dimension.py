"""What `headcount dimension` does: estimates of the dimension of some points, their bias, and the exponents these promise."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from empirical._number_tables import read_table
from empirical.dimension import (
    METHODS,
    CorrectedDimension,
    DimensionEstimate,
    bias_curve,
    corrected_dimension,
    dimension_by_scale,
    estimate_dimensions,
    plateau,
    predicted_exponents,
)
from headcount import console
from headcount._output import checked_file, wanted_folder, write_figure
from headcount._progress import stages
from theory._messages import first_line
from theory._whole_files import whole_files

if TYPE_CHECKING:
    import pandas as pd

LEAST_RESAMPLES = 20
MAGIC = b"\x93NUMPY"
CURVE_DIMENSIONS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 75, 100)
"""Between these logarithms of estimates are linear in log d to 1%, the noise of two clouds of 3600 points."""
FAR_BELOW = 0.5
"""The bias curve begins at or below so many times the least estimate: no cloud gives an estimate of twice its dimension."""
SCALE_RESAMPLES = 25
"""At each scale: intervals as wide as 50 would make them but for 3%, in half the time."""
FAMILY_WORDS = {"ball": "ball", "gaussian": "Gaussian", "sphere": "sphere"}
CORRECTED_COLUMNS = (
    "corrected", "corrected_low", "corrected_high", "beta", "data_exponent", "data_low", "data_high", "model_exponent",
    "model_low", "model_high", "corrected_reason",
)  # fmt: skip


def dimension(
    *,
    path: Path,
    methods: Sequence[str],
    neighbours: int,
    metric: Literal["euclidean", "cosine"],
    beta: float,
    points: int,
    resamples: int,
    seed: int,
    out: Path | None,
) -> None:
    """`headcount dimension`."""
    if 0 < resamples < LEAST_RESAMPLES:
        raise ValueError(f"--resamples {resamples}: 0, which does without intervals, or at least {LEAST_RESAMPLES} is legal")
    names = list(methods) or list(METHODS)
    found, total = read_points(path, points, seed)
    told = f"{len(found):,} of {total:,} points, drawn at random" if len(found) < total else f"{total:,} points"
    console.say(f"{path}: {told}, {found.shape[1]:,} coordinates each")
    with wanted_folder(out, "--out") as folder:
        if folder is not None:
            checked_file(folder / "dimension.csv", "--out", {})
        with stages() as tell:
            rows = estimate_dimensions(
                found, names, neighbours=neighbours, metric=metric, resamples=resamples, seed=seed,
                progress=lambda done, all_: tell("estimates", done, all_),
            )  # fmt: skip
            estimates = [
                DimensionEstimate(**{str(name): value for name, value in row.items()}) for row in rows.to_dict("records")
            ]
            curve = _curve(estimates, found.shape[1], neighbours, metric, seed, lambda done, all_: tell("bias curve", done, all_))
            scales = dimension_by_scale(
                found, metric=metric, resamples=min(resamples, SCALE_RESAMPLES), seed=seed,
                progress=lambda done, all_: tell("scales", done, all_),
            )  # fmt: skip
        table = _with_predictions(rows, estimates, curve, beta)
        _show(table, curve, beta, metric)
        flat = plateau(scales)
        console.say(
            f"by scale: no plateau ({flat.reason})" if flat.reason else
            f"by scale: {flat.method} says {flat.dimension:.3g} from {flat.neighbours[0]} to {flat.neighbours[1]} neighbours, "
            f"at distances of {flat.scales[0]:.3g} to {flat.scales[1]:.3g}"
        )  # fmt: skip
        if folder is None:
            return
        with whole_files(folder / "dimension.csv") as (place,):
            table.to_csv(place, index=False)
        console.say(f"CSV {folder / 'dimension.csv'}")
        from headcount.figures.manifolds import bias_figure, scales_figure

        if len(curve):
            write_figure(folder, "dimension-bias", *bias_figure(curve, beta))
        write_figure(folder, "dimension-scales", *scales_figure(scales))


def read_points(path: Path, most: int, seed: int) -> tuple[Float[np.ndarray, "n D"], int]:
    """At most so many rows of an array in a .npy file or a table in a .csv or .tsv file, and how many it has.

    Raises ValueError for another kind of file, an array that is not one of numbers with two axes, a table with text.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        table = read_table(path)
        if not all(table.header) or len(set(table.header)) < len(table.header):
            raise ValueError(f"{path}: has columns without a name or two with the same; coordinates with a name each are legal")
        array = np.column_stack([table.numbers(name) for name in table.header])
    elif path.suffix.lower() == ".npy":
        array = _opened(path)
    else:
        raise ValueError(f"{path}: ends in {path.suffix or 'nothing'!r}; .npy, .csv and .tsv are legal")
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not all(array.shape):
        raise ValueError(f"{path}: has an array {array.dtype} {array.shape}; numbers with a row for each point are legal")
    total = len(array)
    if total > most:
        array = array[np.sort(np.random.default_rng(seed).permutation(total)[:most])]
    array = np.array(array)
    return array.astype(np.float64) if array.dtype.kind in "iu" else array, total


def _opened(path: Path) -> Float[np.ndarray, "n D"]:
    """The array of a .npy file, whose rows are read when they are asked for."""
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path}: is no .npy file, whatever its name says; an array saved by numpy.save is legal")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError, TokenError) as error:
        why = "it holds Python objects" if "pickle" in str(error) else first_line(error)
        raise ValueError(f"{path}: is no array of numbers ({why}); a .npy file of numbers is legal") from None


def _curve(
    estimates: Sequence[DimensionEstimate],
    columns: int,
    neighbours: int,
    metric: str,
    seed: int,
    progress: Callable[[int, int], None],
) -> "pd.DataFrame":
    """The bias curve of those methods that gave an estimate, at the data's own number of points."""
    fine = [estimate for estimate in estimates if math.isfinite(estimate.dimension)]
    if not fine:
        raise ValueError(f"no method has an estimate: {estimates[0].reason}")
    limit = max(1, columns - (metric == "cosine"))  # on the unit sphere there is a dimension less
    ends = {
        found.method: (found.dimension, found.dimension) if math.isnan(found.low) else (found.low, found.high) for found in fine
    }
    known = sorted({*(d for d in CURVE_DIMENSIONS if d <= limit), min(limit, CURVE_DIMENSIONS[-1])})
    below = [d for d in known if d <= FAR_BELOW * min(low for low, _ in ends.values())]
    return bias_curve(
        num_points=fine[0].num_points, ambient_dim=columns, dimensions=[d for d in known if not below or d >= below[-1]],
        method=[estimate.method for estimate in fine], neighbours=neighbours, seed=seed,
        beyond={method: high for method, (_, high) in ends.items()}, progress=progress,
    )  # fmt: skip


def _with_predictions(
    rows: "pd.DataFrame", estimates: Sequence[DimensionEstimate], curve: "pd.DataFrame", beta: float
) -> "pd.DataFrame":
    """The estimates with what the bias curve makes of them, and the exponents of that."""
    found = []
    for estimate in estimates:
        corrected = CorrectedDimension(math.nan, math.nan, math.nan, estimate.reason)
        if math.isfinite(estimate.dimension):
            corrected = corrected_dimension(estimate, curve)
        exponents = predicted_exponents(corrected, beta)
        found.append((
            corrected.dimension, corrected.low, corrected.high, beta, exponents.data, exponents.data_low, exponents.data_high,
            exponents.model, exponents.model_low, exponents.model_high, corrected.reason,
        ))  # fmt: skip
    columns = list(zip(*found, strict=True))
    return rows.assign(**dict(zip(CORRECTED_COLUMNS, columns, strict=True)))


def _show(table: "pd.DataFrame", curve: "pd.DataFrame", beta: float, metric: str) -> None:
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    shown = console.frame(
        f"Dimension, {metric}", "method", "k", "estimate [95%]", "after its bias [range]", left=("method",)
    )
    promised = console.frame(
        f"Exponents promised, beta = {beta:g}", "method", "data", "model", left=("method",)
    )
    for row in rows:
        name, estimate = str(row["method"]), _range(row["dimension"], row["low"], row["high"], ".3g")
        corrected = _range(row["corrected"], row["corrected_low"], row["corrected_high"], ".3g")
        shown.add_row(name, str(row["neighbours"]), estimate, corrected)
        promised.add_row(
            name, *(_range(row[f"{kind}_exponent"], row[f"{kind}_low"], row[f"{kind}_high"]) for kind in ("data", "model"))
        )
    console.show(shown)
    families = [FAMILY_WORDS[family] for family in dict.fromkeys(curve["family"])]
    plural = " and ".join(filter(None, (", ".join(f"{name}s" for name in families[:-1]), f"{families[-1]}s")))
    console.say(
        f"[range]: the dimensions of {plural} that would give such an estimate; other shapes can lie outside: no 95% interval"
    )
    for row in rows:
        for reason in dict.fromkeys(filter(None, (row["reason"], row["corrected_reason"]))):
            console.say(f"  {row['method']}: {reason}")
    console.show(promised)
    methods = list(dict.fromkeys(curve["method"]))
    console.say(f"what {int(curve['num_points'].iloc[0]):,} points of known dimension d give, {' / '.join(families)}:")
    bias = console.frame("Bias", "d", *(method.removesuffix("_dimension") for method in methods))
    for dimension, some in curve.groupby("dimension"):
        told = [some[some["method"] == method].set_index("family")["estimate"] for method in methods]
        bias.add_row(
            str(dimension),
            *("/".join(f"{values[f]:.3g}" if f in values else "-" for f in dict.fromkeys(curve["family"])) for values in told),
        )
    console.show(bias)


def _range(value: float, low: float, high: float, form: str = ".3f") -> str:
    """ "16.2 [14.9, 17.8]"; "> 30" for one without an upper end, "< 0.06" for an exponent without a lower one."""
    if math.isnan(low):
        return console.number(value, form)
    if math.isinf(high):
        return f"> {low:{form}}"
    if low == 0:
        return f"< {high:{form}}"
    return f"{console.number(value, form)} [{low:{form}}, {high:{form}}]"
