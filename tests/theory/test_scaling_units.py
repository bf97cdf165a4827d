"""Units: what converts exactly, what asks for a fact by name, what is refused; and the counts of a transformer."""

from itertools import permutations
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.scaling_units import PF_DAY, Amount, PearceSongCounting, Unit, transformer_counts

FACTS = {"tokens_per_byte": 0.25, "counting": PearceSongCounting(), "tokens_per_batch": 2.0**19}


def test_a_petaflop_day() -> None:
    assert PF_DAY == 1e15 * 24 * 3600 == 8.64e19


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "expected"),
    [
        (1.0, "PF-days", "FLOP", 8.64e19),
        (4.32e19, "FLOP", "PF-days", 0.5),
        (log(2), "nats per token", "bits per token", 1.0),
        (2.0, "bits per token", "nats per token", 2 * log(2)),
        (4.0, "bits per token", "bits per byte", 1.0),  # four bytes to a token
        (1.0, "bits per byte", "nats per token", 4 * log(2)),
        (250_000, "steps", "tokens", 250_000 * 2**19),
        (2.0**20, "tokens", "steps", 2.0),
        (1e9, "non-embedding parameters", "total parameters", 1e9 + 47491e3),
    ],
)
def test_conversions(value: float, unit: str, wanted: str, expected: float) -> None:
    found = Amount(value, Unit(unit)).to(wanted, **FACTS)
    assert found.unit == wanted
    assert found.value == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("unit", "wanted"), list(permutations(Unit, 2)))
def test_there_and_back_or_refused_both_ways(unit: Unit, wanted: Unit) -> None:
    groups = [
        {"nats per token", "bits per token", "bits per byte"},
        {"FLOP", "PF-days"},
        {"steps", "tokens"},
        {"total parameters", "non-embedding parameters"},
    ]
    amount = Amount(np.array([3.0, 7e8]), unit)
    if any({unit, wanted} <= group for group in groups):
        back = amount.to(wanted, **FACTS).to(unit, **FACTS)
        assert back.unit == unit
        np.testing.assert_allclose(back.value, amount.value, rtol=1e-9)  # 3 of 47491 N^(1/3): a cubed cancellation-free root
    else:
        with pytest.raises(ValueError, match=f"{unit} cannot be turned into it; legal are {unit}") as refused:
            amount.to(wanted, **FACTS)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("unit", "wanted", "fact"),
    [
        ("bits per byte", "bits per token", "tokens_per_byte"),
        ("nats per token", "bits per byte", "tokens_per_byte"),
        ("steps", "tokens", "tokens_per_batch"),
        ("total parameters", "non-embedding parameters", "counting"),
    ],
)
def test_a_fact_that_is_missing_is_asked_for_by_name(unit: str, wanted: str, fact: str) -> None:
    with pytest.raises(ValueError, match=f"{fact} = None: must be .* to turn {unit} into {wanted}"):
        Amount(1.0, Unit(unit)).to(wanted, **{name: value for name, value in FACTS.items() if name != fact})


def test_amounts_compare_with_their_units() -> None:
    assert Amount(1.0, Unit.FLOP) == Amount(1, Unit("FLOP"))
    assert Amount(1.0, Unit.FLOP) != Amount(1.0, Unit.PF_DAYS)
    assert Amount(np.ones(2), Unit.FLOP) == Amount(np.ones(2), Unit.FLOP) != Amount(np.zeros(2), Unit.FLOP)
    assert Amount(1.0, Unit.FLOP) != 1.0


@given(st.floats(1e-3, 1e15))
def test_pearce_and_songs_rule_both_ways(parameters: float) -> None:
    rule = PearceSongCounting()
    total = rule.total(parameters)
    assert total == pytest.approx(parameters + 47491 * parameters ** (1 / 3), rel=1e-14)
    # Solving the cubic is well conditioned: its root moves by at most 3 times the relative error of the total.
    assert rule.non_embedding(total) == pytest.approx(parameters, rel=1e-13)
    step = 1e-4
    numerical = log(rule.total(parameters * np.exp(step)) / rule.total(parameters * np.exp(-step))) / (2 * step)
    assert rule.elasticity(parameters) == pytest.approx(numerical, abs=1e-7)  # step^2 / 6 and rounding 1e-12
    assert rule.embedding_share(parameters) == pytest.approx(1 - parameters / total, abs=1e-12)


