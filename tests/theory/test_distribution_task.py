"""Distribution tasks: what is accepted and refused, exact T_epsilon, and divergences that keep their digits."""

import copy
import dataclasses
import pickle
from fractions import Fraction
from math import inf, log, nan

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.strategies import CONDITIONALS, PRIORS, association_tasks, distribution_tasks
from theory.tasks import AssociationTask, DistributionTask

EPS = 2.0**-52
TWO = [[0.5, 0.5], [0.25, 0.75]]


def exact_divergences(task: DistributionTask, logits: np.ndarray, digits: int = 60) -> list[float]:
    """The same with 60 digits, straight from the definition."""
    from sympy import Float as Number
    from sympy import exp
    from sympy import log as ln

    found = []
    for row, scores in zip(task.conditionals.tolist(), logits.tolist(), strict=True):
        exact = [Number(score, digits) for score in scores]
        total = ln(sum(exp(score) for score in exact))
        total_mass = sum(Number(p, digits) for p in row)
        terms = [Number(p, digits) / total_mass * (ln(Number(p, digits) / total_mass) - score + total)
                 for p, score in zip(row, exact, strict=True) if p > 0]
        found.append(float(sum(terms)))
    return found


# At the door


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("sequences", "conditionals", "prior", "message"),
    [
        ([[0], [0]], TWO, None, r"sequences\[1\] = \[0\]: must be distinct, but repeats sequences\[0\]"),
        ([[0], [2]], TWO, None, r"sequences\[1\] = \[2\]: must lie between 0 and vocab_size - 1 = 1"),
        ([[0], [1]], [[0.5, 0.5], [0.25, 0.7]], None, r"conditionals\[1\] sums to 0.95: must sum to 1"),
        ([[0], [1]], [[0.5, 0.5], [-0.25, 1.25]], None, r"conditionals\[1\] has the entry -0.25: must be finite and not neg"),
        ([[0], [1]], [[0.5, 0.5], [nan, 1.0]], None, r"conditionals\[1\] has the entry nan"),
        ([[0], [1]], [[0.5, 0.5], [inf, 1.0]], None, r"conditionals\[1\] has the entry inf"),
        ([[0], [1]], [[50, 50], [25, 75]], None, r"conditionals\[0\] sums to 100"),
        ([[0], [1]], [[1.0], [1.0]], None, "vocab_size = 1: must be an integer >= 2"),
        ([[0], [1]], [0.5, 0.5], None, r"conditionals has shape \(2,\): must be a 2-dimensional"),
        ([[0], [1]], [[0.5, 0.5], [1.0]], None, "conditionals: must be a 2-dimensional array of numbers, with rows of equal"),
        ([[0], [1]], [["a", "b"], ["c", "d"]], None, "conditionals has dtype"),
        ([[0], [1]], [[True, False], [True, False]], None, "conditionals has dtype bool"),
        ([[0]], TWO, None, "conditionals has 2 rows: must have one per sequence, that is 1"),
        ([[0], [1]], TWO, [1.0], "prior has 1 rows: must have one per sequence, that is 2"),
        ([[0], [1]], TWO, [1.0, 0.0], r"prior\[1\] = 0.0: must be positive"),
        ([[0], [1]], TWO, [0.5, 0.6], r"prior sums to 1.1: must sum to 1"),
        ([[0.0], [1.0]], TWO, None, "sequences has dtype float64"),
    ],
)
def test_refused_at_the_door(
    sequences: npt.ArrayLike, conditionals: npt.ArrayLike, prior: npt.ArrayLike | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as failure:
        DistributionTask(sequences, conditionals, prior)
    assert "\n" not in str(failure.value)


def test_sums_may_miss_one_by_the_rounding_of_their_own_format_only() -> None:
    rng = np.random.default_rng(0)
    single = rng.dirichlet(np.ones(200), size=20).astype(np.float32)
    single /= single.sum(axis=1, keepdims=True)
    task = DistributionTask(np.arange(20)[:, None], single)
    assert np.abs(task.conditionals.sum(axis=1) - 1).max() < 300 * EPS
    off = np.array([[0.5, 0.5 + 1e-6]])
    with pytest.raises(ValueError, match="must sum to 1"):
        DistributionTask([[0]], off)
    assert DistributionTask([[0]], off.astype(np.float32)[:, ::-1] / np.float32(1 + 1e-6)).vocab_size == 2


@given(distribution_tasks())
def test_what_was_normalised_once_stays_as_it_is(task: DistributionTask) -> None:
    again = DistributionTask(task.sequences, task.conditionals, task.prior)
    assert again == task and again.fingerprint() == task.fingerprint() and hash(again) == hash(task)


# Frozen, equal, printed


@given(distribution_tasks())
def test_nothing_can_be_changed(task: DistributionTask) -> None:
    for clone in (task, copy.deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert clone == task
        for array in (clone.sequences, clone.conditionals, clone.prior, clone.modes):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.setflags(write=True)
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.description = "other"  # type: ignore[misc]


def test_equality_sees_content_only() -> None:
    task = DistributionTask([[0], [1]], TWO, [0.25, 0.75])
    assert task == DistributionTask(np.array([[0], [1]], np.uint8), TWO, [0.25, 0.75], "said otherwise")
    assert task != DistributionTask([[0], [1]], TWO)
    assert task != DistributionTask([[1], [0]], TWO[::-1], [0.75, 0.25])
    assert task != DistributionTask([[0], [1]], [[0.5, 0.5], [0.75, 0.25]], [0.25, 0.75])
    assert task != DistributionTask([[0, 0], [1, 1]], TWO, [0.25, 0.75])
    assert task != "task"
    zero, minus = DistributionTask([[0]], [[0.0, 1.0]]), DistributionTask([[0]], [[-0.0, 1.0]])
    assert zero == minus and zero.fingerprint() == minus.fingerprint()


def test_fingerprint_is_the_same_everywhere() -> None:
    assert DistributionTask([[0], [1]], TWO).fingerprint() == FINGERPRINT
    assert DistributionTask([[0], [1]], TWO, [0.25, 0.75]).fingerprint() != FINGERPRINT


FINGERPRINT = "0a7d37f22ced877f3303fe3eae8671882c77a6c19a596d4efa7c459b4bc2bfff"


@given(distribution_tasks())
def test_repr_of_small_tasks_evaluates_to_the_task(task: DistributionTask) -> None:
    if task.conditionals.size <= 64:
        assert eval(repr(task)) == task
    assert len(repr(task)) < 6000


# Entropy


@given(distribution_tasks())
def test_entropies(task: DistributionTask) -> None:
    found = task.entropies()
    sure = task.conditionals.max(axis=1) == 1
    assert (found[sure] == 0).all() and not np.signbit(found).any()
    assert (found <= log(task.vocab_size) * (1 + 4 * EPS)).all()
    least, largest = found.min(), found.max()
    assert least * (1 - 32 * EPS) <= task.mean_entropy <= largest * (1 + 32 * EPS)
    assert task.full_support == bool((task.conditionals > 0).all())


def test_entropies_on_an_example() -> None:
    task = DistributionTask([[0], [1], [2]], [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3], [0.5, 0.25, 0.25])
    assert task.entropies() == pytest.approx([0, log(2), log(3)], rel=1e-15)
    assert task.mean_entropy == pytest.approx((log(2) + log(3)) / 4, rel=1e-15)
    assert task.modes.tolist() == [0, 0, 0]


# T_epsilon


@given(task=distribution_tasks(), parts=st.integers(0, 1000))
def test_t_epsilon_is_the_fewest_sequences_that_carry_enough(task: DistributionTask, parts: int) -> None:
    epsilon = Fraction(parts, 1000)
    masses = sorted((Fraction(p) for p in task.prior.tolist()), reverse=True)
    total, count = sum(masses), task.t_epsilon(epsilon)
    assert sum(masses[:count]) >= (1 - epsilon) * total
    assert count == 0 or sum(masses[: count - 1]) < (1 - epsilon) * total
    kept = task.likely(epsilon)
    assert len(kept) == count == len(set(kept.tolist()))
    assert sorted(task.prior[kept].tolist(), reverse=True) == task.prior[kept].tolist() == [float(m) for m in masses[:count]]
    assert task.t_epsilon(parts / 1000) == count  # a float is read as its decimal


@given(distribution_tasks())
def test_t_epsilon_at_the_ends_and_between(task: DistributionTask) -> None:
    assert task.t_epsilon() == task.t_epsilon(0.0) == task.num_sequences
    assert task.t_epsilon(1) == 0
    counts = [task.t_epsilon(part / 16) for part in range(17)]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("count", [3, 7, 10, 49, 1000])
def test_t_epsilon_of_the_uniform_prior_is_not_a_matter_of_rounding(count: int) -> None:
    sequences = np.stack(np.divmod(np.arange(count), 32), axis=1)
    task = DistributionTask(sequences, np.eye(32)[[0] * count])
    for missed in range(0, count, max(1, count // 50)):
        assert task.t_epsilon(Fraction(missed, count)) == count - missed
    assert task.t_epsilon(0.3) == -(-7 * count // 10)


def test_ties_are_broken_by_the_order_of_rows() -> None:
    task = DistributionTask([[0], [1], [2], [3]], np.eye(4), [0.125, 0.375, 0.125, 0.375])
    assert task.likely(0.25).tolist() == [1, 3]
    assert task.likely(0.125).tolist() == [1, 3, 0]
    many = DistributionTask(np.arange(400)[:, None], np.eye(400), np.where(np.arange(400) % 2, 3.0, 1.0) / 800)
    assert many.likely().tolist() == [*range(1, 400, 2), *range(0, 400, 2)]


@pytest.mark.bad_input
@pytest.mark.parametrize("epsilon", [-0.1, 1.1, nan, inf, "a", None])
def test_epsilon_is_checked(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"epsilon = .*: must be a number between 0 and 1"):
        DistributionTask([[0], [1]], TWO).t_epsilon(epsilon)


# Divergence


@settings(max_examples=40)
@given(
    task=distribution_tasks(num_sequences=(1, 4)), seed=st.integers(0, 999), size=st.sampled_from([1e-6, 0.01, 1.0, 30.0, 700.0])
)
def test_divergence_agrees_with_many_digits(task: DistributionTask, seed: int, size: float) -> None:
    logits = size * np.random.default_rng(seed).standard_normal(task.conditionals.shape)
    found, wanted = task.divergences(logits), np.array(exact_divergences(task, logits))
    # Each log ratio carries a few roundings of numbers as large as the logits and logarithms themselves.
    numbers = 1 + np.abs(logits).max(axis=1) + np.abs(np.log(np.maximum(task.conditionals, 1e-20))).max(axis=1)
    assert (np.abs(found - wanted) <= 16 * EPS * numbers * task.vocab_size).all()
    assert task.divergence(logits) == pytest.approx(float(task.prior @ wanted), rel=1e-12, abs=1e-12)


def test_small_divergences_keep_their_digits() -> None:
    task = DistributionTask([[0]], [[0.5, 0.5]])
    for shift in (1e-3, 1e-5, 1e-7):
        found = task.divergence([[shift, -shift]])
        assert found == pytest.approx(np.log(np.cosh(shift)) if shift > 1e-4 else shift**2 / 2, rel=1e-6)


@given(distribution_tasks())
def test_divergence_vanishes_on_the_task_and_ignores_constants(task: DistributionTask) -> None:
    with np.errstate(divide="ignore"):
        logits = np.log(task.conditionals)
    assert 0 <= task.divergence(logits) <= 1e-25
    noise = np.random.default_rng(0).standard_normal(logits.shape)
    constants = 5.0 * np.arange(len(logits))[:, None]
    assert task.divergence(noise + constants) == pytest.approx(task.divergence(noise), rel=1e-12, abs=1e-12)
    assert task.divergence(np.zeros_like(logits)) == pytest.approx(log(task.vocab_size) - task.mean_entropy, rel=1e-10, abs=1e-13)


def test_missed_support_is_infinitely_far() -> None:
    task = DistributionTask([[0], [1]], [[0.5, 0.5, 0], [1, 0, 0]])
    assert task.divergences([[0, 0, -inf], [0, -inf, -inf]]).tolist() == [0, 0]
    assert task.divergences([[0, -inf, 0], [0, 0, 0]])[0] == inf
    assert task.divergence([[0, -inf, 0], [0, 0, 0]]) == inf
    assert np.isfinite(task.divergence([[1e6, 0, 0], [0, 1e6, 0]]))


@pytest.mark.parametrize("logits", [[[0.0, 0.0]], [[0, nan], [0, 0]], [[0, inf], [0, 0]], [[-inf, -inf], [0, 0]]])
def test_bad_logits_are_refused(logits: npt.ArrayLike) -> None:
    with pytest.raises(ValueError, match="logits has"):
        DistributionTask([[0], [1]], TWO).divergence(logits)


# Where tasks come from


@given(task=association_tasks(), smoothing=st.sampled_from([0.0, 1e-12, 0.01, 1.0, 100.0]))
def test_from_associations(task: AssociationTask, smoothing: float) -> None:
    made = DistributionTask.from_associations(task, smoothing)
    assert np.array_equal(made.sequences, task.sequences) and np.array_equal(made.modes, task.targets)
    hot = np.eye(task.vocab_size)[task.targets]
    assert np.allclose(made.conditionals, (hot + smoothing) / (1 + task.vocab_size * smoothing), rtol=1e-13, atol=0)
    assert made.full_support == (smoothing > 0)
    assert (made.mean_entropy == 0) == (smoothing == 0)
    assert len(set(made.prior.tolist())) == 1


@pytest.mark.parametrize("smoothing", [-1.0, nan, inf])
def test_smoothing_is_checked(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"smoothing = .*: must be a finite number >= 0"):
        DistributionTask.from_associations(AssociationTask([[0]], [1], 2), smoothing)


def test_random_tasks() -> None:
    task = DistributionTask.random(5, 2, 25, 3, concentration=0.5, prior_concentration=0.3)
    assert task == DistributionTask.random(5, 2, 25, 3, concentration=0.5, prior_concentration=0.3)
    assert task != DistributionTask.random(5, 2, 25, 4, concentration=0.5, prior_concentration=0.3)
    assert len({tuple(row) for row in task.sequences.tolist()}) == 25
    low, high = (DistributionTask.random(5, 2, 25, 3, concentration=c).mean_entropy for c in (0.05, 50.0))
    assert low < 0.5 < 1.55 < high
    assert DistributionTask.random(5, 2, 25, 3).prior.tolist() == [1 / 25] * 25
    with pytest.raises(ValueError, match=r"num_sequences = 26: must be at most vocab_size\^seq_len = 25"):
        DistributionTask.random(5, 2, 26, 0)
    with pytest.raises(ValueError, match=r"num_sequences = 1000000000.* 2 GiB"):
        DistributionTask.random(50, 20, 10**9, 0)
    with pytest.raises(ValueError, match=r"concentration = 0\.0: must be a finite number > 0"):
        DistributionTask.random(5, 2, 3, 0, concentration=0.0)


# The strategy


@pytest.mark.parametrize("full", [True, False])
def test_support_of_drawn_tasks_is_as_asked(full: bool) -> None:
    @settings(max_examples=30, database=None)
    @given(distribution_tasks(full_support=full))
    def check(task: DistributionTask) -> None:
        assert task.full_support == full
        assert 1 <= task.num_sequences <= 16

    check()


@pytest.mark.parametrize("word", [*CONDITIONALS, *(f"prior {name}" for name in PRIORS)])
def test_every_kind_is_drawn(word: str) -> None:
    from hypothesis import Phase, find

    seen = settings(max_examples=500, database=None, phases=[Phase.generate])
    task = find(distribution_tasks(), lambda drawn: word in drawn.description.split(";")[1], settings=seen)
    assert task.num_sequences >= 1


def test_strategy_refuses_an_unknown_prior() -> None:
    with pytest.raises(ValueError, match="prior = 'flat': must be None or one of uniform"):
        distribution_tasks(prior="flat")
