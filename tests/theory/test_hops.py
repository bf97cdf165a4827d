"""hop_k is Definition 4.1 on every string; tokens are those of the experiments; depths and counts are the derived ones."""

from itertools import pairwise
from math import ceil, floor, isnan, log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import hops
from theory.hop_strings import all_strings, random_strings
from theory.hops import (
    MISSING,
    NO_SYMBOL,
    PAPER_TASK,
    HopTask,
    chain_lengths,
    chance_error,
    exact_hops,
    find,
    find_by_definition,
    hop,
    hops_left,
    layers_needed,
    layers_stated,
    mean_look_back,
    most_hops,
    num_undefined,
    reach,
)
from theory.strategies import hop_strings

LETTERS = "abcde"


def numbers(text: str) -> np.ndarray:
    return np.array([-1 if letter == "~" else LETTERS.index(letter) for letter in text.split()])


WORKED = numbers("b a e b c a b e b d e a")
FIND = {
    1: [0, 0, 0, 2, 0, 3, 5, 4, 8, 0, 9, 7],
    2: [0, 0, 0, 0, 0, 0, 0, 2, 4, 0, 8, 5],
    3: [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 4, 0],
    4: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0],
    5: [0] * 12,
}
HOP = {
    0: "b a e b c a b e b d e a",
    1: "~ ~ ~ a ~ e c b e ~ b b",
    2: "~ ~ ~ ~ ~ ~ ~ a b ~ e c",
    3: "~ ~ ~ ~ ~ ~ ~ ~ a ~ b ~",
    4: "~ ~ ~ ~ ~ ~ ~ ~ ~ ~ a ~",
    5: "~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~ ~",
}


@pytest.mark.parametrize("num_hops", FIND)
def test_worked_example_positions(num_hops: int) -> None:
    assert find(WORKED, num_hops).tolist() == FIND[num_hops] == find_by_definition(WORKED, num_hops).tolist()


@pytest.mark.parametrize("num_hops", HOP)
def test_worked_example_symbols(num_hops: int) -> None:
    assert hop(WORKED, num_hops).tolist() == numbers(HOP[num_hops]).tolist()


def test_equal_neighbours_are_fixed_points() -> None:
    symbols = numbers("a a b b a")
    assert find(symbols, 1).tolist() == [0, 2, 0, 4, 3]
    assert hop(symbols, 1).tolist() == numbers("~ a ~ b b").tolist()
    assert hop(symbols, 2).tolist() == hop(symbols, 10**40).tolist() == numbers("~ a ~ b ~").tolist()


@pytest.mark.parametrize(("vocab_size", "seq_len"), [(1, 1), (1, 6), (2, 1), (2, 9), (3, 7), (4, 5), (5, 5)])
def test_every_small_string_agrees_with_the_definition(vocab_size: int, seq_len: int) -> None:
    symbols = all_strings(vocab_size, seq_len, repeats=True)
    assert len(np.unique(symbols, axis=0)) == len(symbols) == vocab_size**seq_len
    positions = find_by_definition(symbols, 1)
    padded = np.concatenate([np.zeros((len(symbols), 1), dtype=np.int64), positions], axis=1)
    wanted = np.broadcast_to(np.arange(1, seq_len + 1), symbols.shape)
    for num_hops in range(seq_len + 3):
        assert np.array_equal(find(symbols, num_hops), wanted)
        answers = [[row[p - 1] if p else MISSING for p in at] for row, at in zip(symbols[:50], wanted[:50], strict=True)]
        assert hop(symbols[:50], num_hops).tolist() == answers
        wanted = np.take_along_axis(padded, wanted, axis=1)


@given(symbols=hop_strings(vocab_size=(1, 6), seq_len=(1, 20)), num_hops=st.integers(0, 24))
def test_awkward_strings_agree_with_the_definition(symbols: np.ndarray, num_hops: int) -> None:
    assert np.array_equal(find(symbols, num_hops), find_by_definition(symbols, num_hops))


@given(symbols=hop_strings(seq_len=(1, 30)), first=st.integers(0, 12), second=st.integers(0, 12))
def test_hops_add_up(symbols: np.ndarray, first: int, second: int) -> None:
    after = np.concatenate([[0], find(symbols, second)])
    assert np.array_equal(after[find(symbols, first)], find(symbols, first + second))


