"""How long fits of the five-constant law take: the whole grid of starts and the bootstrap, against one scipy L-BFGS-B run per
start.

The rival runs the same objective from a sample of the same starts: with the analytic gradient, and with numerical gradients
as in the published replications. Its time is scaled to the whole grid. A table is read from a CSV with N, C or D, and loss;
without one 240 points are drawn from a published law.

    python -m benchmarks.scaling_fit_speed [POINTS.csv "N=Model Size,C=Training FLOP,L=loss"] [--rivals 30]
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from empirical._scaling_engine import huber_sum
from empirical._scaling_forms import FORMS
from empirical._scaling_hands import minimise_by_hands
from empirical._scaling_search import TOLERANCE
from empirical.scaling_bootstrap import bootstrap_fit
from empirical.scaling_points import ScalingPoints, parse_columns, read_points
from theory.scaling import PUBLISHED

DELTA = 1e-3


def synthetic() -> ScalingPoints:
    """240 points of the law of Besiroglu et al. 2024 with half a per cent of noise."""
    generator = np.random.default_rng(0)
    parameters, tokens = 10 ** generator.uniform(8, 10, 240), 10 ** generator.uniform(9.5, 11.5, 240)
    loss = PUBLISHED["besiroglu2024"].law(N=parameters, D=tokens)
    return ScalingPoints.of(parameters, tokens, loss * np.exp(0.005 * generator.standard_normal(240)))


def rival(data: tuple[np.ndarray, ...], starts: np.ndarray, analytic: bool) -> tuple[float, np.ndarray]:
    """Seconds per start and objectives of single L-BFGS-B runs, sum objective, tight tolerances."""
    form, one = FORMS["hoffmann"], np.array([[DELTA]])

    def value(theta: np.ndarray) -> float:
        return float(huber_sum(form.log_prediction(theta[None], *data[:2]) - data[2], np.ones((1, 1)), one)[0])

    def both(theta: np.ndarray) -> tuple[float, np.ndarray]:
        prediction, jacobian = form.with_jacobian(theta[None], *data[:2])
        pull = np.clip(prediction - data[2], -DELTA, DELTA)
        return float(huber_sum(prediction - data[2], np.ones((1, 1)), one)[0]), (pull @ jacobian[0])[0]

    began = time.perf_counter()
    options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-10}
    function = both if analytic else value
    found = [minimize(function, start, jac=analytic, method="L-BFGS-B", options=options).fun for start in starts]
    return (time.perf_counter() - began) / len(starts), np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="?", type=Path)
    parser.add_argument("columns", nargs="?", default=None)
    parser.add_argument("--rivals", type=int, default=30, help="starts that the rivals run from")
    parser.add_argument("--resamples", type=int, default=500)
    told = parser.parse_args()
    points = synthetic() if told.points is None else read_points(told.points, told.columns and parse_columns(told.columns))
    form, data = FORMS["hoffmann"], (points.log_parameters, points.log_tokens, points.log_loss)
    starts = form.starts()
    began, worked = time.perf_counter(), time.process_time()
    found = minimise_by_hands(form, *data, starts, delta=DELTA, tolerance=TOLERANCE)
    ours, worked = time.perf_counter() - began, time.process_time() - worked
    best = found.best
    at_best = int((found.objective <= found.objective[best] * (1 + 1e-6)).sum())
    constants = ", ".join(f"{symbol} {value:.6g}" for symbol, value in form.constants(found.theta[best]).items())
    print(f"{len(starts)} starts, {points.num_points} points: {ours:.1f} s ({worked:.1f} s of processor time)")
    print(f"{found.converged.sum()} converged, {at_best} at best")
    print(f"objective {found.objective[best]:.8g}: {constants}")
    began = time.perf_counter()
    bootstrap = bootstrap_fit(form, points, found.theta[best], resamples=told.resamples)
    print(f"{told.resamples} resamples: {time.perf_counter() - began:.1f} s, {bootstrap.num_failed} failed")
    sample = starts[np.random.default_rng(1).permutation(len(starts))[: told.rivals]]
    for analytic, name in ((True, "analytic"), (False, "numerical")):
        seconds, objectives = rival(data, sample, analytic)
        reached = int((objectives <= found.objective[best] * (1 + 1e-6)).sum())
        print(
            f"scipy L-BFGS-B, {name} gradient: {seconds * len(starts):.0f} s for {len(starts)} starts (from {told.rivals}), "
            f"{seconds * len(starts) / ours:.1f} times ours; {reached} of {told.rivals} at best, lowest {objectives.min():.8g}"
        )


if __name__ == "__main__":
    main()
