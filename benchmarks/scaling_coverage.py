"""How often the intervals of scaling-law fits hold the truth: profile likelihood and percentile bootstrap, on synthetic tables.

Tables are drawn from Hoffmann's law with the constants of Besiroglu et al. 2024: N and D log-uniform over two decades each, 60 or
240 points, 0.5% or 2% noise on the log loss. Every table is fitted from 24 starts of the published grid, without a look at the
truth. Designs:

    even      Gaussian noise, alike everywhere: the four cells that are promised to lie between 90% and 99%
    heavy     Student noise with 3 degrees of freedom
    unequal   Gaussian noise, 5 times as large at the smallest models as at the largest in either direction of its mean
    runs      12 points a run, one N for each, half of the noise's variance common to a run; the bootstrap draws runs

Every cell is printed with its Clopper-Pearson interval; the exit code is 1 if an even cell of profile likelihood, the interval to
trust, lies outside (percentiles of the bootstrap are too long with 60 points). Tables that are done are read from the CSV, so
that a run that was stopped goes on.

    python -m benchmarks.scaling_coverage                            # 200 tables a cell, even: some 20 minutes on one quiet core
    python -m benchmarks.scaling_coverage --quick                    # 20 tables, 60 points
    python -m benchmarks.scaling_coverage --designs even heavy unequal runs
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from empirical._scaling_engine import minimise
from empirical._scaling_forms import FORMS
from empirical.scaling_bootstrap import bootstrap_fit, natural_constants
from empirical.scaling_points import ScalingPoints
from empirical.scaling_profiles import profile_likelihood

TRUTH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
SYMBOLS = ("E", "A", "B", "alpha", "beta", "a")
DESIGNS = ("even", "heavy", "unequal", "runs")
COLUMNS = ["design", "points", "noise", "table", "method", "symbol", "truth", "estimate", "low", "high", "covered", "reason"]
POINTS_PER_RUN = 12
BOUNDS = (0.90, 0.99)
ENOUGH = 200  # tables; with fewer a cell is outside only if its whole Clopper-Pearson interval is


def synthetic(design: str, num_points: int, noise: float, table: int) -> ScalingPoints:
    """One table; its number is its seed."""
    generator = np.random.default_rng([DESIGNS.index(design), num_points, round(noise * 1e4), table])
    log_n = np.log(1e8) + generator.uniform(size=num_points) * np.log(100)
    log_d = np.log(1e9) + generator.uniform(size=num_points) * np.log(100)
    error, runs = generator.standard_normal(num_points), None
    if design == "heavy":
        error = generator.standard_t(3, num_points)
    elif design == "unequal":
        error *= 5 ** (1 - (log_n - np.log(1e8)) / (0.5 * np.log(100)))
    elif design == "runs":
        member = np.arange(num_points) // POINTS_PER_RUN
        log_n, runs = log_n[member * POINTS_PER_RUN], tuple(f"run {number}" for number in member)
        error = np.sqrt(0.5) * (error + generator.standard_normal(num_points)[member])
    sizes, tokens = np.exp(log_n), np.exp(log_d)
    loss = TRUTH["E"] + TRUTH["A"] / sizes ** TRUTH["alpha"] + TRUTH["B"] / tokens ** TRUTH["beta"]
    return ScalingPoints.of(sizes, tokens, loss * np.exp(noise * error), runs=runs)


def judged(design: str, num_points: int, noise: float, table: int, resamples: int) -> list[list[object]]:
    """The rows of one table: a row for each method and constant."""
    form = FORMS["hoffmann"]
    points = synthetic(design, num_points, noise, table)
    generator = np.random.default_rng([1, table])
    starts = form.starts()
    found = minimise(
        form, points.log_parameters, points.log_tokens, points.log_loss,
        starts[generator.choice(len(starts), 24, replace=False)], tolerance=1e-7,
    )  # fmt: skip
    theta = found.theta[found.best]
    truth = TRUTH | {"a": TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])}
    estimate = natural_constants(form, theta)
    drawn = bootstrap_fit(form, points, theta, unit="runs" if design == "runs" else "pairs", resamples=resamples, seed=table)
    rows: list[list[object]] = []
    for symbol in SYMBOLS:
        profile = profile_likelihood(form, points, theta, symbol)
        percentile = drawn.interval(symbol)
        told = "; ".join(drawn.warnings)
        for method, low, high, reason in (
            ("profile", profile.low, profile.high, profile.reason), ("bootstrap", percentile.low, percentile.high, told)
        ):  # fmt: skip
            rows.append([
                design, num_points, noise, table, method, symbol, truth[symbol], estimate[symbol], low, high,
                bool(low <= truth[symbol] <= high), reason.replace(",", ";"),
            ])  # fmt: skip
    return rows


def stored(path: Path) -> pd.DataFrame:
    """What is done, whole tables only; the rest of a table that was cut off is done again."""
    if not path.exists() or not path.stat().st_size:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.read_csv(path, on_bad_lines="skip", keep_default_na=False, na_values={"low": [""], "high": [""]})
    whole = found.groupby(["design", "points", "noise", "table"])["symbol"].transform("count") == 2 * len(SYMBOLS)
    return found[whole]


def report(done: pd.DataFrame) -> bool:
    """Print every cell; whether all even ones lie within the bounds."""
    fine = True
    print("design   points  noise  method     symbol  tables  covered            95% interval   median width / truth   open ends")
    for key, cell in done.groupby(["design", "points", "noise", "method", "symbol"], sort=True):
        design, num_points, noise, method, symbol = key
        hits, tables = int((cell["covered"].astype(str) == "True").sum()), len(cell)
        low, high = stats.binomtest(hits, tables).proportion_ci(method="exact")
        truth, widths = float(cell["truth"].iloc[0]), cell["high"].astype(float) - cell["low"].astype(float)
        reached = (hits / tables, hits / tables) if tables >= ENOUGH else (float(low), float(high))
        within = reached[0] <= BOUNDS[1] and reached[1] >= BOUNDS[0]
        fine &= within or design != "even" or method != "profile"
        opened = int((~np.isfinite(widths) | (cell["low"].astype(float) <= 0)).sum())
        print(
            f"{design:8} {num_points:6d} {noise:6.1%}  {method:9}  {symbol:6} {tables:7d}   {hits / tables:6.1%}   "
            f"[{low:6.1%}, {high:6.1%}] {widths.median() / truth:22.3f} {opened:11d}{'' if within else '   OUTSIDE'}"
        )
    return fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--designs", nargs="*", choices=DESIGNS, default=["even"])
    parser.add_argument("--tables", type=int, default=None, help="per cell (200; 20 with --quick)")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("results") / "scaling_coverage.csv")
    args = parser.parse_args()
    tables = args.tables or (20 if args.quick else 200)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    done = stored(args.out)
    done.to_csv(args.out, index=False, columns=COLUMNS)
    known = set(zip(done["design"], done["points"], done["noise"], done["table"], strict=True))
    begun = time.perf_counter()
    cells = list(itertools.product(args.designs, (60,) if args.quick else (60, 240), (0.005, 0.02)))
    for table, (design, num_points, noise) in itertools.product(range(tables), cells):
        if (design, num_points, noise, table) not in known:
            rows = pd.DataFrame(judged(design, num_points, noise, table, args.resamples), columns=COLUMNS)
            rows.to_csv(args.out, mode="a", header=False, index=False)
    done = stored(args.out)
    wanted = done["design"].isin(args.designs) & (done["table"] < tables) & done["points"].isin([cell[1] for cell in cells])
    fine = report(done[wanted])
    print(f"{time.perf_counter() - begun:.0f} s; all rows in {args.out}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
