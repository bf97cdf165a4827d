"""Dana, Pydi and Chevaleyre 2025, *Memorization in Attention-only Transformers*: every statement, repairs beside those that fail.

In the paper's order: what encoders can express (`encoders`), ranks and associations (`ranks`), steps of proofs
(`proof_steps`), counts and their corollaries (`counts`), what a readout holds of random labels (`thresholds`), the experiments
(`experiments`). What is checked how is in the modules `_.._checks` beside them.
"""

from headcount.claims.claim import Claim
from headcount.claims.dana2025.counts import CLAIMS as COUNTS
from headcount.claims.dana2025.encoders import CLAIMS as ENCODERS
from headcount.claims.dana2025.experiments import CLAIMS as EXPERIMENTS
from headcount.claims.dana2025.proof_steps import CLAIMS as PROOF_STEPS
from headcount.claims.dana2025.ranks import CLAIMS as RANKS
from headcount.claims.dana2025.thresholds import CLAIMS as THRESHOLDS

CLAIMS: tuple[Claim, ...] = (*ENCODERS, *RANKS, *PROOF_STEPS, *COUNTS, *THRESHOLDS, *EXPERIMENTS)

__all__ = ["CLAIMS"]
