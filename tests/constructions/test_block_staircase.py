"""The block staircase holds what it says under other people's arithmetic, and what it calls impossible is."""

from fractions import Fraction
from statistics import median

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from constructions import Construction, certify, staircase
from constructions._block_margin import MarginProblem, Refusal
from constructions._block_order import SHARPNESS
from constructions._block_search import Choice, first_choice, walk_choice
from constructions._block_walk import Staircase
from constructions.block_staircase import build
from theory.ceilings import hard_attention_labelings_log2, label_probability
from theory.encoders import circle_code
from theory.memorization import repaired_associations, repaired_heads
from theory.strategies import association_tasks
from theory.tasks import AssociationTask


def task_of(pairs: list[tuple[int, int]], targets: list[int], vocab_size: int) -> AssociationTask:
    return AssociationTask(np.array(pairs), np.array(targets), vocab_size)


def forward(built: Construction) -> np.ndarray:
    """Logits in numpy from the stored weights, head by head."""
    arrays = {name: tensor.detach().numpy() for name, tensor in built.model.named_parameters()}
    stream = arrays["token_embedding"][built.task.sequences] + arrays["position_embedding"]
    last = stream[:, -1]
    result = last.copy()
    for head in range(built.num_heads):
        scores = np.einsum("tsd,dk,tk->ts", stream, arrays["key"][head], last @ arrays["query"][head])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        result += np.einsum("ts,tsd->td", weights, stream) @ arrays["value"][head] @ arrays["output"][head]
    logits: np.ndarray = result @ arrays["unembedding"].T
    return logits


def assert_held(built: Construction) -> None:
    logits = forward(built)[built.held]
    labels = built.task.targets[built.held]
    own = np.arange(len(labels)), labels
    right = logits[own].copy()
    logits[own] = -np.inf
    assert (right > logits.max(axis=1)).all()
    statement = certify(built.model, built.task, indices=built.held, dtypes=()).statements["exact"]
    assert statement.num_right == built.num_held
    # Gates are saturated to 1e-27; what is left is rounding, at most of the size of all weights that meet in a logit.
    assert built.margin >= built.promised_margin - 1e-9 * built.max_weight
    assert built.promised_margin > 0


