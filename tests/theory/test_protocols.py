"""Protocols against direct computations that share no code with them, at every size, and what they cost against their laws."""

from functools import reduce
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.parallel import ParallelModel, RoundLimitError, execute
from theory.protocols import BitonicSort, CycleLabels, ListRanking, OneOrTwoCycles, OneWordEach, PrefixSums

words = st.integers(-(2**40), 2**40)


def join(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """Affine maps x -> a x + b modulo a prime, the left one first: associative and not commutative."""
    return left[0] * right[0] % 9973, (left[1] * right[0] + right[1]) % 9973


def random_cycles(rng: np.random.Generator, lengths: list[int]) -> tuple[list[int], list[int]]:
    """Edges in any order and orientation, and the label of every vertex."""
    names = [int(v) for v in rng.permutation(sum(lengths))]
    edges, labels, start = [], [0] * len(names), 0
    for length in lengths:
        cycle = names[start : start + length]
        start += length
        for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            edges.append((here, there) if rng.random() < 0.5 else (there, here))
            labels[here] = min(cycle)
    order = rng.permutation(len(edges))
    return [vertex for edge in order for vertex in edges[edge]], labels


def components(num_vertices: int, edges: list[int]) -> list[int]:
    """Smallest vertex reachable, by merging sets."""
    parent = list(range(num_vertices))

    def root(vertex: int) -> int:
        while parent[vertex] != vertex:
            vertex = parent[vertex]
        return vertex

    for a, b in zip(edges[::2], edges[1::2], strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(vertex) for vertex in range(num_vertices)]


def steps_to_end(links: list[int]) -> list[int]:
    """By walking; -1 where the walk never ends."""
    answers = []
    for node in range(len(links)):
        count = 0
        while links[node] != -1 and count <= len(links):
            node, count = links[node], count + 1
        answers.append(count if links[node] == -1 else -1)
    return answers


@settings(deadline=None, max_examples=60)
@given(st.lists(words, min_size=1, max_size=40))
def test_prefix_sums(items: list[int]) -> None:
    transcript = execute(PrefixSums(len(items)), items)
    assert transcript.output == tuple(accumulate(items))
    assert len(transcript.rounds) == (len(items) - 1).bit_length()
    assert transcript.most_sent <= 1 and transcript.most_received <= 1 and transcript.most_stored <= 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9972), st.integers(0, 9972)), min_size=1, max_size=33))
def test_prefixes_of_an_operation_that_does_not_commute(items: list[tuple[int, int]]) -> None:
    transcript = execute(PrefixSums(len(items), join, width=2), [word for item in items for word in item])
    assert transcript.output == tuple(word for end in range(len(items)) for word in reduce(join, items[: end + 1]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(words, st.floats(allow_nan=False)), min_size=1, max_size=40))
def test_bitonic_sort(items: list[float]) -> None:
    transcript = execute(BitonicSort(len(items)), items)
    assert transcript.output == tuple(sorted(items))
    levels = (len(items) - 1).bit_length()
    assert len(transcript.rounds) == levels * (levels + 1) // 2
    assert transcript.most_sent <= 1 and transcript.most_received <= 1


@pytest.mark.parametrize("size", range(1, 8))
def test_bitonic_sort_of_all_zeros_and_ones(size: int) -> None:
    """A network of comparisons that sorts all of these sorts everything."""
    for number in range(1 << size):
        bits = [number >> bit & 1 for bit in range(size)]
        assert execute(BitonicSort(size), bits).output == tuple(sorted(bits))


@st.composite
def linked_lists(draw: st.DrawFn) -> list[int]:
    size = draw(st.integers(1, 40))
    order = draw(st.permutations(range(size)))
    cuts = draw(st.sets(st.integers(0, size - 1)))
    links = [-1] * size
    for place in range(size - 1):
        if place not in cuts:
            links[order[place]] = order[place + 1]
    return links


@settings(deadline=None, max_examples=60)
@given(linked_lists())
def test_ranks_in_linked_lists_need_one_reader_per_node(links: list[int]) -> None:
    transcript = execute(ListRanking(len(links)), links)
    assert transcript.output == tuple(steps_to_end(links))
    assert transcript.most_readers <= 1 and len(transcript.rounds) == (len(links) - 1).bit_length()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_ranks_in_any_graph_of_links_with_unlimited_readers(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 25))
    links = data.draw(st.lists(st.integers(-1, size - 1), min_size=size, max_size=size))
    assert execute(ListRanking(size, unlimited_readers=True), links).output == tuple(steps_to_end(links))


