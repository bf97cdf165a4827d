r"""How much precision built hop models need: score gaps, leaked attention, least scales, and where a number format's range ends.

A head is meant to attend to one position (or, when counting, uniformly to some). Softmax gives others a little, which is
exponentially small in the score gap; float arithmetic gives wrong scores once they need more digits than the format has. Both can
be bounded for all strings of a length at once. N is seq_len, positions are 0 (start) to N, S is vocab_size, symbols are coded
1..S and the start 0. Five kinds of heads ("primitives"; scores up to a constant of the query, before scaling by lambda):

    "look-up"    attend to position t:                        2 t j - j^2 = t^2 - (t - j)^2
    "last match" latest j with u_j = v, else the start:       2 B v u_j + j - B u_j^2 + B v^2 e_j, B = N + 1, u_0 = 0
    "pair"       the j with (a_j, b_j) = (a, b):              2 a a_j + 2 b b_j - (a_j^2 + b_j^2)
    "count"      uniform on the start and all j with x_j = x: 2 x x_j - x_j^2 + x^2 e_j
    "broadcast"  the start:                                   e_j

In the quadratic encoding all scores are whole numbers and every gap is at least 1. In the circle encoding look-up, last match and
pair use cosines of angles instead (count and broadcast stay as they are), whose gaps are small and whose scores are rounded;
there the scale is given per unit of gap: scores are multiplied by `scale` times the least power of two >= 1/gap.

Source: Sanford, Hsu and Telgarsky 2024, Lemmas A.2, D.1 and D.2; encodings, gaps and all limits derived here.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from theory.hops import Recipe
from theory.shapes import checked_integer

Encoding = Literal["quadratic", "circle"]
Primitive = Literal["look-up", "last match", "pair", "count", "broadcast"]

SIGNIFICAND_BITS = {"float32": 24, "float64": 53}
"""p: every whole number up to 2^p is representable, and rounding is relative to at most 2^-p."""
DEFAULT_SCALE = {"float32": 128.0, "float64": 1024.0}
"""Scales at which all other weights underflow: attention rows are exactly one-hot."""
UNDERFLOW = {"float32": 104.0, "float64": 746.0}
"""e^-x is below half of the least positive number of the format, so that it rounds to zero, for x at least this."""
WHOLE_WEIGHT = {"float32": 25 * math.log(2), "float64": 54 * math.log(2)}
"""A weight 1 / (1 + e^-x) rounds to exactly 1 for x at least this: e^-x is half of what would change 1."""

CIRCLE_PRIMITIVES: tuple[Primitive, ...] = ("look-up", "last match", "pair")
MOST_SCALE_POWER = 20
NEXT_POWER = 1e-12  # slack when a power of two is looked for: 1/gap itself carries rounding


class HopRangeError(ValueError):
    """Sizes at which a built hop model would not be exact in its number format; the message names the limit."""


@dataclass(frozen=True)
class RangeLimit:
    """One condition under which a construction is exact: `value` must be below `bound`.

    Attributes:
        name: which limit.
        statement: the condition in symbols.
        value: its left side at the sizes asked.
        bound: its right side.
    """

    name: str
    statement: str
    value: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether value < bound."""
        return self.value < self.bound


def significand_bits(dtype: str) -> int:
    """p of "float32" or "float64"; any other name raises HopRangeError with the reason."""
    if dtype not in SIGNIFICAND_BITS:
        short = {"float16": 11, "bfloat16": 8}.get(dtype)
        raise HopRangeError(f"dtype = {dtype}: float32 and float64 are legal" + (_why_short(dtype, short) if short else ""))
    return SIGNIFICAND_BITS[dtype]


def _why_short(dtype: str, bits: int) -> str:
    return f" ({dtype} has all whole numbers only up to 2^{bits}, which squares of positions pass at {math.isqrt(2**bits) + 1})"


def primitives_of(recipe: Recipe, encoding: Encoding = "quadratic", *, multi_task: bool = False) -> tuple[Primitive, ...]:
    """The kinds of heads that a recipe uses. ValueError for an unknown recipe or encoding, or one that "C" can't have."""
    if recipe not in get_args(Recipe):
        raise ValueError(f"recipe = {recipe!r}: must be one of {', '.join(get_args(Recipe))}")
    if encoding not in get_args(Encoding):
        raise ValueError(f"encoding = {encoding!r}: must be one of {', '.join(get_args(Encoding))}")
    if recipe == "C" and (encoding == "circle" or multi_task):
        what = "encoding = 'circle'" if encoding == "circle" else "max_hops"
        raise ValueError(f"{what} with recipe = 'C': recipe C has no maps, which this takes; recipes A and B are legal")
    used: tuple[Primitive, ...] = ("look-up", "last match")
    if recipe == "B":
        used += ("pair", "count")
    return (*used, "broadcast") if multi_task else used


