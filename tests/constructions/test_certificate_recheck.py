"""Rechecks believe nothing, and certificates of rank never say too much."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from constructions import AttentionOnlyTransformer, memorize
from constructions.aot import PARAMETER_NAMES
from constructions.certificate import certify, certify_rank, recheck
from theory.tasks import AssociationTask


def random_model(
    task: AssociationTask, shape: tuple[int, int, int], seed: int, scales: dict[str, float]
) -> AttentionOnlyTransformer:
    generator = torch.Generator().manual_seed(seed)
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, *shape)
    with torch.no_grad():
        for name in PARAMETER_NAMES:
            weight = getattr(model, name)
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * scales.get(name, 1.0))
    return model


def forged(found, name: str, **changes):
    return replace(found, statements={**found.statements, name: replace(found.statements[name], **changes)})


def test_a_recheck_believes_nothing() -> None:
    """Every claim, falsified one at a time, is found out; each complaint names the association."""
    task = AssociationTask.complete(4, 2, 0)
    model = memorize(task, embed_dim=2, head_dim=2).model
    targets = np.where(np.arange(16) < 5, (task.targets + 1) % 4, task.targets)
    task = AssociationTask(task.sequences, targets, 4)  # of which the model holds all but five
    found = certify(model, task, rank=True, max_precision=128)
    exact = found.statements["exact"]
    assert exact.num_right and exact.num_wrong and recheck(found, model, task).agreed
    for name in found.statements:
        statement = found.statements[name]
        for row in (0, 4, 5, 15):
            verdicts = statement.verdicts.copy()
            verdicts[row] = -1 if verdicts[row] == 1 else 1
            lower, upper = statement.lower.copy(), statement.upper.copy()
            lower[row], upper[row] = (-np.inf, 0.0) if verdicts[row] == -1 else (0.0, np.inf)
            lies = [{"verdicts": verdicts}, {"verdicts": verdicts, "lower": lower, "upper": upper}]
            lies += [{"lower": np.where(np.arange(16) == row, statement.upper + 1e-3, statement.lower)}]
            lies += [{"upper": np.where(np.arange(16) == row, statement.lower - 1e-3, statement.upper)}]
            lies += [{"lower": np.where(np.arange(16) == row, np.nan, statement.lower)}]
            blank = statement.verdicts.copy()
            blank[row] = 0
            lies += [{"verdicts": blank}]
            for lie in lies:
                again = recheck(forged(found, name, **lie), model, task)
                assert not again.agreed and any(f"association {row}:" in line for line in again.disagreements)
    narrower = exact.lower + (exact.upper - exact.lower) * 0.6  # a bound that is false by a hair
    assert not recheck(forged(found, "exact", lower=narrower), model, task).agreed
    assert not recheck(replace(found, task_fingerprint="0" * 64), model, task).agreed
    assert not recheck(replace(found, weights_sha256="0" * 64), model, task).agreed
    assert not recheck(replace(found, statements={}), model, task).agreed
    assert not recheck(replace(found, indices=found.indices[::-1].copy()), model, task).agreed
    rank = found.rank
    assert rank is not None and rank.rank >= 3
    doubled = np.concatenate([rank.features[:1], rank.features[:-1]])
    lies_of_rank = ({"rank": rank.rank + 1}, {"features": doubled}, {"features": rank.features + 10**6})
    for lie in (replace(rank, **changes) for changes in lies_of_rank):
        assert any("rank" in line for line in recheck(replace(found, rank=lie), model, task).disagreements)


@pytest.mark.parametrize("name", PARAMETER_NAMES)
def test_a_flipped_bit_in_the_weights_is_detected(name: str) -> None:
    task = AssociationTask.complete(3, 2, 0)
    model = random_model(task, (2, 2, 2), 0, {})
    found = certify(model, task, dtypes=())
    flat = getattr(model, name).data.view(-1)
    for place in range(flat.numel()):
        for bit in (0, 31, 51, 63):
            flat.view(torch.int64)[place] ^= 1 << bit if bit < 63 else -(1 << 63)
            assert any("weights" in line for line in recheck(found, model, task).disagreements)
            flat.view(torch.int64)[place] ^= 1 << bit if bit < 63 else -(1 << 63)
    assert recheck(found, model, task).agreed


def test_a_changed_task_is_detected() -> None:
    task = AssociationTask.complete(3, 2, 0)
    model = random_model(task, (2, 2, 2), 0, {})
    found = certify(model, task, dtypes=())
    for row in range(task.num_associations):
        targets = task.targets.copy()
        targets[row] = (targets[row] + 1) % 3
        assert not recheck(found, model, AssociationTask(task.sequences, targets, 3)).agreed
    order = np.arange(9)[::-1]
    assert not recheck(found, model, AssociationTask(task.sequences[order], task.targets[order], 3)).agreed


# Rank ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vocab_size", "seq_len", "shape", "count", "rank"),
    [(10, 2, (2, 5, 2), 40, 12), (6, 2, (3, 0, 2), 36, 3), (9, 2, (2, 20, 2), 42, 42), (8, 3, (4, 5, 4), 60, 24),
     (5, 1, (2, 3, 2), 5, 2)],
)
def test_rank_of_generic_models(vocab_size, seq_len, shape, count, rank) -> None:
    """d + H d_h where there are enough sequences; one position alone has only the values of x_S, rank d."""
    task = AssociationTask.random(vocab_size, seq_len, count, 0)
    model = random_model(task, shape, 3, {})
    found = certify_rank(model, task)
    assert found.rank == rank == len(found.features) == len(found.associations)
    whole = replace(certify(model, task, dtypes=(), max_precision=4096), rank=found)
    assert recheck(whole, model, task).agreed


def test_rank_of_constant_sequences_is_never_overstated() -> None:
    """(a, .., a) leaves d + H min(d_h, S - 1) at most, whatever d + H d_h says (the counterexample to Lemma 2 for S <= d)."""
    for seq_len, shape, most in ((2, (2, 5, 2), 7), (3, (4, 5, 4), 14)):
        task = AssociationTask(np.repeat(np.arange(30)[:, None], seq_len, axis=1), np.zeros(30, dtype=np.int64), 30)
        found = certify_rank(random_model(task, shape, 0, {}), task)
        assert found.rank == most < shape[0] + shape[1] * shape[2]


def test_rank_by_balls_where_float64_can_not_tell() -> None:
    """A minor with condition number far beyond 1e16: the rank is full all the same, and proved with more bits."""
    task = AssociationTask.random(6, 2, 20, 0)
    model = random_model(task, (2, 9, 2), 0, {"query": 1e-4, "key": 1e-4})
    found = certify_rank(model, task)
    assert found.rank == 20 and found.precision > 53
    assert recheck(replace(certify(model, task, dtypes=()), rank=found), model, task).agreed


def test_notes_and_precisions_are_those_that_certify_gives() -> None:
    task = AssociationTask.random(4, 2, 5, 0)
    model = memorize(task, embed_dim=2, head_dim=2).model
    found = certify(model, task, dtypes=("float32",), max_precision=200, rank=True)
    assert recheck(found, model, task).agreed
    ones = np.ones(5, np.int32)
    for name, changes, word in (
        ("exact", {"note": "proved by hand"}, "note"),
        ("float32", {"note": "weights overflow float32"}, "note"),
        ("exact", {"precision": 52 * ones}, "53, 64, 128, 200 bits"),
        ("exact", {"precision": 256 * ones}, "precision"),
        ("float32", {"precision": 64 * ones}, "precision"),
    ):
        result = recheck(forged(found, name, **changes), model, task)
        assert len(result.disagreements) == 1 and word in result.disagreements[0] and name in result.disagreements[0]
    assert recheck(forged(found, "exact", precision=200 * ones), model, task).agreed  # no evidence: see the docs
    for bits, agreed in ((200, True), (54, False), (256, False)):
        assert recheck(replace(found, rank=replace(found.rank, precision=bits)), model, task).agreed is agreed


def test_nothing_is_known_where_weights_overflow() -> None:
    task = AssociationTask.random(4, 2, 5, 0)
    model = memorize(task, embed_dim=2, head_dim=2).model
    model.output.data *= 1e300
    found = certify(model, task, dtypes=("float32",), max_precision=64)
    assert recheck(found, model, task).agreed and found.statements["float32"].note == "weights overflow float32"
    infinite = np.full(5, np.inf)
    for changes in ({"lower": np.zeros(5)}, {"upper": np.zeros(5)}, {"lower": infinite}, {"upper": -infinite}, {"note": ""}):
        assert not recheck(forged(found, "float32", **changes), model, task).agreed
