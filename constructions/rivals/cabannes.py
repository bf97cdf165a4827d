"""An outer-product memory under Zipf's law: which error is left when a d x d matrix keeps the most frequent associations.

Recipe: W = sum over x <= P of u_{f(x)} e_x^T, answer argmax_y u_y . W e_x, where inputs x = 1, 2, .. have probability
proportional to x^-alpha, f(x) is one of a few classes, all embeddings are independent uniform unit vectors, and P = d / ln d.

The inputs are infinitely many and nothing is cut off: an input that isn't stored meets a memory independent of its embedding,
and with independent uniform classes it is wrong with probability 1 - 1/M exactly, so that the tail's error is that times its
mass (a Hurwitz zeta function). W is never formed: u_y . W e_x needs only one sum of embeddings per class.

The exponents and P are from memory.
"""

from math import log

import numpy as np
from scipy.special import zeta

from constructions.rivals._associative import recalled, sequence_keys, unit_vectors
from constructions.rivals.memory import RivalMemory
from theory.shapes import checked_integer
from theory.tasks import AssociationTask

NAME = "cabannes"
SOURCE = "Cabannes, Dohmatob and Bietti 2024, scaling laws for thresholded outer-product memories"
STATEMENT = (
    "For every alpha > 1 and a fixed number of classes, in expectation over independent uniform unit embeddings, the memory"
    " of the P ~ d / log d most frequent inputs errs on a Zipf(alpha) input with probability d^-(alpha - 1) up to logs as d"
    " grows; with T samples to learn the associations from, T^(-1 + 1/alpha) is added."
)
ASSUMPTIONS = (
    "inputs follow Zipf's law with alpha > 1",
    "the number of classes stays fixed while d grows",
    "every input has an embedding of its own, independent and uniform on the sphere",
)


def claimed_capacity(embed_dim: int) -> float | None:
    """None: the statement is about an error's exponent; the number stored, d / ln d, is an order."""
    checked_integer("embed_dim", embed_dim, 1)
    return None


def claimed_exponents(alpha: float) -> tuple[float, float]:
    """The error's exponents in the dimension and in the number of samples: -(alpha - 1) and -1 + 1/alpha.

    Raises:
        ValueError: alpha is not above 1, so that Zipf's law can't be normalised.
    """
    _check_alpha(alpha)
    return -(alpha - 1), -1 + 1 / alpha


def threshold(embed_dim: int) -> int:
    """P = d / ln d rounded down, at least 1: how many inputs the recipe stores."""
    return max(1, int(embed_dim / log(embed_dim))) if checked_integer("embed_dim", embed_dim, 1) > 2 else 1


def build(
    embed_dim: int, *, alpha: float = 1.5, num_classes: int = 5, num_stored: int | None = None, seed: int = 0
) -> RivalMemory:
    """The paper's own setting: the memory of the most frequent inputs.

    Args:
        embed_dim: d.
        alpha: exponent of Zipf's law, above 1.
        num_classes: M >= 2.
        num_stored: P; `threshold(embed_dim)` unless given.
        seed: of embeddings and classes.

    Returns:
        What is recalled of the stored inputs, with the error under Zipf's law in the notes. The parameters are W and the
        embeddings of the stored inputs and of the classes.
    """
    _check_alpha(alpha)
    count = threshold(embed_dim) if num_stored is None else checked_integer("num_stored", num_stored, 1)
    right = _recall_stored(count, embed_dim, num_classes, seed)
    error = _error(np.arange(1, count + 1), right, alpha, num_classes)
    return RivalMemory(
        rival=NAME,
        setting="own",
        size=f"d = {embed_dim}, P = {count} stored, M = {num_classes} classes",
        num_associations=count,
        num_held=int(right.sum()),
        num_labels=num_classes,
        claimed=claimed_capacity(embed_dim),
        num_parameters=embed_dim * (embed_dim + count + num_classes),
        notes={"error": f"{error:.4g} under Zipf's law with alpha = {alpha:g}"},
    )


def error_by_dimension(
    embed_dim: int, alpha: float, *, num_classes: int = 5, num_stored: int | None = None, seed: int = 0
) -> float:
    """Probability that the memory is wrong on one Zipf input, given these embeddings; the infinite tail is in it exactly.

    Raises:
        ValueError: alpha <= 1, fewer than 2 classes, or a size below 1.
    """
    _check_alpha(alpha)
    count = threshold(embed_dim) if num_stored is None else checked_integer("num_stored", num_stored, 1)
    return _error(np.arange(1, count + 1), _recall_stored(count, embed_dim, num_classes, seed), alpha, num_classes)


