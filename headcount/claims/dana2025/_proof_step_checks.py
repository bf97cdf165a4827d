"""How steps of proofs and quoted results are checked: small matrices and networks in exact rational arithmetic."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product

import numpy as np
from flint import fmpq, fmpq_mat, fmpz_mat

from headcount.claims.checks import enumerated
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.dana2025._features import sequences_in_words
from theory.attention_rank import free_attention_rank
from theory.tasks import AssociationTask

Point = tuple[int, ...]


def no_hyperplane(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for dim, total in product((1, 2, 3), (2, 3, 4)):
            single = [[int(place == unit) for place in range(dim * total)] for unit in range(dim * total)]
            if int(fmpz_mat(single).rank()) < dim * total:
                raise ArithmeticError("matrices with a single entry 1 span all matrices")
            added = max(int(fmpz_mat(dim, total, entries).rank()) for entries in single)
            words = f"outputs: the {dim} x {total} matrices with one entry 1, which lie in no hyperplane; most that one adds"
            yield Case(words, added, inquiry.formula(dim, total))

    return enumerated(
        inquiry, cases(), Method.EXACT, "matrices with one entry 1, d 1..3, T0 2..4",
        note="Lying in no hyperplane gives one dimension more for each head, not d.",
    )


def values_of_full_rank(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for dim, width in ((1, 1), (2, 2), (2, 1), (3, 2)):
            features = fmpz_mat([[int(row == 0)] for row in range(dim)])
            values = fmpz_mat([[int(column == dim - 1 - row) for column in range(dim)] for row in range(width)])
            rows = "; ".join(" ".join(str(int(values[i, j])) for j in range(dim)) for i in range(width))
            words = f"one sequence with A = (1, 0, ..) in R^{dim}, W_V = [{rows}] of full rank {int(values.rank())}"
            yield Case(f"{words}: rank of W_V A", int((values * features).rank()), inquiry.formula(1, 1, width))

    return enumerated(inquiry, cases(), Method.EXACT, "one head, one sequence, d 1..3, d_h 1..d")


def skip_adds_its_width(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for heads, dim, width in product((1, 5), (2, 4), (1, 2, 4)):
            if width > dim:
                continue
            total = heads * width + dim
            sequences = np.stack([np.arange(total), np.full(total, total)], axis=1)
            task = AssociationTask(sequences, np.zeros(total, dtype=np.int64), total + 1)
            most = free_attention_rank(task, embed_dim=dim, head_dim=width, num_heads=heads)
            words = f"sequences {sequences_in_words(task)}; d = {dim}, d_h = {width}, H = {heads}"
            yield Case(f"{words}: rank for any weights at most", most, inquiry.formula(heads, width, dim))

    return enumerated(inquiry, cases(), Method.EXACT, "pairs with one shared last token, H 1 and 5, d 2 and 4, d_h 1, 2, 4")


def labels_per_neuron(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        rng = np.random.default_rng(inquiry.seed)
        for dim, groups in product((1, 2, 4, 5, 8), (1, 2, 3)):
            points = [tuple(int(x) for x in row) for row in rng.integers(-50, 51, (dim * groups, dim))]
            labels = [Fraction(int(x), 7) for x in rng.integers(-40, 41, dim * groups)]
            stored = _bumps_store(points, labels, dim)
            words = f"ReLU network of {4 * groups} neurons on {dim * groups} integer points in R^{dim}, seed {inquiry.seed}"
            yield Case(f"{words}: labels met exactly", stored, inquiry.formula(4 * groups))

    return enumerated(
        inquiry, cases(), Method.EXACT, "Baum's groups of d points on a hyperplane, four neurons each, d 1..8, up to 24 points",
        note="Four neurons make a slab around the hyperplane through d points on which the output is any linear function, and "
        "0 elsewhere.",
    )


def _bumps_store(points: Sequence[Point], labels: Sequence[Fraction], dim: int) -> int:
    """How many labels a sum of such slabs meets exactly, evaluated in rational arithmetic."""
    slabs = [_slab(points, labels, range(start, start + dim)) for start in range(0, len(points), dim)]
    outputs = [sum((_on_slab(slab, point) for slab in slabs), Fraction(0)) for point in points]
    return sum(output == label for output, label in zip(outputs, labels, strict=True))


Slab = tuple[list[Fraction], Fraction, list[Fraction], Fraction, Fraction]


def _slab(points: Sequence[Point], labels: Sequence[Fraction], group: range) -> Slab:
    """u, b, v, tau and delta: u.x = b and v.x = label on the group, all other points outside the slab."""
    matrix = fmpq_mat([[fmpq(x) for x in points[place]] for place in group])
    ones = fmpq_mat([[fmpq(1)] for _ in group])
    wanted = fmpq_mat([[fmpq(labels[place].numerator, labels[place].denominator)] for place in group])
    normal, linear = _column(matrix.solve(ones)), _column(matrix.solve(wanted))
    others = [point for place, point in enumerate(points) if place not in group]
    width = min((abs(_dot(normal, point) - 1) for point in others), default=Fraction(1)) / 4
    if width == 0:
        raise ArithmeticError("a point of another group lies on the hyperplane; another seed is needed")
    largest = max(abs(_dot(linear, point)) for point in points)
    return normal, Fraction(1), linear, width, width / (largest + 1)


def _on_slab(slab: Slab, point: Point) -> Fraction:
    normal, offset, linear, width, step = slab
    height, tilt = _dot(normal, point) - offset, step * _dot(linear, point)
    zero = Fraction(0)
    upper = max(zero, height + width + tilt) - max(zero, height + width)
    lower = max(zero, height - width + tilt) - max(zero, height - width)
    return (upper - lower) / step


def _dot(left: Sequence[Fraction], right: Point) -> Fraction:
    return sum((x * y for x, y in zip(left, right, strict=True)), Fraction(0))


def _column(solved: fmpq_mat) -> list[Fraction]:
    return [Fraction(int(solved[row, 0].p), int(solved[row, 0].q)) for row in range(solved.nrows())]
