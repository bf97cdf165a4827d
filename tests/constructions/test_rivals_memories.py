"""Outer-product, attention and MLP memories do what their recipes say; their exponents are measured, with intervals."""

from itertools import pairwise
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax, zeta

from constructions.aot import AttentionOnlyTransformer
from constructions.construction import logit_margins
from constructions.rivals import cabannes, nichani_attention, nichani_mlp
from constructions.rivals._associative import largest_count, recalled, sequence_keys, unit_vectors
from constructions.rivals._factual import FactualRecall
from empirical.regression import log_log_slope
from theory.strategies import association_tasks
from theory.tasks import AssociationTask

SEEDS = range(4)


@given(limit=st.integers(0, 300), most=st.integers(1, 300), start=st.integers(1, 5))
def test_the_search_finds_a_crossing(limit: int, most: int, start: int) -> None:
    start = min(start, most)
    asked = []

    def accuracy(count: int) -> float:
        asked.append(count)
        return 0.99 if count <= limit else 0.98

    assert largest_count(accuracy, most=most, start=start) == min(limit, most)
    assert min(asked) >= 1
    assert max(asked) <= max(start, 2 * min(limit, most))  # large counts are dear
    assert len(asked) <= 2 * (log(most, 2) + 2)


def test_a_tie_is_not_recalled() -> None:
    codes = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    outputs = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert recalled(outputs, codes, np.array([0, 2])).tolist() == [False, True]


def test_keys_of_sequences_that_share_tokens_are_uncorrelated() -> None:
    """Products of two different keys are means of d independent signs: Hoeffding's bound over all pairs at chance 1e-9."""
    task, dims = AssociationTask.complete(12, 2, 0), 2048
    keys = sequence_keys(task, dims, 0)
    products = keys @ keys.T
    assert np.allclose(np.diag(products), 1, rtol=0, atol=1e-12)
    pairs = task.num_associations * (task.num_associations - 1) / 2
    assert np.abs(np.triu(products, 1)).max() < np.sqrt(2 * np.log(2 * pairs / 1e-9) / dims)


# Cabannes, Dohmatob and Bietti


