"""Protocols run by attention: equal to their execution by machines and to direct computations, or a reason."""

import re
from contextlib import suppress
from itertools import accumulate, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions._mpc_keys import KeyFailure, RandomKeys
from constructions.mpc import ParallelConstruction, build
from constructions.transformer import Transformer
from theory.parallel import Messages, Outbox, ParallelModel, Protocol, Pull, RoundLimitError, Words, execute
from theory.protocols import BitonicSort, CycleLabels, ListRanking, OneOrTwoCycles, OneWordEach, PrefixSums

KEYS = ("hashed", "polynomial")


def cycles(rng: np.random.Generator, lengths: list[int]) -> list[int]:
    names = rng.permutation(sum(lengths)).tolist()
    edges, start = [], 0
    for length in lengths:
        cycle = names[start : start + length]
        start += length
        edges += [tuple(rng.permutation([cycle[i], cycle[i - 1]]).tolist()) for i in range(length)]
    rng.shuffle(edges)
    return [vertex for edge in edges for vertex in edge]


@pytest.mark.parametrize("routing", KEYS)
@pytest.mark.parametrize("size", [2, 3, 8, 13])
def test_prefix_sums_and_sort_at_every_size(size: int, routing: str) -> None:
    rng = np.random.default_rng(size)
    batch = rng.integers(-(2**40), 2**40, (2, size)).tolist()
    sums, sort = build(PrefixSums(size), routing=routing), build(BitonicSort(size), routing=routing)
    for words, summed, ordered in zip(batch, sums.run_many(batch), sort.run_many(batch), strict=True):
        assert (summed.output, summed.reason) == (tuple(accumulate(words)), "")
        assert (ordered.output, ordered.reason) == (tuple(sorted(words)), "")
    levels = (size - 1).bit_length()
    assert (sums.num_layers, sort.num_layers) == (levels, levels * (levels + 1) // 2)  # one layer per round
    assert sums.num_heads == sort.num_heads == 1


@settings(deadline=None, max_examples=8)
@given(st.integers(2, 10), st.integers(0, 2**32), st.sampled_from(KEYS))
def test_attention_equals_machines_equals_direct(size: int, seed: int, routing: str) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(-5, 5, size).tolist()  # many ties
    for protocol, direct in ((PrefixSums(size), np.cumsum(words)), (BitonicSort(size), np.sort(words))):
        run = build(protocol, routing=routing, seed=seed % 1000).run(words)
        assert run.output == execute(protocol, words).output == tuple(direct.tolist()), run.reason


@pytest.mark.parametrize("size", [2, 5, 16, 40])
def test_list_ranking_by_look_ups(size: int) -> None:
    order = np.random.default_rng(size).permutation(size).tolist()
    links = [-1] * size
    for here, there in pairwise(order):
        links[here] = there
    construction = build(ListRanking(size), routing="pull")
    assert construction.run(links).output == tuple(size - 1 - order.index(node) for node in range(size))
    assert (construction.num_layers, construction.slots) == ((size - 1).bit_length(), 0)


def test_any_number_of_readers_is_one_layer() -> None:
    """The star that messages cannot serve in one round."""
    star = [-1] + [0] * 30
    with pytest.raises(RoundLimitError):
        execute(ListRanking(31), star)
    assert build(ListRanking(31), routing="pull").run(star).output == (0,) + (1,) * 30


@pytest.mark.parametrize("lengths", [[6], [3, 3], [5, 4, 3], [8, 8]])
def test_cycles_by_attention(lengths: list[int]) -> None:
    size = sum(lengths)
    edges = cycles(np.random.default_rng(size), lengths)
    construction = build(CycleLabels(size), routing="polynomial", seed=1)
    assert construction.run(edges).output == execute(CycleLabels(size), edges).output
    assert construction.num_heads == 2 and construction.num_layers == CycleLabels(size).num_rounds
    if lengths in ([6], [3, 3], [8, 8]):
        assert build(OneOrTwoCycles(size), seed=1).run(edges).output == (len(lengths),)


def test_one_word_per_token_as_in_the_theorem() -> None:
    edges = cycles(np.random.default_rng(5), [4, 4])
    protocol = OneWordEach(OneOrTwoCycles(8))
    construction = build(protocol, routing="polynomial")
    assert construction.run(edges).output == (2,)
    assert construction.num_layers == OneOrTwoCycles(8).num_rounds + 2


@pytest.mark.parametrize("protocol", [BitonicSort(8), ListRanking(8), CycleLabels(8)])
def test_no_map_and_no_layer_knows_where_a_position_stands(protocol: Protocol) -> None:
    """Permuted positions give permuted streams: a map sees one row, and rows say themselves which machine they are."""
    rng = np.random.default_rng(0)
    words = {CycleLabels: cycles(rng, [5, 3]), ListRanking: [3, 0, 1, -1, 6, 4, 7, -1], BitonicSort: [5, 3, 8, 1, 9, 2, 2, 0]}
    construction = build(protocol)
    stream = construction.stream([words[type(protocol)]])
    order = torch.from_numpy(rng.permutation(stream.shape[1]))
    for model in construction.models:
        for each in model.maps:
            assert each is not None and torch.equal(each(stream)[:, order], each(stream[:, order]))
        plain, permuted = model.layers(stream), model.layers(stream[:, order])
        assert torch.equal(plain[:, order], permuted)
        stream = plain


def test_a_row_is_mapped_alike_in_any_company() -> None:
    construction = build(BitonicSort(8))
    stream = construction.stream([[5, 3, 8, 1, 9, 2, 2, 0]])
    last = construction.models[0].maps[0]
    assert last is not None
    whole, other = last(stream), stream.clone()
    other[:, 1:4] = 7.0  # company that makes no sense
    assert torch.equal(last(other)[:, 4:], whole[:, 4:]) and torch.equal(last(other)[:, 0], whole[:, 0])


def test_layers_are_transformers_whose_weights_only_select() -> None:
    construction = build(CycleLabels(6))
    for model in construction.models:
        assert isinstance(model, Transformer) and not model.causal and model.mlp_width == 0
        for name in ("query", "key", "value", "output"):
            weights = getattr(model, name)
            assert set(weights.unique().tolist()) == {0.0, 1.0}
            assert int((weights.sum(2) > 1).sum()) == 0 and int((weights.sum(3) > 1).sum()) == 0


def test_too_few_slots_give_a_reason_and_never_a_number() -> None:
    outcomes = set()
    for seed in range(14):
        words = np.random.default_rng(seed).integers(0, 99, 10).tolist()
        result = build(PrefixSums(10), slots=6, seed=seed).run(words)
        outcomes.add(result.output is None)
        if result.output is None:
            assert "round" in result.reason and "machine" in result.reason and "recovered 0 of" in result.reason
        else:
            assert result.output == tuple(accumulate(words))
    assert outcomes == {True, False}


def test_keys_that_do_not_exist_give_a_reason() -> None:
    result = build(PrefixSums(32), key_dim=8).run(range(32))
    assert result.output is None and "round 1: machine" in result.reason and "largest product outside" in result.reason


class Crowd(Protocol):
    """Everybody writes to machine 0, one word each, and declares that it does not."""

    num_rounds, num_machines, num_words, num_outputs = 1, 5, 5, 5

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        return memory, (((0, memory),) if round == 1 else ())


def test_limits_hold_by_attention_too() -> None:
    with pytest.raises(RoundLimitError, match="machine 0 receives 5 words in round 1: at most 1"):
        execute(Crowd(), range(5))
    with pytest.raises(RoundLimitError, match="machine 0 receives 5 words in round 1: at most 1"):
        build(Crowd(), slots=200).run(range(5))
    narrow = ParallelModel(8, words_per_machine=1, num_machines=8)
    growing = PrefixSums(8, lambda left, right: left + right)
    growing.message_words = 8
    with pytest.raises(RoundLimitError, match=r"machine \d stores 2 words in round 2: at most 1"):
        build(growing, model=narrow, slots=60).run(range(8))


class Moody(Protocol):
    """Machine 0 does what its input word says; 9 is refused at the door."""

    num_rounds, num_machines, num_words, num_outputs, max_messages = 2, 3, 3, 3, 2

    def check_input(self, words: Words) -> None:
        if words[0] == 9:
            raise KeyError("no nines")

    def model(self) -> ParallelModel:
        return ParallelModel(3, words_per_machine=4, num_machines=3, input_share=1, unlimited_readers=True)

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        if machine or round != 1:
            return memory[:1], ()
        match memory[0]:
            case 1:
                return memory, ((1, (5,)), (2, (6,)))
            case 2:
                return memory, ((1, (2**51,)),)
            case 3:
                return memory * 5, ()
            case 4:
                raise LookupError("lost\nthe thread")
            case 5:  # refused for what it keeps, and so it sends nothing, for which there is no key either
                return (float("inf"),), ((1, (5,)), (2, (6,)))
        return memory, ()


MOODS = {
    0: None,
    1: "^round 1: machine 0 found no key: ",
    2: "^machine 0 sends 2251799813685248",
    3: "^machine 0 stores 5 words in round 1: at most 4 are legal$",
    4: "^machine 0 in round 1: LookupError: lost the thread$",
    5: r"^machine 0 keeps \(inf,\) in round 1",
    9: "^words: KeyError: 'no nines'$",
}


def moody() -> ParallelConstruction:
    """One in which two destinations have no key, and each alone has one."""
    for seed in range(200):
        keys = RandomKeys(3, 2, 3, seed)
        with suppress(KeyFailure):
            keys.key((1,))
            try:
                keys.key((1, 2))
            except KeyFailure:
                return build(Moody(), key_dim=3, seed=seed, slots=40)
    raise AssertionError("no seed")


@pytest.mark.parametrize("moods", [(1, 2), (2, 1), (0, 1, 2, 3, 4, 5, 9), (9, 5, 4, 3, 2, 1, 0), (3, 0, 3), (9,), ()])
def test_a_batch_gives_what_each_input_gives_alone(moods: tuple[int, ...]) -> None:
    construction = moody()
    results = construction.run_many([[mood, 7, 8] for mood in moods])
    assert len(results) == len(moods)
    for mood, result in zip(moods, results, strict=True):
        wanted = MOODS[mood]
        if wanted is None:
            assert result.output == (0, 7, 8) and result.reason == "" and result.refused is None
            continue
        assert result.output is None and re.search(wanted, result.reason)
        try:
            assert construction.run([mood, 7, 8]) == result and result.refused is None and mood == 1
        except ValueError as error:  # nothing else leaves it
            assert mood != 1 and type(error) is type(result.refused) and str(error) == str(result.refused) == result.reason


def test_the_cause_of_a_refusal_is_kept() -> None:
    with pytest.raises(ValueError, match="lost the thread") as raised:
        moody().run([4, 7, 8])
    assert isinstance(raised.value.__cause__, LookupError)


class Word(Protocol):
    """Machine 0 sends or shows one word to machine 1."""

    num_rounds, num_machines, num_words, num_outputs = 1, 2, 2, 2

    def __init__(self, word: float, pull: bool) -> None:
        self.word, self.pull_rounds = word, frozenset({1} if pull else ())

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        if round == 2:
            return (received[0][1] if received else memory), ()
        if self.pull_rounds:
            return memory, Pull((self.word,), (0,) if machine == 1 else ())
        return memory, (((1, (self.word,)),) if machine == 0 else ())


@pytest.mark.parametrize("word", [0.1, -1e300, 5e-324, 2**52 + 1, -7])
def test_look_ups_carry_any_finite_word_bit_for_bit(word: float) -> None:
    assert build(Word(word, True), routing="pull").run([1, 2]).output == (1, word)


@pytest.mark.parametrize("word", [2**50 - 1, -(2**50) + 1, 0, 3.0])
def test_messages_carry_integers_exactly(word: float) -> None:
    assert build(Word(word, False)).run([1, 2]).output == (1, word)


@pytest.mark.parametrize(("word", "pull"), [(0.5, False), (2**50, False), (float("inf"), True), (float("inf"), False)])
def test_words_that_would_not_arrive_are_refused(word: float, pull: bool) -> None:
    with pytest.raises(ValueError, match=r"machine 0 (sends|shows)"):
        build(Word(word, pull)).run([1, 2])


def test_words_that_are_not_finite_are_refused_at_the_door() -> None:
    with pytest.raises(ValueError, match="finite words are legal"):
        build(BitonicSort(2)).run([1, float("inf")])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: build(PrefixSums(1)), "num_rounds = 0"),
        (lambda: build(PrefixSums(4), routing="pull"), r"rounds \[1, 2\]"),
        (lambda: build(PrefixSums(4), slots=0), "slots = 0"),
        (lambda: build(PrefixSums(4), routing="polynomial", key_dim=3), "key_dim = 3"),
        (lambda: build(PrefixSums(4)).run([1, 2, 3]), "words has 3 words"),
        (lambda: build(ListRanking(3)).run([0, 1, 5]), r"words\[2\] = 5"),
    ],
)
def test_what_cannot_be_built_or_run_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()  # type: ignore[operator]


@pytest.mark.bad_input
def test_an_unknown_routing_is_refused() -> None:
    with pytest.raises(ValueError, match="routing = 'carrier pigeon'"):
        build(PrefixSums(4), routing="carrier pigeon")  # type: ignore[arg-type]


def test_the_same_seed_is_the_same_construction() -> None:
    first, second, other = (build(PrefixSums(9), seed=seed).stream([range(9)]) for seed in (3, 3, 4))
    assert torch.equal(first, second) and not torch.equal(first, other)
