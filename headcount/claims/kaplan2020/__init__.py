"""Kaplan et al. 2020, *Scaling laws for neural language models*: statements, and repairs.

Counting (`counting`), the laws and over-fitting (`laws`), the critical batch (`batch`), the
allocation of compute (`allocation`). Fits to losses that were never
published are not checked; what the paper derives from them is, from its printed constants. `_.._checks` say how.
"""

from headcount.claims.claim import Claim
from headcount.claims.kaplan2020.allocation import CLAIMS as ALLOCATION
from headcount.claims.kaplan2020.batch import CLAIMS as BATCH
from headcount.claims.kaplan2020.counting import CLAIMS as COUNTING
from headcount.claims.kaplan2020.laws import CLAIMS as LAWS

CLAIMS: tuple[Claim, ...] = (*COUNTING, *LAWS, *BATCH, *ALLOCATION)

__all__ = ["CLAIMS"]
