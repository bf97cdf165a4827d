"""The fitted laws, the joint law of N and D, over-fitting, early stopping: sections 1.2, 3, 4 and 5.3."""

from fractions import Fraction

import sympy

from headcount.claims._printed import EXACT
from headcount.claims.claim import Claim, Kind
from headcount.claims.kaplan2020 import _law_checks as checks

NO_POINTS = (
    "The losses behind the fit were never published, so that nothing here can decide it; `headcount scaling fit` fits such a law "
    "to a table that the reader has."
)
RUNS = "Speaks of training runs of the paper, which are not repeated here at its size; "
SIZE_SCALE, DATA_SCALE, ALPHA_N, ALPHA_D = (
    checks.SIZE_SCALE, checks.DATA_SCALE, checks.ALPHA_N, checks.ALPHA_D,
)
FITS = (
    ("law-parameters", "equation 1.1, table 5", "Loss against parameters",
     r"Trained to convergence $L(N) = (N_c/N)^{0.076}$ with $N_c = 8.8 \cdot 10^{13}$, $N$ without embedding.",
     "theory.scaling.KaplanParametersLaw"),
    ("law-data", "equation 1.2, table 5", "Loss against tokens",
     r"Large models stopped early have $L(D) = (D_c/D)^{0.095}$ with $D_c = 5.4 \cdot 10^{13}$ tokens.",
     "theory.scaling.KaplanDataLaw"),
    ("law-compute", "section 3.3, table 5", "Loss against compute, batch fixed",
     r"At a batch of $2^{19}$ tokens the best model has $L(C) = (C_c/C)^{0.057}$, $C_c = 1.6 \cdot 10^7$ PF-days.",
     "theory.scaling.KaplanComputeLaw"),
    ("law-efficient-compute", "equation 1.3, table 5", "Loss against least compute",
     r"Allocated at best, $L(C_{min}) = (C_c/C_{min})^{0.050}$ with $C_c = 3.1 \cdot 10^8$ PF-days.",
     "theory.scaling.KaplanEfficientComputeLaw"),
    ("law-joint", "equation 1.5, table 2", "Loss against parameters and tokens",
     r"$L(N, D) = [(N_c/N)^{\alpha_N/\alpha_D} + D_c/D]^{\alpha_D}$ with $\alpha_N = 0.076$, $\alpha_D = 0.103$, "
     r"$N_c = 6.4 \cdot 10^{13}$, $D_c = 1.8 \cdot 10^{13}$.",
     "theory.scaling.KaplanJointLaw"),
    ("law-steps", "equation 1.6, table 3", "Loss against parameters and steps",
     r"$L(N, S_{min}) = (N_c/N)^{0.077} + (S_c/S_{min})^{0.76}$ with $N_c = 6.5 \cdot 10^{13}$, $S_c = 2.1 \cdot 10^3$.",
     "theory.scaling.KaplanStepsLaw"),
    ("law-critical-batch", "equation 5.3, table 5", "The critical batch",
     r"$B_{crit}(L) = B_* / L^{1/0.21}$ with $B_* = 2.1 \cdot 10^8$ tokens, whatever the size of the model.",
     "theory.scaling.CriticalBatchLaw"),
)
OBSERVED = (
    ("shape", "section 3.1", "Shape hardly matters",
     r"At equal $N$ an aspect ratio $d_{model}/n_{layer}$ over a factor of 40 changes the loss by 3% or less; a single layer "
     r"falls "
     r"off the curve.", "small transformers of several shapes can be trained by `headcount scaling train`."),
    ("seeds", "section 4.2", "Loss between seeds", r"Losses of equal models of different seeds vary by about 0.02.",
     "the runs of two seeds of `headcount scaling train` give that of small models."),
    ("recurrent", "section 3.2.1", "LSTMs stop improving with context",
     r"LSTMs do as well as transformers on early tokens and stop improving after about 100 tokens of context, transformers do "
     r"not "
     r"up to 1024.", "`headcount scaling train` measures loss against position for both, at small sizes and contexts of 256."),
    ("positions", "appendix D.5", "Loss against position",
     r"The loss falls as a power of the token's position, faster for larger models.",
     "`headcount scaling train` stores losses by position."),
    ("transfer", "section 3.2.2", "Transfer", r"Loss on other text is that on the training distribution plus a constant.",
     "no second corpus is at hand."),
)

CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            name=f"kaplan2020/{name}", number=number, title=title, kind=Kind.ASYMPTOTIC, statement=statement,
            formula=lambda **inputs: None, check=None, code=(code,), note=NO_POINTS,
        )
        for name, number, title, statement, code in FITS
    ),
    *(
        Claim(
            name=f"kaplan2020/{name}", number=number, title=title, kind=Kind.ASYMPTOTIC, statement=statement,
            formula=lambda **inputs: None, check=None, note=RUNS + note,
        )
        for name, number, title, statement, note in OBSERVED
    ),
    Claim(
        name="kaplan2020/compute-scale",
        number="figure 1 against table 5",
        title="One law of L(C_min), printed twice",
        kind=Kind.TIGHT,
        statement=r"The scale of $L(C_{min})$ is $2.3 \cdot 10^8$ PF-days in figure 1 and the same in table 5.",
        formula=lambda: Fraction("2.3"),
        check=checks.compute_scale,
        code=("theory.scaling.PUBLISHED",),
        note="Table 5 and the text have 3.1e8: a loss 1.5% higher everywhere.",
    ),
    Claim(
        name="kaplan2020/joint-headline",
        number="derived here, on tables 2 and 5",
        title="One exponent of data for both fits",
        kind=Kind.TIGHT,
        statement=r"The joint law has the exponent of $L(D)$, $\alpha_D = 0.095$.",
        formula=lambda table: Fraction(str(table["alpha_D"])),
        check=checks.joint_headline,
        code=("theory.scaling.PUBLISHED",),
        note="It has 0.103, another D_c and another N_c: the paper gives them openly as two fits. Limits of the joint law are "
        "the two laws "
        "in form, not in numbers. Each set is to be used as a whole; 0.076/0.095 would make the exponent 0.74 of over-fitting "
        "0.80.",
    ),
    Claim(
        name="kaplan2020/joint-limits",
        number="section 4.1, principle 2",
        title="Limits of the joint law",
        kind=Kind.TIGHT,
        statement=r"$L(N, D)$ tends to $(N_c/N)^{\alpha_N}$ for $D \to \infty$ and to $(D_c/D)^{\alpha_D}$ for $N \to \infty$.",
        formula=lambda scale, value, exponent: (scale / value) ** exponent,
        check=checks.joint_limits,
        code=("theory.scaling.KaplanJointLaw",),
    ),
    Claim(
        name="kaplan2020/joint-series",
        number="section 4.1, principle 3",
        title="A series in 1/D",
        kind=Kind.TIGHT,
        statement=r"At fixed $N$, with $u = (N_c/N)^{\alpha_N/\alpha_D}$, $L(N, D) = \sum_j \binom{\alpha_D}{j} "
        r"u^{\alpha_D - j} (D_c/D)^j$: whole powers of $1/D$ alone.",
        formula=lambda floor, scale, exponent, order: sympy.ff(exponent, order) / sympy.factorial(order)
        * floor ** (exponent - order) * scale**order,
        check=checks.joint_series,
        code=("theory.scaling.KaplanJointLaw",),
    ),
    Claim(
        name="kaplan2020/joint-tokenizer",
        number="section 4.1, principle 1",
        title="Another tokenizer rescales the scales",
        kind=Kind.TIGHT,
        statement=r"$\kappa L(N, D)$ is the same law with $\kappa^{1/\alpha_N} N_c$ and $\kappa^{1/\alpha_D} D_c$.",
        formula=lambda scale, exponent, factor: factor ** (1 / exponent) * scale,
        check=checks.joint_tokenizer,
        code=("theory.scaling.KaplanJointLaw",),
        note="So an overall factor on the loss is absorbed. That another tokenizer does no more than that is an assumption.",
    ),
    Claim(
        name="kaplan2020/overfitting",
        number="equation 4.3",
        title="Over-fitting",
        kind=Kind.TIGHT,
        statement=r"$\delta L = L(N,D)/L(N,\infty) - 1 = [1 + (N/N_c)^{\alpha_N/\alpha_D} D_c/D]^{\alpha_D} - 1$.",
        formula=lambda size, data: checks.overfitting_formula_of(size, data, SIZE_SCALE, DATA_SCALE, ALPHA_N, ALPHA_D),
        check=checks.overfitting_formula,
        code=("theory.training_tradeoffs",),
        note="Write-ups often print the ratio upside down, N_c/N.",
    ),
    Claim(
        name="kaplan2020/overfitting-variable",
        number="section 4.2",
        title="One combination of N and D",
        kind=Kind.TIGHT,
        statement=r"$\delta L$ depends on $N^{\alpha_N/\alpha_D} / D$ alone.",
        formula=lambda size, alpha_n, alpha_d: size ** (alpha_n / alpha_d),
        check=checks.overfitting_variable,
        code=("theory.training_tradeoffs",),
    ),
    Claim(
        name="kaplan2020/overfitting-exponent",
        number="equation 4.4, exponent",
        title="Data against size at equal over-fitting",
        kind=Kind.TIGHT,
        statement=r"The data needed for a given $\delta L$ grow as $N^{0.74}$.",
        formula=lambda: Fraction("0.74"),
        check=checks.overfitting_exponent,
        code=("theory.training_tradeoffs",),
    ),
    Claim(
        name="kaplan2020/overfitting-floor",
        number="equation 4.4",
        title="Data that 2% of over-fitting needs",
        kind=Kind.TIGHT,
        statement=r"$\delta L = 0.02$ at $D = 5 \cdot 10^3 N^{0.74}$, the factor to its one digit.",
        assumptions=("N from 768 to 1.5e9, the sizes of the paper",),
        formula=lambda: 5,
        check=checks.overfitting_floor,
        code=("theory.training_tradeoffs",),
        note="With exponents unrounded it is 5519 N^0.738. A floor against over-fitting, not a rule of allocation.",
    ),
    Claim(
        name="kaplan2020/overfitting-enough",
        number="derived here, on equation 4.4 as an inequality",
        title="Enough data for 2%, the printed factor taken exactly",
        kind=Kind.UPPER,
        statement=r"$D \ge 5 \cdot 10^3 N^{0.74}$ keeps $\delta L \le 0.02$.",
        assumptions=(EXACT,),
        formula=lambda: Fraction("0.02"),
        check=checks.overfitting_enough,
        code=("theory.training_tradeoffs",),
        note="The printed factor has one digit, and is right to it (overfitting-floor). Taken exactly it is a tenth too small: "
        "it leaves 2.2% at the smallest and 2.1% at the largest size.",
    ),
    Claim(
        name="kaplan2020/overfitting-enough-repaired",
        number="repairs overfitting-enough",
        title="Enough data for 2.2%",
        kind=Kind.UPPER,
        statement=r"$D \ge 5 \cdot 10^3 N^{0.74}$ keeps $\delta L \le 0.022$.",
        assumptions=(EXACT, "N from 768 to 1.5e9"),
        formula=lambda: Fraction("0.022"),
        check=checks.overfitting_enough,
        repairs="kaplan2020/overfitting-enough",
        code=("theory.training_tradeoffs",),
    ),
    Claim(
        name="kaplan2020/overfitting-webtext",
        number="section 4.2",
        title="What 22B tokens are enough for",
        kind=Kind.TIGHT,
        statement=r"WebText2's 22B tokens are enough, up to $\delta L = 0.02$, for $10^9$ parameters, to one digit.",
        formula=lambda: 1,
        check=checks.webtext,
        code=("theory.training_tradeoffs",),
        note="8.8e8 by the law, 9.5e8 by the printed floor.",
    ),
    Claim(
        name="kaplan2020/early-stopping",
        number="equation 5.7",
        title="Where the curve of infinite data passes the loss of finite data",
        kind=Kind.TIGHT,
        statement=r"$L(N, S) = L(N, \infty) + (S_c/S)^{\alpha_S}$ passes $L(N, D)$ at "
        r"$S_c / [L(N, D) - L(N, \infty)]^{1/\alpha_S}$.",
        formula=lambda scale, gap, exponent: scale / gap ** (1 / exponent),
        check=checks.early_stopping,
        code=("theory.training_tradeoffs",),
        note="The step of the inequality that is algebra; the rest is early-stopping-runs.",
    ),
    Claim(
        name="kaplan2020/early-stopping-runs",
        number="equation 5.7, as an inequality",
        title="No run should stop earlier",
        kind=Kind.LOWER,
        statement=r"The best step to stop at is at least $S_c / [L(N, D) - L(N, \infty)]^{1/\alpha_S}$.",
        assumptions=("on less data no step has a lower test loss than on infinite data",),
        formula=lambda scale, gap, exponent: scale / gap ** (1 / exponent),
        check=None,
        code=("theory.training_tradeoffs",),
        note="Follows from the assumption, which no proof gives and which would take runs to the end on several data sizes; the "
        "paper calls it a rough estimate.",
    ),
)
