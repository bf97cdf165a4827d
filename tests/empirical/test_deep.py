"""Engines of several layers against autograd on the plain equations; conversion, company, and training from end to end."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from constructions.aot import AttentionOnlyTransformer
from constructions.transformer import Transformer
from empirical._deep_engine import DeepEngine
from empirical._deep_pairs import DeepPairEngine
from empirical._deep_parameters import DeepLayout, deep_initial_weights, deep_to_transformer
from empirical._models import drawn_weights, engine_of, layout_of
from empirical._parameters import VARIANTS, Layout, StackedParameters
from empirical._run import softmax_in_place, summed_loss_gradient
from empirical.capacity import measure
from empirical.training import TrainingSettings, train
from theory.shapes import AttentionShape, TransformerShape
from theory.tasks import AssociationTask

SHORT = TrainingSettings(batch_size=16, num_batches=4, epochs=3, accuracy_window=5)
CPU = torch.device("cpu")
# (S, d, H, d_h, L, w): all lengths with narrower, equal and wider heads, with and without MLP, without heads, few and many heads
SIZES = [
    (2, 3, 4, 3, 1, 5), (2, 3, 4, 3, 2, 0), (2, 3, 4, 3, 3, 5), (2, 3, 2, 2, 3, 4), (2, 3, 1, 2, 2, 0), (2, 3, 2, 5, 2, 4),
    (2, 2, 1, 4, 3, 0), (2, 3, 0, 3, 3, 4), (2, 3, 0, 2, 2, 3), (2, 3, 0, 2, 3, 0), (2, 1, 1, 1, 2, 1), (2, 7, 1, 7, 1, 9),
    (2, 2, 9, 2, 3, 0), (2, 2, 9, 1, 2, 3),
    (1, 3, 2, 3, 2, 4), (1, 3, 2, 2, 3, 0), (1, 2, 2, 4, 1, 3), (1, 3, 0, 2, 2, 2),
    (3, 3, 2, 3, 3, 4), (3, 3, 2, 2, 2, 0), (3, 2, 1, 4, 2, 3), (3, 2, 0, 2, 2, 3), (4, 2, 3, 1, 1, 2),
]  # fmt: skip


def layout_for(sizes: tuple[int, ...], variant: Any, vocab_size: int = 6) -> DeepLayout:
    layout = layout_of(vocab_size, sizes[0], TransformerShape(*sizes[1:]), variant)
    assert isinstance(layout, DeepLayout)
    return layout


def stack(layout: Layout, models: int, dtype: torch.dtype = torch.float64) -> StackedParameters:
    parameters = StackedParameters(layout, models, dtype, CPU)
    for model in range(models):
        parameters.put(model, drawn_weights(layout, np.random.default_rng(model)))
    return parameters


def plain_logits(block: dict[str, Tensor], layout: DeepLayout, tokens: Tensor) -> Tensor:
    """Equations of one model (no model axis), row by row of `tokens` (S, rows), as one would write them on paper."""
    shape, notebook = layout.shape, layout.variant == "notebook"
    scale = 1 / math.sqrt(shape.head_dim) if notebook else 1.0
    x = [block["token"][:, tokens[i]] for i in range(layout.seq_len)]
    if not notebook:
        x = [stream + block["position"][:, i : i + 1] for i, stream in enumerate(x)]
    for layer in range(shape.num_layers):
        u = [block["down"] @ stream if "down" in block else stream for stream in x]
        if notebook:
            u = [seen + block["position"][:, i : i + 1] for i, seen in enumerate(u)]
        added: list[Any] = [0.0] * layout.seq_len
        for head in range(shape.num_heads):
            key, value = (maps[head].T for maps in block[f"left{layer}"])
            query, output = block[f"right{layer}"][0][head], block[f"right{layer}"][1][head].T
            for i in range(layout.seq_len):
                scores = torch.stack([((query @ u[i]) * (key @ u[j])).sum(0) * scale for j in range(i + 1)])
                weights = torch.softmax(scores, 0)
                attended = output @ sum(weights[j] * (value @ u[j]) for j in range(i + 1))
                added[i] = added[i] + (block["up"] @ attended if "up" in block else attended)
        x = [stream + more for stream, more in zip(x, added, strict=True)]
        if shape.mlp_width:
            mlp_in, out_of = block[f"mlp_in{layer}"], block[f"mlp_out{layer}"]
            into, bias = mlp_in[:-1], mlp_in[-1:].T
            x = [stream + out_of @ torch.nn.functional.gelu(into.T @ stream + bias) for stream in x]
    return block["unembedding"] @ x[-1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_equal_autograd(variant: Any, sizes: tuple[int, ...]) -> None:
    layout = layout_for(sizes, variant)
    parameters = stack(layout, 3)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(6, (3, layout.seq_len, 8), generator=generator)
    targets = torch.randint(6, (3, 1, 8), generator=generator)
    weights = torch.rand(3, 8, generator=generator, dtype=torch.float64)
    leaves = {name: block.clone().requires_grad_() for name, block in parameters.block.items()}
    expected = torch.stack([plain_logits({n: b[m] for n, b in leaves.items()}, layout, tokens[m]) for m in range(3)])
    (-(torch.log_softmax(expected, 1).gather(1, targets).squeeze(1) * weights).sum()).backward()
    for engine in {DeepEngine(parameters, 8), engine_of(parameters, 8)}:
        for _ in range(2):  # buffers are used again
            parameters.flat_grad.fill_(math.nan)  # every entry has to be written
            logits = engine.logits(tokens)
            assert (logits - expected.detach()).abs().max() < 1e-12
            engine.backward(summed_loss_gradient(softmax_in_place(logits.clone()), targets, weights))
        start = 0
        for name, leaf in leaves.items():  # in the flat gradient, which is what Adam reads
            gradient, end = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad, start + leaf.numel()
            if leaf.numel():
                found = parameters.flat_grad[start:end].view(leaf.shape)
                assert (found - gradient).abs().max() < 1e-10, (type(engine).__name__, name)
            start = end


def test_gradients_do_not_depend_on_leftovers() -> None:
    """Pad columns stand for no token: whatever a step left in a buffer, the next one has the same result."""
    layout = layout_for((2, 3, 2, 2, 3, 4), "notebook")
    parameters = stack(layout, 2)
    engine = engine_of(parameters, 8)
    tokens = torch.randint(6, (2, 2, 8), generator=torch.Generator().manual_seed(0))
    signal = torch.randn(2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for _ in range(2):
        logits = engine.logits(tokens).clone()
        engine.backward(signal)
        results.append((logits, parameters.flat_grad.clone()))
        engine.logits(torch.randint(6, (2, 2, 8), generator=torch.Generator().manual_seed(2)))
        engine.backward(1e6 * signal)
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", SIZES)
def test_engines_take_shared_rows_and_agree(variant: Any, sizes: tuple[int, ...]) -> None:
    """One set of rows for all models (first axis 1), as in whole-table mode."""
    layout = layout_for(sizes, variant)
    parameters = stack(layout, 3)
    tokens = torch.randint(6, (1, layout.seq_len, 16), generator=torch.Generator().manual_seed(0))
    signal = torch.randn(3, 6, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for engine, given in ((DeepEngine(parameters, 16), tokens.expand(3, -1, -1)), (engine_of(parameters, 16), tokens)):
        logits = engine.logits(given).clone()
        engine.backward(signal)
        results.append((logits, parameters.flat_grad.clone()))
    assert (results[0][0] - results[1][0]).abs().max() < 1e-12
    assert (results[0][1] - results[1][1]).abs().max() < 1e-11


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", [*SIZES, (2, 13, 1, 13, 1, 26), (2, 10, 21, 3, 3, 0), (2, 7, 5, 7, 3, 24)])
def test_a_model_is_the_same_alone_and_in_company(variant: Any, sizes: tuple[int, ...]) -> None:
    """Bit for bit in float32, in every place of a stack, over two steps of gradient descent on a squared error."""
    layout = layout_for(sizes, variant, vocab_size=11)
    tokens = torch.randint(11, (5, layout.seq_len, 40), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(5, 11, 40, generator=torch.Generator().manual_seed(1))

    def trained(places: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        parameters = StackedParameters(layout, len(places), torch.float32, CPU)
        for place, model in enumerate(places):
            parameters.put(place, drawn_weights(layout, np.random.default_rng(model)))
        engine = engine_of(parameters, 40)
        for _ in range(2):
            engine.backward(engine.logits(tokens[places]) + noise[places])
            parameters.flat.sub_(parameters.flat_grad / 4096)
        return {name: block.clone() for name, block in parameters.block.items()}, engine.logits(tokens[places]).clone()

    together, logits = trained(list(range(5)))
    for model in range(5):
        alone, own = trained([model])
        assert own.isfinite().all() and torch.equal(own[0], logits[model]), model
        for name, block in alone.items():
            assert torch.equal(block[0], together[name][model]), (name, model)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", SIZES)
def test_models_convert_exactly(variant: Any, sizes: tuple[int, ...]) -> None:
    layout = layout_for(sizes, variant)
    weights = deep_initial_weights(layout, np.random.default_rng(5))
    block = {name: 1.5 * torch.tensor(values) for name, values in weights.items()}
    model = deep_to_transformer(layout, block, torch.float64)
    assert model.embed_dim == sizes[1] + (sizes[0] if variant == "notebook" else 0)
    tokens = torch.cartesian_prod(*[torch.arange(6)] * layout.seq_len).reshape(-1, layout.seq_len)
    expected = plain_logits(block, layout, tokens.T).T
    with torch.no_grad():
        assert (model(tokens) - expected).abs().max() < 1e-12 * max(1.0, float(expected.abs().max()))
    if variant == "paper":
        assert layout.num_parameters() == sum(array.numel() for array in model.parameters())


def test_notebook_counts_are_the_papers() -> None:
    """Per layer 4 d_h^2 a head and d (2 w) + w for an MLP; positions and shared maps once."""
    d, heads, r, layers, width, vocab_size = 4, 3, 2, 3, 5, 9
    layout = DeepLayout(vocab_size, 2, TransformerShape(d, heads, r, layers, width), "notebook")
    once = 2 * vocab_size * d + 2 * r + 2 * d * r
    assert layout.num_parameters() == once + layers * (4 * heads * r * r + 2 * d * width + width)


# (S, d, H, d_h, L, w)
COUNTED = [
    (2, 3, 2, 3, 1, 2), (2, 3, 2, 2, 1, 2), (2, 3, 1, 3, 1, 5), (2, 2, 1, 2, 3, 2), (2, 3, 2, 1, 3, 0), (2, 2, 1, 1, 2, 2),
    (3, 2, 1, 2, 2, 1), (3, 2, 2, 1, 1, 2),
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", COUNTED)
def test_effective_parameters_are_the_rank_of_the_jacobian(variant: Any, sizes: tuple[int, ...]) -> None:
    vocab_size = 7 if sizes[0] == 2 else 5
    layout = layout_for(sizes, variant, vocab_size)
    start = deep_initial_weights(layout, np.random.default_rng(1))
    tokens = torch.cartesian_prod(*[torch.arange(vocab_size)] * layout.seq_len).T

    def logits(*blocks: Tensor) -> Tensor:
        return plain_logits(dict(zip(start, blocks, strict=True)), layout, tokens).flatten()

    blocks = tuple(1.5 * torch.tensor(values) for values in start.values())
    jacobians = torch.autograd.functional.jacobian(logits, blocks, vectorize=True)
    values = torch.linalg.svdvals(torch.cat([part.flatten(1) for part in jacobians], 1))
    assert int((values > values[0] * 1e-11).sum()) == layout.num_effective_parameters()


def test_effective_parameters_are_not_claimed_where_they_are_not_known() -> None:
    for sizes, variant, vocab_size in (
        ((2, 3, 0, 3, 2, 4), "paper", 8), ((1, 3, 2, 3, 2, 4), "paper", 8), ((2, 8, 2, 3, 2, 4), "paper", 8),
        ((2, 3, 1, 1, 2, 2), "paper", 8), ((2, 2, 2, 3, 2, 2), "notebook", 8), ((2, 3, 2, 3, 3, 60), "notebook", 5),
    ):  # fmt: skip
        assert layout_for(sizes, variant, vocab_size).num_effective_parameters() is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_first_weights_fill_their_bounds(variant: Any) -> None:
    layout = DeepLayout(60, 2, TransformerShape(16, 30, 4, 2, 64), variant)
    weights = deep_initial_weights(layout, np.random.default_rng(0))
    k = 4 if variant == "notebook" else 16
    fused = math.sqrt(6 / (12 + k))
    bounds = {"token": 1 / 4, "position": k**-0.5, "unembedding": 1 / 4}
    if variant == "notebook":
        bounds |= {"down": 1 / 4, "up": 1 / 2}
    parts = {name: weights[name] for name in bounds}
    for layer in range(2):
        sides = {f"left{layer}": fused, f"mlp_in{layer}": 1 / 4, f"mlp_out{layer}": 1 / 8}
        bounds |= {**sides, f"query{layer}": fused, f"output{layer}": 1 / 2}
        parts |= {name: weights[name] for name in sides}
        parts |= {f"query{layer}": weights[f"right{layer}"][0], f"output{layer}": weights[f"right{layer}"][1]}
    for name, values in parts.items():
        largest = np.abs(values).max()
        expected_gap = bounds[name] / values.size  # of the largest of so many uniform numbers; 20 times that has probability 2e-9
        assert bounds[name] - 20 * expected_gap < largest <= bounds[name], name
        assert abs(values.mean()) < 6 * bounds[name] / math.sqrt(3 * values.size), name
    for side in ("left", "right", "mlp_in", "mlp_out"):
        assert not np.array_equal(weights[f"{side}0"], weights[f"{side}1"])


def test_one_layer_of_heads_is_the_attention_only_model() -> None:
    shape = TransformerShape(3, 4, 2)
    layout = layout_of(5, 2, shape, "notebook")
    assert type(layout) is Layout and layout.shape == AttentionShape(3, 4, 2)
    task = AssociationTask.complete(5, 2, seed=0)
    plain = train(task=task, shapes=[AttentionShape(3, 4, 2)], num_models=1, settings=SHORT, seed=3)[0]
    same = train(task=task, shapes=[shape], num_models=1, settings=SHORT, seed=3)[0]
    assert all(torch.equal(plain.weights[name], same.weights[name]) for name in plain.weights)
    assert isinstance(same.to_transformer(), AttentionOnlyTransformer)


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_from_end_to_end(variant: Any) -> None:
    """Deep models learn a small table, report what they hold, and come out the same alone and in company."""
    task = AssociationTask.complete(6, 2, seed=1)
    schedule = TrainingSettings(batch_size=40, num_batches=8, epochs=30, accuracy_window=20)
    shapes = [TransformerShape(4, 2, 4, 2, 0), TransformerShape(4, 1, 4, 2, 24), TransformerShape(4, 2, 3, 1, 24)]
    models = train(task=task, shapes=shapes, num_models=2, settings=schedule, variant=variant, seed=0)
    for model in models:
        assert not model.diverged
        assert model.effective_parameters == layout_of(6, 2, model.shape, variant).num_effective_parameters()
        converted = model.to_transformer()
        assert isinstance(converted, Transformer)
        found = measure(converted, task, nominal_parameters=model.nominal_parameters)
        assert model.nominal_parameters == sum(values.numel() for values in model.weights.values())
        assert found.cross_entropy < 0.7 * math.log(6) and found.accuracy > 0.5
    for number, shape in enumerate(shapes):
        alone = train(task=task, shapes=[shape], num_models=1, settings=schedule, variant=variant, seed=0)[0]
        assert all(torch.equal(alone.weights[name], models[2 * number].weights[name]) for name in alone.weights)
        other = models[2 * number + 1]
        assert not torch.equal(alone.weights["token"], other.weights["token"])


def test_other_layouts_are_refused() -> None:
    shallow = StackedParameters(Layout(4, 2, AttentionShape(2, 1, 2), "paper"), 1, torch.float64, CPU)
    longer = StackedParameters(layout_for((3, 2, 1, 2, 2, 0), "paper"), 1, torch.float64, CPU)
    for engine, parameters in ((DeepEngine, shallow), (DeepPairEngine, shallow), (DeepPairEngine, longer)):
        with pytest.raises(ValueError, match="DeepLayout"):
            engine(parameters, 8)
