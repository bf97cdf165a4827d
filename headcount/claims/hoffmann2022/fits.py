"""The three approaches: objective, constants, intervals, and what Besiroglu et al. 2024 found of them."""

from fractions import Fraction

import sympy

from headcount.claims.claim import Claim, Kind
from headcount.claims.hoffmann2022 import _fit_checks as checks

FIT = ("empirical.scaling_fits.fit_scaling_law",)
POINTS = (
    "The points are not part of this project. Checked on a table that the reader has, such as the 240 points read off figure 4 "
    "by "
    "Besiroglu et al. 2024, by `headcount scaling fit POINTS.csv`"
)
ISOFLOP = ("empirical.scaling_approaches.iso_flop",)


def _log_sum_exp(log_a: object, log_b: object, log_e: object, alpha: object, beta: object, size: object, data: object) -> object:
    """The prediction of ln L in section D.2."""
    return sympy.log(
        sympy.exp(log_a - alpha * sympy.log(size)) + sympy.exp(log_b - beta * sympy.log(data)) + sympy.exp(log_e)
    )


NOT_CHECKED = (
    ("constants", "equation 10", "The constants of the parametric law",
     r"Huber's loss with $\delta = 10^{-3}$ is least at $E = 1.69$, $A = 406.4$, $B = 410.7$, $\alpha = 0.34$, $\beta = 0.28$.",
     POINTS + ". There it is least elsewhere (refit)."),
    ("refit", "derived here, after Besiroglu et al. 2024", "The constants refitted",
     r"On the 240 points the sum of Huber losses is least at $E = 1.8172$, $A = 477.8$, $B = 2143$, $\alpha = 0.3473$, "
     r"$\beta = 0.3672$, where it is $1.01827 \cdot 10^{-3}$.",
     POINTS + "; the table of Besiroglu et al., from Huber's density with a free scale, has A 482.01, B 2085.43, .3478, .3658."),
    ("refit-intervals", "derived here, after Besiroglu et al. 2024", "How well the points tell the constants",
     r"95% intervals are 1.769 to 1.871 for $E$, 285 to 744 for $A$, 1042 to 5810 for $B$, .317 to .373 for $\alpha$, .331 to "
     r".415 "
     r"for $\beta$.", POINTS + ", which prints intervals by bootstrap and by profile."),
    ("refit-five-points", "derived here, after Besiroglu et al. 2024", "Five points carry the answer",
     r"With the five highest losses left in, $E = 1.891$, $\beta = .453$ and $a = .565$ in place of .513.",
     POINTS + ", whose table of influence has this line."),
    ("approach-1", "table 2, approach 1", "Exponents by the envelope",
     r"The envelope of loss curves gives $a = 0.50$ and $b = 0.50$.",
     "The loss curves were never published. `empirical.scaling_approaches.envelope` does the same to a table of curves."),
    ("approach-2", "table 2, approach 2", "Exponents by curves of equal compute",
     r"Parabolas at nine budgets give $a = 0.49$ and $b = 0.51$.",
     "The runs were never published; what such parabolas do without noise is isoflop-exponent, -prefactor and -drift."),
    ("schedule", "section 2", "Why Kaplan et al. found another exponent",
     r"The exponent 0.73 of Kaplan et al. comes from learning rates whose cosine did not end with the run.",
     "Takes runs at their size. Porian et al. 2024 find 0.5 without decay, after putting right the last layer's compute, "
     "warm-up and "
     "the tuning of small models: against this explanation."),
)

CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            name=f"hoffmann2022/{name}", number=number, title=title, kind=Kind.ASYMPTOTIC, statement=statement,
            formula=lambda: None, check=None, code=FIT if name != "schedule" else (), note=note,
        )
        for name, number, title, statement, note in NOT_CHECKED
    ),
    Claim(
        name="hoffmann2022/log-sum-exp",
        number="section D.2",
        title="The law's logarithm",
        kind=Kind.TIGHT,
        statement=r"$\ln L = \ln(e^{a - \alpha \ln N} + e^{b - \beta \ln D} + e^e)$ with $A = e^a$, $B = e^b$, $E = e^e$.",
        formula=_log_sum_exp,
        check=checks.log_sum_exp,
        code=FIT,
    ),
    Claim(
        name="hoffmann2022/gradient",
        number="derived here, on section D.2",
        title="The gradient of the prediction",
        kind=Kind.TIGHT,
        statement=r"With $w$ the shares of the three exponentials, the derivatives of $\ln L$ by $(a, b, e, \alpha, \beta)$ are "
        r"$(w_1, w_2, w_3, -w_1 \ln N, -w_2 \ln D)$.",
        formula=lambda weights, log_n, log_d: (*weights, -weights[0] * log_n, -weights[1] * log_d),
        check=checks.gradient,
        code=("empirical.scaling_fits.fit_scaling_law",),
    ),
    Claim(
        name="hoffmann2022/starts",
        number="section D.2",
        title="The grid of starts",
        kind=Kind.TIGHT,
        statement=r"The grid has $5 \cdot 5 \cdot 5 \cdot 6 \cdot 6 = 4500$ starts.",
        formula=lambda: 4500,
        check=checks.grid,
        code=FIT,
    ),
    Claim(
        name="hoffmann2022/intervals-sum",
        number="table 2, intervals of approach 3",
        title="Intervals of exponents that add up to 1",
        kind=Kind.TIGHT,
        statement=r"The percentiles of $b$ are those of $1 - a$: (.542, .543) for (.454, .455).",
        assumptions=("a + b = 1 in each subsample, as equation 4 has it",),
        formula=lambda other: 1 - other,
        check=checks.intervals_sum,
        note="They should be (.545, .546), or a's (.457, .458): no a of the one and b of the other add up to 1.",
    ),
    Claim(
        name="hoffmann2022/intervals-inside",
        number="derived here, on table 2, approach 3",
        title="The fit within the percentiles of its own subsamples",
        kind=Kind.UPPER,
        statement=r"The exponent $a$ of the fit is at most its own 90th percentile, .455.",
        assumptions=("the unrounded constants of the preprint's source",),
        formula=lambda: Fraction("0.455"),
        check=checks.inside,
        note="It is .4565. The paper doesn't say that it lies within: an estimate may lie outside the percentiles of "
        "subsamples, but hardly so if these are read as an interval for it.",
    ),
    Claim(
        name="hoffmann2022/intervals-spread",
        number="derived here, on table 2",
        title="What the spread of 80% subsamples is",
        kind=Kind.TIGHT,
        statement=r"Over subsamples of 80% a mean has $1/4$ of the variance that it has over samples: their percentiles are "
            r"half as "
        r"far apart as those of an interval.",
        assumptions=("subsamples are drawn without replacement",),
        formula=lambda: Fraction(1, 4),
        check=checks.subsamples,
        note="Exact for means, near for estimates that are nearly linear in the points. So even sound percentiles of table 2 are "
        "no confidence intervals.",
    ),
    Claim(
        name="hoffmann2022/intervals-width",
        number="derived here, on table 2, approach 3",
        title="An exponent to a thousandth from 400 runs",
        kind=Kind.UPPER,
        statement=r"From 400 runs an 80% interval of $a$ is at most .001 wide.",
        assumptions=("losses obey the law with the constants of Besiroglu et al. 2024, up to noise of 0.5%",),
        formula=lambda: Fraction("0.001"),
        check=checks.interval_width,
        note="The paper calls its numbers percentiles over 80% subsamples, not an interval; read as one, Besiroglu et al. 2024 "
        "find them implausibly narrow. Their points scatter by 0.57%.",
    ),
    Claim(
        name="hoffmann2022/intervals-runs",
        number="derived here, after Besiroglu et al. 2024",
        title="Runs that such intervals would take",
        kind=Kind.LOWER,
        statement=r"An 80% interval of $a$ that is .001 wide takes more than 600,000 runs.",
        assumptions=("the standard error of a from 240 runs is .020, and falls as the root of their number",),
        formula=lambda: 600,
        check=checks.runs_needed,
        note="If table 2's percentiles are read as those of 80% subsamples (intervals-spread), a quarter of it.",
    ),
    Claim(
        name="hoffmann2022/refit-tails",
        number="derived here, after Besiroglu et al. 2024",
        title="How unlikely the printed constants are",
        kind=Kind.TIGHT,
        statement=r"On 5 degrees of freedom a Wald statistic of 238.4 has $p = 1.7 \cdot 10^{-49}$, and a likelihood ratio of "
            r"84.0 has "
        r"$p = 10^{-16}$.",
        assumptions=("statistics and tails within half a unit of their last digits",),
        formula=lambda name: {"wald": Fraction("-48.770"), "likelihood ratio": -16}[name],
        check=checks.tails,
        note="The statistics themselves rest on the points.",
    ),
    Claim(
        name="hoffmann2022/objective-mean",
        number="derived here, after Besiroglu et al. 2024",
        title="Minimising the mean of Huber losses",
        kind=Kind.UPPER,
        statement=r"From the published constants L-BFGS with default tolerances, on the mean of Huber losses with "
        r"$\delta = 10^{-3}$, gets within 1% of the least objective.",
        formula=lambda: Fraction("1.01"),
        check=checks.stops_at_mean,
        note="It stops where it starts: the mean is of order 1e-6, below the tolerance. Besiroglu et al. 2024 hold this for the "
            "error "
        "behind the published constants.",
    ),
    Claim(
        name="hoffmann2022/objective-sum",
        number="repairs section D.2 as optimised by means, after Besiroglu et al. 2024",
        title="Minimising the sum of Huber losses",
        kind=Kind.UPPER,
        statement=r"With tight tolerances, on the sum of Huber losses, it does.",
        formula=lambda: Fraction("1.01"),
        check=checks.stops_at_sum,
        repairs="hoffmann2022/objective-mean",
        code=FIT,
    ),
    Claim(
        name="hoffmann2022/isoflop-shape",
        number="derived here, on approach 2",
        title="Curves of equal compute have one shape",
        kind=Kind.TIGHT,
        statement=r"At $u$ beside the best $\ln N$, $L - E$ is $k(C) [e^{-\alpha u}/\alpha + e^{\beta u}/\beta]$.",
        formula=lambda alpha, beta, shift: sympy.exp(-alpha * shift) / alpha + sympy.exp(beta * shift) / beta,
        check=checks.isoflop_shape,
        code=ISOFLOP,
    ),
    Claim(
        name="hoffmann2022/isoflop-exponent",
        number="derived here, on approach 2",
        title="Parabolas on centred grids find the exponent",
        kind=Kind.TIGHT,
        statement=r"Parabolas over sizes that lie the same way around each budget's optimum give $a = \beta/(\alpha + \beta)$ "
            r"exactly.",
        assumptions=("no noise",),
        formula=lambda alpha, beta: beta / (alpha + beta),
        check=checks.isoflop_exponent,
        code=ISOFLOP,
    ),
    Claim(
        name="hoffmann2022/isoflop-prefactor",
        number="derived here, on approach 2",
        title="Parabolas find the optimum",
        kind=Kind.TIGHT,
        statement=r"The least of the parabola is the best size at the budget, to half a percent.",
        assumptions=("no noise", "sizes up to a decade from the optimum"),
        formula=lambda name: 1,
        check=checks.isoflop_prefactor,
        code=ISOFLOP,
        note="The paper takes it as an estimate. The curves lean, so that it is off by a factor that does not depend on the "
        "budget: exponents are not touched.",
    ),
    Claim(
        name="hoffmann2022/isoflop-prefactor-repaired",
        number="repairs isoflop-prefactor",
        title="How far parabolas miss the optimum",
        kind=Kind.TIGHT,
        statement=r"It is 0.99 of the best size with the constants of Besiroglu et al. 2024, and 1.04 with the printed ones.",
        assumptions=("no noise", "21 sizes evenly in logs, up to a decade from the optimum"),
        formula=lambda name: Fraction({"besiroglu2024": "0.99", "hoffmann2022_rounded": "1.04"}[name]),
        check=checks.isoflop_prefactor,
        repairs="hoffmann2022/isoflop-prefactor",
        code=ISOFLOP,
    ),
    Claim(
        name="hoffmann2022/isoflop-drift",
        number="derived here, on approach 2",
        title="Grids that drift bias the exponent",
        kind=Kind.TIGHT,
        statement=r"If the sizes tried move from half a decade below to half a decade above the optimum over the budgets, "
            r"parabolas "
        r"give $a = 0.457$ where $\beta/(\alpha + \beta) = 0.452$.",
        assumptions=("no noise", "21 sizes evenly in logs, up to a decade from the grid's centre", "alpha = 0.34, beta = 0.28"),
        formula=lambda: Fraction("0.457"),
        check=checks.isoflop_drift,
        code=ISOFLOP,
    ),
)
