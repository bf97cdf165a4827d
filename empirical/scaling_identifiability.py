"""Whether a table of (N, D) can tell a law's constants apart: before a fit from the design alone, after it from the Jacobian.

A design that varies N and D together (everything at 20 tokens per parameter, say) or hardly at all lets many laws predict the
same losses; a fit then returns constants that the starting values chose. The singular values of the Jacobian of log loss say
how far each combination of constants moves the predictions; the weakest combination is put in words.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from empirical._scaling_forms import Form, LineForm
from empirical._scaling_groups import compute_overflows, size_labels
from empirical.scaling_points import ScalingPoints

LEAST_DECADES = 1.0
"""N and D (or the one quantity of a law) must span this many powers of ten."""
LEAST_ACROSS = 0.1
"""Decades of standard deviation across the main line of the cloud (log10 N, log10 D): less is collinear. One
tokens-per-parameter rule kept within a factor of two has about 0.07."""
SAME = 0.01
"""Sizes whose logs differ by less are one size (digitised tables jitter); they don't chain."""
LEAST_RANGE = 1e-9
"""Losses whose logs all lie within this are one loss, and what is left is rounding."""
EQUAL_LOSSES, OVERFLOW = "all losses are equal", "numbers are out of range"
HOPELESS = (EQUAL_LOSSES, OVERFLOW)
"""What no fit can be made of, whatever the reader accepts."""
_WORDS = {"a": "A", "b": "B", "e": "E", "c": "N_c", "d": "D_c", "q": "alpha_N / alpha_D", "s": "alpha_D"}
# Where a law stands before anything is fitted: Besiroglu et al. 2024 (Huber sum), Muennighoff et al. 2023, Kaplan et al. 2020.
PUBLISHED_AT = {
    "hoffmann": (6.169246, 7.670157, 0.597307, 0.347310, 0.367172),
    "tied": (6.255414, 7.304997, 0.625480, 0.352660),
    "no-floor": (2.5, 2.9, 0.1, 0.1),
    "kaplan": (23.48, 30.52, 0.738, 0.103),
    "kaplan-parameters": (2.44, 0.076),
    "kaplan-data": (3.0, 0.095),
    "kaplan-compute": (0.95, 0.057),
}


@dataclass(frozen=True)
class Refusal:
    """Something that the table cannot say, and why."""

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


@dataclass(frozen=True)
class Design:
    """Where the points lie in the plane of (log10 N, log10 D).

    Attributes:
        num_points, num_places: points, and different (N, D) among them.
        num_parameters, num_tokens: different N, different D.
        decades_parameters, decades_tokens, decades_compute: powers of ten from the smallest to the largest.
        correlation: of ln N and ln D; NaN where one of them does not vary.
        decades_across: standard deviation across the cloud's main line, in powers of ten: 0 where D is a power of N.
    """

    num_points: int
    num_places: int
    num_parameters: int
    num_tokens: int
    decades_parameters: float
    decades_tokens: float
    decades_compute: float
    correlation: float
    decades_across: float


@dataclass(frozen=True, eq=False)
class Identifiability:
    """How well a design separates a law's constants, at given constants.

    Attributes:
        symbols: of the form's parameters (logs of the scales, exponents as they are; see `empirical._scaling_forms`).
        singular_values: of the Jacobian of ln L by them, falling, one per parameter.
        condition: the largest over the smallest; infinite where the smallest is 0.
        direction: the weakest combination, one entry per symbol, of length 1.
        weakest: the symbols that this combination mixes, in words.
        at: the constants that it was computed at, "the fit" or "published constants".
        design: where the points lie.
    """

    symbols: tuple[str, ...]
    singular_values: Float[np.ndarray, " parameters"]
    condition: float
    direction: Float[np.ndarray, " parameters"]
    weakest: str
    at: str
    design: Design


def design_of(points: ScalingPoints) -> Design:
    """The facts about a table's design."""
    log_n, log_d = points.log_parameters, points.log_tokens
    sizes, amounts = size_labels(log_n, SAME), size_labels(log_d, SAME)
    logs = np.column_stack([log_n, log_d]) / np.log(10)
    centred = logs - logs.mean(0)
    across = float(np.linalg.svd(centred, compute_uv=False)[-1] / np.sqrt(len(logs))) if len(logs) > 1 else 0.0
    deviations = np.sqrt((centred**2).mean(0))
    varies = bool((deviations > 1e-12).all())
    correlation = float((centred[:, 0] * centred[:, 1]).mean() / deviations.prod()) if varies else float("nan")
    return Design(
        points.num_points, len(set(zip(sizes.tolist(), amounts.tolist(), strict=True))),
        int(sizes.max()) + 1, int(amounts.max()) + 1,
        _decades(log_n), _decades(log_d), _decades(log_n + log_d), correlation, across,
    )  # fmt: skip


