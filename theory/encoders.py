"""Codes: one direction per token, so that a vector near a token's direction is read out as that token by the unembedding.

Proposition 3 of Dana, Pydi and Chevaleyre 2025 uses the circle; in more dimensions a code of low coherence keeps
labels further apart. Theorem 2 there prices any code of low coherence as a sequence encoder.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from theory.shapes import checked_integer
from theory.tasks import DistributionTask

Variant = Literal["printed", "repaired"]
BoundVariant = Literal["printed", "repaired", "sharp"]

LARGEST_DESCENT = 2000  # 60 steps then take a few seconds


def circle_code(num_tokens: int) -> Float[np.ndarray, "tokens 2"]:
    """Unit vectors in the plane at the angles 2 pi j / n.

    Args:
        num_tokens: n >= 1 directions.

    Returns:
        One row per token. Reading row y against all rows has the margin 1 - cos(2 pi / n), about 2 pi^2 / n^2.

    Raises:
        ValueError: `num_tokens` is below 1.

    Source: Dana, Pydi and Chevaleyre 2025, proof of Proposition 3.
    """
    if num_tokens < 1:
        raise ValueError(f"num_tokens = {num_tokens}: at least 1 is legal")
    angles = 2 * np.pi * np.arange(num_tokens) / num_tokens
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def low_coherence_code(
    num_tokens: int, dim: int, seed: int, *, steps: int = 60, absolute: bool = False
) -> Float[np.ndarray, "tokens dim"]:
    """Unit vectors whose largest scalar product with one another (the coherence) is small.

    Random directions that repel each other: gradient descent on the soft maximum of all scalar products, ever sharper.
    Where the best code is known it is returned at once: the circle in the plane, a regular simplex for up to `dim + 1` tokens.

    Args:
        num_tokens: n >= 1 directions.
        dim: d >= 2.
        seed: of the random start; the same arguments give the same code.
        steps: of the descent, each O(n^2 d) in time and O(n^2) in memory; 0, or more than 2,000 tokens, leaves the random start.
        absolute: keep absolute scalar products small, as Theorem 2 needs, so that opposite directions repel nothing less than
            equal ones; then the half circle, an orthonormal basis (n <= d) and the simplex (n = d + 1) are known to be best.

    Returns:
        One unit row per token.

    Raises:
        ValueError: a number below its least value.
    """
    if dim < 2:
        raise ValueError(f"dim = {dim}: at least 2 is legal")
    if steps < 0:
        raise ValueError(f"steps = {steps}: at least 0 is legal")
    if dim == 2:
        return circle_code(2 * num_tokens)[:num_tokens] if absolute else circle_code(num_tokens)
    if num_tokens < 1:
        raise ValueError(f"num_tokens = {num_tokens}: at least 1 is legal")
    if absolute and num_tokens <= dim:
        return np.eye(num_tokens, dim)
    if num_tokens <= dim + 1 and steps:
        return _simplex(num_tokens, dim)
    code = np.random.default_rng(seed).standard_normal((num_tokens, dim))
    code /= np.linalg.norm(code, axis=1, keepdims=True)
    if num_tokens > LARGEST_DESCENT or not steps:
        return code
    best, lowest = code, np.inf
    for sharpness in np.geomspace(4.0, 200.0, steps):
        products = code @ code.T
        signs = np.sign(products) if absolute else 1.0
        products = products * signs
        np.fill_diagonal(products, -np.inf)
        highest = products.max()
        if highest < lowest:
            best, lowest = code, highest
        weights = np.exp(sharpness * (products - highest))
        push = ((signs * weights) @ code) / weights.sum(axis=1, keepdims=True)
        code = code - (4.0 / sharpness) * push
        code /= np.linalg.norm(code, axis=1, keepdims=True)
    last = largest_deviation(code) if absolute else coherence(code)
    return code if last < lowest else best


def _simplex(num_tokens: int, dim: int) -> Float[np.ndarray, "tokens dim"]:
    """A regular simplex of unit vectors: scalar products -1 / (n - 1)."""
    code = np.zeros((num_tokens, dim))
    if num_tokens == 1:
        code[0, 0] = 1.0
        return code
    axes = np.linalg.svd(np.eye(num_tokens) - 1.0 / num_tokens)[2][: num_tokens - 1]
    code[:, : num_tokens - 1] = axes.T / np.linalg.norm(axes.T, axis=1, keepdims=True)
    return code


def coherence(code: Float[np.ndarray, "tokens dim"]) -> float:
    """The largest scalar product of two different rows: 1 minus the least margin with which a unit code is read out."""
    products = code @ code.T
    np.fill_diagonal(products, -np.inf)
    return float(products.max())


def largest_deviation(code: Float[np.ndarray, "tokens dim"]) -> float:
    """C = max |W W^T - I| over all entries: the coherence of Theorem 2, lengths included and signs ignored."""
    return float(np.abs(code @ code.T - np.eye(len(code))).max())


def jl_constant(num_tokens: int, dim: int) -> float:
    """sqrt(32 ln(N + 1) / d): the C that random codes reach by the lemma of Johnson and Lindenstrauss.

    Below 1/2, where Theorem 2 says something, only for d > 128 ln(N + 1). Dana, Pydi and Chevaleyre 2025, Theorem 2.
    """
    tokens, width = checked_integer("num_tokens", num_tokens, 1), checked_integer("dim", dim, 1)
    return float(np.sqrt(32 * np.log(tokens + 1) / width))


def proposition_3_bound(vocab_size: int, scale: float) -> float:
    """ln(1 + (N - 1) e^(-scale (1 - cos(2 pi / N)))) nats: at most so far is the circle encoder from any sure distributions.

    The logits are scale cos(2 pi (j - g) / N), largest by scale (1 - cos(2 pi / N)) at the right token g; equality for N = 2
    and N = 3, where all others are at that distance. Dana, Pydi and Chevaleyre 2025, proof of Proposition 3.
    """
    tokens = checked_integer("vocab_size", vocab_size, 2)
    if not (np.isfinite(scale) and scale >= 0):
        raise ValueError(f"scale = {scale}: must be a finite number >= 0")
    return float(np.log1p((tokens - 1) * np.exp(-scale * _circle_margin(tokens))))


def proposition_3_scale(vocab_size: int, divergence: float) -> float:
    """The scale at which `proposition_3_bound` is `divergence` nats, 0 < divergence <= ln N."""
    tokens = checked_integer("vocab_size", vocab_size, 2)
    if not 0 < divergence <= np.log(tokens):
        raise ValueError(f"divergence = {divergence}: must be above 0 and at most ln N = {np.log(tokens)}")
    return float(max(0.0, np.log(tokens - 1) - np.log(np.expm1(divergence))) / _circle_margin(tokens))


def proposition_3_witness(
    labels: Int[np.ndarray, " sequences"], vocab_size: int, scale: float
) -> tuple[Float[np.ndarray, "vocab 2"], Float[np.ndarray, "sequences 2"]]:
    """W and E of the encoder in the plane: W the circle code, E(t) = scale times the code of t's label; logits E W^T."""
    code = circle_code(checked_integer("vocab_size", vocab_size, 2))
    return code, scale * code[labels]


