"""Mahdavi et al. and Huben and Morris: heads that hold what their statements claim, and statements at their limits."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer
from constructions.construction import logit_margins
from constructions.rivals import huben_morris, mahdavi
from constructions.rivals._saturated_heads import head_maps, realize_attention
from constructions.rivals.bubeck import ReluNetwork, fit
from theory.strategies import association_tasks
from theory.tasks import AssociationTask

SEEDS = st.integers(0, 10**6)


# Mahdavi, Liao and Thrampoulidis 2024


@given(
    num_heads=st.integers(1, 8),
    context_size=st.integers(1, 5),
    spare=st.integers(0, 4),
    head_dim=st.integers(1, 6),
    shared=st.booleans(),
    seed=SEEDS,
)
def test_mahdavi_holds_what_is_claimed(
    num_heads: int, context_size: int, spare: int, head_dim: int, shared: bool, seed: int
) -> None:
    dim = context_size + spare
    memory = mahdavi.build(
        num_heads=num_heads,
        context_size=context_size,
        embed_dim=dim,
        head_dim=head_dim,
        num_labels=100,
        seed=seed,
        shared_context=shared,
    )
    assert memory.num_held == memory.num_associations == memory.claimed == num_heads * (min(context_size, head_dim) - 1) + 1
    assert memory.num_parameters == num_heads * dim * (2 * head_dim + 1)
    assert memory.num_heads == num_heads and memory.model is None and memory.setting == "own"


@given(num_heads=st.integers(1, 5), context_size=st.integers(2, 5), more=st.integers(1, 3), seed=SEEDS)
def test_mahdavi_fails_one_beyond_when_contexts_coincide(num_heads: int, context_size: int, more: int, seed: int) -> None:
    """With d_h >= n and one context the features have the claimed rank and no more, so that some label has no place."""
    dim, claimed = context_size + 2, num_heads * (context_size - 1) + 1
    rng = np.random.default_rng(seed)
    contexts, queries = rng.standard_normal((1, context_size, dim)), rng.standard_normal((claimed + more, dim))
    labels = rng.standard_normal(claimed + more)
    heads = mahdavi.memorize(contexts, queries, labels, num_heads=num_heads, head_dim=context_size, seed=seed)
    seen = mahdavi.features(contexts, queries, heads.query, heads.key)
    singular = np.linalg.svd(seen, compute_uv=False)
    assert claimed == mahdavi.shared_context_rank(num_heads, context_size, dim, claimed + more)
    assert singular[claimed - 1] > 1e-9 * singular[0]
    assert (singular[claimed:] < 1e-12 * singular[0]).all()
    assert np.abs(mahdavi.outputs(heads, contexts, queries) - labels).max() > 1e-6


@given(num_heads=st.integers(1, 4), context_size=st.integers(2, 4), seed=SEEDS)
def test_claim_is_not_tight_in_the_width_of_heads(num_heads: int, context_size: int, seed: int) -> None:
    """d_h = 1, one example claimed: heads of rank one have features of rank H (n - 1) + 1; one draw of twenty shows it."""
    dim = context_size + 1
    rng = np.random.default_rng(seed)
    total = num_heads * (context_size - 1) + 1
    contexts, queries = rng.standard_normal((1, context_size, dim)), rng.standard_normal((total + 3, dim))
    draws = 2 * rng.standard_normal((20, 2, num_heads, dim, 1))
    found = [np.linalg.svd(mahdavi.features(contexts, queries, *draw), compute_uv=False) for draw in draws]
    assert mahdavi.claimed_capacity(num_heads, context_size, 1) == 1
    assert all((singular[total:] < 1e-13 * total * singular[0]).all() for singular in found)  # the ceiling, whatever the heads
    assert max(singular[total - 1] / singular[0] for singular in found) > 1e-11 * total


@given(dim=st.integers(3, 8), seed=SEEDS)
def test_ceiling_is_for_attention_that_does_not_know_the_labels(dim: int, seed: int) -> None:
    """One head, n = 2, one context: d > H (n - 1) + 1 = 2 labels are met exactly by attention chosen for them."""
    rng = np.random.default_rng(seed)
    contexts, queries = rng.standard_normal((1, 2, dim)), rng.standard_normal((dim, dim))
    labels = rng.uniform(0.1, 0.9, dim)
    query, key = realize_attention(contexts, queries, np.stack([1 - labels, labels], axis=1), head_dim=2)
    value = np.linalg.pinv(contexts[0]) @ np.array([0.0, 1.0])
    heads = mahdavi.ScalarHeads(query[None], key[None], value[None])
    condition = np.linalg.cond(queries) * np.linalg.cond(contexts[0])
    assume(condition < 1e6)
    assert dim > mahdavi.shared_context_rank(1, 2, dim, dim) == 2
    np.testing.assert_allclose(mahdavi.outputs(heads, contexts, queries), labels, rtol=0, atol=100 * dim * 2.0**-52 * condition)


@given(num_queries=st.integers(1, 5), context_size=st.integers(1, 4), shared=st.booleans(), spare=st.integers(0, 2), seed=SEEDS)
def test_chosen_attention_is_realized(num_queries: int, context_size: int, shared: bool, spare: int, seed: int) -> None:
    """In exactly the widths that are said to be enough; narrower heads are refused."""
    dim = 6
    rng = np.random.default_rng(seed)
    contexts = rng.standard_normal((1 if shared else num_queries, context_size, dim))
    queries, weights = rng.standard_normal((num_queries, dim)), rng.dirichlet(np.ones(context_size) * 2, num_queries)
    least = min(context_size, num_queries) if len(contexts) == 1 else num_queries
    query, key = realize_attention(contexts, queries, weights, head_dim=least + spare)
    assert query.shape == key.shape == (dim, least + spare)
    scores = np.einsum("tnd,dw,tw->tn", np.broadcast_to(contexts, (num_queries, context_size, dim)), key, queries @ query)
    realized = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    condition = np.linalg.cond(queries) * max(np.linalg.cond(context) for context in contexts)
    size = np.abs(np.log(weights)).max() + 1
    np.testing.assert_allclose(realized, weights, rtol=0, atol=100 * dim * 2.0**-52 * condition * size)
    with pytest.raises(ValueError, match=f"head_dim = {least - 1}: at least {least} is legal"):
        realize_attention(contexts, queries, weights, head_dim=least - 1)


@given(own=st.integers(0, 3), others=st.integers(1, 8), shared=st.booleans(), seed=SEEDS)
def test_a_head_is_saturated_on_what_it_does_not_own(own: int, others: int, shared: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    contexts = rng.standard_normal((1 if shared else own + others, 4, 6))
    queries = rng.standard_normal((own + others, 6))
    query, key = head_maps(contexts, queries, np.arange(own), rng)
    assert query.shape == key.shape == (6, own + 1)  # with own = n - 1 the width is n
    scores = np.einsum("tnd,dw,tw->tn", np.broadcast_to(contexts, (own + others, 4, 6)), key, queries @ query)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    assert (weights[own:].max(axis=1) > 1 - 1e-15).all()
    assert (weights[:own].max(axis=1) < 0.99).all()


def test_broken_assumptions_are_named() -> None:
    rng = np.random.default_rng(0)
    contexts, queries, labels = rng.standard_normal((5, 3, 4)), rng.standard_normal((5, 4)), rng.standard_normal(5)
    deficient = contexts.copy()
    deficient[3, 2] = deficient[3, 0] - 2 * deficient[3, 1]
    with pytest.raises(ValueError, match=r"contexts\[3\] has rank 2: full row rank n = 3 is assumed"):
        mahdavi.memorize(deficient, queries, labels, num_heads=2, head_dim=3)
    with pytest.raises(ValueError, match="full row rank n = 5 is assumed"):
        mahdavi.memorize(rng.standard_normal((5, 5, 4)), queries, labels, num_heads=1, head_dim=5)
    parallel = queries.copy()
    parallel[4] = -3 * parallel[1]
    with pytest.raises(ValueError, match="Kruskal rank >= n = 3 is assumed"):
        mahdavi.memorize(contexts, parallel, labels, num_heads=2, head_dim=3)
    with pytest.raises(ValueError, match="context_size = 5: 1 to embed_dim = 4 are legal"):
        mahdavi.build(num_heads=1, context_size=5, embed_dim=4, head_dim=2, num_labels=2, seed=0)
    with pytest.raises(ValueError, match="num_heads = 0"):
        mahdavi.claimed_capacity(0, 2, 2)


@given(
    task=association_tasks(seq_len=2, num_associations=(1, 20)),
    embed_dim=st.integers(2, 6),
    head_dim=st.integers(1, 6),
    num_heads=st.integers(1, 12),
    seed=SEEDS,
)
@settings(max_examples=60)
def test_mahdavi_transplanted_holds_heads_and_one(
    task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int, seed: int
) -> None:
    """On every kind of task, those with a single last token and those of pairs (a, a) included."""
    memory = mahdavi.transplant(task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed)
    assert memory.claimed == (num_heads + 1 if head_dim > 1 else 1)
    assert memory.num_held == memory.num_associations == min(task.num_associations, memory.claimed)
    model = memory.model
    assert model is not None and memory.num_parameters == sum(weight.numel() for weight in model.parameters())
    assert int((logit_margins(model, task) > 0).sum()) >= memory.num_held
    repeated = len(np.unique(task.sequences[:, 1])) == 1 and memory.num_associations > 1
    assert memory.notes["assumption on queries"].startswith("broken") or not repeated


@pytest.mark.parametrize("alike", ["pairs (a, a)", "last token"])
def test_mahdavi_transplanted_where_nearly_all_is_alike(alike: str) -> None:
    """One difference of rows, or one last row, for all pairs, and far more of them than the embedding has dimensions."""
    tokens = np.arange(16)
    sequences = np.stack([tokens, tokens if alike == "pairs (a, a)" else np.full(16, 3)], axis=1)
    task = AssociationTask(sequences, np.random.default_rng(0).integers(0, 16, 16), 16)
    for seed in range(3):
        assert mahdavi.transplant(task, embed_dim=2, head_dim=2, num_heads=15, seed=seed).num_held == 16


# Huben and Morris 2023


@given(neurons=st.integers(0, 8), input_dim=st.integers(1, 5), scale=st.sampled_from([0.1, 1.0, 30.0]), seed=SEEDS)
def test_heads_are_the_neurons(neurons: int, input_dim: int, scale: float, seed: int) -> None:
    """The transformer's stream is x + MLP(x), up to the rounding of two float64 evaluations."""
    rng = np.random.default_rng(seed)
    inward, outward = scale * rng.standard_normal((neurons, input_dim)), rng.standard_normal((neurons, input_dim))
    bias, points = scale * rng.standard_normal(neurons), rng.standard_normal((6, input_dim))
    heads = huben_morris.heads_from_mlp(inward, bias, outward)
    model = AttentionOnlyTransformer(max(7, input_dim + 1), 2, input_dim + 1, neurons, 1)
    with torch.no_grad():
        model.token_embedding[1:7, :-1] = torch.from_numpy(points)  # token 0 is the bias token
        model.position_embedding[1, -1] = 1.0
        for name, array in heads._asdict().items():
            getattr(model, name).copy_(torch.from_numpy(array))
        model.unembedding[: input_dim + 1] = torch.eye(input_dim + 1, dtype=torch.float64)
        stream = model(torch.tensor([[0, token] for token in range(1, 7)])).numpy()[:, : input_dim + 1]
    before = points @ inward.T + bias
    expected = points + (before * torch.sigmoid(torch.from_numpy(before)).numpy()) @ outward
    # |silu'| < 1.1 and |z sigmoid'| < 0.3: an error in z or in a weight is at most doubled; magnitudes bound the sums.
    magnitude = np.abs(points) + (np.abs(points) @ np.abs(inward).T + np.abs(bias)) @ np.abs(outward)
    bound = 4 * (neurons + input_dim + 16) * 2.0**-52 * magnitude
    assert (np.abs(stream[:, :-1] - expected) <= bound).all()
    assert (stream[:, -1] == 1.0).all()


