"""How near the class L(N, S, d) of sequence encoders comes to a task: d_KL(pi, L), from above, from below, and where it is 0.

A sequence encoder gives sequence t the logits W E(t), W (N, d) and E(t) in R^d arbitrary, so its logits are any (T0, N) table
of rank d. Every attention-only transformer of width d is one, so d_KL(pi, L) bounds it from below (Dana, Pydi and Chevaleyre
2025, Definition 1 and Proposition 1; their bound on a transformer from above, Theorem 1, is `constructions.distribution`).
Logits count up to a constant per sequence only. So ranks here are those of centred tables, whose rows sum to 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from theory.encoders import circle_code, proposition_3_scale
from theory.shapes import checked_integer
from theory.tasks import DistributionTask

NEVER = 1e-18
"""Stands for probability 0 in witnesses of an infimum that finite logits don't attain."""

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class EncoderFit:
    """A sequence encoder near a task, and what is known of the best one.

    Attributes:
        unembedding: W (N, d), its columns centred, so that logits sum to 0.
        encodings: E (T0, d), one row per sequence.
        upper: d_KL of this encoder in nats; d_KL(pi, L) is at most that.
        lower: nats that no encoder of this width goes below (`divergence_lower_bound`); 0 says nothing.
        infimum: d_KL(pi, L) where a closed case gives it (it is then 0), None where only the bracket is known.
        attained: whether that infimum is attained by finite weights; None without a closed case.
        reason: the closed case, or why the descent ended.
        gradient_norm: Euclidean norm of the gradient of the divergence in (W, sqrt(T0 prior_t) E_t) at the end of the descent,
            nats; None in closed cases.
    """

    unembedding: Float[np.ndarray, "vocab embed_dim"]
    encodings: Float[np.ndarray, "sequences embed_dim"]
    upper: float
    lower: float
    infimum: float | None
    attained: bool | None
    reason: str
    gradient_norm: float | None = None

    @property
    def logits(self) -> Float[np.ndarray, "sequences vocab"]:
        """E W^T, (T0, N)."""
        return self.encodings @ self.unembedding.T


def encoder_divergence(
    task: DistributionTask, embed_dim: int, *, seed: int = 0, restarts: int = 4, max_iterations: int = 3000
) -> EncoderFit:
    """Find a sequence encoder of width d whose divergence from the task is as small as can be found.

    Closed cases first, with infimum 0: d at least N - 1 or the number of different conditionals; all entropies 0, with d >= 2
    or at most two different labels (a limit, not attained). Where the log-probabilities have centred rank at most d as far as
    floats tell, their decomposition is the encoder, and only its divergence of about 1e-30 is claimed. Otherwise L-BFGS on W
    and E from a truncated singular value decomposition of the log-probabilities, from the circle code, and from random starts.
    The problem is not convex: what comes out is a bound from above, with a bound from below beside it.

    Args:
        task: the sequences, their conditionals and their prior.
        embed_dim: d >= 1.
        seed: of the random starts.
        restarts: descents, at least 1; the best is kept.
        max_iterations: of each.

    Returns:
        The encoder with its divergence. Columns of W beyond the rank used are 0.

    Raises:
        ValueError: an argument below its least value.

    Source: Dana, Pydi and Chevaleyre 2025, Definition 1, Propositions 2 and 3.
    """
    width, starts = checked_integer("embed_dim", embed_dim, 1), checked_integer("restarts", restarts, 1)
    seed, most = checked_integer("seed", seed, 0), checked_integer("max_iterations", max_iterations, 1)
    tokens, different = task.vocab_size, len(np.unique(task.conditionals, axis=0))
    table = centred_log_probabilities(task, NEVER)
    left, values, right = np.linalg.svd(table, full_matrices=False)
    attained = task.full_support
    if width >= min(tokens - 1, different):
        case = f"closed case: embed_dim = {width} is at least min(N - 1, different conditionals) = {min(tokens - 1, different)}"
        return _fit(task, width, _truncated(left, values, right, width), 0.0, attained, case)
    sure = bool((task.conditionals.max(axis=1) == 1).all())
    if sure and (width >= 2 or len(np.unique(task.modes)) <= 2):
        case = "closed case: every entropy is 0 (a limit of ever larger logits)"
        return _fit(task, width, _sure_witness(task, width), 0.0, False, case)
    # Logarithms are rounded once per entry, the decomposition a few times per dimension.
    if task.full_support and values[width] <= 4 * max(table.shape) * EPS * values[0]:
        case = f"closed case: the log-probabilities have centred rank <= {width}, to rounding"
        return _fit(task, width, _truncated(left, values, right, width), None, None, case)
    return _descend(task, width, seed, starts, most)


