"""Codes against random ones and known optima; Proposition 3, Theorem 2, Definition 2 and Lemma 4 against real encoders."""

from math import cos, inf, log, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from theory.encoders import (
    circle_code,
    coherence,
    definition_2_circle,
    definition_2_range,
    jl_constant,
    largest_deviation,
    lemma_4_gap,
    low_coherence_code,
    proposition_3_bound,
    proposition_3_scale,
    proposition_3_witness,
    theorem_2,
    theorem_2_bound,
)
from theory.strategies import association_tasks, distribution_tasks
from theory.tasks import AssociationTask, DistributionTask

EPS = 2.0**-52


# Codes


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("tokens", "dim"), [(10, 3), (12, 5), (30, 4), (50, 10), (60, 40), (120, 20)])
def test_low_coherence_codes_beat_random_ones(tokens: int, dim: int, absolute: bool) -> None:
    def measure(code: np.ndarray) -> float:
        return largest_deviation(code) if absolute else coherence(code)

    made = measure(low_coherence_code(tokens, dim, 0, absolute=absolute))
    drawn = []
    for seed in range(20):
        code = np.random.default_rng(seed).standard_normal((tokens, dim))
        drawn.append(measure(code / np.linalg.norm(code, axis=1, keepdims=True)))
    assert made < min(drawn)


@given(tokens=st.integers(2, 40), dim=st.integers(2, 12), seed=st.integers(0, 9), absolute=st.booleans())
def test_codes_are_unit_repeatable_and_above_the_known_bounds(tokens: int, dim: int, seed: int, absolute: bool) -> None:
    code = low_coherence_code(tokens, dim, seed, steps=20, absolute=absolute)
    assert code.shape == (tokens, dim)
    assert np.allclose(np.linalg.norm(code, axis=1), 1, rtol=0, atol=1e-12)
    assert np.array_equal(code, low_coherence_code(tokens, dim, seed, steps=20, absolute=absolute))
    if tokens > 1:
        assert coherence(code) >= -1 / (tokens - 1) - 1e-12  # the squared length of the sum is not negative
    if tokens > dim:
        assert largest_deviation(code) >= sqrt((tokens - dim) / (dim * (tokens - 1))) - 1e-12  # Welch


def test_known_optima_are_returned() -> None:
    assert coherence(low_coherence_code(5, 4, 0)) == pytest.approx(-1 / 4)
    assert coherence(low_coherence_code(7, 2, 0)) == pytest.approx(cos(2 * pi / 7))
    assert largest_deviation(low_coherence_code(6, 6, 0, absolute=True)) == 0
    assert largest_deviation(low_coherence_code(7, 6, 0, absolute=True)) == pytest.approx(1 / 6)
    assert largest_deviation(low_coherence_code(7, 2, 0, absolute=True)) == pytest.approx(cos(pi / 7))


def test_largest_deviation_sees_signs_and_lengths() -> None:
    assert largest_deviation(np.array([[1.0, 0.0], [-1.0, 0.0]])) == 1
    assert largest_deviation(np.array([[1.5, 0.0], [0.0, 1.0]])) == 1.25


def test_jl_constant_is_vacuous_below_128_ln() -> None:
    assert jl_constant(867, 866) > 0.5 > jl_constant(868, 867)  # d < N asks for at least 868 tokens
    assert jl_constant(50, 100) == pytest.approx(sqrt(32 * log(51) / 100))


# Proposition 3


@given(task=association_tasks(vocab_size=(2, 12)), scale=st.floats(0, 500))
def test_circle_encoders_stay_within_proposition_3(task: AssociationTask, scale: float) -> None:
    code, encodings = proposition_3_witness(task.targets, task.vocab_size, scale)
    found = DistributionTask.from_associations(task).divergence(encodings @ code.T)
    bound = proposition_3_bound(task.vocab_size, scale)
    rounding = 16 * EPS * (1 + scale)
    assert found <= bound * (1 + rounding) + EPS * task.vocab_size
    if task.vocab_size <= 3:
        assert found == pytest.approx(bound, rel=rounding, abs=4 * EPS)


@given(tokens=st.integers(2, 1000), divergence=st.floats(1e-300, 0.69))
def test_the_scale_reaches_the_divergence(tokens: int, divergence: float) -> None:
    scale = proposition_3_scale(tokens, divergence)
    assert proposition_3_bound(tokens, scale) == pytest.approx(divergence, rel=1e-9)


def test_proposition_3_refuses() -> None:
    with pytest.raises(ValueError, match=r"scale = -1\.0: must be"):
        proposition_3_bound(5, -1.0)
    with pytest.raises(ValueError, match=r"divergence = 0\.0: must be above 0"):
        proposition_3_scale(5, 0.0)
    assert proposition_3_bound(4, 0.0) == pytest.approx(log(4))


# Theorem 2


def code_for(tokens: int, spread: float, seed: int) -> np.ndarray:
    """Nearly orthonormal rows, lengths not 1: a code of any coherence, in as many dimensions as tokens."""
    noise = np.random.default_rng(seed).standard_normal((tokens, tokens))
    return np.eye(tokens) + spread * noise / sqrt(tokens)


