"""Hoffmann et al. 2022, *Training compute-optimal large language models*: statements, repairs, and what others found of them.

The allocation (`allocation`), the fits and their intervals (`fits`), laws that build on theirs (`extensions`). Statements of
Besiroglu, Sardana, Muennighoff, Gadre and Porian are marked as derived, after whom. The points behind the fits are not part of
this project: what rests on them is not checked, and says by which command it can be.
"""

from headcount.claims.claim import Claim
from headcount.claims.hoffmann2022.allocation import CLAIMS as ALLOCATION
from headcount.claims.hoffmann2022.extensions import CLAIMS as EXTENSIONS
from headcount.claims.hoffmann2022.fits import CLAIMS as FITS

CLAIMS: tuple[Claim, ...] = (*ALLOCATION, *FITS, *EXTENSIONS)

__all__ = ["CLAIMS"]
