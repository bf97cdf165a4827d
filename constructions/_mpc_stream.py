"""Where things lie in the residual stream of a protocol, and the element-wise maps that run it.

Position 0 is the start token, position i + 1 is machine i. A position's vector holds its own number, what the machine keeps, a
flag that says whether it failed, and the query, key and value blocks of the exchange at hand with one block per head for what
comes in. A map reads the blocks that came in, runs the machine's local computation, and writes the blocks of the next exchange:
it sees one row of the stream and nothing else, and which machine the row belongs to is a coordinate of the row.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions._mpc_keys import KeyFailure, Keys
from constructions._mpc_packets import Hashing
from theory.parallel import Messages, Outbox, ParallelModel, Protocol, Pull, RoundLimitError, Word, Words, run_local

NUMBER, FLAG, FAILED_ROUND, RECOVERED, EXPECTED, KEPT = range(6)
HEADER = 6
NO_KEY, LOST, REFUSED = 1.0, 2.0, 3.0  # flags; 0 is none


@dataclass(frozen=True)
class RoutingHead:
    """The head that delivers messages: keys that reach destinations, packets that survive a mean."""

    keys: Keys
    hashing: Hashing


@dataclass(frozen=True)
class Layout:
    """Offsets of the blocks. Push rounds have one head, pull rounds one per read; both lie in the same coordinates.

    `key_width` and `value_width` are per kind of round: (push, pull).
    """

    memory: int
    reads: int
    key_width: tuple[int, int]
    value_width: tuple[int, int]

    def heads(self, pull: bool) -> int:
        """How many heads a round of this kind has."""
        return self.reads if pull else 1

    def blocks(self, pull: bool) -> tuple[list[slice], slice, slice, list[slice]]:
        """Query blocks by head, the key block, the value block, blocks of what comes in by head."""
        keys, values, at = self.key_width[pull], self.value_width[pull], HEADER + self.memory
        queries = [slice(at + head * keys, at + (head + 1) * keys) for head in range(self.heads(pull))]
        at = at + len(queries) * keys
        key, value = slice(at, at + keys), slice(at + keys, at + keys + values)
        came = [slice(value.stop + head * values, value.stop + (head + 1) * values) for head in range(len(queries))]
        return queries, key, value, came

    @property
    def width(self) -> int:
        """embed_dim of the stream: what the wider kind of round takes."""
        return max(self.blocks(pull)[3][-1].stop for pull in (False, True) if self.heads(pull))


def as_word(value: float) -> Word:
    """A coordinate back as a word: an int where it is one of fewer than 53 bits."""
    return int(value) if value.is_integer() and abs(value) < 2.0**53 else value


def as_value_error(where: str, error: Exception) -> ValueError:
    """`error` itself when it is a ValueError, or one of one line, caused by it, that says where it was raised."""
    if isinstance(error, ValueError):
        return error
    told = ValueError(" ".join(f"{where}: {type(error).__name__}: {error}".split()))
    told.__cause__ = error
    return told


@dataclass
class LocalMap:
    """One element-wise map: what came in in round `round - 1`, the local computation of `round`, what goes out in it.

    Called with a stream (batch, positions, embed_dim); every row is treated by itself. What goes wrong in one flags it, and is
    kept in `raised`, which several maps share, under (input in the batch, machine, round).
    """

    protocol: Protocol
    model: ParallelModel
    head: RoutingHead | None
    layout: Layout
    round: int
    raised: dict[tuple[int, int, int], KeyFailure | ValueError] = field(repr=False)

    def __call__(self, stream: Float[Tensor, "*positions embed_dim"]) -> Float[Tensor, "*positions embed_dim"]:
        rows = stream.detach().numpy().reshape(-1, stream.shape[-1])
        positions = stream.shape[-2] if stream.ndim > 1 else 1
        after = np.stack([self.row(row, place // positions) for place, row in enumerate(rows)]) if len(rows) else rows
        return torch.from_numpy(after).reshape(stream.shape)

    def row(self, row: Float[np.ndarray, " embed_dim"], number: int) -> Float[np.ndarray, " embed_dim"]:
        """The next vector of one position of input `number` of the batch, which says only whose failure it is."""
        after = np.zeros_like(row)
        after[NUMBER] = row[NUMBER]
        machine, sends = int(row[NUMBER]) - 1, self.round <= self.protocol.num_rounds
        if machine < 0:
            if sends:
                self._write_start(after)
            return after
        nothing: Outbox = Pull() if self.round in self.protocol.pull_rounds else ()
        outbox = nothing
        if row[FLAG]:
            after[FLAG : EXPECTED + 1] = row[FLAG : EXPECTED + 1]
        else:
            received, failure = self._read(machine, row)
            if failure is not None:
                after[FLAG : EXPECTED + 1] = failure
            else:
                memory = tuple(as_word(float(word)) for word in row[HEADER : HEADER + int(row[KEPT])])
                try:
                    self._check_received(machine, received)
                    memory, outbox = run_local(self.protocol, self.model, machine, self.round, memory, received)
                    if not np.isfinite(memory).all():
                        raise ValueError(f"machine {machine} keeps {memory} in round {self.round}: finite words are legal here")
                except Exception as error:  # what a machine makes of garbage, behind a failure elsewhere, must not stop the rest
                    self._refuse(after, number, error)
                    memory, outbox = (), nothing
                after[KEPT] = len(memory)
                after[HEADER : HEADER + len(memory)] = memory
        if sends:
            self._write(after, number, outbox)
        return after

    def _check_received(self, machine: int, received: Messages) -> None:
        words = sum(len(message) for _, message in received)
        if words > self.model.words_per_machine:
            raise RoundLimitError(machine, self.round - 1, "receives", words, self.model.words_per_machine)

    def _refuse(self, after: Float[np.ndarray, " embed_dim"], number: int, error: Exception) -> None:
        machine = int(after[NUMBER]) - 1
        self.raised[number, machine, self.round] = as_value_error(f"machine {machine} in round {self.round}", error)
        after[FLAG : EXPECTED + 1] = REFUSED, self.round, 0, 0

    def _read(
        self, machine: int, row: Float[np.ndarray, " embed_dim"]
    ) -> tuple[Messages, tuple[float, ...] | None]:
        """What came in, or the flag of a failure."""
        if self.round == 1:
            return (), None
        pull = self.round - 1 in self.protocol.pull_rounds
        queries, _key, _value, came = self.layout.blocks(pull)
        if pull:
            read = []
            for query, block in zip(queries, came, strict=True):
                position = int(row[query.start]) // 2
                if position:
                    length = int(row[block.start])
                    words: Words = tuple(as_word(float(word)) for word in row[block.start + 1 : block.start + 1 + length])
                    read.append((position - 1, words))
            return tuple(read), None
        assert self.head is not None
        decoded = self.head.hashing.unpack(machine, row[came[0]])
        if decoded.failed:
            return (), (LOST, self.round - 1.0, float(decoded.recovered), float(decoded.expected))
        return decoded.messages, None

    def _write_start(self, after: Float[np.ndarray, " embed_dim"]) -> None:
        """The start token holds nothing and is where those look that have nobody to look at; its own query is 0."""
        if self.round not in self.protocol.pull_rounds:
            assert self.head is not None
            after[self.layout.blocks(False)[1]] = self.head.keys.start_key

    def _write(self, after: Float[np.ndarray, " embed_dim"], number: int, outbox: Outbox) -> None:
        machine = int(after[NUMBER]) - 1
        queries, key, value, _came = self.layout.blocks(self.round in self.protocol.pull_rounds)
        if isinstance(outbox, Pull):
            # Score of position j for a reader of position t: 2 t j - j^2 = t^2 - (t - j)^2, largest at t alone, by 1.
            position = machine + 1
            after[key] = position, position**2
            if not np.isfinite(outbox.shown).all():
                error = ValueError(f"machine {machine} shows {outbox.shown}: finite words are legal here")
                self._refuse(after, number, error)
                return
            after[value.start : value.start + 1 + len(outbox.shown)] = len(outbox.shown), *outbox.shown
            for head, query in enumerate(queries):  # without a source to read: the start token
                after[query] = 2 * (outbox.sources[head] + 1 if head < len(outbox.sources) else 0), -1
            return
        assert self.head is not None
        after[queries[0]] = self.head.keys.query(machine)
        try:
            after[key] = self.head.keys.key(tuple(destination for destination, _ in outbox))
            after[value] = self.head.hashing.pack(machine, outbox)
        except KeyFailure as failure:
            self.raised[number, machine, self.round] = failure
            after[FLAG : EXPECTED + 1] = NO_KEY, self.round, 0, 0
            after[key] = self.head.keys.key(())
        except ValueError as error:
            self._refuse(after, number, error)
            after[key] = self.head.keys.key(())
