"""No method holds more than the ceilings that it is bound by allow, and the chain of counts is in order."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import certify, memorize
from constructions.construction import Construction
from constructions.memorize import METHODS
from theory import ceilings
from theory.memorization import parameter_count
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


def code_dim(method: str, embed_dim: int, head_dim: int, vocab_size: int) -> int:
    """Dimensions in which labels are told apart."""
    wide = {"planar": 2, "scalar": 2, "generic": embed_dim, "readout": embed_dim}[method]
    return min(wide, embed_dim, vocab_size - 1)


def assert_probable(built: Construction, method: str, held: int) -> None:
    """Heads chosen before the labels (U2): that some k of T0 random labels are held has a probability, which is not tiny."""
    task, model = built.task, built.model
    if held == 0:
        return
    features = model.embed_dim * (model.num_heads + 1)
    labelings = ceilings.readout_labelings_log2(
        task.vocab_size, code_dim(method, model.embed_dim, model.head_dim, task.vocab_size), features, held
    )
    share = ceilings.label_probability(labelings, task.vocab_size, held)
    log_choices = math.lgamma(task.num_associations + 1) - math.lgamma(held + 1) - math.lgamma(task.num_associations - held + 1)
    log_probability = log_choices + (math.log(share) if share > 0 else -math.inf)
    assert log_probability > math.log(IMPROBABLE), f"{method} holds {held} of {task}: {dict(model.named_parameters())}"


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(("vocab_size", "embed_dim", "num_heads"), [(4, 2, 1), (6, 2, 3), (7, 3, 2), (8, 4, 0)])
def test_nothing_beats_counting(method: str, vocab_size: int, embed_dim: int, num_heads: int) -> None:
    task = AssociationTask.complete(vocab_size, 2, seed=vocab_size)
    head_dim = 1 if method == "scalar" else 2
    built = build(method, task, embed_dim, head_dim, num_heads, 0)
    right = right_by_hand(built)
    assert right[built.held].all(), f"{method}: held is not what runs right"
    held = int(right.sum())
    sizes = (vocab_size, 2, embed_dim, head_dim, built.num_heads)
    assert held <= ceilings.counting_ceiling(vocab_size, 2)
    parameters = parameter_count(vocab_size, 2, embed_dim, built.num_heads, head_dim)
    assert held <= ceilings.bits_ceiling(vocab_size, parameters, 64), f"{method}: {dict(built.model.named_parameters())}"
    assert held <= ceilings.softmax_ceiling(*sizes)
    proved = certify(built.model, task, indices=built.held, dtypes=()).statements["exact"].num_right if len(built.held) else 0
    assert proved == built.num_held, f"{method}: {proved} of {built.num_held} held associations are certain"


@pytest.mark.parametrize("method", ["generic", "planar", "scalar", "readout"])
@settings(max_examples=12)
@given(
    vocab_size=st.integers(3, 8), embed_dim=st.integers(2, 4), num_heads=st.integers(0, 3), seed=st.integers(0, 2**32 - 1)
)
def test_frozen_heads_stay_below_covers_count(
    method: str, vocab_size: int, embed_dim: int, num_heads: int, seed: int
) -> None:
    task = AssociationTask.complete(vocab_size, 2, seed)
    built = build(method, task, embed_dim, 1 if method == "scalar" else 2, num_heads, seed % 1000)
    assert_probable(built, method, int(right_by_hand(built).sum()))


def test_holding_too_much_would_be_noticed() -> None:
    built = build("planar", AssociationTask.complete(8, 2, seed=0), 2, 2, 2, 0)
    assert_probable(built, "planar", int(right_by_hand(built).sum()))
    with pytest.raises(AssertionError, match="planar holds 64"):
        assert_probable(built, "planar", 64)


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
