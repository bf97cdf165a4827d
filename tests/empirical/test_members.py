"""Any set of models in one call: the same ones in any company, heard of in time, interrupted at once, padded as GPUs get them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import empirical._run as run_module
from constructions.aot import AttentionOnlyTransformer
from empirical._parameters import VARIANTS, Layout, StackedParameters, Variant
from empirical.training import TrainedModel, TrainingSettings, train, train_members
from theory.shapes import AttentionShape, TransformerShape
from theory.tasks import AssociationTask

SHORT = TrainingSettings(batch_size=16, num_batches=4, epochs=3, accuracy_window=5)


def small_task(seq_len: int = 2, vocab_size: int = 5, associations: int = 9, seed: int = 0) -> AssociationTask:
    return AssociationTask.random(vocab_size, seq_len, min(associations, vocab_size**seq_len), seed=seed)


def same_bits(one: TrainedModel, other: TrainedModel) -> bool:
    return (
        one.notebook_accuracy == other.notebook_accuracy
        and one.final_loss == other.final_loss
        and all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    )


def test_members_are_the_models_of_train_in_the_order_given() -> None:
    """Any set of (shape, repetition), bit for bit; a TransformerShape of one layer of heads is its AttentionShape."""
    task, settings = small_task(2, 7, 40), SHORT
    few, many = AttentionShape(3, 1, 3), AttentionShape(3, 4, 3)
    whole = train(task=task, shapes=[few, many], num_models=3, settings=settings, seed=1)
    as_layer = TransformerShape(3, 4, 3)
    members: list[tuple[AttentionShape, int]] = [(as_layer, 2), (few, 1), (as_layer, 0), (few, 0)]
    found = train_members(task=task, members=members, settings=settings, seed=1)
    assert [(model.shape, model.repetition) for model in found] == members
    for model, expected in zip(found, (whole[5], whole[1], whole[3], whole[0]), strict=True):
        assert same_bits(model, expected)
        assert model.effective_parameters == expected.effective_parameters
    assert isinstance(found[0].to_transformer(), AttentionOnlyTransformer)


def test_models_of_several_layers_train_too() -> None:
    task, shape = small_task(), TransformerShape(3, 2, 3, num_layers=2, mlp_width=4)
    models = train_members(task=task, members=[(shape, 0), (shape, 1), (AttentionShape(3, 2, 3), 0)], settings=SHORT, seed=0)
    alone = train_members(task=task, members=[(shape, 1)], settings=SHORT, seed=0)[0]
    assert same_bits(models[1], alone)
    assert models[0].effective_parameters is None
    assert models[0].nominal_parameters == sum(block.numel() for block in models[0].weights.values())
    tokens = torch.tensor(task.sequences)
    assert models[0].to_transformer()(tokens).shape == (9, 5)


@pytest.mark.parametrize(("vocab_size", "shape"), [(9, TransformerShape(3, 1, 3, 3, 5)), (10, TransformerShape(5, 3, 5))])
def test_sizes_that_fill_no_vectors_give_the_same_bits_in_company(vocab_size: int, shape: TransformerShape) -> None:
    """Rows of 81 and 100 pairs, odd numbers of heads and of hidden units: ends of elementwise calls are rounded otherwise."""
    task = AssociationTask.complete(vocab_size, 2, seed=0)
    settings = TrainingSettings(num_batches=16, epochs=2, accuracy_window=5)
    together = train_members(task=task, members=[(shape, repetition) for repetition in range(5)], settings=settings, seed=0)
    for repetition in (0, 2, 4):
        alone = train_members(task=task, members=[(shape, repetition)], settings=settings, seed=0)[0]
        assert same_bits(together[repetition], alone), repetition


# widths at which matrix products were rounded by how many models were trained together; d_h = 1; each engine
PURE: list[tuple[TransformerShape, Variant]] = [
    (TransformerShape(9, 6, 9), "notebook"),
    (TransformerShape(11, 11, 11), "notebook"),
    (TransformerShape(10, 20, 1), "notebook"),
    (TransformerShape(10, 20, 7), "notebook"),
    (TransformerShape(7, 20, 10), "paper"),
    (TransformerShape(30, 1, 30), "paper"),
    (TransformerShape(30, 5, 1), "notebook"),
    (TransformerShape(10, 21, 1, 3), "notebook"),
    (TransformerShape(9, 1, 9, 1, 72), "notebook"),
]


@pytest.mark.parametrize(("shape", "variant"), PURE)
def test_no_bit_depends_on_how_many_are_trained_together(shape: TransformerShape, variant: Variant) -> None:
    task = AssociationTask.complete(50, 2, seed=0)
    settings = TrainingSettings(num_batches=3, epochs=2, accuracy_window=2)

    def trained(repetitions: Sequence[int]) -> tuple[TrainedModel, ...]:
        members = [(shape, repetition) for repetition in repetitions]
        return train_members(task=task, members=members, settings=settings, variant=variant, seed=0)

    five = trained(range(5))
    for some in ((0,), (4,), (1, 2), (4, 0, 3)):
        for repetition, model in zip(some, trained(some), strict=True):
            assert same_bits(model, five[repetition]), (some, repetition)


def test_stacks_are_heard_of_as_soon_as_they_are_done() -> None:
    """Every model once, in the order of `members` within a stack, in the caller's thread, with the stack's seconds."""
    heard: list[TrainedModel] = []
    stacks, threads = [], set()

    def hear(models: Sequence[TrainedModel], seconds: float) -> None:
        heard.extend(models)
        stacks.append([(model.shape, model.repetition) for model in models])
        threads.add(threading.current_thread())
        assert 0 < seconds < 60

    members = [(AttentionShape(d, 2, d), repetition) for repetition in (1, 0) for d in (5, 6, 7)]
    found = train_members(task=small_task(), members=members, settings=SHORT, seed=0, on_models=hear)
    assert len(stacks) == 3
    assert all(stack == [member for member in members if member in stack] for stack in stacks)
    assert {id(model) for model in heard} == {id(model) for model in found}
    assert threads == {threading.main_thread()}


def test_what_on_models_raises_ends_the_call() -> None:
    heard = []

    def full(models: Sequence[TrainedModel], seconds: float) -> None:
        heard.append(models)
        raise OSError("disk full")

    threads, running = torch.get_num_threads(), threading.active_count()
    members = [(AttentionShape(d, 2, d), 0) for d in range(5, 12)]
    with pytest.raises(OSError, match="disk full"):
        train_members(task=small_task(), members=members, settings=replace(SHORT, epochs=30), seed=0, on_models=full)
    assert len(heard) == 1
    assert (torch.get_num_threads(), threading.active_count()) == (threads, running)


INTERRUPTED = """
import signal
from time import process_time
from empirical.training import TrainingSettings, train_members
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

