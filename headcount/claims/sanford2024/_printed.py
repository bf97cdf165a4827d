"""The paper's constructions as they are printed, and exact repairs, run by hardmax attention in whole numbers.

Nothing here comes from `theory.hops` or `constructions`: it is the side that formulas are compared with. A string is a tuple of
symbols 0, 1, ..; positions count from 1 and 0 is the start token, which stands for "undefined"; a missing symbol is -1. A head
is a list of scores, one per position seen; it attends to those of the largest score, and averages over ties.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import product

String = tuple[int, ...]
MISSING = -1


def strings(vocab_size: int, seq_len: int) -> Iterator[String]:
    """All strings of a length over an alphabet, in lexical order."""
    return product(range(vocab_size), repeat=seq_len)


def in_letters(string: Sequence[int]) -> str:
    """A string in letters a, b, ..; "~" for a missing symbol."""
    return "".join("~" if symbol == MISSING else chr(ord("a") + symbol) for symbol in string)


def find(string: String, position: int, *, strictly_before: bool = False) -> int:
    """Definition 4.1 word for word: the largest j up to `position` whose predecessor is the symbol there; 0 without one.

    With `strictly_before`, j below `position`, as Lemma D.2 says.
    """
    last = position - 1 if strictly_before else position
    return max([j for j in range(2, last + 1) if string[j - 2] == string[position - 1]], default=0)


def hop(string: String, num_hops: int) -> String:
    """hop_k at every position, by following `find` k times."""
    step = [0, *(find(string, position) for position in range(1, len(string) + 1))]
    found = []
    for position in range(1, len(string) + 1):
        for _ in range(num_hops):
            position = step[position]
        found.append(string[position - 1] if position else MISSING)
    return tuple(found)


def attended(scores: Sequence[int | Fraction]) -> list[int]:
    """Where hardmax attention looks: all positions of the largest score."""
    largest = max(scores)
    return [position for position, score in enumerate(scores) if score == largest]


def look_up(position: int, target: int) -> int:
    """The one position attended to by scores -(target - j)^2 over j = 0..position."""
    (found,) = attended([-((target - j) ** 2) for j in range(position + 1)])
    return found


def circle_distance(first: int, second: int, circumference: int) -> int:
    """Steps between two marks on a circle; the cosine of their angle falls strictly as it grows, so it orders scores exactly."""
    apart = (first - second) % circumference
    return min(apart, circumference - apart)


def circle_look_up(position: int, target: int, period: int) -> list[int]:
    """Positions attended to by a query at the angle of `target`, keys at the angles of 0..position, `period` marks around."""
    return attended([-circle_distance(target, j, period) for j in range(position + 1)])


def circle_last_match(string: String, position: int, spacing: int, circumference: int) -> list[int]:
    """Positions j = 2..position attended to: key at mark spacing X_{j-1} + j, query at mark spacing X_i + i.

    Position 1, which no symbol precedes, and the start token are left out: this is for positions whose symbol came before.
    """
    mark = spacing * string[position - 1] + position
    scores = [-circle_distance(spacing * string[j - 2] + j, mark, circumference) for j in range(2, position + 1)]
    return [j + 2 for j in attended(scores)]


def predecessors(string: String) -> list[int]:
    """Layer 1, at positions 0..N: the symbol before, coded 1..|Sigma|, and 0 at positions 0 and 1."""
    coded = [0, *(symbol + 1 for symbol in string)]
    return [coded[look_up(position, max(position - 1, 0))] for position in range(len(string) + 1)]


def last_matches(string: String) -> list[int]:
    """Layer 2, at positions 0..N: the latest j up to there whose stored predecessor is the symbol there, else the start.

    Scores j - (N + 1)(difference of symbols)^2, the start token's 0: a match has at least 1, any other at most -1.
    """
    coded, before, size = [0, *(symbol + 1 for symbol in string)], predecessors(string), len(string) + 1
    found = [0]
    for position in range(1, size):
        scores = [0, *(j - size * (before[j] - coded[position]) ** 2 for j in range(1, position + 1))]
        (target,) = attended(scores)
        found.append(target)
    return found


def _symbols(string: String, positions: Sequence[int]) -> String:
    return tuple(string[position - 1] if position else MISSING for position in positions[1:])


def recurrence_as_printed(string: String, num_hops: int) -> tuple[String, int]:
    """The proof of Theorem 4.2 word for word: its output at every position, and the layers used, floor(log2 k) + 2.

    From layer 3 on a position attends to its pointer, which there squares the pointer; where the binary digit of k is 1 it takes
    over the partial answer of the position attended to. The partial answer begins with the last digit, in layer 2.
    """
    pointer = last_matches(string)
    answer = list(pointer) if num_hops % 2 else list(range(len(pointer)))
    digits = num_hops.bit_length() - 1
    for digit in range(1, digits + 1):
        target = [look_up(position, pointer[position]) for position in range(len(pointer))]
        if num_hops >> digit & 1:
            answer = [answer[t] for t in target]
        pointer = [pointer[t] for t in target]
    return _symbols(string, answer), digits + 2


def recurrence_exponent(num_hops: int) -> int:
    """The number of hops that the printed recurrence makes: the same steps on exponents of one map, which add up."""
    pointer, answer = 1, num_hops % 2
    for digit in range(1, num_hops.bit_length()):
        if num_hops >> digit & 1:
            answer += pointer
        pointer *= 2
    return answer


def repaired_one_head(string: String, num_hops: int) -> tuple[String, int]:
    """One head, two pointers (find^n, find^(n+1)) and the digits of k - 1, largest first: outputs, and layers used."""
    later = last_matches(string)
    sooner, layers = list(range(len(later))), 2
    for digit in reversed(range((num_hops - 1).bit_length())):
        chosen = later if (num_hops - 1) >> digit & 1 else sooner
        target = [look_up(position, chosen[position]) for position in range(len(chosen))]
        sooner, later = [sooner[t] for t in target], [later[t] for t in target]
        layers += 1
    return _symbols(string, later), layers


def repaired_two_heads(string: String, num_hops: int) -> tuple[String, int]:
    """Two heads in layers 1 and 2, one later: equality with (symbol, rank) for the digits 1 of k. Outputs, and layers used."""
    size, before = len(string) + 1, predecessors(string)
    coded = [0, *(symbol + 1 for symbol in string)]
    rank = [0]
    for position in range(1, size):  # a head that averages the start's mark over the start and all equal symbols so far
        scores = [0, *(-((coded[j] - coded[position]) ** 2) for j in range(1, position + 1))]
        seen = attended(scores)
        share = Fraction(sum(j == 0 for j in seen), len(seen))
        rank.append(int(1 / share) - 1)
    found = last_matches(string)
    before_rank = [rank[look_up(position, max(position - 1, 0))] for position in range(size)]
    before_rank[1] = -1  # position 1 must not be taken for the start token by a query for "none"
    state = [(target, coded[target], rank[target]) for target in found]
    layers = 2
    for digit in reversed(range(num_hops.bit_length() - 1)):
        new = []
        for position in range(size):
            place, symbol, count = state[position]
            if num_hops >> digit & 1:
                wanted = (symbol, count - 1) if place and count > 1 else (0, 0)
                scores_of = [
                    -Fraction(1, 2) if j == 0 else -((before[j] - wanted[0]) ** 2) - (before_rank[j] - wanted[1]) ** 2
                    for j in range(position + 1)
                ]
                (target,) = attended(scores_of)
            else:
                target = look_up(position, place)
            new.append(state[target])
        state, layers = new, layers + 1
    return _symbols(string, [place for place, _, _ in state]), layers


def by_doubling(string: String, num_hops: int) -> tuple[String, int]:
    """One head and layers that only add, k a power of two: outputs, and layers used.

    A position holds its own place i and symbol x, its pointer p and the symbol y there, and every layer after the second adds p
    less i and y less x of the position attended to, which is p itself.
    """
    if num_hops < 1 or num_hops & (num_hops - 1):
        raise ValueError(f"num_hops = {num_hops}: a power of two is legal")
    coded, pointer, layers = [0, *(symbol + 1 for symbol in string)], last_matches(string), 2
    answer = [coded[place] for place in pointer]
    for _ in range(num_hops.bit_length() - 1):
        target = [look_up(position, pointer[position]) for position in range(len(pointer))]
        pointer, answer, layers = (
            [place + pointer[t] - t for place, t in zip(pointer, target, strict=True)],
            [symbol + answer[t] - coded[t] for symbol, t in zip(answer, target, strict=True)],
            layers + 1,
        )
    return tuple(symbol - 1 if symbol else MISSING for symbol in answer[1:]), layers


def hops_by_look_ups(num_layers: int) -> frozenset[int]:
    """All k that find^k is reached for by one look-up of a held pointer per layer after the second, tried exhaustively.

    After layer 2 a position holds find^0 and find^1 of itself. A look-up of find^n brings find^(n+e) for all find^e held.
    """
    programs = {frozenset({0, 1})}
    for _ in range(num_layers - 2):
        programs = {held | {n + e for e in held} for held in programs for n in held}
    return frozenset(k for held in programs for k in held)


Model = Callable[[String, int], tuple[String, int]]


def layers_if_right(model: Model, num_hops: int, tried: Sequence[String]) -> tuple[float, str]:
    """Layers that a model uses if it computes hop_k on all strings tried, infinity else; and where it errs."""
    layers = 0
    for string in tried:
        found, layers = model(string, num_hops)
        if found != hop(string, num_hops):
            return float("inf"), f" (wrong on {in_letters(string)})"
    return layers, ""


def gadgets(edges: Sequence[tuple[int, int]], start: int) -> String:
    """The string that the proof of Corollary 4.3 makes of a graph with k edges on vertices 0..k-1.

    Per edge {u, v}: * u + v u + v * _; all edges in their order, k/2 times; then the start vertex.
    """
    size = len(edges)
    star, plus, blank = size, size + 1, size + 2
    once = [symbol for u, v in edges for symbol in (star, u, plus, v, u, plus, v, star, blank)]
    return tuple(once * (size // 2) + [start])


def last_hop(string: String, num_hops: int) -> int:
    """hop_k at the last position, by walking left; for long strings."""
    position = len(string)
    for _ in range(num_hops):
        position = find(string, position)
        if not position:
            return MISSING
    return string[position - 1]


def repaired_circle_last_match(string: String, position: int, vocab_size: int) -> list[int]:
    """Positions 0..position attended to with symbols 2 N apart on a circle of 2 N (|Sigma| + 1) marks.

    The start token, which nothing precedes, is the symbol 0 and precedes position 1; symbols of the alphabet are 1, 2, ... The
    start token's own key stands N - 1/2 marks from every query. All lengths are doubled to be whole.
    """
    length = len(string)
    circumference = 4 * length * (vocab_size + 1)
    mark = 4 * length * (string[position - 1] + 1) + 2 * position
    before = [0, *(symbol + 1 for symbol in string)]
    keys = [4 * length * before[j - 1] + 2 * j for j in range(1, position + 1)]
    return attended([-(2 * length - 1), *(-circle_distance(key, mark, circumference) for key in keys)])
