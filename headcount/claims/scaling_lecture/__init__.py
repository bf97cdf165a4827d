"""A course's lecture notes on scaling laws: the order of exponents, Zipf's law, singular values.

No published reference of these notes is held here, so that they are cited as a lecture, and statements are read as they stand.
"""

from fractions import Fraction

from headcount.claims.claim import Claim, Effort, Kind
from headcount.claims.scaling_lecture import _checks as checks

RANKS = ("theory.power_laws.rank_frequency", "theory.power_laws.split_half")
SPECTRA = ("theory.spectra.judge_spectrum",)
LAW = "L = E + A/N^0.34 + B/D^0.28 and C = 6 N D"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="scaling_lecture/exponents-quotients",
        number="lecture, optimal allocation",
        title="Two quotients",
        kind=Kind.TIGHT,
        statement=r"$0.34 / (0.34 + 0.28) = 0.548$ and $0.28 / (0.34 + 0.28) = 0.452$.",
        formula={"0.34": Fraction("0.548"), "0.28": Fraction("0.452")}.__getitem__,
        check=checks.quotients,
    ),
    Claim(
        name="scaling_lecture/exponents-literal",
        number="lecture, optimal allocation, as it stands",
        title="The first exponent is that of N",
        kind=Kind.TIGHT,
        statement=r"$N_{opt} \propto C^{0.548}$ and $D_{opt} \propto C^{0.452}$.",
        assumptions=(LAW,),
        formula={"N": Fraction("0.548"), "D": Fraction("0.452")}.__getitem__,
        check=checks.allocation,
        code=("theory.allocation.swapped_exponents",),
        note="The lecture evaluates 0.34/0.62 first and 0.28/0.62 second, and then writes N_opt ~ C^alpha, D_opt ~ C^beta with "
            "the "
        "letters of the two terms used again. Read in that order the exponents are swapped.",
    ),
    Claim(
        name="scaling_lecture/exponents-charitable",
        number="repairs the lecture's optimal allocation",
        title="N has the exponent with beta on top",
        kind=Kind.CONDITIONAL,
        granted=Kind.TIGHT,
        statement=r"$N_{opt} \propto C^{0.452}$ and $D_{opt} \propto C^{0.548}$.",
        assumptions=(
            LAW,
            "alpha and beta in N_opt ~ C^alpha, D_opt ~ C^beta are new letters, and the quotients are not meant in the order in "
            "which they are evaluated",
        ),
        formula={"N": Fraction("0.452"), "D": Fraction("0.548")}.__getitem__,
        check=checks.allocation,
        repairs="scaling_lecture/exponents-literal",
        code=("theory.allocation.optimal_allocation", "theory.allocation.swapped_exponents"),
        note="The numbers are right in this reading; that it is the one meant can't be decided from the text. It is safe to use "
            "the "
        "closed form alone: the exponent of N is beta/(alpha + beta).",
    ),
    Claim(
        name="scaling_lecture/zipf",
        number="lecture, power laws in language",
        title="Zipf's law",
        kind=Kind.ASYMPTOTIC,
        statement=r"The $r$-th most frequent word of a natural language has a frequency in proportion to $1/r$.",
        formula=lambda: 1,
        check=None,
        code=RANKS,
        note="No text in a natural language comes with this project; zipf-source looks at source text, and "
        "`headcount scaling powerlaw COUNTS.csv` at counts that the reader has.",
    ),
    Claim(
        name="scaling_lecture/zipf-source",
        number="derived here, on Zipf's law",
        title="Zipf's law in source text",
        kind=Kind.TIGHT,
        statement=r"The $r$-th most frequent word of the standard library's sources has a frequency in proportion to $1/r$, to "
            r"one "
        r"decimal of the exponent in each decade of ranks up to 1000.",
        least_effort=Effort.STANDARD,
        formula=lambda: 1,
        check=checks.word_slopes,
        code=RANKS,
        note="Words are names, mostly: no text in a natural language.",
    ),
    Claim(
        name="scaling_lecture/zipf-conversion",
        number="derived here, on Zipf's law",
        title="Exponents by rank and by count",
        kind=Kind.TIGHT,
        statement=r"Counts that fall as $r^{-z}$ by rank have a density that falls as $x^{-g}$ with $g = 1 + 1/z$: 2 for $z = "
            r"1$, "
        r"2.25 for $z = 0.8$.",
        formula=lambda exponent: 1 + 1 / exponent,
        check=checks.conversion,
        code=("theory.power_laws.tail_exponent", "theory.power_laws.rank_exponent"),
    ),
    Claim(
        name="scaling_lecture/rank-regression",
        number="derived here, on the lecture's power laws as straight lines",
        title="The slope of a rank plot at a finite sample",
        kind=Kind.ASYMPTOTIC,
        statement=r"The line through the logarithms of counts and ranks of 500,000 draws from $1/r$ over 50,000 types has the "
        r"slope $-1$ on average.",
        assumptions=("least squares over all ranks",),
        formula=lambda: 1,
        check=checks.all_ranks,
        code=RANKS,
        note="-1.05 there, -1.01 at 2e7 draws, -1.000 at 1e9: true in the limit of many draws, and no sample says whether it "
        "is there. Rare types are sorted by their sampling noise, which bends the tail down, and they are most of the points.",
    ),
    Claim(
        name="scaling_lecture/rank-regression-repaired",
        number="repairs rank-regression",
        title="The slope of a rank plot from split halves",
        kind=Kind.UPPER,
        statement=r"With ranks from one half of such a sample and mean counts from the other in 14 bins of ranks 1 to 500, the "
        r"slope is off $-1$ by $0.005$ at most, on average.",
        assumptions=("ranks 1 to 500", "mean counts in bins"),
        formula=lambda: Fraction("0.005"),
        check=checks.split_ranks,
        repairs="scaling_lecture/rank-regression",
        code=RANKS,
        note="It changes three things at once: ranks from another half, ranks beyond 500 left out, and counts in bins, so that "
        "no type "
        "without a count is dropped. Up to rank 500 each type has 40 counts and more: there ranks from the same half would do "
        "nearly as well, and leaving rare types out matters as much as splitting.",
    ),
    Claim(
        name="scaling_lecture/singular-values",
        number="lecture, spectra of data",
        title="Singular values fall as a power of their rank",
        kind=Kind.ASYMPTOTIC,
        statement=r"The $r$-th singular value of a matrix of data falls as $r^{-0.8}$.",
        formula=lambda: Fraction("0.8"),
        check=None,
        code=SPECTRA,
        note="Of which data is not said in what is at hand, and no matrix comes with it. singular-values-digits looks at images, "
        "noise-slopes at what a matrix of noise would show.",
    ),
    Claim(
        name="scaling_lecture/singular-values-digits",
        number="derived here, on spectra of data",
        title="Singular values of images of digits",
        kind=Kind.TIGHT,
        statement=r"The singular values of scikit-learn's digits, columns centred, fall as $r^{-0.8}$ at ranks 1 to 4, 4 to 16 "
            r"and 16 to "
        r"48, to one decimal.",
        formula=lambda first: Fraction("0.8"),
        check=checks.digits_slope,
        code=(*SPECTRA, "empirical.data.digits"),
        note="The slope steepens with the rank: no power law.",
    ),
    Claim(
        name="scaling_lecture/noise-slopes",
        number="derived here, on spectra of data",
        title="Noise has no straight part",
        kind=Kind.LOWER,
        statement=r"The local slope of the singular values of a square matrix of noise is 10 times as steep at ranks beyond the "
            r"half as at "
        r"the first 3%.",
        formula=lambda: 10,
        check=checks.noise_slopes,
        code=SPECTRA,
        note="A fit returns an exponent all the same; so a spectrum is compared with noise, and with its own columns permuted, "
            "first.",
    ),
    Claim(
        name="scaling_lecture/noise-edge",
        number="derived here, on spectra of data",
        title="The largest singular value of noise",
        kind=Kind.TIGHT,
        statement=r"Divided by $\sqrt n$ the largest singular value of an $n \times n$ Gaussian matrix is 2, up to $3 n^{-2/3}$.",
        formula=lambda: 2,
        check=checks.noise_edge,
        code=("theory.spectra.MarchenkoPastur",),
    ),
)

__all__ = ["CLAIMS"]
