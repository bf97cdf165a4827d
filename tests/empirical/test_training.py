"""The stacked trainer against independent implementations: autograd, torch's own attention modules, textbook Adam."""

import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import empirical._run as run_module
from empirical._loss import Adam
from empirical._parameters import VARIANTS, Layout, StackedParameters, initial_weights
from empirical._run import run_stack, weight_generator
from empirical.training import TrainedModel, TrainingSettings, train
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

SHORT = TrainingSettings(batch_size=16, num_batches=4, epochs=3, accuracy_window=5)
CPU = torch.device("cpu")
# (S, d, H, d_h): pairs and other lengths, equal widths, narrower and wider heads, no heads, one of everything
SIZES = [
    (2, 3, 4, 3), (2, 3, 4, 2), (2, 3, 2, 5), (2, 1, 1, 1), (2, 3, 0, 2), (2, 3, 0, 3),
    (1, 3, 2, 3), (1, 3, 2, 2), (3, 3, 2, 3), (4, 3, 2, 2), (3, 2, 3, 4), (3, 3, 0, 2),
]  # fmt: skip


def small_task(seq_len: int = 2, vocab_size: int = 5, associations: int = 9, seed: int = 0) -> AssociationTask:
    return AssociationTask.random(vocab_size, seq_len, min(associations, vocab_size**seq_len), seed=seed)


class LiteralNotebook(nn.Module):
    """The notebook's model, literally: a torch.nn.MultiheadAttention per head, all positions, causal mask."""

    def __init__(self, model: TrainedModel, vocab_size: int, seq_len: int) -> None:
        super().__init__()
        d, r = model.shape.embed_dim, model.shape.head_dim
        self.seq_len, self.shared = seq_len, d != r
        self.token, self.position = nn.Embedding(vocab_size, d), nn.Embedding(seq_len, r)
        self.unembedding = nn.Linear(d, vocab_size, bias=False)
        heads = (nn.MultiheadAttention(r, 1, bias=False, batch_first=True) for _ in range(model.shape.num_heads))
        self.heads = nn.ModuleList(heads)
        self.down, self.up = nn.Linear(d, r, bias=False), nn.Linear(r, d, bias=False)
        self.double()
        weights = {name: block.double() for name, block in model.weights.items()}
        with torch.no_grad():
            self.token.weight.copy_(weights["token"].T)
            self.position.weight.copy_(weights["position"].T)
            self.unembedding.weight.copy_(weights["unembedding"])
            if self.shared:
                self.down.weight.copy_(weights["down"])
                self.up.weight.copy_(weights["up"])
            for number, head in enumerate(self.heads):  # torch's matrices act on columns
                key, value = weights["left"][:, number]
                query_transposed, output = weights["right"][:, number]
                head.in_proj_weight.copy_(torch.cat([query_transposed, key.T, value.T]))
                head.out_proj.weight.copy_(output.T)

    def forward(self, tokens: Tensor) -> Tensor:
        residual = self.token(tokens)
        inside = (self.down(residual) if self.shared else residual) + self.position.weight
        mask = torch.triu(torch.ones(self.seq_len, self.seq_len, dtype=torch.bool), diagonal=1)
        total = torch.zeros_like(inside)
        for head in self.heads:
            total = total + head(inside, inside, inside, attn_mask=mask)[0]
        return self.unembedding(residual + (self.up(total) if self.shared else total))[:, -1]


@pytest.mark.parametrize("sizes", SIZES)
def test_notebook_models_convert_exactly(sizes: tuple[int, int, int, int]) -> None:
    seq_len, embed_dim, num_heads, head_dim = sizes
    task = small_task(seq_len)
    model = train(task=task, shapes=[AttentionShape(embed_dim, num_heads, head_dim)], num_models=1, settings=SHORT, seed=3)[0]
    converted = model.to_transformer()
    assert converted.embed_dim == embed_dim + seq_len
    assert converted.dtype == torch.float64
    tokens = torch.tensor(AssociationTask.complete(5, seq_len, seed=0).sequences)
    expected = LiteralNotebook(model, 5, seq_len)(tokens)
    assert (converted(tokens) - expected).abs().max() < 1e-12


