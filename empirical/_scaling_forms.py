"""The formulas that a scaling law can be fitted with: log loss as a function of unconstrained parameters, with its derivatives.

Every form is a log-sum-exp of straight lines in ln N and ln D, so its Jacobian and its curvature are closed (derived here): with
softmax weights w_k of the lines u_k = x_k . theta, the gradient is sum_k w_k x_k and the Hessian sum_k w_k x_k x_k^T minus
the gradient's outer product. A batch of parameter vectors is evaluated at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from theory.scaling_units import FLOPS_PER_PARAMETER_TOKEN, PF_DAY

LOG_PF_DAY = float(np.log(PF_DAY))
LOG_FLOPS_PER = float(np.log(FLOPS_PER_PARAMETER_TOKEN))


@dataclass(frozen=True)
class Form:
    """A formula for log loss with parameters `symbols`; subclasses give the formula, its Jacobian and, if they can, its
    curvature."""

    name: str
    symbols: tuple[str, ...]

    @property
    def num_parameters(self) -> int:
        return len(self.symbols)

    def amounts(
        self, log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> dict[int, Float[ndarray, " parameters"]]:
        """Logs of amounts that the loss is a plain sum of: index in theta -> direction c, so that c . theta is the log of
        that amount at the centre of the data. Steps are straighter in the amounts themselves (a floor of nearly nothing can
        grow at once)."""
        return {}

    def starts(self) -> Float[ndarray, "starts parameters"]:
        """The grid of starting values from which a fit without any knowledge begins."""
        raise NotImplementedError

    def log_prediction(
        self, theta: Float[ndarray, "batch parameters"], log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> Float[ndarray, "batch points"]:
        """Predicted log loss (nats per token) of every parameter vector at every point."""
        return self.with_jacobian(theta, log_n, log_d)[0]

    def with_jacobian(
        self, theta: Float[ndarray, "batch parameters"], log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> tuple[Float[ndarray, "batch points"], Float[ndarray, "batch points parameters"]]:
        """The prediction and its derivatives by the parameters."""
        raise NotImplementedError

    def curvature(
        self,
        theta: Float[ndarray, "batch parameters"],
        log_n: Float[ndarray, " points"],
        log_d: Float[ndarray, " points"],
        pull: Float[ndarray, "batch points"],
        prediction: Float[ndarray, "batch points"],
        jacobian: Float[ndarray, "batch points parameters"],
    ) -> Float[ndarray, "batch parameters parameters"]:
        """sum_i pull_i times the Hessian of the i-th prediction. Here by central differences; forms override it with what is
        exact."""
        hessian = np.empty((len(theta), self.num_parameters, self.num_parameters))
        for index in range(self.num_parameters):
            step = 1e-5 * np.maximum(1.0, np.abs(theta[:, index]))
            gradients = []
            for sign in (1.0, -1.0):
                moved = theta.copy()
                moved[:, index] += sign * step
                gradients.append((pull[:, None, :] @ self.with_jacobian(moved, log_n, log_d)[1])[:, 0, :])
            hessian[:, index, :] = (gradients[0] - gradients[1]) / (2 * step)[:, None]
        return (hessian + hessian.transpose(0, 2, 1)) / 2

    def constants(self, theta: Float[ndarray, " parameters"]) -> dict[str, float]:
        """The law's own constants, as the papers write them."""
        raise NotImplementedError

    def law(self, theta: Float[ndarray, " parameters"]) -> Any:
        """The law of `theory.scaling` with these constants; it raises ValueError where they are outside of what the law
        allows."""
        raise NotImplementedError


def _grid(*axes: tuple[float, ...]) -> Float[ndarray, "starts parameters"]:
    return np.array(list(product(*axes)), dtype=np.float64)


_EXPONENTS = (0.0, 0.5, 1.0, 1.5, 2.0)
_LOG_FLOORS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_LOG_SCALES = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0)