def test_small_models_are_nearly_all_embedding() -> None:
    rule = PearceSongCounting()
    assert rule.embedding_share(768.0) > 0.99
    assert rule.elasticity(1e-3) == pytest.approx(1 / 3, abs=1e-6)
    assert rule.elasticity(1e15) == pytest.approx(1, abs=1e-4)
    assert rule.non_embedding(0.0) == 0.0


@pytest.mark.parametrize(
    ("embed_dim", "num_layers", "parameters"),
    [(8, 1, 768), (1600, 48, 1_474_560_000)],  # Kaplan's range, "768 to 1.5e9"
)
def test_kaplans_smallest_and_largest_model(embed_dim: int, num_layers: int, parameters: int) -> None:
    counts = transformer_counts(embed_dim, num_layers, 50257)
    assert counts.non_embedding_parameters == parameters == 12 * num_layers * embed_dim**2
    assert counts.embedding_parameters == 50257 * embed_dim
    assert counts.total_parameters == parameters + 50257 * embed_dim


@settings(max_examples=25)
@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 2048))
def test_flops_of_a_forward_pass(embed_dim: int, num_layers: int, context: int) -> None:
    counts = transformer_counts(embed_dim, num_layers, 100, context=context)
    parameters = counts.non_embedding_parameters
    assert counts.forward_flops_per_token == 2 * parameters + 2 * num_layers * context * embed_dim
    assert counts.training_flops_per_token == 3 * counts.forward_flops_per_token >= 6 * parameters
    # The attention's share beside 2 N is n_ctx / (12 d_model): little for d_model far above n_ctx / 12.
    assert counts.attention_flops_per_token * 12 * embed_dim == 2 * parameters * context


def test_other_widths_and_embeddings() -> None:
    counts = transformer_counts(10, 2, 7, context=5, attention_dim=4, mlp_width=30, tied=False, learned_positions=True)
    assert counts.non_embedding_parameters == 2 * 10 * 2 * (2 * 4 + 30)
    assert counts.embedding_parameters == 10 * (2 * 7 + 5)
    assert counts.attention_flops_per_token == 2 * 2 * 5 * 4
    own = Amount(counts.total_parameters, Unit.TOTAL_PARAMETERS)
    assert own.to("non-embedding parameters", counting=counts).value == counts.non_embedding_parameters
    with pytest.raises(ValueError, match="total = 5: must be 1710, that of the model counted"):
        Amount(5.0, Unit.TOTAL_PARAMETERS).to("non-embedding parameters", counting=counts)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: Amount(float("nan"), Unit.FLOP), "value = nan: must be a finite number >= 0"),
        (lambda: Amount(-1.0, Unit.FLOP), "value = -1.0: must be a finite number >= 0"),
        (lambda: Amount("7", Unit.FLOP), "value = '7': must be a number or an array of numbers"),
        (lambda: Amount(True, Unit.FLOP), "value = 'True': must be a number"),
        (lambda: Amount([1.0, None], Unit.FLOP), "value = '[1.0, None]': must be a number"),
        (lambda: Amount([[1.0], [1.0, 2.0]], Unit.FLOP), "value = '[[1.0], [1.0, 2.0]]': must be a number"),
        (lambda: Amount(10**400, Unit.FLOP), "value = '1000000000000000000000000000000000000000': must be a number"),
        (lambda: Amount(1j, Unit.FLOP), "value = '1j': must be a number"),
        (lambda: Amount(1.0, "flops"), "unit = 'flops': must be one of total parameters, "),
        (lambda: Amount(1.0, Unit.FLOP).to("days"), "unit = 'days': must be one of"),
        (lambda: Amount(1.0, Unit.BITS_PER_BYTE).to("nats per token", tokens_per_byte=0.0), "tokens_per_byte = 0.0: must be"),
        (lambda: PearceSongCounting(0), "coefficient = 0.0: must be a finite number > 0"),
        (lambda: transformer_counts(0, 1, 1), "embed_dim = 0: must be an integer >= 1"),
        (lambda: transformer_counts(1, 1, 1, mlp_width=-1), "mlp_width = -1: must be an integer >= 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(work, message: str) -> None:
    with pytest.raises(ValueError) as error:
        work()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
