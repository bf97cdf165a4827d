"""Generators draw what they say: uniform strings, the experiments' draws, and hard strings checked without hop_k's own code."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from theory.hop_strings import (
    CycleStrings,
    all_strings,
    long_gaps,
    one_or_two_cycles,
    paper_batch,
    pointer_chasing,
    random_strings,
)
from theory.hops import PAPER_TASK, HopTask, find, find_by_definition, hop


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Uniform strings


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize(("vocab_size", "seq_len"), [(2, 4), (3, 3), (4, 2), (3, 1)])
def test_random_strings_are_uniform_on_all_of_them(vocab_size: int, seq_len: int, repeats: bool) -> None:
    legal = all_strings(vocab_size, seq_len, repeats=repeats)
    draws = 400 * len(legal)
    strings = random_strings(vocab_size, seq_len, draws, repeats=repeats, generator=seeded())
    assert strings.dtype == np.int64
    counts = Counter(map(tuple, strings.tolist()))
    assert set(counts) == set(map(tuple, legal.tolist()))
    # Chi-square with n - 1 degrees of freedom has mean n - 1, variance 2 (n - 1).
    statistic = sum((count - 400) ** 2 / 400 for count in counts.values())
    freedom = len(legal) - 1
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize(("vocab_size", "seq_len"), [(2, 5), (3, 4), (5, 3), (1, 1), (4, 1)])
def test_all_strings_without_repeats_are_those_of_all_that_have_none(vocab_size: int, seq_len: int) -> None:
    everything = all_strings(vocab_size, seq_len, repeats=True)
    kept = everything[(everything[:, 1:] != everything[:, :-1]).all(axis=1)]
    assert np.array_equal(all_strings(vocab_size, seq_len, repeats=False), kept)


def test_a_seed_fixes_strings() -> None:
    draws = [random_strings(4, 30, 5, repeats=False, generator=seeded(seed)).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert random_strings(1, 5, 2, repeats=True, generator=seeded()).tolist() == [[0] * 5] * 2
    assert random_strings(1, 1, 1, repeats=False, generator=seeded()).tolist() == [[0]]
    assert random_strings(3, 5, 0, repeats=False, generator=seeded()).shape == (0, 5)


# The experiments' own draws


def spelled_out(task: HopTask, batch_size: int, state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """The draws one `choice` of a letter after the other; letters in alphabetical order."""
    alphabet = [chr(ord("a") + number) for number in range(task.vocab_size)]
    strings, hops = [], []
    for _ in range(batch_size):
        text = str(state.choice(alphabet))
        for _ in range(task.seq_len + 1):
            text += str(state.choice([letter for letter in alphabet if letter != text[-1]]))
        strings.append([alphabet.index(letter) for letter in text[: task.seq_len]])
        hops.append(state.randint(task.min_hops, task.max_hops + 1))
    return np.array(strings), np.array(hops)


@pytest.mark.parametrize("task", [PAPER_TASK, HopTask(2, 9, 1, 3), HopTask(5, 20, 0, 0), HopTask(3, 1, 2, 9)])
def test_paper_batch_draws_in_the_published_order(task: HopTask) -> None:
    here, there = np.random.RandomState(4444), np.random.RandomState(4444)
    for batch_size in (7, 1, 12):
        tokens, targets = paper_batch(task, batch_size, here)
        symbols, num_hops = spelled_out(task, batch_size, there)
        assert np.array_equal(tokens, task.tokens(symbols, num_hops))
        assert np.array_equal(targets, task.targets(symbols, num_hops))
    assert here.randint(2**30) == there.randint(2**30)  # not one draw more


def test_paper_batch_answers_by_the_definition_in_the_papers_ids() -> None:
    tokens, targets = paper_batch(PAPER_TASK, 20, np.random.RandomState(0))
    assert tokens.shape == targets.shape == (20, 99)
    assert tokens.dtype == targets.dtype == np.int64
    assert (targets[:, 0] == 22).all()
    letters = tokens[:, 1:] - 17
    positions = find_by_definition(letters, tokens[:, 0])
    for row, at, target in zip(letters, positions, targets[:, 1:], strict=True):
        assert target.tolist() == [17 + row[p - 1] if p else 21 for p in at]


def test_paper_batch_with_a_given_k_draws_no_k() -> None:
    here, there = np.random.RandomState(0), np.random.RandomState(0)
    tokens, _ = paper_batch(PAPER_TASK, 3, here, num_hops=5)
    assert tokens[:, 0].tolist() == [5, 5, 5]
    for row in tokens[:, 1:] - 17:
        text = [int(there.choice(4))]
        for _ in range(99):
            text.append(int(there.choice([letter for letter in range(4) if letter != text[-1]])))
        assert row.tolist() == text[:98]


def test_paper_batch_draws_every_k_alike() -> None:
    tokens, _ = paper_batch(HopTask(4, 3, 2, 6), 5000, np.random.RandomState(1))
    counts = np.bincount(tokens[:, 0], minlength=5)
    assert counts.size == 5
    assert (abs(counts - 1000) < 5 * (5000 * 0.2 * 0.8) ** 0.5).all()


# One cycle or two


def cycles_of(edges: np.ndarray) -> list[int]:
    """Sizes of the components of a graph in which every vertex has two edges."""
    neighbours: dict[int, list[int]] = {}
    for one, other in edges.tolist():
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    assert all(len(set(some)) == 2 for some in neighbours.values())
    left, sizes = set(neighbours), []
    while left:
        stack, seen = [min(left)], {min(left)}
        while stack:
            for vertex in neighbours[stack.pop()]:
                if vertex not in seen:
                    seen.add(vertex)
                    stack.append(vertex)
        left -= seen
        sizes.append(len(seen))
    return sizes


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("num_vertices", [6, 8, 10, 12])
def test_the_last_hop_is_the_start_iff_there_are_two_cycles(num_vertices: int, padded: bool) -> None:
    length = 9 * num_vertices**2 // 2 + 1 + 17 * padded
    drawn = one_or_two_cycles(num_vertices, 60, seq_len=length if padded else None, generator=seeded(num_vertices))
    assert drawn.symbols.shape == (60, length)
    last = hop(drawn.symbols, num_vertices)[:, -1]
    for row in range(60):
        sizes = cycles_of(drawn.edges[row])
        assert sizes == ([num_vertices // 2] * 2 if drawn.two_cycles[row] else [num_vertices])
        assert (last[row] == drawn.starts[row]) == (len(sizes) == 2)
        assert 0 <= last[row] < num_vertices
    assert 10 < drawn.two_cycles.sum() < 50  # both kinds
    assert drawn.task.targets(drawn.symbols, num_vertices).shape == (60, length + 1)


def test_two_hops_go_along_one_edge() -> None:
    drawn = one_or_two_cycles(8, 20, generator=seeded(3))
    for row in range(20):
        neighbours = {frozenset(edge) for edge in drawn.edges[row].tolist()}
        met = [int(hop(drawn.symbols[row], 2 * step)[-1]) for step in range(5)]
        assert met[0] == drawn.starts[row]
        assert all(frozenset(pair) in neighbours for pair in pairwise(met))
        assert all(back != there for back, there in zip(met, met[2:-1], strict=False))


def test_the_string_is_the_edges_in_their_order_spelled_out() -> None:
    drawn = one_or_two_cycles(6, 3, generator=seeded(1))
    for row in range(3):
        words = [symbol for u, v in drawn.edges[row].tolist() for symbol in (6, u, 7, v, u, 7, v, 6, 8)]
        assert drawn.symbols[row].tolist() == words * 3 + [drawn.starts[row]]


def test_graphs_are_uniform_and_starts_and_orders_vary() -> None:
    drawn = one_or_two_cycles(6, 6000, generator=seeded(2))
    for two, graphs in ((True, 10), (False, 60)):  # binom(6, 3) / 2 and 5! / 2
        counts = Counter(frozenset(map(frozenset, edges)) for edges in drawn.edges[drawn.two_cycles == two].tolist())
        mean = counts.total() / graphs
        statistic = sum((count - mean) ** 2 / mean for count in counts.values())
        assert len(counts) == graphs
        assert abs(counts.total() - 3000) < 5 * 1500**0.5
        assert abs(statistic - (graphs - 1)) < 5 * (2 * (graphs - 1)) ** 0.5
    for column in (drawn.starts, drawn.edges[:, 0, 0], drawn.edges[:, -1, 1]):
        assert (abs(np.bincount(column) - 1000) < 5 * (1000 * 5 / 6) ** 0.5).all()


def test_either_graph_can_be_asked_for() -> None:
    for two in (True, False):
        assert (one_or_two_cycles(6, 20, two_cycles=two, generator=seeded()).two_cycles == two).all()
    assert one_or_two_cycles(6, 0, generator=seeded()).symbols.shape == (0, 163)


def test_too_few_repetitions_would_break_the_statement() -> None:
    """With one copy of the edges less the walk can fall off the string: k / 2 copies are not slack."""
    drawn = one_or_two_cycles(8, 200, generator=seeded(4))
    short = CycleStrings(drawn.symbols[:, 9 * 8 * 2 :], drawn.edges, drawn.starts, drawn.two_cycles)
    assert (hop(short.symbols, 8)[:, -1] < 0).any()


# Pointer chasing


@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("num_hops", [1, 2, 3, 8])
def test_each_hop_jumps_one_block_and_follows_the_matchings(num_hops: int, width: int) -> None:
    drawn = pointer_chasing(num_hops, width, 40, generator=seeded(width))
    assert drawn.symbols.shape == (40, 2 * width * num_hops + 1)
    assert (np.sort(drawn.matchings, axis=2) == np.arange(width)).all()
    chased = drawn.chased()
    positions = [find(drawn.symbols, layer + 1)[:, -1] for layer in range(num_hops)]
    answers = [hop(drawn.symbols, layer + 1)[:, -1] for layer in range(num_hops)]
    for row in range(40):
        vertex = int(drawn.queries[row])
        assert drawn.symbols[row, -1] == vertex
        for layer in range(num_hops):
            vertex = int(drawn.matchings[row, layer, vertex])
            symbol = vertex if layer % 2 else width + vertex
            if layer == num_hops - 1:
                symbol = 2 * width + (2 * vertex >= width)
            assert answers[layer][row] == chased[row, layer] == symbol
            assert (positions[layer][row] - 1) // (2 * width) == num_hops - 1 - layer
    assert drawn.task.tokens(drawn.symbols, num_hops).max() < drawn.task.num_tokens
    if width > 1:
        assert (drawn.symbols[:, 1:] != drawn.symbols[:, :-1]).all()


def test_blocks_list_every_vertex_of_their_layer_with_its_partner() -> None:
    drawn = pointer_chasing(4, 5, 30, generator=seeded(9))
    for row in range(30):
        blocks = drawn.symbols[row, :-1].reshape(4, 5, 2)
        for layer in range(3):
            of, to = (0, 5) if layer % 2 == 0 else (5, 0)
            partner = dict(blocks[3 - layer].tolist())
            assert partner == {of + u: to + int(v) for u, v in enumerate(drawn.matchings[row, layer])}
        assert sorted(blocks[0][:, 1].tolist()) == [10, 10, 10, 11, 11]
    assert set(drawn.chased()[:, -1].tolist()) == {10, 11}


# Long gaps


@pytest.mark.parametrize(
    ("vocab_size", "seq_len", "num_hops", "least_gap"),
    [(4, 98, 4, 20), (4, 98, 16, 6), (5, 30, 14, 2), (26, 200, 3, 50), (4, 34, 16, 2), (4, 4, 1, 2)],
)
def test_every_hop_from_the_end_goes_far_back(vocab_size: int, seq_len: int, num_hops: int, least_gap: int) -> None:
    strings = long_gaps(vocab_size, seq_len, 200, num_hops=num_hops, least_gap=least_gap, generator=seeded())
    assert strings.shape == (200, seq_len)
    assert strings.min() >= 0
    assert strings.max() < vocab_size
    assert (strings[:, 1:] != strings[:, :-1]).all()
    stands = np.stack([find(strings, step)[:, -1] for step in range(num_hops + 1)], axis=1)
    assert (stands[:, -1] >= 2).all()
    assert (stands[:, :-1] - stands[:, 1:] >= least_gap).all()


def test_long_gaps_use_the_whole_range_and_all_symbols() -> None:
    strings = long_gaps(4, 12, 3000, num_hops=2, least_gap=3, generator=seeded())
    first, second = (find(strings, step)[:, -1] for step in (1, 2))
    pairs = Counter(zip((12 - first).tolist(), (first - second).tolist(), strict=True))
    legal = {(one, two) for one in range(3, 8) for two in range(3, 11 - one)}
    assert set(pairs) == legal  # uniform over these 15
    assert (abs(np.array(list(pairs.values())) - 200) < 5 * 200**0.5).all()
    assert all(set(column.tolist()) == {0, 1, 2, 3} for column in strings.T)


# Errors


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: random_strings(1, 3, 1, repeats=False, generator=seeded()),
            "vocab_size = 1: must be at least 2 for strings of 3 symbols without adjacent repeats",
        ),
        (lambda: random_strings(2, 0, 1, repeats=True, generator=seeded()), "seq_len = 0: must be an integer >= 1"),
        (lambda: random_strings(2, 1, -1, repeats=True, generator=seeded()), "num_strings = -1: must be an integer >= 0"),
        (
            lambda: all_strings(2, 62, repeats=True),
            f"vocab_size = 2, seq_len = 62: must have fewer than 2^62 strings, not {2**62}",
        ),
        (
            lambda: paper_batch(HopTask(1, 3, 0, 1), 1, np.random.RandomState(0)),
            "task.vocab_size = 1: must be at least 2, as no letter follows itself",
        ),
        (
            lambda: paper_batch(PAPER_TASK, 1, np.random.RandomState(0), num_hops=17),
            "num_hops = 17: must be an integer from 0 to 16",
        ),
        (lambda: paper_batch(PAPER_TASK, -1, np.random.RandomState(0)), "batch_size = -1: must be an integer >= 0"),
        (lambda: one_or_two_cycles(4, 1, generator=seeded()), "num_vertices = 4: must be an integer >= 6"),
        (
            lambda: one_or_two_cycles(7, 1, generator=seeded()),
            "num_vertices = 7: must be even, for two cycles of equal length",
        ),
        (lambda: one_or_two_cycles(6, 1, seq_len=162, generator=seeded()), "seq_len = 162: must be an integer >= 163"),
        (
            lambda: one_or_two_cycles(6, 1, two_cycles=2, generator=seeded()),  # type: ignore[arg-type]
            "two_cycles = 2: must be True, False or None",
        ),
        (lambda: pointer_chasing(0, 3, 1, generator=seeded()), "num_hops = 0: must be an integer >= 1"),
        (lambda: pointer_chasing(2, 0, 1, generator=seeded()), "width = 0: must be an integer >= 1"),
        (
            lambda: long_gaps(3, 30, 1, num_hops=1, least_gap=2, generator=seeded()),
            "vocab_size = 3: must be an integer >= 4",
        ),
        (
            lambda: long_gaps(4, 30, 1, num_hops=4, least_gap=8, generator=seeded()),
            "seq_len = 30: must be at least num_hops least_gap + 2 = 34",
        ),
        (
            lambda: long_gaps(4, 30, 1, num_hops=4, least_gap=1, generator=seeded()),
            "least_gap = 1: must be an integer >= 2",
        ),
    ],
)
def test_sizes_are_checked_at_the_door(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
