"""Does a law predict budgets it has not seen? Fit below a compute cut, predict above, several laws on the same split.

Predicting well does not certify constants: on the reconstructed points of Hoffmann et al. 2022 the fit below 1e20 FLOP predicts
the 104 points above within 1.1% though its a is .60 where all points give .51. A rival that predicts as well stays a rival: there
the law with one exponent for both, fitted worse below (.0077 against .0057 in log-RMSE), predicts better (.0102, .0114).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from empirical._scaling_forms import FORMS, Form
from empirical._scaling_noise import noise_scale
from empirical._scaling_points import ScalingPoints
from empirical._scaling_refits import constants_with_allocation, promising, random_starts, refit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BackTest", "back_test"]

NUM_STARTS = 32
"""Of the reconstructed points' refits a third of such starts, or more, end in the lowest minimum for each of the four laws."""
ROUNDING = 1e-9
"""Added to the width of every prediction interval: on a table without noise what is left of residuals is rounding."""


@dataclass(frozen=True, eq=False)
class BackTest:
    """Laws fitted below `cut` (FLOP) and judged above it.

    Attributes:
        cut: points with C < cut are fitted, the others predicted; NaN where no cut splits the table.
        level: of the prediction intervals.
        table: one row per form: form, num_in, num_out, log_rmse_in, log_rmse_out (root mean square of predicted less measured
            ln loss), bias_out (its mean: > 0 predicts too high a loss), coverage (share of the points above inside their
            prediction intervals, NaN where they have none), the law's constants and a, converged, reason ("" or why the row has
            no numbers), remark ("" or why it has no coverage).
        reason: why there is no back-test at all, or "".
    """

    cut: float
    level: float
    table: "pd.DataFrame"
    reason: str = ""

    @property
    def best(self) -> str | None:
        """The form with the lowest log-RMSE above the cut; None where no form has one."""
        errors = self.table["log_rmse_out"].to_numpy(dtype=float)
        return str(self.table["form"].iloc[int(np.nanargmin(errors))]) if np.isfinite(errors).any() else None

    @property
    def sentences(self) -> tuple[str, ...]:
        """The outcome in words, one sentence per form."""
        if self.reason:
            return (f"no back-test: {self.reason}",)
        said = list[str]()
        for row in self.table.to_dict("records"):
            if row["reason"]:
                said.append(f"{row['form']}: not judged, {row['reason']}")
                continue
            share = row["remark"] and f"no intervals: {row['remark']}"
            share = share or f"{row['coverage']:.0%} inside {self.level:.0%} intervals"
            said.append(
                f"{row['form']}: log-RMSE {row['log_rmse_in']:.4f} on {row['num_in']} points below {self.cut:.3g} FLOP, "
                f"{row['log_rmse_out']:.4f} on {row['num_out']} above, bias {row['bias_out']:+.4f}, "
                + share
                + (" (best)" if row["form"] == self.best else "")
            )
        return tuple(said)


def back_test(
    points: ScalingPoints,
    *,
    cut: float | None = None,
    forms: Sequence[str] = ("hoffmann", "tied", "no-floor", "kaplan"),
    delta: float = 1e-3,
    level: float = 0.95,
    seed: int = 0,
) -> BackTest:
    """Fit each form to the points below the cut and predict those at or above it.

    Prediction intervals are Student's: residual spread below the cut (degrees of freedom: points less constants) and what the
    linearised fit leaves open in the constants, by the covariance of the estimate that was made, close to least absolute
    deviations, with dependence inside runs where runs are known (`empirical._scaling_noise`; that has then as many degrees of
    freedom as runs less one). They assume that the law is right and its noise the same above. All points above share the error
    of the constants, so that coverage scatters far more than that of independent intervals: a low one on one table is a hint
    that law or noise change above the cut, no proof.

    Args:
        points: the table.
        cut: FLOP; None takes the gap of C nearest to three fifths of the points.
        forms: names among `empirical._scaling_forms.FORMS`.
        delta: of the Huber loss on log loss.
        level: of the prediction intervals, in (0, 1).
        seed: of the choice of starts.

    Returns:
        The back-test. A form whose constants the points below do not decide gets a row with its reason.

    Raises ValueError for an unknown form, none, or one twice; a cut or delta that is not finite and > 0; another level.
    """
    import pandas as pd

    if not forms or isinstance(forms, str) or len(set(forms)) < len(forms) or any(name not in FORMS for name in forms):
        raise ValueError(f"forms = {forms!r}: different names among {', '.join(FORMS)} are legal")
    for name, number in (("cut", cut), ("delta", delta)):
        if number is not None and not 0 < number < inf:
            raise ValueError(f"{name} = {number}: a finite number > 0 is legal")
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: a number in (0, 1) is legal")
    where = _middle_cut(points) if cut is None else float(cut)
    below = points.compute < where  # nothing is below NaN
    reason = ""
    if where != where:
        reason = "all points have the same compute"
    elif below.all():
        reason = f"no point has at least {where:.3g} FLOP, the largest has {points.compute.max():.3g}: nothing is left to predict"
    elif not below.any():
        reason = f"no point has less than {where:.3g} FLOP, the smallest has {points.compute.min():.3g}: nothing is left to fit"
    elif (inside := int(below.sum())) <= (fewest := min(FORMS[name].num_parameters for name in forms)):
        reason = f"{inside} of {points.num_points} points have less than {where:.3g} FLOP: more than {fewest} are needed to fit"
    rows = [_row(FORMS[name], points, below, delta, level, seed, reason) for name in forms]
    return BackTest(where, level, pd.DataFrame(rows), reason)


