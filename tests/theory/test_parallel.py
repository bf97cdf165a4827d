"""The executor counts every word and names who broke which limit; the theorems' costs are what the proofs say."""

import math

import pytest

from theory.parallel import (
    Messages,
    Outbox,
    ParallelModel,
    Protocol,
    Pull,
    RoundLimitError,
    Words,
    connectivity_cost,
    converse_cost,
    converse_layout,
    execute,
    hashing_slots_bound,
    hashing_slots_for,
    routing_cost,
    simulation_cost,
)


class Scripted(Protocol):
    """One round on four machines: keeps and sends what it was told to."""

    def __init__(self, outboxes: dict[int, Outbox], kept: dict[int, Words] | None = None, pull: bool = False) -> None:
        self.num_rounds, self.num_machines, self.num_words, self.num_outputs = 1, 4, 4, 4
        self.message_words = self.shown_words = self.max_messages = 9
        self.pull_rounds = frozenset({1} if pull else ())
        self.outboxes, self.kept, self.seen = outboxes, kept or {}, {}

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        if round == 2:
            self.seen[machine] = received
            return (machine,), ()
        return self.kept.get(machine, memory), self.outboxes.get(machine, Pull() if self.pull_rounds else ())


def model(limit: int = 2, *, unlimited_readers: bool = False) -> ParallelModel:
    return ParallelModel(4, words_per_machine=limit, num_machines=4, input_share=1, unlimited_readers=unlimited_readers)


def test_words_sent_received_and_stored_are_counted() -> None:
    protocol = Scripted({0: ((3, (5, 6)), (2, (7,))), 1: ((3, (8,)),), 3: ((3, (9,)),)}, kept={2: (1, 2, 3, 4)})
    transcript = execute(protocol, [0, 1, 2, 3], model(4))
    (report,) = transcript.rounds
    assert (report.most_sent, report.most_received, report.most_stored, report.messages) == (3, 4, 4, 4)
    assert report.most_kept_and_sent == max(1 + 3, 1 + 1, 4 + 0, 1 + 1)
    assert report.most_kept_and_received == max(1, 1, 4 + 1, 1 + 4)
    assert (transcript.most_sent, transcript.most_received, transcript.most_stored) == (3, 4, 4)
    assert protocol.seen[3] == ((0, (5, 6)), (1, (8,)), (3, (9,)))
    assert transcript.output == (0, 1, 2, 3) and transcript.message_rounds == 1


@pytest.mark.parametrize(
    ("outboxes", "kept", "machine", "action", "words"),
    [
        ({1: ((0, (1, 2)), (2, (3,)))}, {}, 1, "sends", 3),
        ({0: ((3, (1,)),), 1: ((3, (1,)),), 2: ((3, (1,)),)}, {}, 3, "receives", 3),
        ({}, {2: (1, 2, 3)}, 2, "stores", 3),
    ],
)
def test_a_broken_limit_names_machine_round_words_and_limit(
    outboxes: dict[int, Outbox], kept: dict[int, Words], machine: int, action: str, words: int
) -> None:
    with pytest.raises(RoundLimitError, match=f"machine {machine} {action} {words} words in round 1: at most 2") as raised:
        execute(Scripted(outboxes, kept), [0, 1, 2, 3], model(2))
    error = raised.value
    assert (error.machine, error.round, error.action, error.words, error.limit) == (machine, 1, action, words, 2)
    execute(Scripted(outboxes, kept), [0, 1, 2, 3], model(3))  # one word more, and the same round is legal


def test_readers_are_reported_and_refused_past_the_limit_unless_they_are_unlimited() -> None:
    reads = {machine: Pull((machine, machine), (1,)) for machine in range(4)}
    with pytest.raises(RoundLimitError, match="machine 1 is read for 8 words"):
        execute(Scripted(reads, pull=True), [0, 1, 2, 3], model(7))
    transcript = execute(Scripted(reads, pull=True), [0, 1, 2, 3], model(8))
    assert transcript.most_readers == 4 and transcript.most_sent == 8 and transcript.message_rounds == 2
    free = Scripted(reads, pull=True)
    assert execute(free, [0, 1, 2, 3], model(2, unlimited_readers=True)).most_readers == 4
    assert free.seen == {machine: ((1, (1, 1)),) for machine in range(4)}


