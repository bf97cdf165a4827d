"""Exponents that losses of one's own language models show, each with its interval, and whether there is an exponent at all."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from empirical._regression_lines import least_squares, log_log_slope
from empirical._scaling_forms import FORMS
from empirical.scaling_bootstrap import percentiles
from empirical.scaling_fits import fit_scaling_law
from empirical.scaling_points import ParameterCount, ScalingPoints

OBSERVED_COLUMNS = (
    "quantity", "source", "count", "embed_dim", "total_parameters", "tokens", "exponent", "low", "high", "level", "interval",
    "floor", "num_points", "exponent_first", "exponent_last", "curvature", "curvature_low", "curvature_high", "reason",
)  # fmt: skip
LEVEL = 0.95
COUNTS: dict[str, ParameterCount] = {"total_parameters": "total", "non_embedding_parameters": "non-embedding"}
EXPONENTS = np.geomspace(0.01, 8.0, 4000)
"""Those that a curve with a floor is tried with."""
STARTS_EVERY = 9
"""Of the 4,500 starting values of a joint fit, so many are passed over for one that is followed."""
NO_FLOOR = "no floor above 0 fits better than none"
"""The reason of a row whose best floor is 0: its exponent is one of L, not of L - E."""
LEAST_SIZES = 4
"""Different numbers of tokens (or of weights) below which a curve has no bend, and a law with a floor no error."""

Row = dict[str, Any]


def observed_exponents(
    table: pd.DataFrame, *, bootstraps: int = 200, seed: int = 0, progress: Callable[[str, int, int], None] | None = None
) -> pd.DataFrame:
    r"""How fast the loss of the transformers among `read_runs`'s rows falls, in every way that the literature reads it off.

    Rows by `quantity` and `source`:
        data: of each model size, the exponent in D. "slope": of ln L on ln D, no floor, all D. "early", "late": the same over the
            lower and the upper half of the D's. "offset": of L - E with E >= 0 free. "joint": of the fit of E + A/N^alpha +
            B/D^beta to all runs, one row for each way to count N (`embed_dim` and `total_parameters` 0).
        model: of each D with four sizes or more, the exponent in N by "slope" and "offset", and "joint", N counted both ways.
        difference: 1/alpha_D - 1/alpha_N, which the theory says is 1 whatever d and beta are: "joint" from the resamples of the
            joint fit, "slope" from the slopes of the largest size and the largest D (ends of both intervals: at least 90%).
    Columns: exponent with low and high at `level`; `interval`, what it rests on: "scatter" about the line (Student), "seeds" (the
    spread of ln L between seeds of one size and D, pooled: it knows nothing of a wrong formula), "profile" (F limits of the
    weighted residuals), "bootstrap" (pairs); `floor`, E in nats; `curvature` of ln L on ln D (N) with its Student interval: how
    much the exponent grows per factor e, 0 for a power law; exponent_first, exponent_last: tangents of that parabola at the ends;
    `reason`: why a number is missing or weak. An exponent of the loss itself is below that of L - E, if there is a floor E > 0;
    "offset" and "joint" are of L itself where their best floor is 0, which `reason` says.

    Raises ValueError for a table without the columns of `read_runs`, or without a transformer that came to its end.

    Source: Havrilla and Liao 2024 fit loss against tokens; that they leave out or fit a floor was not checked. The joint law is
    that of Hoffmann et al. 2022. Interval by seeds, early and late, curvature: ours.
    """
    runs = _runs(table)
    noise = _seed_noise(runs)
    rows = list[Row]()
    for total, part in runs.groupby("total_parameters"):
        about = {"quantity": "data", "count": "", "embed_dim": int(part["embed_dim"].iloc[0]), "total_parameters": total,
                 "tokens": int(part["tokens"].max())}  # fmt: skip
        rows += [about | found for found in _curve(part["tokens"].to_numpy(float), part["loss"].to_numpy(float), noise, True)]
    for column, count in COUNTS.items():
        for tokens, part in runs.groupby("tokens"):
            if part[column].nunique() >= LEAST_SIZES:
                about = {"quantity": "model", "count": count, "embed_dim": 0, "total_parameters": 0, "tokens": tokens}
                found = _curve(part[column].to_numpy(float), part["loss"].to_numpy(float), noise, False)
                rows += [about | one for one in found]
        rows += _joint(runs, column, count, bootstraps, seed, progress)
        rows += _slope_difference(rows, count)
    return pd.DataFrame(rows, columns=list(OBSERVED_COLUMNS))


def _runs(table: pd.DataFrame) -> pd.DataFrame:
    wanted = ("architecture", "failure", "name", "embed_dim", "tokens", "loss", "seed", *COUNTS)
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise ValueError(f"the table has no column {', '.join(missing)}: one of empirical.scaling_runs.read_runs is legal")
    runs = table[(table["architecture"] == "transformer") & (table["failure"] == "")]
    if runs.empty:
        raise ValueError("no transformer among the runs came to its end: an exponent needs points")
    return runs


def _seed_noise(runs: pd.DataFrame) -> tuple[float, int]:
    """Pooled deviation of ln L between runs that differ in their seed alone, and its degrees of freedom (0: not known)."""
    groups = [np.log(part["loss"].to_numpy(float)) for _, part in runs.groupby(["total_parameters", "tokens"])]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return (float(np.sqrt(squares / freedom)) if freedom else float("nan")), freedom


def _nothing(source: str, num_points: int, reason: str) -> Row:
    numbers = dict.fromkeys(OBSERVED_COLUMNS[6:9] + OBSERVED_COLUMNS[11:12] + OBSERVED_COLUMNS[13:18], float("nan"))
    return numbers | {"source": source, "num_points": num_points, "reason": reason, "interval": "", "level": LEVEL}


def _curve(
    x: Float[np.ndarray, " points"], loss: Float[np.ndarray, " points"], noise: tuple[float, int], halves: bool
) -> list[Row]:
    """The rows of one curve: with a line, with halves of it if asked for, and with a floor."""
    sizes = np.unique(x)
    rows = [_slope("slope", x, loss)]
    if len(sizes) >= LEAST_SIZES:
        rows[0] |= _bend(x, loss)
    if halves:
        half = -(-len(sizes) // 2)
        for source, ends in (("early", sizes[:half]), ("late", sizes[-half:])):
            inside = (ends[0] <= x) & (x <= ends[-1])
            if half < 3:
                rows.append(_nothing(source, int(inside.sum()), f"{len(sizes)} different sizes: halves need at least 5"))
            else:
                rows.append(_slope(source, x[inside], loss[inside], noise))
    rows.append(_floor(x, loss))
    return rows


def _slope(source: str, x: Float[np.ndarray, " points"], loss: Float[np.ndarray, " points"],
           noise: tuple[float, int] = (float("nan"), 0)) -> Row:  # fmt: skip
    """The exponent of L by a straight line, its interval by the seeds' noise where given, else by the scatter."""
    found = _nothing(source, len(x), "")
    if len(np.unique(x)) < 2:
        return found | {"reason": "one size only: no exponent"}
    slope = log_log_slope(x, loss, level=LEVEL)
    found |= {"exponent": -slope.value, "low": -slope.high, "high": -slope.low, "interval": "scatter", "floor": 0.0}
    if noise[1]:
        spread = np.log(x) - np.log(x).mean()
        half = float(stats.t.ppf(0.5 + LEVEL / 2, noise[1])) * noise[0] / float(np.sqrt(spread @ spread))
        found |= {"low": -slope.value - half, "high": -slope.value + half, "interval": "seeds"}
    if np.isnan(found["low"]):
        found["reason"] = "as many points as coefficients: no interval"
    return found


