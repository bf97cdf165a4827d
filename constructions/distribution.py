r"""Theorem 1: an attention-only transformer that says, after the likely sequences, exactly what the best sequence encoder says.

Heads and embeddings are random; one linear system makes the output right on the T_epsilon most likely sequences, and the
others get what follows from it. How far off those can be is the theorem's second term; its derivation here (`Terms`) needs
another constant than the printed one.

The skip connection takes part in the system as a matrix B of its own, \(E = B X_S + \sum_h W_O^h W_V^h A^h\), and is then made
the identity again by a change of basis, \(W_U := W_U B\), \(W_O := B^{-1} W_O\): exact, where the paper takes a limit.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Rational

import numpy as np
import torch
from jaxtyping import Float, Int

from constructions._distribution_features import Heads, chosen_heads, completed_skip, fixed_heads, head_features, skip_features
from constructions.aot import AttentionOnlyTransformer
from theory.divergence import EncoderFit, encoder_divergence
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import DistributionTask

SOURCE = "Dana, Pydi and Chevaleyre 2025, Theorem 1; constant of the second term and change of basis derived here"
SMALLEST_RATIO = 1e-13  # of singular values that still count: float64 resolves less than that in none of the products here


@dataclass(frozen=True, eq=False)
class Terms:
    """What Theorem 1 says of one set of features and logits when k = T_epsilon likely sequences are matched; nats, logit units.

    With features F (n, T0) = U S V^T and P1 the restriction to the likely sequences, V1 = P1 V P1^T is the block of the k
    leading right singular vectors at the likely sequences. The readout E P1^T V1^-T S^-1 U^T is right on these. Beside E it
    errs by E D with D = [0, V1^-T V2^T - I] on [likely, others], whose largest singular value is kappa = |V1^-1|_2: the columns
    of V being orthonormal, V1^T V1 + V2^T V2 = I, so D^T D restricted to the others has the norm 1 + |V2 V1^-1|^2 = kappa^2.
    Logits of sequence t then err by a vector e_t with |e_t|_2 <= kappa |W E|_2, and ln sum exp being convex, its divergence
    grows by at most (softmax - pi).e_t <= sqrt(2) |e_t|_2. Hence d_KL <= d_KL(pi, L) + sqrt(2) kappa epsilon |W E|_2.

    Attributes:
        inverse_norm: kappa = |(P1 V P1^T)^-1|_2, at least 1.
        constant: the paper's C = sqrt(1 + kappa^2), at most sqrt(2) kappa.
        logit_norm: |W E|_2, the largest singular value of the encoder's centred logits (T0, N).
        printed: d_KL(pi, L) + C epsilon |W E|_2.
        repaired: d_KL(pi, L) + sqrt(2) kappa epsilon |W E|_2.
    """

    inverse_norm: float
    constant: float
    logit_norm: float
    printed: float
    repaired: float


@dataclass(frozen=True, eq=False)
class DistributionConstruction:
    """A model built for the likely part of a distribution task, with what Theorem 1 promises and what a forward pass gives.

    Attributes:
        model: the weights, float64.
        task: what it was built for.
        epsilon: share of the prior's mass that may be missed.
        likely: indices of the T_epsilon most likely sequences, on which the model says what the encoder says.
        encoder: the sequence encoder that it follows; `encoder.upper` stands for d_KL(pi, L) in the bounds.
        divergence: prior-averaged KL of the model's float64 forward pass over all sequences, nats; NaN when it overflows.
        likely_error: largest spread of (model's logits - encoder's logits) over the likely sequences, logit units.
        gamma: prior-averaged spread of (model's logits - logits of the exact solution), nats: rounding, and the little
            that completing a singular B costs. The divergence is at most `terms.repaired` + gamma. NaN without `terms`.
        terms: the constant and the bounds; None when the features don't allow a solution.
        failure: why the likely sequences are not matched, None when they are.
        notes: numbers on the way, as text.
    """

    model: AttentionOnlyTransformer
    task: DistributionTask
    epsilon: Fraction
    likely: Int[np.ndarray, " likely"]
    encoder: EncoderFit
    divergence: float
    likely_error: float
    gamma: float
    terms: Terms | None
    failure: str | None = None
    notes: dict[str, str] = field(default_factory=dict)
    source: str = SOURCE

    @property
    def num_heads(self) -> int:
        """H, the model's number of heads."""
        return self.model.num_heads


def build(
    task: DistributionTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    epsilon: int | float | Fraction = 0,
    seed: int = 0,
    encoder: EncoderFit | None = None,
    tolerance: float = 1e-6,
) -> DistributionConstruction:
    """Build a transformer that matches the best sequence encoder found on the T_epsilon most likely sequences.

    Args:
        task: sequences of any length, conditionals, prior. Without full support the encoder is one near an infimum that no
            finite weights attain.
        embed_dim: d >= 1.
        head_dim: d_h, 1 to d.
        num_heads: H; None for ceil((T_epsilon - min(d, K)) / d_h), K the distinct last tokens of the likely sequences, or
            ceil((T_epsilon - min(d, K)) / min(d_h, S - 1)) where sequences are so alike that the former falls short.
        epsilon: share of the prior's mass that may be missed, from 0 to below 1, where no sequence would be left to match (read
            as by `DistributionTask.t_epsilon`).
        seed: of embeddings, heads and the encoder's descents.
        encoder: follow this one of width d instead of looking for one.
        tolerance: largest `likely_error`, beyond which the result says that it failed.

    Returns:
        The construction. Sequences too alike for H heads, or weights beyond float64, are a `failure` in it, not an error.

    Raises:
        ValueError: an argument out of range, a task of another type, an encoder of another shape, or fewer heads than the rank
            of the features needs.

    Source: Dana, Pydi and Chevaleyre 2025, Theorem 1.
    """
    if not isinstance(task, DistributionTask):
        raise ValueError(f"task is of type {type(task).__name__}: a DistributionTask is legal")
    shape = AttentionShape(embed_dim, 0 if num_heads is None else num_heads, head_dim)
    seed = checked_integer("seed", seed, 0)
    if shape.head_dim > shape.embed_dim:
        raise ValueError(f"head_dim = {shape.head_dim}: 1 to embed_dim = {shape.embed_dim} is legal")
    if not tolerance > 0:
        raise ValueError(f"tolerance = {tolerance}: above 0 is legal")
    likely = task.likely(epsilon)
    if not len(likely):
        raise ValueError(f"epsilon = {epsilon!r}: 0 to below 1 is legal, as with all mass missed no sequence is left to match")
    fewest, most = _heads_needed(task, likely, shape)
    if num_heads is not None and shape.num_heads < fewest:
        rank = f"H d_h + min(d, K) = {shape.num_heads * shape.rank + _skip_rank(task, likely, shape.embed_dim)}"
        raise ValueError(
            f"num_heads = {num_heads}: must be at least {fewest}, as the features' rank is at most {rank} "
            f"and has to reach T_epsilon = {len(likely)}"
        )
    found = encoder_divergence(task, shape.embed_dim, seed=seed, restarts=2) if encoder is None else encoder
    expected = (task.num_sequences, task.vocab_size)
    if (found.encodings.shape[0], found.unembedding.shape[0]) != expected or found.encodings.shape[1] != shape.embed_dim:
        raise ValueError(f"encoder has encodings of shape {found.encodings.shape}: must be {(expected[0], shape.embed_dim)}")
    rng = np.random.default_rng(seed)
    heads = chosen_heads(task, likely, shape, fewest if num_heads is None else shape.num_heads, rng)
    if num_heads is None and most > fewest and heads.rank < len(likely):
        heads = chosen_heads(task, likely, shape, most, rng)
    return _built(task, likely, heads, found, _share(epsilon), rng, tolerance)


def printed_bound_counterexample() -> DistributionConstruction:
    """The smallest case in which the printed inequality of Theorem 1 fails for given features; the repaired one holds.

    N = 2, S = 1, T0 = 2, d = 1, H = 0, epsilon = .251, prior (3/4, 1/4), conditionals (.999, .001) and (.05, .95), and embeddings
    1 and 10. One likely sequence fixes the readout, the other gets logits ten times as large with the wrong sign. Here
    d_KL(pi, L) = 0 as d = N - 1, and C = sqrt(1 + kappa^2) with kappa = sqrt(101), nearly kappa, where sqrt(2) kappa is needed.

    Other embeddings avoid this (equal features for equal needs). So the printed inequality is refuted as one that holds
    for given features with P1 V P1^T invertible, which is what its proof argues. Read as "some transformer exists with the C
    of its own features" it says little: features with a large enough C make it true of any model better than uniform.
    """
    task = DistributionTask([[0], [1]], [[0.999, 0.001], [0.05, 0.95]], [0.75, 0.25], "counterexample to a bound of Theorem 1")
    encoder = encoder_divergence(task, 1)
    heads = fixed_heads(np.array([[1.0], [10.0]]), np.zeros((1, 1)))
    epsilon = Fraction(251, 1000)  # with 1/4 the paper's strict T_epsilon would be 2
    return _built(task, task.likely(epsilon), heads, encoder, epsilon, np.random.default_rng(0), 1e-6)


def _share(epsilon: int | float | Fraction) -> Fraction:
    return Fraction(epsilon) if isinstance(epsilon, Rational) else Fraction(repr(float(epsilon)))


def _skip_rank(task: DistributionTask, likely: np.ndarray, embed_dim: int) -> int:
    return min(embed_dim, len(np.unique(task.sequences[likely, -1])))


def _heads_needed(task: DistributionTask, likely: np.ndarray, shape: AttentionShape) -> tuple[int, int]:
    """Heads without which the rank cannot do, and heads that do for any sequences (with free attention weights)."""
    missing = len(likely) - _skip_rank(task, likely, shape.embed_dim)
    if missing > 0 and task.seq_len == 1:
        raise ValueError(
            f"embed_dim = {shape.embed_dim}: must be at least T_epsilon = {len(likely)} for sequences of one token, "
            "where heads add nothing to the skip connection"
        )
    return -(-missing // shape.rank), -(-missing // max(1, min(shape.rank, task.seq_len - 1)))


def _built(
    task: DistributionTask,
    likely: np.ndarray,
    heads: Heads,
    encoder: EncoderFit,
    epsilon: Fraction,
    rng: np.random.Generator,
    tolerance: float,
) -> DistributionConstruction:
    skip = skip_features(task, heads)
    features = np.concatenate([skip, head_features(task, heads)])
    code, targets = _balanced(encoder, rng)
    solution = _readout(features, targets, likely)
    notes = {"features' rank on the likely sequences": f"{heads.rank} of {len(likely)}"}
    width = len(skip)
    outputs = targets
    if solution is None:
        failure: str | None = (
            f"the features' numerical rank on the likely sequences is {heads.rank}, {len(likely)} needed: "
            "sequences too alike for these heads, or beyond float64"
        )
        readout, terms = np.zeros((width, len(features))), None
    else:
        failure = None
        readout, outputs, inverse_norm = solution
        terms = _terms(encoder, inverse_norm, float(epsilon))
        notes["largest entry of the readout"] = f"{np.abs(readout).max():.3g}"
    basis = completed_skip(readout[:, :width], skip, likely)
    condition = float(np.linalg.cond(basis))
    notes["condition number of the skip map"] = f"{condition:.3g}"
    if not np.isfinite(condition) or condition > 1 / SMALLEST_RATIO:
        failure = failure or f"the skip map has condition number {condition:.1e} and cannot be inverted in float64"
        basis, readout, terms = np.eye(width), np.zeros_like(readout), None
    model = _model(task, heads, code @ basis, np.linalg.solve(basis, readout[:, width:]))
    with torch.no_grad():
        logits = model(torch.from_numpy(np.array(task.sequences))).numpy()
    if not np.isfinite(logits).all():
        nan = float("nan")
        failure = failure or "the forward pass overflows"
        return DistributionConstruction(model, task, epsilon, likely, encoder, nan, nan, nan, terms, failure, notes)
    ideal = (code @ outputs).T
    spreads = np.ptp(logits - ideal, axis=1)
    error = float(np.ptp((logits - encoder.logits)[likely], axis=1).max())
    if failure is None and not error <= tolerance:
        failure = f"logits of likely sequences miss the encoder's by {error:.1e}, more than {tolerance:.1e}, in float64"
    gamma = float("nan") if terms is None else float(task.prior @ spreads)
    return DistributionConstruction(
        model, task, epsilon, likely, encoder, task.divergence(logits), error, gamma, terms, failure, notes
    )


def _balanced(encoder: EncoderFit, rng: np.random.Generator) -> tuple[Float[np.ndarray, "vocab d"], Float[np.ndarray, "d total"]]:
    """W and E^T of the same logits, each with half the singular values. Dimensions of E that W ignores are drawn at random,
    since targets that span less than R^d would make B singular."""
    width = encoder.encodings.shape[1]
    left, values, right = np.linalg.svd(encoder.logits, full_matrices=False)
    used = min(width, int((values > SMALLEST_RATIO * values[0]).sum()))
    roots = np.sqrt(values[:used])
    code = np.zeros((len(encoder.unembedding), width))
    targets = rng.standard_normal((width, len(left)))
    code[:, :used] = right[:used].T * roots
    targets[:used] = (left[:, :used] * roots).T
    if 0 < used < width:
        targets[used:] *= np.linalg.norm(targets[used - 1]) / np.sqrt(len(left))
    return code, targets


def _readout(features: np.ndarray, targets: np.ndarray, likely: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """[B, O], its outputs on all sequences, and kappa; None when the features cannot be told apart in float64."""
    left, values, right = np.linalg.svd(features, full_matrices=False)
    count = len(likely)
    if count > len(values) or not values[count - 1] > SMALLEST_RATIO * values[0]:
        return None
    leading = right[:count]  # the transpose of V's leading columns
    block = leading[:, likely]
    least = float(np.linalg.svd(block, compute_uv=False)[-1])
    if not least > SMALLEST_RATIO:
        return None
    to_readout = np.linalg.solve(block, left[:, :count].T / values[:count, None])
    readout = targets[:, likely] @ to_readout
    for _ in range(2):  # iterative refinement: the residual is known far better than the solution
        readout = readout + (targets[:, likely] - readout @ features[:, likely]) @ to_readout
    return readout, targets[:, likely] @ np.linalg.solve(block, leading), 1 / least


def _terms(encoder: EncoderFit, inverse_norm: float, epsilon: float) -> Terms:
    norm = float(np.linalg.norm(encoder.logits, 2))
    constant = float(np.sqrt(1 + inverse_norm**2))
    return Terms(
        inverse_norm=inverse_norm,
        constant=constant,
        logit_norm=norm,
        printed=encoder.upper + constant * epsilon * norm,
        repaired=encoder.upper + float(np.sqrt(2)) * inverse_norm * epsilon * norm,
    )


def _model(
    task: DistributionTask, heads: Heads, unembedding: np.ndarray, outputs: np.ndarray
) -> AttentionOnlyTransformer:
    count, dim, width = heads.value.shape
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, dim, count, width)
    parts = {
        "token_embedding": heads.token_embedding,
        "position_embedding": heads.position_embedding,
        "query": heads.query,
        "key": heads.key,
        "value": heads.value,
        "output": outputs.T.reshape(count, width, dim),
        "unembedding": unembedding,
    }
    with torch.no_grad():
        for name, values in parts.items():
            getattr(model, name).copy_(torch.from_numpy(np.ascontiguousarray(values)))
    return model