def test_what_is_read_counts_as_received() -> None:
    reads: dict[int, Outbox] = {0: Pull((), (1, 2)), 1: Pull((1, 1), ()), 2: Pull((1, 1), ()), 3: Pull()}
    with pytest.raises(RoundLimitError, match="machine 0 receives 4 words"):
        execute(Scripted(reads, pull=True), [0, 1, 2, 3], model(3))


def test_requests_are_words_that_the_source_receives() -> None:
    """Four machines ask machine 0 and it shows nothing: still four words come in."""
    asks: dict[int, Outbox] = {machine: Pull((), (0,)) for machine in range(4)}
    with pytest.raises(RoundLimitError, match="machine 0 receives 4 words in round 1: at most 3") as raised:
        execute(Scripted(asks, pull=True), [0, 1, 2, 3], model(3))
    assert raised.value.words == 4
    (report,) = execute(Scripted(asks, pull=True), [0, 1, 2, 3], model(4)).rounds
    assert (report.most_sent, report.most_received, report.most_kept_and_received) == (1, 4, 5)


def test_requests_and_answers_are_two_exchanges_and_the_larger_one_is_reported() -> None:
    shows_one: dict[int, Outbox] = {machine: Pull((machine,), (0,)) for machine in range(4)}
    (report,) = execute(Scripted(shows_one, pull=True), [0, 1, 2, 3], model(4)).rounds
    assert (report.most_sent, report.most_received) == (4, 4)  # one word to each of four; one request of each
    reads_two: dict[int, Outbox] = {0: Pull((), (1, 2)), 1: Pull((1, 1, 1)), 2: Pull((2, 2))}
    (report,) = execute(Scripted(reads_two, pull=True), [0, 1, 2, 3], model(5)).rounds
    assert (report.most_sent, report.most_received) == (3, 5)  # requests and answers do not add up


def test_unlimited_readers_are_counted_and_not_refused() -> None:
    asks: dict[int, Outbox] = {machine: Pull((), (0,)) for machine in range(4)}
    (report,) = execute(Scripted(asks, pull=True), [0, 1, 2, 3], model(1, unlimited_readers=True)).rounds
    assert (report.most_received, report.most_sent, report.most_readers) == (4, 1, 4)
    greedy: dict[int, Outbox] = {0: Pull((), (1, 2)), 1: Pull((1,)), 2: Pull((2,))}  # readers themselves stay limited
    with pytest.raises(RoundLimitError, match="machine 0 sends 2 words"):
        execute(Scripted(greedy, pull=True), [0, 1, 2, 3], model(1, unlimited_readers=True))