class TextbookAdam:
    """Kingma and Ba's algorithm 1 (torch's own takes seconds to import its compiler)."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.state = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        self.steps += 1
        for p, mean, square in self.state:
            if p.grad is None:
                continue
            mean.copy_(0.9 * mean + 0.1 * p.grad)
            square.copy_(0.999 * square + 0.001 * p.grad**2)
            p -= rate * (mean / (1 - 0.9**self.steps)) / ((square / (1 - 0.999**self.steps)).sqrt() + 1e-8)
            p.grad = None


@pytest.mark.parametrize("associations", [9, 40])  # below a batch: the weighted table; above: rows of the batch
@pytest.mark.parametrize("head_dim", [3, 2])
def test_training_equals_the_plain_loop(associations: int, head_dim: int) -> None:
    """All steps against the literal model, autograd, torch.optim.Adam and the notebook's loss, in float64."""
    settings = replace(SHORT, dtype=torch.float64, learning_rate=0.05, final_learning_rate=0.01)
    task = small_task(2, 7, associations)
    shape = AttentionShape(3, 4, head_dim)
    trained = train(task=task, shapes=[shape], num_models=2, settings=settings, seed=5)[1]

    layout = Layout(7, 2, shape, "notebook")
    start = initial_weights(layout, weight_generator(layout, 5, 1))
    literal = LiteralNotebook(replace(trained, weights={k: torch.tensor(v) for k, v in start.items()}), 7, 2)
    adam = TextbookAdam(list(literal.parameters()))
    draws = np.random.default_rng([1, 5]).integers(task.num_associations, size=64)
    order = np.random.default_rng([2, 5, 1])
    sequences, targets = torch.tensor(task.sequences), torch.tensor(task.targets)
    accuracies, losses = [], []
    for rate in (0.05, 0.03, 0.01):
        for batch in torch.tensor(order.permutation(draws)).view(4, 16):
            logits = literal(sequences[batch])
            probabilities = torch.softmax(torch.log_softmax(logits, -1), -1)
            loss = nn.functional.nll_loss(torch.log(probabilities + 1e-12), targets[batch])
            loss.backward()
            adam.step(rate)
            accuracies.append(float((logits.argmax(-1) == targets[batch]).double().mean()))
            losses.append(loss.item())
    assert len(accuracies) == 12
    # the window: 5 batches ending just before the last one
    assert trained.notebook_accuracy == pytest.approx(np.mean(accuracies[6:11]), abs=1e-12)
    assert trained.final_loss == pytest.approx(np.mean(losses[6:11]), abs=1e-9)
    after = trained.weights
    assert (after["token"] - literal.token.weight.T).abs().max() < 1e-7  # Adam divides small gradients by small ones
    assert (after["unembedding"] - literal.unembedding.weight).abs().max() < 1e-7
    assert (after["position"] - literal.position.weight.T).abs().max() < 1e-7


def same_bits(one: TrainedModel, other: TrainedModel) -> bool:
    return (
        one.notebook_accuracy == other.notebook_accuracy
        and one.final_loss == other.final_loss
        and all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    )