@settings(max_examples=150)
@given(task=distribution_tasks(vocab_size=(2, 7)), spread=st.floats(0, 0.35), seed=st.integers(0, 50))
def test_theorem_2_holds_printed_and_repaired(task: DistributionTask, spread: float, seed: int) -> None:
    code = code_for(task.vocab_size, spread, seed)
    if largest_deviation(code) >= 0.5:
        with pytest.raises(ValueError, match=r"code has coherence C = .*: must be below 1/2"):
            theorem_2(task, code)
        return
    found = theorem_2(task, code)
    # Scales and bounds carry a few roundings of logarithms up to 1 + |ln of the entropy|, sums one per token.
    rounding = 64 * EPS * task.vocab_size * 40
    assert found.divergence <= found.sharp * (1 + rounding) + rounding
    assert found.repaired == pytest.approx(found.sharp * (1 + 2 * found.coherence), rel=16 * EPS * len(task.prior))
    assert found.repaired <= found.printed * (1 + 4 * EPS) <= (found.repaired + found.coherence * found.sharp) * (1 + 64 * EPS)
    assert theorem_2_bound(task, code, "printed") == found.printed
    assert theorem_2_bound(task, code) == found.repaired and theorem_2_bound(task, code, "sharp") == found.sharp
    if found.sharp > 1e-6:
        target(found.divergence / found.sharp)


@given(distribution_tasks(full_support=True))
def test_scales_solve_their_equation_and_divergences_are_those_of_the_encoder(task: DistributionTask) -> None:
    code = code_for(task.vocab_size, 0.1, 3)
    if largest_deviation(code) >= 0.5:
        return
    found = theorem_2(task, code)
    logits = found.scales[:, None] * (code @ code[task.modes].T).T
    partition = np.logaddexp.reduce(logits - logits[np.arange(len(logits)), task.modes][:, None], axis=1)
    entropies = task.entropies()
    # ln Z falls at most like -(1 + 2C) lambda ln Z, so relative errors of lambda are multiplied by lambda (and by logits).
    slack = 64 * EPS * (1 + found.scales * 2) + 8 * EPS * task.vocab_size
    assert (np.abs(partition - entropies) <= slack).all()
    assert task.divergence(logits) == pytest.approx(found.divergence, rel=1e-9, abs=1e-14)


def test_orthonormal_codes_meet_the_bound_with_equality() -> None:
    task = DistributionTask.random(6, 1, 6, 0, concentration=0.5)
    found = theorem_2(task, np.eye(6))
    assert found.coherence == 0
    assert found.divergence == pytest.approx(found.repaired, rel=1e-12) and found.printed == pytest.approx(found.repaired)


def test_theorem_2_at_the_ends_of_the_entropy() -> None:
    rest = 1e-200
    rows = [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0], [1 - rest, rest, 0], [1 - 1e-9, 0.5e-9, 0.5e-9]]
    task = DistributionTask([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]], rows)
    found = theorem_2(task, code_for(3, 0.05, 1))
    assert found.scales[0] == inf and found.divergences[0] == 0
    assert found.scales[1] == pytest.approx(0, abs=1e-12) and found.divergences[1] == pytest.approx(0, abs=1e-12)
    assert found.divergences[2] > 0.01
    assert 100 < found.scales[3] < inf and found.divergences[3] < 1e-190
    assert 0 < found.divergences[4] < 1e-6
    assert np.isfinite([found.printed, found.repaired, found.divergence]).all()


@pytest.mark.parametrize("worst", [0.1, 0.3, 0.45])
def test_the_sharp_factor_is_approached(worst: float) -> None:
    """|W_g|^2 = 1 - C, all rivals at W_j.W_g = C but for the one that is likely next, at -C: 1 / (1 - 2C) is needed."""
    tokens = 40
    code = np.zeros((tokens, tokens + 1))
    code[:, 0] = sqrt(worst)
    code[1, 0] = -sqrt(worst)
    code[np.arange(tokens), np.arange(1, tokens + 1)] = sqrt(1 - worst)
    code[0, 1] = sqrt(1 - 2 * worst)
    assert largest_deviation(code) == pytest.approx(worst)
    ratios = []
    for power in (2, 6, 12, 60, 300):
        row = np.zeros(tokens)
        row[:2] = 1 - 10.0**-power, 10.0**-power
        found = theorem_2(DistributionTask([[0]], [row]), code)
        assert found.divergence <= found.sharp * (1 + 1e-12)
        ratios.append(found.divergence / found.sharp)
    assert max(ratios) > 0.98


def test_theorem_2_refuses_codes_of_another_size() -> None:
    task = DistributionTask([[0]], [[0.5, 0.25, 0.25]])
    with pytest.raises(ValueError, match="code has 2 rows: must have one per token, that is 3"):
        theorem_2(task, np.eye(2))


