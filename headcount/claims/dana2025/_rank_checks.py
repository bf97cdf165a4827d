"""How the claims about ranks are checked, all in exact arithmetic.

A rank that is to be reached is a rank modulo a prime of a true softmax model with integer parameters, which the generic rank can
only exceed. A rank that is not to be reached is bounded for all weights, by an argument that the case names.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from hypothesis import strategies as st

from headcount.claims.checks import enumerated, property_tested
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.dana2025._features import additive_rank, coinciding_contexts_rank, sequences_in_words
from theory.attention_rank import (
    difference_dimension,
    free_attention_rank,
    jacobian_rank,
    softmax_rank,
)
from theory.strategies import association_tasks
from theory.tasks import AssociationTask

SMALL = "all families of sequences (random, constant, products, matchings, complete, one or two last tokens)"
DIMS = {"dim": st.integers(2, 4), "width": st.integers(1, 4), "heads": st.integers(0, 5)}


def _sizes(dim: int, width: int, heads: int) -> dict[str, Any]:
    return {"embed_dim": dim, "head_dim": width, "num_heads": heads}


def _words(task: AssociationTask, dim: int, width: int, heads: int) -> str:
    return f"sequences {sequences_in_words(task)}; d = {dim}, d_h = {width}, H = {heads}"


def lemma_2(inquiry: Inquiry) -> Evidence:
    def observe(task: AssociationTask, dim: int, heads: int) -> Case:
        # [A^1; ..; A^H]: the first head has d rows, each other one adds at most the differences' dimension to it.
        most = dim + (heads - 1) * difference_dimension(task, embed_dim=dim)
        return Case(
            f"{_words(task, dim, dim, heads)}: rank for any weights at most",
            min(task.num_associations, most), inquiry.formula(task.num_associations, heads, dim),
        )

    drawn = {"task": association_tasks(vocab_size=(2, 6), seq_len=(2, 4)), "dim": st.integers(2, 4), "heads": st.integers(1, 5)}
    note = (
        "A^h(t) - A^1(t) lies in the span of the differences x(t, i) - x(t, S) for every choice of weights, embeddings and "
        "positions; so the stacked heads have at most the rank d + (H - 1) dim of that span."
    )
    return property_tested(
        inquiry, observe, drawn, examples=inquiry.pick(200, 1000, 10000), method=Method.EXACT, note=note,
        ranges=f"{SMALL}, N 2..6, S 2..4, d 2..4, H 1..5",
    )


def free_rank(inquiry: Inquiry) -> Evidence:
    def observe(task: AssociationTask, dim: int, width: int, heads: int, seed: int) -> Case:
        sizes = _sizes(dim, width, heads)
        found = free_attention_rank(task, **sizes, seed=seed)
        return Case(_words(task, dim, width, heads), found, inquiry.formula(task, **sizes))

    tasks = association_tasks(vocab_size=(2, 6), seq_len=(1, 4), num_associations=(1, 9))
    return property_tested(
        inquiry, observe, {"task": tasks, **DIMS, "seed": st.integers(0, 99)}, examples=inquiry.pick(40, 400, 5000),
        method=Method.EXACT, ranges=f"{SMALL}, N 2..6, S 1..4, T0 1..9, d 2..4, d_h 1..4, H 0..5; minimum over all subsets",
    )


def softmax_below_free(inquiry: Inquiry) -> Evidence:
    def observe(task: AssociationTask, dim: int, width: int, heads: int, seed: int) -> Case:
        sizes = _sizes(dim, width, heads)
        return Case(_words(task, dim, width, heads), softmax_rank(task, **sizes, seed=seed), inquiry.formula(task, **sizes))

    tasks = association_tasks(vocab_size=(2, 6), seq_len=(1, 4), num_associations=(1, 24))
    return property_tested(
        inquiry, observe, {"task": tasks, **DIMS, "seed": st.integers(0, 99)}, examples=inquiry.pick(80, 600, 5000),
        method=Method.EXACT, ranges=f"{SMALL}, N 2..6, S 1..4, T0 up to 24, d 2..4, d_h 1..4, H 0..5",
    )


def softmax_equals_free(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for dim, length in product((2, 3, 4), (3, 4)):
            ends = tuple(range(4, 4 + length - 2))
            task = AssociationTask(np.array([(a, b, *ends) for a in (0, 1) for b in (2, 3)]), np.zeros(4, dtype=np.int64), 6)
            yield Case(
                f"{_words(task, dim, dim, 1)}: rank for any weights at most",
                min(1 + dim, additive_rank(task)), inquiry.formula(task, **_sizes(dim, dim, 1)),
            )

    note = (
        "With one head and one last token every feature times the softmax denominator is a sum of one term per position; such "
        "functions on these sequences have the rank given."
    )
    return enumerated(
        inquiry, cases(), Method.EXACT, "products of two choices before one end, one head, d = d_h 2..4, S 3 and 4", note=note
    )


def guaranteed(inquiry: Inquiry) -> Evidence:
    def observe(task: AssociationTask, dim: int, width: int, heads: int) -> Case:
        sizes = _sizes(dim, width, heads)
        formula = inquiry.formula(heads, width, dim, task.seq_len, task.num_last_tokens, task.num_associations)
        # An unlucky draw of integers can only lower the rank: the best of a few is still a proved lower bound.
        reached = 0
        for seed in range(4):
            reached = max(reached, softmax_rank(task, **sizes, seed=seed))
            if reached >= formula:
                break
        return Case(_words(task, dim, width, heads), reached, formula)

    tasks = association_tasks(vocab_size=(2, 7), seq_len=(1, 3), num_associations=(1, 24))
    return property_tested(
        inquiry, observe, {"task": tasks, **DIMS}, examples=inquiry.pick(80, 600, 5000), method=Method.EXACT,
        ranges=f"{SMALL}, N 2..7, S 1..3, T0 up to 24, d 2..4, d_h 1..4, H 0..5",
    )


def constant(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        lengths = range(1, inquiry.pick(4, 6, 7))
        for length, dim, heads in product(lengths, (2, 3, 4), (0, 1, 2, 5)):
            for width in {1, dim}:
                total = dim + heads * dim + 1
                task = AssociationTask(np.repeat(np.arange(total)[:, None], length, axis=1), np.arange(total), total)
                sizes = _sizes(dim, width, heads)
                reached, most = softmax_rank(task, **sizes), free_attention_rank(task, **sizes)
                words = f"constant sequences a..a of length {length}, a = 0..{total - 1}; d = {dim}, d_h = {width}, H = {heads}"
                formula = inquiry.formula(heads, width, dim, length, total, total)
                yield Case(f"{words}: rank reached", reached, formula)
                yield Case(f"{words}: rank of free attention", most, formula)

    return enumerated(inquiry, cases(), Method.EXACT, "constant sequences, S 1.., d 2..4, d_h 1 and d, H 0..5, T0 = d + H d + 1")


def span(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for total, dim, length in product((1, 2, 3, 10), (2, 3, 4), (2, 3, 4, 5)):
            task = AssociationTask.random(12, length, total, seed=inquiry.seed)
            parts = [difference_dimension(task.subset(np.array([row])), embed_dim=dim) for row in range(total)]
            words = f"sequences {sequences_in_words(task)}; d = {dim}: span of all attention outputs at most"
            yield Case(words, min(dim * total, 1 + sum(parts)), inquiry.formula(dim, total))

    note = (
        "A(t) - x(t, S) lies in the span of the differences of t, whatever the weights: all outputs together lie in one point "
        "plus the product of these spans."
    )
    return enumerated(inquiry, cases(), Method.EXACT, "random sequences, N = 12, T0 1, 2, 3, 10, d 2..4, S 2..5", note=note)


def wide(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for heads, dim in product((1, 2, 10), (2, 3)):
            for width in range(dim, dim + 4):
                total = inquiry.formula(heads, width, dim)
                task = AssociationTask.random(60, 3, max(1, total), seed=inquiry.seed)
                most = free_attention_rank(task, **_sizes(dim, width, heads))
                words = f"{total} random sequences, N = 60, S = 3, d = {dim}, d_h = {width}, H = {heads}"
                yield Case(f"{words}: rank for any weights at most", most, total)

    return enumerated(inquiry, cases(), Method.EXACT, "random sequences, d 2 and 3, d_h from d to d + 3, H 1, 2, 10")


def wide_reached(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for heads, dim in product((1, 2, 10), (2, 3)):
            for width in range(dim, dim + 4):
                total = inquiry.formula(heads, width, dim)
                task = AssociationTask.random(60, 3, min(total, 100), seed=inquiry.seed)
                reached = softmax_rank(task, **_sizes(dim, width, heads))
                words = f"{total} random sequences, N = 60, S = 3, d = {dim}, d_h = {width}, H = {heads}"
                yield Case(f"{words}: rank reached", reached, total)

    return enumerated(inquiry, cases(), Method.EXACT, "random sequences, d 2 and 3, d_h from d to d + 3, H 1, 2, 10")


def positions(inquiry: Inquiry) -> Evidence:
    def observe(task: AssociationTask, dim: int, width: int, heads: int) -> Case:
        rank = softmax_rank(task, **_sizes(dim, width, heads), positions=False)
        return Case(f"{_words(task, dim, width, heads)}, no positions", rank, inquiry.formula(task))

    tasks = association_tasks(vocab_size=(2, 5), seq_len=(2, 4), num_associations=(1, 24))
    return property_tested(
        inquiry, observe, {"task": tasks, **DIMS}, examples=inquiry.pick(80, 400, 4000), method=Method.EXACT,
        ranges=f"{SMALL}, N 2..5, S 2..4, T0 up to 24, d 2..4, d_h 1..4, H 0..5",
        note="The 24 orders of four tokens before one last token: rank 24 with positions, 1 without.",
    )


def rank_one(inquiry: Inquiry) -> Evidence:
    def observe(task: AssociationTask, dim: int, width: int, heads: int) -> Case:
        sizes = _sizes(dim, width, heads)
        reached = max(softmax_rank(task, **sizes, rank_one=True, seed=seed) for seed in range(3))
        return Case(f"{_words(task, dim, width, heads)}, W_QK of rank one", reached, inquiry.formula(task, **sizes))

    tasks = association_tasks(vocab_size=(2, 7), seq_len=(1, 4), num_associations=(1, 20))
    return property_tested(
        inquiry, observe, {"task": tasks, **DIMS}, examples=inquiry.pick(60, 400, 4000), method=Method.EXACT,
        ranges=f"{SMALL}, N 2..7, S 1..4, T0 up to 20, d 2..4, d_h 1..4, H 0..5",
    )


def jacobian(inquiry: Inquiry) -> Evidence:
    largest = inquiry.pick(70, 130, 300)

    def observe(vocab: int, length: int, narrower: int, heads: int, width: int) -> Case | None:
        if narrower >= vocab or vocab**length > largest:
            return None
        sizes = {
            "vocab_size": vocab, "seq_len": length, "embed_dim": vocab - narrower, "num_heads": heads, "head_dim": width
        }
        words = ", ".join(f"{name} = {size}" for name, size in zip(("N", "S", "d", "H", "d_h"), sizes.values(), strict=True))
        return Case(words, jacobian_rank(**sizes), inquiry.formula(**sizes))

    drawn = {
        "vocab": st.integers(2, 11), "length": st.integers(1, 3), "narrower": st.integers(1, 10), "heads": st.integers(0, 4),
        "width": st.integers(1, 5),
    }
    return property_tested(
        inquiry, observe, drawn, examples=inquiry.pick(15, 40, 1000), method=Method.EXACT,
        ranges=f"N 2..11, S 1..3, N^S <= {largest}, d < N, H 0..4, d_h 1..5; rank of the Jacobian modulo a prime",
    )


def mahdavi(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for heads, dim, contexts in product((1, 2, 4), (4, 6), (2, 3, 4)):
            for width in (1, 2, 4):
                total = max(1, inquiry.formula(heads, width, contexts))
                reached = coinciding_contexts_rank(total if total < 200 else 200, contexts, dim, heads, seed=inquiry.seed)
                words = f"one context of {contexts} tokens, {total} queries, d = {dim}, H = {heads}, their d_h = {width}"
                yield Case(f"{words}: rank", reached, total)

    return enumerated(inquiry, cases(), Method.EXACT, "coinciding contexts, n 2..4, d 4 and 6, d_h 1, 2, 4, H 1, 2, 4")


def mahdavi_plotted(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for heads, width in product((1, 2, 5, 20), (1, 2, 3, 10)):
            total = inquiry.formula(heads, width)
            queries = max(1, min(total, 200))
            reached = coinciding_contexts_rank(queries, 2, max(2, width), heads, seed=inquiry.seed)
            words = f"one context of 2 tokens, {queries} queries, d = {max(2, width)}, H = {heads}, their d_h = {width}"
            yield Case(f"{words}: rank", reached, total)

    return enumerated(
        inquiry, cases(), Method.EXACT, "one context of n = S = 2 tokens, H 1, 2, 5, 20, d_h 1, 2, 3, 10",
        note="Not for lack of luck: a head's output is on the line through its two tokens, so H heads have at most rank H + 1.",
    )
