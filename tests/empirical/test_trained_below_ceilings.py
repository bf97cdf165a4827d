"""Trained models against the upper bounds: what they hold never exceeds what their bits, or hard attention's counts, allow."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer, logit_margins
from empirical.training import TrainingSettings, train
from theory.ceilings import bits_ceiling, hard_attention_ceiling, hard_attention_labelings_log2, label_probability
from theory.memorization import parameter_count
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

SHORT = TrainingSettings(batch_size=64, num_batches=8, epochs=12, learning_rate=0.03, accuracy_window=10)
CERTAIN = 1e-9
"""A ceiling holds for all labels but a share; where that share of random labels is below this, a violation is a bug."""


def held(model: AttentionOnlyTransformer, task: AssociationTask) -> int:
    return int((logit_margins(model, task) > 0).sum())


@settings(max_examples=12)
@given(
    vocab=st.integers(4, 24), dim=st.integers(1, 3), heads=st.integers(0, 3), width=st.integers(1, 3), seed=st.integers(0, 99)
)
def test_trained_models_stay_below_both_ceilings(vocab: int, dim: int, heads: int, width: int, seed: int) -> None:
    task = AssociationTask.complete(vocab, 2, seed)
    shape = AttentionShape(dim, heads, width)
    found = train(task=task, shapes=[shape], num_models=2, settings=SHORT, variant="paper", seed=seed)
    parameters = parameter_count(vocab, 2, dim, heads, width)
    for model in found.finished:
        right = held(model.to_transformer(torch.float32), task)
        assert right <= bits_ceiling(vocab, parameters, 32)
        ceiling = hard_attention_ceiling(vocab, 2, dim, width, heads)
        if right > ceiling:  # the ceiling is on all labelings of some set: random labels may pass it only by luck
            log2 = hard_attention_labelings_log2(vocab, 2, dim, width, heads, right)
            assert label_probability(log2, vocab, right) > CERTAIN


@pytest.mark.parametrize(("vocab", "bits"), [(64, 8), (100, 4)])
def test_a_ceiling_of_bits_is_below_the_table_where_weights_are_few_and_short(vocab: int, bits: int) -> None:
    """The comparison is not empty: with few short weights a table is out of reach, and training shows it."""
    parameters = parameter_count(vocab, 2, 1, 0, 1)
    ceiling = bits_ceiling(vocab, parameters, bits)
    assert ceiling < vocab * vocab
    task = AssociationTask.complete(vocab, 2, 0)
    found = train(task=task, shapes=[AttentionShape(1, 0, 1)], num_models=1, settings=SHORT, variant="paper", seed=0)
    assert held(found.finished[0].to_transformer(), task) <= ceiling
