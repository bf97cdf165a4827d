"""Protocols for massively parallel computation: prefix sums, sorting, one cycle or two, ranks in linked lists.

Each runs under `theory.parallel.execute`, which counts what it costs, and through one attention layer per round in
`constructions.mpc`. Sources of the algorithms: Hillis and Steele 1986 (prefix sums), Batcher 1968 (bitonic sort), Wyllie 1979
(pointer doubling); as rounds of attention: Sanford, Hsu and Telgarsky 2024, section 3.
"""

from collections.abc import Callable
from operator import add

from theory._protocol_cycles import CycleLabels, OneOrTwoCycles
from theory.parallel import Messages, Outbox, ParallelModel, Protocol, Pull, Words
from theory.shapes import checked_integer

__all__ = ["BitonicSort", "CycleLabels", "ListRanking", "OneOrTwoCycles", "OneWordEach", "PrefixSums", "combine_words"]

Combine = Callable[[Words, Words], Words]


def combine_words(left: Words, right: Words) -> Words:
    """Sum word by word."""
    return tuple(map(add, left, right))


class PrefixSums(Protocol):
    r"""Item i becomes \(x_0 \circ x_1 \circ .. \circ x_i\), for any associative operation, commutative or not.

    In round r machine i sends what it has to machine i + 2^(r-1): \(\lceil \log_2 N \rceil\) rounds, one message each.

    Args:
        num_items: N >= 1, one per machine.
        combine: the operation on two items of `width` words, earlier item first; sums word by word unless given.
        width: words per item, >= 1.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, num_items: int, combine: Combine = combine_words, width: int = 1) -> None:
        self.num_items, self.width = checked_integer("num_items", num_items, 1), checked_integer("width", width, 1)
        self.combine = combine
        self.num_machines, self.num_rounds = self.num_items, (self.num_items - 1).bit_length()
        self.num_words = self.num_outputs = self.num_items * self.width
        self.message_words = self.input_share = self.width

    def model(self) -> ParallelModel:
        """One item on every machine, and no more memory than that."""
        return ParallelModel(self.num_words, words_per_machine=self.width, num_machines=self.num_machines)

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """Put what came in before what is here; pass it on, 2^(round - 1) machines further."""
        for _, words in received:
            memory = self.combine(words, memory)
        target = machine + (1 << (round - 1))
        sends = round <= self.num_rounds and target < self.num_machines
        return memory, (((target, memory),) if sends else ())


class BitonicSort(Protocol):
    r"""The words in ascending order. In every round machine i compares its word with that of machine i xor 2^j.

    \(k(k+1)/2\) rounds on 2^k machines, the least power of two that holds the input; machines beyond the input start empty, and
    no word counts as larger than all words.

    Args:
        num_items: n >= 1 words, one per machine.
    """

    def __init__(self, num_items: int) -> None:
        self.num_words = self.num_outputs = checked_integer("num_items", num_items, 1)
        levels = (self.num_words - 1).bit_length()
        self.num_machines = 1 << levels
        self._exchanges = [(2 << level, 1 << step) for level in range(levels) for step in range(level, -1, -1)]
        self.num_rounds = len(self._exchanges)

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """Keep the smaller or the larger of the two words of the last exchange, and send it to the next partner."""
        if round > 1:
            block, distance = self._exchanges[round - 2]
            words = sorted(memory + tuple(word for _, message in received for word in message))
            wants_smaller = (machine & distance == 0) == (machine & block == 0)
            # An empty machine holds more than any word: of one word and an empty partner the smaller side keeps the word.
            memory = tuple(words[:1] if wants_smaller else words[1:])
        if round > self.num_rounds or not memory:
            return memory, ()
        return memory, ((machine ^ self._exchanges[round - 1][1], memory),)


class ListRanking(Protocol):
    r"""How many links every node is away from the end of its list, by pointer doubling in rounds of reading.

    Input word v is the node that v links to, or -1 at an end. In every round v reads the node w it points at and adds w's
    distance to its own: \(\lceil \log_2 N \rceil\) rounds. Linked lists have one reader per node in every round. In a forest
    (several nodes link to one, as in finding roots) there can be as many readers as nodes: attention allows that, a model of
    messages does not, unless it has `unlimited_readers`. A node that never comes to an end, on a cycle, gets -1.

    Args:
        num_nodes: N >= 1, one per machine.
        unlimited_readers: what `model()` says of them.
    """

    shown_words = 2

    def __init__(self, num_nodes: int, unlimited_readers: bool = False) -> None:
        self.num_words = self.num_outputs = self.num_machines = checked_integer("num_nodes", num_nodes, 1)
        self.num_rounds = (self.num_words - 1).bit_length()
        self.pull_rounds = frozenset(range(1, self.num_rounds + 1))
        self.unlimited_readers = unlimited_readers

    def model(self) -> ParallelModel:
        """One node per machine, which keeps and shows two words: where it points and how far that is."""
        n, readers = self.num_words, self.unlimited_readers
        return ParallelModel(n, words_per_machine=2, num_machines=n, input_share=1, unlimited_readers=readers)

    def check_input(self, words: Words) -> None:
        """Refuse links to what is no node."""
        for node, target in enumerate(words):
            if target not in range(-1, self.num_words):
                raise ValueError(f"words[{node}] = {target}: legal are -1 and nodes below {self.num_words}")

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """Jump to where the node that was read points; read the next."""
        pointer, distance = memory if round > 1 else (int(memory[0]), int(memory[0] != -1))
        for _, (target, further) in received:
            pointer, distance = target, distance + further
        if round > self.num_rounds:
            return (distance if pointer == -1 else -1,), ()
        return (pointer, distance), Pull((pointer, distance), () if pointer == -1 else (int(pointer),))


class OneWordEach(Protocol):
    r"""A protocol between one round that gathers its input from machines with one word each and one that scatters its output.

    These are the two ends of Theorem 3.1's transformer, which has one token per input word: R + 2 rounds for R of the protocol.
    (The theorem counts R + 1 layers, since in its definition nobody computes behind the last exchange.)

    Args:
        protocol: what is run in between.

    Source: Sanford, Hsu and Telgarsky 2024, proof of Theorem 3.1, the heads `init` and `final`.
    """

    def __init__(self, protocol: Protocol) -> None:
        inner = protocol.model()
        self.protocol, self.share, self._limit = protocol, inner.input_share, inner.words_per_machine
        self.num_words, self.num_outputs = protocol.num_words, protocol.num_outputs
        self.num_machines = max(protocol.num_machines, self.num_words, self.num_outputs)
        self.num_rounds = protocol.num_rounds + 2
        self.message_words, self.shown_words = protocol.message_words, protocol.shown_words
        self.max_messages = max(protocol.max_messages, self.share)
        self.pull_rounds = frozenset(round + 1 for round in protocol.pull_rounds)
        self._readers = inner.unlimited_readers

    def model(self) -> ParallelModel:
        """The protocol's own limits, and one word per machine at the start and at the end."""
        n, q, s = self.num_words, self.num_machines, self._limit
        return ParallelModel(n, words_per_machine=s, num_machines=q, input_share=1, unlimited_readers=self._readers)

    def check_input(self, words: Words) -> None:
        """Refuse what the protocol refuses."""
        self.protocol.check_input(words)

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """Gather, what the protocol does one round earlier, scatter."""
        if round == 1:
            return (), (((machine // self.share, memory),) if memory else ())
        if round > self.num_rounds:
            return tuple(word for _, words in received for word in words), ()
        inside = machine < self.protocol.num_machines
        if round == 2:
            memory, received = tuple(word for _, words in received for word in words), ()
        if round < self.num_rounds:
            return self.protocol.local(machine, round - 1, memory, received) if inside else ((), self._nothing(round))
        if not inside:
            return (), ()
        outputs, _ = self.protocol.local(machine, round - 1, memory, received)
        first = machine * self.share
        return (), tuple((first + place, (word,)) for place, word in enumerate(outputs) if first + place < self.num_outputs)

    def _nothing(self, round: int) -> Outbox:
        return Pull() if round in self.pull_rounds else ()
