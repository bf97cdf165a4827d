"""The claims ledger: every statement of the papers as data, with a check, a verdict and its evidence.

`ledger()` holds the claims, `run.verify` checks one, `records` keeps what earlier runs found. From the command line:
`headcount verify`. To add a paper: one module whose CLAIMS is a tuple of `Claim`, named in PAPERS; its records are in the file
of its name.
"""

from collections.abc import Sequence
from importlib import import_module

from headcount.claims.claim import Case, Check, Claim, Effort, Evidence, Inquiry, Interval, Kind, Method, Verdict, decide
from headcount.claims.run import Outcome, verify

__all__ = [
    "PAPERS",
    "Case",
    "Check",
    "Claim",
    "Effort",
    "Evidence",
    "Inquiry",
    "Interval",
    "Kind",
    "Method",
    "Outcome",
    "Verdict",
    "chosen",
    "decide",
    "ledger",
    "verify",
]

PAPERS = {
    "dana2025": "Dana, Pydi and Chevaleyre 2025, Memorization in Attention-only Transformers (AISTATS, arXiv 2411.10115)",
    "sanford2024": "Sanford, Hsu and Telgarsky 2024, Transformers, parallel computation, and logarithmic depth (ICML, "
    "arXiv 2402.09268)",
    "kaplan2020": "Kaplan et al. 2020, Scaling laws for neural language models (arXiv 2001.08361)",
    "hoffmann2022": "Hoffmann et al. 2022, Training compute-optimal large language models (NeurIPS, arXiv 2203.15556), and what "
    "others found of it",
    "havrilla2024": "Havrilla and Liao 2024, Understanding scaling laws with statistical and approximation theory for "
    "transformer neural networks on intrinsically low-dimensional data (NeurIPS, arXiv 2411.06646)",
    "scaling_lecture": "A lecture on scaling laws: a course's notes, without a published reference",
}
"""Papers by key."""


def ledger(paper: str | None = None) -> tuple[Claim, ...]:
    """All claims of a paper, or of all papers, in the order of the paper.

    Raises ValueError for a paper that is not in PAPERS.
    """
    if paper is not None and paper not in PAPERS:
        raise ValueError(f"paper = {paper!r}: {' or '.join(PAPERS)} is legal")
    claims: list[Claim] = []
    for key in PAPERS if paper is None else (paper,):
        claims.extend(import_module(f"headcount.claims.{key}").CLAIMS)
    return tuple(claims)


def chosen(names: Sequence[str], claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """The claims of these names, in the order of `claims`; all without a name. The paper's key may be left out where unique.

    Raises ValueError for a name that no claim has, with the nearest ones.
    """
    if not names:
        return tuple(claims)
    wanted = {_resolved(name, claims) for name in names}
    return tuple(claim for claim in claims if claim.name in wanted)


def _resolved(name: str, claims: Sequence[Claim]) -> str:
    from difflib import get_close_matches

    fitting = [claim.name for claim in claims if name in (claim.name, claim.name.partition("/")[2])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(f"claim {name!r}: is in several papers; legal are {', '.join(fitting)}")
    short = {claim.name.partition("/")[2]: claim.name for claim in claims}
    near = get_close_matches(name.rpartition("/")[2], list(short), n=3, cutoff=0.4)
    hint = f"; near are {', '.join(short[word] for word in near)}" if near else "; `headcount verify --list` names all"
    raise ValueError(f"claim {name!r}: there is none of that name{hint}")