@given(symbols=hop_strings(seq_len=(2, 30)), num_hops=st.integers(0, 12), data=st.data())
def test_answers_depend_on_nothing_to_the_right(symbols: np.ndarray, num_hops: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, symbols.size - 1))
    assert np.array_equal(hop(symbols[:cut], num_hops), hop(symbols, num_hops)[:cut])


def test_any_axes_one_k_per_string_and_any_integer_type() -> None:
    generator = np.random.default_rng(0)
    symbols = generator.integers(0, 3, size=(2, 3, 4, 15))
    num_hops = generator.integers(0, 9, size=(2, 3, 4))
    found = find(symbols, num_hops)
    assert np.array_equal(found, find_by_definition(symbols, num_hops))
    assert found.dtype == np.int64
    assert np.array_equal(find(symbols.astype(np.uint8), num_hops.astype(np.uint64)), found)
    assert np.array_equal(find(symbols[0, 1], 3)[2], find(symbols[0, 1, 2], 3))
    assert find(np.zeros((0, 5), dtype=np.int64), 2).shape == hop(np.zeros((0, 5), dtype=np.int64), 2).shape == (0, 5)


@pytest.mark.parametrize("largest", [2**8 - 1, 2**8, 2**16 - 1, 2**16, 2**40])
def test_large_symbols_are_told_apart(largest: int) -> None:
    """A symbol that were cut to 8 or 16 bits would be taken for another one."""
    symbols = np.array([largest, 0, largest % 2**8 + 1, largest % 2**16 - 2**10 * (largest % 2**16 >= 2**10), largest, 0, 7])
    assert np.array_equal(find(symbols, 1), find_by_definition(symbols, 1))


def test_squaring_is_exact_for_long_strings_and_many_hops() -> None:
    symbols = random_strings(2, 3000, 2, repeats=False, generator=np.random.default_rng(1))  # one chain of 2999 positions
    ramp = np.arange(1, 3001)
    for num_hops in (1, 2, 1023, 1024, 2997, 2998):
        wanted = ramp - num_hops
        assert np.array_equal(find(symbols, num_hops), np.broadcast_to(np.where(wanted >= 2, wanted, 0), (2, 3000)))
    assert not find(symbols, 2999).any()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("symbols", "num_hops", "message"),
    [
        ([0, 1], -1, "num_hops = -1: must be an integer >= 0"),
        ([0, 1], 1.0, "num_hops = 1.0: must be an integer >= 0"),
        ([0, 1], True, "num_hops = True: must be an integer >= 0"),
        ([0, 1], None, "num_hops = None: must be an integer >= 0"),
        ([[0, 1]], [1, 2], "num_hops has shape (2,): must be an integer, or one for each string, in an array of shape (1,)"),
        ([[0, 1]], [-2], "num_hops has the entry -2: must be at least 0"),
        ([[0, 1]], [1.5], "num_hops has dtype float64: must be an integer, or one for each string, in an array of shape (1,)"),
        ([0, -1], 1, "symbols has the entry -1: must lie between 0 and 2^63 - 1"),
        (np.array([2**63], dtype=np.uint64), 1, f"symbols has the entry {2**63}: must lie between 0 and 2^63 - 1"),
        ([0.0, 1.0], 1, "symbols has dtype float64: must be integers, strings of equal length along the last axis"),
        ([[0], [1, 2]], 1, "symbols: must be integers, strings of equal length along the last axis"),
        (3, 1, "symbols has shape (): must be (.., N), strings along the last axis, with N >= 1"),
        (np.zeros((2, 0), dtype=int), 1, "symbols has shape (2, 0): must be (.., N), strings along the last axis, with N >= 1"),
    ],
)
def test_what_is_no_string_or_number_of_hops_is_refused(symbols: Any, num_hops: Any, message: str) -> None:
    for function in (find, hop, find_by_definition):
        with pytest.raises(ValueError) as error:
            function(symbols, num_hops)
        assert str(error.value) == message


# Tokens


def test_ids_of_the_papers_task() -> None:
    task = PAPER_TASK
    assert (task.vocab_size, task.seq_len, task.min_hops, task.max_hops) == (4, 98, 0, 16)
    assert [task.hop_token(k) for k in range(17)] == list(range(17))
    assert (task.symbol_tokens, task.missing_token, task.blank_token, task.num_tokens) == (17, 21, 22, 23)


