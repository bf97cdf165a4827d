"""Predicted against observed data exponents: which intervals meet, what else would have met them, and what follows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan
from typing import Any, Literal

import pandas as pd
from scipy import stats

from empirical._text_exponents import NO_FLOOR
from theory.manifold_rates import dimensions_within

AGREEMENT_COLUMNS = (
    "kind", "name", "embed_dim", "total_parameters", "tokens", "metric", "method", "source", "count", "predicted",
    "predicted_low", "predicted_high", "observed", "observed_low", "observed_high", "difference", "overlap", "within",
    "dimension", "dimension_low", "dimension_high", "beta_needed", "reason",
)  # fmt: skip
TOLERANCE = 0.02
"""Up to which Havrilla and Liao 2024 call a predicted and an observed data exponent alike."""
SOURCES = ("slope", "offset", "joint")
"""Ways to read one exponent off all tokens; early and late read two."""
Answer = Literal["survives", "fails", "can't be decided"]


@dataclass(frozen=True)
class TextVerdict:
    """Whether the agreement survives.

    Attributes:
        answer: "survives", "fails" or "can't be decided", by the rule of `text_verdict`.
        by_source: the same for each way to read the observed exponent, taken by itself: "survives" where in every size the
            intervals meet and the numbers are within 0.02, "fails" where no intervals meet.
        because: the reasons, a line each, with the numbers.
        lines: all that was found, a line each, for people.
    """

    answer: Answer
    by_source: Mapping[str, Answer]
    because: tuple[str, ...]
    lines: tuple[str, ...]


def agreement(dimensions: pd.DataFrame, observed: pd.DataFrame, *, tolerance: float = TOLERANCE) -> pd.DataFrame:
    """Each size's prediction beside each exponent that was observed of it, a row for every pair.

    The prediction is that of the size's run on the most tokens (of the lowest seed) and of its controls; the exponent is every
    "data" row of `observed_exponents` of this size, and the joint one. Columns: overlap: whether the intervals meet, never for a
    saturated prediction, whose interval begins at 0 and meets nearly everything; within:
    whether the numbers are at most `tolerance` apart; dimension_low, dimension_high: all d whose exponent would be as near to the
    observed one, at the row's own beta; beta_needed: the smoothness that would make them equal, (d/2) alpha / (1 - alpha)
    (derived: the inverse of 2 beta/(2 beta + d)), so that without a beta fixed beforehand every exponent agrees with every d.

    Raises ValueError for a tolerance that is not above 0, and tables without the columns of `text_dimensions` and
    `observed_exponents`.
    """
    if not 0 < tolerance < inf:
        raise ValueError(f"tolerance = {tolerance}: a finite number > 0 is legal")
    try:
        data = observed[observed["quantity"] == "data"]
        runs = _references(dimensions)
        pairs = [(row, seen) for row in runs.to_dict("records") for seen in data.to_dict("records")
                 if seen["total_parameters"] in (0, row["total_parameters"])]  # fmt: skip
        rows = [_compared(row, seen, tolerance) for row, seen in pairs]
    except KeyError as error:
        raise ValueError(f"no column {error}: tables of text_dimensions and observed_exponents are legal") from None
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS)).astype({"overlap": bool, "within": bool})


def _references(dimensions: pd.DataFrame) -> pd.DataFrame:
    """All rows of each size's run on the most tokens."""
    trained = dimensions[dimensions["kind"] == "trained"].sort_values(["tokens", "seed"], ascending=[False, True])
    names = trained.drop_duplicates("total_parameters")["name"]
    return dimensions[dimensions["name"].isin(names)].sort_values("total_parameters", kind="stable")


def _compared(row: Mapping[Any, Any], seen: Mapping[Any, Any], tolerance: float) -> dict[str, Any]:
    value, dimension = float(seen["exponent"]), float(row["corrected"])
    possible = 0 < value < 1
    near = dimensions_within(value, tolerance, float(row["beta"])) if possible else (nan, nan)
    return {name: row[name] for name in ("kind", "name", "embed_dim", "total_parameters", "tokens", "metric", "method")} | {
        "source": seen["source"], "count": seen["count"], "predicted": row["predicted"], "predicted_low": row["predicted_low"],
        "predicted_high": row["predicted_high"], "observed": value, "observed_low": seen["low"], "observed_high": seen["high"],
        "difference": row["predicted"] - value, "within": abs(row["predicted"] - value) <= tolerance,
        "overlap": 0 < row["predicted_low"] <= seen["high"] and seen["low"] <= row["predicted_high"], "dimension": dimension,
        "dimension_low": near[0], "dimension_high": near[1],
        "beta_needed": dimension / 2 * value / (1 - value) if possible else nan,
        "reason": "; ".join(dict.fromkeys(filter(None, (row["reason"], seen["reason"])))),
    }  # fmt: skip