def score_gap(primitive: Primitive, encoding: Encoding, seq_len: int, vocab_size: int) -> float:
    r"""xi, the least difference of exact scores between an attended position and any other, over all strings.

    1 for quadratic scores. On circles, with P = N + 1: look-up 1 - cos(2 pi / P); last match, symbols 2N and positions 1 units
    apart on a circle of 2N(S + 1) units, the start half a unit behind the farthest match: the least of the steps between
    matches at distances d and d + 1, start and nearest mismatch, which is 1 - cos(pi / (N (S + 1))) unless N = 1; pair: the
    smaller of the steps of its two circles, 1 - cos(2 pi / P) with P = max(N, S) + 1.

    Raises ValueError for sizes below 1.
    """
    return _gap(primitive, encoding, seq_len, vocab_size, rounding=0.0)


def guaranteed_gap(primitive: Primitive, encoding: Encoding, seq_len: int, vocab_size: int, dtype: str) -> float:
    r"""What is left of `score_gap` in the number format: the same where scores are exact, less a bound on errors on circles.

    With u = 2^-p: stored points of a circle are off by at most 1.5 u in radius (cosine and sine to one unit in the last place,
    the standard of libraries, assumed) and 4 pi u + 2 u in angle (frequency and product rounded once each, angle below 2 pi);
    scores of two circle coordinates are off by at most 2.5 u, of four by 9 u. Negative means nothing is guaranteed.
    """
    return _gap(primitive, encoding, seq_len, vocab_size, rounding=2.0 ** -significand_bits(dtype))


def _gap(primitive: Primitive, encoding: Encoding, seq_len: int, vocab_size: int, rounding: float) -> float:
    n, s = checked_integer("seq_len", seq_len, 1), checked_integer("vocab_size", vocab_size, 1)
    if encoding == "quadratic" or primitive not in CIRCLE_PRIMITIVES:
        return 1.0
    radius, angle = 1.5 * rounding, (4 * math.pi + 2) * rounding
    if primitive == "last match":
        unit = math.pi / (n * (s + 1))
        return _last_match_gap(unit, n, 2 * radius, 2 * angle) - 2 * 2.5 * rounding
    unit, terms = (2 * math.pi / (n + 1), 2.5) if primitive == "look-up" else (2 * math.pi / (max(n, s) + 1), 9.0)
    circles = 1 if primitive == "look-up" else 2
    return circle_step(unit, 0.0, 2 * radius, 2 * angle) - (circles - 1) * 4.02 * radius - 2 * terms * rounding


def circle_step(unit: float, start: float, radius: float, angle: float) -> float:
    """cos(start) - cos(start + unit) less what errors of a pair of points take: relative `radius` on each product, `angle`.

    Without cancellation: by 2 sin(x) sin(y), and the products' radii apart.
    """
    near, far = start + angle, max(start + unit - angle, start)
    exact = 2 * math.sin((near + far) / 2) * math.sin(max(far - near, 0.0) / 2)
    return exact - radius * 1.01 * (abs(math.cos(near)) + abs(math.cos(far)))


def _last_match_gap(unit: float, seq_len: int, radius: float, angle: float) -> float:
    # Matches at most N - 1 units away, an angle of at most pi/2: there cosine falls faster and faster, so that of the steps from
    # one match to the next the first is the least.
    farthest = (seq_len - 1) * unit
    between = circle_step(unit, 0.0, radius, angle) if seq_len > 1 else math.inf
    to_start = circle_step(unit / 2, farthest, radius, angle)
    to_mismatch = circle_step(1.5 * unit, farthest + unit / 2, radius, angle)
    return min(between, to_start, to_mismatch)


def head_scale(primitive: Primitive, encoding: Encoding, seq_len: int, vocab_size: int, scale: float) -> float:
    """lambda, what a head's scores are multiplied with: `scale` times the least power of two >= 1 / gap, so that lambda times
    the exact gap is at least `scale`."""
    gap = score_gap(primitive, encoding, seq_len, vocab_size)
    return scale * 2.0 ** math.ceil(-math.log2(gap) - NEXT_POWER)


