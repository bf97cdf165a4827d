"""How the built transformers of Theorems 3.1 and 3.4 and the head of Lemma 3.2 are checked, at the sizes run.

What a protocol should give is computed plainly here: sums, sorted words, steps to the end of a list, cycles counted.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from headcount.claims.checks import enumerated
from headcount.claims.claim import Case, Evidence, Inquiry, Method

if TYPE_CHECKING:
    from theory.parallel import Protocol

Words = Sequence[int]


def _prefix_sums(words: Words) -> list[int]:
    return list(accumulate(words))


def _ranks(links: Words) -> list[int]:
    found = []
    for node in range(len(links)):
        steps = 0
        while links[node] >= 0:
            node, steps = links[node], steps + 1
        found.append(steps)
    return found


def _random_words(size: int, chance: random.Random) -> list[int]:
    return [chance.randint(-99, 99) for _ in range(size)]


def _random_list(size: int, chance: random.Random) -> list[int]:
    order, links = chance.sample(range(size), size), [-1] * size
    for place in range(size - 1):
        links[order[place]] = order[place + 1]
    return links


def _random_cycles(size: int, chance: random.Random) -> list[int]:
    """Edges, as pairs of words, of one cycle or of two halves."""
    order, parts = chance.sample(range(size), size), chance.choice((1, 2))
    cycles = [order[part * size // parts : (part + 1) * size // parts] for part in range(parts)]
    edges = [(cycle[place - 1], cycle[place]) for cycle in cycles for place in range(len(cycle))]
    chance.shuffle(edges)
    return [end for edge in edges for end in (edge if chance.random() < 0.5 else edge[::-1])]


def _num_cycles(words: Words) -> list[int]:
    """Connected components, by merging the ends' sets edge by edge."""
    parts = {vertex: {vertex} for vertex in words}
    for one, two in zip(words[::2], words[1::2], strict=True):
        joined = parts[one] | parts[two]
        parts.update(dict.fromkeys(joined, joined))
    return [len({id(part) for part in parts.values()})]


Routing = Literal["hashed", "polynomial"]
Plan = tuple[Routing, str, "Protocol", Callable[[random.Random], list[int]], Callable[[Words], list[int]]]


def _protocols(sizes: Sequence[int]) -> Iterator[Plan]:
    """Routing, name, protocol, how to draw an input, what it should give."""
    from theory.protocols import BitonicSort, ListRanking, OneOrTwoCycles, PrefixSums

    pushed: tuple[Routing, Routing] = ("hashed", "polynomial")
    for size in sizes:
        for routing in pushed:
            yield routing, "prefix sums", PrefixSums(size), partial(_random_words, size), _prefix_sums
            yield routing, "bitonic sort", BitonicSort(size), partial(_random_words, size), sorted
            yield routing, "list ranking", ListRanking(size), partial(_random_list, size), _ranks
            if size >= 6:
                yield routing, "one or two cycles", OneOrTwoCycles(size), partial(_random_cycles, size), _num_cycles


def layers(inquiry: Inquiry) -> Evidence:
    from constructions import mpc
    from theory.parallel import execute
    from theory.protocols import OneWordEach

    sizes, inputs = ((4, 8), (4, 8, 16), (4, 8, 16, 32, 64))[inquiry.effort.rank], inquiry.pick(2, 10, 30)

    def cases() -> Iterator[Case]:
        chance = random.Random(inquiry.seed)
        for routing, name, protocol, draw, right in _protocols(sizes):
            built = mpc.build(OneWordEach(protocol), routing=routing, seed=inquiry.seed)
            drawn = [draw(chance) for _ in range(inputs)]
            rounds_taken = len(execute(protocol, drawn[0]).rounds) + 1
            wrong = ""
            for words, result in zip(drawn, built.run_many(drawn), strict=True):
                if result.output is None or list(result.output) != right(words):
                    wrong = f", wrong on {words}: {result.output if result.output is not None else result.reason}"
                    break
            said = f"{name}, N = {protocol.num_words}, R = {rounds_taken}, {routing} routing, {inputs} random inputs"
            yield Case(f"{said}{wrong}: layers", float("inf") if wrong else built.num_layers, inquiry.formula(rounds_taken))

    return enumerated(
        inquiry, cases(), Method.PROPERTY,
        f"prefix sums and bitonic sort by messages, list ranking and cycles by look-ups, gathering and scattering by messages, "
        f"hashed and polynomial keys, N {', '.join(map(str, sizes))}, {inputs} random inputs each",
    )