def test_a_star_has_more_readers_than_messages_carry() -> None:
    star = [-1, 0, 0, 0, 0]
    with pytest.raises(RoundLimitError, match="machine 0 is read for 8 words in round 1: at most 2"):
        execute(ListRanking(5), star)
    assert execute(ListRanking(5, unlimited_readers=True), star).most_readers == 4


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(3, 9), min_size=1, max_size=4), st.integers(0, 2**32))
def test_labels_of_cycles(lengths: list[int], seed: int) -> None:
    edges, labels = random_cycles(np.random.default_rng(seed), lengths)
    assert components(sum(lengths), edges) == labels  # the test's own two ways agree
    transcript = execute(CycleLabels(sum(lengths)), edges)
    assert transcript.output == tuple(labels)
    assert len(transcript.rounds) == (sum(lengths) - 1).bit_length() + 3
    assert transcript.most_readers <= 2 and transcript.most_received <= 8


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 24), st.booleans(), st.integers(0, 2**32))
def test_one_or_two_cycles(half: int, two: bool, seed: int) -> None:
    edges, _ = random_cycles(np.random.default_rng(seed), [half, half] if two else [2 * half])
    transcript = execute(OneOrTwoCycles(2 * half), edges)
    assert transcript.output == (1 + two,)
    assert len(transcript.rounds) == (2 * half).bit_length() - 1 + 2  # floor(log2 N) + 2


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 10), st.integers(0, 2**32))
def test_gathered_from_and_scattered_to_one_word_each(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = [int(x) for x in rng.integers(0, 9973, 2 * size)]
    inner = PrefixSums(size, join, width=2)
    wrapped = OneWordEach(inner)
    transcript = execute(wrapped, items)
    assert transcript.output == execute(inner, items).output
    assert len(transcript.rounds) == inner.num_rounds + 2
    if size >= 3:
        edges, labels = random_cycles(rng, [size])
        assert execute(OneWordEach(CycleLabels(size)), edges).output == tuple(labels)


@pytest.mark.parametrize(
    ("protocol", "given_words", "message"),
    [
        (ListRanking(3), [1, 3, -1], r"words\[1\] = 3"),
        (ListRanking(3), [1, -2, -1], r"words\[1\] = -2"),
        (CycleLabels(3), [0, 1, 1, 2, 2, 3], r"edge 2 = \(2, 3\)"),
        (CycleLabels(4), [0, 1, 1, 0, 2, 3, 3, 2], "vertex 0 has 1 neighbours"),
        (CycleLabels(3), [0, 0, 1, 2, 1, 2], "vertex 0 has 0 neighbours"),
        (CycleLabels(4), [0, 1, 0, 2, 0, 3, 1, 2], "vertex 0 has 3 neighbours"),
        (OneOrTwoCycles(8), [0, 1, 1, 2, 2, 0, 3, 4, 4, 5, 5, 6, 6, 7, 7, 3], "the cycle of vertex 0 has 3 vertices"),
    ],
)
def test_inputs_that_are_none_are_refused(protocol: ListRanking, given_words: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        execute(protocol, given_words)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: PrefixSums(0), "num_items = 0"),
        (lambda: PrefixSums(3, width=0), "width = 0"),
        (lambda: BitonicSort(0), "num_items = 0"),
        (lambda: ListRanking(0), "num_nodes = 0"),
        (lambda: CycleLabels(2), "num_vertices = 2"),
        (lambda: OneOrTwoCycles(7), "num_vertices = 7"),
        (lambda: OneOrTwoCycles(4), "num_vertices = 4"),
    ],
)
def test_sizes_out_of_range_are_refused(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()  # type: ignore[operator]


def test_an_item_wider_than_memory_breaks_the_limit() -> None:
    """The limits are the model's and not the protocol's word for them."""
    narrow = ParallelModel(4, words_per_machine=1, num_machines=4)
    protocol = PrefixSums(4, lambda left, right: left + right)
    protocol.message_words = 4
    with pytest.raises(RoundLimitError, match="machine 1 stores 2 words in round 2: at most 1"):
        execute(protocol, range(4), narrow)