def text_verdict(
    dimensions: pd.DataFrame, observed: pd.DataFrame, agreed: pd.DataFrame, *, method: str = "levina_bickel",
    metric: str = "euclidean",
) -> TextVerdict:  # fmt: skip
    """What follows from the tables of `text_dimensions`, `observed_exponents` and `agreement`.

    The agreement "survives" where, for this method and metric, all of:
    (1) in every size the predicted interval meets the observed one of every source that has one (slope, offset, joint);
    (2) no size's curve bends (the interval of its curvature contains 0), so that there is one exponent to predict;
    (3) untrained models, which know nothing of the text, agree less often than trained ones, counting slope and offset of every
        size and the joint law once (N in total; met where it meets every size's prediction: it has one exponent for all);
    (4) no prediction is saturated, and the other methods' corrected dimensions agree with this one's, so that there is one d;
    (5) no interval of 1/alpha_D - 1/alpha_N excludes 1;
    (6) sizes for which more is predicted do not fall slower (Kendall's tau of predictions and slopes below 0, p < 0.05).
    It "fails" where no predicted interval meets any observed one, those of the early and the late half included. Everything else
    "can't be decided", and the violated points are the reasons. (The rule was written down after a first look at the losses of
    the quick tier, so it is no prediction of its own.)

    Raises ValueError where no row is of this method and metric.
    """
    chosen = agreed[(agreed["method"] == method) & (agreed["metric"] == metric)]
    trained = chosen[chosen["kind"] == "trained"]
    if trained.empty:
        raise ValueError(f"method = {method!r}, metric = {metric!r}: the table has no trained model of these")
    known = trained[trained["observed_low"].notna() & (trained["predicted_low"] > 0)]  # of saturated ones nothing can be missed
    by_source = {_reading(part.iloc[0].to_dict()): _answer(part) for _, part in known.groupby(["source", "count"], sort=False)}
    reasons = _disagreements(known) + _bends(observed) + _controls(chosen) + _saturated(trained)
    reasons += _opposite(trained) + _scales(dimensions, chosen, method, metric) + _identities(observed)
    answer: Answer = "can't be decided" if reasons else "survives"
    if known[known["source"].isin(SOURCES)].empty:
        answer, reasons = "can't be decided", ["no size has both an observed exponent and a dimension with two ends", *reasons]
    elif not known["overlap"].any():
        answer = "fails"
    return TextVerdict(answer, by_source, tuple(reasons), _lines(dimensions, observed, chosen))


def _reading(row: Mapping[Any, Any]) -> str:
    """What a way to read the exponent is called."""
    return f"{row['source']}, N {row['count']}" if row["count"] else str(row["source"])


def _answer(part: pd.DataFrame) -> Answer:
    if not part["overlap"].any():
        return "fails"
    return "survives" if bool((part["overlap"] & part["within"]).all()) else "can't be decided"


def _disagreements(known: pd.DataFrame) -> list[str]:
    """A line for every way to read the exponent that some size's prediction misses."""
    lines = list[str]()
    for (source, count), part in known[known["source"].isin(SOURCES)].groupby(["source", "count"], sort=False):
        missed = part[~part["overlap"]]
        if len(missed):
            how = _reading({"source": source, "count": count})
            off = missed["difference"].abs()
            lines.append(
                f"the prediction misses the observed exponent ({how}) in {len(missed)} of {len(part)} sizes (width "
                f"{', '.join(map(str, missed['embed_dim']))}), by {off.min():.2f} to {off.max():.2f}"
            )
    return lines


def _bends(observed: pd.DataFrame) -> list[str]:
    """A line on the sizes whose curve bends, or on there being none that could show it."""
    known = observed[(observed["quantity"] == "data") & (observed["source"] == "slope") & observed["curvature_low"].notna()]
    if known.empty:
        return ["no size has enough different numbers of tokens to show whether its curve bends"]
    bent = known[(known["curvature_low"] > 0) | (known["curvature_high"] < 0)]
    if bent.empty:
        return []
    ends = _by_width(bent, lambda row: f"{row['exponent_first']:.2f} to {row['exponent_last']:.2f}")
    said = "so no one number is their exponent (tangents at the least and the most tokens, by width: "
    return [f"{len(bent)} of {len(known)} curves bend, {said}{ends})"]


