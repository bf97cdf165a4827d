"""How many random labels frozen heads and a solved readout hold: the threshold law, derived here, and where it stands."""

import numpy as np

from headcount.claims.claim import Claim, Kind
from headcount.claims.dana2025 import _threshold_checks as checks
from theory.ceilings import readout_ceiling
from theory.thresholds import codim, threshold_associations


def _isotropic(num_features: int, code: np.ndarray) -> float:
    found = codim(code)  # as the statement has it, for a code whose rows are no vertices too
    return num_features * found.code_dim / found.value


def _saddle(num_features: int, code: np.ndarray) -> float:
    return threshold_associations(num_features, code).value


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="dana2025/threshold-symmetric",
        number="derived here",
        title="Threshold of a readout, symmetric codes",
        kind=Kind.ASYMPTOTIC,
        statement=r"With $m = 40$ Gaussian features and a code of $r$ dimensions that is a circle or a regular simplex, half of "
        r"all tables of $T$ random labels are realizable by a linear readout at a $T$ within 5 per cent of "
        r"$m r / \mathrm{codim}$, "
        r"where $\mathrm{codim} = \mathrm{mean}_y\, E |g - P_{C_y} g|^2$.",
        assumptions=("Gaussian features in place of those of softmax heads",),
        formula=_isotropic,
        check=checks.symmetric_codes,
        code=("theory.thresholds.codim", "constructions.readout"),
        note="After Gardner 1988, Stojnic 2013 and Amelunxen, Lotz, McCoy and Tropp 2014; no proof for several outputs.",
    ),
    Claim(
        name="dana2025/threshold-any-code",
        number="derived here",
        title="Threshold of a readout, the same formula for any code",
        kind=Kind.ASYMPTOTIC,
        statement=r"The same holds for every code $U$, with $\mathrm{codim}$ computed from $U$ as it stands.",
        assumptions=("Gaussian features in place of those of softmax heads",),
        formula=_isotropic,
        check=checks.any_code,
        code=("theory.thresholds.codim",),
        note="Wrong in two ways. Codes U and U B have the same solutions but not the same codim, so it cannot hold for both. And "
        "a row in the convex hull of the others is never the strict argmax: half of all tables are realizable up to a number of "
        "sequences that does not grow with m.",
    ),
    Claim(
        name="dana2025/threshold-saddle",
        number="repairs the threshold for any code",
        title="Threshold of a readout, any code of hull vertices",
        kind=Kind.ASYMPTOTIC,
        statement=r"With $m = 40$ Gaussian features, half of all tables of $T$ random labels are realizable at a $T$ within 5 "
        r"per cent of $m \max_Q \min_P \mathrm{tr}(PQ) / \mathrm{mean}_y E \min_{x \in C_y} |Q^{1/2} g - x|_P^2$, "
        r"for every code each row of which is a vertex of the convex hull of all rows, equal to no other.",
        assumptions=(
            "Gaussian features in place of those of softmax heads",
            "each row of the code is a vertex of the code's convex hull: the strict argmax of some direction",
        ),
        formula=_saddle,
        check=checks.random_codes,
        repairs="dana2025/threshold-any-code",
        code=("theory.thresholds.threshold_ratio",),
        note="Derived by the replica calculation; equal to the symmetric formula where symmetry makes P = Q = I stationary. The "
        "prediction is itself a Monte Carlo estimate with a standard error of about 1 per cent, which the interval leaves out. "
        "Without the assumption the threshold does not grow with m, and the code gives 0.",
    ),
    Claim(
        name="dana2025/threshold-below-ceiling",
        number="derived here",
        title="Threshold below the count of cells",
        kind=Kind.UPPER,
        statement=r"For $N \ge 3$, $r \ge 2$ and $m \ge 2$ the threshold $T^*$ of uniformly random labels, by its formula, is at "
        r"most the largest $T$ with $N^T \le 2 \sum_{k < rm} \binom{T N (N - 1) / 2 - 1}{k}$, beyond which not all tables are "
        r"realizable.",
        assumptions=(
            "N >= 3, r >= 2, m >= 2",
            "each row of the code is a vertex of the code's convex hull: the strict argmax of some direction",
        ),
        formula=readout_ceiling,
        check=checks.below_the_ceiling,
        code=("theory.ceilings.readout_ceiling", "theory.thresholds.threshold_associations"),
        note="False outside. N = 3, r = 2, m = 1: T* = 2.4, but 2 is the largest T. N = 2, r = 1: all tables of m sequences are "
        "realizable but no more, and half of those of 2 m (Cover 1965). With N >= 3 on a line, r = 1, the rows between the ends "
        "are no vertices, and r m / codim is no threshold: for N = 3, m = 2 it is 3, but 2 is the largest T.",
    ),
)