@pytest.mark.parametrize(
    ("outboxes", "pull", "message"),
    [
        ({0: ((1, (1,)), (1, (2,)))}, False, "at most one message per destination"),
        ({0: ((1, ()),)}, False, "none without words"),
        ({0: ((4, (1,)),)}, False, "names machine 4 of 4"),
        ({0: ((-1, (1,)),)}, False, "names machine -1 of 4"),
        ({0: Pull((), (-1,))}, True, "names machine -1 of 4"),
        ({0: Pull()}, False, "says otherwise of its kind"),
        ({0: ((1, (1,)),)}, True, "says otherwise of its kind"),
        ({0: ((1, (math.nan,)),)}, False, "a word is"),
        ({0: ((1, (2**53,)),)}, False, "fewer than 53 bits"),
        ({0: ((1, (True,)),)}, False, "a word is"),
    ],
)
def test_an_outbox_that_is_none_is_refused(outboxes: dict[int, Outbox], pull: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        execute(Scripted(outboxes, pull=pull), [0, 1, 2, 3], model(5))


def test_a_protocol_is_held_to_what_it_declares() -> None:
    protocol = Scripted({0: ((1, (1, 2)),)})
    protocol.message_words = 1
    with pytest.raises(ValueError, match="the protocol declares 9 of 1"):
        execute(protocol, [0, 1, 2, 3], model(5))
    protocol = Scripted({0: ((1, (1,)),), 2: ((1, (1,)),)})
    protocol.max_messages = 1
    with pytest.raises(ValueError, match="receives 2 messages, the protocol declares 1"):
        execute(protocol, [0, 1, 2, 3], model(5))


class Talkative(Scripted):
    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        return (machine,), ((machine, (1,)),)


def test_nobody_sends_behind_the_last_round() -> None:
    with pytest.raises(ValueError, match="behind the last of 1 rounds"):
        execute(Talkative({}), [0, 1, 2, 3], model(5))


class Layout(Scripted):
    """No rounds: the machines keep what they were given."""

    def __init__(self, words: int, outputs: int, share: int = 2) -> None:
        super().__init__({})
        self.num_rounds, self.num_words, self.num_outputs, self.input_share = 0, words, outputs, share
        self.given: list[Words] = []

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        self.given.append(memory)
        return memory, ()


def test_input_lies_on_the_first_machines_and_output_is_read_there() -> None:
    protocol = Layout(5, 5)
    transcript = execute(protocol, range(10, 15), ParallelModel(5, words_per_machine=2, num_machines=4))
    assert protocol.given == [(10, 11), (12, 13), (14,), ()]
    assert transcript.output == (10, 11, 12, 13, 14) and transcript.rounds == ()
    with pytest.raises(ValueError, match="machine 2 holds 1 words at the end: the layout of the output wants 2"):
        execute(Layout(5, 6), range(5), ParallelModel(5, words_per_machine=2, num_machines=4))


@pytest.mark.parametrize(
    ("words", "limits", "message"),
    [
        ([1, 2, 3], {"num_words": 4, "words_per_machine": 1, "num_machines": 4}, "has 3 words"),
        ([1, 2, 3, 4], {"num_words": 5, "words_per_machine": 2, "num_machines": 4}, "num_words = 5 in the model"),
        ([1, 2, 3, 4], {"num_words": 4, "words_per_machine": 2, "num_machines": 3}, "num_machines = 3: the protocol needs 4"),
        ([1, 2, 3, 4], {"num_words": 4, "words_per_machine": 3, "num_machines": 4}, "input_share = 3 in the model"),
        ([1, 2, 3, 4], {"num_words": 4, "words_per_machine": 1, "num_machines": 4}, "input_share = 1 in the model"),
    ],
)
def test_a_model_for_another_size_is_refused(words: list[int], limits: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        execute(Layout(4, 4), words, ParallelModel(**limits))


@pytest.mark.parametrize(
    ("n", "gamma", "delta", "words", "machines"),
    [(256, 0.25, 0.5, 16, 64), (256, 0.0, 0.5, 16, 16), (1000, 0.0, 1 / 3, 10, 100), (10, 0.1, 0.5, 4, 4), (7, 1.0, 1.0, 7, 7)],
)
def test_sizes_from_exponents(n: int, gamma: float, delta: float, words: int, machines: int) -> None:
    built = ParallelModel(n, gamma, delta)
    assert (built.words_per_machine, built.num_machines, built.input_share) == (words, machines, words)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "not neither"),
        ({"gamma": 0.1, "delta": 0.5, "words_per_machine": 3}, "not both"),
        ({"gamma": 0.1}, "delta = None"),
        ({"gamma": -0.1, "delta": 0.5}, "gamma = -0.1"),
        ({"gamma": 0.1, "delta": 0.0}, "delta = 0.0"),
        ({"gamma": 0.1, "delta": 1.1}, "delta = 1.1"),
        ({"gamma": math.inf, "delta": 0.5}, "gamma = inf"),
        ({"words_per_machine": 3}, "num_machines = 0"),
        ({"words_per_machine": 3, "num_machines": 2}, "num_words = 8: at most 6 fit"),
        ({"words_per_machine": 3, "num_machines": 9, "input_share": 4}, "input_share = 4"),
    ],
)
def test_models_that_are_none_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ParallelModel(8, **arguments)


