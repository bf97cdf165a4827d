"""Hypothesis strategies for tasks, shapes, scaling laws and manifolds: small, varied, and on purpose often degenerate.

For property tests of any bound, construction or model, in this project or elsewhere:

    from hypothesis import given
    from theory.strategies import association_tasks, attention_shapes

    @given(task=association_tasks(seq_len=2), shape=attention_shapes(embed_dim=(2, 4)))
    def test_my_bound(task, shape):
        assert my_bound(shape.num_heads, shape.head_dim, shape.embed_dim) <= 2 * task.num_associations

What is drawn is a handful of small integers (sizes, a family, a label pattern, a seed), so failing examples shrink to
small sizes and print as something that can be pasted into a test. With `_law_draws` and `_manifold_draws` the only file
of `theory` that needs Hypothesis.
"""

from bisect import bisect_left
from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from jaxtyping import Float, Int

from theory._hop_draws import repaired, string_of_family
from theory._law_draws import HOFFMANN_FAMILIES as HOFFMANN_FAMILIES
from theory._law_draws import LAW_KINDS as LAW_KINDS
from theory._law_draws import hoffmann_laws as hoffmann_laws
from theory._law_draws import scaling_laws as scaling_laws
from theory._manifold_draws import MANIFOLD_KINDS as MANIFOLD_KINDS
from theory._manifold_draws import hoelder_targets as hoelder_targets
from theory._manifold_draws import manifolds as manifolds
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import MAX_VOCAB_SIZE, AssociationTask, DistributionTask

Draw = Callable[..., Any]  # st.DrawFn is a protocol that run-time type checkers cannot check

FAMILIES = (
    "random",  # distinct sequences, uniformly
    "constant",  # (a, .., a): all differences between positions are the same
    "one last token",  # the skip connection cannot tell them apart
    "few last tokens",  # two of them
    "product",  # all choices from a small set per position
    "matching",  # every position a permutation of the tokens: no token twice at a position
    "complete",  # all N^S
)
"""How the sequences of a drawn task are chosen; the first words of its description."""

LABELS = (
    "random",  # uniform
    "one",  # the same target for all
    "two",  # at most two different targets
    "last",  # the last token again
    "cyclic",  # 0, 1, .., N - 1, 0, 1, ..
    "blocks",  # 0, .., 0, 1, .., 1, .. in long runs
)
"""How targets are chosen."""

CONDITIONALS = (
    "random",  # flat Dirichlet
    "uniform",  # every token alike
    "near deterministic",  # all but 1e-3 to 1e-12 on one token
    "low rank",  # softmax of logits of rank 1 or 2
    "deterministic",  # one token for sure: no full support
    "partial",  # some tokens ruled out: no full support
)
"""How the conditionals of a drawn distribution task are chosen; the first four have full support."""

PRIORS = (
    "uniform",
    "random",  # flat Dirichlet
    "skewed",  # halving from sequence to sequence, in random order
    "two levels",  # many equal chances: ties in the order of likelihood
)
"""How the prior of a drawn distribution task is chosen."""

HOP_FAMILIES = (
    "any",  # symbol by symbol
    "constant",  # one symbol: every position but the first finds itself
    "periodic",
    "runs",  # of equal symbols, all of one length
    "late",  # at most two symbols at first, others only towards the end
    "mirror",  # a half and its reverse
    "far return",  # the first symbol comes back at the very end only
    "counting",  # 0, 1, .., 0, 1, ..: as few positions defined as can be
)
"""How drawn strings for hop_k are made."""

DEFAULT_LARGEST = 64
"""Most associations drawn unless `num_associations` or fixed sizes ask for more."""