def _circle_margin(num_tokens: int) -> float:
    return 2 * float(np.sin(np.pi / num_tokens)) ** 2  # 1 - cos(2 pi / N) without cancellation


@dataclass(frozen=True, eq=False)
class CodeEncoder:
    """The encoder f = lambda_t W^T W_g of Theorem 2 for one code and task, and three bounds on its divergence; all in nats.

    Attributes:
        coherence: C of the code (`largest_deviation`), below 1/2.
        scales: lambda_t, where ln sum_j exp(lambda (W_j - W_g).W_g) is the entropy of t's conditional; inf at entropy 0.
        divergences: KL of each sequence; 0 at entropy 0, the limit of ever larger scales.
        divergence: their prior average, at least d_KL(pi, L).
        printed: the bound as in the paper, factor (1 + 2C + C d_TV) / (1 - 2C), d_TV between conditional and encoder.
        repaired: the bound with the factor (1 + 2C) / (1 - 2C), never larger.
        sharp: the bound with the factor 1 / (1 - 2C), never larger still, and approached by some codes.
    """

    coherence: float
    scales: Float[np.ndarray, " sequences"]
    divergences: Float[np.ndarray, " sequences"]
    divergence: float
    printed: float
    repaired: float
    sharp: float


def theorem_2(task: DistributionTask, code: Float[np.ndarray, "vocab dim"]) -> CodeEncoder:
    """The divergence that a code of low coherence reaches with one number per sequence, next to what Theorem 2 says of it.

    With g the most likely token (the first on ties; any g would do, but it makes the bound least) and a_j = (W_j - W_g).W_g,
    -(1 + 2C) <= a_j <= -(1 - 2C) for j other than g. lambda is chosen so that ln Z, Z = sum_j e^(lambda a_j), is the entropy s.
    Then KL = ln Z - s - lambda sum_j pi_j a_j <= lambda (1 + 2C) (1 - pi_g), and e^s - 1 <= (N - 1) e^(-lambda (1 - 2C)) bounds
    lambda. So KL <= (1 - pi_g) (1 + 2C) / (1 - 2C) ln((N - 1) / (e^s - 1)): the term C d_TV of the printed factor is not
    needed. Nor is 2C above: with v = W_g.W_g, a_j lies between -(v + C) and -(v - C), so the factor is (v + C) / (v - C), and
    v >= 1 - C makes it at most 1 / (1 - 2C). The entropy is taken as positive, in [0, ln N].

    Raises ValueError when the code has not one row per token, or C is 1/2 or more.

    Source: Dana, Pydi and Chevaleyre 2025, Theorem 2; the repaired and the sharp form are derived here.
    """
    if len(code) != task.vocab_size:
        raise ValueError(f"code has {len(code)} rows: must have one per token, that is {task.vocab_size}")
    worst = largest_deviation(code)
    if not worst < 0.5:
        raise ValueError(f"code has coherence C = {worst}: must be below 1/2 for Theorem 2")
    rows, guesses = np.arange(task.num_sequences), task.modes
    products = code @ code.T
    gaps = products[guesses] - products[guesses, guesses][:, None]
    entropies = np.minimum(task.entropies(), np.log(task.vocab_size))
    with np.errstate(divide="ignore"):
        others = np.log(np.expm1(entropies))  # ln sum over j != g of e^(lambda a_j); -inf at entropy 0
    scales = _scales(gaps, guesses, others)
    finite = np.isfinite(scales)
    logits = np.where(finite, scales, 1.0)[:, None] * gaps
    divergences = np.where(finite, task.divergences(logits), 0.0)

    missed = task.conditionals.copy()
    missed[rows, guesses] = 0.0
    rest = missed.sum(axis=1)  # 1 - pi_g without cancellation
    exponent = np.maximum(np.log(task.vocab_size - 1) - np.where(finite, others, 0.0), 0.0)
    terms = np.where(finite, rest * exponent, 0.0) / (1 - 2 * worst)
    models = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    variation = np.abs(models - task.conditionals).sum(axis=1) / 2
    return CodeEncoder(
        coherence=worst,
        scales=scales,
        divergences=divergences,
        divergence=float(task.prior @ divergences),
        printed=float(task.prior @ ((1 + 2 * worst + worst * variation) * terms)),
        repaired=float(task.prior @ ((1 + 2 * worst) * terms)),
        sharp=float(task.prior @ terms),
    )