def centred_log_probabilities(task: DistributionTask, never: float = 0.0) -> Float[np.ndarray, "sequences vocab"]:
    """ln pi with each row's mean taken off; `never` > 0 stands for probabilities below it (not for those of full support)."""
    floor = never if not task.full_support else 0.0
    table = np.log(np.maximum(task.conditionals, floor))
    return table - table.mean(axis=1, keepdims=True)


def divergence_lower_bound(task: DistributionTask, embed_dim: int) -> float:
    """Nats that no sequence encoder of width d goes below: s^2 / (2 + s / sqrt(a)), 0 when it says nothing.

    Here a_t = prior_t min_j pi(j | t), a is the least of them, and s is singular value d + 1 of the table
    sqrt(a_t) (ln pi(j | t) - row mean), less a bound on its rounding error. Needs full support, and is 0 without.

    Derived here, it makes Proposition 2 of Dana, Pydi and Chevaleyre 2025 quantitative. With x = ln(model / pi), the divergence
    is the average of e^x - 1 - x, and e^x - 1 - x >= x^2 / (2 + |x|) (for x < 0 because e^x >= (2 + x) / (2 - x); for x > 0
    because it exceeds x^2 / 2). In y = a_t x^2, a_t times the right side is at least y / (2 + sqrt(y / a)), concave and 0 at
    y = 0, so the sum over all entries is at least its value at the sum of all y. That is at least s^2 by Eckart and Young: up
    to a constant per row, x is a table of rank d minus the log-probabilities.
    """
    width = checked_integer("embed_dim", embed_dim, 1)
    if not task.full_support or width >= min(task.conditionals.shape):
        return 0.0
    weights = task.prior * task.conditionals.min(axis=1)
    table = np.sqrt(weights)[:, None] * centred_log_probabilities(task)
    # Entries carry a few roundings relative to the row's largest logarithm; the decomposition adds some per dimension.
    largest = np.sqrt(weights) * np.abs(np.log(task.conditionals)).max(axis=1)
    error = 8 * sum(table.shape) * EPS * float(np.linalg.norm(largest)) * np.sqrt(task.vocab_size)
    value = max(0.0, float(np.linalg.svd(table, compute_uv=False)[width]) - error)
    return float(value**2 / (2 + value / float(np.sqrt(weights.min()))) * (1 - 16 * EPS))


def proposition_2_witness(vocab_size: int, seq_len: int = 1) -> DistributionTask:
    """N - 1 sequences whose distributions no sequence encoder of width d < N - 1 reaches; N from 3 to 1,000.

    Sequence i has the probabilities 1/2, 1/4, .., 2^-(N-1), 2^-(N-1), shifted by i tokens around the vocabulary: all exact in
    float64. The log-probabilities of all N shifts form a circulant table with the eigenvalues N / (w - 1) - 1 / w over the
    N-th roots of unity w, in units of -ln 2; for w other than 1 none is 0, because that asks for |1 - 1 / w| = N >= 3. So its
    centred rank is N - 1, which the first N - 1 rows already have (the centred rows sum to 0). By Lemma 1 the infimum is
    attained, and at 0 it would need logits of that rank. `exact_centred_rank` decides the same without this argument.

    Raises ValueError. Source: Dana, Pydi and Chevaleyre 2025, Proposition 2; the witness is derived here.
    """
    tokens, length = checked_integer("vocab_size", vocab_size, 3), checked_integer("seq_len", seq_len, 1)
    if tokens > 1000:
        raise ValueError(f"vocab_size = {tokens}: must be at most 1000, as 2^-(N-1) must be a float")
    digits = [np.arange(tokens - 1) if place == length - 1 else np.zeros(tokens - 1, np.int64) for place in range(length)]
    rows = np.exp2(proposition_2_exponents(tokens).astype(np.float64))
    return DistributionTask(np.stack(digits, axis=1), rows, None, f"Proposition 2 witness for {tokens} tokens")


def proposition_2_exponents(vocab_size: int) -> Int[np.ndarray, "sequences vocab"]:
    """log2 of the probabilities of `proposition_2_witness`, whole numbers (N - 1, N)."""
    tokens = checked_integer("vocab_size", vocab_size, 3)
    first = -np.minimum(np.arange(1, tokens + 1), tokens - 1)
    return np.stack([np.roll(first, shift) for shift in range(tokens - 1)]).astype(np.int64)


def exact_centred_rank(exponents: Int[np.ndarray, "sequences vocab"]) -> int:
    """Rank over the rationals of an integer table after each row's mean is taken off (times N, to stay with integers)."""
    from flint import fmpz_mat  # heavy, and needed here only

    table = np.array(exponents, dtype=object)
    scaled = table.shape[1] * table - table.sum(axis=1, keepdims=True)
    return int(fmpz_mat([[int(entry) for entry in row] for row in scaled]).rank())


