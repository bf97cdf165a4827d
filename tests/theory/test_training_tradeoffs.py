"""What Kaplan et al. derive from their laws, to the digits that they print, and by how much the constants disagree with them."""

from math import inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from theory.scaling import PUBLISHED
from theory.training_tradeoffs import (
    KAPLAN_BATCH_TOKENS,
    KAPLAN_NUM_STEPS,
    STEPS,
    WEBTEXT2_TOKENS,
    batch_cost,
    compare_stopping,
    compute_for_loss,
    contradiction,
    critical_batch,
    earliest_stop,
    efficient_excess,
    efficient_exponents,
    kaplan_learning_rate,
    minimum_compute,
    minimum_examples,
    minimum_steps,
    overfitting_floor,
    overfitting_penalty,
    tokens_of_compute,
    wrong_size_compute,
    wrong_size_steps,
)


def test_the_over_fitting_floor() -> None:
    assert overfitting_floor(1.0) == pytest.approx(5519, abs=0.5)  # printed as 5e3
    exponent = log(overfitting_floor(1e9) / overfitting_floor(1e6)) / log(1e3)
    assert round(exponent, 3) == 0.738
    assert round(exponent, 2) == 0.74
    assert f"{overfitting_floor(1e9):.2g}" == "2.4e+10"


@given(st.floats(1e3, 1e12), st.floats(1e-4, 0.5))
def test_floor_and_penalty_are_each_others_inverse(parameters: float, penalty: float) -> None:
    tokens = overfitting_floor(parameters, penalty)
    assert overfitting_penalty(parameters, tokens) == pytest.approx(penalty, rel=1e-10)
    law = PUBLISHED["kaplan2020_joint"].law
    ratio = law(N=parameters, D=tokens) / law(N=parameters, D=inf) - 1
    assert ratio == pytest.approx(penalty, abs=1e-13)
    # A function of N^0.738 / D alone: ten times the data for so much more size is the same penalty.
    bigger = parameters * 10 ** (law.alpha_D / law.alpha_N)
    assert overfitting_penalty(bigger, 10 * tokens) == pytest.approx(penalty, rel=1e-10)


@given(st.floats(1e3, 1e9), st.floats(1, 1e6), st.floats(1e3, 1e9))
def test_time_against_compute(batch: float, steps: float, critical: float) -> None:
    cost = batch_cost(batch, steps, critical)
    assert cost.examples == pytest.approx(batch * cost.steps, rel=1e-12)
    # (r_S - 1)(r_E - 1) = 1, up to what taking off 1 costs in the smaller of the two.
    smaller = min(cost.steps_ratio, cost.examples_ratio) - 1
    assert (cost.steps_ratio - 1) * (cost.examples_ratio - 1) == pytest.approx(1, rel=1e-15 * (8 + 8 / smaller))
    assert minimum_steps(cost.steps, batch, critical) == pytest.approx(steps, rel=1e-12)
    least_examples = minimum_examples(cost.examples, batch, critical)
    assert least_examples / steps == pytest.approx(critical, rel=1e-12)
    assert minimum_compute(6 * cost.examples, batch, critical) == pytest.approx(6 * least_examples, rel=1e-12)


def test_at_the_critical_batch_both_are_doubled() -> None:
    cost = batch_cost(1e6, 500.0, 1e6)
    assert (cost.steps, cost.examples, cost.steps_ratio, cost.examples_ratio) == (1000.0, 1e9, 2.0, 2.0)
    assert minimum_compute(2.0, 1e6, 1e6) == 1.0


def test_the_critical_batch_doubles_with_every_13_per_cent() -> None:
    assert critical_batch(1.0) == 2.1e8
    drop = 1 - 2**-0.21
    assert critical_batch(3.0 * (1 - drop)) / critical_batch(3.0) == pytest.approx(2, rel=1e-12)
    assert int(100 * drop) == 13


def test_no_stopping_before_endless_data_would_be_as_good() -> None:
    steps = earliest_stop(1e8, 1e9)
    joint, law = PUBLISHED["kaplan2020_joint"].law, STEPS
    gap = joint(N=1e8, D=1e9) - joint(N=1e8, D=inf)
    assert (law.S_c / steps) ** law.alpha_S == pytest.approx(gap, rel=1e-12)
    assert earliest_stop(1e8, 1e10) > steps
    assert earliest_stop(np.array([1e8, 1e9]), 1e9)[1] < steps


def test_efficient_training_stops_at_a_tenth_above_convergence() -> None:
    assert round(1 + efficient_excess(), 2) == 1.10
    # By search: least N S for a given loss.
    loss = 3.0
    excess = np.linspace(0.02, 0.3, 28001)
    size = STEPS.N_c * ((1 + excess) / loss) ** (1 / STEPS.alpha_N)
    steps = STEPS.S_c * ((1 + 1 / excess) / loss) ** (1 / STEPS.alpha_S)
    np.testing.assert_allclose(STEPS.loss(size, steps), loss, rtol=1e-12)
    best = excess[np.argmin(size * steps)]
    assert best == pytest.approx(efficient_excess(), abs=2e-5)  # two grid steps


def test_stopping_at_2_per_cent_instead() -> None:
    found = compare_stopping()
    assert round(found.parameters_ratio, 1) == 2.7
    assert round(found.steps_ratio, 2) == 0.13
    assert round(1 / round(found.steps_ratio, 2), 1) == 7.7  # what is printed; without rounding between it is 7.6
    assert round(1 / found.steps_ratio, 1) == 7.6
    assert round(100 * (1 - found.compute_ratio)) == 65
    assert found.compute_ratio == pytest.approx(found.parameters_ratio * found.steps_ratio)


