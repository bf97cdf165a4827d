"""Strings to hop on: uniform ones, those of the published experiments, and ones made to be hard.

    uniform                      `random_strings`, `all_strings`
    the experiments' own draws   `paper_batch`
    a graph in a string          `one_or_two_cycles`: k hops tell one cycle from two, the reduction behind depth lower bounds
    one block per hop            `pointer_chasing`: a single pass from left to right resolves one hop, the case against recurrence
    far look-backs               `long_gaps`: every hop from the last position goes further back than a local rule sees

Symbols are 0..vocab_size - 1, strings are rows, positions count from 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from theory._hop_draws import all_strings, random_strings, without_repeats
from theory.hops import HopTask
from theory.shapes import checked_integer

__all__ = [
    "CycleStrings",
    "PointerStrings",
    "all_strings",
    "long_gaps",
    "one_or_two_cycles",
    "paper_batch",
    "pointer_chasing",
    "random_strings",
]


def paper_batch(
    task: HopTask, batch_size: int, random_state: np.random.RandomState, num_hops: int | None = None
) -> tuple[Int[np.ndarray, "batch positions"], Int[np.ndarray, "batch positions"]]:
    """Tokens and targets, each (batch, N + 1), drawn as the published code of Sanford, Hsu and Telgarsky 2024 draws them.

    Per string, in this order: the first letter by `choice` among all; N + 1 further ones, each by `choice` among the letters
    other than the one before; then k by `randint` from min_hops to max_hops, unless `num_hops` is given. The last two of the N +
    2 letters are drawn and dropped. Runs there start from RandomState(4444) for training and RandomState(0) for evaluation.

    The same state gives the same draws here, not the same letters: the published code lists the letters to choose from by
    iterating over a Python set of one-letter strings, whose order follows Python's hash randomisation and changes from process
    to process unless PYTHONHASHSEED is fixed. Its strings, training sets included, are thus not reproducible from the seed,
    by its authors either; their distribution, the first letter and every k are. Here letters are listed in alphabetical order.

    Raises ValueError for vocab_size = 1, batch_size < 0 and num_hops outside the task's.
    """
    batch_size = checked_integer("batch_size", batch_size, 0)
    if task.vocab_size < 2:
        raise ValueError("task.vocab_size = 1: must be at least 2, as no letter follows itself")
    if num_hops is not None:
        task.hop_token(num_hops)  # for its error
    draws = np.empty((batch_size, task.seq_len + 2), dtype=np.int64)
    hops = np.empty(batch_size, dtype=np.int64)
    for row in range(batch_size):
        # `choice` from n letters takes from the stream what randint(n) does, whose result for many is that of one by one.
        draws[row, 0] = random_state.randint(task.vocab_size)
        draws[row, 1:] = random_state.randint(task.vocab_size - 1, size=task.seq_len + 1)
        hops[row] = random_state.randint(task.min_hops, task.max_hops + 1) if num_hops is None else num_hops
    symbols = without_repeats(draws[:, :1], draws[:, 1:])[:, : task.seq_len]
    return task.tokens(symbols, hops), task.targets(symbols, hops)


@dataclass(frozen=True, eq=False)
class CycleStrings:
    """Graphs that are one cycle or two, each in a string whose last hop_k says which.

    hop_k at the last position, k the number of vertices, is the start vertex exactly where there are two cycles, and the vertex
    opposite to it where there is one.

    Attributes:
        symbols: (num_strings, N). Vertices are 0..k - 1, then come "*", "+" and "_" as k, k + 1 and k + 2.
        edges: (num_strings, k, 2), in the order in which the string lists them.
        starts: (num_strings,), the last symbol of each string.
        two_cycles: (num_strings,), whether the graph is two cycles of k / 2 vertices instead of one of k.
    """

    symbols: Int[np.ndarray, "num_strings seq_len"]
    edges: Int[np.ndarray, "num_strings num_vertices 2"]
    starts: Int[np.ndarray, " num_strings"]
    two_cycles: Bool[np.ndarray, " num_strings"]

    @property
    def task(self) -> HopTask:
        """hop_k on these strings."""
        num_vertices = self.edges.shape[1]
        return HopTask(num_vertices + 3, self.symbols.shape[1], num_vertices, num_vertices)


def one_or_two_cycles(
    num_vertices: int,
    num_strings: int,
    *,
    two_cycles: bool | None = None,
    seq_len: int | None = None,
    generator: np.random.Generator,
) -> CycleStrings:
    """Random cycles on k = `num_vertices` vertices (even, >= 6), written as in Sanford, Hsu and Telgarsky 2024, Corollary 4.3.

    An edge {u, v} is the nine symbols * u + v u + v * _: two hops from a later u lead to its v (by the "+"), two from a later v
    to its u (by the "*"), in both cases to the first place in these nine that holds the vertex, from where the next two hops
    leave by the other edge of that vertex. All k edges in a random order, k / 2 times over, and then a start vertex: k hops go
    along k / 2 edges, once round a cycle of k / 2 vertices, and half-way round one of k. (One sentence of the paper's proof has
    the two cases the other way round.) Length 9 k^2 / 2 + 1; with a larger `seq_len`, "_" fills up the left.

    `two_cycles` says which graphs to draw; None tosses a coin for each. Vertices, the order of edges, their direction and the
    start are uniform.

    Raises ValueError for other num_vertices, and a seq_len that is too short.
    """
    count, num_strings = checked_integer("num_vertices", num_vertices, 6), checked_integer("num_strings", num_strings, 0)
    if count % 2:
        raise ValueError(f"num_vertices = {count}: must be even, for two cycles of equal length")
    needed = 9 * count * count // 2 + 1
    length = needed if seq_len is None else checked_integer("seq_len", seq_len, needed)
    half = count // 2
    places = np.arange(count)
    following = np.stack([(places + 1) % count, places - places % half + (places + 1) % half])
    if not isinstance(two_cycles, bool | np.bool_ | None):
        raise ValueError(f"two_cycles = {two_cycles!r}: must be True, False or None")
    coins = generator.random(num_strings) < 0.5
    two = coins if two_cycles is None else np.full(num_strings, two_cycles)
    names = generator.permuted(np.tile(places, (num_strings, 1)), axis=1)
    ends = np.broadcast_to(places, (num_strings, count)), following[two.astype(np.int64)]
    edges = np.stack([np.take_along_axis(names, end, axis=1) for end in ends], axis=2)
    order = generator.permuted(np.tile(places, (num_strings, 1)), axis=1)
    edges = generator.permuted(np.take_along_axis(edges, order[:, :, None], axis=1), axis=2)
    starts = generator.integers(0, count, size=num_strings)

    star, plus, blank = count, count + 1, count + 2
    symbols = np.full((num_strings, length), blank, dtype=np.int64)
    symbols[:, -1] = starts
    gadgets = np.empty((num_strings, count, 9), dtype=np.int64)
    gadgets[:, :, [0, 7]], gadgets[:, :, [2, 5]], gadgets[:, :, 8] = star, plus, blank
    gadgets[:, :, [1, 4]], gadgets[:, :, [3, 6]] = edges[:, :, :1], edges[:, :, 1:]
    symbols[:, length - needed : -1] = np.tile(gadgets.reshape(num_strings, 9 * count), (1, half))
    return CycleStrings(symbols, edges, starts, two)


@dataclass(frozen=True, eq=False)
class PointerStrings:
    """Layered pointer chasing, each instance in a string whose last hop_k is the answer.

    Attributes:
        symbols: (num_strings, 2 q k + 1). Vertices of odd layers are 0..q - 1, of even layers q..2 q - 1, the two answers 2 q and
            2 q + 1.
        matchings: (num_strings, k, q), number (0..q - 1) of the partner in layer l + 1 of each vertex of layer l = 1..k.
        queries: (num_strings,), number of the vertex of layer 1 to start from.
    """

    symbols: Int[np.ndarray, "num_strings seq_len"]
    matchings: Int[np.ndarray, "num_strings num_hops width"]
    queries: Int[np.ndarray, " num_strings"]

    @property
    def task(self) -> HopTask:
        """hop_k on these strings."""
        num_hops, width = self.matchings.shape[1:]
        return HopTask(2 * width + 2, self.symbols.shape[1], num_hops, num_hops)

    def chased(self) -> Int[np.ndarray, "num_strings num_hops"]:
        """Symbols of the vertices (last: of the answer) met in layers 2..k + 1, by following the matchings themselves."""
        num_hops, width = self.matchings.shape[1:]
        met = np.empty(self.matchings.shape[:2], dtype=np.int64)
        vertex = self.queries
        for layer in range(num_hops):
            vertex = self.matchings[np.arange(len(vertex)), layer, vertex]
            met[:, layer] = _partner_symbols(vertex, layer, num_hops, width)
        return met


def pointer_chasing(num_hops: int, width: int, num_strings: int, *, generator: np.random.Generator) -> PointerStrings:
    """Random instances of (q, k)-layered pointer chasing, k = `num_hops` >= 1, q = `width` >= 1, as strings for hop_k.

    k + 1 layers of q vertices, a uniform perfect matching between each and the next; from a vertex of the first layer, follow
    the matchings: in which half of the last layer does one end? In the string each matching is a block that lists every vertex
    of its layer with its partner behind it; the LAST block is that of layer 1, and the query stands at the end. Layers take
    their symbols from two alphabets in turn, and the partners in the deepest layer are the two answers (the first ceil(q / 2)
    and the others). Every hop from the query goes exactly one block to the left. Sanford, Hsu and Telgarsky 2024,
    Proposition E.4, after Assadi and N 2021.

    Within a block vertices are in random order, except that two equal symbols never meet where blocks do; with q = 1 they do.

    Raises ValueError for sizes out of range.
    """
    num_hops, width = checked_integer("num_hops", num_hops, 1), checked_integer("width", width, 1)
    num_strings = checked_integer("num_strings", num_strings, 0)
    layers = np.tile(np.arange(width), (num_strings, num_hops, 1))
    matchings, sources = generator.permuted(layers, axis=2), generator.permuted(layers, axis=2)
    queries = generator.integers(0, width, size=num_strings)
    for layer in range(num_hops - 3, -1, -1):  # the partners two layers down have the symbols of this layer
        behind = np.take_along_axis(matchings[:, layer + 1], sources[:, layer + 1, -1:], axis=1)
        meets = sources[:, layer, :1] == behind
        sources[:, layer] = np.where(meets, np.roll(sources[:, layer], 1, axis=1), sources[:, layer])

    blocks = np.empty((num_strings, num_hops, width, 2), dtype=np.int64)
    for layer in range(num_hops):
        block = blocks[:, num_hops - 1 - layer]
        block[:, :, 0] = sources[:, layer] + layer % 2 * width
        partners = np.take_along_axis(matchings[:, layer], sources[:, layer], axis=1)
        block[:, :, 1] = _partner_symbols(partners, layer, num_hops, width)
    symbols = np.concatenate([blocks.reshape(num_strings, 2 * width * num_hops), queries[:, None]], axis=1)
    return PointerStrings(symbols, matchings, queries)


def _partner_symbols(partners: Int[np.ndarray, "..."], layer: int, num_hops: int, width: int) -> Int[np.ndarray, "..."]:
    if layer == num_hops - 1:
        return 2 * width + (partners >= (width + 1) // 2)
    return partners + (layer + 1) % 2 * width


def long_gaps(
    vocab_size: int, seq_len: int, num_strings: int, *, num_hops: int, least_gap: int, generator: np.random.Generator
) -> Int[np.ndarray, "num_strings seq_len"]:
    """Strings without adjacent repeats in which each of k hops from the LAST position goes at least `least_gap` back.

    No string has long look-backs everywhere: their mean over positions is at most |Sigma| - 1, whatever the string
    (`theory.hops.mean_look_back`). So one chain is planted, k look-backs that are uniform among those of at least `least_gap`
    (>= 2) that fit, and the rest is random: each symbol, from right to left, is uniform among those that keep the chain and
    don't repeat. Local rules then fail at the last position, and nothing else gives it away. Derived here.

    Raises ValueError for vocab_size < 4 (with three symbols not every gap can be filled) and where num_hops least_gap + 2
    exceeds seq_len.
    """
    vocab_size, seq_len = checked_integer("vocab_size", vocab_size, 4), checked_integer("seq_len", seq_len, 1)
    num_strings, num_hops = checked_integer("num_strings", num_strings, 0), checked_integer("num_hops", num_hops, 1)
    least_gap = checked_integer("least_gap", least_gap, 2)
    slack = seq_len - 2 - num_hops * least_gap
    if slack < 0:
        needed = f"num_hops least_gap + 2 = {num_hops * least_gap + 2}"
        raise ValueError(f"seq_len = {seq_len}: must be at least {needed}")
    # Where the chain stands after each hop, 0-based: cuts of the slack, all multisets alike, on top of the least gaps.
    ranks = generator.random((num_strings, slack + num_hops)).argsort(axis=1)[:, :num_hops]
    cuts = np.sort(ranks, axis=1) - np.arange(num_hops)
    stands = np.full((num_strings, num_hops + 1), seq_len - 1)
    stands[:, 1:] -= cuts + least_gap * np.arange(1, num_hops + 1)

    rows = np.arange(num_strings)
    planted = np.full((num_strings, seq_len + 1), -1)  # one more in front, which spares a case below
    banned = np.full((num_strings, seq_len), -1)
    two_before, before = np.full(num_strings, -1), generator.integers(0, vocab_size, size=num_strings)
    planted[:, seq_len] = before
    for step in range(1, num_hops + 1):
        here, last = stands[:, step], stands[:, step - 1]
        symbol = _others(vocab_size, [before, np.where(last - here == 2, two_before, -1)], generator)
        planted[rows, here + 1], planted[rows, here] = symbol, before
        within = (np.arange(seq_len) >= here[:, None]) & (np.arange(seq_len) < last[:, None])
        banned = np.where(within, before[:, None], banned)
        two_before, before = before, symbol

    symbols = planted[:, 1:].copy()
    right = np.full(num_strings, -1)
    for place in range(seq_len - 1, -1, -1):
        filler = _others(vocab_size, [right, banned[:, place], planted[:, place]], generator)
        right = symbols[:, place] = np.where(symbols[:, place] < 0, filler, symbols[:, place])
    return symbols


def _others(
    vocab_size: int, excluded: list[Int[np.ndarray, " rows"]], generator: np.random.Generator
) -> Int[np.ndarray, " rows"]:
    """A uniform symbol per row that is none of the excluded ones; -1 excludes nothing."""
    keys = generator.random((len(excluded[0]), vocab_size + 1))
    for symbols in excluded:
        keys[np.arange(len(keys)), symbols] = -1.0  # -1 is the last column, which is no symbol
    return keys[:, :vocab_size].argmax(axis=1)