def _bend(x: Float[np.ndarray, " points"], loss: Float[np.ndarray, " points"]) -> Row:
    """Curvature of ln L on ln x; tangents at both ends."""
    logs = np.log(x)
    middle = float((logs.min() + logs.max()) / 2)
    near = logs - middle
    _, slope, square = least_squares(np.column_stack([np.ones_like(near), near, near**2]), np.log(loss), level=LEVEL)
    reach = float(near.max())
    ends = [-(slope.value + 2 * square.value * place) for place in (-reach, reach)]
    return {"curvature": -2 * square.value, "curvature_low": -2 * square.high, "curvature_high": -2 * square.low,
            "exponent_first": ends[0], "exponent_last": ends[1]}  # fmt: skip


def _floor(x: Float[np.ndarray, " points"], loss: Float[np.ndarray, " points"]) -> Row:
    """L = E + B x^-alpha with E, B >= 0, residuals relative to L; limits where the sum of squares is F's away from the least."""
    found = _nothing("offset", len(x), "")
    freedom = len(x) - 3
    if len(np.unique(x)) < LEAST_SIZES or freedom < 1:
        return found | {"reason": f"{len(np.unique(x))} different sizes: a floor needs at least {LEAST_SIZES}"}
    weight = 1 / loss
    powers = np.exp(-EXPONENTS[:, None] * (np.log(x) - np.log(x).mean())) * weight
    one_one, one_power, power_power = weight @ weight, powers @ weight, (powers**2).sum(1)
    power_one = powers.sum(1)  # the response is L / L = 1
    determinant = one_one * power_power - one_power**2
    floor = np.maximum(0.0, (power_power * weight.sum() - one_power * power_one) / determinant)
    factor = (power_one - floor * one_power) / power_power
    # With B < 0 the best curve of E, B >= 0 is the constant, whatever alpha.
    constant = factor <= 0
    floor, factor = np.where(constant, weight.sum() / one_one, floor), np.where(constant, 0.0, factor)
    squares = ((1 - floor[:, None] * weight - factor[:, None] * powers) ** 2).sum(1)
    best = int(np.argmin(squares))
    least = float(squares[best])
    inside = np.flatnonzero(squares <= least * (1 + float(stats.f.ppf(LEVEL, 1, freedom)) / freedom) + 1e-24 * len(x))
    low = 0.0 if inside[0] == 0 else float(EXPONENTS[inside[0] - 1])  # rounded outwards
    high = np.inf if inside[-1] == len(EXPONENTS) - 1 else float(EXPONENTS[inside[-1] + 1])
    if factor[best] == 0:
        return found | {"low": 0.0, "high": np.inf, "interval": "profile", "reason": "the loss doesn't fall: no exponent"}
    found |= {"exponent": float(EXPONENTS[best]), "low": low, "high": high, "floor": float(floor[best]), "interval": "profile"}
    if best in (0, len(EXPONENTS) - 1):
        why = f"no exponent between {EXPONENTS[0]:g} and {EXPONENTS[-1]:g} fits best"
        return found | {"exponent": float("nan"), "reason": why}
    return found | {"reason": "" if floor[best] > 0 else NO_FLOOR}