def association_tasks(
    *,
    vocab_size: int | tuple[int, int] = (2, 8),
    seq_len: int | tuple[int, int] = (1, 3),
    num_associations: int | tuple[int, int] | None = None,
    complete: bool | None = None,
    labels: str | None = None,
) -> st.SearchStrategy[AssociationTask]:
    """Association tasks of every family in FAMILIES.

    Sizes are a number or an inclusive range (least, largest). Without `num_associations`, at most DEFAULT_LARGEST are
    drawn. `complete=True` draws complete tables only (T0 is then N^S, and tables above DEFAULT_LARGEST come up only
    where the sizes leave no smaller ones), `complete=False` never draws one, None mixes. `labels` is one of LABELS;
    None mixes them.

        @given(association_tasks(seq_len=2, complete=False))
        def test_held(task): ...

    Raises ValueError for ranges that are empty, or that no task fits.
    """
    tokens, lengths = _range("vocab_size", vocab_size, 2), _range("seq_len", seq_len, 1)
    if tokens[1] > MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size = {vocab_size}: must be at most {MAX_VOCAB_SIZE}")
    if labels is not None and labels not in LABELS:
        raise ValueError(f"labels = {labels!r}: must be None or one of {', '.join(LABELS)}")
    if complete and num_associations is not None:
        raise ValueError(f"num_associations = {num_associations}: must be None when complete=True, which makes it N^S")
    least, largest = _range(
        "num_associations", (1, DEFAULT_LARGEST) if num_associations is None else num_associations, 1
    )
    room = 1 if complete is False else 0  # one sequence at least is to be left out
    if tokens[1] ** lengths[1] < least + room:
        most = f"at most {tokens[1] ** lengths[1] - room} for these vocab_size, seq_len and complete"
        raise ValueError(f"num_associations = {num_associations}: must be {most}")
    return _tasks(tokens, lengths, (least, largest), complete, labels)


def distribution_tasks(
    *,
    vocab_size: int | tuple[int, int] = (2, 6),
    seq_len: int | tuple[int, int] = (1, 3),
    num_sequences: int | tuple[int, int] = (1, 16),
    full_support: bool | None = None,
    prior: str | None = None,
) -> st.SearchStrategy[DistributionTask]:
    """Distribution tasks: sequences of every family in FAMILIES, conditionals of CONDITIONALS, priors of PRIORS.

    Sizes are a number or an inclusive range (least, largest). `full_support=True` keeps to the conditionals that have it,
    False to those that don't, None mixes. `prior` is one of PRIORS; None mixes them.

        @given(distribution_tasks(full_support=True))
        def test_bound(task): ...

    Raises ValueError for ranges that are empty, or that no task fits.
    """
    if prior is not None and prior not in PRIORS:
        raise ValueError(f"prior = {prior!r}: must be None or one of {', '.join(PRIORS)}")
    tables = association_tasks(vocab_size=vocab_size, seq_len=seq_len, num_associations=num_sequences)
    return _distributions(tables, full_support, prior)


def attention_shapes(
    *,
    embed_dim: int | tuple[int, int] = (2, 6),
    num_heads: int | tuple[int, int] = (0, 8),
    head_dim: int | tuple[int, int] | None = None,
    wide_heads: bool = False,
) -> st.SearchStrategy[AttentionShape]:
    """Shapes of attention layers; sizes are a number or an inclusive range (least, largest).

    Without `head_dim`, all widths up to d are drawn, up to 2 d with `wide_heads=True`. With it, widths beyond d are
    left out unless `wide_heads=True`.

        @given(attention_shapes(embed_dim=(2, 4), num_heads=3, wide_heads=True))
        def test_counts(shape): ...

    Raises ValueError for ranges that are empty, or that no shape fits.
    """
    dims, heads = _range("embed_dim", embed_dim, 1), _range("num_heads", num_heads, 0)
    widths = None if head_dim is None else _range("head_dim", head_dim, 1)
    if widths is not None and not wide_heads:
        if widths[0] > dims[1]:
            raise ValueError(f"head_dim = {head_dim}: must be at most embed_dim = {dims[1]} unless wide_heads=True")
        dims = (max(dims[0], widths[0]), dims[1])
    return _shapes(dims, heads, widths, wide_heads)


def hop_strings(
    *,
    vocab_size: int | tuple[int, int] = (1, 5),
    seq_len: int | tuple[int, int] = (1, 12),
    repeats: bool = True,
    family: str | None = None,
) -> st.SearchStrategy[Int[np.ndarray, " seq_len"]]:
    """Strings for hop_k: int64 arrays (N,) of symbols 0..|Sigma| - 1, often with awkward repeats.

    Sizes are a number or an inclusive range (least, largest). `repeats=False` draws no string with equal neighbours; `family`
    is one of HOP_FAMILIES, None mixes them. Failing examples shrink to short strings of small symbols.

        @given(hop_strings(vocab_size=4, seq_len=16), st.integers(0, 16))
        def test_hops(symbols, num_hops): ...

    Raises ValueError for ranges that are empty, an unknown family, and one symbol without repeats.
    """
    symbols, lengths = _range("vocab_size", vocab_size, 1), _range("seq_len", seq_len, 1)
    if family is not None and family not in HOP_FAMILIES:
        raise ValueError(f"family = {family!r}: must be None or one of {', '.join(HOP_FAMILIES)}")
    if not repeats and symbols[1] == 1 and lengths[1] > 1:
        raise ValueError(f"vocab_size = {vocab_size}: must reach 2 when repeats=False")
    return _hop_strings(symbols, lengths, repeats, family)


