"""Both engines of the stacked trainer against autograd on the plain equations; counts and conversion of what they train."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from empirical._parameters import VARIANTS, Layout, StackedParameters, initial_weights
from empirical._run import softmax_in_place, summed_loss_gradient
from empirical._stacked import PairEngine
from empirical._token_engine import TokenEngine
from empirical.training import TrainingSettings, train
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


def stack(layout: Layout, models: int) -> StackedParameters:
    parameters = StackedParameters(layout, models, torch.float64, CPU)
    for model in range(models):
        parameters.put(model, initial_weights(layout, np.random.default_rng(model)))
    return parameters


def plain_logits(block: dict[str, Tensor], layout: Layout, tokens: Tensor) -> Tensor:
    """Equations of both variants, with a general softmax, for autograd to differentiate."""
    down, up = block.get("down"), block.get("up")
    inside = block["token"] if down is None else down @ block["token"]

    def rows(table: Tensor, position: int) -> Tensor:
        return table.gather(2, tokens[:, position : position + 1].expand(-1, table.shape[1], -1))

    seen = [rows(inside, i) + block["position"][:, :, i : i + 1] for i in range(layout.seq_len)]
    residual = rows(block["token"], layout.seq_len - 1)
    if layout.variant == "paper":
        residual = residual + block["position"][:, :, -1:]
    key, value = block["left"].unbind(1)
    query, output = block["right"].unbind(1)
    scores = torch.stack(
        [torch.einsum("mir,mhci,mhjc,mjr->mhr", seen[-1], query, key, one) for one in seen], dim=-1
    )
    attention = torch.softmax(scores * layout.score_scale, dim=-1)
    mixed = torch.einsum("mhrs,msjr,mhjc,mhci->mir", attention, torch.stack(seen, 1), value, output)
    return block["unembedding"] @ (residual + (mixed if up is None else up @ mixed))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_equal_autograd(variant: Any, sizes: tuple[int, int, int, int]) -> None:
    seq_len, embed_dim, num_heads, head_dim = sizes
    layout = Layout(6, seq_len, AttentionShape(embed_dim, num_heads, head_dim), variant)
    parameters = stack(layout, 3)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(6, (3, seq_len, 7), generator=generator)
    targets = torch.randint(6, (3, 1, 7), generator=generator)
    weights = torch.rand(3, 7, generator=generator, dtype=torch.float64)
    leaves = {name: block.clone().requires_grad_() for name, block in parameters.block.items()}
    expected = plain_logits(leaves, layout, tokens)
    (-(torch.log_softmax(expected, 1).gather(1, targets).squeeze(1) * weights).sum()).backward()
    for engine_class in (PairEngine, TokenEngine):
        if engine_class is PairEngine and seq_len != 2:
            continue
        parameters.flat_grad.fill_(math.nan)  # every entry has to be written
        engine = engine_class(parameters, 7)
        for _ in range(2):  # buffers are used again
            logits = engine.logits(tokens)
            assert torch.allclose(logits, expected.detach(), rtol=0, atol=1e-12)
            engine.backward(summed_loss_gradient(softmax_in_place(logits.clone()), targets, weights))
        for name, leaf in leaves.items():
            if leaf.numel():
                gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
                assert (parameters.grad[name] - gradient).abs().max() < 1e-10, (engine_class.__name__, name)


def test_engines_agree_on_shared_rows() -> None:
    """One set of rows for all models (first axis 1), as in whole-table mode."""
    parameters = stack(Layout(6, 2, AttentionShape(3, 4, 2), "notebook"), 3)
    tokens = torch.randint(6, (1, 2, 9), generator=torch.Generator().manual_seed(0))
    pair, general = PairEngine(parameters, 9), TokenEngine(parameters, 9)
    assert torch.allclose(pair.logits(tokens), general.logits(tokens), rtol=0, atol=1e-13)
    signal = torch.randn(3, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pair.backward(signal)
    by_pair = parameters.flat_grad.clone()
    general.backward(signal)
    assert torch.allclose(by_pair, parameters.flat_grad, rtol=0, atol=1e-12)


def test_softmax_survives_large_logits_and_keeps_nan() -> None:
    logits = torch.tensor([[[1000.0, -1000.0], [999.0, -1000.0]], [[math.inf, 0.0], [0.0, 0.0]]])
    expected = torch.softmax(logits, dim=1)
    found = softmax_in_place(logits)
    assert torch.allclose(found[0], expected[0])
    assert found[1, :, 0].isnan().any()


def test_pair_engine_refuses_other_lengths() -> None:
    with pytest.raises(ValueError, match="seq_len = 3"):
        PairEngine(stack(Layout(4, 3, AttentionShape(2, 1, 2), "paper"), 1), 4)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", [(8, 2, 3, 2), (9, 3, 3, 3), (9, 3, 2, 1), (9, 2, 2, 3), (9, 2, 2, 4), (8, 2, 0, 1)])
def test_effective_parameters_are_the_rank_of_the_jacobian(variant: Any, sizes: tuple[int, int, int, int]) -> None:
    vocab_size, *shape = sizes
    layout = Layout(vocab_size, 2, AttentionShape(*shape), variant)
    start = initial_weights(layout, np.random.default_rng(1))
    names = list(start)
    tokens = torch.cartesian_prod(torch.arange(vocab_size), torch.arange(vocab_size)).T.unsqueeze(0)

    def logits(*blocks: Tensor) -> Tensor:
        return plain_logits(dict(zip(names, blocks, strict=True)), layout, tokens).flatten()

    blocks = tuple(1.5 * torch.tensor(start[name]).unsqueeze(0) for name in names)
    jacobians = torch.autograd.functional.jacobian(logits, blocks, vectorize=True)
    values = torch.linalg.svdvals(torch.cat([part.flatten(1) for part in jacobians], 1))
    assert int((values > values[0] * 1e-11).sum()) == layout.num_effective_parameters()
    assert layout.num_effective_parameters() <= layout.num_parameters()


def test_paper_models_convert_exactly() -> None:
    for sizes in SIZES:
        seq_len, *shape = sizes
        model = train(
            task=small_task(seq_len), shapes=[AttentionShape(*shape)], num_models=1, settings=SHORT, seed=3, variant="paper"
        )[0]
        converted = model.to_transformer()
        assert converted.embed_dim == shape[0]
        tokens = torch.tensor(AssociationTask.complete(5, seq_len, seed=0).sequences)
        block = {name: values.double().unsqueeze(0) for name, values in model.weights.items()}
        expected = plain_logits(block, Layout(5, seq_len, model.shape, "paper"), tokens.T.unsqueeze(0))[0].T
        assert (converted(tokens) - expected).abs().max() < 1e-12
        nominal = sum(values.numel() for values in model.weights.values())
        assert model.nominal_parameters == nominal == sum(p.numel() for p in converted.parameters())
