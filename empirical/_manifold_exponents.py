"""Exponents of errors measured on manifolds, with intervals over seeds, and what keeps them from being the theory's."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import inf, isinf, isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from empirical._regression_lines import least_squares
from empirical.comparison import mean_interval
from empirical.manifold_reach import predicted_order
from empirical.regression import bootstrap_log_log_slope, log_log_slope

GROUP = ["experiment", "manifold", "dimension", "ambient_dim", "target", "beta", "attention", "kind", "degree"]
EXPONENT_COLUMNS = (
    *GROUP, "exponent", "low", "high", "predicted", "num_sizes", "num_seeds", "reason",
    "free_exponent", "free_low", "free_high", "free_sizes", "bootstrap_low", "bootstrap_high",
    "floor", "floor_off", "floor_off_low", "floor_off_high", "early", "late", "learnt_sizes",
)  # fmt: skip
LONGER_HELPS = 0.8
"""A longer run that leaves less than this share of the error says that the steps were the limit."""
NEAR_FLOOR = 10.0
"""An error below so many times that of the same model on fresh samples says too little of the samples.

Derived here: where the error is e = c n^-alpha + f and k = e / f, its local slope is -d ln e / d ln n = alpha (1 - 1/k), so that
a share of 1/k of the exponent is lost. What has to be told apart are 2 beta / (2 beta + d) for d and d + 1, a share of
1 / (2 beta + d + 1) away from each other: 0.29 and 0.22 for d = 1 and 2 with beta = 0.75. With k = 2 half of the exponent is
lost, with k = 5 about all of that difference, from k = 10 on less than half of it.
"""
NOT_LEARNT = 0.5
"""An error above this share of the target's variance says that the function was hardly learnt."""
FLAT = 0.9
"""The error of a larger size over that of the one before: above this it has stopped falling."""
ROUNDING = 1e-9
"""Slopes that differ by less are the same: those of an exact power law."""


