"""What outer-product memories share: random unit embeddings, keys for whole sequences, decoding, the search for a capacity."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from theory.shapes import checked_integer
from theory.tasks import AssociationTask

RECALL = 0.99
"""Fraction of the associations that has to be recalled for a count to be within capacity."""


def unit_vectors(generator: np.random.Generator, count: int, embed_dim: int) -> Float[np.ndarray, "count embed_dim"]:
    """Independent uniform points of the unit sphere, one a row."""
    vectors = generator.standard_normal((count, embed_dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sequence_keys(task: AssociationTask, embed_dim: int, seed: int) -> Float[np.ndarray, "associations embed_dim"]:
    """One unit vector per sequence: the elementwise product of random signs for each (position, token), over sqrt(embed_dim).

    Sequences that share tokens get keys as uncorrelated as sequences that share none, which sums of embeddings would not give.
    This replaces the paper's one independent embedding per input; derived here.
    """
    generator = np.random.default_rng(checked_integer("seed", seed, 0))
    keys = np.full((task.num_associations, embed_dim), embed_dim**-0.5)
    for position in range(task.seq_len):
        signs = generator.choice((-1.0, 1.0), size=(task.vocab_size, embed_dim))
        keys *= signs[task.sequences[:, position]]
    return keys


def recalled(
    outputs: Float[np.ndarray, "queries embed_dim"],
    codes: Float[np.ndarray, "answers embed_dim"],
    answers: Int[np.ndarray, " queries"],
) -> Bool[np.ndarray, " queries"]:
    """Per query, whether the right answer's code has the strictly largest product with the memory's output."""
    right = np.empty(len(outputs), dtype=np.bool_)
    rows = max(1, (1 << 22) // len(codes))
    for start in range(0, len(outputs), rows):
        here = slice(start, start + rows)
        logits = outputs[here] @ codes.T
        places = np.arange(len(logits)), answers[here]
        wanted = logits[places].copy()
        logits[places] = -np.inf
        right[here] = wanted > logits.max(axis=1, initial=-np.inf)
    return right


def largest_count(accuracy: Callable[[int], float], *, most: int, start: int = 2, least: float = RECALL) -> int:
    """The largest count at which `accuracy` reaches `least`, by doubling and then halving the bracket.

    Accuracy falls with the count up to chance, so that this is one crossing of the level; 0 when `start` already fails.

    Args:
        accuracy: of a memory of so many associations, between 0 and 1.
        most: never ask beyond this count.
        start: the first count asked.
        least: the level.
    """
    good, bad, count = 0, most + 1, start
    while bad - good > 1:
        if accuracy(count) >= least:
            good = count
        else:
            bad = count
        count = min(2 * good, most) if bad > most else (good + bad) // 2
    return good