def leaked_mass(primitive: Primitive, encoding: Encoding, seq_len: int, scaled_gap: float) -> float:
    """A bound, for all strings, on the attention that goes where it should not, relative to one attended position's.

    `scaled_gap` is lambda xi, x below. Quadratic scores at distinct whole numbers sum to geometric series: look-up
    2 sum e^(-x d^2) <= 2 e^-x / (1 - e^-3x) = r, last match sum e^(-x m) (all its scores differ, modulo N + 1), pair the lattice
    points of the plane, (1 + r)^2 - 1; else, and where smaller, N e^-x.
    """
    x = float(scaled_gap)
    if x <= 0:
        return math.inf
    series = 2 * math.exp(-x) / -math.expm1(-3 * x)  # d^2 >= 1 + 3 (d - 1)
    if encoding == "quadratic" and primitive in CIRCLE_PRIMITIVES:
        closed = {"look-up": series, "last match": 1 / math.expm1(x) if x < 700 else math.exp(-x), "pair": series * (2 + series)}
        return min(closed[primitive], seq_len * math.exp(-x))
    return seq_len * math.exp(-x)


def payload_error(primitive: Primitive, encoding: Encoding, seq_len: int, payload: int, scaled_gap: float, dtype: str) -> float:
    """A bound on how far what a head brings is from the attended position's value, for payloads in [0, payload], in floats.

    Leaked mass moves it by leak times payload. Adding a small number to a large one errs by no more than the small one, so the
    value sum, in any order, errs once more by that; the attended weight and its product err by at most 6 u times payload
    (exponentials to four units in the last place, and e^0 = 1 exactly, assumed). The leak is taken 1.01 times for its own
    rounding. For "count" it is the error of 1/u - 1, u = 1/(1 + c) up to leak and rounding; its leak is that of 1/u already.
    """
    leak, unit = 1.01 * leaked_mass(primitive, encoding, seq_len, scaled_gap), 2.0 ** -significand_bits(dtype)
    if primitive == "count":
        return 2 * leak + (seq_len + 1) * 6 * unit
    return payload * (2 * leak + 6 * unit)


def payload_of(primitive: Primitive, seq_len: int, vocab_size: int, max_hops: int = 0) -> int:
    """The largest number that a head brings: positions and ranks to N, symbols to S, predecessors' ranks to N + 1, k."""
    by_primitive = {"look-up": max(seq_len + 1, vocab_size), "broadcast": max_hops, "count": 1}
    return by_primitive.get(primitive, max(seq_len, vocab_size))


def scale_holds(
    primitive: Primitive, encoding: Encoding, seq_len: int, vocab_size: int, dtype: str, recipe: Recipe, scale: float,
    max_hops: int = 0,
) -> bool:  # fmt: skip
    """Whether `scale` suffices for this kind of head: `payload_error` below 1/2 (A, B), all other weights zero (C)."""
    kept = guaranteed_gap(primitive, encoding, seq_len, vocab_size, dtype)
    gap = kept * head_scale(primitive, encoding, seq_len, vocab_size, scale)
    if recipe == "C":
        return gap >= UNDERFLOW[dtype]
    if gap <= 0:
        return False
    return payload_error(primitive, encoding, seq_len, payload_of(primitive, seq_len, vocab_size, max_hops), gap, dtype) < 0.5


def least_scale(
    seq_len: int, vocab_size: int, dtype: str, recipe: Recipe, encoding: Encoding = "quadratic", *, max_hops: int | None = None
) -> float:
    """The least power of two that suffices as scale by formula, for every kind of head of a recipe; inf where none does.

    Sufficient, not necessary: models on actual strings are often exact below it.

    Raises ValueError for sizes, a recipe or an encoding that are not legal, HopRangeError for another number format.
    """
    used = primitives_of(recipe, encoding, multi_task=max_hops is not None)
    return max(least_head_scale(each, encoding, seq_len, vocab_size, dtype, recipe, max_hops or 0) for each in used)


def least_head_scale(
    primitive: Primitive, encoding: Encoding, seq_len: int, vocab_size: int, dtype: str, recipe: Recipe, max_hops: int = 0
) -> float:
    """As `least_scale`, for one kind of head."""
    scales = (2.0**power for power in range(MOST_SCALE_POWER + 1))
    sizes = (primitive, encoding, seq_len, vocab_size, dtype, recipe)
    return next((scale for scale in scales if scale_holds(*sizes, scale, max_hops)), math.inf)