def _joint(runs: pd.DataFrame, column: str, count: ParameterCount, bootstraps: int, seed: int,
           progress: Callable[[str, int, int], None] | None) -> list[Row]:  # fmt: skip
    """The two exponents of Hoffmann's law and the difference of their inverses, or the reason why there are none."""
    about = {"count": count, "embed_dim": 0, "total_parameters": 0, "tokens": 0}
    points = ScalingPoints.of(runs[column].to_numpy(float), runs["tokens"].to_numpy(float), runs["loss"].to_numpy(float),
                              parameter_count=count)  # fmt: skip
    fit = fit_scaling_law(points, "hoffmann", starts=FORMS["hoffmann"].starts()[::STARTS_EVERY], bootstraps=bootstraps,
                          profiles=False, influence=False, back_tested=False, seed=seed, progress=progress)  # fmt: skip
    quantities = {"data": "beta", "model": "alpha", "difference": ""}
    if fit.law is None or fit.bootstrap_pairs is None:
        reason = "refused: " + "; ".join(map(str, fit.refusals)) if fit.law is None else "no bootstrap: no interval"
        return [about | _nothing("joint", points.num_points, reason) | {"quantity": quantity} for quantity in quantities]
    constants, cloud, failed = fit.constants, fit.bootstrap_pairs.constants, fit.bootstrap_pairs.num_failed
    weak = "" if constants["E"] > 1e-6 * points.loss.min() else NO_FLOOR
    rows = []
    for quantity, symbol in quantities.items():
        with np.errstate(divide="ignore"):
            values = cloud[symbol] if symbol else 1 / cloud["beta"] - 1 / cloud["alpha"]
            value = constants[symbol] if symbol else 1 / constants["beta"] - 1 / constants["alpha"]
        low, high = percentiles(values.to_numpy(float), LEVEL, num_failed=failed)
        rows.append(about | _nothing("joint", points.num_points, weak) | {
            "quantity": quantity, "exponent": value, "low": low, "high": high, "interval": "bootstrap", "floor": constants["E"],
        })  # fmt: skip
    return rows


def _slope_difference(rows: list[Row], count: str) -> list[Row]:
    """1/alpha_D - 1/alpha_N from lines: of the largest size and of the most tokens; none where one of them does not fall."""
    data = [row for row in rows if (row["quantity"], row["source"]) == ("data", "slope")]
    model = [row for row in rows if (row["quantity"], row["source"], row["count"]) == ("model", "slope", count)]
    if not data or not model:
        return []
    of_data, of_model = max(data, key=lambda row: row["total_parameters"]), max(model, key=lambda row: row["tokens"])
    about = {"quantity": "difference", "count": count, "embed_dim": of_data["embed_dim"],
             "total_parameters": of_data["total_parameters"], "tokens": of_model["tokens"]}  # fmt: skip
    found = about | _nothing("slope", of_data["num_points"] + of_model["num_points"], "")
    if not min(of_data["exponent"], of_model["exponent"]) > 0:
        return [found | {"reason": "a loss that does not fall has no positive exponent"}]
    value = 1 / of_data["exponent"] - 1 / of_model["exponent"]
    low = 1 / of_data["high"] - (1 / of_model["low"] if of_model["low"] > 0 else np.inf)
    high = (1 / of_data["low"] if of_data["low"] > 0 else np.inf) - 1 / of_model["high"]
    return [found | {"exponent": value, "low": low, "high": high, "level": 2 * LEVEL - 1, "interval": "ends of both intervals"}]
