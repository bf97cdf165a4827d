"""Exponents of errors measured on manifolds, with intervals over seeds, and what keeps them from being the theory's."""

from collections.abc import Iterable, Iterator
from math import inf, isinf, nan
from typing import Any

import numpy as np
import pandas as pd

from empirical.comparison import mean_interval
from empirical.manifold_reach import predicted_order
from empirical.regression import bootstrap_log_log_slope, log_log_slope

GROUP = ["experiment", "manifold", "dimension", "ambient_dim", "target", "beta", "attention", "kind", "degree"]
EXPONENT_COLUMNS = (
    *GROUP, "exponent", "low", "high", "predicted", "num_sizes", "num_seeds", "reason",
    "free_exponent", "free_low", "free_high", "free_sizes", "bootstrap_low", "bootstrap_high",
)  # fmt: skip
LONGER_HELPS = 0.8
"""A longer run that leaves less than this share of the error says that the steps were the limit."""
NEAR_FLOOR = 2.0
"""An error below so many times that of the same model on fresh samples is the model's as much as the samples'."""
NOT_LEARNT = 0.5
"""An error above this share of the target's variance says that the function was hardly learnt."""
FLAT = 0.9
"""The error of a larger size over that of the one before: above this it has stopped falling."""


def measured_exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Exponents alpha of mse ~ size^(-alpha): of the samples ("data") or the parameters ("model"), one row a series.

    Every row of a trained series is fitted by itself for every seed; `exponent` is the mean over seeds and `low`, `high` its
    Student interval (95%): seeds share nothing, and with three of them a bootstrap over seeds, which is beside it as
    `bootstrap_low`, `bootstrap_high`, covers 78 times in 100 only. A built series (one seed) has that of a line's scatter.

    All sizes are in `exponent`, also those at which something other than the theory's trade-off rules. `reason` says which these
    are, and is empty where none was seen:
        - twice the steps lower the error at the largest size by a fifth or more: optimisation limits it;
        - sizes at which the error on few samples is within a factor of 2 of what the same model leaves on fresh ones: the model
          limits it;
        - sizes with more than half of the target's variance left: not learnt;
        - sizes at which the error falls by less than a tenth from the size before: a plateau;
        - seeds that failed.
    `free_exponent` is fitted to the sizes that none of the second and third applies to, where there are three of them at least
    (`free_sizes` says how many): a look at what is left, chosen after the error was seen.

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
    means = whole.mean()
    learnt = means < NOT_LEARNT * usual.groupby(size)["target_variance"].mean().reindex(means.index)
    above = _above_floor(means, usual, group, floors)
    if built:
        above[:] = learnt[:] = True
    reasons += list(_reasons(means, learnt, above, size))
    if reason := _longer_helps(usual, longer, size):
        reasons.insert(0, reason)
    found |= dict(zip(("exponent", "low", "high"), _slope(whole), strict=True))
    free = whole.loc[:, (learnt & above).to_numpy()]
    if free.shape[1] >= 3:
        found |= dict(zip(("free_exponent", "free_low", "free_high"), _slope(free), strict=True))
    if len(whole) > 1:
        drawn = bootstrap_log_log_slope(whole.columns.to_numpy(float), whole.to_numpy(), seed=0)
        found |= {"bootstrap_low": -drawn.high, "bootstrap_high": -drawn.low}
    return found | {"free_sizes": free.shape[1], "reason": "; ".join(reasons)}


def _slope(errors: pd.DataFrame) -> tuple[float, float, float]:
    """The exponent with its interval, from errors by seed (rows) and size (columns)."""
    sizes = errors.columns.to_numpy(float)
    slopes = [log_log_slope(sizes, row) for row in errors.to_numpy()]
    if len(slopes) == 1:
        return -slopes[0].value, -slopes[0].high, -slopes[0].low
    return mean_interval([-slope.value for slope in slopes])


def _above_floor(
    means: "pd.Series[float]", usual: pd.DataFrame, group: dict[str, Any], floors: pd.DataFrame
) -> "pd.Series[bool]":
    """Sizes of a data experiment whose error is clear of the same model's on fresh samples; all where that is not known."""
    above = pd.Series(True, index=means.index)
    if group["experiment"] != "data" or usual.empty:
        return above
    same = floors
    alike = ("manifold", "dimension", "ambient_dim", "target", "beta", "attention")
    for name, value in [(name, group[name]) for name in alike] + [(n, usual[n].iloc[0]) for n in ("parameters", "steps")]:
        same = same[same[name] == value]
    floor = same["mse"].mean()
    return above if np.isnan(floor) else means >= NEAR_FLOOR * floor


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


def _reasons(
    means: "pd.Series[float]", learnt: "pd.Series[bool]", above: "pd.Series[bool]", size: str
) -> Iterator[str]:
    falls = means.to_numpy()[1:] / means.to_numpy()[:-1]
    if not above.all():
        yield f"{size} {_named(means.index[~above])}: within a factor of {NEAR_FLOOR:g} of the model's error on fresh samples"
    if not learnt.all():
        yield f"{size} {_named(means.index[~learnt])}: more than {NOT_LEARNT:.0%} of the target's variance is left"
    if (falls > FLAT).any():
        yield f"{size} {_named(means.index[1:][falls > FLAT])}: a plateau, the error hardly falls from the size before"


def _named(sizes: Iterable[Any]) -> str:
    return ", ".join(f"{int(size):,}" for size in sizes)
