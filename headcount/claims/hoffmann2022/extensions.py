"""Laws that build on Hoffmann's: inference (Sardana), repeated data (Muennighoff), over-training (Gadre), counting (Porian)."""

from fractions import Fraction

from headcount.claims._printed import EXACT
from headcount.claims.claim import Claim, Kind
from headcount.claims.hoffmann2022 import _extension_checks as checks

SERVING = ("theory.allocation.inference_allocation",)
REPEATING = ("theory.scaling.DataConstrainedLaw",)
SAVED = {"parameters in billions": 7, "saving in 1e22 FLOP": Fraction("1.7"), "saving in percent": 17}

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="hoffmann2022/serving-condition",
        number="derived here, after Sardana et al. 2024",
        title="The cheapest model to train and to ask",
        kind=Kind.TIGHT,
        statement=r"$6 N D + 2 N D_{inf}$ at a given loss is least where $\alpha A/N^\alpha = (\beta B/D^\beta)(1 + "
        r"D_{inf}/(3D))$, and at no other point of the level line.",
        formula=lambda size, data, served, size_scale, data_scale, alpha, beta: (
            alpha * size_scale / size**alpha, beta * data_scale / data**beta * (1 + served / (3 * data))
        ),
        check=checks.serving_condition,
        code=SERVING,
    ),
    Claim(
        name="hoffmann2022/serving-example",
        number="derived here, after Sardana et al. 2024, from equation 10",
        title="A model to be asked for 2e12 tokens, printed constants",
        kind=Kind.TIGHT,
        statement=r"In place of 13 billion parameters, at the same loss, 7 billion are cheapest, saving $1.7 \cdot 10^{22}$ "
            r"FLOP or 17%.",
        assumptions=("alpha = 0.34, beta = 0.28",),
        formula=SAVED.__getitem__,
        check=checks.serving_rounded,
        code=SERVING,
        note="With the two printed digits it is 8.0 billion and 10%.",
    ),
    Claim(
        name="hoffmann2022/serving-example-repaired",
        number="repairs the example of Sardana et al. 2024 from equation 10",
        title="A model to be asked for 2e12 tokens, three digits",
        kind=Kind.TIGHT,
        statement=r"In place of 13 billion parameters, at the same loss, 7 billion are cheapest, saving $1.7 \cdot 10^{22}$ "
            r"FLOP or 17%.",
        assumptions=("alpha = 0.336, beta = 0.283, as Sardana et al. have them",),
        formula=SAVED.__getitem__,
        check=checks.serving,
        repairs="hoffmann2022/serving-example",
        code=SERVING,
    ),
    Claim(
        name="hoffmann2022/serving-quality",
        number="derived here, after Sardana et al. 2024",
        title="Quality at 10,000 tokens per parameter",
        kind=Kind.ASYMPTOTIC,
        statement=r"In 47 models quality kept improving up to 10,000 tokens per parameter; a law fitted at usual ratios expects "
            r"too much "
        r"there.",
        formula=lambda: None,
        check=None,
        note="The runs are not at hand. `headcount scaling fit` back-tests a law above a cut of compute on a table that the "
            "reader has.",
    ),
    Claim(
        name="hoffmann2022/repeated-values",
        number="derived here, after Muennighoff et al. 2023",
        title="Losses on repeated data",
        kind=Kind.TIGHT,
        statement=r"The law has 2.2256440889984477 at $N = 6.34 \cdot 10^9$, $D = 242 \cdot 10^9$ and 2.2269634075087867 at "
        r"$8.67 \cdot 10^9$, $178 \cdot 10^9$, with $25 \cdot 10^9$ unique tokens.",
        assumptions=(EXACT,),
        formula=lambda size, data, unique: {"6.34e9": 2.2256440889984477, "8.67e9": 2.2269634075087867}[size],
        check=checks.repeated,
        code=REPEATING,
    ),
    Claim(
        name="hoffmann2022/repeated-smaller",
        number="derived here, after Muennighoff et al. 2023",
        title="On repeated data the smaller model is better",
        kind=Kind.LOWER,
        statement=r"At nearly equal compute and $25 \cdot 10^9$ unique tokens $8.67 \cdot 10^9$ parameters have a higher loss "
            r"than "
        r"$6.34 \cdot 10^9$.",
        assumptions=(EXACT,),
        formula=lambda smaller: smaller,
        check=checks.repeated_better,
        code=REPEATING,
    ),
    Claim(
        name="hoffmann2022/repeated-ratio",
        number="derived here, after Muennighoff et al. 2023",
        title="Tokens per parameter of their law",
        kind=Kind.TIGHT,
        statement=r"With $\alpha = \beta$ the best $D/N$ is $1/G^2 = 19.6$ at any budget.",
        assumptions=("alpha = beta, which is imposed, not found: their untied fit has .335 and .383",),
        formula=lambda: Fraction("19.6"),
        check=checks.repeated_ratio,
        code=REPEATING,
    ),
    Claim(
        name="hoffmann2022/repeated-first",
        number="derived here, after Muennighoff et al. 2023",
        title="First repeats are worth new tokens",
        kind=Kind.TIGHT,
        statement=r"$U + U R^* (1 - e^{-R/R^*})$ is $U(1 + R)$ for small $R$, in value and slope.",
        formula=lambda unique, repeats: unique * (1 + repeats),
        check=checks.repeated_once,
        code=REPEATING,
    ),
    Claim(
        name="hoffmann2022/repeated-four",
        number="derived here, after Muennighoff et al. 2023",
        title="Four epochs are nearly as good",
        kind=Kind.TIGHT,
        statement=r"Four epochs are worth 93% of as many new tokens.",
        assumptions=(EXACT,),
        formula=lambda: 93,
        check=checks.repeated_four,
        code=REPEATING,
    ),
    Claim(
        name="hoffmann2022/over-training",
        number="derived here, after Gadre et al. 2024",
        title="Parallel lines per ratio",
        kind=Kind.TIGHT,
        statement=r"With $\alpha = \beta = 2\eta$ and $M = D/N$, $L = E + (A M^\eta + B M^{-\eta}) (C/6)^{-\eta}$: parallel "
            r"lines in "
        r"$\ln(L - E)$ against $\ln C$.",
        assumptions=("alpha = beta",),
        formula=lambda compute, ratio, size_scale, data_scale, eta, floor: floor
        + (size_scale * ratio**eta + data_scale / ratio**eta) * (compute / 6) ** -eta,
        check=checks.over_training,
        code=("theory.scaling.OvertrainingLaw",),
    ),
    Claim(
        name="hoffmann2022/counting-and-tuning",
        number="derived here, after Porian et al. 2024",
        title="Three corrections make 0.73 a half",
        kind=Kind.ASYMPTOTIC,
        statement=r"Counting the last layer's compute, shortening the warm-up of small models and tuning them per size turns "
            r"the exponent "
        r"of Kaplan et al. into that of Hoffmann et al., 0.5.",
        formula=lambda: Fraction(1, 2),
        check=None,
        note="Takes more than 900 runs of 5M to 901M parameters. What counting alone does is kaplan2020/counting-slope.",
    ),
)