@pytest.mark.parametrize("vocab_size, dims", [(10, 2), (20, 5)])
def test_a_model_is_the_same_alone_and_in_company(
    vocab_size: int, dims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: M models at once, one at a time, other head counts beside it, other stacks, other thread numbers."""
    task = AssociationTask.complete(vocab_size, 2, seed=0)
    settings = TrainingSettings(num_batches=16, epochs=2, accuracy_window=5)
    few, many = AttentionShape(dims, 1, dims), AttentionShape(dims, 7, dims)
    threads = torch.get_num_threads()
    together = train(task=task, shapes=[few, many], num_models=4, settings=settings, seed=1)
    again = train(task=task, shapes=[few, many], num_models=4, settings=settings, seed=1)
    assert all(same_bits(one, other) for one, other in zip(together, again, strict=True))
    monkeypatch.setattr(run_module, "stack_elements", lambda layout: 1)  # one model a stack
    monkeypatch.setattr(run_module, "MAX_WORKERS", 3)
    try:
        torch.set_num_threads(3)
        alone = train(task=task, shapes=[many], num_models=4, settings=settings, seed=1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert all(same_bits(one, other) for one, other in zip(together.of_shape(many), alone, strict=True))
    assert not same_bits(alone[0], alone[1])
    other_seed = train(task=task, shapes=[many], num_models=1, settings=settings, seed=2)
    assert not same_bits(other_seed[0], alone[0])


def test_learning_rate_falls_from_first_to_last_epoch() -> None:
    """0.01 to 0.0005: base rate 0.1 times factors that go from 0.1 to 0.005, as the notebook's scheduler multiplies them."""
    settings = TrainingSettings.notebook()
    for epoch in range(64):
        assert settings.rate(epoch) == pytest.approx(0.1 * (0.1 + (0.005 - 0.1) * epoch / 63), rel=1e-12)
    assert settings.rate(0) == 0.01
    assert settings.rate(63) == pytest.approx(0.0005, rel=1e-12)
    assert TrainingSettings(epochs=1, num_batches=200).rate(0) == 0.01
    with_mlp, deep = TrainingSettings.experiment_5_mlp(), TrainingSettings.deep()
    for epoch in range(64):
        assert with_mlp.rate(epoch) == pytest.approx(0.1 * (0.1 + (0.001 - 0.1) * epoch / 63), rel=1e-12)
        assert deep.rate(epoch) == 0.0025
    assert (with_mlp.batch_size, with_mlp.num_batches, with_mlp.num_steps) == (1024, 256, 16384)
    assert (deep.batch_size, deep.num_batches, deep.num_steps) == (512, 128, 8192)


def test_every_step_is_taken_at_its_epochs_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = Adam.step

    def noted(self: Adam, rate: float | Tensor) -> None:
        rates.append(float(rate))
        step(self, rate)

    monkeypatch.setattr(Adam, "step", noted)
    settings = TrainingSettings(batch_size=8, num_batches=2)
    for devices, rounding in ((("cuda",), 1e-12), (("cpu",), 2**-24)):  # the plain step, and fixed buffers: the rate in float32
        monkeypatch.setattr(run_module, "PADDED_DEVICES", devices)
        rates.clear()
        train(task=small_task(), shapes=[AttentionShape(5, 1, 5)], num_models=1, settings=settings, seed=0)
        expected = np.repeat(np.linspace(0.01, 0.0005, 64), 2)
        assert np.allclose(rates, expected, rtol=rounding, atol=0)


def test_models_learn_and_more_heads_learn_more() -> None:
    task = AssociationTask.complete(6, 2, seed=0)
    shapes = [AttentionShape(2, heads, 2) for heads in (0, 12)]
    settings = TrainingSettings(epochs=12)
    for variant in VARIANTS:
        models = train(task=task, shapes=shapes, num_models=3, settings=settings, variant=variant, seed=0)
        none, some = (np.mean([m.notebook_accuracy for m in models.of_shape(shape)]) for shape in shapes)
        assert some > none + 0.2 > 0.3
        for model in models:  # draws of a small table weigh it nearly evenly
            logits = model.to_transformer()(torch.tensor(task.sequences))
            uniform = float((logits.argmax(1).numpy() == task.targets).mean())
            assert abs(uniform - model.notebook_accuracy) < 0.15


def test_diverged_models_are_reported_and_not_averaged() -> None:
    settings = replace(SHORT, learning_rate=1e30)
    models = train(task=small_task(), shapes=[AttentionShape(3, 4, 3)], num_models=2, settings=settings, seed=0)
    assert len(models.diverged) == 2
    assert not models.finished
    for model in models:
        assert "not finite in epoch" in model.reason
        assert math.isnan(model.notebook_accuracy)
        assert math.isnan(model.final_loss)
        with pytest.raises(ValueError, match="diverged = True"):
            model.to_transformer()


def test_one_diverged_model_leaves_its_neighbours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, task = SHORT, small_task()
    layout = Layout(5, 2, AttentionShape(3, 4, 3), "notebook")
    members = [(layout, 0), (layout, 1), (layout, 2)]
    whole = run_stack(task, members, settings, 0, CPU, lambda steps, loss: None, threading.Event())
    put = StackedParameters.put

    def spoilt(self: StackedParameters, model: int, weights: dict[str, Any]) -> None:
        put(self, model, {name: values * (np.inf if model == 1 else 1) for name, values in weights.items()})

    monkeypatch.setattr(StackedParameters, "put", spoilt)
    losses: list[float] = []
    spoiled = run_stack(task, members, settings, 0, CPU, lambda steps, loss: losses.append(loss), threading.Event())
    assert [bool(result.reason) for result in spoiled] == [False, True, False]
    assert all(math.isfinite(loss) for loss in losses)
    for place in (0, 2):
        assert all(torch.equal(whole[place].weights[name], values) for name, values in spoiled[place].weights.items())


def test_progress_counts_every_step_in_the_callers_thread() -> None:
    seen: list[tuple[int, int, float]] = []
    threads = set()

    def note(step: int, total: int, loss: float) -> None:
        seen.append((step, total, loss))
        threads.add(threading.current_thread())

    shapes = [AttentionShape(5, 2, 5), AttentionShape(6, 0, 5)]
    train(task=small_task(), shapes=shapes, num_models=2, settings=SHORT, seed=0, progress=note)
    steps = [step for step, _, _ in seen]
    assert steps == sorted(steps)
    assert steps[-1] == seen[-1][1] == 2 * SHORT.num_steps
    assert all(math.isfinite(loss) for _, _, loss in seen)
    assert threads == {threading.main_thread()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interruption_passes_through(error: type[BaseException]) -> None:
    def interrupt(step: int, total: int, loss: float) -> None:
        raise error

    threads, running = torch.get_num_threads(), threading.active_count()
    with pytest.raises(error):
        train(task=small_task(), shapes=[AttentionShape(2, 2, 2)], num_models=2, seed=0, progress=interrupt)
    assert torch.get_num_threads() == threads
    assert threading.active_count() == running


def test_a_failing_stack_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(run_module, "engine_of", broken)
    with pytest.raises(MemoryError, match="no room"):
        train(task=small_task(), shapes=[AttentionShape(d, 2, d) for d in (2, 3, 5)], num_models=2, settings=SHORT, seed=0)


def test_progress_bar_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    train(task=small_task(), shapes=[AttentionShape(2, 2, 2)], num_models=1, settings=SHORT, seed=0, progress=True)
    assert "training" in capsys.readouterr().out


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"task": "table.csv"}, "task = 'table.csv'"),
        ({"shapes": []}, "shapes = "),
        ({"shapes": [(2, 2, 2)]}, "shapes = "),
        ({"shapes": [AttentionShape(2, 1, 2)] * 2}, "distinct"),
        ({"num_models": 0}, "num_models = 0"),
        ({"num_models": 1.5}, "num_models = 1.5"),
        ({"seed": -1}, "seed = -1"),
        ({"variant": "thesis"}, "variant = 'thesis'"),
        ({"settings": {"epochs": 2}}, "settings = "),
        ({"device": "abacus"}, "device = 'abacus'"),
        ({"progress": "yes"}, "progress = 'yes'"),
        ({"shapes": [AttentionShape(100_000, 10, 100_000)]}, "GiB"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    good = {"task": small_task(), "shapes": [AttentionShape(2, 1, 2)], "num_models": 1, "settings": SHORT, "seed": 0}
    with pytest.raises(ValueError, match=message) as error:
        train(**(good | arguments))
    assert "\n" not in str(error.value)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 0}, "batch_size = 0"),
        ({"epochs": 2.5}, "epochs = 2.5"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0"),
        ({"final_learning_rate": math.nan}, "final_learning_rate = nan"),
        ({"epsilon": 0}, "epsilon = 0"),
        ({"betas": (0.9, 1.0)}, "betas = "),
        ({"dtype": torch.int64}, "dtype = torch.int64"),
        ({"epochs": 1}, "accuracy_window = 100"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**arguments)


def test_batches_of_any_size_count_every_draw_once() -> None:
    """A batch that is no whole number of vectors is padded with rows of weight 0; they must not show."""
    task = small_task(2, 7, 40)
    settings = replace(SHORT, batch_size=13, dtype=torch.float64)
    data = run_module.Batches(task, settings, 0, [0, 3], CPU)
    tokens, targets, weights = zip(*data.epoch(), strict=True)
    assert all(w is not None and torch.equal(w.sum(1), torch.full((2,), 13.0, dtype=torch.float64)) for w in weights)
    key = {tuple(sequence): number for number, sequence in enumerate(task.sequences.tolist())}
    for model in range(2):
        met = [
            key[tuple(pair)]
            for t, w in zip(tokens, weights, strict=True)
            for pair, weight in zip(t[model].T.tolist(), w[model], strict=True)
            if weight
        ]
        assert sorted(met) == sorted(data.draws.tolist())
    assert targets[0].shape == (2, 1, 32)
    model = train(task=task, shapes=[AttentionShape(2, 1, 2)], num_models=1, settings=settings, seed=0)[0]
    assert 0 <= model.notebook_accuracy <= 1
