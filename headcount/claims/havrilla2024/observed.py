"""What the paper saw on language models, and how much an agreement of that size says."""

from fractions import Fraction

from headcount.claims.claim import Claim, Kind
from headcount.claims.havrilla2024 import _rate_checks as checks

NUMBERS = "Neither the dimensions nor the exponents behind it are printed in what is at hand. "
OWN = "`headcount manifold train` measures both on small models of its own."
SEEN = (
    ("agreement", "abstract", "Predicted and observed data exponents agree",
     r"Data exponents predicted from the dimension of embeddings, $\beta = 1$, are within $0.02$ of those observed on "
     r"OpenWebText, The Stack's SQL and "
     r"TinyStories.", NUMBERS + OWN + " What such an agreement says: agreement-allows, agreement-blind."),
    ("agreement-model", "section on model exponents", "Model exponents agree for GPT-2",
     r"The model exponent $2/d$ predicted from OpenWebText's dimension is that of GPT-2's sizes.",
     NUMBERS + "Gaps elsewhere are put down to under-training and to the data's entropy, which nothing at hand can decide."),
    ("simpler-corpora", "section on data exponents", "Simpler corpora, larger exponents",
     r"The loss falls faster with data on simpler corpora, whose dimension is lower.", NUMBERS + "One corpus comes with "
     "this project."),
    ("stable-dimension", "figure 4", "The dimension hardly depends on the model",
     r"The estimated dimension is about the same over model sizes, embedding widths, layers and positions.",
     "Speaks of pretrained models that are not at hand. " + OWN + " A model of width m can't show more than m dimensions."),
)

ENDS = {16: (Fraction("13.25"), Fraction("19.95")), 20: (Fraction("16.03"), Fraction("26.21"))}
WHOLE = {16: (14, 19), 20: (17, 26)}

CLAIMS: tuple[Claim, ...] = (
    *(
        Claim(
            name=f"havrilla2024/{name}", number=number, title=title, kind=Kind.ASYMPTOTIC, statement=statement, formula=lambda: 0,
            check=None, code=("empirical.text_dimension.text_dimensions",), note=note,
        )
        for name, number, title, statement, note in SEEN
    ),
    Claim(
        name="havrilla2024/agreement-allows",
        number="derived here, on the agreement",
        title="What an agreement within 0.02 allows",
        kind=Kind.TIGHT,
        statement=r"Data exponents within $0.02$ of that of $d = 16$, $\beta = 1$, are those of $d$ from $13.25$ to $19.95$, "
        r"whole ones 14 to 19; of $d = 20$, from $16.03$ to $26.21$, whole ones 17 to 26.",
        formula=lambda d, place, whole: (WHOLE if whole else ENDS)[d][place],
        check=checks.agreement_allows,
        code=("theory.manifold_rates.dimensions_within",),
    ),
    Claim(
        name="havrilla2024/agreement-blind",
        number="derived here, on the agreement",
        title="The larger the dimension, the less it says",
        kind=Kind.LOWER,
        statement=r"At least $(d + 2)^2/50 - 1$ whole dimensions have a data exponent within $0.02$ of that of $d$, $\beta "
        r"= 1$; all beyond, from $d = 98$ on.",
        formula=lambda d: (d + 2) ** 2 // 50 - 1,
        check=checks.agreement_blind,
        code=("theory.manifold_rates.dimensions_within",),
        note="So that an honest test has intervals on both sides, a bias curve, beta not chosen afterwards, and the "
        "identity beside it.",
    ),
)