def _middle_cut(points: ScalingPoints) -> float:
    """The geometric middle of the gap between neighbouring C nearest to three fifths of the points; NaN without a gap."""
    logs = np.sort(np.log(points.compute))
    gaps = np.flatnonzero(np.diff(logs) > 1e-9)
    if not gaps.size:
        return nan
    place = gaps[np.argmin(np.abs(gaps + 1 - 0.6 * logs.size))]
    return float(np.exp(0.5 * (logs[place] + logs[place + 1])))


def _row(
    form: Form, points: ScalingPoints, below: np.ndarray, delta: float, level: float, seed: int, reason: str
) -> dict[str, Any]:
    """One form's row."""
    counts = {"form": form.name, "num_in": int(below.sum()), "num_out": int((~below).sum())}
    names = ("log_rmse_in", "log_rmse_out", "bias_out", "coverage")
    theta, converged = np.full(form.num_parameters, nan), False
    few = int(below.sum()) <= form.num_parameters
    reason = reason or (f"{int(below.sum())} points below the cut for {form.num_parameters} free constants" if few else "")
    if not reason:
        inside = points.select(below)
        everything = np.ones((1, inside.num_points))
        starts = promising(form, inside, random_starts(form, NUM_STARTS, seed), delta, seed)
        fit = refit(form, inside, everything, starts, delta)[0]
        theta, converged, reason = fit.theta, fit.converged, fit.reason
    numbers, remark = ((nan,) * 4, "") if reason else _judged(form, points, below, theta, level, delta)
    constants = constants_with_allocation(form, theta)
    return counts | dict(zip(names, numbers, strict=True)) | constants | {
        "converged": converged, "reason": reason, "remark": remark,
    }  # fmt: skip


def _judged(
    form: Form, points: ScalingPoints, below: np.ndarray, theta: Float[np.ndarray, " parameters"], level: float, delta: float
) -> tuple[tuple[float, float, float, float], str]:
    """log-RMSE below and above, bias and coverage above; and why there is no coverage, or ""."""
    prediction, jacobian = form.with_jacobian(theta[None], points.log_parameters, points.log_tokens)
    missed, slopes = prediction[0] - points.log_loss, jacobian[0]
    outside = missed[~below]
    errors = (sqrt(float(np.mean(missed[below] ** 2))), sqrt(float(np.mean(outside**2))), float(outside.mean()))
    widths, why = _widths(missed[below], slopes[below], slopes[~below], points.select(below).runs, level, delta)
    return (*errors, nan if why else float((np.abs(outside) <= widths).mean())), why


def _widths(
    missed: Float[np.ndarray, " below"],
    slopes: Float[np.ndarray, "below parameters"],
    ahead: Float[np.ndarray, "above parameters"],
    runs: tuple[str, ...] | None,
    level: float,
    delta: float,
) -> tuple[Float[np.ndarray, " above"], str]:
    """Half the width of each prediction interval, and why there are none, or ""."""
    if np.abs(missed).max() <= ROUNDING:
        return np.full(len(ahead), ROUNDING), ""
    groups = None if runs is None else np.unique(np.array(runs), return_inverse=True)[1].ravel()
    scale = noise_scale(missed, slopes, delta, groups)
    if scale.reason:
        return np.full(len(ahead), nan), scale.reason
    spread = float(missed @ missed) / (missed.size - slopes.shape[1])
    reach = np.einsum("ij,jk,ik->i", ahead, scale.covariance, ahead)
    return stats.t.ppf(0.5 + level / 2, scale.freedom) * np.sqrt(spread + np.maximum(reach, 0.0)) + ROUNDING, ""
