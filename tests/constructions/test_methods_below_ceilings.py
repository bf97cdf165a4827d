"""All methods: what they hold is right and certain, below the ceilings that bind them, and the chain of counts is in order."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import certify, memorize, planar, scalar
from constructions.construction import Construction
from constructions.memorize import METHODS
from theory import ceilings
from theory.attention_rank import free_attention_rank
from theory.memorization import repaired_associations
from theory.tasks import AssociationTask

IMPROBABLE = 1e-12
SLOW = {"column_generation": {"sweeps": 1}}


def forward(built: Construction) -> np.ndarray:
    """The model's logits by numpy and the definition, one sequence after the other."""
    weights = {name: array.detach().numpy() for name, array in built.model.named_parameters()}
    logits = []
    for sequence in built.task.sequences:
        rows = weights["token_embedding"][sequence] + weights["position_embedding"]
        out = rows[-1].copy()
        for query, key, value, output in zip(*(weights[name] for name in ("query", "key", "value", "output")), strict=True):
            scores = rows @ key @ (rows[-1] @ query)
            attention = np.exp(scores - scores.max())
            out += (attention / attention.sum()) @ rows @ value @ output
        logits.append(weights["unembedding"] @ out)
    return np.array(logits)


def right_by_hand(built: Construction) -> np.ndarray:
    logits = forward(built)
    own = np.arange(len(logits)), built.task.targets
    label = logits[own].copy()
    logits[own] = -np.inf
    return label > logits.max(axis=1)


def build(method: str, task: AssociationTask, embed_dim: int, head_dim: int, num_heads: int | None, seed: int) -> Construction:
    return memorize(
        task, embed_dim=embed_dim, head_dim=head_dim, num_heads=num_heads, method=method, seed=seed, **SLOW.get(method, {})
    )


def code_dim(method: str, embed_dim: int, vocab_size: int) -> int:
    """Dimensions in which labels are told apart."""
    return min(2 if method in ("planar", "scalar") else embed_dim, vocab_size - 1)


def improbable_count(code: int, features: int, vocab_size: int) -> int:
    """The fewest random associations that frozen heads hold, all of them, with a probability below IMPROBABLE (U2)."""

    def share(count: int) -> float:
        labelings = ceilings.readout_labelings_log2(vocab_size, code, features, count)
        return ceilings.label_probability(labelings, vocab_size, count)

    low, high = 1, 2
    while share(high) >= IMPROBABLE:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if share(middle) >= IMPROBABLE else (low, middle)
    return high


def assert_not_everything(built: Construction, right: np.ndarray) -> None:
    """Heads that were chosen before the labels cannot hold all of so many random labels."""
    assert not right.all(), f"{built.method} holds all of {built.task}: {dict(built.model.named_parameters())}"


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(("vocab_size", "embed_dim", "num_heads"), [(4, 2, 1), (6, 2, 3), (7, 3, 2), (8, 4, 0)])
def test_what_is_held_runs_right_and_is_certain(method: str, vocab_size: int, embed_dim: int, num_heads: int) -> None:
    task = AssociationTask.complete(vocab_size, 2, seed=vocab_size)
    built = build(method, task, embed_dim, 1 if method == "scalar" else 2, num_heads, 0)
    right = right_by_hand(built)
    assert right[built.held].all(), f"{method}: held is not what runs right"
    statement = certify(built.model, task, dtypes=()).statements["exact"]
    assert statement.num_right == right.sum() and statement.num_undecided == 0
    proved = certify(built.model, task, indices=built.held, dtypes=()).statements["exact"].num_right if len(built.held) else 0
    assert proved == built.num_held, f"{method}: {proved} of {built.num_held} held associations are certain"


FROZEN = ("staircase", "generic", "planar", "scalar", "readout")


@pytest.mark.parametrize("method", FROZEN)
@settings(max_examples=8)
@given(embed_dim=st.integers(2, 3), num_heads=st.integers(0, 2), seed=st.integers(0, 2**32 - 1))
def test_heads_frozen_before_the_labels_stay_below_covers_count(
    method: str, embed_dim: int, num_heads: int, seed: int
) -> None:
    vocab_size = 24
    count = improbable_count(code_dim(method, embed_dim, vocab_size), embed_dim * (num_heads + 1), vocab_size)
    task = AssociationTask.random(vocab_size, 2, count, seed)
    built = build(method, task, embed_dim, 1 if method == "scalar" else 2, num_heads, seed % 1000)
    assert_not_everything(built, right_by_hand(built))


def test_holding_too_much_would_be_noticed() -> None:
    """Labels that the model itself gives are no random labels, and all of them are held."""
    count = improbable_count(2, 6, 24)
    task = AssociationTask.random(24, 2, count, seed=0)
    built = build("planar", task, 2, 2, 2, 0)
    assert_not_everything(built, right_by_hand(built))
    answers = AssociationTask(task.sequences, forward(built).argmax(axis=1), 24)
    with pytest.raises(AssertionError, match="planar holds all of"):
        assert_not_everything(built, right_by_hand(replace(built, task=answers)))


@settings(max_examples=60)
@given(
    vocab_size=st.integers(3, 12), embed_dim=st.integers(2, 4), num_heads=st.integers(0, 8), seed=st.integers(0, 2**32 - 1)
)
def test_the_chain_of_counts_is_in_order(vocab_size: int, embed_dim: int, num_heads: int, seed: int) -> None:
    """What plans promise: Corollary 1 with d_h = 1 <= scalar <= planar's rank, and never more than free attention allows."""
    task = AssociationTask.complete(vocab_size, 2, seed)
    total, last = task.num_associations, task.num_last_tokens
    one = scalar.plan(task, embed_dim=embed_dim, num_heads=num_heads).num_held
    two = planar.plan(task, embed_dim=embed_dim, num_heads=num_heads).num_held
    most = free_attention_rank(task, embed_dim=embed_dim, head_dim=embed_dim, num_heads=num_heads, seed=0)
    assert repaired_associations(num_heads, 1, embed_dim, last, total) <= one <= most
    assert min(total, (embed_dim - 1) * (num_heads + 1) + 1) <= one or last < embed_dim
    assert one <= embed_dim * num_heads + min(embed_dim, last) and two <= most


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_same_seed_gives_the_same_weights(method: str) -> None:
    task = AssociationTask.complete(5, 2, seed=3)
    one, two = (build(method, task, 2, 1 if method == "scalar" else 2, 3, 11) for _ in range(2))
    for (name, first), second in zip(one.model.named_parameters(), two.model.parameters(), strict=True):
        assert np.array_equal(first.detach().numpy(), second.detach().numpy()), name


@pytest.mark.parametrize("method", sorted(METHODS))
def test_an_option_that_is_none_is_refused(method: str) -> None:
    task = AssociationTask.complete(3, 2, seed=0)
    with pytest.raises(ValueError, match=f"luck = 7: is no option of method = '{method}'"):
        memorize(task, embed_dim=2, head_dim=2, method=method, luck=7)


def test_auto_has_no_options() -> None:
    with pytest.raises(ValueError, match="is no option of method = 'auto'; legal are none"):
        memorize(AssociationTask.complete(3, 2, seed=0), embed_dim=2, head_dim=2, search=3)


def test_the_forward_pass_by_hand_is_the_models() -> None:
    built = build("staircase", AssociationTask.complete(5, 2, seed=0), 2, 2, None, 0)
    import torch

    with torch.no_grad():
        logits = built.model(torch.from_numpy(np.array(built.task.sequences))).numpy()
    np.testing.assert_allclose(forward(built), logits, rtol=1e-9, atol=1e-9)
