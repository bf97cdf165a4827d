"""Estimates of intrinsic dimension: what the estimator in use says of clouds that are known, and the laws behind it."""

from headcount.claims.claim import Claim, Kind
from headcount.claims.havrilla2024 import _estimator_checks as checks

ESTIMATOR, CURVE = "empirical.dimension.levina_bickel", "empirical.dimension.bias_curve"
IN_USE = "Levina and Bickel's estimate from 20 neighbours of 3600 points"
EVEN = (
    "neighbours lie as in a Poisson process of even density in d dimensions, and those of different points are independent",
)
SATURATED = {20: 16.5, 30: 21.5, 50: 31.0, 100: 49.0}

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="havrilla2024/estimate-is-dimension",
        number="derived here, on the estimator in use",
        title="The estimate is the dimension",
        kind=Kind.TIGHT,
        statement=rf"{IN_USE} is the dimension, to 5 per cent, for balls and Gaussians of dimension 2, 5, 10, 20.",
        formula=lambda d: d,
        check=checks.faithful,
        shares="havrilla2024 clouds",
        code=(ESTIMATOR, CURVE),
        note="The wording is ours: the paper isn't known to state it so, but it predicts exponents from the estimate as if it "
        "were d. That it takes 20 neighbours and batches of 3600 vectors is read in its authors' public code.",
    ),
    Claim(
        name="havrilla2024/estimate-saturates",
        number="repairs estimate-is-dimension",
        title="The estimate saturates",
        kind=Kind.UPPER,
        statement=rf"{IN_USE} is at most 16.5 at $d = 20$, 21.5 at 30, 31 at 50 and 49 at 100, for balls and Gaussians.",
        formula=SATURATED.__getitem__,
        check=checks.saturates,
        repairs="havrilla2024/estimate-is-dimension",
        shares="havrilla2024 clouds",
        code=(ESTIMATOR, CURVE, "empirical.dimension.corrected_dimension"),
        note="Neighbours are n^(-1/d) away: at d above log n or so they lie across the whole cloud. d = 100 from effort "
        "standard on.",
    ),
    Claim(
        name="havrilla2024/exponent-from-estimate",
        number="derived here, on the estimator in use",
        title="The exponent predicted from it is too large",
        kind=Kind.LOWER,
        statement=r"With $\beta = 1$ the data exponent from such an estimate is $1.15$ times that of the true $d = 20$ at "
        r"least, $1.3$ times at 30, $1.5$ times at 50.",
        formula={20: 1.15, 30: 1.3, 50: 1.5}.__getitem__,
        check=checks.exponent_too_large,
        shares="havrilla2024 clouds",
        code=(CURVE, "theory.manifold_rates.data_exponent"),
        note="So that an agreement with a measured exponent can come from the bias, as can a disagreement.",
    ),
    Claim(
        name="havrilla2024/more-points",
        number="authors' public code, notes",
        title="More samples, larger estimate",
        kind=Kind.LOWER,
        statement=r"The estimate from 3600 points is larger than that from 900, on Gaussians of dimension 10 and 20.",
        formula=lambda: 0,
        check=checks.more_points,
        shares="havrilla2024 clouds",
        code=(ESTIMATOR,),
    ),
    Claim(
        name="havrilla2024/more-neighbours",
        number="authors' public code, notes",
        title="More neighbours, smaller estimate",
        kind=Kind.LOWER,
        statement=r"The estimate from 10 neighbours is larger than that from 40, on 3600 points of Gaussians of dimension "
        r"10 and 20.",
        formula=lambda: 0,
        check=checks.more_neighbours,
        shares="havrilla2024 clouds",
        code=(ESTIMATOR, "empirical.dimension.dimension_by_scale"),
    ),
    Claim(
        name="havrilla2024/averages",
        number="derived here, on MacKay and Ghahramani 2005",
        title="Arithmetic and harmonic means of local estimates",
        kind=Kind.CONDITIONAL,
        granted=Kind.TIGHT,
        statement=r"The mean of one local estimate is $d (k - 1)/(k - 2)$, so is that of their arithmetic mean; the "
        r"harmonic mean of $n$ has the mean $d\, n (k - 1) / (n (k - 1) - 1)$.",
        assumptions=EVEN,
        formula=lambda n, k: n * (k - 1) / (n * (k - 1) - 1),
        check=checks.averages,
        code=(ESTIMATOR,),
        note="At 20 neighbours 5.6 per cent too much by the arithmetic mean, nearly nothing by the harmonic one, whose "
        "inverse is unbiased exactly. scikit-dimension's fit_transform, which the authors' code calls, averages "
        "arithmetically, its fit harmonically.",
    ),
    Claim(
        name="havrilla2024/local-spread",
        number="derived here, on Levina and Bickel 2004",
        title="The spread of a local estimate",
        kind=Kind.CONDITIONAL,
        granted=Kind.TIGHT,
        statement=r"The standard deviation of one local estimate is its mean over $\sqrt{k - 3}$.",
        assumptions=EVEN,
        formula=lambda k: 1 / (k - 3),
        check=checks.spread,
        code=(ESTIMATOR,),
        note="Checked as the square. Neighbourhoods overlap in data, so that dividing by the root of n promises too much.",
    ),
    Claim(
        name="havrilla2024/two-nearest",
        number="derived here, on Facco et al. 2017",
        title="The law of two neighbours",
        kind=Kind.CONDITIONAL,
        granted=Kind.TIGHT,
        statement=r"The ratio of the distances to the second and the first neighbour has $P(T_2/T_1 > t) = t^{-d}$.",
        assumptions=EVEN,
        formula=lambda t, d: t**-d,
        check=checks.two_nearest,
        code=("empirical.dimension.two_nn",),
    ),
    Claim(
        name="havrilla2024/noise-small-scales",
        number="derived here, on Facco et al. 2017",
        title="Noise first",
        kind=Kind.LOWER,
        statement=r"Noise of $10^{-3}$ in each of 50 coordinates makes a circle, 3600 points, look of dimension 10 at least "
        r"to two neighbours.",
        formula=lambda: 10,
        check=checks.noise,
        code=("empirical.dimension.two_nn", "empirical.dimension.dimension_by_scale"),
        note="Its neighbours are 0.0017 apart: at that scale there is noise and no circle.",
    ),
    Claim(
        name="havrilla2024/metric-halves",
        number="derived here, on the estimator in use",
        title="1 - cos as a distance halves the estimate",
        kind=Kind.TIGHT,
        statement=r"On unit vectors $1 - \cos$ is half the squared chord: logarithms of its ratios are twice those of "
        r"distances, and the estimate is half as large, exactly.",
        formula=lambda: 2,
        check=checks.metric,
        code=(ESTIMATOR,),
    ),
    Claim(
        name="havrilla2024/metric-in-use",
        number="authors' public code, metric",
        title="Which metric the printed dimensions rest on",
        kind=Kind.TIGHT,
        statement=r"The paper's dimensions are those of a distance, not of $1 - \cos$.",
        formula=lambda: 1,
        check=None,
        note="The public script asks for metric = cosine by default, of an estimator that takes no metric in any release "
        "seen, so that a changed copy was used; whether that one halves can't be told from the code at hand. An open question.",
    ),
)
