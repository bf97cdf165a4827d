"""Massively parallel computation: machines with little memory that talk in rounds, and an executor that counts every word.

A protocol says what one machine computes in one round from its own memory and what it received; `execute` runs it on all
machines, measures what each of them stores, sends and receives, and refuses the first round in which one of them does more
than the model allows. What the theorems about transformers and such protocols cost is in the functions at the end.

    model = ParallelModel(8, words_per_machine=1, num_machines=8)
    transcript = execute(PrefixSums(8), [3, 1, 4, 1, 5, 9, 2, 6], model)
    transcript.output, transcript.most_sent          # (3, 4, 8, 9, 14, 23, 25, 31), 1

Source: Sanford, Hsu and Telgarsky 2024, Definition 2.3.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from theory._parallel_costs import (
    ConverseLayout,
    Stated,
    connectivity_cost,
    converse_cost,
    converse_layout,
    hashing_slots_bound,
    hashing_slots_for,
    routing_cost,
    simulation_cost,
)
from theory._parallel_model import (
    Messages,
    ParallelModel,
    RoundLimitError,
    Word,
    Words,
    checked_messages,
    checked_targets,
    checked_words,
)

__all__ = [
    "ConverseLayout",
    "Messages",
    "Outbox",
    "ParallelModel",
    "Protocol",
    "Pull",
    "RoundLimitError",
    "RoundReport",
    "Stated",
    "Transcript",
    "Word",
    "Words",
    "checked_messages",
    "checked_words",
    "connectivity_cost",
    "converse_cost",
    "converse_layout",
    "execute",
    "gather_output",
    "hashing_slots_bound",
    "hashing_slots_for",
    "routing_cost",
    "run_local",
    "simulation_cost",
    "split_input",
]


@dataclass(frozen=True)
class Pull:
    """What a machine does in a round in which machines read instead of send.

    `shown` is what others may read off this machine, `sources` the machines it reads, in the order in which the answers come.
    """

    shown: Words = ()
    sources: tuple[int, ...] = ()


Outbox = Messages | Pull


class Protocol(ABC):
    """What machines do, round by round; subclass it and hand it to `execute` or to a construction that runs it by attention.

    A protocol of R rounds is R times (local computation, exchange), and one last local computation that leaves the output.
    Machines 0..num_machines - 1 take part. In a push round machines send messages, in a pull round they read each other.
    """

    num_rounds: int
    """R >= 0, how often machines exchange words."""
    num_machines: int
    """How many machines it needs."""
    num_words: int
    """How many words its input has."""
    num_outputs: int
    """How many words its output has."""
    input_share: int = 1
    """How many words of input, and of output, lie on one machine."""
    message_words: int = 1
    """The most words in one message."""
    shown_words: int = 1
    """The most words shown to readers."""
    max_messages: int = 1
    """The most messages that one machine sends, receives or reads in one round."""
    pull_rounds: frozenset[int] = frozenset()
    """The rounds, 1-based, in which machines read."""

    @abstractmethod
    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """One machine's computation at the start of one round.

        Args:
            machine: which machine it is.
            round: 1..num_rounds, or num_rounds + 1 for the last computation, whose outbox must be empty.
            memory: what it kept.
            received: (source, words) of the round before: ascending by source, or in the order of the sources it read.

        Returns:
            What it keeps, and what it sends: (destination, words) with at most one message per destination, none empty; or,
            in a pull round, a `Pull`.
        """

    def check_input(self, words: Words) -> None:
        """Refuse, with a ValueError, words that are not an input of this protocol; none unless overridden."""
        return None

    def model(self) -> ParallelModel:
        """The least model on which it runs: here one word per machine."""
        return ParallelModel(self.num_words, words_per_machine=1, num_machines=self.num_machines)


@dataclass(frozen=True)
class RoundReport:
    """What the busiest machine did in one round: words stored, sent, received, and how many machines read the same source.

    `most_kept_and_sent` is the most words that one machine stored and sent together, and `most_kept_and_received` stored and
    received together: the loads of the definition's strict form, in which memory is a message to oneself.

    A round of reading is counted as the two exchanges of messages that it would be: readers send one word per request, which
    their sources receive; then sources send the words shown, once per reader, which the readers receive. What a machine sends
    and receives in the round is the larger of the two exchanges. This holds also where `unlimited_readers` sets the limit aside.
    """

    round: int
    pull: bool
    messages: int
    most_stored: int
    most_sent: int
    most_received: int
    most_kept_and_sent: int
    most_kept_and_received: int
    most_readers: int


@dataclass(frozen=True)
class Transcript:
    """The output of a protocol and what it cost. `message_rounds` counts a pull as two rounds: a request and an answer."""

    output: Words
    rounds: tuple[RoundReport, ...] = field(repr=False)

    @property
    def message_rounds(self) -> int:
        """Rounds when every pull is a round of requests and a round of answers."""
        return sum(2 if report.pull else 1 for report in self.rounds)

    @property
    def most_stored(self) -> int:
        """The most words any machine kept in any round."""
        return max((report.most_stored for report in self.rounds), default=0)

    @property
    def most_sent(self) -> int:
        """The most words any machine sent in any round."""
        return max((report.most_sent for report in self.rounds), default=0)

    @property
    def most_received(self) -> int:
        """The most words any machine received in any round."""
        return max((report.most_received for report in self.rounds), default=0)

    @property
    def most_readers(self) -> int:
        """The most machines that read one source in one round; 0 without pull rounds."""
        return max((report.most_readers for report in self.rounds), default=0)


def split_input(protocol: Protocol, words: Sequence[Word], model: ParallelModel) -> list[Words]:
    """The input as it lies on the machines at the start: `input_share` words on each of the first ceil(n / share).

    Raises:
        ValueError: the words are not an input of the protocol, or the model is made for another size.
    """
    plain = checked_words("words", words)
    if len(plain) != protocol.num_words:
        raise ValueError(f"words has {len(plain)} words: the protocol reads {protocol.num_words}")
    if model.num_words != protocol.num_words:
        raise ValueError(f"num_words = {model.num_words} in the model: the protocol reads {protocol.num_words}")
    if model.num_machines < protocol.num_machines:
        raise ValueError(f"num_machines = {model.num_machines}: the protocol needs {protocol.num_machines}")
    share = model.input_share
    if share != protocol.input_share:
        raise ValueError(f"input_share = {share} in the model: the protocol reads {protocol.input_share} words per machine")
    protocol.check_input(plain)
    parts = [plain[start : start + share] for start in range(0, len(plain), share)]
    return parts + [()] * (protocol.num_machines - len(parts))


def gather_output(protocol: Protocol, memories: Sequence[Words], model: ParallelModel) -> Words:
    """What lies on the first ceil(n_out / share) machines at the end, `share` words on each.

    Raises:
        ValueError: one of them holds another number of words, or there are too few machines for the output.
    """
    share, left = model.input_share, protocol.num_outputs
    output: list[Word] = []
    for machine in range(-(-left // share)):
        expected = min(share, left - machine * share)
        held = len(memories[machine]) if machine < len(memories) else 0
        if held != expected:
            raise ValueError(f"machine {machine} holds {held} words at the end: the layout of the output wants {expected}")
        output += memories[machine]
    return tuple(output)


def run_local(
    protocol: Protocol, model: ParallelModel, machine: int, round: int, memory: Words, received: Messages
) -> tuple[Words, Outbox]:
    """One machine's local computation, with every limit checked that the machine alone can break.

    Raises:
        RoundLimitError: it keeps, sends or asks for more than s words.
        ValueError: its outbox is not one: an unknown machine, two messages to one machine, an empty one, the wrong kind.
    """
    kept, outbox = protocol.local(machine, round, memory, received)
    kept = checked_words(f"the memory of machine {machine}", kept)
    limit = model.words_per_machine
    if len(kept) > limit:
        raise RoundLimitError(machine, round, "stores", len(kept), limit)
    where = f"machine {machine} in round {round}"
    if round > protocol.num_rounds:
        if outbox not in ((), Pull()):
            raise ValueError(f"{where}: sends behind the last of {protocol.num_rounds} rounds")
        return kept, ()
    if isinstance(outbox, Pull) != (round in protocol.pull_rounds):
        raise ValueError(f"{where}: pull_rounds = {sorted(protocol.pull_rounds)} says otherwise of its kind of outbox")
    if isinstance(outbox, Pull):
        shown = checked_words(f"what {where} shows", outbox.shown)
        outbox = Pull(shown, checked_targets(where, outbox.sources, protocol.num_machines))
        sent = count = len(outbox.sources)
        largest, most = len(shown), protocol.shown_words
    else:
        outbox = checked_messages(where, outbox, protocol.num_machines)
        sizes = [len(message) for _, message in outbox]
        sent, count, largest, most = sum(sizes), len(sizes), max(sizes, default=0), protocol.message_words
    if sent > limit:
        raise RoundLimitError(machine, round, "sends", sent, limit)
    if count > protocol.max_messages or largest > most:
        declared = f"{protocol.max_messages} of {most}"
        raise ValueError(f"{where}: {count} messages of up to {largest} words, the protocol declares {declared}")
    return kept, outbox


def execute(protocol: Protocol, words: Sequence[Word], model: ParallelModel | None = None) -> Transcript:
    """Run a protocol and count.

    Args:
        protocol: what the machines do.
        words: its input.
        model: the limits; `protocol.model()` unless given.

    Returns:
        The output and a report of every round.

    Raises:
        RoundLimitError: a machine stores, sends or receives more than s words in a round, or is read by so many that their
            requests or its answers are more than s words, unless the model has `unlimited_readers`.
        ValueError: the input does not fit the protocol or the model, or the protocol breaks its own declaration.
    """
    model = protocol.model() if model is None else model
    memories = split_input(protocol, words, model)
    received: list[Messages] = [()] * len(memories)
    reports: list[RoundReport] = []
    for round in range(1, protocol.num_rounds + 2):
        outboxes: list[Outbox] = []
        for machine, memory in enumerate(memories):
            memories[machine], outbox = run_local(protocol, model, machine, round, memory, received[machine])
            outboxes.append(outbox)
        if round <= protocol.num_rounds:
            received, report = _exchange(protocol, model, round, memories, outboxes)
            reports.append(report)
    return Transcript(gather_output(protocol, memories, model), tuple(reports))


def _exchange(
    protocol: Protocol, model: ParallelModel, round: int, memories: list[Words], outboxes: list[Outbox]
) -> tuple[list[Messages], RoundReport]:
    """What everybody receives, and the report of the round."""
    machines, pull = range(len(memories)), round in protocol.pull_rounds
    arrived: list[list[tuple[int, Words]]] = [[] for _ in machines]
    sent, readers = [0 for _ in machines], [0 for _ in machines]
    for machine, outbox in enumerate(outboxes):
        if isinstance(outbox, Pull):
            sent[machine] += len(outbox.sources)
            for source in outbox.sources:
                answer = outboxes[source]
                assert isinstance(answer, Pull)
                arrived[machine].append((source, answer.shown))
                readers[source] += 1
        else:
            sent[machine] += sum(len(message) for _, message in outbox)
            for target, message in outbox:
                arrived[target].append((machine, message))
    got = [sum(len(message) for _, message in messages) for messages in arrived]
    for machine in machines:
        if got[machine] > model.words_per_machine:
            raise RoundLimitError(machine, round, "receives", got[machine], model.words_per_machine)
        outbox = outboxes[machine]
        if isinstance(outbox, Pull):  # requests travel in one exchange of messages, answers in the next
            requests, answers = readers[machine], readers[machine] * len(outbox.shown)
            for action, words in (("is read for", answers), ("receives", requests)):
                if words > model.words_per_machine and not model.unlimited_readers:
                    raise RoundLimitError(machine, round, action, words, model.words_per_machine)
            sent[machine], got[machine] = max(sent[machine], answers), max(got[machine], requests)
        elif len(arrived[machine]) > protocol.max_messages:
            count, most = len(arrived[machine]), protocol.max_messages
            raise ValueError(f"machine {machine} in round {round}: receives {count} messages, the protocol declares {most}")
    kept = [len(memory) for memory in memories]
    report = RoundReport(
        round=round,
        pull=pull,
        messages=sum(map(len, arrived)),
        most_stored=max(kept),
        most_sent=max(sent),
        most_received=max(got),
        most_kept_and_sent=max(a + b for a, b in zip(kept, sent, strict=True)),
        most_kept_and_received=max(a + b for a, b in zip(kept, got, strict=True)),
        most_readers=max(readers),
    )
    return [tuple(messages) for messages in arrived], report
