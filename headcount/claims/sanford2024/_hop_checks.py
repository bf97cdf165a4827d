"""How the claims about hop_k and Theorem 4.2 are checked: exhaustively on small strings, by hardmax in whole numbers."""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from headcount.claims.checks import enumerated
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.sanford2024._printed import (
    Model,
    String,
    by_doubling,
    find,
    gadgets,
    hop,
    hops_by_look_ups,
    in_letters,
    last_hop,
    layers_if_right,
    recurrence_as_printed,
    recurrence_exponent,
    repaired_one_head,
    repaired_two_heads,
    strings,
)

EXAMPLE = tuple("abcde".index(letter) for letter in "baebcabebdea")


def example(inquiry: Inquiry) -> Evidence:
    cases = (
        Case(f"X = {in_letters(EXAMPLE)}, symbol at position 12, k = {k}", hop(EXAMPLE, k)[-1], inquiry.formula(k))
        for k in (1, 2)
    )
    argument = "both statements, by the definition"
    return enumerated(inquiry, cases, Method.EXACT, "the example, symbols a, b, .. as 0, 1, ..", argument=argument)


def _sizes(inquiry: Inquiry) -> dict[int, int]:
    """The longest strings tried, by size of the alphabet."""
    return ({1: 4, 2: 6, 3: 5}, {1: 6, 2: 9, 3: 6, 4: 5}, {1: 8, 2: 12, 3: 8, 4: 6, 5: 5})[inquiry.effort.rank]


def _said(inquiry: Inquiry) -> str:
    return "all strings: " + ", ".join(f"|Sigma| = {vocab}, N 1..{most}" for vocab, most in _sizes(inquiry).items())


def all_strings(inquiry: Inquiry) -> Iterator[tuple[int, String]]:
    """All strings of the effort's sizes with their alphabet's size, shorter ones first."""
    sizes = _sizes(inquiry)
    for length in range(1, max(sizes.values()) + 1):
        for vocab, most in sizes.items():
            if length <= most:
                yield from ((vocab, string) for string in strings(vocab, length))


def long_strings(inquiry: Inquiry, length: int) -> list[String]:
    """An alternation, where every hop goes one position back, and random strings over 2 to 4 symbols."""
    chance = random.Random(inquiry.seed)
    drawn = [tuple(chance.randrange(vocab) for _ in range(length)) for vocab in (2, 3, 4)]
    return [tuple(place % 2 for place in range(length)), *drawn]


def _undefined(string: String, num_hops: int) -> int:
    return sum(symbol < 0 for symbol in hop(string, num_hops))


def _chains(string: String) -> list[int]:
    """Lengths of the chains of find^1, that of position 1 left out."""
    to = {position: find(string, position) for position in range(1, len(string) + 1)}
    lengths = []
    for place in to:
        if place > 1 and place not in to.values():
            length = 0
            while place:
                place, length = to[place], length + 1
            lengths.append(length)
    return lengths