def _range(name: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    if not isinstance(value, tuple):
        value = (value, value)
    if len(value) != 2:
        raise ValueError(f"{name} = {value}: must be a number or a pair (least, largest)")
    low, high = checked_integer(name, value[0], least), checked_integer(name, value[1], least)
    if low > high:
        raise ValueError(f"{name} = {value}: must be (least, largest) with least <= largest")
    return low, high


def _last_fitting(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number in low..high that fits (all below it do too), low - 1 when none does."""
    return bisect_left(range(low, high + 1), True, key=lambda number: not fits(number)) + low - 1


@st.composite
def _tasks(
    draw: Draw,
    tokens: tuple[int, int],
    lengths: tuple[int, int],
    counts: tuple[int, int],
    complete: bool | None,
    labels: str | None,
) -> AssociationTask:
    least, largest = counts
    needed = least + (complete is False)
    # Only lengths, then only vocabularies, with enough sequences (and, for complete tables, not too many if possible).
    shortest = bisect_left(range(lengths[0], lengths[1] + 1), needed, key=lambda s: tokens[1] ** s) + lengths[0]
    longest = lengths[1]
    if complete:
        longest = max(shortest, _last_fitting(shortest, lengths[1], lambda s: tokens[0] ** s <= largest))
    seq_len = draw(st.integers(shortest, longest))
    fewest = bisect_left(range(tokens[0], tokens[1] + 1), needed, key=lambda n: n**seq_len) + tokens[0]
    most = tokens[1]
    if complete:
        most = max(fewest, _last_fitting(fewest, tokens[1], lambda n: n**seq_len <= largest))
    vocab_size = draw(st.integers(fewest, most))

    total = vocab_size**seq_len
    largest = min(largest, total - (complete is False))
    sizes = {
        "random": total,
        "constant": vocab_size,
        "one last token": total // vocab_size,
        "few last tokens": 2 * total // vocab_size,
        "product": min(vocab_size, 3) ** seq_len,
        "matching": vocab_size,
        "complete": total if total <= largest else 0,
    }
    family = "complete" if complete else draw(st.sampled_from([name for name in FAMILIES if sizes[name] >= least]))
    pattern = draw(st.sampled_from(LABELS)) if labels is None else labels
    sides = (1,) * seq_len
    if family == "complete":
        count = total
    elif family == "product":
        sides = draw(st.tuples(*[st.integers(1, min(vocab_size, 3))] * seq_len))
        if prod(sides) < least:
            sides = (min(vocab_size, 3),) * seq_len
        count = min(prod(sides), largest)
    else:
        count = draw(st.integers(least, min(largest, sizes[family])))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    sequences = _sequences(family, vocab_size, seq_len, count, np.array(sides), rng)
    targets = _targets(pattern, sequences[:, -1], vocab_size, rng)
    return AssociationTask(sequences, targets, vocab_size, f"{family}, labels {pattern}, seed {seed}")


@st.composite
def _hop_strings(
    draw: Draw, symbols: tuple[int, int], lengths: tuple[int, int], repeats: bool, family: str | None
) -> Int[np.ndarray, " seq_len"]:
    seq_len = draw(st.integers(*lengths))
    vocab_size = draw(st.integers(max(symbols[0], 1 if repeats or seq_len == 1 else 2), symbols[1]))
    family = draw(st.sampled_from(HOP_FAMILIES)) if family is None else family
    entries = draw(st.lists(st.integers(0, vocab_size - 1), min_size=seq_len, max_size=seq_len))
    turn = draw(st.integers(1, seq_len))
    string = string_of_family(family, np.array(entries, dtype=np.int64), turn, vocab_size)
    return string if repeats else repaired(string, vocab_size)


@st.composite
def _shapes(
    draw: Draw,
    dims: tuple[int, int],
    heads: tuple[int, int],
    widths: tuple[int, int] | None,
    wide_heads: bool,
) -> AttentionShape:
    embed_dim = draw(st.integers(*dims))
    least, largest = widths or (1, 2 * embed_dim)
    head_dim = draw(st.integers(least, largest if wide_heads else min(largest, embed_dim)))
    return AttentionShape(embed_dim, draw(st.integers(*heads)), head_dim)


@st.composite
def _distributions(
    draw: Draw, tables: st.SearchStrategy[AssociationTask], full_support: bool | None, prior: str | None
) -> DistributionTask:
    table = draw(tables)
    legal = CONDITIONALS if full_support is None else CONDITIONALS[:4] if full_support else CONDITIONALS[4:]
    pattern = draw(st.sampled_from(legal))
    prior = draw(st.sampled_from(PRIORS)) if prior is None else prior
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    rows = _conditionals(pattern, table, rng)
    return DistributionTask(
        table.sequences, rows, _prior(prior, len(rows), rng), f"{table.description}; {pattern}, prior {prior}"
    )


def _conditionals(pattern: str, table: AssociationTask, rng: np.random.Generator) -> Float[np.ndarray, "count vocab"]:
    count, tokens = table.num_associations, table.vocab_size
    one_hot = np.eye(tokens)[table.targets]
    if pattern == "uniform":
        return np.full((count, tokens), 1 / tokens)
    if pattern == "deterministic":
        return one_hot
    if pattern == "near deterministic":
        rest = 10.0 ** -rng.uniform(3, 12, size=(count, 1))
        return (1 - rest) * one_hot + rest * rng.dirichlet(np.ones(tokens), size=count)
    if pattern == "low rank":
        rank = rng.integers(1, 3)
        rows = np.exp(rng.standard_normal((count, rank)) @ rng.standard_normal((rank, tokens)))
        return rows / rows.sum(axis=1, keepdims=True)
    rows = np.maximum(rng.dirichlet(np.ones(tokens), size=count), 1e-9)
    if pattern == "partial":
        kept = rng.random((count, tokens)) < 0.5
        kept[np.arange(count), table.targets] = True
        kept[0] = one_hot[0] > 0  # at least one row is without full support
        rows = rows * kept
    return rows / rows.sum(axis=1, keepdims=True)


def _prior(pattern: str, count: int, rng: np.random.Generator) -> Float[np.ndarray, " count"]:
    if pattern == "uniform":
        chances = np.ones(count)
    elif pattern == "random":
        chances = np.maximum(rng.dirichlet(np.ones(count)), 1e-9)
    elif pattern == "skewed":
        chances = rng.permutation(0.5 ** np.arange(count))
    else:
        chances = rng.choice([1.0, 4.0], size=count)
    return chances / chances.sum()


def _sequences(
    family: str, vocab_size: int, seq_len: int, count: int, sides: Int[np.ndarray, " seq_len"], rng: np.random.Generator
) -> Int[np.ndarray, "count seq_len"]:
    if family == "complete":
        return AssociationTask.complete(vocab_size, seq_len, 0).sequences
    if family == "constant":
        return np.repeat(rng.permutation(vocab_size)[:count, None], seq_len, axis=1)
    if family == "matching":
        return np.stack([rng.permutation(vocab_size)[:count] for _ in range(seq_len)], axis=1)
    if family == "product":
        chosen = [rng.choice(vocab_size, size=side, replace=False).tolist() for side in sides.tolist()]
        return rng.permutation(np.array(list(product(*chosen)), dtype=np.int64))[:count]
    seed = int(rng.integers(2**32))
    if family == "random":
        return AssociationTask.random(vocab_size, seq_len, count, seed).sequences
    parts = [count] if family == "one last token" else [count - count // 2, count // 2]
    last_tokens = rng.permutation(vocab_size)
    return np.concatenate(
        [_ending(int(last), vocab_size, seq_len, part, seed) for last, part in zip(last_tokens, parts, strict=False)]
    )


def _ending(last: int, vocab_size: int, seq_len: int, count: int, seed: int) -> Int[np.ndarray, "count seq_len"]:
    rows = np.full((count, seq_len), last, dtype=np.int64)
    if seq_len > 1 and count > 0:
        rows[:, :-1] = AssociationTask.random(vocab_size, seq_len - 1, count, seed + last).sequences
    return rows


def _targets(
    pattern: str, last_tokens: Int[np.ndarray, " count"], vocab_size: int, rng: np.random.Generator
) -> Int[np.ndarray, " count"]:
    count = last_tokens.size
    places = np.arange(count)
    if pattern == "one":
        return np.full(count, rng.integers(vocab_size), dtype=np.int64)
    if pattern == "two":
        return rng.choice(vocab_size, size=2, replace=False)[rng.integers(2, size=(count,))]
    if pattern == "last":
        return last_tokens
    if pattern == "cyclic":
        return places % vocab_size
    if pattern == "blocks":
        return places * vocab_size // count
    return rng.integers(vocab_size, size=(count,))