def measured_exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Exponents alpha of mse ~ size^(-alpha): of the samples ("data") or the parameters ("model"), one row a series.

    Every row of a trained series is fitted by itself for every seed; `exponent` is the mean over seeds and `low`, `high` its
    Student interval (95%): seeds share nothing, and with three of them a bootstrap over seeds, which is beside it as
    `bootstrap_low`, `bootstrap_high`, covers 78 times in 100 only. A built series (one seed) has that of a line's scatter.

    `early` and `late` are the same of the lower and the upper half of the sizes (which share the middle one of an odd number).
    `floor`, of trained data series only, is the mean error of the same model, trained as long, on fresh samples, and `floor_off`
    the exponent of the errors with it taken off, seed by seed; its interval takes the floor as known. It is NaN, with a reason,
    where the table has no such models or an error is not above the floor.

    All sizes are in `exponent`, also those at which something other than the theory's trade-off rules. `reason` says which these
    are, and is empty where none was seen:
        - twice the steps lower the error at the largest size by a fifth or more: optimisation limits it;
        - sizes at which the error on few samples is within a factor of `NEAR_FLOOR` of what the same model leaves on fresh ones:
          the model limits it;
        - sizes with more than half of the target's variance left, in all seeds or in those that are named: not learnt;
        - sizes at which the error falls by less than a tenth from the size before: a plateau;
        - a curve that bends: `early` or `late` is outside the interval, or the seeds' own differences of the two exclude 0 (95%);
          where there is one seed, a parabola's curvature excludes 0;
        - built networks whose interval excludes the promise, which is a limit for fine grids;
        - seeds that failed.
    `free_exponent` is fitted to the sizes that none of the second and third applies to, where there are three of them at least
    (`free_sizes` says how many; `learnt_sizes` counts those that all seeds have learnt): a look at what is left, chosen after the
    error was seen.

    Args:
        table: of `read_cells`, `built_rows` or both.

    Returns:
        The columns `EXPONENT_COLUMNS`. `predicted` is 2 beta / (2 beta + d) or 2 beta / d, for smooth targets the limits 1 and
        inf; built networks of degree m have min(beta, m + 1) in place of beta. An exponent is NaN, with a reason, where there are
        fewer than two sizes or no error is left. Rows whose check is "longer" only serve the first check.

    Raises:
        ValueError: a column is missing.
    """
    table = table.assign(**{name: value for name, value in (("degree", nan), ("check", "")) if name not in table})
    missing = [name for name in (*GROUP, "samples", "parameters", "seed", "mse", "target_variance", "steps") if name not in table]
    if missing:
        raise ValueError(f"table has no column {missing[0]}: a table of read_cells or built_rows is legal")
    floors = table[(table["experiment"] == "model") & (table["kind"] == "trained") & (table["check"] == "")]
    rows = []
    for key, part in table.groupby(GROUP, sort=False, dropna=False):
        group = dict(zip(GROUP, key, strict=True))
        rows.append(group | _series(group, part, floors))
    return pd.DataFrame(rows, columns=list(EXPONENT_COLUMNS))


def predicted_exponent(experiment: str, dimension: int, beta: float) -> float:
    """2 beta / (2 beta + d) or 2 beta / d; their limits 1 and inf for beta = inf."""
    from theory.manifold_rates import data_exponent, model_exponent

    if isinf(beta):
        return 1.0 if experiment == "data" else inf
    return float((data_exponent if experiment == "data" else model_exponent)(dimension, beta))


def _series(group: dict[str, Any], part: pd.DataFrame, floors: pd.DataFrame) -> dict[str, Any]:
    size = "samples" if group["experiment"] == "data" else "parameters"
    built, beta = group["kind"] == "built", float(group["beta"])
    order = predicted_order(beta, int(group["degree"])) if built else beta
    usual, longer = part[part["check"] == ""], part[part["check"] == "longer"]
    errors = usual.pivot_table(index="seed", columns=size, values="mse", sort=True)
    failed = len(usual) - int(usual["mse"].notna().sum())
    whole = errors.dropna()
    found: dict[str, Any] = {
        "predicted": predicted_exponent(str(group["experiment"]), int(group["dimension"]), order),
        "num_sizes": errors.shape[1], "num_seeds": len(whole),
    }  # fmt: skip
    reasons = [f"{failed} models failed (seeds with one are left out)"] if failed else []
    if errors.shape[1] < 2 or whole.empty or not (whole > 0).all(axis=None):
        return found | {"reason": "; ".join([*reasons, "no exponent: two sizes with errors > 0 are needed"])}
    means, trained = whole.mean(), not built
    left = errors / usual.pivot_table(index="seed", columns=size, values="target_variance", sort=True)
    learnt = (left.loc[whole.index] <= NOT_LEARNT).all() | built
    floor = _floor(usual, group, floors) if trained and size == "samples" else nan
    above = means >= NEAR_FLOOR * floor if floor > 0 else pd.Series(True, index=means.index)
    found |= dict(zip(("exponent", "low", "high"), _slope(whole), strict=True)) | {"floor": floor}
    reasons += _near(means, above, floor)
    if trained:
        reasons += _not_learnt(left.loc[whole.index], size)
    reasons += _plateau(means, size)
    if reason := _longer_helps(usual, longer, size):
        reasons.insert(0, reason)
    if trained and size == "samples":
        off, reason = _floor_off(whole, floor)
        found |= dict(zip(("floor_off", "floor_off_low", "floor_off_high"), off, strict=True))
        reasons += [reason] if reason else []
    found["early"], found["late"], reason = _halves(whole, found["low"], found["high"])
    reasons += [reason] if reason else []
    if built and not found["low"] <= found["predicted"] <= found["high"] and not isnan(found["low"]):
        how = "steeper" if found["low"] > found["predicted"] else "flatter"
        reasons.append(f"{how} than the limit {found['predicted']:.3g} on these grids")
    free = whole.loc[:, (learnt & above).to_numpy()]
    if free.shape[1] >= 3:
        found |= dict(zip(("free_exponent", "free_low", "free_high"), _slope(free), strict=True))
    if len(whole) > 1:
        drawn = bootstrap_log_log_slope(whole.columns.to_numpy(float), whole.to_numpy(), seed=0)
        found |= {"bootstrap_low": -drawn.high, "bootstrap_high": -drawn.low}
    return found | {"free_sizes": free.shape[1], "learnt_sizes": int(learnt.sum()), "reason": "; ".join(reasons)}


def _slope(errors: pd.DataFrame) -> tuple[float, float, float]:
    """The exponent with its interval, from errors by seed (rows) and size (columns)."""
    sizes = errors.columns.to_numpy(float)
    slopes = [log_log_slope(sizes, row) for row in errors.to_numpy()]
    if len(slopes) == 1:
        return -slopes[0].value, -slopes[0].high, -slopes[0].low
    return mean_interval([-slope.value for slope in slopes])


def _floor(usual: pd.DataFrame, group: dict[str, Any], floors: pd.DataFrame) -> float:
    """Mean error of the same model, trained as long, on fresh samples; NaN where the table has none."""
    same = floors
    alike = ("manifold", "dimension", "ambient_dim", "target", "beta", "attention")
    for name, value in [(name, group[name]) for name in alike] + [(n, usual[n].iloc[0]) for n in ("parameters", "steps")]:
        same = same[same[name] == value]
    return float(same["mse"].mean())


def _floor_off(whole: pd.DataFrame, floor: float) -> tuple[tuple[float, float, float], str]:
    """The exponent of what is above the floor, or why there is none."""
    nothing = (nan, nan, nan)
    if isnan(floor):
        return nothing, ""  # which `floor`, not a number, says
    below = (whole <= floor).any()
    if below.any():
        return nothing, f"samples {_named(whole.columns[below])}: an error is not above the floor, which can't be taken off"
    return _slope(whole - floor), ""


def _halves(whole: pd.DataFrame, low: float, high: float) -> tuple[float, float, str]:
    """Exponents of the lower and the upper half of the sizes, and a reason where they are not alike."""
    half = -(-whole.shape[1] // 2)
    if whole.shape[1] < 3:
        return nan, nan, ""
    sizes = whole.columns.to_numpy(float)
    ends = [[-log_log_slope(sizes[part], row[part]).value for row in whole.to_numpy()]
            for part in (slice(half), slice(-half, None))]  # fmt: skip
    early, late = (float(np.mean(slopes)) for slopes in ends)
    if len(whole) > 1:
        _, least, most = mean_interval([one - other for one, other in zip(*ends, strict=True)])
        beyond = max(least, -most, low - min(early, late), max(early, late) - high)
    else:
        logs = np.log(sizes) - np.log(sizes).mean()
        design = np.column_stack([np.ones_like(logs), logs, logs**2])
        square = least_squares(design, np.log(whole.to_numpy(float)[0]))[2]
        beyond = max(square.low, -square.high)
    if isnan(low) or not beyond > ROUNDING:
        return early, late, ""
    return early, late, f"the curve bends: {early:.2f} in the lower half of the sizes, {late:.2f} in the upper"


def _longer_helps(usual: pd.DataFrame, longer: pd.DataFrame, size: str) -> str:
    if longer.empty:
        return ""
    place = longer[size if size == "parameters" else "samples"].max()
    pairs = longer.merge(usual[usual[size] == place], on=["seed", "width"], suffixes=("", "_usual"))
    if pairs.empty or pairs[["mse", "mse_usual"]].isna().any(axis=None):
        return ""
    share = float(pairs["mse"].mean() / pairs["mse_usual"].mean())
    if share > LONGER_HELPS:
        return ""
    times = pairs["steps"].iloc[0] / pairs["steps_usual"].iloc[0]
    return f"{times:g} times the steps lower the error at the largest size by {1 - share:.0%}: optimisation limits it"


def _near(means: "pd.Series[float]", above: "pd.Series[bool]", floor: float) -> list[str]:
    if above.all():
        return []
    least = float(means.min()) / floor
    lost = f"at the least {least:.1f} times it, where 1/{least:.1f} of a slope is lost" if least > 1 else "at the least below it"
    near = f"within a factor of {NEAR_FLOOR:g} of the model's error on fresh samples"
    return [f"samples {_named(means.index[~above])}: {near} ({lost})"]


def _not_learnt(left: pd.DataFrame, size: str) -> Iterator[str]:
    """Sizes that no seed has learnt, and seeds that have not learnt sizes that others have."""
    hardly = left > NOT_LEARNT
    if hardly.all().any():
        yield f"{size} {_named(left.columns[hardly.all()])}: more than {NOT_LEARNT:.0%} of the target's variance is left"
    for column in left.columns[hardly.any() & ~hardly.all()]:
        worst = left.loc[hardly[column], column]
        said = ", ".join(f"seed {seed} ({share:.0%} of the variance left)" for seed, share in worst.items())
        yield f"{size} {int(column):,}: not learnt by {said}"


def _plateau(means: "pd.Series[float]", size: str) -> Iterator[str]:
    falls = means.to_numpy()[1:] / means.to_numpy()[:-1]
    if (falls > FLAT).any():
        yield f"{size} {_named(means.index[1:][falls > FLAT])}: a plateau, the error hardly falls from the size before"


def _named(sizes: Iterable[Any]) -> str:
    return ", ".join(f"{int(size):,}" for size in sizes)


TOGETHER = ["experiment", "target", "beta", "attention", "kind", "degree"]


def told_apart(exponents: pd.DataFrame) -> list[str]:
    """Whether exponents of different dimensions differ beyond their intervals: a line for each target and experiment.

    One exponent fits all of several series where the largest `low` is not above the smallest `high`. Data series are compared
    again with the floor off. Series that have no interval, or of which no size was learnt, are left out and named.

    Args:
        exponents: of `measured_exponents`.

    Returns:
        Sentences, none for a target that only one dimension was measured for.
    """
    lines = []
    for _, part in exponents.groupby(TOGETHER, sort=False, dropna=False):
        if part["dimension"].nunique() < 2:
            continue
        row = part.iloc[0]
        rough = "" if isinf(row["beta"]) else f" {row['beta']:g}"
        how = row["attention"] if row["kind"] == "trained" else f"degree {row['degree']:.0f}"
        known = part[(part["learnt_sizes"] > 0) & part["low"].notna()].sort_values("dimension", kind="stable")
        said = [_compared(known, ("exponent", "low", "high"))]
        if known["floor_off_low"].notna().any():
            off = known[known["floor_off_low"].notna()]
            said.append("with the floor off, " + _compared(off, ("floor_off", "floor_off_low", "floor_off_high")))
        if gone := sorted({int(d) for d in part["dimension"]} - {int(d) for d in known["dimension"]}):
            said.append(f"d = {', '.join(map(str, gone))} left out: nothing learnt, or no interval")
        lines.append(f"{row['experiment']}, {row['target']}{rough} ({row['kind']}, {how}): {'; '.join(said)}")
    return lines


def _compared(rows: pd.DataFrame, columns: Sequence[str]) -> str:
    """What the intervals of these rows say of their dimensions."""
    value, low, high = (rows[name].to_numpy(float) for name in columns)
    names = rows["dimension"].to_numpy(int)
    if len(set(names)) < 2:
        return "only one dimension has an exponent, nothing to tell apart"
    beside = f"d = {', '.join(map(str, names))} have {', '.join(f'{each:.2f}' for each in value)}"
    if low.max() <= high.min():
        return f"{beside}: can't be told apart, one exponent of {low.max():.2f} to {high.min():.2f} fits all of them"
    pairs = [(i, j) for i, j in combinations(range(len(names)), 2) if names[i] != names[j]]
    apart = [(i, j) for i, j in pairs if low[i] > high[j] or low[j] > high[i]]
    said = ", ".join(f"{names[i]} from {names[j]}{'' if value[i] > value[j] else ' (the wrong way round)'}" for i, j in apart)
    others = "" if len(apart) in (0, len(pairs)) else ", no others"
    return f"{beside}: intervals tell apart {said or 'no two dimensions'}{others}"
