"""Havrilla and Liao 2024: statements on transformers for data on a manifold, what follows from them, and tests of both.

Exponents (`rates`), networks built (`networks`) and trained (`trained`), intrinsic dimension (`dimensions`), what was observed
on text (`observed`); `_.._checks` say how. Where a statement was only recalled of the paper its note says so.
"""

from headcount.claims.claim import Claim
from headcount.claims.havrilla2024.dimensions import CLAIMS as DIMENSIONS
from headcount.claims.havrilla2024.networks import CLAIMS as NETWORKS
from headcount.claims.havrilla2024.observed import CLAIMS as OBSERVED
from headcount.claims.havrilla2024.rates import CLAIMS as RATES
from headcount.claims.havrilla2024.trained import CLAIMS as TRAINED

CLAIMS: tuple[Claim, ...] = (*RATES, *NETWORKS, *TRAINED, *DIMENSIONS, *OBSERVED)

__all__ = ["CLAIMS"]