def range_limits(
    seq_len: int, vocab_size: int, dtype: str, recipe: Recipe, encoding: Encoding = "quadratic", *,
    max_hops: int | None = None, scale: float | None = None,
) -> tuple[RangeLimit, ...]:  # fmt: skip
    """All conditions under which a construction is exact on every string, with both sides.

    Quadratic scores are exact in any order of summation when every sum of some of their terms is a whole number below 2^p
    (or an even one below 2^(p+1)); the scale, a power of two, changes nothing. That is
        look-up     N^2 < 2^p                    (2 t j is even; all other sums lie between -N^2 and N^2)
        last match  2 (N + 1) S^2 + N < 2^p      (the sum of the positive terms, at v = u = S and j = N)
        pair        N^2 + S^2 < 2^p              (its key coordinate a_j^2 + b_j^2; 2 a a_j and 2 b b_j are even)
    On circles rounding must leave more than nothing of the gap, and the angle's whole number 2 N s + j be below 2^p. In both,
    the error of what heads bring must be below 1/2, which rounding removes; in recipe C, which doesn't round, all other weights
    must underflow.

    Args:
        seq_len: N.
        vocab_size: S.
        dtype: "float32" or "float64".
        recipe: "A", "B" or "C".
        encoding: of positions: "quadratic" or "circle".
        max_hops: for a model that reads k from its first token, else None.
        scale: what scores are multiplied with; None for the default of the number format.

    Raises:
        ValueError: sizes, a recipe or an encoding that are not legal.
        HopRangeError: another number format.
    """
    n, s = checked_integer("seq_len", seq_len, 1), checked_integer("vocab_size", vocab_size, 1)
    bits = significand_bits(dtype)
    scale, whole = DEFAULT_SCALE[dtype] if scale is None else float(scale), f"2^{bits}"
    used = primitives_of(recipe, encoding, multi_task=max_hops is not None)
    exact = {
        "look-up": (f"N^2 < {whole}", n * n),
        "last match": (f"2 (N + 1) S^2 + N < {whole}", 2 * (n + 1) * s * s + n),
        "pair": (f"N^2 + S^2 < {whole}", n * n + s * s),
    }
    if encoding == "circle":
        exact = {"last match": (f"2 N S + N < {whole}", 2 * n * s + n)}
    limits = [RangeLimit(name, statement, float(value), 2.0**bits) for name, (statement, value) in exact.items() if name in used]
    for primitive in used:
        gap = guaranteed_gap(primitive, encoding, n, s, dtype) * head_scale(primitive, encoding, n, s, scale)
        if recipe == "C":
            statement = f"{UNDERFLOW[dtype]:g} <= lambda gap, so that other weights are zero"
            limits.append(RangeLimit(f"{primitive}, scale", statement, UNDERFLOW[dtype], math.nextafter(gap, math.inf)))
            continue
        payload = payload_of(primitive, n, s, max_hops or 0)
        error = payload_error(primitive, encoding, n, payload, gap, dtype) if gap > 0 else math.inf
        reason = "error of what the head brings < 1/2"
        if encoding == "circle" and primitive in CIRCLE_PRIMITIVES:
            reason += f" (rounding leaves {guaranteed_gap(primitive, encoding, n, s, dtype):.3g} of the gap"
            reason += f" {score_gap(primitive, encoding, n, s):.3g})"
        limits.append(RangeLimit(f"{primitive}, scale", reason, error, 0.5))
    return tuple(limits)


def check_range(
    seq_len: int, vocab_size: int, dtype: str, recipe: Recipe, encoding: Encoding = "quadratic", *,
    max_hops: int | None = None, scale: float | None = None,
) -> None:  # fmt: skip
    """HopRangeError, naming the first limit that is passed, unless all of `range_limits` hold; arguments as there."""
    for limit in range_limits(seq_len, vocab_size, dtype, recipe, encoding, max_hops=max_hops, scale=scale):
        if not limit.holds:
            longest = longest_string(vocab_size, dtype, recipe, encoding, max_hops=max_hops, scale=scale)
            beyond = ", and some beyond" if encoding == "circle" and scale is not None else ""  # see longest_string
            legal = f"seq_len 1 to {longest} is legal{beyond}" if longest or beyond else "no seq_len is legal"
            at_scale = "" if scale is None else f", scale = {scale:g}"
            raise HopRangeError(
                f"seq_len = {seq_len}: past the {limit.name} limit of {dtype}, {limit.statement}: {limit.value:.8g} against "
                f"{limit.bound:.8g}; {legal} with vocab_size = {vocab_size}, encoding = {encoding!r}{at_scale}"
            )


def longest_string(
    vocab_size: int, dtype: str, recipe: Recipe, encoding: Encoding = "quadratic", *,
    max_hops: int | None = None, scale: float | None = None,
) -> int:  # fmt: skip
    """The largest N up to which all of `range_limits` hold, by bisection; 0 where none is, 2^30 - 1 at most.

    Limits are monotone in N except on circles with a `scale` of one's own, where the scale of a head jumps with N to the next
    power of two: some N beyond the one found may be legal there.

    Arguments and errors as `range_limits`.
    """
    low, high = 0, 1 << 30
    while high - low > 1:
        middle = (low + high) // 2
        limits = range_limits(middle, vocab_size, dtype, recipe, encoding, max_hops=max_hops, scale=scale)
        low, high = (middle, high) if all(limit.holds for limit in limits) else (low, middle)
    return low
