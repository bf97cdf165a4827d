"""How fast the max-margin problem is solved: seconds beside scipy's linear programmes, on the same problem written out plainly.

Plainly: all T (N - 1) constraints as a dense matrix with r m + 1 columns, `scipy.optimize.linprog` with method "highs" (its
default) and "highs-ds". The time of writing it out is not counted. Both certificates are ours, their gap is printed, and the
rival's optimum has to lie in the bracket, 1e-9 either way.

    python -m benchmarks.readout_speed
"""

import argparse
import time

import numpy as np
from scipy.optimize import linprog

from constructions.readout import max_margin
from theory.encoders import low_coherence_code

PROBLEMS = [  # N, T, r, m, in words
    (10, 61, 2, 36, "infeasible"),
    (10, 61, 2, 40, "near the threshold"),
    (10, 100, 2, 56, "infeasible"),
    (10, 100, 2, 66, "near the threshold"),
    (10, 100, 2, 76, "feasible"),
    (10, 160, 9, 40, "feasible"),
    (20, 150, 4, 70, "infeasible"),
    (20, 150, 4, 84, "near the threshold"),
    (20, 150, 4, 95, "feasible"),
]
WANTED = 5.0


def instance(vocab_size: int, count: int, rank: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([vocab_size, count, rank, size])
    features = np.linalg.qr(rng.standard_normal((count, size)))[0].T * np.sqrt(count)
    return features, rng.integers(vocab_size, size=count), low_coherence_code(vocab_size, rank, 0)


def plain(features: np.ndarray, labels: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
    rows = [np.kron(code[label] - other, feature)
            for feature, label in zip(features.T, labels, strict=True)
            for place, other in enumerate(code) if place != label]  # fmt: skip
    matrix = np.hstack([-np.array(rows), np.ones((len(rows), 1))])
    cost = np.zeros(matrix.shape[1])
    cost[-1] = -1.0
    bounds = [(-1, 1)] * (len(cost) - 1) + [(None, None)]
    return cost, {"A_ub": matrix, "b_ub": np.zeros(len(rows)), "bounds": bounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    ratios, wide, outside = [], 0.0, 0
    for vocab_size, count, rank, size, words in PROBLEMS:
        features, labels, code = instance(vocab_size, count, rank, size)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            found = max_margin(features, labels, code, solver="lp")
            times.append(time.perf_counter() - start)
        own = min(times)
        wide = max(wide, found.gap)
        proof = "proved " if found.proved_infeasible else ""
        print(
            f"N = {vocab_size}, T = {count}, r = {rank}, m = {size} ({words}): {proof}{found.decision}, "
            f"[{found.lower:.6g}, {found.upper:.6g}], gap {found.gap:.1e}, {own:.3f} s"
        )
        cost, arguments = plain(features, labels, code)
        for method in ("highs", "highs-ds"):
            start = time.perf_counter()
            rival = linprog(cost, method=method, **arguments)
            seconds = time.perf_counter() - start
            inside = rival.status == 0 and found.lower - 1e-9 <= -rival.fun <= found.upper + 1e-9
            outside += not inside
            ratios.append(seconds / own)
            print(f"    scipy {method}: {seconds:.3f} s, {seconds / own:.1f} times ours, optimum "
                  f"{'in the bracket' if inside else f'OUTSIDE ({rival.fun}, status {rival.status})'}")  # fmt: skip
    print(f"least ratio {min(ratios):.1f}, median {np.median(ratios):.1f}; widest gap {wide:.1e}; optima outside: {outside}")
    fast, narrow = min(ratios) >= WANTED, wide <= 1e-9
    print(f"at least {WANTED:.0f} times: {'yes' if fast else 'NO'}; gaps to 1e-9: {'yes' if narrow else 'NO'}")


if __name__ == "__main__":
    main()