@pytest.mark.parametrize(("n", "s", "slots"), [(16, 1, 67), (32, 2, 1331), (64, 2, 1598), (32, 3, 6738)])
def test_slots_of_the_proof(n: int, s: int, slots: int) -> None:
    assert hashing_slots_bound(n, s) == slots == routing_cost(n, s, 1)["slots"].value
    assert not routing_cost(n, s, 1)["slots"].up_to_constant


@pytest.mark.parametrize(("n", "s"), [(16, 1), (32, 2), (64, 3)])
def test_slots_for_one_routing_grow_with_what_is_asked(n: int, s: int) -> None:
    loose, strict = hashing_slots_for(n, s, 0.1), hashing_slots_for(n, s, 0.001)
    assert 0 < loose < strict < hashing_slots_bound(n, s)
    b = s * s  # the union bound itself, with the number of slots and with one less
    lost = 1 - (1 / (b + 1)) * (1 - 1 / (b + 1)) ** (b - 1)
    assert n * s * lost**strict <= 0.001 < n * s * lost ** (strict - 1)


@pytest.mark.parametrize(("n", "width", "s"), [(2, 1, 8), (9, 2, 16), (10, 2, 17), (64, 3, 100), (65, 1, 32)])
def test_trees_of_the_converse(n: int, width: int, s: int) -> None:
    layout = converse_layout(n, 1, width, s)
    b, depth = layout.branching, layout.depth
    assert 4 * width * b <= s < 4 * width * (b + 1)
    assert b ** (depth - 1) < n <= b**depth
    assert layout.num_rounds == 2 * depth + 3
    with pytest.raises(ValueError, match=f"words_per_machine = {8 * width - 1}: at least .* = {8 * width} is legal"):
        converse_layout(n, 1, width, 8 * width - 1)


@pytest.mark.parametrize(("n", "s"), [(2, 8), (16, 16), (64, 16), (1000, 12), (1024, 80)])
def test_machines_of_the_converse_are_quadratic_in_the_tokens(n: int, s: int) -> None:
    layout = converse_layout(n, 1, 1, s)
    b, depth = layout.branching, layout.depth
    assert n + 3 * n * n <= layout.num_machines <= n + n * n + 2 * n * (n * b / (b - 1) + depth)


def test_costs_say_what_is_open() -> None:
    cost = simulation_cost(4096, 0.1, 0.2, 7)
    assert (cost["num_layers"].value, cost["num_layers"].up_to_constant) == (8, False)
    assert cost["embed_dim"].value == pytest.approx(4096**0.8 * 12, rel=1e-12) and cost["embed_dim"].up_to_constant
    assert cost["num_heads"].up_to_constant
    back = converse_cost(3, 100, 0.1, 0.35)
    assert back["num_rounds"].value == pytest.approx(12, rel=1e-12) and all(each.up_to_constant for each in back.values())
    assert connectivity_cost(64, 0.5, 16)["num_layers"].value == 4


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: simulation_cost(16, 0.3, 0.2, 1),
        lambda: simulation_cost(16, 0.0, 0.2, 1),
        lambda: simulation_cost(16, 0.1, 0.2, 0),
        lambda: converse_cost(1, 16, 0.5, 0.5),
        lambda: connectivity_cost(16, 1.0, 3),
        lambda: hashing_slots_for(16, 1, 0.0),
    ],
)
def test_costs_outside_the_theorems_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"legal|must be"):
        wrong()  # type: ignore[operator]