def interrupt(number, frame):
    global start
    start = process_time()
    raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)
members = [(AttentionShape(60, 11, 60), repetition) for repetition in range(5)]
try:
    train_members(task=AssociationTask.complete(200, 2, seed=0), members=members, settings=TrainingSettings.large_dimension(),
                  seed=0, progress=lambda step, total, loss: print(step, flush=True))
except KeyboardInterrupt:
    print("ended after", process_time() - start, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX systems send them")
def test_ctrl_c_ends_the_largest_models_at_once() -> None:
    """N = 200, d = 60, H = 11: a real SIGINT in the middle of training is obeyed within 1 s of the processor's time."""
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "16\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert not errors
    assert float(output.split("ended after")[1]) < 1


MIXED = [AttentionShape(*sizes) for sizes in ((3, 4, 3), (2, 1, 2), (3, 2, 2), (2, 2, 3), (3, 0, 3))]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seq_len", [2, 3])
@pytest.mark.parametrize("associations", [9, 40])  # the weighted table; rows of the batch
def test_models_padded_into_one_stack_are_the_same(
    variant: Variant, seq_len: int, associations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan and the step that GPUs get, on a CPU: one stack for all widths, fixed buffers, no branch on data.

    Padding changes the order of sums alone. In float64 a summed gradient of 16 rows is off by some 1e-14; Adam divides by at
    least 16 epsilon = 1.6e-7, so that one step of rate 0.01 moves a parameter by at most 1e-9 more or less, 12 steps by 1e-8
    and what follows from it: less than 1e-7 for weights, and the accuracy, a count, is the same.
    """
    task, settings = small_task(seq_len, 7, associations), replace(SHORT, dtype=torch.float64)
    members = [(shape, repetition) for shape in MIXED for repetition in (0, 1)]
    plain = train_members(task=task, members=members, settings=settings, variant=variant, seed=2)
    monkeypatch.setattr(run_module, "PADDED_DEVICES", ("cpu",))
    stacks: list[int] = []
    padded = train_members(
        task=task, members=members, settings=settings, variant=variant, seed=2, on_models=lambda m, s: stacks.append(len(m))
    )
    assert sorted(stacks) == ([4, 6] if variant == "notebook" else [10])  # with shared maps and without
    for one, other in zip(plain, padded, strict=True):
        assert one.notebook_accuracy == pytest.approx(other.notebook_accuracy, abs=1e-12)
        assert one.final_loss == pytest.approx(other.final_loss, abs=1e-7)
        for name, block in one.weights.items():
            assert block.shape == other.weights[name].shape
            assert not block.numel() or (block - other.weights[name]).abs().max() < 1e-7


def test_padding_stays_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """After training, a padded stack has as many entries other than 0 as its models have parameters."""
    kept: list[StackedParameters] = []
    take = StackedParameters.take

    def kept_take(self: StackedParameters, model: int, layout: Layout) -> dict[str, Tensor]:
        kept.append(self)
        return take(self, model, layout)

    monkeypatch.setattr(StackedParameters, "take", kept_take)
    monkeypatch.setattr(run_module, "PADDED_DEVICES", ("cpu",))
    for variant in VARIANTS:
        kept.clear()
        members = [(shape, 0) for shape in MIXED]
        models = train_members(task=small_task(), members=members, settings=SHORT, variant=variant, seed=2)
        used = sum(int(torch.count_nonzero(stack.flat)) for stack in {id(stack): stack for stack in kept}.values())
        assert used == sum(int(torch.count_nonzero(block)) for model in models for block in model.weights.values())
        room = sum(stack.flat.numel() for stack in {id(stack): stack for stack in kept}.values())
        assert room > used + 100  # there is padding to speak of


def test_diverged_models_are_told_in_a_padded_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "PADDED_DEVICES", ("cpu",))
    models = train_members(
        task=small_task(), members=[(shape, 0) for shape in MIXED[:2]], settings=replace(SHORT, learning_rate=1e30), seed=0
    )
    assert all(model.diverged and "not finite in epoch" in model.reason for model in models)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"members": []}, "members = "),
        ({"members": [AttentionShape(2, 1, 2)]}, "members = "),
        ({"members": [((2, 1, 2), 0)]}, "members = "),
        ({"members": [(AttentionShape(2, 1, 2), -1)]}, "repetition = -1"),
        ({"members": [(AttentionShape(2, 1, 2), 0)] * 2}, "distinct"),
        ({"on_models": "print"}, "on_models = 'print'"),
        ({"variant": "thesis"}, "variant = 'thesis'"),
    ],
)
def test_bad_members_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    good = {"task": small_task(), "members": [(AttentionShape(2, 1, 2), 0)], "settings": SHORT, "seed": 0}
    with pytest.raises(ValueError, match=message) as error:
        train_members(**(good | arguments))
    assert "\n" not in str(error.value)
