"""Rounds of message passing by attention: a protocol for parallel machines becomes a transformer with one layer per round.

Every machine is a token. In a push round one head carries messages to their destinations; in a pull round every read is a head
that looks up one position. Between rounds an element-wise map runs the machine's local computation.

    construction = build(PrefixSums(16), seed=1)
    construction.run(range(16)).output                     # (0, 1, 3, 6, 10, ...)
    construction.num_layers                                # 4, one per round

The other direction, a layer of attention computed by machines that exchange messages, is `softmax_by_messages`.

Source: Sanford, Hsu and Telgarsky 2024, section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from constructions._mpc_keys import KeyFailure, Keys, PolynomialKeys, RandomKeys, scale_of
from constructions._mpc_packets import Hashing
from constructions._mpc_softmax import SoftmaxByMessages, SoftmaxMessages, merge, softmax_by_messages
from constructions._mpc_stream import (
    EXPECTED,
    FAILED_ROUND,
    FLAG,
    HEADER,
    KEPT,
    LOST,
    NUMBER,
    RECOVERED,
    Layout,
    LocalMap,
    RoutingHead,
    as_value_error,
    as_word,
)
from constructions.attention import attention
from constructions.transformer import Transformer
from theory.parallel import (
    Messages,
    ParallelModel,
    Protocol,
    Word,
    Words,
    checked_messages,
    gather_output,
    hashing_slots_for,
    split_input,
)

__all__ = [
    "Hashing",
    "ParallelConstruction",
    "ParallelResult",
    "PolynomialKeys",
    "RandomKeys",
    "RoutingHead",
    "RoutingResult",
    "SoftmaxByMessages",
    "SoftmaxMessages",
    "build",
    "merge",
    "route",
    "routing_head",
    "softmax_by_messages",
]

Routing = Literal["hashed", "polynomial", "pull"]

PULL_SCALE = 1024.0  # times the margin 1 of a look-up: all other weights underflow to exactly 0
FAILURE = 1e-3  # the chance that the default number of slots leaves to a run of a fixed routing pattern


@dataclass(frozen=True)
class RoutingResult:
    """What every machine received, or `received=None` and the reason why not."""

    received: tuple[Messages, ...] | None
    reason: str = ""


@dataclass(frozen=True)
class ParallelResult:
    """The protocol's output, or `output=None` and the reason why not: which machine failed in which round, and how.

    `refused` is set when no delivery failed but the input or a local computation is not legal: the ValueError that `run` raises.
    """

    output: Words | None
    reason: str = ""
    refused: ValueError | None = field(default=None, repr=False, compare=False)


def routing_head(
    num_machines: int,
    messages: int,
    message_words: int,
    *,
    keys: Literal["hashed", "polynomial"] = "hashed",
    slots: int | None = None,
    key_dim: int | None = None,
    seed: int = 0,
) -> RoutingHead:
    """The head of one push round.

    Args:
        num_machines: N >= 2.
        messages: s >= 1, the most messages that one machine sends, and receives.
        message_words: beta >= 1, the most words in a message.
        keys: "hashed" (random signs and least squares) or "polynomial" (exact, N^(2s) < 2^53); packets are hashed in both.
        slots: columns of the hashing matrix; `theory.parallel.hashing_slots_for` with failure 1e-3 unless given.
        key_dim: coordinates of the random vectors; 16 s log2(N + 1) unless given.
        seed: of the vectors and the matrix.

    Raises:
        ValueError: a size below its least, or polynomial keys beyond their range.
    """
    if slots is None:
        slots = hashing_slots_for(max(2, num_machines), messages, FAILURE)
    if keys == "polynomial":
        if key_dim is not None:
            raise ValueError(f"key_dim = {key_dim}: polynomial keys have 2 s + 1 coordinates, so only None is legal")
        chosen: Keys = PolynomialKeys(num_machines, messages)
    elif keys == "hashed":
        chosen = RandomKeys(num_machines, messages, 0 if key_dim is None else key_dim, seed)
    else:
        raise ValueError(f"keys = {keys!r}: legal are 'hashed' and 'polynomial'")
    return RoutingHead(chosen, Hashing(num_machines, messages, message_words, slots, seed))


def means(head: RoutingHead, outboxes: Sequence[Messages]) -> Float[np.ndarray, "machines width"]:
    """What the head leaves at every machine: the mean of the packed vectors of its sources, through the one attention function.

    Raises `KeyFailure` when a machine's set of destinations has no key.
    """
    queries = np.stack([head.keys.query(machine) for machine in range(len(outboxes))])
    keys = [head.keys.start_key] + [head.keys.key(tuple(target for target, _ in outbox)) for outbox in outboxes]
    values = [np.zeros(head.hashing.width)] + [head.hashing.pack(machine, outbox) for machine, outbox in enumerate(outboxes)]
    q, k, v = (torch.from_numpy(np.stack(rows))[None, :, None] for rows in (list(queries), keys, values))
    return attention(q * scale_of(head.keys), k, v, causal=False)[0, :, 0].numpy()


def route(head: RoutingHead, outboxes: Sequence[Messages]) -> RoutingResult:
    """Deliver one round of messages by one attention head.

    Args:
        head: as `routing_head` made it.
        outboxes: for every machine its (destination, words), at most one message per destination.

    Returns:
        For every machine its (source, words), ascending by source; or the reason why some machine could not recover them.

    Raises:
        ValueError: another number of machines than the head's, a destination that is none of them or named twice, more or longer
            messages than the head carries, an empty one, or words that are no integers below 2^50 in size.
    """
    hashing = head.hashing
    if len(outboxes) != hashing.num_machines:
        raise ValueError(f"outboxes has {len(outboxes)} machines: the head serves {hashing.num_machines}")
    outboxes = [checked_messages(f"machine {source}", each, hashing.num_machines) for source, each in enumerate(outboxes)]
    for source, outbox in enumerate(outboxes):
        largest = max((len(words) for _, words in outbox), default=0)
        if len(outbox) > hashing.messages or largest > hashing.message_words:
            carries = f"{hashing.messages} of {hashing.message_words}"
            raise ValueError(f"machine {source}: {len(outbox)} messages of up to {largest} words, the head carries {carries}")
    try:
        arrived = means(head, outboxes)
    except KeyFailure as failure:
        return RoutingResult(None, str(failure))
    decoded = [head.hashing.unpack(machine, mean) for machine, mean in enumerate(arrived)]
    for machine, each in enumerate(decoded):
        if each.failed:
            return RoutingResult(None, f"machine {machine} {_lost(each.recovered, each.expected)}")
    return RoutingResult(tuple(each.messages for each in decoded))


def _lost(recovered: int, expected: int) -> str:
    of = f"{expected}" if expected else "an unknown number of"
    return f"recovered {recovered} of {of} messages: no slot had the others alone"


@dataclass(frozen=True)
class ParallelConstruction:
    """A protocol as a transformer.

    `models` holds its layers: consecutive rounds of one kind are one `Transformer`, all on the same stream. As a single model it
    has `num_layers` layers and `num_heads` heads, of which push layers leave all but one at zero. `model` has the limits that
    local computations are held to; what a machine receives is limited by the packets.
    """

    protocol: Protocol
    model: ParallelModel
    routing: Routing
    seed: int
    head: RoutingHead | None
    layout: Layout = field(repr=False)
    entry: LocalMap = field(repr=False)
    models: tuple[Transformer, ...] = field(repr=False)

    @property
    def num_layers(self) -> int:
        """Layers of attention: the protocol's rounds."""
        return sum(model.num_layers for model in self.models)

    @property
    def num_heads(self) -> int:
        """Heads of the widest layer."""
        return max(model.shape.num_heads for model in self.models)

    @property
    def embed_dim(self) -> int:
        """Coordinates of the stream."""
        return self.layout.width

    @property
    def slots(self) -> int:
        """Columns of the hashing matrix; 0 when all rounds are pull rounds."""
        return 0 if self.head is None else self.head.hashing.slots

    def stream(self, inputs: Sequence[Sequence[Word]]) -> Float[Tensor, "batch positions embed_dim"]:
        """What the layers start from: every position's number, its machine's input words, and its first outgoing round."""
        start = np.zeros((len(inputs), self.protocol.num_machines + 1, self.layout.width))
        for rows, words in zip(start, inputs, strict=True):
            rows[:] = self._rows(words)
        return self.entry(torch.from_numpy(start))

    def _rows(self, words: Sequence[Word]) -> Float[np.ndarray, "positions embed_dim"]:
        """One input as it lies on the machines; a ValueError when it is none."""
        rows = np.zeros((self.protocol.num_machines + 1, self.layout.width))
        rows[:, NUMBER] = np.arange(len(rows))
        for position, memory in enumerate(split_input(self.protocol, words, self.model), 1):
            if not np.isfinite(memory).all():
                raise ValueError(f"words = {memory} on machine {position - 1}: finite words are legal here")
            rows[position, KEPT] = len(memory)
            rows[position, HEADER : HEADER + len(memory)] = memory
        return rows

    def run_many(self, inputs: Sequence[Sequence[Word]]) -> tuple[ParallelResult, ...]:
        """What `run` says of every input of a batch; where `run` raises, the result has the error as `refused`.

        No input hinders another: every result is the one that its input has alone.
        """
        refusals = [self._refusal(words) for words in inputs]
        legal = [words for words, refusal in zip(inputs, refusals, strict=True) if refusal is None]
        self.entry.raised.clear()
        stream = self.stream(legal)
        with torch.no_grad():
            for model in self.models if legal else ():
                stream = model.layers(stream)
        results = iter([self._result(number, rows) for number, rows in enumerate(stream.numpy())])
        return tuple(next(results) if refusal is None else refusal for refusal in refusals)

    def run(self, words: Sequence[Word]) -> ParallelResult:
        """The protocol's output on one input, computed by the transformer; or a reason, never a wrong number.

        Raises:
            ValueError: the input is not one of the protocol's, or, with no failed delivery before it, a local computation broke a
                limit (`RoundLimitError`), raised anything, or sends what a mean cannot carry.
        """
        (result,) = self.run_many([words])
        if result.refused is not None:
            raise result.refused
        return result

    def _refusal(self, words: Sequence[Word]) -> ParallelResult | None:
        """What becomes of an input that is none."""
        try:
            self._rows(words)
        except Exception as error:  # a protocol's own check may raise anything
            return _refused(as_value_error("words", error))
        return None

    def _result(self, number: int, rows: Float[np.ndarray, "positions embed_dim"]) -> ParallelResult:
        flagged = [row for row in rows if row[FLAG]]
        if flagged:
            # The earliest failure is the cause; what others made of its consequences is not.
            first = min(flagged, key=lambda row: (row[FAILED_ROUND], row[FLAG]))
            machine, round = int(first[NUMBER]) - 1, int(first[FAILED_ROUND])
            if first[FLAG] == LOST:
                why = _lost(int(first[RECOVERED]), int(first[EXPECTED]))
                return ParallelResult(None, f"round {round}: machine {machine} {why}")
            error = self.entry.raised[number, machine, round]
            if isinstance(error, ValueError):
                return _refused(error)
            return ParallelResult(None, f"round {round}: machine {machine} found no key: {error}")
        memories = [tuple(as_word(float(word)) for word in row[HEADER : HEADER + int(row[KEPT])]) for row in rows[1:]]
        try:
            return ParallelResult(gather_output(self.protocol, memories, self.model))
        except ValueError as error:
            return _refused(error)


