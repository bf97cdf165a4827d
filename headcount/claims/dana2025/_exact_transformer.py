"""An attention-only transformer in rational numbers: W_QK = ln 2 times whole numbers, so that softmax weights are powers of 2."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flint import fmpq, fmpq_mat

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class ExactTransformer:
    """True softmax attention at a real parameter point, without rounding.

    Attributes:
        tokens, positions: embeddings, whole numbers, (N, d) and (S, d).
        scores: per head W_QK / ln 2, whole numbers, (d, d).
        values: per head W_V, (d_h, d).
        outputs: per head W_O, (d, d_h).
        unembedding: W_U, (N, d).
    """

    tokens: Rows
    positions: Rows
    scores: Sequence[Rows]
    values: Sequence[fmpq_mat]
    outputs: Sequence[fmpq_mat]
    unembedding: fmpq_mat

    def stream(self, sequence: Sequence[int]) -> list[list[int]]:
        """Token plus position embeddings, (S, d)."""
        return [
            [x + y for x, y in zip(self.tokens[token], position, strict=True)]
            for token, position in zip(sequence, self.positions, strict=True)
        ]

    def last(self, sequences: Rows) -> fmpq_mat:
        """X_S, (d, T0)."""
        return fmpq_mat([self.stream(sequence)[-1] for sequence in sequences]).transpose()

    def head(self, index: int, sequences: Rows) -> fmpq_mat:
        """W_V^h A^h, (d_h, T0)."""
        averages = []
        for sequence in sequences:
            stream = self.stream(sequence)
            query = [_dot(stream[-1], column) for column in zip(*self.scores[index], strict=True)]
            exponents = [_dot(query, key) for key in stream]
            weights = [2 ** (exponent - min(exponents)) for exponent in exponents]
            averages.append([fmpq(_dot(weights, coordinate), sum(weights)) for coordinate in zip(*stream, strict=True)])
        return self.values[index] * fmpq_mat(averages).transpose()

    def logits(self, sequences: Rows) -> fmpq_mat:
        """Equations (1) and (2), (N, T0)."""
        total = self.last(sequences)
        for index, output in enumerate(self.outputs):
            total = total + output * self.head(index, sequences)
        return self.unembedding * total


def drawn(vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int, seed: int) -> ExactTransformer:
    """One with small random whole numbers for weights."""
    rng = np.random.default_rng(seed)

    def rows(count: int, width: int, largest: int) -> list[list[int]]:
        return [[int(x) for x in row] for row in rng.integers(-largest, largest + 1, (count, width))]

    return ExactTransformer(
        rows(vocab_size, embed_dim, 4),
        rows(seq_len, embed_dim, 4),
        [rows(embed_dim, embed_dim, 1) for _ in range(num_heads)],
        [fmpq_mat(rows(head_dim, embed_dim, 4)) for _ in range(num_heads)],
        [fmpq_mat(rows(embed_dim, head_dim, 4)) for _ in range(num_heads)],
        fmpq_mat(rows(vocab_size, embed_dim, 4)),
    )


def _dot(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(left, right, strict=True))


def stacked(blocks: Sequence[fmpq_mat]) -> fmpq_mat:
    """Matrices of equal width on top of each other."""
    return fmpq_mat([row for block in blocks for row in block.tolist()])


def columns(matrix: fmpq_mat, start: int, stop: int) -> fmpq_mat:
    """Columns start to stop - 1."""
    return fmpq_mat([row[start:stop] for row in matrix.tolist()])