def _full_load(chance: random.Random, size: int, messages: int) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Every machine sends and receives `messages` messages of two words, but for pairs drawn twice."""
    outboxes: list[dict[int, tuple[int, ...]]] = [{} for _ in range(size)]
    for _ in range(messages):
        for source, destination in enumerate(chance.sample(range(size), size)):
            outboxes[source].setdefault(destination, (chance.randint(-999, 999), chance.randint(-999, 999)))
    return [list(outbox.items()) for outbox in outboxes]


def routing(inquiry: Inquiry) -> Evidence:
    from constructions import mpc

    sizes = (((4, 1), (8, 1), (8, 2)), ((8, 1), (16, 1), (16, 2)), ((8, 1), (16, 2), (32, 2), (64, 2)))[inquiry.effort.rank]
    turns = inquiry.pick(3, 10, 20)
    pushed: tuple[Routing, Routing] = ("hashed", "polynomial")

    def cases() -> Iterator[Case]:
        chance = random.Random(inquiry.seed)
        for size, messages in sizes:
            for keys in pushed:
                head = mpc.routing_head(size, messages, 2, keys=keys, seed=inquiry.seed)
                for turn in range(turns):
                    outboxes = _full_load(chance, size, messages)
                    wanted: list[list[Any]] = [[] for _ in range(size)]
                    for source, outbox in enumerate(outboxes):
                        for destination, words in outbox:
                            wanted[destination].append((source, words))
                    found = mpc.route(head, [tuple(outbox) for outbox in outboxes])
                    got = [()] * size if found.received is None else found.received
                    lost = sum(len(set(one) ^ set(two)) for one, two in zip(wanted, got, strict=True))
                    words_of = f"N = {size}, s = {messages}, {keys} keys, routing {turn}: messages lost or changed"
                    yield Case(words_of, lost, inquiry.formula())

    said = ", ".join(f"N = {size} with s = {messages}" for size, messages in sizes)
    ranges = f"{said}, messages of two words, {turns} random full loads each, hashed and polynomial keys"
    return enumerated(inquiry, cases(), Method.PROPERTY, ranges)


def _attention_sizes(inquiry: Inquiry) -> Iterator[tuple[int, int, int, int]]:
    """Positions, heads, head dimension, words per machine."""
    for size in ((4, 6), (4, 8, 12), (4, 8, 16, 24))[inquiry.effort.rank]:
        for heads, dim in ((1, 1), (2, 3)):
            for branching in (2, 3):
                yield size, heads, dim, 4 * heads * dim * branching


def _by_messages(inquiry: Inquiry) -> Iterator[tuple[str, int, Any, Any]]:
    """Description, the tree's depth, attention by messages, dense attention."""
    import torch

    from constructions import mpc

    generator = torch.Generator().manual_seed(inquiry.seed)
    for size, heads, dim, words in _attention_sizes(inquiry):
        queries, keys, values = torch.randn(3, size, heads, dim, dtype=torch.float64, generator=generator)
        for causal in (False, True):
            visible = torch.ones(size, size, dtype=torch.bool).tril() if causal else None
            found = mpc.softmax_by_messages(queries, keys, values, words, visible=visible)
            scores = torch.einsum("qhe,khe->hqk", queries, keys)
            scores = scores if visible is None else scores.masked_fill(~visible, float("-inf"))
            dense = torch.einsum("hqk,khe->qhe", scores.softmax(-1), values)
            depth, branching = 0, words // (4 * heads * dim)
            while branching**depth < size:
                depth += 1
            said = f"N = {size}, H = {heads}, head dimension {dim}, s = {words}, {'causal' if causal else 'all see all'}"
            yield said, depth, found, dense


def rounds(inquiry: Inquiry) -> Evidence:
    cases = (
        Case(f"{said}, D = {depth}: rounds", len(found.transcript.rounds), inquiry.formula(depth))
        for said, depth, found, _ in _by_messages(inquiry)
    )
    return enumerated(inquiry, cases, Method.PROPERTY, _said(inquiry), note="Each round kept to its machines' words.")


def dense(inquiry: Inquiry) -> Evidence:
    cases = (
        Case(f"{said}: largest difference over its bound", float(((found.output - exact).abs().amax(-1) / found.bound).max()),
             inquiry.formula())
        for said, _, found, exact in _by_messages(inquiry)
    )
    return enumerated(inquiry, cases, Method.PROPERTY, _said(inquiry))


def _said(inquiry: Inquiry) -> str:
    sizes = dict.fromkeys(size for size, *_ in _attention_sizes(inquiry))
    return f"N {', '.join(map(str, sizes))}, H 1 and 2, branching 2 and 3, random queries, keys, values; causal or not"
