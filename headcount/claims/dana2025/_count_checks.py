"""How the counts and corollaries are checked: polynomials in the sizes, and models built or trained, then certified."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import sympy
from hypothesis import strategies as st
from jaxtyping import Int

from constructions import AttentionOnlyTransformer, generic, memorize
from headcount.claims.checks import enumerated, identity, mean_interval, property_tested
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.dana2025._features import sequences_in_words
from headcount.claims.dana2025._weights import certified_right, one_head_cannot, planar, read_by_rows
from theory.attention_rank import softmax_rank
from theory.memorization import (
    accuracy_from_memory,
    corollary_1_associations,
    corollary_1_heads,
)
from theory.strategies import association_tasks
from theory.tasks import AssociationTask

N, S, D, H, WIDTH = sympy.symbols("N S d H d_h", positive=True, integer=True)
GRID = {N: (2, 5), S: (1, 4), D: (2, 3, 7), H: (0, 3), WIDTH: (1, 2)}
"""Enough points for a polynomial of degree one in each size, and of degree two in d."""


def _polynomial(function: Callable[..., int], symbols: Sequence[sympy.Symbol]) -> sympy.Expr:
    """The polynomial (degree at most two in d, one in every other size) that a function of whole numbers is on the grid."""
    points = product(*(GRID[symbol] for symbol in symbols))
    total: sympy.Expr = sympy.Integer(0)
    for point in points:
        factors = [
            (symbol - other) / sympy.Integer(here - other)
            for symbol, here in zip(symbols, point, strict=True)
            for other in GRID[symbol]
            if other != here
        ]
        total += function(*point) * sympy.Mul(*factors)
    return sympy.expand(total)


def _array_sizes(vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int) -> int:
    model = AttentionOnlyTransformer(vocab_size, seq_len, embed_dim, num_heads, head_dim)
    return sum(weights.numel() for weights in model.parameters())


DEGREES = (
    "arrays and formula have degree one in N, S, H, d_h and at most two in d, so the grid N 2, 5; S 1, 4; d 2, 3, 7; H 0, 3; "
    "d_h 1, 2"
)


def parameters(inquiry: Inquiry) -> Evidence:
    sizes = (N, S, D, H, WIDTH)
    arrays = _polynomial(_array_sizes, sizes)
    return identity(
        inquiry, {"numbers in the arrays of the model": (arrays, _polynomial(inquiry.formula, sizes))},
        argument=f"{DEGREES} decides both polynomials; both are {arrays}",
    )


def rank_one_parameters(inquiry: Inquiry) -> Evidence:
    def arrays_of(vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int) -> int:
        narrow = AttentionOnlyTransformer(vocab_size, seq_len, embed_dim, num_heads, 1)
        model = AttentionOnlyTransformer(vocab_size, seq_len, embed_dim, num_heads, head_dim)
        thin = {"query": narrow.query, "key": narrow.key}  # vectors q and k per head: W_QK = q k^T
        return sum(thin.get(name, weights).numel() for name, weights in model.named_parameters())

    sizes = (N, S, D, H, WIDTH)
    arrays = _polynomial(arrays_of, sizes)
    return identity(
        inquiry, {"numbers in the arrays, queries and keys of width one": (arrays, _polynomial(inquiry.formula, sizes))},
        argument=f"{DEGREES} decides both polynomials; both are {arrays}",
    )


def parameters_at_zero(inquiry: Inquiry) -> Evidence:
    def held_by(vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int) -> int:
        total = corollary_1_associations(num_heads, head_dim, embed_dim)
        return int(inquiry.formula(total, vocab_size, seq_len, embed_dim))

    sizes = (N, S, D, H, WIDTH)
    arrays = _polynomial(_array_sizes, sizes)
    return identity(
        inquiry, {"numbers in the arrays, T0 = H d_h + d": (arrays, _polynomial(held_by, sizes))},
        argument=f"with T0 = H d_h + d, {DEGREES} decides both polynomials; both are {arrays}",
    )


def parameters_at_two(inquiry: Inquiry) -> Evidence:
    def at_two(vocab_size: int, seq_len: int, num_heads: int, head_dim: int) -> int:
        return _array_sizes(vocab_size, seq_len, 2, num_heads, head_dim)

    def formula(vocab_size: int, seq_len: int, num_heads: int, head_dim: int) -> int:
        return int(inquiry.formula(corollary_1_associations(num_heads, head_dim, 2), vocab_size, seq_len))

    arrays = _polynomial(at_two, (N, S, H, WIDTH))
    return identity(
        inquiry, {"numbers in the arrays, d = 2, T0 = H d_h + 2": (arrays, _polynomial(formula, (N, S, H, WIDTH)))},
        argument=f"{DEGREES} decides both polynomials at d = 2; both are {arrays}",
    )


def heads(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for total, dim in product(range(1, 40), range(2, 8)):
            for width in range(1, dim + 1):
                counted = next(h for h in range(total + 1) if corollary_1_associations(h, width, dim) >= total)
                yield Case(f"T0 = {total}, d = {dim}, d_h = {width}: fewest heads", counted, inquiry.formula(total, width, dim))

    return enumerated(inquiry, cases(), Method.EXACT, "T0 1..39, d 2..7, d_h 1..d, counting heads upwards")


NOT_ADDITIVE = (
    "Given the last token, the difference of two logits times the softmax denominator of one head is a sum of one term per "
    "position. Such sums satisfy [f(a) + g(c)] + [f(b) + g(d)] = [f(a) + g(d)] + [f(b) + g(c)], so no weights whatever give the "
    "left pair of sequences one label and the right pair the other."
)


def _choices(prefix: tuple[int, ...], others: Sequence[tuple[int, ...]]) -> Int[np.ndarray, "sequences positions"]:
    """Tokens 0 or 1 at two positions before a fixed end, and other sequences beside these four."""
    return np.array([(a, b, *prefix) for a in (0, 1) for b in (0, 1)] + list(others))


def _one_head_cases(
    inquiry: Inquiry, sequences: Int[np.ndarray, "sequences positions"], dim: int, formula: int
) -> Iterator[Case]:
    """One case per way to give the four choices labels 0 or 1: what weights of one head can hold at most."""
    vocab = max(2, int(sequences.max()) + 1)
    for labels in product((0, 1), repeat=4):
        task = AssociationTask(sequences, np.array([*labels, *[0] * (len(sequences) - 4)]), vocab)
        impossible = one_head_cannot(task.subset(np.arange(4)))
        pairs = zip(sequences.tolist(), task.targets.tolist(), strict=True)
        given = ", ".join(f"{''.join(map(str, row))} -> {label}" for row, label in pairs)
        held = len(sequences) - impossible
        yield Case(f"N = {vocab}, {given}; one head, d = d_h = {dim}; most that any weights hold", held, formula)


def one_head_xor(inquiry: Inquiry) -> Evidence:
    cases = _one_head_cases(inquiry, _choices((0,), ()), 2, inquiry.formula(1, 2, 2))
    words = "all 16 labellings of the sequences 000, 010, 100, 110, for every choice of the weights of one head"
    return enumerated(inquiry, cases, Method.EXACT, words, note=NOT_ADDITIVE)


def one_head_xor_different_ends(inquiry: Inquiry) -> Evidence:
    sequences = _choices((0, 0), ((0, 0, 0, 1), (0, 0, 0, 2)))
    cases = _one_head_cases(inquiry, sequences, 3, inquiry.formula(1, 3, 3, 3, len(sequences)))
    words = "all 16 labellings of ab00 with a, b in 0, 1, beside 0001 and 0002, for every choice of the weights of one head"
    return enumerated(inquiry, cases, Method.EXACT, words, note=NOT_ADDITIVE)


def complete_tables(inquiry: Inquiry) -> Evidence:
    sizes = [(3, 2, 1), (3, 2, 2), (4, 3, 2), (5, 2, 2), (5, 4, 3), (6, 3, 1)]
    sizes += [(8, 4, 4), (10, 2, 2), (12, 5, 5)][: inquiry.pick(1, 3, 3)]
    sizes += [(50, 10, 10)][: inquiry.pick(0, 1, 1)] + [(20, 2, 2), (50, 3, 3)][: inquiry.pick(0, 0, 2)]

    def cases() -> Iterator[Case]:
        for place, (vocab, dim, width) in enumerate(sizes):
            full = corollary_1_heads(vocab * vocab, width, dim)
            for heads in sorted({0, 1, full // 2, full}):
                task = AssociationTask.complete(vocab, 2, seed=inquiry.seed + place)
                built = memorize(task, embed_dim=dim, head_dim=width, num_heads=heads, seed=inquiry.seed, check=False)
                right = certified_right(built.model, task.subset(built.held))
                wanted = min(vocab * vocab, inquiry.formula(heads, width, dim))
                yield Case(f"all {vocab}^2 pairs, d = {dim}, d_h = {width}, H = {heads}: certified right", right, wanted)
            inquiry.report((place + 1) / len(sizes))

    return enumerated(
        inquiry, cases(), Method.BALL,
        f"complete tables of pairs, (N, d, d_h) in {', '.join(map(str, sizes))}, H from 0 to all, random labels",
    )


def held_by_rank(inquiry: Inquiry) -> Evidence:
    def observe(task: AssociationTask, dim: int, width: int, heads: int) -> Case:
        width = min(width, dim)
        built = generic.build(task, embed_dim=dim, head_dim=width, num_heads=heads, seed=inquiry.seed, check=False)
        right = certified_right(built.model, task)
        formula = inquiry.formula(task, embed_dim=dim, head_dim=width, num_heads=heads)
        pairs = f"{sequences_in_words(task)} -> {task.targets.tolist()}"
        return Case(f"{pairs}, N = {task.vocab_size}; d = {dim}, d_h = {width}, H = {heads}: certified right", right, formula)

    drawn = {
        "task": association_tasks(vocab_size=(2, 6), seq_len=(1, 4), num_associations=(1, 20)),
        "dim": st.integers(2, 4), "width": st.integers(1, 4), "heads": st.integers(0, 5),
    }
    return property_tested(
        inquiry, observe, drawn, examples=inquiry.pick(30, 200, 3000), method=Method.BALL,
        ranges="all families of sequences and labels, N 2..6, S 1..4, T0 up to 20, d 2..4, d_h 1..d, H 0..5, built and certified",
    )


def below_readout_ceiling(inquiry: Inquiry) -> Evidence:
    """Two labels: m independent features store every labelling of m sequences by a linear readout, here in one dimension."""
    def cases() -> Iterator[Case]:
        for heads, dim, width in ((0, 1, 1), (0, 3, 1), (1, 2, 2), (3, 2, 1), (4, 4, 3), (7, 3, 2)):
            task = AssociationTask.random(40, 3, heads * width + dim, seed=inquiry.seed)
            stored = softmax_rank(task, embed_dim=dim, head_dim=width, num_heads=heads)
            words = f"N = 2 labels, {task.num_associations} random sequences of 3, d = {dim}, d_h = {width}, H = {heads}"
            yield Case(f"{words}: rank, so many have all labellings", stored, inquiry.formula(2, 1, heads * width + dim))

    return enumerated(
        inquiry, cases(), Method.EXACT, "two labels, where the ceiling is met; d 1..4, H 0..7",
        note="With two labels T0 independent features store all 2^T0 labellings, and T0 = P is the ceiling: it can't be lower.",
    )


def more_than_maximal(inquiry: Inquiry) -> Evidence:
    """Every labelling of more sequences than H d_h + d, by the planar code: heads of width two that write along a plane."""
    def cases() -> Iterator[Case]:
        for dim, heads, length, tokens in ((3, 1, 2, 3), (4, 2, 3, 4))[: inquiry.pick(1, 2, 2)]:
            total = dim * (heads + 1)
            sequences = AssociationTask.random(tokens, length, total, seed=inquiry.seed).sequences
            every = tokens**total < 10**4
            labellings = list(product(range(tokens), repeat=total)) if every else _some(tokens, total, inquiry.seed)
            labellings = labellings[:: inquiry.pick(7, 1, 1)]
            held = min(
                certified_right(model, task)
                for labels in labellings
                for model, task in [planar(AssociationTask(sequences, np.array(labels), tokens), dim, heads, seed=inquiry.seed)]
            )
            words = f"{total} random sequences, N = {tokens}, S = {length}, d = {dim}, d_h = 2, H = {heads}"
            words += f", {len(labellings)} labellings"
            yield Case(f"{words}: least certified right", held, inquiry.formula(heads, 2, dim))

    return enumerated(
        inquiry, cases(), Method.BALL, "models with the planar code, certified for many labellings of the same sequences",
        note="Heads and embeddings stay the same for all labellings. The d (H + 1) features [X_S; A^1; ..] are independent on "
        "these sequences, so the two rows of targets on the circle are met for every labelling.",
    )


def _some(tokens: int, total: int, seed: int) -> list[tuple[int, ...]]:
    drawn = np.random.default_rng(seed).integers(0, tokens, (500, total))
    return [tuple(int(x) for x in row) for row in drawn]


def rank_memory(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for vocab in range(1, 13):
            model, task = read_by_rows(max(2, vocab))
            yield Case(
                f"W = identity of rank 2, {max(2, vocab)} keys and values on the circle: certified right",
                certified_right(model, task), inquiry.formula(2),
            )

    return enumerated(inquiry, cases(), Method.BALL, "the circle code of 2 to 12 tokens as keys and as values, d = 2, no heads")


def accuracy_on_a_table(inquiry: Inquiry) -> Evidence:
    """Tables on which no weights reach the accuracy: one head on the exclusive or; no head where the first token counts."""
    def cases() -> Iterator[Case]:
        sequences = _choices((0,), ())
        for labels in product((0, 1), repeat=4):
            task = AssociationTask(sequences, np.array(labels), 2)
            best = Fraction(3, 4) if one_head_cannot(task) else Fraction(1)
            pairs = zip(sequences.tolist(), labels, strict=True)
            given = ", ".join(f"{''.join(map(str, row))} -> {label}" for row, label in pairs)
            words = f"N = 2, {given}; one head, d = d_h = 2: accuracy of any weights at most"
            yield Case(words, best, inquiry.formula(1, 2, 2, 2, 4))
        for vocab in (3, 4, 5):
            table = AssociationTask.complete(vocab, 2, 0).sequences
            sums = table.sum(axis=1) % vocab
            best = Fraction(sum(int(np.bincount(sums[table[:, 1] == last]).max()) for last in range(vocab)), vocab**2)
            words = f"all {vocab}^2 pairs ab -> a + b mod {vocab}; no head, d = 2: accuracy for any weights at most"
            yield Case(words, best, inquiry.formula(0, 2, 2, vocab, vocab**2))

    ranges = "all labellings of 000, 010, 100, 110 with one head; sums modulo N without heads"
    return enumerated(inquiry, cases(), Method.EXACT, ranges, note=NOT_ADDITIVE)


def accuracy_on_average(inquiry: Inquiry) -> list[Evidence]:
    tables = inquiry.pick(40, 200, 2000)
    found = []
    for vocab, dim, width, heads in ((5, 2, 2, 3), (6, 3, 2, 4), (8, 4, 4, 5)):
        formula = inquiry.formula(heads, width, dim, vocab, vocab * vocab)
        accuracies = []
        for seed in range(tables):
            task = AssociationTask.complete(vocab, 2, seed + 1000 * inquiry.seed)
            built = memorize(task, embed_dim=dim, head_dim=width, num_heads=heads, seed=seed, check=False)
            accuracies.append(certified_right(built.model, task) / task.num_associations)
            inquiry.report((seed + 1) / tables)
        what = f"mean accuracy, N = {vocab}, d = {dim}, d_h = {width}, H = {heads}"
        interval = mean_interval(accuracies, what, float(formula), level=0.99)
        ranges = f"{tables} complete tables with random labels, built"
        found.append(Evidence(Method.MEASUREMENT, ranges, tables, interval=interval))
    return found


def conversion(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        memories = (Fraction(0), Fraction(1), Fraction(1, 3), Fraction(-1, 9))
        for vocab, total, memory in product((2, 3, 5, 9), (1, 2, 5, 11), memories):
            accuracy = accuracy_from_memory(memory, vocab, total)
            yield Case(f"N = {vocab}, T0 = {total}, X = {memory}", memory, inquiry.formula(accuracy, vocab, total))

    return enumerated(
        inquiry, cases(), Method.EXACT, "N in 2, 3, 5, 9; T0 in 1, 2, 5, 11; X in -1/9, 0, 1/3, 1",
        argument="cleared of denominators both sides are polynomials of degree at most three in N, T0 and X, and four values of "
        "each decide",
    )


def silu_head(inquiry: Inquiry) -> Evidence:
    score, value = sympy.symbols("s v", real=True)
    attention = sympy.exp(score) / (sympy.exp(score) + sympy.exp(0))
    head = attention * value * score + (1 - attention) * 0
    words = "a head of width one on itself with score s and a bias token with score 0"
    return identity(
        inquiry, {words: (head, inquiry.formula(score, value))},
        argument="the softmax over two positions is the logistic function: the head adds v s / (1 + exp(-s)) for every s and v",
    )