@settings(max_examples=15)
@given(
    task=association_tasks(vocab_size=(2, 6), seq_len=2),
    embed_dim=st.integers(2, 5),
    narrow=st.integers(0, 4),
    num_heads=st.one_of(st.none(), st.integers(0, 5)),
    seed=st.integers(0, 3),
)
@example(task=AssociationTask(np.array([[1, 0], [0, 0]]), np.array([0, 1]), 2), embed_dim=3, narrow=1, num_heads=None, seed=0)
def test_holds_what_it_says_with_no_more_heads_than_the_staircase(
    task: AssociationTask, embed_dim: int, narrow: int, num_heads: int | None, seed: int
) -> None:
    head_dim = max(2, embed_dim - narrow)
    built = build(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    assert built.failure is None
    assert_held(built)
    plain = staircase.plan(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    assert built.num_held >= plain.num_held
    if num_heads is None:
        assert built.num_held == task.num_associations
        assert built.num_heads <= plain.num_heads
    else:
        assert built.num_heads == num_heads


@pytest.mark.parametrize("head_dim", [2, 3])
@pytest.mark.parametrize(
    ("name", "task", "most"),
    [
        ("one label", task_of([(a, b) for a in range(6) for b in range(6)], [3] * 36, 6), 0),
        ("label of the last token", task_of([(a, b) for a in range(6) for b in range(6)], list(range(6)) * 6, 6), 34),
        ("two labels", task_of([(a, b) for a in range(6) for b in range(6)], [0, 5, 0, 5, 0, 5, 5, 0, 5, 0, 5, 0] * 3, 6), 8),
        ("one association", task_of([(1, 2)], [0], 3), 0),
        ("one last token", task_of([(a, 0) for a in range(9)], [(5 * a) % 9 for a in range(9)], 9), 4),
        ("one first token", task_of([(0, b) for b in range(9)], [(5 * b) % 9 for b in range(9)], 9), 4),
        ("constant sequences", task_of([(a, a) for a in range(7)], [3, 1, 4, 1, 5, 2, 6], 7), 6),
        ("unused tokens", task_of([(3, 500), (500, 3), (7, 7)], [900, 3, 4], 1000), 1),
    ],
)
def test_awkward_tasks_are_held_whole(name: str, task: AssociationTask, most: int, head_dim: int) -> None:
    built = build(task, embed_dim=3, head_dim=head_dim)
    assert built.failure is None
    assert built.num_held == task.num_associations, name
    assert built.num_heads <= most
    assert set(built.dtypes) == {"float64", "float32"}
    assert_held(built)


def test_complete_tables_of_ten_tokens_in_the_plane() -> None:
    counts = []
    for seed in range(5):
        built = build(AssociationTask.complete(10, 2, seed), embed_dim=2, head_dim=2)
        assert built.num_held == 100
        assert_held(built)
        counts.append(built.num_heads)
    assert median(counts) <= 41
    assert max(counts) < repaired_heads(100, 2, 2, 10)


@pytest.mark.parametrize(("vocab_size", "embed_dim", "head_dim"), [(20, 4, 4), (16, 6, 6), (16, 6, 2), (16, 6, 3), (12, 3, 3)])
def test_complete_tables_beat_exact_targets(vocab_size: int, embed_dim: int, head_dim: int) -> None:
    task = AssociationTask.complete(vocab_size, 2, 0)
    built = build(task, embed_dim=embed_dim, head_dim=head_dim)
    assert built.num_held == vocab_size**2
    assert_held(built)
    # With codes of dimension r, one head's d * r numbers carry d associations exactly; inequalities must make that more.
    assert built.num_heads < repaired_heads(vocab_size**2, embed_dim, embed_dim, vocab_size)


def test_few_heads_hold_more_than_corollary_1_and_no_more_than_labels_can_be_counted() -> None:
    task = AssociationTask.complete(50, 2, 1)
    built = build(task, embed_dim=10, head_dim=10, num_heads=3)
    assert built.num_held > 2 * repaired_associations(3, 10, 10, 50, 2500)
    assert_held(built)
    # Cuts are chosen after the labels, so that no bound for frozen attention applies; that for hard attention does.
    labelings = hard_attention_labelings_log2(50, 2, 10, 10, 3, built.num_held)
    assert label_probability(labelings, 50, built.num_held) > 1e-9, built.model
    small = AssociationTask.complete(10, 2, 0)
    held = build(small, embed_dim=2, head_dim=2, num_heads=8, check=False).num_held
    assert label_probability(hard_attention_labelings_log2(10, 2, 2, 2, 8, held), 10, held) > 1e-9


def walks() -> list[tuple[AssociationTask, Choice, Staircase]]:
    found = []
    for vocab_size, embed_dim, head_dim in [(8, 2, 2), (10, 4, 4), (8, 4, 2), (12, 3, 3)]:
        task = AssociationTask.complete(vocab_size, 2, 3)
        labels = len(np.unique(task.targets))
        choice = first_choice(task, embed_dim, head_dim, min(head_dim, labels - 1), 0)
        found.append((task, choice, walk_choice(task, choice, 6)))
    return found


def inequalities(
    task: AssociationTask, choice: Choice, walked: Staircase, number: int, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, offsets, normals (members, labels, r) and labels of a block, built without the walk's own bookkeeping.

    Complete tables whose first block sees all directions of x2: from then on G is fixed.
    """
    rows = choice.layout.rows
    first, last = task.sequences[members].T
    features = rows[0][first] - rows[1][last] if number else rows[1][last]
    offsets = rows[1][last] @ walked.skip.T if number else np.zeros((len(members), len(walked.skip)))
    labels = choice.labels[members]
    normals = choice.code[labels][:, None] - choice.code[None]
    lengths = np.linalg.norm(normals, axis=2, keepdims=True)
    return features, offsets, np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0), labels


def best_margin(features: np.ndarray, offsets: np.ndarray, normals: np.ndarray, labels: np.ndarray, box: float) -> float:
    """Largest t with w . (o + X f) >= t for all, |X| <= box entry by entry, t <= 2, by HiGHS."""
    _, num_labels, code_dim = normals.shape
    wrong = np.arange(num_labels) != labels[:, None]
    left = np.einsum("tlr,tm->tlrm", normals, features)[wrong].reshape(-1, code_dim * features.shape[1])
    right = np.einsum("tlr,tr->tl", normals, offsets)[wrong]
    found = linprog(
        np.append(np.zeros(left.shape[1]), -1.0),
        A_ub=np.hstack([-left, np.ones((len(left), 1))]),
        b_ub=right,
        bounds=[(-box, box)] * left.shape[1] + [(None, 2.0)],
    )
    assert found.status == 0
    return float(found.x[-1])


def test_blocks_are_closed_by_proofs_that_hold_in_rationals_and_that_an_lp_agrees_with() -> None:
    checked = 0
    for task, choice, walked in walks():
        complete = (
            np.linalg.matrix_rank(choice.layout.rows[1][task.sequences[walked.blocks[0], 1]]) == choice.layout.rows.shape[2]
        )
        for number, closed in enumerate(walked.closed):
            if number and not complete:  # then G has unknowns in later blocks, too
                continue
            if closed is None:
                continue
            assert set(walked.blocks[number]) <= set(closed.members)
            features, offsets, normals, labels = inequalities(task, choice, walked, number, closed.members)
            proof = closed.refusal
            assert proof.excess > 0
            assert (proof.multipliers >= 0).all()
            exact = np.vectorize(Fraction)
            walls = exact(normals[proof.places, proof.rivals])
            assert (proof.rivals != labels[proof.places]).all()
            weights = exact(proof.multipliers)
            asked = (weights * (1 - (walls * exact(offsets[proof.places])).sum(axis=1))).sum()
            total = (walls * weights[:, None]).T @ exact(features[proof.places])
            # The walk's own features differ from these by rounding only, 1e-12 of the sum of absolute terms.
            assert asked > 0
            assert asked**2 > (total**2).sum() * Fraction(proof.bound) ** 2 * (1 - Fraction(1, 10**9))
            inside = proof.bound / features.shape[1] ** 0.5 / normals.shape[2] ** 0.5  # a box within the ball
            assert best_margin(features, offsets, normals, labels, inside) < 1.0
            kept = np.isin(closed.members, walked.blocks[number])
            whole = best_margin(features[kept], offsets[kept], normals[kept], labels[kept], proof.bound)  # a box around the ball
            assert whole >= 1.0 - 1e-6
            checked += 1
    assert checked >= 12


@given(
    num_labels=st.integers(3, 7),
    count=st.integers(1, 9),
    dim=st.integers(1, 4),
    bound=st.floats(5.0, 200.0),
    seed=st.integers(0, 99),
)
def test_least_map_meets_the_optimality_conditions_and_a_refusal_is_a_proof(
    num_labels: int, count: int, dim: int, bound: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    code = circle_code(num_labels)
    features, offsets = rng.standard_normal((count, dim)), rng.standard_normal((count, 2))
    labels = rng.integers(num_labels, size=count)
    problem = MarginProblem(code)
    problem.load(features, labels, offsets, bound)
    walls = code[labels][:, None] - code[None]
    lengths = np.linalg.norm(walls, axis=2, keepdims=True)
    walls = np.divide(walls, lengths, out=np.zeros_like(walls), where=lengths > 0)
    if problem.fit(count):
        margins = np.einsum("tlr,tr->tl", walls, offsets + features @ problem.map.T)[np.arange(num_labels) != labels[:, None]]
        assert margins.min() >= 1.0 - 1e-6
        assert np.linalg.norm(problem.map) <= bound
        # Least norm: the map is a combination, with weights of at least 0, of walls that are met with equality.
        q = problem.count
        places, rivals = problem.terms[:q].T
        combined = np.einsum("k,kr,km->rm", problem.multipliers[:q], walls[places, rivals], features[places])
        assert np.allclose(combined, problem.map, atol=1e-7 * (1 + np.abs(problem.multipliers[:q]).sum()))
        assert (problem.multipliers[:q] >= -1e-7 * (1 + np.abs(problem.multipliers[:q]).sum())).all()
        tight = np.einsum("kr,kr->k", walls[places, rivals], offsets[places] + features[places] @ problem.map.T)
        assert np.allclose(tight, 1.0, atol=1e-6)
    else:
        assert problem.refusal is not None
        assert problem.refusal.excess > 0
        box = bound / (2 * dim) ** 0.5
        assert best_margin(features, offsets, walls, labels, box) < 1.0


def exact_excess_is_positive(code: np.ndarray, labels: np.ndarray, features: np.ndarray, proof: Refusal) -> bool:
    """Whether the multipliers prove it, in rationals; offsets are 0 and all walls of length 1, so that roots are not needed."""
    exact = np.vectorize(Fraction)
    weights = exact(proof.multipliers)
    walls = exact(code[labels[proof.places]]) - exact(code[proof.rivals])
    total = (walls * weights[:, None]).T @ exact(features[proof.places])
    return bool(sum(weights) ** 2 > Fraction(proof.bound) ** 2 * (total**2).sum())


def test_a_refusal_within_rounding_is_no_proof() -> None:
    code = np.array([[0.5], [-0.5]])
    near = counted = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        features, labels = rng.standard_normal((1, 3)), np.zeros(1, dtype=np.int64)
        problem = MarginProblem(code)
        # The least map is f / |f|^2: at a bound of 1 / |f| it is neither certainly possible nor certainly impossible.
        bound = float(1 / np.linalg.norm(features))
        for steps in (-10, -1, 0, 1, 1000):
            problem.load(features, labels, np.zeros((1, 1)), bound * (1 - steps * 2.0**-52))
            problem._refuse(np.array([[0, 1]]), rng.uniform(0.5, 2, 1))
            proof = problem.refusal
            assert proof is not None
            if proof.excess > 0:
                assert exact_excess_is_positive(code, labels, features, proof)
            near += abs(steps) <= 1 and proof.excess > 0
            counted += steps == 1000 and proof.excess > 0
    assert near == 0 and counted == 300


def test_every_head_sees_its_block_and_all_later_ones_and_nothing_earlier() -> None:
    for task, choice, walked in walks():
        position = choice.layout.rows
        first, last = task.sequences.T
        delta, own = position[0][first] - position[1][last], position[1][last]
        seen_before = np.zeros(task.num_associations, dtype=bool)
        for gate, block in zip(walked.gates, walked.blocks, strict=False):
            seen_before[block] = True
            scores = np.einsum("td,dk,ek,te->t", own, gate.query, gate.key, delta)
            assert np.array_equal(scores > 0, ~seen_before)
            assert np.abs(scores).min() > SHARPNESS * (1 - 1e-6)


def test_same_seed_same_weights_and_another_seed_others() -> None:
    task = AssociationTask.complete(6, 2, 4)
    for options in ({}, {"search": 3}):
        one, two, other = (build(task, embed_dim=3, head_dim=3, seed=seed, **options) for seed in (1, 1, 2))  # type: ignore[arg-type]
        for (name, left), (_, right) in zip(one.model.named_parameters(), two.model.named_parameters(), strict=True):
            assert left.equal(right), name
        assert not one.model.token_embedding.equal(other.model.token_embedding)


def test_search_never_makes_it_worse_and_says_when_time_ran_out() -> None:
    task = AssociationTask.complete(6, 2, 2)
    plain = build(task, embed_dim=2, head_dim=2)
    searched = build(task, embed_dim=2, head_dim=2, search=12)
    assert searched.num_heads <= plain.num_heads
    assert_held(searched)
    assert "12 of 12" in searched.notes["search"]
    counts = [build(task, embed_dim=2, head_dim=2, search=steps, check=False).num_heads for steps in (2, 4, 6, 8, 10, 12)]
    assert counts == sorted(counts, reverse=True)
    stopped = build(task, embed_dim=2, head_dim=2, search=10**6, max_seconds=0.05)
    assert "stopped by max_seconds" in stopped.notes["search"]
    assert build(task, embed_dim=2, head_dim=2, num_heads=3, search=12).num_held >= build(
        task, embed_dim=2, head_dim=2, num_heads=3
    ).num_held  # fmt: skip


def test_skip_alone_holds_as_many_as_independent_last_tokens() -> None:
    pairs = [[1, 0], [1, 0][::-1], [3, 3], [0, 2], [6, 0], [2, 3], [6, 6], [5, 5], [4, 4], [0, 0], [2, 1], [2, 2], [4, 1]]
    task = AssociationTask(np.array(pairs), np.array([4, 0, 3, 6, 3, 5, 5, 5, 5, 5, 6, 6, 3]), 7)
    built = build(task, embed_dim=7, head_dim=2, num_heads=0)
    assert built.num_held >= repaired_associations(0, 2, 7, task.num_last_tokens, len(pairs)) == 7
    assert_held(built)


def test_more_heads_than_needed_do_no_harm() -> None:
    built = build(AssociationTask.complete(6, 2, 0), embed_dim=4, head_dim=3, num_heads=30)
    assert built.num_heads == 30
    assert built.num_held == 36
    assert_held(built)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"embed_dim": 1, "head_dim": 1}, "embed_dim = 1"),
        ({"embed_dim": 4, "head_dim": 1}, "rank 2"),
        ({"embed_dim": 4, "head_dim": 5}, "head_dim = 5"),
        ({"embed_dim": 4, "head_dim": 4, "num_heads": -1}, "num_heads = -1"),
        ({"embed_dim": 4, "head_dim": 4, "num_heads": 10**9}, "at most 16 GiB"),
        ({"embed_dim": 4, "head_dim": 3, "code_dim": 4}, "2 to 3 are legal"),
        ({"embed_dim": 4, "head_dim": 3, "code_dim": 1}, "2 to 3 are legal"),
        ({"embed_dim": 4, "head_dim": 3, "code_dim": 0}, "code_dim = 0"),
        ({"embed_dim": 4, "head_dim": 3, "search": -1}, "search = -1"),
        ({"embed_dim": 4, "head_dim": 3, "seed": -1}, "seed = -1"),
        ({"embed_dim": 4, "head_dim": 3, "max_seconds": 0.0}, "max_seconds = 0"),
        ({"embed_dim": 4, "head_dim": 3, "max_seconds": float("nan")}, "max_seconds = nan"),
        ({"embed_dim": 60, "head_dim": 60}, "at most 1600"),
    ],
)
def test_refusals_name_the_argument(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(AssociationTask.complete(50, 2, 0), **options)  # type: ignore[arg-type]


def test_longer_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match="sequences of 3 tokens"):
        build(AssociationTask.complete(4, 3, 0), embed_dim=4, head_dim=4)
