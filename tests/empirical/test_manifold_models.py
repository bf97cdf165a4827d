"""Regressors on points of R^D: their formula, by hand and stacked, and what they refuse."""

import math

import numpy as np
import pytest
import torch

from constructions.transformer import Transformer
from empirical.manifold_models import ManifoldRegressor, StackedRegressors


def model(seed: int, **changes: object) -> ManifoldRegressor:
    sizes = {"ambient_dim": 4, "embed_dim": 6, "num_heads": 2, "head_dim": 3, "num_layers": 2, "mlp_width": 5} | changes
    return ManifoldRegressor(**sizes).initialise_(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("attention", ["softmax", "relu"])
def test_one_layer_is_the_formula_written_out(attention):
    made = model(3, num_layers=1, num_heads=1, attention=attention)
    with torch.no_grad():
        made.mlp_bias.normal_(generator=torch.Generator().manual_seed(1))
    w = {name: getattr(made, name).detach().numpy() for name in made.parameter_names}
    x = np.random.default_rng(0).normal(size=4)
    tokens = np.append(x, 0.0)[:, None] * w["token_embedding"] + w["position_embedding"]
    scores = tokens @ w["key"][0, 0] @ (tokens[-1] @ w["query"][0, 0]) / math.sqrt(3)
    weights = np.exp(scores) / np.exp(scores).sum() if attention == "softmax" else np.maximum(scores, 0)
    read = tokens[-1] + weights @ tokens @ w["value"][0, 0] @ w["output"][0, 0]
    read = read + np.maximum(read @ w["mlp_in"][0] + w["mlp_bias"][0], 0) @ w["mlp_out"][0]
    assert float(made(torch.from_numpy(x[None])).detach()[0]) == pytest.approx(float(read @ w["unembedding"][0]), abs=1e-13)


@pytest.mark.parametrize(
    "changes",
    [{}, {"attention": "relu"}, {"mlp_activation": "gelu", "num_layers": 3}, {"num_heads": 0}, {"mlp_width": 0, "num_layers": 1}],
)
def test_a_stack_answers_and_learns_as_its_members_do(changes):
    members = [model(seed, **changes) for seed in range(3)]
    stack = StackedRegressors(members)
    points = torch.randn(3, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    answers = stack(points)
    (answers**2).mean(1).sum().backward()
    for index, member in enumerate(members):
        own = member(points[index])
        assert torch.allclose(own, answers[index], rtol=0, atol=1e-13)
        (own**2).mean().backward()
    # One step of gradient descent on the stack is one step on every member.
    with torch.no_grad():
        for weights in stack.parameters():
            if weights.grad is not None:
                weights -= 0.1 * weights.grad
        for index, member in enumerate(members):
            moved = stack.member(index)
            for name in member.parameter_names:
                before = getattr(member, name)
                after = before if before.grad is None else before - 0.1 * before.grad
                assert torch.allclose(getattr(moved, name), after, rtol=0, atol=1e-12), name


def test_without_positions_the_coordinates_have_no_order():
    """All tokens see each other: with causal attention the second layer would tell them apart."""
    made = model(0)
    with torch.no_grad():
        made.position_embedding[:4] = made.position_embedding[0]
    points = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(made(points), made(points[:, [2, 0, 3, 1]]), rtol=0, atol=1e-13)
    assert not torch.allclose(made(points), made(points.roll(1, 0)), atol=1e-6)


def test_it_is_the_projects_transformer_and_survives_a_file(tmp_path):
    made = model(1, attention="relu")
    assert isinstance(made, Transformer)
    assert made.num_parameters == 6 + 5 * 6 + 2 * (4 * 6 * 6 + 6 * 5 + 5 + 5 * 6) + 6
    made.save(tmp_path / "model.safetensors")
    again = ManifoldRegressor.load(tmp_path / "model.safetensors")
    points = torch.randn(3, 4, dtype=torch.float64)
    assert again.arguments() == made.arguments() and torch.equal(again(points), made(points))
    assert made.to_dtype(torch.float32)(points.float()).dtype == torch.float32


def test_long_batches_are_computed_in_parts(monkeypatch):
    made, points = model(5), torch.randn(40, 4, dtype=torch.float64)
    whole = made(points)
    monkeypatch.setattr("empirical.manifold_models.CHUNK_ELEMENTS", 5 * 10 * 3)
    assert torch.allclose(made(points), whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize("attention", ["softmax", "relu"])
def test_weights_are_drawn_alike_for_a_seed_and_answers_start_small(attention):
    first, second, other = (model(seed, embed_dim=64, mlp_width=128, attention=attention) for seed in (7, 7, 8))
    assert torch.equal(first.query, second.query) and not torch.equal(first.query, other.query)
    points = torch.randn(500, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    size = float(first(points).detach().square().mean().sqrt())
    assert 0.2 / 8 < size < 5 / 8  # 1 / sqrt(m) within a factor of 5
    single = ManifoldRegressor(4, 6, 2, 3, 2, 5, dtype=torch.float32).initialise_(torch.Generator().manual_seed(1))
    assert torch.equal(single.query, model(1).query.float())


@pytest.mark.bad_input
def test_wrong_points_are_refused_in_one_line():
    made = model(0)
    for points in (torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 4), torch.zeros(4, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"^points has shape .* are legal for this model$"):
            made(points)
    with pytest.raises(ValueError, match="reads points"):
        made.attention_maps(torch.zeros(1, 5, dtype=torch.long))
    with pytest.raises(ValueError, match=r"\(2, batch, 4\) is legal"):
        StackedRegressors([made, made])(torch.zeros(3, 2, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="models differ"):
        StackedRegressors([made, model(0, mlp_width=6)])
    with pytest.raises(ValueError, match="at least one"):
        StackedRegressors([])
    with pytest.raises(ValueError, match="ambient_dim = 0"):
        ManifoldRegressor(0, 6, 2, 3)