def theorem_2_bound(task: DistributionTask, code: Float[np.ndarray, "vocab dim"], variant: BoundVariant = "repaired") -> float:
    """Nats that d_KL(pi, L) does not exceed by Theorem 2 with this code: "printed", "repaired" or "sharp" (see `theorem_2`)."""
    if variant not in ("printed", "repaired", "sharp"):
        raise ValueError(f"variant = {variant!r}: 'printed', 'repaired' or 'sharp' are legal")
    found = theorem_2(task, code)
    return {"printed": found.printed, "repaired": found.repaired, "sharp": found.sharp}[variant]


def _scales(
    gaps: Float[np.ndarray, "rows vocab"], guesses: Int[np.ndarray, " rows"], others: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """lambda >= 0 with ln sum_{j != g} exp(lambda gap_j) = others per row, gaps negative off g; 0 where even 0 is too large."""
    rows = np.arange(len(gaps))
    scales = np.where(np.isfinite(others), 0.0, np.inf)
    active = np.isfinite(others)
    # The function is convex and falls: Newton's steps from 0 stay left of the root and grow until rounding stops them.
    for _ in range(200):
        logits = np.where(active, scales, 0.0)[:, None] * gaps
        logits[rows, guesses] = -np.inf
        total = np.logaddexp.reduce(logits, axis=1)
        slope = (np.exp(logits - total[:, None]) * gaps).sum(axis=1)
        step = np.where(active, (total - np.where(active, others, 0.0)) / -slope, 0.0)
        active &= step > 1e-15 * np.where(active, scales, 0.0)
        if not active.any():
            break
        scales = np.where(active, scales + step, scales)
    return scales


def definition_2_range(
    task: DistributionTask, logits: Float[np.ndarray, "sequences vocab"]
) -> tuple[Float[np.ndarray, " sequences"], Float[np.ndarray, " sequences"]]:
    """The least and the largest ln(pi / softmax logits) over each conditional's support.

    Definition 2 of Dana, Pydi and Chevaleyre 2025 wants c delta^alpha <= least and largest <= delta for encoders f_delta,
    delta -> 0, with fixed c > 0 and alpha >= 1 ("polynomially approximable"). Where the support is full the least is never
    positive, as both sides sum to 1: taken literally, the definition leaves out every distribution of full support.
    """
    if logits.shape != task.conditionals.shape:
        raise ValueError(f"logits has shape {logits.shape}: must be (T0, N) = {task.conditionals.shape}")
    seen = task.conditionals > 0
    log_models = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    ratios = np.log(np.where(seen, task.conditionals, 1.0)) - log_models
    return np.where(seen, ratios, np.inf).min(axis=1), np.where(seen, ratios, -np.inf).max(axis=1)


def definition_2_circle(
    labels: Int[np.ndarray, " sequences"], vocab_size: int, delta: float
) -> Float[np.ndarray, "sequences vocab"]:
    """Logits of circle encoders with ln(pi / softmax) = delta exactly at each sure label: Definition 2 with c = alpha = 1.

    The scale grows like ln((N - 1) / delta) / (1 - cos(2 pi / N)), the spread of the logits like twice that.
    """
    if not 0 < delta < np.log(checked_integer("vocab_size", vocab_size, 2)):
        raise ValueError(f"delta = {delta}: must be above 0 and below ln N = {np.log(vocab_size)}")
    cosines = np.cos(2 * np.pi * np.arange(vocab_size) / vocab_size) - 1.0
    scale = _scales(cosines[None], np.zeros(1, np.int64), np.log(np.expm1(np.array([delta]))))[0]
    return scale * cosines[(np.arange(vocab_size) - labels[:, None]) % vocab_size]


def lemma_4_gap(
    delta: float, constant: float, exponent: float, *, num_excluded: int = 1, variant: Variant = "repaired"
) -> float:
    """How far the largest logit on the support may lie above the largest off it under Definition 2, in logit units.

    Repaired: ln(m / (e^(c delta^alpha) - 1)) with m = num_excluded tokens off the support. The support keeps at most the mass
    e^(-c delta^alpha), so some token off it has 1/m of the rest, while no token on it has more than e^(-c delta^alpha).
    Printed: e^(delta / c) for e^(c delta^alpha) and m = 1, which is smaller and false (for c < 1 already with two tokens).
    Neither bounds the whole spread with m >= 2: Definition 2 lets one excluded token take the others' mass, and their logits
    go down as fast as they like. Dana, Pydi and Chevaleyre 2025, Lemma 4; the repair is derived here.
    """
    if not (delta > 0 and constant > 0 and exponent >= 1):
        raise ValueError(f"delta, constant, exponent = {delta}, {constant}, {exponent}: must be > 0, > 0 and >= 1")
    if variant not in ("printed", "repaired"):
        raise ValueError(f"variant = {variant!r}: 'printed' or 'repaired' are legal")
    if variant == "printed":
        return float(-np.log(np.expm1(delta / constant)))
    return float(np.log(checked_integer("num_excluded", num_excluded, 1)) - np.log(np.expm1(constant * delta**exponent)))
