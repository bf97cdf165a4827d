"""Exponents of scaling laws from d and beta: theorems 1 and 2, what follows from them, and what published fits say of it."""

from fractions import Fraction

import sympy

from headcount.claims.claim import Claim, Kind
from headcount.claims.havrilla2024 import _rate_checks as checks

RATES = "theory.manifold_rates"
RECALLED = "Recalled of the paper, not checked against its text. "
PREMISES = (
    "a class of transformers of eps^(-d/beta) parameters has an error of eps (theorem 2)",
    "the logarithm of the covering number of that class is of the order of its parameters, powers of logarithms left out",
    "the risk of the estimator is at most of the order of squared bias plus that logarithm over n",
)
ON_FITS = "derived here, on published fits"
EXPONENTS = {
    "data": ("0.2857", "0.2000", "0.1667", "0.1429", "0.1176", "0.0909", "0.0625"),
    "model": ("0.4000", "0.2500", "0.2000", "0.1667", "0.1333", "0.1000", "0.0667"),
}
IMPLIED = {
    ("Kaplan et al. 2020", "parameters"): "26", ("Kaplan et al. 2020", "data"): "19",
    ("Besiroglu et al. 2024", "parameters"): "5.8", ("Besiroglu et al. 2024", "data"): "3.5",
}


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="havrilla2024/data-exponent",
        number="theorem 1, exponent",
        title="The error falls with samples as n^(-2 beta/(2 beta + d)) at least",
        kind=Kind.CONDITIONAL,
        granted=Kind.LOWER,
        statement=r"$E \|T_n - f\|^2 \le C n^{-2\beta/(2\beta + d)}$ up to powers of $\ln n$, for the estimator of least "
        r"squared error over a class of transformers of the right size, data on a $d$-dimensional manifold, $f$ of Hoelder "
        r"smoothness $\beta$.",
        assumptions=PREMISES,
        formula=lambda d, beta: 2 * beta / (2 * beta + d),
        check=checks.data_exponent,
        code=(f"{RATES}.data_exponent", f"{RATES}.derive_rates"),
        note="What is checked is the step from the premises to the exponent. They bound the error from above, so that the "
        "exponent is that or larger; a lower bound on errors, which would make it exact, is no part of them. That beta is at "
        "most 1, that the noise is sub-Gaussian and the forms of the premises are recalled of the paper, not checked against its "
        "text. That training finds such an estimator is no part of the theorem.",
    ),
    Claim(
        name="havrilla2024/prefactor",
        number="theorem 1, constant",
        title="The constant of the rate in samples",
        kind=Kind.UPPER,
        statement=r"The constant grows as $D d^2$ with the ambient dimension $D$, besides what is exponential in $d$ in the "
        r"covering of the manifold.",
        formula=lambda: 1,
        check=None,
        note=RECALLED + "No worst case over a class of transformers can be measured here, so that nothing decides it.",
    ),
    Claim(
        name="havrilla2024/best-size",
        number="theorem 1, size of the network",
        title="The size to choose grows as n^(d/(2 beta + d))",
        kind=Kind.CONDITIONAL,
        granted=Kind.TIGHT,
        statement=r"Tokens and heads of the network for which the bound on the risk from $n$ samples is least grow as "
        r"$n^{d/(2\beta + d)}$.",
        assumptions=PREMISES,
        formula=lambda d, beta: d / (2 * beta + d),
        check=checks.best_size,
        code=(f"{RATES}.estimation_size",),
        note=RECALLED + "The exponent is derived here all the same, from the premises.",
    ),
    Claim(
        name="havrilla2024/model-exponent",
        number="theorem 2, as an exponent",
        title="The error falls with parameters as P^(-2 beta/d) at least",
        kind=Kind.CONDITIONAL,
        granted=Kind.LOWER,
        statement=r"The least squared error of networks of $P$ parameters falls with an exponent in $P$ of $2\beta/d$ at least.",
        assumptions=PREMISES[:1],
        formula=lambda d, beta: 2 * beta / d,
        check=checks.model_exponent,
        code=(f"{RATES}.model_exponent", f"{RATES}.derive_rates"),
        note="The premise says that such networks exist, so that the exponent is that or larger; that none is better would take "
        "a lower bound on errors.",
    ),
    Claim(
        name="havrilla2024/exponents-table",
        number="derived here, beta = 1",
        title="Exponents of seven dimensions",
        kind=Kind.TIGHT,
        statement=r"With $\beta = 1$ and $d = 5, 8, 10, 12, 15, 20, 30$ the data exponent is .2857, .2000, .1667, .1429, "
        r".1176, .0909, .0625 and the model exponent .4000, .2500, .2000, .1667, .1333, .1000, .0667.",
        formula=lambda kind, place: Fraction(EXPONENTS[kind][place]),
        check=checks.table,
        code=(f"{RATES}.data_exponent", f"{RATES}.model_exponent"),
        note="That language models are taken as beta = 1 is recalled of the paper, not checked against its text.",
    ),
    Claim(
        name="havrilla2024/cross-entropy",
        number="derived here, on losses of language models",
        title="Cross-entropy is quadratic in the error of logits",
        kind=Kind.TIGHT,
        statement=r"The divergence of $\mathrm{softmax}(z + e)$ from $\mathrm{softmax}(z) = p$ is "
        r"$\frac12 e^T (\mathrm{diag}(p) - p p^T) e$ to second order.",
        formula=lambda one, other, same: one * (1 - other) if same else -one * other,
        check=checks.cross_entropy,
        note="So that the exponent of a squared error is that of a cross-entropy above its floor, if errors of logits are "
        "what is approximated and small.",
    ),
    Claim(
        name="havrilla2024/sharma-kaplan",
        number="derived here, on Sharma and Kaplan 2022",
        title="4/d is the model exponent of beta = 2",
        kind=Kind.TIGHT,
        statement=r"The exponent $4/d$ of Sharma and Kaplan is $2\beta/d$ at $\beta = 2$, of piecewise linear fits to "
        r"smooth targets.",
        formula=lambda d: 4 / d,
        check=checks.sharma_kaplan,
        code=(f"{RATES}.model_exponent",),
        note="A theorem for beta of at most 1 doesn't cover beta = 2: higher-degree-slope looks at what a construction does.",
    ),
    Claim(
        name="havrilla2024/identity",
        number="derived here, from theorems 1 and 2",
        title="1/alpha_D - 1/alpha_N = 1",
        kind=Kind.TIGHT,
        statement=r"$1/\alpha_D - 1/\alpha_N = 1$ for every $d$ and $\beta$.",
        formula=lambda: sympy.Integer(1),
        check=checks.difference,
        code=(f"{RATES}.inverse_difference", f"{RATES}.derive_rates"),
        note="A test of the theory on two measured exponents that needs neither an estimate of d nor a guess of beta.",
    ),
    Claim(
        name="havrilla2024/order",
        number="derived here, from theorems 1 and 2",
        title="The data exponent is the smaller one",
        kind=Kind.LOWER,
        statement=r"$\alpha_N - \alpha_D > 0$ for every $d$ and $\beta$.",
        formula=lambda: 1,
        check=checks.order,
        code=(f"{RATES}.inverse_difference",),
    ),
    Claim(
        name="havrilla2024/identity-kaplan",
        number=ON_FITS,
        title="The identity in Kaplan's exponents",
        kind=Kind.TIGHT,
        statement=r"The exponents of Kaplan's laws of one quantity, 0.095 and 0.076, have $1/\alpha_D - 1/\alpha_N = 1$.",
        formula=lambda: 1,
        check=checks.kaplan,
        code=(f"{RATES}.inverse_difference", "theory.scaling.PUBLISHED"),
        note="-2.63: the wrong sign. These laws have no floor under the loss, which lowers their exponents; the theory speaks of "
        "the loss above its floor.",
    ),
    Claim(
        name="havrilla2024/identity-kaplan-joint",
        number=ON_FITS,
        title="The identity in Kaplan's joint law",
        kind=Kind.TIGHT,
        statement=r"The exponents of Kaplan's joint law, 0.103 and 0.076, have $1/\alpha_D - 1/\alpha_N = 1$.",
        formula=lambda: 1,
        check=checks.kaplan_joint,
        code=(f"{RATES}.inverse_difference", "theory.scaling.PUBLISHED"),
        note="-3.45. No floor under the loss here either.",
    ),
    Claim(
        name="havrilla2024/identity-hoffmann",
        number=ON_FITS,
        title="The identity in Hoffmann's exponents",
        kind=Kind.TIGHT,
        statement=r"The exponents of Hoffmann et al. 2022, approach 3, have $1/\alpha_D - 1/\alpha_N = 1$.",
        formula=lambda: 1,
        check=checks.hoffmann,
        code=(f"{RATES}.inverse_difference", "theory.scaling.PUBLISHED"),
        note="0.63 from 0.28 and 0.34. No intervals of the two exponents were published, so that this speaks of the printed "
        "numbers; identity-besiroglu has intervals.",
    ),
    Claim(
        name="havrilla2024/identity-besiroglu",
        number=ON_FITS,
        title="The identity in a refit with intervals",
        kind=Kind.ASYMPTOTIC,
        statement=r"The exponents that Besiroglu et al. 2024 refit to Hoffmann's runs have $1/\alpha_D - 1/\alpha_N = 1$.",
        formula=lambda: 1,
        check=checks.besiroglu,
        code=(f"{RATES}.inverse_difference_interval", "theory.scaling.PUBLISHED"),
        note="Their intervals of 95 per cent, taken at the corners that favour the identity most, end at 0.34.",
    ),
    Claim(
        name="havrilla2024/identity-muennighoff",
        number=ON_FITS,
        title="The identity in Muennighoff's exponents",
        kind=Kind.ASYMPTOTIC,
        statement=r"The exponents of Muennighoff et al. 2023 have $1/\alpha_D - 1/\alpha_N = 1$.",
        formula=lambda: 1,
        check=None,
        code=("theory.scaling.PUBLISHED",),
        note="The fit imposes equal exponents (0.3527), so that the difference is 0 whatever the runs say: no test.",
    ),
    Claim(
        name="havrilla2024/order-published",
        number=ON_FITS,
        title="The data exponent is the smaller one in published fits",
        kind=Kind.LOWER,
        statement=r"$\alpha_N - \alpha_D \ge 0$ in the fits of Kaplan, Hoffmann and Besiroglu.",
        formula=lambda: 0,
        check=checks.order_published,
        code=("theory.scaling.PUBLISHED",),
        note="Hoffmann's are in this order; Kaplan's are not, and Besiroglu's not in their estimates, though within their "
        "intervals.",
    ),
    Claim(
        name="havrilla2024/implied-dimensions",
        number=ON_FITS,
        title="What d/beta would have to be",
        kind=Kind.TIGHT,
        statement=r"Kaplan's exponents give $d/\beta = 26$ (parameters) and $19$ (data), Besiroglu's $5.8$ and $3.5$.",
        formula=lambda words, kind: Fraction(IMPLIED[words, kind]),
        check=checks.implied,
        code=(f"{RATES}.smoothness_ratio", f"{RATES}.dimension_from_data_exponent"),
        note="One text has one d: two exponents of one fit give two, and two fits of like text give others.",
    ),
    Claim(
        name="havrilla2024/rate-read-out",
        number="derived here, on theorem 1",
        title="The rate in samples of the part that is linear",
        kind=Kind.TIGHT,
        statement=r"Means over $n^{1/(2\beta + 1)}$ cells of a circle, which is what a read-out of trapezoids fits, have a "
        r"squared error against a Weierstrass function that falls with the exponent $2\beta/(2\beta + 1)$, to $0.1$.",
        formula=lambda d, beta: 2 * beta / (2 * beta + d),
        check=checks.sieve,
        code=(f"{RATES}.data_exponent", f"{RATES}.estimation_size"),
        note="Not the estimator of theorem 1, which searches over a whole class of transformers: `headcount manifold train` "
        "trains some.",
    ),
)