@given(
    dims=st.integers(2, 60), count=st.integers(1, 40), classes=st.integers(2, 6), alpha=st.floats(1.05, 4), seed=st.integers(0, 9)
)
@settings(deadline=None)
def test_the_memory_is_the_sum_of_outer_products(dims: int, count: int, classes: int, alpha: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    codes, keys = unit_vectors(generator, classes, dims), unit_vectors(generator, count, dims)
    answers = generator.integers(classes, size=count)
    memory = sum(np.outer(codes[answer], key) for answer, key in zip(answers, keys, strict=True))
    logits = keys @ memory.T @ codes.T
    ordered = np.sort(logits, axis=1)
    gap = ordered[:, -1] - ordered[:, -2]
    right = logits.argmax(axis=1) == answers
    built = cabannes.build(dims, alpha=alpha, num_classes=classes, num_stored=count, seed=seed)
    # Logits are sums of count * dims products of numbers below 1: rounding may only decide gaps below this.
    unsure = int((gap < 4 * count * dims * 2.0**-52).sum())
    assert abs(built.num_held - int(right.sum())) <= unsure
    assert built.num_associations == count
    error = cabannes.error_by_dimension(dims, alpha, num_classes=classes, num_stored=count, seed=seed)
    tail = (1 - 1 / classes) * float(zeta(alpha, count + 1)) / float(zeta(alpha))
    assert tail * (1 - 1e-12) <= error < 1
    if not unsure:
        chances = np.arange(1, count + 1) ** -alpha / float(zeta(alpha))
        assert error == pytest.approx(tail + float(chances[~right].sum()), rel=1e-9)


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_the_error_falls_with_the_claimed_exponent(alpha: float) -> None:
    """Against P = d / ln d, the number stored, the exponent is the claimed one; against d the logarithm flattens it."""
    dims = [256, 512, 1024, 2048]
    grid = [(d, seed) for d in dims for seed in SEEDS]
    errors = [cabannes.error_by_dimension(d, alpha, seed=seed) for d, seed in grid]
    claimed = cabannes.claimed_exponents(alpha)[0]
    # Euler-Maclaurin: the tail's mass is (P + 1/2)^-(alpha - 1) up to a factor and alpha (alpha - 1) / 24 (P + 1/2)^-2, relative;
    # the fit weighs the first point by less than 1.
    midpoints = [cabannes.threshold(d) + 0.5 for d, _ in grid]
    stored = log_log_slope(midpoints, errors, level=0.999)
    bias = alpha * (alpha - 1) / 24 / midpoints[0] ** 2
    assert stored.low - bias <= claimed <= stored.high + bias
    against = log_log_slope([float(d) for d, _ in grid], errors, level=0.999)
    assert claimed <= against.high and against.low <= claimed * (1 - 1 / log(dims[0]))
    means = [np.mean(errors[i : i + len(SEEDS)]) for i in range(0, len(errors), len(SEEDS))]
    assert all(before > after for before, after in pairwise(means))


def test_storing_too_many_spoils_all() -> None:
    few, many = (cabannes.build(256, num_stored=count) for count in (46, 4096))
    assert few.num_held == 46 == cabannes.threshold(256)
    assert many.num_held < 0.75 * many.num_associations
    assert float(many.notes["error"].split()[0]) > float(few.notes["error"].split()[0])


def test_the_error_from_samples_is_the_mass_that_was_not_seen() -> None:
    """With room for all that is seen, the expected error is (1 - 1/M) sum p (1 - p)^T; its exponent is -1 + 1/alpha."""
    alpha, classes, dims, seeds = 2.0, 5, 4096, 12
    numbers = [100, 1000, 4000]
    inputs = np.arange(1, 10**6 + 1, dtype=np.float64)
    chances = inputs**-alpha / zeta(alpha)
    rest = float(zeta(alpha, 10**6 + 1) / zeta(alpha))  # never seen, up to T * rest
    exact = []
    for number in numbers:
        sizes = {"embed_dim": dims, "num_classes": classes}
        errors = [cabannes.error_by_samples(number, alpha, **sizes, seed=seed) for seed in range(seeds)]
        expected = (1 - 1 / classes) * (float((chances * np.exp(number * np.log1p(-chances))).sum()) + rest)
        exact.append(expected)
        half = 5.0 * np.std(errors, ddof=1) / np.sqrt(seeds)  # Student, 11 degrees of freedom, level 0.9996
        assert abs(np.mean(errors) - expected) <= half + number * rest
    assert log_log_slope(numbers, exact).value == pytest.approx(cabannes.claimed_exponents(alpha)[1], abs=0.01)


@given(task=association_tasks(), dims=st.integers(1, 40), seed=st.integers(0, 3))
@settings(deadline=None)
def test_cabannes_transplanted(task: AssociationTask, dims: int, seed: int) -> None:
    held = cabannes.transplant(task, embed_dim=dims, seed=seed)
    assert held.num_held <= held.num_associations == min(task.num_associations, cabannes.threshold(dims))
    assert held == cabannes.transplant(task, embed_dim=dims, seed=seed)
    one = cabannes.transplant(task, embed_dim=max(dims, 2), num_stored=1, seed=seed)
    assert one.num_held == 1


# Nichani, Lee and Bietti: linear memory


def test_a_linear_memory_holds_order_d_squared_when_injective_and_order_d_with_few_classes() -> None:
    """Recall depends on N / d^2 in the first case and on N / d in the second, over a factor of 4 in d."""

    def recall(count: int, dim: int, num_classes: int | None) -> float:
        return float(np.mean([nichani_attention.linear_recall(count, dim, num_classes=num_classes, seed=seed) for seed in SEEDS]))

    for dim in (32, 64, 128):
        assert recall(dim**2 // 60, dim, None) >= 0.98 and recall(dim**2 // 5, dim, None) <= 0.4
        assert recall(dim // 4, dim, 5) >= 0.97 and recall(4 * dim, dim, 5) <= 0.65


# Nichani, Lee and Bietti: facts by attention


@given(
    subjects=st.integers(1, 5), relations=st.integers(1, 4), answers=st.integers(1, 4), head_dim=st.integers(1, 4),
    spare=st.integers(0, 2), prompt_len=st.integers(2, 5), seed=st.integers(0, 5),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_all_facts_are_held_when_there_is_room(
    subjects: int, relations: int, answers: int, head_dim: int, spare: int, prompt_len: int, seed: int
) -> None:
    sizes = (subjects, relations, answers)
    heads = -(-subjects // head_dim) - (-relations // head_dim)
    built = nichani_attention.build(
        *sizes, embed_dim=1500, head_dim=head_dim, num_heads=heads + spare, prompt_len=prompt_len, seed=seed
    )
    assert built.num_held == built.num_associations == subjects * relations
    assert isinstance(built.model, AttentionOnlyTransformer) and built.model.num_heads == built.num_heads == heads + spare
    task = nichani_attention.facts(*sizes, prompt_len=prompt_len, seed=seed)
    margins = logit_margins(built.model, task)
    assert (margins > 0).all()
    fewest = nichani_attention.build(*sizes, embed_dim=1500, head_dim=head_dim, prompt_len=prompt_len, seed=seed)
    assert fewest.num_heads == heads and fewest.model is not None
    assert torch.allclose(logit_margins(fewest.model, task), margins, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match=rf"num_heads = {heads - 1}: .*" + (r"\(H d_h >= S \+ R\)" if heads > 1 else "")):
        nichani_attention.build(*sizes, embed_dim=50, head_dim=head_dim, num_heads=heads - 1, seed=seed)


def test_the_transformer_against_its_heads_written_out() -> None:
    """An independent evaluation in tokens and outer products, at a size where some facts are lost."""
    built = nichani_attention.build(20, 5, 4, embed_dim=48, head_dim=3, seed=1)
    task, model = nichani_attention.facts(20, 5, 4, seed=1), built.model
    assert model is not None and 0 < built.num_held < built.num_associations
    rows, codes = model.token_embedding.detach().numpy(), model.unembedding.detach().numpy()
    tokens = [range(start, min(start + 3, 20)) for start in range(0, 20, 3)] + [range(20, 23), range(23, 25)]
    by_fact = task.targets.reshape(20, 5)
    written = [codes[by_fact[subject]].sum(axis=0) for subject in range(20)]
    written += [codes[25 + 4 * relation : 29 + 4 * relation].sum(axis=0) for relation in range(5)]
    margins = logit_margins(model, task).numpy()
    for prompt, target, margin in zip(task.sequences, task.targets, margins, strict=True):
        stream = np.zeros(48)
        for group in tokens:
            scores = rows[prompt] @ (rows[list(group)].sum(axis=0) + 0.5 * rows[-1])
            found = softmax(200.0 * scores) @ rows[prompt]
            stream += sum((rows[token] @ found) * written[token] for token in group)
        logits = codes @ stream
        assert margin == pytest.approx(logits[target] - np.delete(logits, target).max(), abs=1e-9)


def test_without_subject_heads_only_the_relation_is_known() -> None:
    """The relation's heads alone name one of its answers, and cannot tell which."""
    sizes = (12, 4, 6)
    built = nichani_attention.build(*sizes, embed_dim=1000, head_dim=4)
    task, model = nichani_attention.facts(*sizes), built.model
    assert model is not None and built.num_held == 48
    with torch.no_grad():
        model.output[:3] = 0
        answers = model(torch.from_numpy(np.array(task.sequences))).argmax(dim=1).numpy()
    assert ((answers - 16) // 6 == (task.targets - 16) // 6).all()
    assert (answers == task.targets).mean() < 0.5


@given(task=association_tasks(), seed=st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_linear_transplant_holds_small_tasks_in_many_dimensions(task: AssociationTask, seed: int) -> None:
    held = nichani_attention.transplant(task, embed_dim=2048, seed=seed)
    assert held.num_held == held.num_associations == task.num_associations
    assert held.num_parameters == 2048 * (2048 + (task.seq_len + 1) * task.vocab_size)


# Nichani, Lee and Bietti: MLP


def test_what_an_mlp_recalls_depends_on_the_load_of_its_parameters() -> None:
    """At N = m d / 600 nearly all, at ten times that less than half, over a factor of 8 in m d; at a fixed N width helps."""
    for dim, width in ((32, 1024), (64, 512), (64, 1024), (64, 2048), (128, 2048)):
        light, heavy = (
            np.mean([nichani_mlp.mlp_recall(dim * width // load, dim, width, seed=seed) for seed in SEEDS]) for load in (600, 60)
        )
        assert light >= 0.98 and heavy <= 0.5
    recall = [np.mean([nichani_mlp.mlp_recall(150, 48, width, seed=seed) for seed in SEEDS]) for width in (64, 512, 4096)]
    assert recall[0] < recall[1] < recall[2]


def test_attention_and_mlp_hold_facts_that_the_width_has_room_for() -> None:
    sizes = {"embed_dim": 160, "head_dim": 4}
    wide, narrow = (nichani_mlp.build_facts(10, 4, 3, width=width, **sizes) for width in (8192, 64))
    assert wide.num_held == wide.num_associations == 40
    assert narrow.num_held < 40
    assert wide.num_heads == 4 and wide.model is None
    with pytest.raises(ValueError, match="num_heads = 3: at least 4 are legal"):
        nichani_mlp.build_facts(10, 4, 3, width=10, num_heads=3, **sizes)


def test_mlp_transplant_is_for_pairs() -> None:
    pairs = AssociationTask.complete(5, 2, 0)
    held = nichani_mlp.transplant(pairs, embed_dim=160, width=8192)
    assert held.num_held == 25 == held.num_associations
    assert held.num_parameters == 160 * (2 * 8192 + 3 * 5)
    assert nichani_mlp.transplant(pairs, embed_dim=160, width=8192) == held
    with pytest.raises(ValueError, match="3 tokens: 2 are legal"):
        nichani_mlp.transplant(AssociationTask.complete(3, 3, 0), embed_dim=8, width=8)


@pytest.mark.parametrize("alpha", [1.0, 0.5, float("nan")])
def test_zipf_needs_an_exponent_above_one(alpha: float) -> None:
    for call in (
        lambda: cabannes.build(16, alpha=alpha),
        lambda: cabannes.claimed_exponents(alpha),
        lambda: cabannes.error_by_dimension(16, alpha),
        lambda: cabannes.error_by_samples(16, alpha, embed_dim=16),
    ):
        with pytest.raises(ValueError, match="above 1 is legal"):
            call()


def test_sizes_are_refused_at_the_door() -> None:
    task = AssociationTask.complete(3, 2, 0)
    with pytest.raises(ValueError, match="num_stored = 10: at most 9"):
        cabannes.transplant(task, embed_dim=8, num_stored=10)
    with pytest.raises(ValueError, match="num_classes = 1"):
        cabannes.build(8, num_classes=1)
    with pytest.raises(ValueError, match="prompt_len = 1"):
        FactualRecall(2, 2, 2, 1)
    with pytest.raises(ValueError, match="width = 0"):
        nichani_mlp.build(3, embed_dim=4, width=0)
    assert nichani_attention.claimed_capacity(4, 4, 4) is None
    assert nichani_mlp.claimed_capacity(4, 4) is cabannes.claimed_capacity(4) is None