@pytest.mark.bad_input
def test_unknown_variants_are_refused() -> None:
    with pytest.raises(ValueError, match="variant = 'other': 'printed', 'repaired' or 'sharp' are legal"):
        theorem_2_bound(DistributionTask([[0]], [[0.5, 0.25, 0.25]]), np.eye(3), "other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="variant = 'other'"):
        lemma_4_gap(0.1, 1.0, 1.0, variant="other")  # type: ignore[arg-type]


# Definition 2 and Lemma 4


@given(tokens=st.integers(2, 9), exponent=st.floats(-12, -0.5))
def test_the_circle_approximates_sure_distributions_polynomially(tokens: int, exponent: float) -> None:
    delta = 10.0**exponent
    labels = np.arange(tokens)
    logits = definition_2_circle(labels, tokens, delta)
    task = DistributionTask(labels[:, None], np.eye(tokens))
    least, largest = definition_2_range(task, logits)
    # ln(1 / softmax) is a logarithm of a number near 1: absolute rounding, plus that of scale times cosines.
    rounding = 8 * EPS * (2 + np.abs(logits).max() * delta)
    assert (np.abs(least - delta) <= rounding).all() and (np.abs(largest - delta) <= rounding).all()
    code = circle_code(tokens)
    centred = logits - logits.mean(axis=1, keepdims=True)
    scale = np.ptp(logits[0]) / np.ptp(code[:, 0])
    assert np.allclose(centred, scale * (code @ code.T) - (scale * code @ code.T).mean(axis=1, keepdims=True), atol=1e-9 * scale)
    gap = np.sort(logits, axis=1)[:, -1] - np.sort(logits, axis=1)[:, -2]
    assert (gap <= lemma_4_gap(delta, 1.0, 1.0, num_excluded=tokens - 1) * (1 + 1e-12) + 1e-12).all()


def test_lemma_4_printed_fails_with_two_tokens() -> None:
    """c = 1/2, delta = 1/10: one sure token with ln(1 / softmax) = c delta. The gap is above the printed bound."""
    delta, constant = 0.1, 0.5
    task = DistributionTask([[0]], [[1.0, 0.0]])
    gap = -np.log(np.expm1(constant * delta))
    logits = np.array([[gap, 0.0]])
    least, largest = definition_2_range(task, logits)
    assert least[0] == pytest.approx(constant * delta, rel=1e-12) and largest[0] <= delta
    assert gap > lemma_4_gap(delta, constant, 1.0, variant="printed") + 1
    assert gap <= lemma_4_gap(delta, constant, 1.0) * (1 + 4 * EPS)


@given(task=distribution_tasks(full_support=False), seed=st.integers(0, 99), delta=st.floats(0.01, 1))
def test_lemma_4_repaired_holds_for_every_encoder_within_definition_2(task: DistributionTask, seed: int, delta: float) -> None:
    """Take probabilities pi e^-x with x in [delta / 3, delta] on the support, the rest anywhere else."""
    rng = np.random.default_rng(seed)
    seen = task.conditionals > 0
    outside = (~seen).sum(axis=1)
    for row in np.flatnonzero(outside):
        models = task.conditionals[row] * np.exp(-rng.uniform(delta / 3, delta, task.vocab_size))
        share = rng.dirichlet(np.full(outside[row], 0.5))
        models[~seen[row]] = np.maximum((1 - models.sum()) * share, 1e-300)
        one = DistributionTask(task.sequences[[row]], task.conditionals[[row]])
        logits = np.log(models)[None]
        least, largest = definition_2_range(one, logits)
        assert least[0] >= delta / 3 - 1e-12 and largest[0] <= delta + 1e-12
        gap = logits[0, seen[row]].max() - logits[0, ~seen[row]].max()
        assert gap <= lemma_4_gap(delta, 1 / 3, 1.0, num_excluded=int(outside[row])) + 1e-12


def test_definition_2_leaves_the_spread_unbounded_with_two_excluded_tokens() -> None:
    """N = 3: one excluded token takes all the rest, the other's logit falls like 1 / delta^2, not like ln(1 / delta)."""
    task = DistributionTask([[0]], [[1.0, 0.0, 0.0]])
    for delta in (0.5, 0.1, 0.05):
        logits = np.array([[-delta, log(-np.expm1(-delta)), -1 / delta**2]])
        logits[0, 1] += np.log1p(-np.exp(-1 / delta**2) / -np.expm1(-delta))
        least, largest = definition_2_range(task, logits)
        assert least[0] == pytest.approx(delta, rel=1e-12) == largest[0]
        assert np.ptp(logits) == pytest.approx(1 / delta**2 - delta)


@given(task=distribution_tasks(full_support=True), seed=st.integers(0, 99))
def test_definition_2_taken_literally_excludes_full_support(task: DistributionTask, seed: int) -> None:
    logits = np.random.default_rng(seed).standard_normal(task.conditionals.shape)
    least, _ = definition_2_range(task, logits)
    assert (least <= 8 * EPS * task.vocab_size).all()


def test_lemma_4_refuses() -> None:
    with pytest.raises(ValueError, match=r"delta, constant, exponent"):
        lemma_4_gap(0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"delta = 2\.0: must be above 0 and below ln N"):
        definition_2_circle(np.array([0]), 4, 2.0)