def _controls(chosen: pd.DataFrame) -> list[str]:
    """A line where models that were never trained agree as often as trained ones."""
    if "untrained" not in set(chosen["kind"]):
        return ["untrained models were not measured"]
    (trained, _, pairs), (untrained, *_) = _hits(chosen, "trained"), _hits(chosen, "untrained")
    if untrained < trained:
        return []
    return [f"no difference shown between trained and untrained models: {trained} and {untrained} of {pairs} intervals meet"]


def _hits(chosen: pd.DataFrame, kind: str) -> tuple[int, int, int]:
    """How many intervals meet, numbers are alike, and comparisons there are: slope and offset by size, the joint law once."""
    rows = chosen[chosen["kind"] == kind]
    single = rows[rows["source"].isin(("slope", "offset"))]
    joint = rows[rows["source"] == "joint"]
    joint = joint[joint["count"] == ("total" if "total" in set(joint["count"]) else joint["count"].max())]
    meet, near = (int(single[name].sum()) + int(len(joint) > 0 and joint[name].all()) for name in ("overlap", "within"))
    return meet, near, len(single) + int(len(joint) > 0)


def _saturated(trained: pd.DataFrame) -> list[str]:
    full = trained[trained["predicted_low"] == 0].drop_duplicates("embed_dim")
    if full.empty:
        return []
    return [f"the dimension is saturated at width {', '.join(map(str, full['embed_dim']))}: nothing above is excluded"]


def _scales(dimensions: pd.DataFrame, chosen: pd.DataFrame, method: str, metric: str) -> list[str]:
    """A line on each other method whose corrected dimension is another."""
    rows = dimensions[(dimensions["kind"] == "trained") & (dimensions["metric"] == metric)]
    rows = rows[rows["name"].isin(chosen["name"])]
    own = rows[rows["method"] == method].set_index("name")
    lines = list[str]()
    for other, part in rows[rows["method"] != method].groupby("method", sort=False):
        beside = part.set_index("name").reindex(own.index)
        apart = (beside["corrected_low"] > own["corrected_high"]) | (beside["corrected_high"] < own["corrected_low"])
        if apart.any():
            said = ", ".join(f"width {own.embed_dim[name]}: {own.corrected[name]:.1f} and {beside.corrected[name]:.1f}"
                             for name in own.index[apart])  # fmt: skip
            lines.append(f"there is no one dimension: {method} and {other} differ beyond their intervals ({said})")
    return lines


def _identities(observed: pd.DataFrame) -> list[str]:
    """A line for each difference of inverse exponents whose interval excludes 1."""
    found = observed[(observed["quantity"] == "difference") & ((observed["low"] > 1) | (observed["high"] < 1))]
    return [
        f"1/alpha_D - 1/alpha_N, 1 in theory, is {_span(row, 'exponent', ('low', 'high'), '.1f')} ({_reading(row)})"
        for row in found.to_dict("records")
    ]


def _span(row: Mapping[Any, Any], name: str, ends: tuple[str, str] | None = None, form: str = ".2f") -> str:
    """A number of a row with its interval, whose columns are called after it."""
    low, high = (float(row[end]) for end in ends or (f"{name}_low", f"{name}_high"))
    value = float(row[name])
    said = "none" if isnan(value) else f"{value:{form}}"
    return said if isnan(low) else f"{said} [{low:{form}}, {high:{form}}]"


def _by_width(rows: pd.DataFrame, say: Callable[[Mapping[Any, Any]], str]) -> str:
    return "; ".join(f"{row['embed_dim']}: {say(row)}" for row in rows.to_dict("records"))