def test_sizes_beside_the_optimum() -> None:
    assert wrong_size_compute(1.0) == 1.0
    assert wrong_size_compute(0.6) == pytest.approx(1.165, abs=5e-4)
    assert wrong_size_compute(2.2) == pytest.approx(1.204, abs=5e-4)
    assert wrong_size_steps(2.2) == pytest.approx(0.547, abs=5e-4)
    assert wrong_size_compute(0.2) == inf
    # From the law itself: the steps to the optimum's loss with another size.
    size, excess = 1e8, efficient_excess()
    loss = (1 + excess) * (STEPS.N_c / size) ** STEPS.alpha_N
    best = brentq(lambda steps: STEPS.loss(size, steps) - loss, 1.0, 1e12)
    for ratio in (0.6, 2.2):
        steps = brentq(lambda steps, ratio=ratio: STEPS.loss(ratio * size, steps) - loss, 1.0, 1e12)
        assert wrong_size_compute(ratio) == pytest.approx(ratio * steps / best, rel=1e-8)
    grid = np.linspace(0.5, 3, 251)
    assert grid[np.argmin(wrong_size_compute(grid))] == pytest.approx(1.0)


def test_compute_offsets_loss() -> None:
    assert round(100 * (1 / compute_for_loss(1.01) - 1)) == 22
    assert compute_for_loss(0.99) * compute_for_loss(1 / 0.99) == pytest.approx(1)


def test_the_harmonic_sum_of_exponents() -> None:
    found = efficient_exponents()
    assert round(found.loss, 4) == 0.0525
    assert found.parameters + found.batch + found.steps == pytest.approx(1, rel=1e-15)
    assert found.tokens == pytest.approx(1 - found.parameters)
    assert round(found.parameters, 2) == 0.68
    other = efficient_exponents(type(STEPS)(6.5e13, 2.1e3, 0.076, 0.76))
    assert round(other.loss, 3) == 0.052  # one of the two printed
    assert round(0.054 / 0.076, 2) == 0.71  # the printed exponent of N goes with the other
    # The optimum by search: N S^... of C_min ~ N B S at B ~ L^(-1/alpha_B) has these exponents.
    losses = np.array([3.0, 2.0])
    excess = efficient_excess()
    size = STEPS.N_c * ((1 + excess) / losses) ** (1 / STEPS.alpha_N)
    steps = STEPS.S_c * ((1 + 1 / excess) / losses) ** (1 / STEPS.alpha_S)
    compute = size * steps * critical_batch(losses)
    slopes = [np.diff(np.log(values))[0] / np.diff(np.log(compute))[0] for values in (1 / losses, size, steps)]
    assert slopes == pytest.approx([found.loss, found.parameters, found.steps], rel=1e-12)


def test_the_laws_contradict_each_other_beyond_1e4_petaflop_days() -> None:
    found = contradiction()
    assert f"{found.compute:.3g}" == "1.12e+04"
    assert f"{found.parameters:.3g}" == "1.17e+12"
    assert round(found.loss, 3) == 1.668
    assert f"{found.tokens:.2g}" == "2.5e+11"
    assert f"{4e10 * found.compute**0.26:.2g}" == "4.5e+11"  # printed: 1e12
    assert PUBLISHED["kaplan2020_efficient_compute"].law(C_min=found.compute) == pytest.approx(found.loss, rel=1e-12)
    assert round(0.74 * 0.73, 2) == 0.54 > 0.27  # data needed against data consumed
    later = 10 * found.compute
    supplied = PUBLISHED["kaplan2020_data"].law(D=2e10 * later**0.27)
    assert PUBLISHED["kaplan2020_efficient_compute"].law(C_min=later) < supplied


def test_kaplans_set_up() -> None:
    assert KAPLAN_BATCH_TOKENS == 2**19
    assert round(KAPLAN_NUM_STEPS * KAPLAN_BATCH_TOKENS / WEBTEXT2_TOKENS, 1) == 5.7
    assert kaplan_learning_rate(1.0) == 0.003239
    assert kaplan_learning_rate(1e8) == pytest.approx(0.003239 - 0.0001395 * 18.420680743952367, rel=1e-12)
    assert kaplan_learning_rate(1.2e10) > 0
    assert tokens_of_compute(1.0, 1.3e9) == pytest.approx(1.1077e10, rel=1e-4)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: overfitting_floor(0.0), "parameters = 0.0: must be a finite number > 0"),
        (lambda: overfitting_floor(1e6, -0.1), "penalty = -0.1: must be a finite number > 0"),
        (lambda: minimum_steps(1.0, 0.0, 1.0), "batch = 0.0: must be"),
        (lambda: minimum_examples(-1.0, 1.0, 1.0), "examples = -1.0: must be"),
        (lambda: critical_batch(np.array([2.0, 0.0])), "L = 0.0: must be"),
        (lambda: kaplan_learning_rate(1.3e10), "parameters = 1.3e+10: must be below 1.21e10"),
        (lambda: wrong_size_compute(-1.0), "size_ratio = -1.0: must be"),
        (lambda: contradiction(tokens=(2e10, 0.05 / 0.095)), "tokens = (20000000000.0, 0.526"),
    ],
)
def test_bad_input_is_refused_in_one_line(work, message: str) -> None:
    with pytest.raises(ValueError) as error:
        work()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