def error_by_samples(num_samples: int, alpha: float, *, embed_dim: int, num_classes: int = 5, seed: int = 0) -> float:
    """The same for a memory that knows only T samples and keeps the `threshold(embed_dim)` most frequent inputs among them.

    Raises:
        ValueError: alpha <= 1, no samples, fewer than 2 classes.
    """
    _check_alpha(alpha)
    num_samples = checked_integer("num_samples", num_samples, 1)
    draws = np.random.default_rng((checked_integer("seed", seed, 0), 1)).zipf(alpha, size=num_samples)
    inputs, counts = np.unique(draws, return_counts=True)
    kept = inputs[np.lexsort((inputs, -counts))][: threshold(embed_dim)]
    return _error(kept, _recall_stored(len(kept), embed_dim, num_classes, seed), alpha, num_classes)


def transplant(task: AssociationTask, *, embed_dim: int, num_stored: int | None = None, seed: int = 0) -> RivalMemory:
    """This project's task: each sequence is one input, with a key bound together from random signs per (position, token).

    Args:
        task: any associations; N classes, which the statement wants few and fixed.
        embed_dim: d.
        num_stored: the first so many associations of the task; `threshold(embed_dim)` unless given.
        seed: of the embeddings.

    Returns:
        What is recalled of the stored; `model` is None. The parameters are W, S N vectors of signs and N codes.

    Raises:
        ValueError: a size below 1, or more stored than the task has.
    """
    embed_dim = checked_integer("embed_dim", embed_dim, 1)
    default = min(threshold(embed_dim), task.num_associations)
    count = default if num_stored is None else checked_integer("num_stored", num_stored, 1)
    if count > task.num_associations:
        raise ValueError(f"num_stored = {count}: at most {task.num_associations}, the task's associations, are legal")
    keys = sequence_keys(task, embed_dim, seed)[:count]
    codes = unit_vectors(np.random.default_rng((checked_integer("seed", seed, 0), 2)), task.vocab_size, embed_dim)
    answers = task.targets[:count]
    right = _recall(keys, codes, answers)
    return RivalMemory(
        rival=NAME,
        setting="transplanted",
        size=f"d = {embed_dim}, {count} of {task.num_associations} associations stored",
        num_associations=count,
        num_held=int(right.sum()),
        num_labels=task.vocab_size,
        claimed=claimed_capacity(embed_dim),
        num_parameters=embed_dim * (embed_dim + (task.seq_len + 1) * task.vocab_size),
        notes={"assumption": f"few classes: here {task.vocab_size}; independent embeddings: here keys bound by signs"},
    )


def _check_alpha(alpha: float) -> None:
    if not alpha > 1:
        raise ValueError(f"alpha = {alpha:g}: above 1 is legal; below, the probabilities x^-alpha have no finite sum")


def _recall_stored(count: int, embed_dim: int, num_classes: int, seed: int) -> np.ndarray:
    checked_integer("embed_dim", embed_dim, 1)
    checked_integer("num_classes", num_classes, 2)
    generator = np.random.default_rng(checked_integer("seed", seed, 0))
    codes = unit_vectors(generator, num_classes, embed_dim)
    keys = unit_vectors(generator, count, embed_dim)
    return _recall(keys, codes, generator.integers(num_classes, size=count))


def _recall(keys: np.ndarray, codes: np.ndarray, answers: np.ndarray) -> np.ndarray:
    sums = np.zeros_like(codes)
    np.add.at(sums, answers, keys)
    # u_y . W e_x = sum over classes z of (u_y . u_z) (sum of the embeddings of class z) . e_x
    return recalled(keys @ sums.T, codes @ codes.T, answers)


def _error(stored: np.ndarray, right: np.ndarray, alpha: float, num_classes: int) -> float:
    norm = float(zeta(alpha, 1))
    chances = stored.astype(np.float64) ** -alpha / norm
    if np.array_equal(stored, np.arange(1, len(stored) + 1)):
        rest = float(zeta(alpha, len(stored) + 1)) / norm  # the difference from 1 would lose digits
    else:
        rest = 1 - float(chances.sum())
    return float(chances[~right].sum()) + (1 - 1 / num_classes) * rest
