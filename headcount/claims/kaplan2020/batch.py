"""Section 5.1: steps, examples and the critical batch."""

from fractions import Fraction

from headcount.claims._printed import ROUNDED
from headcount.claims.claim import Claim, Kind
from headcount.claims.kaplan2020 import _allocation_checks as checks

TRADEOFFS = ("theory.training_tradeoffs",)
KAPLAN = ("theory.allocation.kaplan_allocation",)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="kaplan2020/batch-tradeoff",
        number="equations 5.4 and 5.5",
        title="Least steps and least compute from any batch",
        kind=Kind.TIGHT,
        statement=r"From $(S/S_{min} - 1)(E/E_{min} - 1) = 1$, $E = B S$ and $B_{crit} = E_{min}/S_{min}$ it follows that "
        r"$S_{min} = S / (1 + B_{crit}/B)$ and $C_{min} = C / (1 + B/B_{crit})$.",
        formula=lambda quantity, ratio: (quantity / (1 + 1 / ratio), quantity / (1 + ratio)),
        check=checks.batch_tradeoff,
        code=TRADEOFFS,
    ),
    Claim(
        name="kaplan2020/batch-critical",
        number="section 5.1",
        title="Twice the steps and twice the examples",
        kind=Kind.TIGHT,
        statement=r"At $B = B_{crit}$ training takes $2 S_{min}$ steps and $2 E_{min}$ examples.",
        formula=lambda: 2,
        check=checks.at_critical_batch,
        code=TRADEOFFS,
    ),
    Claim(
        name="kaplan2020/batch-doubling",
        number="figure 10",
        title="The critical batch doubles per 13% of loss",
        kind=Kind.TIGHT,
        statement=r"$B_{crit}$ doubles for each 13% by which the loss falls.",
        assumptions=(ROUNDED,),
        formula=lambda: 13,
        check=checks.batch_doubles,
        code=TRADEOFFS,
        note="With alpha_B = 0.21 exactly it is 13.5%, which rounds to 14.",
    ),
    Claim(
        name="kaplan2020/batch-exponent",
        number="section 6.1",
        title="The batch against compute",
        kind=Kind.TIGHT,
        statement=r"$B_{crit} \propto L^{-4.8}$ and $L \propto C_{min}^{-0.050}$ give $B_{crit} \propto C_{min}^{0.24}$.",
        formula=lambda: Fraction("0.24"),
        check=checks.batch_exponent,
        code=KAPLAN,
    ),
)
