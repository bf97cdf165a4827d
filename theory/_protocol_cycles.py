"""Cycles given as a list of edges: which vertices share one, and whether there is one or there are two.

Both protocols begin alike. Machine j holds edge j and sends each of its ends to the machine of the other; then every vertex
tells its two neighbours through which of its two ports the edge enters. A port of a vertex is a direction: going out by port p
of v one arrives at a vertex w and goes on by w's other port. From there on machines read: jumps double in every round.
"""

from abc import abstractmethod

from theory._parallel_model import Messages, ParallelModel, Words
from theory.parallel import Outbox, Protocol, Pull
from theory.shapes import checked_integer


class _Cycles(Protocol):
    """The first two rounds, in which edges become ports, and a place for what follows them."""

    max_messages = 2
    shown_words = 4
    input_share = 2
    least_vertices = 3

    def __init__(self, num_vertices: int) -> None:
        self.num_vertices = self.num_machines = checked_integer("num_vertices", num_vertices, self.least_vertices)
        self.num_words = 2 * self.num_vertices

    def model(self) -> ParallelModel:
        """One edge per machine at the start; four words kept and shown, eight read."""
        return ParallelModel(self.num_words, words_per_machine=8, num_machines=self.num_machines, input_share=2)

    def check_input(self, words: Words) -> None:
        """Refuse what is not a simple graph in which every vertex has two neighbours."""
        neighbours: dict[int, set[int]] = {vertex: set() for vertex in range(self.num_vertices)}
        for edge, (a, b) in enumerate(zip(words[::2], words[1::2], strict=True)):
            if a not in neighbours or b not in neighbours:
                raise ValueError(f"edge {edge} = ({a}, {b}): legal are vertices 0..{self.num_vertices - 1}")
            neighbours[int(a)].add(int(b))
            neighbours[int(b)].add(int(a))
        for vertex, around in neighbours.items():
            if len(around - {vertex}) != 2:
                raise ValueError(f"vertex {vertex} has {len(around - {vertex})} neighbours: 2 are legal")

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """Rounds 1 and 2 as above; from round 3 on memory is a dart (2 vertex + port) and a second word for either port."""
        if round == 1:
            first, second = (int(word) for word in memory)
            return (), ((first, (second,)), (second, (first,)))
        if round == 2:  # ports in the order of the edges' numbers
            ends = tuple(int(words[0]) for _, words in received)
            return ends, tuple((end, (port,)) for port, end in enumerate(ends))
        if round == 3:
            entered = {source: int(words[0]) for source, words in received}
            memory = self.start(machine, tuple(2 * int(end) + 1 - entered[int(end)] for end in memory))
        return self.walk(machine, round, memory, received)

    @abstractmethod
    def start(self, vertex: int, ahead: tuple[int, ...]) -> Words:
        """Memory at the start of the walk, `ahead` being the dart behind either port."""

    @abstractmethod
    def walk(self, vertex: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """What is done from round 3 on."""


class CycleLabels(_Cycles):
    r"""The smallest vertex on the cycle of every vertex of a graph made of disjoint cycles.

    Input: N edges as vertex pairs, in any order and orientation; output: N labels. After r rounds of reading a vertex knows the
    smallest of the 2^r vertices from itself on, in both directions: \(\lceil \log_2 N \rceil + 3\) rounds, the last of which
    brings the labels to the machines that hold the output. Every vertex has two readers in every round.

    Args:
        num_vertices: N >= 3, also the number of edges.
    """

    def __init__(self, num_vertices: int) -> None:
        super().__init__(num_vertices)
        self.num_outputs = self.num_vertices
        self._doublings = (self.num_vertices - 1).bit_length()
        self.num_rounds = self._doublings + 3
        self.pull_rounds = frozenset(range(3, 3 + self._doublings))

    def start(self, vertex: int, ahead: tuple[int, ...]) -> Words:
        """Per port: the dart one step ahead, and the smallest vertex before it."""
        return (ahead[0], vertex, ahead[1], vertex)

    def walk(self, vertex: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """Double both jumps; at the end send the label to the machine that holds two outputs."""
        if round > self.num_rounds:
            return tuple(words[0] for _, words in received), ()
        if 3 < round <= self.num_rounds:
            memory = tuple(
                word
                for port, (_, shown) in enumerate(received)
                for word in _double(memory[2 * port], memory[2 * port + 1], shown)
            )
        if round < self.num_rounds:
            return memory, Pull(memory, (int(memory[0]) // 2, int(memory[2]) // 2))
        return (), ((vertex // 2, (min(memory[1], memory[3]),)),)


def _double(dart: int | float, label: int | float, shown: Words) -> Words:
    side = 2 * (int(dart) % 2)
    return shown[side], min(label, shown[side + 1])


class OneOrTwoCycles(_Cycles):
    r"""Whether N edges are one cycle of N vertices or two of N / 2, for graphs that are promised to be one of the two.

    Every vertex jumps n and n + 1 steps, and n doubles, plus one where the next binary digit of N / 2 is 1:
    \(\lfloor \log_2 N \rfloor + 2\) rounds. There are two cycles if and only if N / 2 steps lead from vertex 0 back to it, which
    machine 0 sees alone; the output is its one word, 1 or 2.

    Args:
        num_vertices: N >= 6, even.

    Raises:
        ValueError: `num_vertices` is odd or below 6.
    """

    least_vertices = 6
    num_outputs = 1

    def __init__(self, num_vertices: int) -> None:
        super().__init__(num_vertices)
        if self.num_vertices % 2:
            raise ValueError(f"num_vertices = {num_vertices}: must be an even integer >= 6")
        self._digits = [int(digit) for digit in f"{self.num_vertices // 2:b}"]
        self.num_rounds = len(self._digits) + 2
        self.pull_rounds = frozenset(range(3, self.num_rounds + 1))

    def check_input(self, words: Words) -> None:
        """Refuse what is neither one cycle nor two of half the size."""
        super().check_input(words)
        around: dict[int, list[int]] = {}
        for a, b in zip(words[::2], words[1::2], strict=True):
            around.setdefault(int(a), []).append(int(b))
            around.setdefault(int(b), []).append(int(a))
        before, vertex, length = around[0][0], 0, 0
        while vertex or not length:
            before, vertex = vertex, around[vertex][around[vertex][0] == before]
            length += 1
        if length not in (self.num_vertices, self.num_vertices // 2):
            raise ValueError(f"the cycle of vertex 0 has {length} vertices: legal are {self.num_vertices} and half of them")

    def start(self, vertex: int, ahead: tuple[int, ...]) -> Words:
        """Per port: the darts 0 and 1 steps ahead."""
        return (2 * vertex, ahead[0], 2 * vertex + 1, ahead[1])

    def walk(self, vertex: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """Read the vertex n steps ahead, or n + 1 where the next digit is 1, and jump on from there."""
        if round > 3:
            digit = self._digits[round - 4]
            jumps: list[int | float] = []
            for port, (_, shown) in enumerate(received):
                side = 2 * (int(memory[2 * port + digit]) % 2)
                jumps += shown[side : side + 2]
            memory = tuple(jumps)
        if round > self.num_rounds:
            return ((2 if int(memory[0]) // 2 == 0 else 1,) if vertex == 0 else ()), ()
        digit = self._digits[round - 3]
        return memory, Pull(memory, (int(memory[digit]) // 2, int(memory[2 + digit]) // 2))
