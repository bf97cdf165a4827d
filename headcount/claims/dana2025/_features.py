"""Features of small models in exact arithmetic, for statements that `theory.attention_rank` does not cover."""

import numpy as np
from flint import fmpz_mat, nmod_mat

from theory.tasks import AssociationTask

PRIME = 2**61 - 1


def sequences_in_words(task: AssociationTask) -> str:
    """All sequences of a small task, the first few of a large one: "00, 01, 10" (tokens above 9 with dots between)."""
    dot = "" if task.vocab_size <= 10 else "."
    rows = [dot.join(map(str, row)) for row in task.sequences[:16].tolist()]
    return ", ".join(rows) + (f", .. ({task.num_associations})" if task.num_associations > 16 else "")


def additive_rank(task: AssociationTask) -> int:
    """Dimension of the functions f_1(t_1) + .. + f_S(t_S) on the sequences, an exact rank of integers."""
    columns = [(position, token) for position in range(task.seq_len) for token in range(task.vocab_size)]
    return int(fmpz_mat([[int(row[position] == token) for position, token in columns] for row in task.sequences.tolist()]).rank())


def coinciding_contexts_rank(num_queries: int, context_size: int, embed_dim: int, num_heads: int, *, seed: int) -> int:
    """Rank modulo a prime of [A^1; ..; A^H] for one context of n tokens and queries from outside, at integer parameters.

    W_QK = ln(3) times an integer matrix of rank one, so the softmax weights are 3^score / sum 3^score; a proved lower bound on
    the generic rank in the setting of Mahdavi, Liao and Thrampoulidis 2024. All sizes at least 1.
    """
    rng = np.random.default_rng(seed)

    def draw(*size: int) -> list[list[int]]:
        return [[int(x) for x in row] for row in rng.integers(0, 2**20, size)]

    context, queries = draw(context_size, embed_dim), draw(num_queries, embed_dim)
    columns: list[list[int]] = [[] for _ in range(num_queries)]
    for _ in range(num_heads):
        (left,), (right,) = draw(1, embed_dim), draw(1, embed_dim)
        keys = [sum(x * y for x, y in zip(right, token, strict=True)) for token in context]
        for query, column in zip(queries, columns, strict=True):
            strength = sum(x * y for x, y in zip(left, query, strict=True))
            weights = [pow(3, strength * key, PRIME) for key in keys]  # 2 would do no good: its powers repeat after 61
            inverse = pow(sum(weights) % PRIME, -1, PRIME)
            column += [
                sum(weight * token[place] for weight, token in zip(weights, context, strict=True)) * inverse % PRIME
                for place in range(embed_dim)
            ]
    return int(nmod_mat(num_queries, num_heads * embed_dim, [entry for column in columns for entry in column], PRIME).rank())