@given(num_associations=st.integers(1, 40), input_dim=st.integers(1, 8), seed=SEEDS)
def test_bumps_as_heads_hold_what_is_claimed(num_associations: int, input_dim: int, seed: int) -> None:
    """Four heads of width 1 for d_in associations, as the ReLU network needs four units."""
    memory = huben_morris.build(num_associations=num_associations, input_dim=input_dim, network="bubeck", seed=seed)
    assert memory.num_heads == 4 * -(-num_associations // input_dim)
    assert memory.num_held == memory.num_associations == num_associations <= memory.claimed < num_associations + input_dim
    assert memory.model is not None and memory.model.head_dim == 1 and memory.model.embed_dim == input_dim + 1


@given(num_associations=st.integers(1, 40), input_dim=st.integers(2, 8), seed=SEEDS)
def test_random_neurons_hold_one_association_each(num_associations: int, input_dim: int, seed: int) -> None:
    memory = huben_morris.build(num_associations=num_associations, input_dim=input_dim, network="features", seed=seed)
    assert memory.num_held == memory.num_heads == memory.claimed == num_associations


@given(
    task=association_tasks(seq_len=2),
    embed_dim=st.integers(2, 7),
    head_dim=st.integers(1, 3),
    num_heads=st.integers(0, 16),
    network=st.sampled_from(["features", "bubeck", None]),
    seed=SEEDS,
)
@settings(max_examples=80)
def test_huben_morris_transplanted_holds_what_it_is_given(
    task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int, network: str | None, seed: int
) -> None:
    memory = huben_morris.transplant(
        task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, seed=seed, network=network
    )
    assert memory.num_held == memory.num_associations <= min(memory.claimed, task.num_associations)
    single = len(np.unique(task.sequences[:, 0])) == 1
    alike = int((task.sequences[:, 0] == task.sequences[:, 1]).sum())
    if network == "features":
        room = task.num_associations if single else task.num_associations - max(0, alike - embed_dim)
        assert memory.num_associations == min(num_heads, room)
    if network == "bubeck" and single:
        assert memory.num_associations == min(task.num_associations, num_heads // 4 * (embed_dim - 1))
    model = memory.model
    assert model is not None
    assert not model.value[:, :, 1:].any() and not model.output[:, 1:].any()  # width 1, whatever the model's
    assert int((logit_margins(model, task) > 0).sum()) >= memory.num_held


@given(num_points=st.integers(1, 30), input_dim=st.integers(1, 6), seed=SEEDS)
def test_sharp_silu_stands_in_for_relu(num_points: int, input_dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((num_points, input_dim))
    relu = fit(points, rng.standard_normal(num_points), seed=seed)
    sharp, beta = huben_morris.sharpened(relu, points)
    assert beta >= 1 and sharp.inward.shape == relu.inward.shape
    before = points @ sharp.inward.T + sharp.bias
    silu = (before * torch.sigmoid(torch.from_numpy(before)).numpy()) @ sharp.outward
    rounding = 8 * (relu.error_bound(points) + sharp.error_bound(points))
    assert (np.abs(silu - relu(points)) <= huben_morris.TINY + rounding).all()


def test_no_sharpness_is_enough_on_a_kink() -> None:
    network = ReluNetwork(np.array([[1.0]]), np.array([-2.0]), np.array([1.0]))
    with pytest.raises(ValueError, match="kink"):
        huben_morris.sharpened(network, np.array([[2.0]]))


def test_same_seed_same_weights() -> None:
    task = AssociationTask.complete(5, 2, 0)
    for transplant in (mahdavi.transplant, huben_morris.transplant):
        models = [transplant(task, embed_dim=3, head_dim=2, num_heads=8, seed=seed).model for seed in (1, 1, 2)]
        first, again, other = (model.state_dict() for model in models if model is not None)
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["key"], other["key"])


@pytest.mark.bad_input
def test_transplants_refuse_by_name() -> None:
    triples, pairs = AssociationTask.complete(2, 3, 0), AssociationTask.complete(3, 2, 0)
    for transplant in (mahdavi.transplant, huben_morris.transplant):
        with pytest.raises(ValueError, match="task has sequences of 3 tokens: 2 is legal"):
            transplant(triples, embed_dim=2, head_dim=2, num_heads=3, seed=0)
        with pytest.raises(ValueError, match="embed_dim = 1"):
            transplant(pairs, embed_dim=1, head_dim=2, num_heads=3, seed=0)
    with pytest.raises(ValueError, match="network = 'relu': 'features' and 'bubeck' are legal"):
        huben_morris.build(num_associations=3, input_dim=2, network="relu", seed=0)
