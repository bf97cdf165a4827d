"""Losses that a fitted law predicts, for curves."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from empirical.scaling_fits import ScalingFit



Predictor = Callable[[Float[np.ndarray, " points"], Float[np.ndarray, " points"]], Float[np.ndarray, " points"]]


def predictor(fit: "ScalingFit") -> Predictor | None:
    """(N, D) -> loss in nats per token at the fitted constants; None where the fit was refused."""
    if fit.law is None:
        return None
    theta = np.asarray(fit.theta, dtype=np.float64)[None, :]

    def predicted(
        parameters: Float[np.ndarray, " points"], tokens: Float[np.ndarray, " points"]
    ) -> Float[np.ndarray, " points"]:
        logs = fit.form.log_prediction(theta, np.log(parameters), np.log(tokens))
        return np.exp(np.asarray(logs, dtype=np.float64)[0])

    return predicted
