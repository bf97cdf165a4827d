"""Sanford, Hsu and Telgarsky 2024, *Transformers, parallel computation, and logarithmic depth*: statements, and repairs.

Parallel computation and attention (`rounds`), the heads of Appendix D (`lemmas`), hop_k and Theorem 4.2 (`hops`), the
experiments (`experiments`). `_printed` runs what the paper prints by exact hardmax attention, apart from all that this project
builds; what is checked how is in the modules `_.._checks`.
"""

from headcount.claims.claim import Claim
from headcount.claims.sanford2024.experiments import CLAIMS as EXPERIMENTS
from headcount.claims.sanford2024.hops import CLAIMS as HOPS
from headcount.claims.sanford2024.lemmas import CLAIMS as LEMMAS
from headcount.claims.sanford2024.rounds import CLAIMS as ROUNDS

CLAIMS: tuple[Claim, ...] = (*ROUNDS, *LEMMAS, *HOPS, *EXPERIMENTS)

__all__ = ["CLAIMS"]