def _lines(dimensions: pd.DataFrame, observed: pd.DataFrame, chosen: pd.DataFrame) -> tuple[str, ...]:
    """All that was found, in sentences."""
    lines = list[str]()
    trained = chosen[chosen["kind"] == "trained"]
    one = trained.drop_duplicates("embed_dim")
    said = _by_width(one, lambda row: f"{row['dimension']:.1f}, {_span(row, 'predicted')}")
    how = f"{one['method'].iloc[0]}, {one['metric'].iloc[0]}"
    lines.append(f"dimension of the last hidden states ({how}) and data exponent it promises, by width: {said}")
    for source in ("slope", "early", "late", "offset"):
        part = trained[trained["source"] == source]
        meet, near = int(part["overlap"].sum()), int(part["within"].sum())
        hits = f"intervals meet in {meet} of {len(part)} sizes, numbers within {TOLERANCE:g} in {near}"
        said = _by_width(part, lambda row: _span(row, "observed"))
        lines.append(f"observed data exponent ({source}), by width: {said}; {hits}")
    lines += _without_floor(observed)
    for quantity, name in (("data", "data exponent"), ("model", "model exponent"), ("difference", "1/alpha_D - 1/alpha_N")):
        part = observed[(observed["quantity"] == quantity) & (observed["source"] == "joint")]
        said = "; ".join(f"N {row['count']}: {_span(row, 'exponent', ('low', 'high'))}" for row in part.to_dict("records"))
        if said:
            lines.append(f"joint fit, {name}: {said}{' (1 in theory)' if quantity == 'difference' else ''}")
    for row in trained[(trained["embed_dim"] == trained["embed_dim"].max()) & (trained["source"] == "slope")].to_dict("records"):
        lines.append(
            f"width {row['embed_dim']}: within {TOLERANCE:g} of the observed slope is every d from {row['dimension_low']:.0f} to "
            f"{row['dimension_high']:.0f} at this beta, and this d at beta = {row['beta_needed']:.2f}"
        )
    return (*lines, *_trend(trained), *_kinds(chosen), *_ways(dimensions, chosen))


def _tau(trained: pd.DataFrame) -> tuple[float, float, int]:
    """Kendall's tau of predictions and observed slopes over sizes, its exact two-sided p, and how many sizes; NaN below four."""
    seen = trained[(trained["source"] == "slope") & trained["observed"].notna() & trained["predicted"].notna()]
    if len(seen) < 4 or seen["predicted"].nunique() < len(seen) or seen["observed"].nunique() < len(seen):
        return nan, nan, len(seen)
    found = stats.kendalltau(seen["predicted"], seen["observed"], method="exact")
    return float(found.statistic), float(found.pvalue), len(seen)


def _opposite(trained: pd.DataFrame) -> list[str]:
    """A line where predictions order the sizes the wrong way round."""
    tau, chance, sizes = _tau(trained)
    if not (tau < 0 and chance < 0.05):
        return []
    return [f"sizes for which more is predicted fall slower: Kendall's tau {tau:+.2f} over {sizes} sizes, p = {chance:.3f}"]


def _trend(trained: pd.DataFrame) -> list[str]:
    tau, chance, sizes = _tau(trained)
    return [] if isnan(tau) else [f"predicted against observed slope, {sizes} sizes: Kendall's tau {tau:+.2f}, p = {chance:.3f}"]


def _kinds(chosen: pd.DataFrame) -> list[str]:
    """How often each kind of cloud agrees."""
    hits = {str(kind): _hits(chosen, str(kind)) for kind in chosen["kind"].unique()}
    said = [f"{kind} {meet} (numbers within {TOLERANCE:g}: {near})" for kind, (meet, near, _) in hits.items()]
    pairs = hits["trained"][2]
    return [f"predicted and observed intervals that meet, of {pairs} (slope and offset by size, joint once): {'; '.join(said)}"]


def _without_floor(observed: pd.DataFrame) -> list[str]:
    """A line on the fits with a floor whose best floor is 0."""
    flat = observed[(observed["quantity"] == "data") & observed["reason"].astype(str).str.contains(NO_FLOOR, regex=False)]
    widths = ", ".join(str(width) for width in flat.loc[flat["source"] == "offset", "embed_dim"])
    joint = ", ".join(str(count) for count in flat.loc[flat["source"] == "joint", "count"])
    places = [f"width {widths} (offset)"] * bool(widths) + [f"in the joint fit (N {joint})"] * bool(joint)
    return [f"best floor is 0 at {' and '.join(places)}: these are exponents of L, not of L - E"] if places else []


def _ways(dimensions: pd.DataFrame, chosen: pd.DataFrame) -> list[str]:
    """What the widest model's dimension is by every method, metric and kind."""
    name = chosen.sort_values("total_parameters")["name"].iloc[-1]
    said = [f"{row['kind']} {row['method']} {row['metric']} {_span(row, 'dimension', ('low', 'high'), '.1f')}"
            for row in dimensions[dimensions["name"] == name].to_dict("records") if isfinite(row["dimension"])]  # fmt: skip
    return [f"dimension before the bias is taken off, {name}: {'; '.join(said)}"]
