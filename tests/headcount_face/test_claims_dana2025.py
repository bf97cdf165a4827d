"""Every claim of Dana, Pydi and Chevaleyre 2025, quick: the verdict on record, and another when its formula is broken."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from constructions import logit_margins
from empirical.training import TrainingSettings, train
from headcount.claims import Claim, Effort, Outcome, Verdict, decide, ledger, records, verify
from headcount.claims.dana2025 import _count_checks
from headcount.claims.dana2025._weights import one_head_cannot
from theory import memorization
from theory.attention_rank import softmax_rank
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask
from theory.thresholds import threshold_associations

CLAIMS = {claim.name.partition("/")[2]: claim for claim in ledger("dana2025")}
QUICK = [name for name, claim in CLAIMS.items() if claim.check is not None and claim.least_effort is Effort.QUICK]
RIGHT_FORMULAS = {
    "remark-heads": memorization.corollary_1_heads,
    "lemma-2-softmax": softmax_rank,
    "slope-factor-printed": lambda: 1.5,
    # A tenth of the labels can't be told at all: half of all tables of T sequences avoid them while 0.9^T >= 1/2.
    "threshold-any-code": lambda features, code: threshold_associations(features, code).value or 6.5,
}
"""For refuted statements of equality and for those that speak of several things: what is true instead."""


@cache
def outcome(name: str) -> Outcome:
    return verify(CLAIMS[name], Effort.QUICK)


@pytest.mark.parametrize("name", QUICK)
def test_the_verdict_is_the_one_on_record(name: str) -> None:
    found = outcome(name)
    assert found.failure is None
    assert found.verdict is records.shipped("dana2025")[CLAIMS[name].name][Effort.QUICK].verdict


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_formula_turns_the_verdict(name: str, broken: Callable[..., Claim]) -> None:
    before = outcome(name)
    if name in RIGHT_FORMULAS:
        sabotaged = replace(CLAIMS[name], formula=RIGHT_FORMULAS[name])
    else:
        sabotaged = broken(CLAIMS[name], before.verdict, before.evidence)
    after = verify(sabotaged, Effort.QUICK)
    assert after.failure is None
    assert after.verdict is not before.verdict
    assert (after.verdict is Verdict.REFUTED) != (before.verdict is Verdict.REFUTED)


def test_the_ledger_is_whole() -> None:
    assert len(CLAIMS) >= 25
    kept = records.shipped("dana2025")
    assert set(kept) == {claim.name for claim in CLAIMS.values()}
    for claim in CLAIMS.values():
        assert claim.repairs is None or claim.repairs.partition("/")[2] in CLAIMS
        assert claim.check is not None or claim.note
        # At effort standard all is checked but what cannot be.
        assert (kept[claim.name][Effort.STANDARD].verdict is Verdict.NOT_CHECKED) == (claim.check is None)


def test_every_repair_stands_where_its_original_fell() -> None:
    kept = records.shipped("dana2025")
    verdicts = {name: records_of[Effort.STANDARD].verdict for name, records_of in kept.items()}
    for claim in CLAIMS.values():
        if claim.repairs is not None:
            assert verdicts[claim.repairs] in (Verdict.REFUTED, Verdict.NEEDS_ASSUMPTION), claim.name
            assert verdicts[claim.name] is not Verdict.REFUTED, claim.name


def test_verdicts_on_record_are_those_of_their_evidence() -> None:
    for name, efforts in records.shipped("dana2025").items():
        for effort, record in efforts.items():
            assert record.verdict is decide(CLAIMS[name.partition("/")[2]], record.evidence), (name, effort)


def test_a_broken_construction_turns_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _count_checks.memorize

    def one_head_lost(*arguments, **named):
        built = real(*arguments, **named)
        with torch.no_grad():
            built.model.output[:1].zero_()
        return built

    assert outcome("corollary-1-complete").verdict is Verdict.HELD
    monkeypatch.setattr(_count_checks, "memorize", one_head_lost)
    assert verify(CLAIMS["corollary-1-complete"], Effort.QUICK).verdict is Verdict.REFUTED


def test_one_head_and_the_exclusive_or() -> None:
    sequences = np.array([(a, b, 0) for a in (0, 1) for b in (0, 1)])
    impossible = [
        labels
        for labels in np.ndindex(2, 2, 2, 2)
        if one_head_cannot(AssociationTask(sequences, np.array(labels), 2))
    ]
    assert impossible == [(0, 1, 1, 0), (1, 0, 0, 1)]


def test_no_trained_head_holds_the_exclusive_or_and_two_do() -> None:
    # The other side of the counterexample: training finds three of four with one head and all with two.
    sequences = np.array([(a, b, 0) for a in (0, 1) for b in (0, 1)])
    task = AssociationTask(sequences, np.array([0, 1, 1, 0]), 2)
    settings = TrainingSettings(batch_size=32, num_batches=8, epochs=100, learning_rate=0.03, dtype=torch.float64)
    shapes = [AttentionShape(2, heads, 2) for heads in (1, 2)]
    trained = train(task=task, shapes=shapes, num_models=12, settings=settings, variant="paper", seed=0)
    held = {
        shape.num_heads: max(int((logit_margins(model.to_transformer(), task) > 0).sum()) for model in trained.of_shape(shape))
        for shape in shapes
    }
    assert held == {1: 3, 2: 4}