@dataclass(frozen=True)
class SumForm(Form):
    """L = A / N^alpha + B / D^beta (+ E), with the floor and the second exponent left out or tied as told."""

    floor: bool = True
    tied: bool = False

    def _indices(self) -> tuple[int, int]:
        """Where the exponents of N and of D stand in theta."""
        first = 3 if self.floor else 2
        return first, first if self.tied else first + 1

    def amounts(
        self, log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> dict[int, Float[ndarray, " parameters"]]:
        unit = np.eye(self.num_parameters)
        by_n, by_d = self._indices()
        logs = {0: unit[0] - log_n.mean() * unit[by_n], 1: unit[1] - log_d.mean() * unit[by_d]}
        return logs | {2: unit[2]} if self.floor else logs

    def starts(self) -> Float[ndarray, "starts parameters"]:
        """The published recipe's grid (Hoffmann et al. 2022, appendix D.3): 4,500 points for the full form."""
        floors, seconds = [_LOG_FLOORS] if self.floor else [], [] if self.tied else [_EXPONENTS]
        return _grid(_LOG_SCALES, _LOG_SCALES, *floors, _EXPONENTS, *seconds)

    def _terms(self, theta: ndarray, log_n: ndarray, log_d: ndarray, columns: ndarray) -> ndarray:
        """The prediction, (batch, points); the share of the loss of each term goes into columns[:, :2 or 3]."""
        by_n, by_d = self._indices()
        lines = [columns[:, index] for index in range(3 if self.floor else 2)]  # in place: fresh memory costs more than the sums
        for line, index, logs in ((lines[0], by_n, log_n), (lines[1], by_d, log_d)):
            np.multiply(theta[:, index, None], -logs, out=line)
        lines[0] += theta[:, :1]
        lines[1] += theta[:, 1:2]
        top = np.maximum(lines[0], lines[1])
        if self.floor:
            np.maximum(top, theta[:, 2:3], out=top)
            lines[2][:] = theta[:, 2:3]
        for line in lines:
            line -= top
            np.exp(line, out=line)
        total = lines[0] + lines[1]
        if self.floor:
            total += lines[2]
        for line in lines:
            line /= total
        np.log(total, out=total)
        total += top
        return total

    def log_prediction(
        self, theta: Float[ndarray, "batch parameters"], log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> Float[ndarray, "batch points"]:
        return self._terms(theta, log_n, log_d, np.empty((len(theta), 3, len(log_n))))

    def with_jacobian(
        self, theta: Float[ndarray, "batch parameters"], log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> tuple[Float[ndarray, "batch points"], Float[ndarray, "batch points parameters"]]:
        columns = np.empty((len(theta), self.num_parameters, len(log_n)))
        prediction = self._terms(theta, log_n, log_d, columns)
        by_n, by_d = self._indices()
        np.multiply(columns[:, 0], -log_n, out=columns[:, by_n])
        if self.tied:
            columns[:, by_d] -= columns[:, 1] * log_d
        else:
            np.multiply(columns[:, 1], -log_d, out=columns[:, by_d])
        return prediction, columns.transpose(0, 2, 1)

    def curvature(
        self,
        theta: Float[ndarray, "batch parameters"],
        log_n: Float[ndarray, " points"],
        log_d: Float[ndarray, " points"],
        pull: Float[ndarray, "batch points"],
        prediction: Float[ndarray, "batch points"],
        jacobian: Float[ndarray, "batch points parameters"],
    ) -> Float[ndarray, "batch parameters parameters"]:
        hessian = -(jacobian.transpose(0, 2, 1) * pull[:, None, :]) @ jacobian
        by_n, by_d = self._indices()
        for scale, exponent, logs in ((0, by_n, log_n), (1, by_d, log_d)):
            weighted = pull * jacobian[:, :, scale]
            hessian[:, scale, scale] += weighted.sum(1)
            first = weighted @ logs
            hessian[:, scale, exponent] -= first
            hessian[:, exponent, scale] -= first
            hessian[:, exponent, exponent] += weighted @ (logs * logs)
        if self.floor:
            hessian[:, 2, 2] += (pull * jacobian[:, :, 2]).sum(1)
        return hessian

    def constants(self, theta: Float[ndarray, " parameters"]) -> dict[str, float]:
        by_n, by_d = self._indices()
        floor = float(np.exp(theta[2])) if self.floor else 0.0
        return {
            "E": floor, "A": float(np.exp(theta[0])), "B": float(np.exp(theta[1])),
            "alpha": float(theta[by_n]), "beta": float(theta[by_d]),
        }  # fmt: skip

    def law(self, theta: Float[ndarray, " parameters"]) -> Any:
        from theory.scaling import HoffmannLaw

        constants: dict[str, Any] = {**self.constants(theta)}
        return HoffmannLaw(**constants)


@dataclass(frozen=True)
class AllocationForm(Form):
    """The full form with theta = (ln A, ln B, ln E, alpha, a), a = beta / (alpha + beta) the exponent of N_opt: for profiles
    of a."""

    _full: ClassVar[SumForm] = SumForm("hoffmann", ("a", "b", "e", "alpha", "beta"))

    def full_theta(self, theta: Float[ndarray, "batch parameters"]) -> Float[ndarray, "batch parameters"]:
        """The same law in the parameters of the form "hoffmann"."""
        full = theta.copy()
        full[:, 4] = theta[:, 3] * theta[:, 4] / (1 - theta[:, 4])
        return full

    def from_full(self, theta: Float[ndarray, "batch parameters"]) -> Float[ndarray, "batch parameters"]:
        """Parameters of the form "hoffmann" in this form's own."""
        own = theta.copy()
        own[:, 4] = theta[:, 4] / (theta[:, 3] + theta[:, 4])
        return own

    def starts(self) -> Float[ndarray, "starts parameters"]:
        full = self._full.starts()
        return self.from_full(full[(full[:, 3] > 0) & (full[:, 4] > 0)])

    def with_jacobian(
        self, theta: Float[ndarray, "batch parameters"], log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> tuple[Float[ndarray, "batch points"], Float[ndarray, "batch points parameters"]]:
        prediction, jacobian = self._full.with_jacobian(self.full_theta(theta), log_n, log_d)
        own = jacobian.transpose(0, 2, 1)  # the columns in memory, ours to change
        share = theta[:, 4, None]
        own[:, 3] += own[:, 4] * (share / (1 - share))
        own[:, 4] *= theta[:, 3, None] / (1 - share) ** 2
        return prediction, own.transpose(0, 2, 1)

    def curvature(
        self,
        theta: Float[ndarray, "batch parameters"],
        log_n: Float[ndarray, " points"],
        log_d: Float[ndarray, " points"],
        pull: Float[ndarray, "batch points"],
        prediction: Float[ndarray, "batch points"],
        jacobian: Float[ndarray, "batch points parameters"],
    ) -> Float[ndarray, "batch parameters parameters"]:
        """By the chain rule through beta = alpha a / (1 - a)."""
        alpha, share = theta[:, 3], theta[:, 4]
        by_alpha, by_share = share / (1 - share), alpha / (1 - share) ** 2
        # undoing the chain in the Jacobian would divide by alpha, which may be 0
        full = self.full_theta(theta)
        plain = self._full.with_jacobian(full, log_n, log_d)[1]
        inner = self._full.curvature(full, log_n, log_d, pull, prediction, plain)
        chain = np.tile(np.eye(5), (len(theta), 1, 1))
        chain[:, 4, 3], chain[:, 4, 4] = by_alpha, by_share
        hessian = chain.transpose(0, 2, 1) @ inner @ chain
        slope = (pull * plain[:, :, 4]).sum(1)
        hessian[:, 3, 4] += slope / (1 - share) ** 2
        hessian[:, 4, 3] += slope / (1 - share) ** 2
        hessian[:, 4, 4] += slope * 2 * alpha / (1 - share) ** 3
        return hessian

    def constants(self, theta: Float[ndarray, " parameters"]) -> dict[str, float]:
        return self._full.constants(self.full_theta(theta[None])[0])

    def law(self, theta: Float[ndarray, " parameters"]) -> Any:
        return self._full.law(self.full_theta(theta[None])[0])


@dataclass(frozen=True)
class KaplanForm(Form):
    """Kaplan et al. 2020, equation 1.5: L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D.

    theta = (c, d, q, s): ln L = s LSE(c - q ln N, d - ln D), so alpha_D = s, alpha_N = q s, D_c = e^d, N_c = e^(c/q).
    """

    def starts(self) -> Float[ndarray, "starts parameters"]:
        grid = _grid((20.0, 25.0, 30.0, 35.0), (20.0, 25.0, 30.0, 35.0), (0.25, 0.5, 1.0, 2.0), (0.05, 0.1, 0.2, 0.5))
        grid[:, 0] *= grid[:, 2]
        return grid

    def with_jacobian(
        self, theta: Float[ndarray, "batch parameters"], log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> tuple[Float[ndarray, "batch points"], Float[ndarray, "batch points parameters"]]:
        lines = theta[:, :1] - theta[:, 2:3] * log_n, theta[:, 1:2] - log_d
        sums = np.logaddexp(*lines)
        first, second = np.exp(lines[0] - sums), np.exp(lines[1] - sums)
        scale = theta[:, 3:4]
        columns = np.stack([scale * first, scale * second, -scale * first * log_n, sums], axis=1)
        return scale * sums, columns.transpose(0, 2, 1)

    def curvature(
        self,
        theta: Float[ndarray, "batch parameters"],
        log_n: Float[ndarray, " points"],
        log_d: Float[ndarray, " points"],
        pull: Float[ndarray, "batch points"],
        prediction: Float[ndarray, "batch points"],
        jacobian: Float[ndarray, "batch points parameters"],
    ) -> Float[ndarray, "batch parameters parameters"]:
        scale = theta[:, 3]
        safe = np.where(scale == 0, 1.0, scale)  # at a scale of exactly zero the inner lines have no pull at all
        inner = jacobian[:, :, :3] / safe[:, None, None]
        hessian = np.zeros((len(theta), 4, 4))
        hessian[:, :3, :3] = -(inner.transpose(0, 2, 1) * pull[:, None, :]) @ inner
        first, second = pull * inner[:, :, 0], pull * inner[:, :, 1]
        hessian[:, 0, 0] += first.sum(1)
        hessian[:, 1, 1] += second.sum(1)
        cross = first @ log_n
        hessian[:, 0, 2] -= cross
        hessian[:, 2, 0] -= cross
        hessian[:, 2, 2] += first @ (log_n * log_n)
        hessian[:, :3, :3] *= scale[:, None, None]
        mixed = (pull[:, None, :] @ inner)[:, 0, :]
        hessian[:, :3, 3] = mixed
        hessian[:, 3, :3] = mixed
        return hessian

    def constants(self, theta: Float[ndarray, " parameters"]) -> dict[str, float]:
        return {
            "N_c": _exponential(theta[0], theta[2]), "D_c": _exponential(theta[1], 1.0),
            "alpha_N": float(theta[2] * theta[3]), "alpha_D": float(theta[3]),
        }  # fmt: skip

    def law(self, theta: Float[ndarray, " parameters"]) -> Any:
        from theory.scaling import KaplanJointLaw

        return KaplanJointLaw(**self.constants(theta))


def _exponential(numerator: float, denominator: float) -> float:
    """e^(numerator/denominator), infinite where a float cannot hold it."""
    power = float(numerator) / float(denominator) if denominator != 0 else float("inf")
    return float(np.exp(power)) if power < 709.0 else float("inf")


@dataclass(frozen=True)
class LineForm(Form):
    """L = (X_c/X)^a for one quantity X: a straight line in logs, theta = (a ln X_c, a)."""

    quantity: str = "N"

    def _logs(self, log_n: ndarray, log_d: ndarray) -> ndarray:
        """ln X; compute is 6 N D in PF-days, Kaplan's unit."""
        match self.quantity:
            case "N":
                return log_n
            case "D":
                return log_d
            case _:
                return log_n + log_d + (LOG_FLOPS_PER - LOG_PF_DAY)

    def starts(self) -> Float[ndarray, "starts parameters"]:
        return _grid(_LOG_SCALES, _EXPONENTS)

    def with_jacobian(
        self, theta: Float[ndarray, "batch parameters"], log_n: Float[ndarray, " points"], log_d: Float[ndarray, " points"]
    ) -> tuple[Float[ndarray, "batch points"], Float[ndarray, "batch points parameters"]]:
        logs = self._logs(log_n, log_d)
        columns = np.empty((len(theta), 2, len(logs)))
        columns[:, 0], columns[:, 1] = 1.0, -logs
        return theta[:, :1] - theta[:, 1:2] * logs, columns.transpose(0, 2, 1)

    def curvature(
        self,
        theta: Float[ndarray, "batch parameters"],
        log_n: Float[ndarray, " points"],
        log_d: Float[ndarray, " points"],
        pull: Float[ndarray, "batch points"],
        prediction: Float[ndarray, "batch points"],
        jacobian: Float[ndarray, "batch points parameters"],
    ) -> Float[ndarray, "batch parameters parameters"]:
        return np.zeros((len(theta), 2, 2))

    def constants(self, theta: Float[ndarray, " parameters"]) -> dict[str, float]:
        return {f"{self.quantity}_c": _exponential(theta[0], theta[1]), f"alpha_{self.quantity}": float(theta[1])}

    def law(self, theta: Float[ndarray, " parameters"]) -> Any:
        from theory import scaling

        laws: dict[str, Callable[..., Any]] = {
            "N": scaling.KaplanParametersLaw, "D": scaling.KaplanDataLaw, "C": scaling.KaplanComputeLaw,
        }  # fmt: skip
        return laws[self.quantity](**self.constants(theta))


HOFFMANN_BY_ALLOCATION = AllocationForm("hoffmann by allocation", ("a", "b", "e", "alpha", "allocation"))

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        SumForm("hoffmann", ("a", "b", "e", "alpha", "beta")),
        SumForm("tied", ("a", "b", "e", "alpha"), tied=True),
        SumForm("no-floor", ("a", "b", "alpha", "beta"), floor=False),
        KaplanForm("kaplan", ("c", "d", "q", "s")),
        LineForm("kaplan-parameters", ("c", "alpha_N"), quantity="N"),
        LineForm("kaplan-data", ("c", "alpha_D"), quantity="D"),
        LineForm("kaplan-compute", ("c", "alpha_C"), quantity="C"),
    )
}
