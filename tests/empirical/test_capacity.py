"""The ruler: ties hold nothing, scale does not matter, and every number is what its definition says."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer, memorize
from empirical.capacity import measure
from theory.memorization import effective_parameters, parameter_count
from theory.strategies import association_tasks, attention_shapes
from theory.tasks import AssociationTask


def model_with_logits(logits: np.ndarray) -> AttentionOnlyTransformer:
    """S = 1: the logits after token v are row v, whatever they are."""
    vocab_size = len(logits)
    model = AttentionOnlyTransformer(vocab_size, 1, vocab_size, 0, 1)
    with torch.no_grad():
        model.token_embedding.copy_(torch.eye(vocab_size))
        model.unembedding.copy_(torch.tensor(logits.T))
    return model


def each_token(targets: list[int], vocab_size: int) -> AssociationTask:
    return AssociationTask(np.arange(len(targets))[:, None], np.array(targets), vocab_size)


def test_an_all_zero_model_holds_nothing() -> None:
    task = AssociationTask.complete(4, 2, 0)
    measured = measure(AttentionOnlyTransformer(4, 2, 3, 2, 2), task)
    assert (measured.held, measured.accuracy) == (0, 0.0)
    assert (measured.margin_min, measured.margin_max) == (0.0, 0.0)
    assert measured.bits_per_parameter == 0.0
    assert measured.cross_entropy == pytest.approx(math.log(4), abs=1e-15)
    assert measured.bits_by_cross_entropy == pytest.approx(0.0, abs=1e-15)
    assert math.isnan(measured.best_temperature)
    # phi^-1 of accuracy 0 is below 0: even guessing would do better.
    assert measured.memory == pytest.approx(-16 / 3)


def test_a_tie_is_not_held_and_the_next_float_is() -> None:
    logits = np.zeros((3, 3))
    logits[0] = [1.0, 1.0, 0.0]
    logits[1] = [1.0, np.nextafter(1.0, 2.0), 0.0]
    logits[2] = [0.0, 0.0, 5.0]
    measured = measure(model_with_logits(logits), each_token([0, 1, 2], 3))
    assert measured.held == 2
    assert measured.margin_min == 0.0
    assert measured.margin_median == np.nextafter(1.0, 2.0) - 1.0
    assert measured.margin_max == 5.0


@given(st.integers(2, 6), st.integers(0, 1000))
def test_numbers_follow_their_definitions(vocab_size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(vocab_size, vocab_size)), rng.integers(vocab_size, size=vocab_size)
    task = each_token(targets.tolist(), vocab_size)
    measured = measure(model_with_logits(logits), task, nominal_parameters=7, effective_parameters=5)
    held = sum(logits[v, y] > np.delete(logits[v], y).max() for v, y in enumerate(targets))
    log_p = [logits[v, y] - np.log(np.exp(logits[v]).sum()) for v, y in enumerate(targets)]
    assert measured.held == held
    assert measured.cross_entropy == pytest.approx(-np.mean(log_p), rel=1e-12)
    assert measured.bits_per_parameter == pytest.approx(held * np.log2(vocab_size) / 7)
    assert measured.bits_per_effective_parameter == pytest.approx(held * np.log2(vocab_size) / 5)
    grid = [np.mean([np.log(np.exp(b * (logits[v] - logits[v, y])).sum()) for v, y in enumerate(targets)])
            for b in np.geomspace(1e-3, 30, 400)]
    assert measured.cross_entropy_at_best_temperature <= min(*grid, np.log(vocab_size)) + 1e-9
    assert measured.cross_entropy_at_best_temperature <= measured.cross_entropy + 1e-12
    recovered = 1 / vocab_size + (1 - 1 / vocab_size) * measured.memory / vocab_size
    assert recovered == pytest.approx(measured.accuracy, abs=1e-12)


@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 20))
def test_the_scale_of_the_logits_changes_no_capacity(factor: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(5, 5))
    task = each_token([0, 1, 2, 3, 3], 5)
    one, other = measure(model_with_logits(logits), task), measure(model_with_logits(factor * logits), task)
    assert one.held == other.held
    # The search stops within 1e-6 of the best log temperature; around the minimum that changes the mean by far less.
    assert one.bits_by_cross_entropy == pytest.approx(other.bits_by_cross_entropy, abs=1e-8)


def test_logits_that_are_not_numbers_hold_nothing() -> None:
    model = model_with_logits(np.eye(3))
    with torch.no_grad():
        model.token_embedding[1] = torch.nan
    measured = measure(model, each_token([0, 1, 2], 3))
    assert measured.held == 2
    assert math.isnan(measured.margin_min)
    assert math.isnan(measured.cross_entropy_at_best_temperature)


@given(task=association_tasks(seq_len=2, vocab_size=(2, 6)), shape=attention_shapes(embed_dim=(2, 4), num_heads=(0, 3)))
def test_parameters_are_counted_by_the_formulas(task: AssociationTask, shape: object) -> None:
    sizes = (task.vocab_size, 2, shape.embed_dim, shape.num_heads, shape.head_dim)  # type: ignore[attr-defined]
    measured = measure(AttentionOnlyTransformer(*sizes), task)
    assert measured.nominal_parameters == parameter_count(*sizes)
    assert measured.effective_parameters == effective_parameters(*sizes)


def test_a_built_model_and_its_rounded_copy_go_through_the_same_ruler() -> None:
    task = AssociationTask.complete(10, 2, 0)
    built = memorize(task, embed_dim=2, head_dim=2)
    exact, rounded = measure(built.model, task), measure(built.model.to_dtype(torch.float32), task)
    assert (exact.held, rounded.held) == (100, 100)
    assert exact.accuracy == 1.0
    assert exact.memory == 100.0
    assert exact.margin_min == built.margin
    assert exact.bits_per_parameter == pytest.approx(100 * math.log2(10) / (2 * (2 + 20 + 4 * 2 * 49)))


def test_many_associations_are_measured_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    task = AssociationTask.complete(8, 2, 0)
    model = memorize(task, embed_dim=3, head_dim=3, num_heads=10).model
    whole = measure(model, task)
    monkeypatch.setattr("empirical.capacity.LOGITS_AT_ONCE", 40)
    parts = measure(model, task)
    assert parts.held == whole.held
    assert parts.cross_entropy == pytest.approx(whole.cross_entropy, rel=1e-12)
    assert parts.cross_entropy_at_best_temperature == pytest.approx(whole.cross_entropy_at_best_temperature, rel=1e-6)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (AssociationTask.complete(4, 1, 0), "vocabulary of 4"),
        (AssociationTask.complete(3, 2, 0), "sequences of 2 tokens"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(task: AssociationTask, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure(model_with_logits(np.eye(3)), task)


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="nominal_parameters = 0"):
        measure(model_with_logits(np.eye(3)), each_token([0], 3), nominal_parameters=0)
