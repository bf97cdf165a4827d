"""Fitting a scaling law to a table of (N, D, loss), with what a reader needs to judge the constants, or with the reasons for
not doing so.

The objective is the published one (Hoffmann et al. 2022, appendix D.3): the sum of Huber losses, delta = 1e-3, of residuals
of ln L. A sum, not a mean: averaged, its values are so small that an optimiser at default tolerances stops where it began,
which is how the published constants went wrong (Besiroglu et al. 2024). Every start of the grid is followed until its
gradient vanishes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from empirical._regression_lines import check_level
from empirical._scaling_allocation import AllocationEstimate, estimate_allocation
from empirical._scaling_forms import FORMS, Form
from empirical._scaling_search import Convergence, search
from empirical._scaling_words import constants_table, summary_lines, warnings_of
from empirical.scaling_back_test import BackTest, back_test
from empirical.scaling_bootstrap import Bootstrap, bootstrap_fit, natural_constants
from empirical.scaling_identifiability import (
    HOPELESS,
    PUBLISHED_AT,
    Identifiability,
    Refusal,
    design_refusals,
    identifiability,
)
from empirical.scaling_influence import Influence, influence
from empirical.scaling_points import ScalingPoints, points_from_table
from empirical.scaling_profiles import Profile, profile_likelihood, profile_symbols
from theory.scaling import HoffmannLaw, ScalingLaw
from theory.scaling_units import Unit
from theory.shapes import checked_integer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AllocationEstimate", "Convergence", "Refusal", "ScalingFit", "fit_scaling_law"]

PROFILED = ("E", "alpha", "beta", "a")


@dataclass(frozen=True, eq=False)
class ScalingFit:
    """A fitted law and what speaks for and against it; or no law, and the reasons.

    Attributes:
        form: the formula; `form.symbols` names theta's entries.
        points: the table.
        delta: of the Huber loss on residuals of ln L.
        theta: the minimum, NaN where the fit was refused, or the minimum is none, or no law.
        objective: the unscaled Huber sum there.
        law: the law of `theory.scaling`; None where the fit was refused or its constants are outside of what the law allows.
        refusals: why the table cannot carry this law, or why the minimum is none; empty otherwise.
        warnings: what weakens the fit, one line each.
        convergence: how the minimum was reached; None where nothing was fitted.
        identifiability: singular values of the Jacobian at the minimum (at published constants where nothing was fitted).
        influence: refits without the highest losses and without each size; None where not asked for.
        back_test: this form and its rivals fitted below a compute cut and judged above; None where nothing was fitted.
        bootstrap_pairs: refits of resampled points; None where not asked for.
        bootstrap_runs: refits of resampled runs, where some run has several points.
        profiles: symbol -> profile likelihood.
        level: of confidence, of every interval.
    """

    form: Form
    points: ScalingPoints
    delta: float
    theta: Float[np.ndarray, " parameters"]
    objective: float
    law: ScalingLaw | None
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]
    convergence: Convergence | None
    identifiability: Identifiability
    influence: Influence | None = None
    back_test: BackTest | None = None
    bootstrap_pairs: Bootstrap | None = None
    bootstrap_runs: Bootstrap | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)
    level: float = 0.95

    @property
    def constants(self) -> dict[str, float]:
        """The law's constants as the papers write them, with a and b of N_opt ~ C^a, D_opt ~ C^b; empty where nothing was
        fitted."""
        return natural_constants(self.form, self.theta) if np.isfinite(self.theta).all() else {}

    @property
    def residuals(self) -> Float[np.ndarray, " points"]:
        """Measured less predicted ln L; NaN where nothing was fitted."""
        where = self.points.log_parameters, self.points.log_tokens
        return self.points.log_loss - self.form.log_prediction(self.theta[None], *where)[0]

    def table(self) -> "pd.DataFrame":
        """Tidy: one row per constant and method; columns parameter, value, method, low, high, level, reason (of a missing or
        open end).

        A constant without any interval has one row, method "none".
        """
        return constants_table(self)

    def allocation(self, compute: float, level: float | None = None) -> AllocationEstimate:
        """The compute-optimal N and D at `compute` = 6 N D FLOP, with intervals (of runs where the runs are known, else of
        pairs).

        Raises ValueError where there is no law, or one without A, B, alpha and beta; for a budget that is not finite and > 0;
        for a level outside of (0, 1).
        """
        told = self.level if level is None else level
        check_level(told)
        if not isinstance(self.law, HoffmannLaw):
            legal = "a fitted law E + A / N^alpha + B / D^beta has an optimal allocation"
            raise ValueError(f"law = {self.form.name!r}{'' if self.law is not None else ', which was not fitted'}: {legal}")
        resampled = self.bootstrap_runs or self.bootstrap_pairs
        return estimate_allocation(self.law, resampled, compute, told, float(self.points.compute.max()))

    def summary(self) -> tuple[str, ...]:
        """The fit in lines of text: constants with intervals, how it was reached, what is weak."""
        return summary_lines(self)


def fit_scaling_law(
    points: "ScalingPoints | pd.DataFrame",
    law: str | Form = "hoffmann",
    *,
    delta: float = 1e-3,
    bootstraps: int = 500,
    level: float = 0.95,
    profiles: bool = True,
    influence: bool = True,
    back_tested: bool = True,
    back_test_cut: float | None = None,
    seed: int = 0,
    starts: Float[np.ndarray, "starts parameters"] | None = None,
    anyway: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> ScalingFit:
    """Fit a law to points and judge the fit.

    Args:
        points: trained models; a pandas table goes through `points_from_table`, which says in `points.dropped` what it left out.
        law: a form's name, one of `empirical._scaling_forms.FORMS`: "hoffmann", "tied" (alpha = beta), "no-floor" (E = 0),
            "kaplan" (the joint law), "kaplan-parameters", "kaplan-data", "kaplan-compute"; or a form.
        delta: where the Huber loss turns from square to straight, in ln L.
        bootstraps: resamples, of pairs and (where some run has several points) of runs; 0 for none.
        level: of confidence.
        profiles: whether to profile E, alpha, beta and a, those that the law has.
        influence: whether to refit without the highest losses and without each size.
        back_tested: whether to fit this form and its rivals below a compute cut and judge them above.
        back_test_cut: the cut, FLOP; None lets the table choose.
        seed: of every random draw.
        starts: starting values, (starts, parameters) in the form's symbols; None takes the form's grid (4,500 for "hoffmann").
        anyway: fit although the table cannot carry the law; the reasons become warnings. Losses that are
            all equal, and numbers too large to be worked with, stay refused.
        progress: called with (stage, done, all).

    Returns:
        The fit. Where the table cannot carry the law, one without law, with refusals.

    Raises:
        ValueError: no table, an unknown law, delta not > 0, bootstraps under 20 but not 0, another level, starts of another
            shape or not finite.
    """
    table = points if isinstance(points, ScalingPoints) else _table(points)
    form = _form(law)
    if not (np.isfinite(delta) and delta > 0):
        raise ValueError(f"delta = {delta:g}: finite numbers > 0 are legal")
    check_level(level)
    if checked_integer("bootstraps", bootstraps, 0) in range(1, 20):
        raise ValueError(f"bootstraps = {bootstraps}: 0 or at least 20 are legal")
    begin = form.starts() if starts is None else np.asarray(starts, dtype=np.float64)
    if begin.ndim != 2 or begin.shape[1] != form.num_parameters or not len(begin) or not np.isfinite(begin).all():
        legal = f"(at least 1, {form.num_parameters}) finite numbers are legal for {form.name!r}"
        raise ValueError(f"starts has shape {begin.shape}: {legal}")
    refusals = design_refusals(form, table)
    if refusals and (not anyway or any(one.what in HOPELESS for one in refusals)):
        return _refused(form, table, delta, level, refusals, None)
    theta, objective, convergence = search(form, table, begin, delta, seed, progress)
    fitted, failures = _law(form, theta, table, convergence)
    if failures:
        return _refused(form, table, delta, level, failures + (refusals if anyway else ()), convergence)
    parts: dict[str, Any] = {}
    if back_tested:
        rivals = ("hoffmann", "tied", "no-floor", "kaplan")
        forms = (form.name,) if form.name in FORMS and form.name not in rivals else rivals
        parts["back_test"] = back_test(table, cut=back_test_cut, forms=forms, delta=delta, level=level, seed=seed)
    parts |= _uncertainty(form, table, theta, delta, bootstraps, level, profiles, seed, progress)
    if influence:
        parts["influence"] = _influence(form, table, theta, delta=delta)
    fit = ScalingFit(
        form, table, delta, theta, objective, fitted, (), tuple(f"fitted anyway, {one}" for one in refusals), convergence,
        identifiability(form, table, theta), level=level, **parts,
    )  # fmt: skip
    return replace(fit, warnings=fit.warnings + warnings_of(fit))


_influence = influence  # the argument of `fit_scaling_law` has the same name


def _refused(
    form: Form, points: ScalingPoints, delta: float, level: float, refusals: tuple[Refusal, ...], convergence: Convergence | None
) -> ScalingFit:
    """A fit without anything that could be taken for a result."""
    nothing = np.full(form.num_parameters, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        before = identifiability(form, points, None if form.name in PUBLISHED_AT else nothing)
    fit = ScalingFit(form, points, delta, nothing, float("nan"), None, refusals, (), convergence, before, level=level)
    return replace(fit, warnings=warnings_of(fit))


def _table(points: Any) -> ScalingPoints:
    """Points from a pandas table. Raises ValueError for anything else."""
    if not (hasattr(points, "columns") and hasattr(points, "iloc")):
        raise ValueError(f"points = {type(points).__name__}: ScalingPoints or a pandas table are legal")
    return points_from_table(points)


def _form(law: str | Form) -> Form:
    if isinstance(law, Form):
        return law
    if law not in FORMS:
        raise ValueError(f"law = {law!r}: one of {', '.join(FORMS)} is legal")
    return FORMS[law]


def _law(
    form: Form, theta: Float[np.ndarray, " parameters"], points: ScalingPoints, convergence: Convergence
) -> tuple[ScalingLaw | None, tuple[Refusal, ...]]:
    """The law at the minimum, or why there is none."""
    if not convergence.converged:
        reason = f"no start ended where the gradient vanishes (it is {convergence.gradient_norm:.2g})"
        return None, (Refusal("no minimum", reason),)
    try:
        law = form.law(theta)
    except ValueError as error:
        return None, (Refusal("the minimum is no law", str(error)),)
    if isinstance(law, HoffmannLaw) and points.parameter_count == "non-embedding":
        law = replace(law, parameter_unit=Unit.NON_EMBEDDING_PARAMETERS)
    return law, ()


def _uncertainty(
    form: Form, points: ScalingPoints, theta: Float[np.ndarray, " parameters"], delta: float, bootstraps: int, level: float,
    profiles: bool, seed: int, progress: Callable[[str, int, int], None] | None,
) -> dict[str, Any]:  # fmt: skip
    """Both bootstraps and the profiles."""
    parts: dict[str, Any] = {}
    units = ["pairs"] if bootstraps else []
    if bootstraps and points.runs is not None and 1 < len(set(points.runs)) < points.num_points:
        units.append("runs")
    for unit in units:
        parts[f"bootstrap_{unit}"] = bootstrap_fit(
            form, points, theta, unit="runs" if unit == "runs" else "pairs", resamples=bootstraps, delta=delta,
            level=level, seed=seed, progress=_stage(f"bootstrap of {unit}", progress),
        )  # fmt: skip
    if profiles:
        names = [symbol for symbol in PROFILED if symbol in profile_symbols(form)] or list(profile_symbols(form))
        parts["profiles"] = {
            symbol: profile_likelihood(
                form, points, theta, symbol, level=level, delta=delta, progress=_stage(f"profile of {symbol}", progress)
            )
            for symbol in names
        }
    return parts


def _stage(name: str, progress: Callable[[str, int, int], None] | None) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(name, done, total)
