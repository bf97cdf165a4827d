"""Is the spectrum of a matrix a power law, or what any matrix of noise of that shape would show?

Every list of singular values falls, and a program that fits power laws will fit it one. So a spectrum is first held against two
nulls of the same shape: Gaussian noise, whose eigenvalues follow Marchenko and Pastur's law, and copies of the matrix with each
column permuted on its own, which keep what the columns hold and destroy how they go together. Only a spectrum that differs from
both is fitted.

For X of n rows and p columns with entries of variance 1, q = p / n: the eigenvalues of X^T X / n fill [(1 - sqrt q)^2, (1 +
sqrt q)^2] with density sqrt((l+ - x)(x - l-)) / (2 pi q x), and for q > 1 a share 1 - 1/q of them is 0 (Marchenko and Pastur
1967). For q = 1 the singular values of X / sqrt n follow the quarter circle sqrt(4 - s^2) / pi on [0, 2].
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Real
from scipy import linalg

from theory._power_ranks import SegmentSlope
from theory.power_laws import PowerLawFit, PowerLawVerdict, fit_power_law
from theory.shapes import checked_integer

__all__ = [
    "MarchenkoPastur", "NullTest", "SpectrumVerdict", "independence_residuals", "judge_spectrum",
    "local_slopes", "quarter_circle_cdf", "quarter_circle_density", "quarter_circle_quantiles",
]  # fmt: skip

NULL_LEVEL = 0.05
LEAST_TAIL = 30
LITTLE_BENT = 1.25
MOST_BENT = 1.5
LEAST_SIDE = 10


@dataclass(frozen=True)
class MarchenkoPastur:
    """The law of the eigenvalues of X^T X / n, X of n rows and p = q n columns of independent entries of variance `variance`.

    Raises ValueError for q (`ratio`) or a variance that is not positive and finite.
    """

    ratio: float
    variance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("ratio", "variance"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} = {value!r}: must be positive and finite")

    @property
    def edges(self) -> tuple[float, float]:
        """Smallest and largest eigenvalue in the limit, zeros aside."""
        root = np.sqrt(self.ratio)
        return float(self.variance * (1 - root) ** 2), float(self.variance * (1 + root) ** 2)

    @property
    def share_of_zeros(self) -> float:
        """1 - 1 / q for q > 1, else 0."""
        return max(0.0, 1 - 1 / self.ratio)

    def density(self, x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """Of the eigenvalues above 0; it integrates to 1, or to 1 / q where q > 1."""
        low, high = self.edges
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.sqrt(np.maximum((high - x) * (x - low), 0)) / (2 * np.pi * self.ratio * self.variance * x)
        return np.where((x > low) & (x < high), value, 0.0)

    def cdf(self, x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """The share of eigenvalues up to x, zeros included. Closed form, derived here by x = 1 + q + 2 sqrt q cos(angle)."""
        scaled = np.asarray(x) / self.variance
        cosine = np.clip((scaled - 1 - self.ratio) / (2 * np.sqrt(self.ratio)), -1, 1)
        above = self._above(np.arccos(cosine))
        return np.where(scaled < 0, 0.0, np.where(cosine >= 1, 1.0, 1 - above))

    def quantiles(self, shares: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """The eigenvalue below which this share lies (0 where it lies among the zeros). ValueError for shares outside [0, 1]."""
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError("shares: must be between 0 and 1")
        low, high = np.zeros(np.shape(shares)), np.full(np.shape(shares), np.pi)  # angles; the share above grows with the angle
        for _ in range(60):
            middle = (low + high) / 2
            enough = self._above(middle) >= 1 - shares
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        value = 1 + self.ratio + 2 * np.sqrt(self.ratio) * np.cos(high)
        return self.variance * np.where(shares <= self.share_of_zeros, 0.0 if self.ratio > 1 else value, value)

    def expected(self, count: int) -> Float[np.ndarray, " count"]:
        """`count` eigenvalues above 0 in falling order: the (r - 1/2) / count quantiles from the top."""
        shares = 1 - (np.arange(1, count + 1) - 0.5) / count * (1 - self.share_of_zeros)
        return self.quantiles(shares)

    def _above(self, angle: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """The share of eigenvalues whose angle is below this one.

        (2 / pi) times the integral of sin^2 / (a + b cos) from 0 to the angle, with a = 1 + q and b = 2 sqrt q.
        """
        a, b = 1 + self.ratio, 2 * np.sqrt(self.ratio)
        gap = abs(1 - self.ratio)  # sqrt(a^2 - b^2)
        with np.errstate(invalid="ignore"):
            turn = np.arctan2(gap / (a + b) * np.sin(angle / 2), np.cos(angle / 2))
        return (2 / np.pi) * (a * angle / b**2 - np.sin(angle) / b - 2 * gap / b**2 * turn)


def quarter_circle_density(s: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """sqrt(4 - s^2) / pi on [0, 2]: singular values of a square Gaussian matrix of variance 1, divided by sqrt n."""
    return np.where((s >= 0) & (s <= 2), np.sqrt(np.maximum(4 - s**2, 0)) / np.pi, 0.0)


def quarter_circle_cdf(s: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """The share of singular values up to s."""
    inside = np.clip(s, 0, 2)
    return inside * np.sqrt(4 - inside**2) / (2 * np.pi) + 2 / np.pi * np.arcsin(inside / 2)


def quarter_circle_quantiles(shares: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """The singular value below which this share lies: the root of the eigenvalue quantile for q = 1."""
    return np.sqrt(MarchenkoPastur(1.0).quantiles(shares))


@dataclass(frozen=True, eq=False)
class NullTest:
    """A spectrum against copies of a null of the same shape.

    Attributes:
        null: "Marchenko-Pastur" (Gaussian copies, each at its own fitted scale) or "permuted columns".
        statistic: how far the spectrum is from the null; for the first the distance of Kolmogorov and Smirnov to the law, for
            the second the largest |ln s_r - mean ln s_r of data and copies| over the upper half of the ranks.
        p_value: (1 + number of copies at least as far) / (1 + number of copies). For the first null the largest singular value
            counts as well as the distance, which one spike hardly moves.
        low, high: (rank,) the smallest and largest singular value of the copies at each rank, in the data's units.
        num_above: how many singular values, from the first on without a gap, exceed every copy's value at the same rank.
    """

    null: str
    statistic: float
    p_value: float
    low: Float[np.ndarray, " rank"] = field(repr=False)
    high: Float[np.ndarray, " rank"] = field(repr=False)
    num_above: int

    @property
    def beaten(self) -> bool:
        """Whether the spectrum differs from the null: p <= 0.05."""
        return self.p_value <= NULL_LEVEL


@dataclass(frozen=True, eq=False)
class SpectrumVerdict:
    """A spectrum, its nulls, and what follows.

    Attributes:
        shape: (n, p) of the matrix.
        singular_values: falling, of the matrix divided by sqrt n, columns centred where `centred`; squares are eigenvalues.
        scale: standard deviation of the entries of a Gaussian matrix with the same median eigenvalue.
        expected: Marchenko and Pastur's quantiles at that scale, as singular values, rank by rank.
        nulls: the two tests.
        slopes: of ln singular value against ln rank, between ranks: without an interval, as sorted points depend on each other.
        fit: of a power law to the singular values, where both nulls are beaten; else None.
        verdict, reasons: see `judge_spectrum`.
    """

    shape: tuple[int, int]
    singular_values: Float[np.ndarray, " rank"] = field(repr=False)
    centred: bool
    scale: float
    expected: Float[np.ndarray, " rank"] = field(repr=False)
    nulls: tuple[NullTest, NullTest]
    slopes: tuple[SegmentSlope, ...]
    fit: PowerLawFit | None
    verdict: PowerLawVerdict
    reasons: tuple[str, ...]


def independence_residuals(counts: Real[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """(count - expected) / sqrt(expected) of a table of counts, with expected = row sum * column sum / total.

    Rows and columns without counts go. A table of counts has one large singular value and a slow fall merely from some rows and
    columns being frequent. What is left here has variance about 1 where rows and columns are independent. Raises ValueError for
    negative counts and an empty table.
    """
    table = _matrix("counts", counts)
    if (table < 0).any() or not table.any():
        raise ValueError("counts: must be >= 0, and some above 0")
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return (table - expected) / np.sqrt(expected)


def local_slopes(
    singular_values: Float[np.ndarray, " rank"], segments: tuple[tuple[int, int], ...] | None = None
) -> tuple[SegmentSlope, ...]:
    """Least-squares slopes of ln value against ln rank between ranks (first, last): by default 1-4, 4-16, 16-64, ...

    A power law has the same slope in all. Values of 0 (1e-12 of the largest) are left out. Raises ValueError for segments that
    are none.
    """
    if segments is None:
        ends = [4**power for power in range(32) if 4**power < len(singular_values)]
        ends = [*ends, len(singular_values)]
        segments = tuple((first, last) for first, last in pairwise(ends) if last >= first + 2)
    pieces = []
    for first, last in segments:
        if not 1 <= first < last:
            raise ValueError(f"segments: must be pairs of ranks 1 <= first < last, has ({first}, {last})")
        values = singular_values[first - 1 : last]
        usable = values > 1e-12 * singular_values[0]
        ranks = np.arange(first, first + len(values))[usable]
        slope, reason = float("nan"), "fewer than 3 values above 0"
        if ranks.size >= 3:
            slope = float(np.polyfit(np.log(ranks), np.log(values[usable]), 1)[0])
            reason = "points of a sorted curve depend on each other: no interval"
        pieces.append(SegmentSlope(first, last, int(ranks.size), slope, float("nan"), float("nan"), reason))
    return tuple(pieces)


def judge_spectrum(
    matrix: Real[np.ndarray, "rows columns"],
    *,
    permutations: int = 39,
    seed: int = 0,
    centre: bool = True,
    bootstraps: int = 200,
) -> SpectrumVerdict:
    """What the singular values of a matrix (rows: samples, columns: features; at least 10 of each) say about a power law.

    With `centre` every column's mean is taken off first: it alone makes one giant singular value. Each null is drawn
    `permutations` times (39: smallest p .025; 19 are the least).

    Verdicts:
        rejected             the spectrum is that of Gaussian noise (Marchenko-Pastur not beaten); or it beats both nulls, and the
                             fit of its tail is rejected, or the tail's slopes (below) differ by more than a factor 1.5.
        not distinguishable  permuted copies have the same spectrum: what there is comes from the columns one by one; or the
                             tail has fewer than 30 values, or spans less than a decade, or an exponential is not ruled out, or
                             the slopes differ by more than a factor 1.25.
        power law            both are beaten and none of these holds.

    The slopes are those of ln value against ln rank in the upper and the lower half of the tail, halves by ln rank.

    The fit takes singular values for independent draws. They repel each other, so its p-value is too kind: a rejection
    stands, a "power law" is what remains possible.

    Raises ValueError for a matrix that is none, not finite, too small or constant, and fewer than 19 permutations.
    """
    data = _matrix("matrix", matrix)
    permutations = checked_integer("permutations", permutations, 19)
    if min(data.shape) < LEAST_SIDE:
        raise ValueError(f"matrix: must have at least {LEAST_SIDE} rows and columns, is {data.shape[0]} x {data.shape[1]}")
    generator = np.random.default_rng(seed)
    values = _spectrum(data, centre)
    if not values[0] > 0 or (np.ptp(data, axis=0) == 0).all():
        raise ValueError("matrix: must not be constant in every column")
    law, scale = _fitted_law(values, data.shape, centre)
    gaussian = _gaussian_null(values, data.shape, centre, permutations, scale, generator)
    permuted = _permuted_null(data, values, centre, permutations, generator)
    slopes = local_slopes(values)
    fit = None
    if gaussian.beaten and permuted.beaten:
        positive = values[values > 1e-10 * values[0]]
        fit = fit_power_law(positive, discrete=False, bootstraps=bootstraps, seed=seed)
    verdict, reasons = _judge(values, gaussian, permuted, fit)
    expected = np.sqrt(law.expected(len(values)))
    return SpectrumVerdict(
        (data.shape[0], data.shape[1]), values, centre, scale, expected, (gaussian, permuted), slopes, fit, verdict, reasons
    )


def _matrix(name: str, matrix: Real[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    try:
        data = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: must be a matrix of numbers") from None
    if data.ndim != 2 or not data.size:
        raise ValueError(f"{name}: must be a matrix, has shape {data.shape}")
    if not np.isfinite(data).all():
        raise ValueError(f"{name}: must be finite, {int((~np.isfinite(data)).sum())} entries are not")
    return data


def _rows_left(shape: tuple[int, ...], centre: bool) -> int:
    """n, or the n - 1 directions that centred columns keep."""
    return shape[0] - 1 if centre else shape[0]


def _spectrum(data: Float[np.ndarray, "rows columns"], centre: bool) -> Float[np.ndarray, " rank"]:
    """Singular values over sqrt n, falling; the one that centring makes 0 is left out."""
    rows = _rows_left(data.shape, centre)
    shifted = data - data.mean(axis=0) if centre else data
    values = linalg.svdvals(shifted)
    return np.asarray(values[: min(rows, data.shape[1])]) / np.sqrt(rows)


def _fitted_law(values: Float[np.ndarray, " rank"], shape: tuple[int, ...], centre: bool) -> tuple[MarchenkoPastur, float]:
    """The law whose median among the eigenvalues above 0 is that of the data, and its standard deviation.

    The median, as a few large values should not move it. Where it is 0 (a matrix of low rank) the mean takes its place.
    """
    ratio = shape[1] / _rows_left(shape, centre)
    variance = float(np.median(values**2)) / _median(ratio)
    if variance < 1e-20 * values[0] ** 2:
        variance = float(np.sum(values**2)) / shape[1]
    return MarchenkoPastur(ratio, variance), float(np.sqrt(variance))


@lru_cache(maxsize=8)
def _median(ratio: float) -> float:
    """Of the eigenvalues above 0 at variance 1; every copy of a null asks for the same one."""
    law = MarchenkoPastur(ratio)
    return float(law.quantiles(np.array([1 - 0.5 * (1 - law.share_of_zeros)]))[0])


def _distance(values: Float[np.ndarray, " rank"], law: MarchenkoPastur) -> float:
    """Of Kolmogorov and Smirnov, among the eigenvalues above 0."""
    positive = (law.cdf(values[::-1] ** 2) - law.share_of_zeros) / (1 - law.share_of_zeros)
    steps = np.arange(len(values) + 1) / len(values)
    return float(max(np.abs(positive - steps[1:]).max(), np.abs(positive - steps[:-1]).max()))


def _gaussian_null(
    values: Float[np.ndarray, " rank"],
    shape: tuple[int, ...],
    centre: bool,
    copies: int,
    scale: float,
    generator: np.random.Generator,
) -> NullTest:
    own = _distance(values, _fitted_law(values, shape, centre)[0])
    spectra = np.array([_spectrum(generator.standard_normal(shape), centre) for _ in range(copies)])
    laws = [_fitted_law(spectrum, shape, centre) for spectrum in spectra]
    distances = np.array([_distance(spectrum, law) for spectrum, (law, _) in zip(spectra, laws, strict=True)])
    # The largest value counts as well: one spike above the edge hardly moves the distance.
    edges = np.array([spectrum[0] / fitted for spectrum, (_, fitted) in zip(spectra, laws, strict=True)])
    both = np.stack([np.append(own, distances), np.append(values[0] / scale, edges)])
    # In units of the pool's own spread, the data being one among equals in it; the worse of the two looks.
    far = ((both - both.mean(axis=1, keepdims=True)) / both.std(axis=1, keepdims=True)).max(axis=0)
    p_value = (1 + int(np.sum(far[1:] >= far[0]))) / (1 + copies)
    scaled = scale * spectra
    return NullTest("Marchenko-Pastur", own, p_value, scaled.min(axis=0), scaled.max(axis=0), _num_above(values, scaled))


def _permuted_null(
    data: Float[np.ndarray, "rows columns"],
    values: Float[np.ndarray, " rank"],
    centre: bool,
    copies: int,
    generator: np.random.Generator,
) -> NullTest:
    spectra = np.array([_spectrum(generator.permuted(data, axis=0), centre) for _ in range(copies)])
    upper = slice(0, max(1, (len(values) + 1) // 2))  # small values are noise in the log
    everything = np.log(np.maximum(np.vstack([values, spectra])[:, upper], 1e-12 * values[0]))
    # Each against the mean of all: the data are one among equals, as the null has it.
    far = np.abs(everything - everything.mean(axis=0)).max(axis=1)
    p_value = (1 + int(np.sum(far[1:] >= far[0]))) / (1 + copies)
    above = _num_above(values, spectra)
    return NullTest("permuted columns", float(far[0]), p_value, spectra.min(axis=0), spectra.max(axis=0), above)


def _num_above(values: Float[np.ndarray, " rank"], spectra: Float[np.ndarray, "copies rank"]) -> int:
    below = np.flatnonzero(values <= spectra.max(axis=0))
    return int(below[0]) if below.size else len(values)


def _judge(
    values: Float[np.ndarray, " rank"], gaussian: NullTest, permuted: NullTest, fit: PowerLawFit | None
) -> tuple[PowerLawVerdict, tuple[str, ...]]:
    if not gaussian.beaten:
        reason = f"the spectrum is that of Gaussian noise of this shape (p = {gaussian.p_value:.3f}), which is no power law"
        return PowerLawVerdict.REJECTED, (reason,)
    if not permuted.beaten:
        reason = f"copies with permuted columns have the same spectrum (p = {permuted.p_value:.3f}): nothing joins the columns"
        return PowerLawVerdict.NOT_DISTINGUISHABLE, (reason,)
    assert fit is not None
    if fit.num_tail == 0:
        return PowerLawVerdict.NOT_DISTINGUISHABLE, tuple(f"fit of the tail: {reason}" for reason in fit.reasons)
    against = [f"fit of the tail: {reason}" for reason in fit.reasons] if fit.verdict is PowerLawVerdict.REJECTED else []
    middle = round(fit.num_tail**0.5)
    steep = [-piece.slope for piece in local_slopes(values, ((1, middle), (middle, fit.num_tail)))]
    bent = max(steep) / min(steep) if min(steep) > 0 else np.inf
    slopes = f"{-steep[0]:.2f} on ranks 1-{middle} and {-steep[1]:.2f} on ranks {middle}-{fit.num_tail}"
    if bent > MOST_BENT:
        against.append(f"slopes differ: {slopes}")
    if against:
        return PowerLawVerdict.REJECTED, tuple(against)
    doubts = []
    if fit.num_tail < LEAST_TAIL:
        doubts.append(f"{fit.num_tail} singular values in the tail: {LEAST_TAIL} are the least to say more")
    span = float(values[0]) / fit.x_min
    if span < 10:
        doubts.append(f"the tail spans a factor {span:.1f}: a decade is the least to say more")
    exponential = next(test for test in fit.comparisons if test.rival == "exponential")
    if exponential.favours != "power law":
        doubts.append(f"an exponential is not ruled out (p = {exponential.p_value:.2g})")
    if not bent <= LITTLE_BENT:
        doubts.append(f"slopes may differ: {slopes}")
    if doubts:
        return PowerLawVerdict.NOT_DISTINGUISHABLE, tuple(doubts)
    return PowerLawVerdict.POWER_LAW, (f"both nulls are beaten, and the slope is {slopes}",)