def test_tokens_and_targets_of_the_worked_example() -> None:
    task = HopTask(5, 12, 1, 3)
    assert task.num_tokens == 10
    assert task.tokens(WORKED, 2).tolist() == [1, 4, 3, 7, 4, 5, 3, 4, 7, 4, 6, 7, 3]
    assert task.targets(WORKED, 2).tolist() == [9, 8, 8, 8, 8, 8, 8, 8, 3, 4, 8, 7, 5]
    both = np.stack([WORKED, WORKED])
    for call in (task.tokens, task.targets):
        assert call(both, np.array([3, 1])).tolist() == [call(WORKED, 3).tolist(), call(WORKED, 1).tolist()]
        assert call(both, 1).tolist() == [call(WORKED, 1).tolist()] * 2
        assert call(both, 1).dtype == np.int64


@given(
    symbols=hop_strings(vocab_size=(1, 5)), low=st.integers(0, 5), more=st.integers(0, 5), spare=st.integers(0, 2),
    data=st.data(),
)
def test_tokens_are_read_back(symbols: np.ndarray, low: int, more: int, spare: int, data: st.DataObject) -> None:
    task = HopTask(int(symbols.max()) + 1 + spare, symbols.size, low, low + more)
    num_hops = data.draw(st.integers(low, low + more))
    read, wanted = task.tokens(symbols, num_hops), task.targets(symbols, num_hops)
    assert set(read.tolist()) | set(wanted.tolist()) <= set(range(task.num_tokens))
    assert task.symbols_of(read).tolist() == [NO_SYMBOL, *symbols.tolist()]
    assert task.symbols_of(wanted).tolist() == [NO_SYMBOL, *hop(symbols, num_hops).tolist()]
    assert read[0] == task.hop_token(num_hops) == num_hops - low
    assert wanted[0] == task.blank_token


