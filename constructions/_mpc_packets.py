"""Several messages in one averaged vector: packets in slots by multiple hashing, and a decoder that knows when it failed.

A public random matrix says, for every pair (source, destination), in which slots its packet may lie. A source writes a packet
into a slot when it is the only one of its packets there; the receiver gets the mean over its sources and reads the slots in which
exactly one source wrote.

The decoder of the paper finds these slots by their share of the mean, which must be the smallest there is. When no slot has a
single writer it takes mixtures for messages, and it cannot tell a message that was lost from one that never was. Two additions
make every failure visible (derived here). A slot also carries the square of its source's number: the variance of the sources
that wrote into it is 0 for one writer and at least 1/4 for more, as sources are different integers. And outside all slots a
source writes one 1, so a receiver knows whether it has sources; the share of a slot with one writer says how many.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from theory.parallel import Messages, Words
from theory.shapes import checked_integer

LARGEST_WORD = 2**50  # words are divided by a mean's share and rounded: two roundings must stay below 1/2
HEADER = 5  # written, source, its square, destination, number of words


@dataclass(frozen=True)
class Decoded:
    """What a receiver made of its mean: all its messages, or a failure with how many were recovered of how many (0: unknown)."""

    messages: Messages
    failed: bool = False
    recovered: int = 0
    expected: int = 0


@dataclass(frozen=True)
class Hashing:
    """The public matrix and the two functions of the two ends.

    Args:
        num_machines: N >= 1.
        messages: s >= 1, the most messages that a machine sends, and receives; an entry is 1 with probability 1 / (s^2 + 1).
        message_words: beta >= 1, the most words in a message.
        slots: columns of the matrix, >= 1.
        seed: of the matrix. The first columns of a matrix with more slots are those of one with fewer.

    Source: Sanford, Hsu and Telgarsky 2024, proof of Lemma 3.2; what makes failures visible is derived here.
    """

    num_machines: int
    messages: int
    message_words: int
    slots: int
    seed: int = 0
    matrix: Bool[np.ndarray, "sources destinations slots"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("num_machines", "messages", "message_words", "slots"):
            checked_integer(name, getattr(self, name), 1)
        n, share = self.num_machines, 1 / (self.messages**2 + 1)
        matrix = np.empty((n, n, self.slots), dtype=np.bool_)
        for source in range(n):
            generator = np.random.default_rng([checked_integer("seed", self.seed, 0), 1, source])
            matrix[source] = (generator.random((self.slots, n)) < share).T
        object.__setattr__(self, "matrix", matrix)

    @property
    def width(self) -> int:
        """Coordinates of a packed vector: one, and those of every slot."""
        return 1 + self.slots * (HEADER + self.message_words)

    def pack(self, source: int, messages: Messages) -> Float[np.ndarray, " width"]:
        """What `source` contributes to the means of its destinations.

        Raises:
            ValueError: a word is no integer below 2^50 in size: a mean does not carry it exactly.
        """
        table = np.zeros((self.slots, HEADER + self.message_words))
        if not messages:
            return np.append(0.0, table)
        marks = self.matrix[source][[destination for destination, _ in messages]]
        alone = marks.sum(0) == 1
        for (destination, words), mark in zip(messages, marks, strict=True):
            for word in words:
                if not abs(word) < LARGEST_WORD or int(word) != word:
                    raise ValueError(f"machine {source} sends {word!r}: messages carry integers below 2^50 in size")
            packet = [1, source, source * source, destination, len(words), *words]
            table[alone & mark, : len(packet)] = packet
        return np.append(1.0, table)

    def unpack(self, machine: int, mean: Float[np.ndarray, " width"]) -> Decoded:
        """All messages to `machine`, ascending by source, or a failure; never a message that was not sent.

        Every lost packet is noticed: a slot with one writer shows how many sources there are, and without any such slot at a
        machine that has sources nothing was recovered.
        """
        if mean[0] == 0:
            return Decoded(())
        table = mean[1:].reshape(self.slots, -1)
        table = table[table[:, 0] > 0]
        means = table[:, 1:] / table[:, :1]
        single = means[:, 1] - means[:, 0] ** 2 < 1 / 8  # 0 for one writer; at least (1/2)^2 for several
        if not single.any():
            return Decoded((), failed=True)
        expected = round(float(mean[0] / table[single][0, 0]))
        found: dict[int, Words] = {}
        for packet in np.rint(means[single]):
            if int(packet[2]) == machine:
                length = int(packet[3])
                found[int(packet[0])] = tuple(int(word) for word in packet[4 : 4 + length])
        messages = tuple(sorted(found.items()))
        return Decoded(messages, len(found) != expected, len(found), expected)

    def unpack_as_printed(self, machine: int, mean: Float[np.ndarray, " width"]) -> Messages:
        """The paper's decoder: slots with the smallest share, scaled by the number of sources that this share implies.

        It needs neither the squares nor the first coordinate, and has no way to say that it failed.
        """
        table = mean[1:].reshape(self.slots, -1)
        table = table[table[:, 0] > 0]
        if not len(table):
            return ()
        smallest = table[:, 0].min()
        rows = np.rint(table[table[:, 0] < 1.25 * smallest] / smallest)
        kept = {tuple(int(word) for word in (row[1], *row[5 : 5 + int(row[4])])) for row in rows if int(row[3]) == machine}
        return tuple(sorted((row[0], row[1:]) for row in kept))