def undefined(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for vocab, string in all_strings(inquiry):
            if len(set(string)) == vocab:
                for hops in range(1, min(_chains(string), default=len(string)) + 1):
                    words = f"X = {in_letters(string)}, k = {hops}: undefined positions"
                    yield Case(words, _undefined(string, hops), inquiry.formula(vocab, hops, len(string)))

    return enumerated(
        inquiry, cases(), Method.EXACT, f"{_said(inquiry)}, using all symbols, k up to the shortest chain",
        argument="find^1 is one-to-one where it is defined (it leads to p + 1 from the next occurrence of X_p after p alone), so "
        "that positions form chains and fixed points; chains end at the |Sigma| first occurrences, position 1 is one by itself, "
        "and of each other chain the last k positions are undefined",
    )


def most_undefined(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for vocab, string in all_strings(inquiry):
            for hops in range(1, len(string) + 1):
                words = f"X = {in_letters(string)}, |Sigma| = {vocab}, k = {hops}: undefined positions"
                yield Case(words, _undefined(string, hops), inquiry.formula(vocab, hops, len(string)))

    return enumerated(
        inquiry, cases(), Method.EXACT, f"{_said(inquiry)}, k 1..N",
        argument="find^1 is one-to-one where it is defined, so that positions form at most |Sigma| chains that end at first "
        "occurrences, one of them position 1 by itself; of each chain at most the last k positions are undefined",
    )


def _outputs(inquiry: Inquiry, most_hops: int) -> Iterator[Case]:
    for _, string in chain(all_strings(inquiry), ((0, string) for string in long_strings(inquiry, 30))):
        for hops in range(1, most_hops + 1):
            found, wanted = recurrence_as_printed(string, hops)[0], hop(string, inquiry.formula(hops))
            place = next((p for p, (one, two) in enumerate(zip(found, wanted, strict=True)) if one != two), len(string) - 1)
            words = f"X = {in_letters(string)}, k = {hops}, symbol at position {place + 1} (-1: undefined)"
            yield Case(words, found[place], wanted[place])


def recurrence(inquiry: Inquiry) -> Evidence:
    most = inquiry.pick(4, 8, 16)
    ranges = f"{_said(inquiry)}, k 1..{most}, every position; strings from short to long"
    return enumerated(inquiry, _outputs(inquiry, most), Method.EXACT, ranges)


def recurrence_computes(inquiry: Inquiry) -> tuple[Evidence, Evidence]:
    most, largest = inquiry.pick(4, 8, 16), 4096
    run = enumerated(
        inquiry, _outputs(inquiry, most), Method.EXACT, f"{_said(inquiry)} and four of length 30, k 1..{most}, every position"
    )
    hops = (Case(f"k = {k}: hops", recurrence_exponent(k), inquiry.formula(k)) for k in range(1, largest + 1))
    exponents = enumerated(
        inquiry, hops, Method.EXACT, f"k 1..{largest}",
        argument="all maps are powers of one map, so that composing adds exponents: the last digit of k counts once and digit r "
        ">= 1, composed by the pointer of exponent 2^(r-1), half of what it is worth, which adds up to floor(k/2) + (k mod 2)",
    )
    return exponents, run


def _least(inquiry: Inquiry) -> Iterator[Case]:
    deepest = inquiry.pick(6, 7, 7)
    least: dict[int, int] = {}
    for layers in range(2, deepest + 1):
        for hops in hops_by_look_ups(layers):
            least.setdefault(hops, layers)
    for hops in range(1, 2 ** (deepest - 2) + 1):
        yield Case(f"k = {hops}: least layers of all sequences of look-ups", least[hops], inquiry.formula(hops))


def depth(inquiry: Inquiry) -> Evidence:
    return enumerated(
        inquiry, _least(inquiry), Method.EXACT, f"all sequences of look-ups, up to {inquiry.pick(6, 7, 7)} layers",
        note="After layer 2 a position holds find^0 and find^1 of itself; a look-up of find^n brings find^(n + e) for all find^e "
        "held.",
    )


def least_depth(inquiry: Inquiry) -> Evidence:
    return enumerated(
        inquiry, _least(inquiry), Method.EXACT, f"all sequences of look-ups, up to {inquiry.pick(6, 7, 7)} layers",
        argument="a look-up of find^n brings find^(n + e) for the find^e held, so that the largest exponent at most doubles per "
        "layer from 1 after layer 2, which makes ceil(log2 k) + 2 necessary; theorem-4-2-one-head reaches it",
    )


def _layers(inquiry: Inquiry, model: Model, all_hops: Sequence[int]) -> Iterator[Case]:
    longest = inquiry.pick(24, 40, 80)
    small = [string for _, string in all_strings(inquiry)]
    for hops in all_hops:
        tried = (small if hops <= inquiry.pick(5, 9, 12) else []) + long_strings(inquiry, longest)
        layers, where = layers_if_right(model, hops, tried)
        words = f"k = {hops}, {len(tried):,} strings{where}: layers of the model that errs nowhere"
        yield Case(words, layers, inquiry.formula(hops))


def _exact(inquiry: Inquiry, model: Model, argument: str, *, only_powers: bool = False) -> Evidence:
    most = inquiry.pick(17, 33, 65)
    all_hops = [2**power for power in range(most.bit_length())] if only_powers else list(range(1, most + 1))
    powers = ", powers of two" * only_powers
    covered = f"{_said(inquiry)}, k 1..{inquiry.pick(5, 9, 12)}{powers}"
    ranges = f"{covered}; an alternation and 3 random strings, N = {inquiry.pick(24, 40, 80)}, k 1..{most}{powers}"
    return enumerated(inquiry, _layers(inquiry, model, all_hops), Method.EXACT, ranges, argument=argument)


_HEADS = (
    "a look-up's score -(t - j)^2 is largest at t alone; j - (N + 1)(u_j - X_i)^2 is at least 1 for a match, more the later it "
    "is, at most -1 for another symbol, and 0 for the start token"
)


def one_head(inquiry: Inquiry) -> Evidence:
    return _exact(
        inquiry, repaired_one_head,
        f"{_HEADS}; looking up find^n or find^(n+1) and copying its pair makes (find^n, find^(n+1)) to the pair of 2n + digit, "
        f"so that "
        "the digits of k - 1 lead from n = 0 to n = k - 1, one layer per digit, ceil(log2 k) of them",
    )


def doubling(inquiry: Inquiry) -> Evidence:
    return _exact(
        inquiry, by_doubling,
        f"{_HEADS}; every number that scores and values need is held in the stream and added by linear maps: layer 1 adds the "
        "symbol before and its square, layer 2 the place p of the latest match and the symbol y there, and each layer after it "
        "attends to p = find^n and adds what p and y are there less the place and the symbol there, which are the old p and y: "
        "so they become find^(2n) and its symbol",
        only_powers=True,
    )


def two_heads(inquiry: Inquiry) -> Evidence:
    return _exact(
        inquiry, repaired_two_heads,
        f"{_HEADS}; averaging the start's mark over equal symbols gives a position's rank among them, and (symbol, rank) names a "
        "position; with F = find^m, Y = X_F of rank C, the position whose predecessor has symbol Y and rank C - 1 is find^(m+1), "
        "none if C = 1, where the start token's -1/2 is the largest score; copying from F or from there makes m to 2m or 2m + 1, "
        "so that the digits of k after the first lead from 1 to k, floor(log2 k) of them",
    )


def _graph(num_cycles: int, order: list[int]) -> list[tuple[int, int]]:
    cycles = [order] if num_cycles == 1 else [order[: len(order) // 2], order[len(order) // 2 :]]
    return [(cycle[place - 1], cycle[place]) for cycle in cycles for place in range(len(cycle))]


def _gadget_cases(inquiry: Inquiry, shuffled: Callable[[list[int]], None], coin: Callable[[], float]) -> Iterator[Case]:
    for size in range(6, inquiry.pick(8, 12, 20) + 1, 2):
        for turn in range(inquiry.pick(60, 200, 2000)):
            cycles, order, places = 1 + turn % 2, list(range(size)), list(range(size))
            if turn > 1:
                shuffled(order)
                shuffled(places)
            edges = _graph(cycles, order)
            edges = [edges[place] if turn < 2 or coin() < 0.5 else edges[place][::-1] for place in places]
            start = order[turn % size]
            found = int(last_hop(gadgets(edges, start), size) == start)
            drawn = " ".join(f"{in_letters(edge)}" for edge in edges)
            said = f"k = {size}, {cycles} cycle{'s' * (cycles - 1)}, edges {drawn}, start {in_letters([start])}"
            words = f"{said}: whether hop_k is the start"
            yield Case(words, found, inquiry.formula(cycles))


def gadgets_answer(inquiry: Inquiry) -> Evidence:
    chance = random.Random(inquiry.seed)
    most = inquiry.pick(8, 12, 20)
    return enumerated(
        inquiry, _gadget_cases(inquiry, chance.shuffle, chance.random), Method.EXACT,
        f"graphs on k = 6, 8 .. {most} vertices, edges in random order and direction, random starts",
        argument="within the gadget of {u, v}, last there, two hops lead from u to its v and from v to its u, of which no equal "
        "comes before in the gadget; a vertex is in two gadgets, which alternate in the repeated list, so that the next two hops "
        "go on by the vertex's other edge, fewer than k gadgets to the left; k / 2 such steps, for which k / 2 lists "
        "suffice, lead around a k/2-cycle and half around a k-cycle",
    )