def _refused(error: ValueError) -> ParallelResult:
    return ParallelResult(None, str(error), error)


def build(
    protocol: Protocol,
    *,
    routing: Routing = "hashed",
    model: ParallelModel | None = None,
    slots: int | None = None,
    key_dim: int | None = None,
    seed: int = 0,
) -> ParallelConstruction:
    """The transformer that runs a protocol, one attention layer per round.

    Args:
        protocol: what the machines do; R >= 1 rounds.
        routing: keys of the push rounds, "hashed" or "polynomial" as in `routing_head`; "pull" promises that there are none.
        model: limits of local computations; `protocol.model()` unless given. Any number of readers is legal here.
        slots: as in `routing_head`; the default leaves R rounds of one routing pattern a chance of 1e-3 to fail.
        key_dim: as in `routing_head`.
        seed: of the random vectors and the hashing matrix.

    Returns:
        The construction. It takes the input as it lies on the machines, s words to a token; the theorem's two further layers,
        which gather one word per token and scatter the output, are left out, so it has R layers and not R + 1.

    Raises:
        ValueError: an unknown routing, push rounds with "pull", no rounds at all, or sizes that `routing_head` refuses.

    Source: Sanford, Hsu and Telgarsky 2024, Theorem 3.1 and Lemma 3.2; look-ups for pull rounds are derived here.
    """
    if routing not in get_args(Routing):
        raise ValueError(f"routing = {routing!r}: legal are 'hashed', 'polynomial' and 'pull'")
    rounds, pulls = protocol.num_rounds, protocol.pull_rounds
    if rounds < 1:
        raise ValueError(f"num_rounds = {rounds}: at least one round is legal, since a transformer has a layer")
    pushes = [round for round in range(1, rounds + 1) if round not in pulls]
    if routing == "pull" and pushes:
        raise ValueError(f"routing = 'pull': legal without push rounds, and {protocol} has rounds {pushes}")
    model = protocol.model() if model is None else model
    head = None
    if pushes and routing != "pull":
        n, most = protocol.num_machines, protocol.max_messages
        if slots is None:
            slots = hashing_slots_for(max(2, n), most, FAILURE / len(pushes))
        head = routing_head(n, most, protocol.message_words, keys=routing, slots=slots, key_dim=key_dim, seed=seed)
    layout = Layout(
        memory=model.words_per_machine,
        reads=protocol.max_messages if pulls else 0,
        key_width=(0 if head is None else head.keys.width, 2),
        value_width=(0 if head is None else head.hashing.width, 1 + protocol.shown_words),
    )
    raised: dict[tuple[int, int, int], KeyFailure | ValueError] = {}
    maps = [LocalMap(protocol, model, head, layout, round, raised) for round in range(1, rounds + 2)]
    models, start = [], 1
    while start <= rounds:
        stop = start
        while stop <= rounds and (stop in pulls) == (start in pulls):
            stop += 1
        models.append(_layers(layout, head, start in pulls, maps[start:stop]))
        start = stop
    return ParallelConstruction(protocol, model, routing, seed, head, layout, maps[0], tuple(models))


def _layers(layout: Layout, head: RoutingHead | None, pull: bool, maps: list[LocalMap]) -> Transformer:
    """Layers of one kind: heads that only say which block of the stream is query, key, value, and where what comes in goes."""
    keys, values = layout.key_width[pull], layout.value_width[pull]
    scale = PULL_SCALE if pull or head is None else scale_of(head.keys)
    heads, width = layout.heads(pull), max(keys, values)
    built = Transformer(1, 1, layout.width, heads, width, len(maps), score_scale=scale, causal=False, maps=maps)
    queries, key, value, came = layout.blocks(pull)
    with torch.no_grad():
        for each, block in enumerate(queries):
            built.query[:, each, block, :keys] = torch.eye(keys, dtype=built.query.dtype)
            built.key[:, each, key, :keys] = torch.eye(keys, dtype=built.key.dtype)
            built.value[:, each, value, :values] = torch.eye(values, dtype=built.value.dtype)
            built.output[:, each, :values, came[each]] = torch.eye(values, dtype=built.output.dtype)
    return built
