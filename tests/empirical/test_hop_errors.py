"""Errors of models that answer hop_k: what is counted, with which interval, and in which mode."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, Int
from scipy.stats import beta
from torch import Tensor

from constructions import hops as hop_constructions
from empirical.decoder import Decoder
from empirical.hop_errors import (
    HOP_COLUMNS,
    chance_table,
    drawn_strings,
    hop_table,
    measure_hops,
    typed,
)
from empirical.hop_interval import bounded_mean
from theory.hops import HopTask, chance_error, find_by_definition

TASK = HopTask(4, 12, 0, 3)


class Answers:
    """A model that answers what it is told to, and remembers how much it was asked at once."""

    def __init__(self, task: HopTask, spoil: Callable[[np.ndarray], np.ndarray] = lambda answers: answers) -> None:
        self.task, self.spoil, self.sizes = task, spoil, list[int]()

    def logits_at_every_position(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
        self.sizes.append(len(tokens))
        read = tokens.numpy()
        symbols = read[:, 1:] - self.task.symbol_tokens
        hops = read[:, 0] + self.task.min_hops
        answers = np.stack([self.task.targets(one[None], int(k))[0] for one, k in zip(symbols, hops, strict=True)])
        return torch.nn.functional.one_hot(torch.as_tensor(self.spoil(answers)), self.task.num_tokens + 3).double()


def by_hand(strings: np.ndarray, hops: int, predicted: np.ndarray) -> tuple[float, float]:
    """Error and missing-token error of predicted symbols (-1: missing), position by position."""
    defined_errors, missing_errors = [], []
    for string, row in zip(strings, predicted, strict=True):
        at = find_by_definition(string, hops)
        wrong = [row[i] != string[at[i] - 1] for i in range(len(string)) if at[i]]
        lacking = [row[i] != -1 for i in range(len(string)) if not at[i]]
        if wrong:
            defined_errors.append(np.mean(wrong))
        if lacking:
            missing_errors.append(np.mean(lacking))
    return float(np.mean(defined_errors)), float(np.mean(missing_errors))


def test_a_model_without_faults_has_error_zero_and_no_interval_of_no_width() -> None:
    measured = measure_hops(Answers(TASK), TASK, num_strings=50)
    for k in range(4):
        error = measured.error(k)
        assert (error.value, error.low) == (0.0, 0.0)
        assert error.high == pytest.approx(1 - 0.025 ** (1 / 50), rel=1e-12)
        assert measured.exact_match(k).value == 1.0 and measured.last_error(k).value == 0.0
    assert np.isnan(measured.missing_error(0).value)  # hop_0 is the symbol itself: nothing is missing
    assert measured.missing_error(1).value == 0.0


@pytest.mark.parametrize("k", [1, 2, 3])
def test_errors_are_means_over_strings_of_shares_of_positions(k: int) -> None:
    """Strings have different numbers of defined positions here, so that pooling positions would give other numbers."""
    generator = np.random.default_rng(k)
    strings = generator.integers(0, 4, (40, 12))
    strings[0], strings[1] = np.arange(12) % 4, 2

    def spoil(answers: Int[np.ndarray, "batch positions"]) -> Int[np.ndarray, "batch positions"]:
        noise = np.random.default_rng(7).integers(0, TASK.num_tokens, answers.shape)
        return np.where(np.random.default_rng(8).random(answers.shape) < 0.4, noise, answers)

    measured = measure_hops(Answers(TASK, spoil), TASK, hops=[k], strings=strings)
    predicted = TASK.symbols_of(spoil(TASK.targets(strings, k)))[:, 1:]
    error, missing = by_hand(strings, k, predicted)
    assert measured.error(k).value == pytest.approx(error, rel=1e-12)
    assert measured.missing_error(k).value == pytest.approx(missing, rel=1e-12)
    pooled = measured.wrong.sum() / measured.defined.sum()
    assert abs(pooled - error) > 1e-3


def test_what_is_asked_at_the_hop_token_is_not_counted() -> None:
    def spoil(answers: Int[np.ndarray, "batch positions"]) -> Int[np.ndarray, "batch positions"]:
        answers = answers.copy()
        answers[:, 0] = 0
        return answers

    measured = measure_hops(Answers(TASK, spoil), TASK, num_strings=20)
    assert all(measured.error(k).value == 0 and measured.exact_match(k).value == 1 for k in range(4))


def test_missing_positions_are_counted_apart() -> None:
    def never_missing(answers: Int[np.ndarray, "batch positions"]) -> Int[np.ndarray, "batch positions"]:
        return np.where(answers == TASK.missing_token, TASK.symbol_tokens, answers)

    measured = measure_hops(Answers(TASK, never_missing), TASK, hops=[2], num_strings=20)
    assert measured.error(2).value == 0 and measured.missing_error(2).value == 1 and measured.exact_match(2).value == 0
    assert measured.last_error(2).value == 0  # missing ones have no part in it


def test_the_last_position_by_itself() -> None:
    def last(answers: Int[np.ndarray, "batch positions"]) -> Int[np.ndarray, "batch positions"]:
        answers = answers.copy()
        answers[::2, -1] = TASK.blank_token
        return answers

    strings = np.tile(np.arange(12) % 4, (10, 1))
    measured = measure_hops(Answers(TASK, last), TASK, hops=[1], strings=strings)
    assert measured.last_error(1).value == 0.5
    assert measured.error(1).value == pytest.approx(0.5 / 8)  # the first of each of four symbols has no answer
    assert measured.exact_match(1).value == 0.5


def test_strings_without_an_answer_are_left_out_and_counted() -> None:
    task = HopTask(6, 6, 1, 1)
    strings = np.array([[0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1]])
    measured = measure_hops(Answers(task), task, strings=strings)
    assert measured.left_out(1) == 1
    assert measured.table(kind="built")["num_strings"].tolist() == [1]
    measured = measure_hops(Answers(task), task, strings=strings[:1])
    assert measured.left_out(1) == 1
    row = measured.table(kind="built").iloc[0]
    assert all(np.isnan(row[name]) for name in ("error", "error_low", "error_high", "last_error")) and row["missing_error"] == 0


def test_a_model_that_answers_nan_or_the_same_to_all_is_wrong() -> None:
    class Constant(torch.nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def logits_at_every_position(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
            return torch.full((*tokens.shape, TASK.num_tokens), self.value)

    for value in (float("nan"), 0.0):
        measured = measure_hops(Constant(value), TASK, hops=[1], num_strings=5)
        assert measured.error(1).value == 1 and measured.error(1).high == 1 and measured.missing_error(1).value == 1

    class OneNan(Answers):
        def logits_at_every_position(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
            logits = super().logits_at_every_position(tokens)
            return torch.where(logits > 0.5, torch.nan, logits)  # at the right answer: where argmax looks first

    assert measure_hops(OneNan(TASK), TASK, hops=[1], num_strings=5).error(1).value == 1


class Noisy(torch.nn.Module):
    """Answers rightly in eval mode; in training mode dropout makes answers random. It leaves its mode to others."""

    def __init__(self) -> None:
        super().__init__()
        self.noise, self.still, self.answers = torch.nn.Dropout(0.5), torch.nn.Dropout(0.5), Answers(TASK)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.fails = False

    def logits_at_every_position(self, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch positions vocab"]:
        if self.fails:
            raise RuntimeError("out of luck")
        logits: Tensor = self.still(self.noise(self.answers.logits_at_every_position(tokens).float() * self.weight))
        assert not logits.requires_grad
        return logits


def test_dropout_is_off_and_every_module_has_its_mode_back() -> None:
    model = Noisy()
    model.train()
    model.still.eval()
    first, second = (measure_hops(model, TASK, num_strings=10) for _ in range(2))
    assert all(first.error(k) == second.error(k) and first.error(k).value == 0 for k in range(4))
    assert model.training and model.noise.training and not model.still.training
    assert torch.is_grad_enabled()
    model.fails = True
    with pytest.raises(RuntimeError, match="luck"):
        measure_hops(model, TASK, num_strings=10)
    assert model.training and model.noise.training and not model.still.training


def test_a_decoder_with_dropout_gives_the_same_numbers_twice() -> None:
    torch.manual_seed(0)
    decoder = Decoder(TASK.num_tokens, 13, 16, 2, 2, dropout=0.5)
    decoder.train()
    first, second = (measure_hops(decoder, TASK, num_strings=10).table(kind="trained") for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert decoder.training
    assert first[["num_layers", "num_heads", "embed_dim"]].drop_duplicates().values.tolist() == [[2, 2, 16]]


@pytest.mark.parametrize("recipe", ["A", "B"])
def test_a_built_model_is_right_at_every_k(recipe: Any) -> None:
    built = hop_constructions.build(max_hops=5, vocab_size=3, seq_len=24, recipe=recipe)
    measured = measure_hops(built.model, built.task, num_strings=30, repeats=True)
    assert all(measured.error(k).value == 0 and measured.exact_match(k).value == 1 for k in range(6))
    assert measured.table(kind="built")["num_layers"].tolist() == [built.num_layers] * 6


def test_the_batch_is_read_in_parts_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(answers: Int[np.ndarray, "batch positions"]) -> Int[np.ndarray, "batch positions"]:
        return np.where(answers % 3 == 0, 0, answers)

    whole = Answers(TASK, spoil)
    one = measure_hops(whole, TASK, hops=[2], num_strings=11)
    monkeypatch.setattr("empirical.hop_errors.CHUNK_ELEMENTS", 4 * 13 * 13)
    parts = Answers(TASK, spoil)
    two = measure_hops(parts, TASK, hops=[2], num_strings=11)
    assert whole.sizes == [11] and parts.sizes == [4, 4, 3]
    pd.testing.assert_frame_equal(one.table(kind="built"), two.table(kind="built"))


def test_strings_of_one_k_depend_on_seed_and_k_alone() -> None:
    few = drawn_strings(TASK, 4, seed=3, num_hops=2)
    assert (few == drawn_strings(TASK, 4, seed=3, num_hops=2)).all()
    assert not (few == drawn_strings(TASK, 4, seed=4, num_hops=2)).all()
    assert not (few == drawn_strings(TASK, 4, seed=3, num_hops=1)).all()
    assert (few[:, 1:] != few[:, :-1]).all()
    assert (drawn_strings(TASK, 40, seed=3, num_hops=2, repeats=True)[:, 1:] == 0).any()


def test_the_table_has_its_columns_and_survives_a_file(tmp_path: Any) -> None:
    table = measure_hops(Answers(TASK), TASK, num_strings=9).table(kind="trained", name="x", tier="smoke", seed=4, num_layers=3)
    assert tuple(table.columns) == HOP_COLUMNS
    assert table["num_layers"].tolist() == [3] * 4 and table["train_samples"].isna().all() and (table["recipe"] == "").all()
    assert table["num_hops"].tolist() == [0, 1, 2, 3] and table["num_strings"].tolist() == [9] * 4
    table.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(typed(pd.read_csv(tmp_path / "t.csv")), table)


def test_chance_rows_are_theorys() -> None:
    table = chance_table(TASK, hops=[1, 3], num_strings=200, seed=5)
    assert (table["kind"] == "bound").all() and (table["name"] == "chance").all()
    for row in table.to_dict("records"):
        assert row["error"] == chance_error(4, row["num_hops"], 12, num_strings=200, seed=5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: measure_hops(Answers(TASK), TASK, hops=[4]), "hops = "),
        (lambda: measure_hops(Answers(TASK), TASK, hops=[]), "hops = "),
        (lambda: measure_hops(Answers(TASK), TASK, hops=[1, 1]), "hops = "),
        (lambda: measure_hops(Answers(TASK), TASK, num_strings=0), "num_strings = 0"),
        (lambda: measure_hops(Answers(TASK), TASK, seed=-1), "seed = -1"),
        (lambda: measure_hops(Answers(TASK), TASK, strings=np.zeros((2, 11), dtype=int)), "strings of shape"),
        (lambda: measure_hops(Answers(TASK), TASK, strings=np.full((2, 12), 4)), "strings has symbols"),
        (lambda: measure_hops(Answers(TASK), TASK).error(9), "num_hops = 9"),
        (lambda: measure_hops(Answers(TASK), TASK).table(kind="guessed"), "kind = 'guessed'"),
        (lambda: measure_hops(Answers(TASK), TASK).table(kind="built", error=0), "column 'error'"),
        (lambda: hop_table([{"kind": "built", "hops": 3}]), "columns hops"),
        (lambda: typed(pd.DataFrame({"kind": ["built"]})), "lacks the columns name"),
        (lambda: typed(hop_table([{"kind": "built"}]).astype({"error": object}).assign(error="low")), "column error"),
        (lambda: bounded_mean(np.array([0.5, 1.5])), "values = "),
        (lambda: bounded_mean(np.array([0.5, np.nan])), "values = "),
        (lambda: bounded_mean(np.array([0.5]), 1.0), "level = 1.0"),
    ],
)
def test_wrong_arguments_get_one_plain_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.bad_input
def test_models_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="must have the method logits_at_every_position"):
        measure_hops(object(), TASK)  # type: ignore[arg-type]

    class Short(Answers):
        def logits_at_every_position(self, tokens: Any) -> Any:
            return super().logits_at_every_position(tokens)[:, -1]

    with pytest.raises(ValueError, match="gave the shape"):
        measure_hops(Short(TASK), TASK, num_strings=3)


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_wholly_right_or_wrong_strings_have_clopper_and_pearsons_interval(count: int, level: float) -> None:
    tail = (1 - level) / 2
    for wrong in sorted({0, 1, count // 3, count - 1, count}):
        made = bounded_mean((np.arange(count) < wrong) * 1.0, level)
        low = beta.ppf(tail, wrong, count - wrong + 1) if wrong else 0.0
        high = beta.ppf(1 - tail, wrong + 1, count - wrong) if wrong < count else 1.0
        assert (made.low, made.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("shape", ["few values", "rare", "narrow", "wide"])
def test_ends_are_quantiles_of_weighted_means(shape: str) -> None:
    """Against draws of the weights: the share of draws beyond each end is (1 - level)/2, within five standard errors."""
    generator = np.random.default_rng(11)
    values = {
        "few values": np.round(9.8 * generator.random(120)) / 98, "rare": (generator.random(80) < 0.1) * 0.02,
        "narrow": 0.4 + 1e-3 * generator.random(60), "wide": generator.random(40),
    }[shape]  # fmt: skip
    weights = generator.standard_exponential((20_000, len(values) + 1))
    weights /= weights.sum(axis=1, keepdims=True)
    for level in (0.6, 0.95):
        tail = (1 - level) / 2
        made = bounded_mean(values, level)
        beyond = (weights @ np.append(values, 1) > made.high).mean(), (weights @ np.append(values, 0) < made.low).mean()
        assert beyond == pytest.approx((tail, tail), abs=5 * np.sqrt(tail * (1 - tail) / 20_000))


@given(st.lists(st.sampled_from([0.0, 0.25, 1 / 97, 1e-9, 0.5, 1 - 1e-9, 1.0]), min_size=1, max_size=12))
@settings(max_examples=settings.default.max_examples // 5)  # half a second each
def test_intervals_lie_in_the_unit_interval_hold_the_mean_and_mirror(values: list[float]) -> None:
    numbers = np.array(values)
    made, mirrored = bounded_mean(numbers), bounded_mean(1 - numbers)
    assert 0 <= made.low <= made.value <= made.high <= 1
    assert made.high > 0 and made.low < 1
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - made.high, 1 - made.low), abs=1e-9)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    """Errors that are mostly zero, of which Student's interval often knows nothing: 30 samples of 20 strings."""
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(30):
        values = np.where(generator.random(20) < 0.05, generator.choice([1 / 80, 1.0], 20), 0.0)
        made = bounded_mean(values)
        hits += made.low <= 0.05 * (1 / 80 + 1) / 2 <= made.high
    assert hits / 30 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 30)


@pytest.mark.parametrize(("level", "count"), [(0.05, 72), (0.01, 368), (0.1, 36)])
def test_so_many_strings_are_needed(level: float, count: int) -> None:
    assert bounded_mean(np.zeros(count)).high < level <= bounded_mean(np.zeros(count - 1)).high