def lemma_1_spread(task: DistributionTask, divergence: float) -> Float[np.ndarray, " sequences"]:
    """The largest spread (largest minus least logit) that any model within `divergence` nats of the task can have, per sequence.

    (divergence / prior_t + entropy_t) / min_j pi(j | t). Derived here: prior_t KL_t <= divergence, and KL_t + entropy_t =
    -sum_i pi_i ln q_i >= pi_j ln(1 / q_j) for every j, while the spread is at most max_j ln(1 / q_j). With divergence =
    ln N - mean entropy, reached by all logits 0, every minimising sequence of encoders lies in that bounded set; tables of
    rank at most d form a closed one, so the infimum over L is attained: Lemma 1 of Dana, Pydi and Chevaleyre 2025.

    Raises ValueError without full support (one-hot conditionals need unbounded logits), and for a divergence that is negative
    or not finite.
    """
    if not task.full_support:
        raise ValueError("task has conditionals without full support: Lemma 1 needs every probability positive")
    if not (np.isfinite(divergence) and divergence >= 0):
        raise ValueError(f"divergence = {divergence}: must be a finite number of nats >= 0")
    return (divergence / task.prior + task.entropies()) / task.conditionals.min(axis=1)


Pair = tuple[np.ndarray, np.ndarray]


def _truncated(left: np.ndarray, values: np.ndarray, right: np.ndarray, width: int) -> Pair:
    """(W, E) of the best table of rank `width`, each taking half of the singular values."""
    roots = np.sqrt(values[:width])
    return right[:width].T * roots, left[:, :width] * roots


def _sure_witness(task: DistributionTask, width: int) -> Pair:
    """Proposition 3's circle, or a line for at most two labels, with logits so large that float64 sees no divergence."""
    tokens = task.vocab_size
    if width >= 2:
        code = circle_code(tokens)
        return code, proposition_3_scale(tokens, NEVER) * code[task.modes]
    line = np.zeros((tokens, 1))
    labels = np.unique(task.modes)
    line[labels, 0] = [1.0, -1.0][: len(labels)]
    return line, (np.log(tokens / NEVER) * line[task.modes])


def _fit(
    task: DistributionTask,
    width: int,
    pair: Pair,
    infimum: float | None,
    attained: bool | None,
    reason: str,
    gradient_norm: float | None = None,
) -> EncoderFit:
    code, encodings = (np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in pair)
    code = code - code.mean(axis=0)
    upper = task.divergence(encodings @ code.T)
    lower = 0.0 if infimum is not None else divergence_lower_bound(task, width)
    return EncoderFit(code, encodings, upper, lower, infimum, attained, reason, gradient_norm)


def _descend(task: DistributionTask, width: int, seed: int, starts: int, most: int) -> EncoderFit:
    tokens, rows = task.vocab_size, task.num_sequences
    scale = np.sqrt(task.prior * rows)[:, None]  # the variables are W and scale * E: then rare sequences don't stall the descent
    entropy = task.mean_entropy

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        code, scaled = flat[: tokens * width].reshape(tokens, width), flat[tokens * width :].reshape(rows, width)
        encodings = scaled / scale
        logits = encodings @ code.T
        loss = task.prior @ (logsumexp(logits, axis=1) - (task.conditionals * logits).sum(axis=1)) - entropy
        slope = task.prior[:, None] * (softmax(logits, axis=1) - task.conditionals)
        return float(loss), np.concatenate([(slope.T @ encodings).ravel(), (slope @ code / scale).ravel()])

    best: EncoderFit | None = None
    for code, scaled in _starts(task, width, scale, seed, starts):
        options: Any = {"maxiter": most, "maxfun": 2 * most, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-10}
        flat = np.concatenate([code.ravel(), scaled.ravel()])
        found = minimize(objective, flat, jac=True, method="L-BFGS-B", options=options)
        norm = float(np.linalg.norm(found.jac))
        ended = {0: "converged", 1: f"stopped at the cap of {most} iterations"}.get(found.status, "stalled")
        pair = found.x[: tokens * width].reshape(tokens, width), found.x[tokens * width :].reshape(rows, width) / scale
        fit = _fit(task, width, pair, None, None, f"descent {ended}, gradient norm {norm:.1e}", norm)
        if best is None or fit.upper < best.upper:
            best = fit
    assert best is not None  # there is at least one start
    return best


def _starts(task: DistributionTask, width: int, scale: np.ndarray, seed: int, count: int) -> Iterator[Pair]:
    tokens, rng = task.vocab_size, np.random.default_rng(seed)
    left, values, right = np.linalg.svd(scale * centred_log_probabilities(task, 1e-4), full_matrices=False)
    yield _truncated(left, values, right, width)
    if count > 1 and width >= 2:
        code = np.pad(circle_code(tokens), ((0, 0), (0, width - 2))) + 0.01 * rng.standard_normal((tokens, width))
        yield code, scale * (3.0 * code[task.modes])
    for _ in range(count - (2 if width >= 2 else 1)):
        yield rng.standard_normal((tokens, width)), 0.1 * rng.standard_normal((task.num_sequences, width))