def design_refusals(form: Form, points: ScalingPoints) -> tuple[Refusal, ...]:
    """Why this table cannot carry a fit of this form; empty where nothing speaks against it."""
    design, reasons = design_of(points), list[Refusal]()
    if why := compute_overflows(points):
        reasons.append(Refusal(OVERFLOW, why))
    if points.num_points > 1 and (spread := float(np.ptp(points.log_loss))) <= LEAST_RANGE:
        reasons.append(Refusal(EQUAL_LOSSES, f"ln L varies by {spread:.2g} in all: nothing in this table scales"))
    least = 2 * form.num_parameters
    if design.num_points < least:
        short = f"{design.num_points} for {form.num_parameters} constants; at least {least} are needed"
        reasons.append(Refusal("too few points", short))
    uses = (form.quantity,) if isinstance(form, LineForm) else ("N", "D")
    decades = {"N": design.decades_parameters, "D": design.decades_tokens, "C": design.decades_compute}
    for quantity in uses:
        if decades[quantity] < LEAST_DECADES:
            reasons.append(
                Refusal(
                    f"{quantity} spans under a decade",
                    f"{decades[quantity]:.2f} decades in all; {LEAST_DECADES:g} is needed to tell an exponent from a scale",
                )
            )
    if uses != ("N", "D"):
        return tuple(reasons)
    fewest = 3 if form.name in ("hoffmann", "tied") else 2
    for quantity, count in (("N", design.num_parameters), ("D", design.num_tokens)):
        if count < fewest:
            reasons.append(Refusal(f"too few different {quantity}", f"{count}; at least {fewest} are needed by {form.name!r}"))
    if design.num_places < form.num_parameters:
        reasons.append(Refusal("too few different (N, D)", f"{design.num_places} for {form.num_parameters} constants"))
    if design.num_points > 1 and design.decades_across < LEAST_ACROSS and not any("decade" in one.what for one in reasons):
        reasons.append(
            Refusal(
                "N and D are collinear",
                f"standard deviation of {design.decades_across:.3f} decades across their main line (correlation "
                f"{design.correlation:.3f}); {LEAST_ACROSS:g} is needed to tell alpha from beta",
            )
        )
    return tuple(reasons)


def identifiability(
    form: Form, points: ScalingPoints, theta: Float[np.ndarray, " parameters"] | None = None
) -> Identifiability:
    """The singular values of the Jacobian of ln L at `theta`; without one at published constants, before anything is fitted.

    Raises ValueError for a form without published constants and no theta, or a theta of another length.
    """
    at = "the fit" if theta is not None else "published constants"
    if theta is None and form.name not in PUBLISHED_AT:
        raise ValueError(f"form = {form.name!r}: without theta one of {', '.join(PUBLISHED_AT)} is legal")
    row = np.array(PUBLISHED_AT[form.name] if theta is None else theta, dtype=np.float64)
    if row.shape != (form.num_parameters,):
        raise ValueError(f"theta has shape {row.shape}: ({form.num_parameters},) is legal for {form.name!r}")
    jacobian = form.with_jacobian(row[None], points.log_parameters, points.log_tokens)[1][0]
    if not np.isfinite(jacobian).all():
        unknown = np.full(len(row), np.nan)
        words = "not known: the law has no finite slopes"
        return Identifiability(form.symbols, unknown, float("nan"), unknown, words, at, design_of(points))
    padding = np.zeros((max(0, len(row) - len(jacobian)), len(row)))  # with fewer points than constants some directions are free
    values, vectors = np.linalg.svd(np.concatenate([jacobian, padding]), full_matrices=False)[1:]
    condition = float(values[0] / values[-1]) if values[-1] > 0 else float("inf")
    direction = vectors[-1] * np.sign(vectors[-1][np.argmax(np.abs(vectors[-1]))])
    return Identifiability(form.symbols, values, condition, direction, _words(form, jacobian, direction), at, design_of(points))


def _decades(logs: Float[np.ndarray, " points"]) -> float:
    return float(np.ptp(logs) / np.log(10))


def _words(form: Form, jacobian: Float[np.ndarray, "points parameters"], direction: Float[np.ndarray, " parameters"]) -> str:
    """The symbols whose effects cancel each other in the weakest direction, the strongest first: four fifths of the
    cancelling."""
    effect = np.abs(direction) * np.linalg.norm(jacobian, axis=0)
    weight = effect if effect.sum() > 0 else np.abs(direction)
    order = np.argsort(-weight)
    count = int(np.searchsorted(np.cumsum(weight[order]) / weight.sum(), 0.8)) + 1
    names = [_name(form, form.symbols[index]) for index in order[:count]]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _name(form: Form, symbol: str) -> str:
    """A symbol of theta as a reader of the law knows it: the scale for its logarithm."""
    if isinstance(form, LineForm) and symbol == "c":
        return f"{form.quantity}_c"
    return _WORDS.get(symbol, symbol)