def test_any_other_id_is_no_symbol() -> None:
    ids = np.array([[-1, 16, 17, 20], [21, 22, 23, 127]])
    assert PAPER_TASK.symbols_of(ids).tolist() == [[-2, -2, 0, 3], [-1, -2, -2, -2]]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 5, 0, 1), "vocab_size = 0: must be an integer >= 1"),
        ((2, 0, 0, 1), "seq_len = 0: must be an integer >= 1"),
        ((2, 5, -1, 1), "min_hops = -1: must be an integer >= 0"),
        ((2, 5, 3, 2), "max_hops = 2: must be at least min_hops = 3"),
        ((2, 5, 0, 1.5), "max_hops = 1.5: must be an integer >= 0"),
    ],
)
def test_a_task_checks_its_sizes(sizes: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        HopTask(*sizes)
    assert str(error.value) == message


@pytest.mark.bad_input
@pytest.mark.parametrize("call", ["tokens", "targets"])
@pytest.mark.parametrize(
    ("symbols", "num_hops", "message"),
    [
        ([[0, 1, 2]], 1, "num_hops = 1: must be an integer >= 2"),
        ([[0, 1, 2]], 5, "num_hops = 5: must be an integer from 2 to 4"),
        ([[0, 1, 2]], [5], "num_hops has the entry 5: must be an integer from 2 to 4"),
        ([[0, 1, 2]], [1], "num_hops has the entry 1: must be an integer from 2 to 4"),
        ([[0, 1, 3]], 2, "symbols has the entry 3: must lie between 0 and vocab_size - 1 = 2"),
        ([[0, 1]], 2, "symbols has shape (1, 2): must be (.., seq_len) with seq_len = 3"),
    ],
)
def test_a_task_refuses_what_it_has_no_tokens_for(call: str, symbols: Any, num_hops: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        getattr(HopTask(3, 3, 2, 4), call)(symbols, num_hops)
    assert str(error.value) == message


def test_a_hop_token_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="num_hops = 17: must be an integer from 0 to 16"):
        PAPER_TASK.hop_token(17)


# Depths

DEPTHS = {
    "k": (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33),
    "A": (2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8),
    "B": (2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7),
}


def test_depths_of_the_table() -> None:
    assert tuple(layers_needed(k, "A") for k in DEPTHS["k"]) == DEPTHS["A"]
    assert tuple(layers_needed(k, "B") for k in DEPTHS["k"]) == DEPTHS["B"]


def test_depths_are_the_formulas_and_reach_inverts_them() -> None:
    for k in range(1, 300):
        assert layers_needed(k, "A") == layers_needed(k, "C") == ceil(log2(k)) + 2
        assert layers_needed(k, "B") == layers_stated(k) == floor(log2(k)) + 2
    for recipe in ("A", "B", "C"):
        assert layers_needed(0, recipe) == 2
        for depth in range(2, 70):
            assert layers_needed(reach(depth, recipe), recipe) == depth
            assert layers_needed(reach(depth, recipe) + 1, recipe) == depth + 1
    assert [reach(depth, "A") for depth in (2, 3, 4, 5, 6)] == [1, 2, 4, 8, 16]
    assert [reach(depth, "B") for depth in (2, 3, 4, 5, 6)] == [1, 3, 7, 15, 31]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (layers_needed, (-1, "A"), "num_hops = -1: must be an integer >= 0"),
        (layers_needed, (1, "D"), "recipe = 'D': must be one of A, B, C"),
        (layers_needed, (1, ["A"]), "recipe = ['A']: must be one of A, B, C"),
        (reach, (1, "A"), "num_layers = 1: must be an integer >= 2"),
        (reach, (2, "a"), "recipe = 'a': must be one of A, B, C"),
        (layers_stated, (0,), "num_hops = 0: must be an integer >= 1"),
        (num_undefined, (0, 1, 1), "vocab_size = 0: must be an integer >= 1"),
        (num_undefined, (1, -1, 1), "num_hops = -1: must be an integer >= 0"),
        (most_hops, (1, 5), "vocab_size = 1: must be an integer >= 2"),
        (mean_look_back, (4, -1), "num_hops = -1: must be an integer >= 0"),
        (chance_error, (1, 1, 5), "vocab_size = 1: must be at least 2 for strings of 5 symbols without adjacent repeats"),
        (chance_error, (4, -1, 5), "num_hops = -1: must be an integer >= 0"),
        (chance_error, (4, 1, 0), "seq_len = 0: must be an integer >= 1"),
    ],
)
def test_laws_check_their_arguments(call: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call(*arguments)
    assert str(error.value) == message


# Structure

SMALL = [(1, 5), (2, 8), (3, 6), (4, 5), (5, 4)]


@given(symbols=hop_strings(vocab_size=(1, 8), seq_len=(1, 25)))
def test_find_is_injective_and_its_chains_end_at_first_occurrences(symbols: np.ndarray) -> None:
    found = find(symbols, 1)
    defined = found[found > 0]
    assert len(set(defined.tolist())) == defined.size
    ends = {int(np.flatnonzero(symbols == symbol)[0]) for symbol in np.unique(symbols)}
    assert set(np.flatnonzero(found == 0).tolist()) == ends
    left = hops_left(symbols)
    for k in range(1, symbols.size + 1):
        assert np.array_equal(find(symbols, k) > 0, left >= k)
    lengths = chain_lengths(symbols)
    assert lengths.size == len(ends)
    assert lengths[0] == 1
    assert (np.diff(lengths) >= 0).all()
    assert lengths.sum() == symbols.size - (found == np.arange(1, symbols.size + 1)).sum()


@pytest.mark.parametrize(("vocab_size", "seq_len"), SMALL)
def test_how_many_positions_are_undefined_in_every_small_string(vocab_size: int, seq_len: int) -> None:
    strings = all_strings(vocab_size, seq_len, repeats=True)
    used = np.array([len(set(row)) for row in strings.tolist()])
    # Strings alike up to names of symbols have one answer: asked of the first of each kind, and of the last, which has others.
    alike = (strings[:, :, None] == strings[:, None, :]).argmax(axis=2)
    _, first, kind = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    _, behind = np.unique(alike[::-1], axis=0, return_index=True)
    exact = np.array([exact_hops(row) for row in strings[first]])
    assert exact.tolist() == [exact_hops(row) for row in strings[::-1][behind]]
    exact = exact[kind.reshape(-1)]
    assert not (find(strings, 0) == 0).any()
    for k in range(1, seq_len + 2):
        undefined = (find(strings, k) == 0).sum(axis=1)
        assert (undefined <= 1 + k * (used - 1)).all()
        law = undefined == 1 + k * (used - 1)
        assert np.array_equal(law, (k <= exact) | (used == 1))  # an equivalence, with repeats or without
        assert undefined.max() == num_undefined(vocab_size, k, seq_len)
    assert num_undefined(vocab_size, 0, seq_len) == 0


@pytest.mark.parametrize(("vocab_size", "seq_len"), [*SMALL[1:], (2, 1), (3, 2), (5, 3)])
def test_most_hops_is_where_the_first_string_has_nothing_left(vocab_size: int, seq_len: int) -> None:
    strings = all_strings(vocab_size, seq_len, repeats=True)
    limit = most_hops(vocab_size, seq_len)
    assert (find(strings, limit) > 0).any(axis=1).all()
    assert not (find(strings, limit + 1) > 0).any(axis=1).all()
    counting = np.arange(seq_len) % vocab_size
    assert not find(counting, limit + 1).any()


def test_defined_positions_of_the_experiments_strings() -> None:
    """97 - 3 k of 98, in every one of these strings; later, as chains run out, more."""
    strings = random_strings(4, 98, 300, repeats=False, generator=np.random.default_rng(0))
    for k in range(1, 17):
        assert ((find(strings, k) > 0).sum(axis=1) == 97 - 3 * k).all()
        assert num_undefined(4, k, 98) == 1 + 3 * k
    assert most_hops(4, 98) == 32 == ceil(97 / 3) - 1
    assert ((find(strings, 32) > 0).sum(axis=1) > 1).any()


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize(("vocab_size", "num_hops"), [(2, 3), (4, 1), (4, 2), (4, 16), (7, 5)])
def test_mean_look_back_far_from_the_start(vocab_size: int, num_hops: int, repeats: bool) -> None:
    strings = random_strings(vocab_size, 4000, 100, repeats=repeats, generator=np.random.default_rng(2))
    ways = np.arange(2001, 4001) - find(strings, num_hops)[:, 2000:]
    means = ways.mean(axis=1)
    error = means.std(ddof=1) / 10
    assert (find(strings, num_hops)[:, 2000:] > 0).all()
    assert abs(means.mean() - mean_look_back(vocab_size, num_hops)) <= 5 * error + 1e-9
    assert error < 0.02 * mean_look_back(vocab_size, num_hops)


@pytest.mark.parametrize(("vocab_size", "seq_len"), SMALL)
def test_no_small_string_looks_back_further_on_average(vocab_size: int, seq_len: int) -> None:
    strings = all_strings(vocab_size, seq_len, repeats=True)
    for k in range(1, seq_len):
        found = find(strings, k)
        defined = (found > 0).sum(axis=1)
        total = np.where(found > 0, np.arange(1, seq_len + 1) - found, 0).sum(axis=1)
        assert (total <= defined * (seq_len - defined - 1)).all()
        assert (total <= defined * mean_look_back(vocab_size, k)).all()


# Chance


@pytest.mark.parametrize(("num_hops", "error"), [(1, 0.667), (2, 0.496), (4, 0.654), (8, 0.734), (16, 0.7496)])
def test_chance_errors_of_the_experiments(num_hops: int, error: float) -> None:
    assert chance_error(4, num_hops, 98, num_strings=3000) == pytest.approx(error, abs=0.005)


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize(("vocab_size", "seq_len", "num_hops"), [(3, 6, 1), (3, 6, 2), (2, 8, 3), (4, 5, 1), (4, 5, 0)])
def test_chance_error_is_that_of_the_best_rule(vocab_size: int, seq_len: int, num_hops: int, repeats: bool) -> None:
    """Every rule from symbol to symbol is tried on every string."""
    strings = all_strings(vocab_size, seq_len, repeats=repeats)
    answers = hop(strings, num_hops)
    defined = answers >= 0
    some = defined.any(axis=1)
    errors = []
    for rule in np.ndindex(*(vocab_size,) * vocab_size):
        wrong = (np.array(rule)[strings] != answers) & defined
        errors.append((wrong[some].sum(axis=1) / defined[some].sum(axis=1)).mean())
    found = chance_error(vocab_size, num_hops, seq_len, num_strings=len(strings), repeats=repeats)
    assert found == pytest.approx(min(errors), abs=1e-12)
    assert chance_error(vocab_size, num_hops, seq_len, num_strings=len(strings), repeats=repeats, seed=5) == found


def test_chance_error_at_the_edges() -> None:
    assert chance_error(4, 0, 20) == 0
    assert chance_error(1, 3, 20, repeats=True) == 0
    assert isnan(chance_error(4, 40, 10))
    assert isnan(chance_error(3, 1, 1))
    few, many = chance_error(4, 2, 98, num_strings=200, seed=1), chance_error(4, 2, 98, num_strings=200, seed=2)
    assert few != many
    assert few == chance_error(4, 2, 98, num_strings=200, seed=1)


def test_everything_public_is_there() -> None:
    assert [name for name in hops.__all__ if not hasattr(hops, name)] == []
    assert all(a < b for a, b in pairwise(sorted(hops.__all__)))
