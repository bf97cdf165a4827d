"""Words, the limits of a model of massively parallel computation, and the error that names who broke which."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index

from theory.shapes import checked_integer

WORD_BITS = 53  # integers up to 2^53 are exact in float64, so one word fits one coordinate of a float64 stream

Word = int | float
Words = tuple[Word, ...]
Messages = tuple[tuple[int, Words], ...]


def checked_words(name: str, words: Sequence[Word]) -> Words:
    """`words` as a tuple of plain numbers, when each is a word: an integer below 2^53 in size or a float that is not NaN."""
    plain: list[Word] = []
    for word in words:
        value: Word
        if isinstance(word, float):
            value = float(word)
            legal = not math.isnan(value)
        else:
            try:
                value = index(word)
            except TypeError:
                raise ValueError(f"{name} holds {word!r}: a word is an integer or a float") from None
            legal = abs(value) < 1 << WORD_BITS
        if not legal or isinstance(word, bool):
            raise ValueError(f"{name} holds {word!r}: a word is an integer of fewer than {WORD_BITS} bits or a float, not NaN")
        plain.append(value)
    return tuple(plain)


class RoundLimitError(ValueError):
    """A machine stored, sent or received more words in one round than the model allows.

    Attributes: `machine` and `round` (1-based; 0 is the input), `action` ("stores", "sends", "receives", where requests to read
    are received too, or "is read for", of answers), `words`, `limit`.
    """

    def __init__(self, machine: int, round: int, action: str, words: int, limit: int) -> None:
        super().__init__(f"machine {machine} {action} {words} words in round {round}: at most {limit} are legal")
        self.machine, self.round, self.action, self.words, self.limit = machine, round, action, words, limit


def checked_messages(where: str, messages: Messages, num_machines: int) -> Messages:
    """Messages as plain numbers, when each goes to a machine there is, no two go to one machine, and none is empty.

    Raises:
        ValueError: they are not; `where` begins the line.
    """
    plain = tuple((target, checked_words(f"a message of {where}", words)) for target, words in messages)
    targets = checked_targets(where, tuple(target for target, _ in plain), num_machines)
    if len(set(targets)) < len(targets) or not all(words for _, words in plain):
        raise ValueError(f"{where}: at most one message per destination is legal, and none without words")
    return tuple((target, words) for target, (_, words) in zip(targets, plain, strict=True))


def checked_targets(where: str, targets: Sequence[int], num_machines: int) -> tuple[int, ...]:
    """Numbers of machines as plain ints, when each is one of 0..num_machines - 1; a ValueError that `where` begins otherwise."""
    for target in targets:
        if isinstance(target, bool) or not hasattr(target, "__index__") or not 0 <= target < num_machines:
            raise ValueError(f"{where}: names machine {target!r} of {num_machines}")
    return tuple(map(index, targets))


def _power(base: int, exponent: float) -> int:
    """ceil(base ** exponent), not fooled by a last bit above an integer."""
    value = base**exponent
    return round(value) if abs(value - round(value)) <= 1e-9 * value else math.ceil(value)


@dataclass(frozen=True)
class ParallelModel:
    r"""A (gamma, delta)-model of massively parallel computation, or one with its sizes given.

    Args:
        num_words: n >= 1 words of input. A word is an integer of fewer than 53 bits or one float64 that is not NaN: the
            definition's Theta(log n) bits leave a constant open, which is chosen here so that a word is one float64 coordinate.
        gamma, delta: exponents with gamma >= 0 and 0 < delta <= 1; then \(s = \lceil n^\delta \rceil\) and
            \(q = \lceil n^{1+\gamma-\delta} \rceil\), every constant that the definition leaves open taken as 1.
        words_per_machine: s >= 1 instead of delta: the most words that one machine stores, sends or receives.
        num_machines: q >= 1 instead of gamma.
        input_share: how many input words lie on one machine at the start, and output words at the end, at most s; s unless
            given. A smaller share is the same layout on more machines: s is then (s / share) times as much, a constant.
        unlimited_readers: whether a machine that is read may get any number of requests and answer them all in the round. The
            definition says no; one attention layer can, because reading costs the source nothing. What a reader asks for and
            gets is limited all the same, and `RoundReport` counts requests and answers as before: its numbers can exceed s.

    The definition counts messages in words and not their addresses; so does this. It has no reading: a round of it is counted as
    an exchange of requests, one word each, and one of answers, each of which keeps to s by itself. Memory kept is counted apart
    from what is sent and received: in the definition's strict form a machine keeps what it sends to itself, which `RoundReport`
    also shows.

    Raises:
        ValueError: a size or exponent outside its range, both of a pair or none of it, or an input that q machines cannot hold.

    Source: Sanford, Hsu and Telgarsky 2024, Definition 2.3.
    """

    num_words: int
    gamma: float | None = None
    delta: float | None = None
    words_per_machine: int = 0
    num_machines: int = 0
    input_share: int = 0
    unlimited_readers: bool = False

    def __post_init__(self) -> None:
        n = checked_integer("num_words", self.num_words, 1)
        by_exponents = self.gamma is not None or self.delta is not None
        by_sizes = self.words_per_machine != 0 or self.num_machines != 0
        if by_exponents == by_sizes:
            raise ValueError("legal are gamma and delta, or words_per_machine and num_machines, but not both and not neither")
        if by_exponents:
            gamma, delta = _exponent("gamma", self.gamma), _exponent("delta", self.delta)
            if not gamma >= 0:
                raise ValueError(f"gamma = {gamma}: must be a finite number >= 0")
            if not 0 < delta <= 1:
                raise ValueError(f"delta = {delta}: must be a number in (0, 1]")
            sizes = _power(n, delta), _power(n, 1 + gamma - delta)
        else:
            sizes = self.words_per_machine, self.num_machines
        words, machines = checked_integer("words_per_machine", sizes[0], 1), checked_integer("num_machines", sizes[1], 1)
        share = checked_integer("input_share", self.input_share or words, 1)
        if share > words:
            raise ValueError(f"input_share = {share}: at most words_per_machine = {words} is legal")
        if n > share * machines:
            raise ValueError(f"num_words = {n}: at most {share * machines} fit on {machines} machines with {share} each")
        for name, value in (("num_words", n), ("words_per_machine", words), ("num_machines", machines), ("input_share", share)):
            object.__setattr__(self, name, value)


def _exponent(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} = {value!r}: must be a finite number")
    return float(value)
