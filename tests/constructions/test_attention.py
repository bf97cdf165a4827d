"""One attention: per sample and per token it is the same function, and it is the paper's, written out here independently."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constructions.aot import AttentionOnlyTransformer
from constructions.attention import attention, attention_pattern, attention_weights, token_attention
from theory.shapes import AttentionShape
from theory.strategies import attention_shapes


def random_model(vocab_size: int, seq_len: int, shape: AttentionShape, seed: int, scale: float = 1.0) -> AttentionOnlyTransformer:
    generator = torch.Generator().manual_seed(seed)
    model = AttentionOnlyTransformer(vocab_size, seq_len, shape.embed_dim, shape.num_heads, shape.head_dim)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def by_the_equations(model: AttentionOnlyTransformer, sequence: list[int]) -> np.ndarray:
    """Equations (1) and (2) of Dana, Pydi and Chevaleyre 2025 for one sequence, head by head, in numpy."""
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    x = np.stack([weights["token_embedding"][token] + weights["position_embedding"][i] for i, token in enumerate(sequence)])
    stream = x[-1].copy()
    for query, key, value, output in zip(*(weights[name] for name in ("query", "key", "value", "output")), strict=True):
        scores = np.einsum("d,de,fe,if->i", x[-1], query, key, x)
        mixture = np.exp(scores - scores.max())
        mixture /= mixture.sum()
        stream += np.einsum("i,id,de,ef->f", mixture, x, value, output)
    return weights["unembedding"] @ stream


def rounding_bound(model: AttentionOnlyTransformer) -> float:
    """A crude bound on the rounding of one logit: sums of products of entries below the largest weight, times the unit roundoff.

    Scores can be off by their own rounding, which the softmax passes on as a relative error of the mixture.
    """
    d, heads, width, largest = model.embed_dim, model.num_heads, model.head_dim, max(1.0, model.max_weight)
    row = 2 * largest
    score_error = (d * d * width * row * row * largest**2) * 2.0**-52 * 8
    logit = d * (row + heads * d * d * width * row * largest**2) * largest
    return logit * (2.0**-52 * 8 * (d + width + heads) + score_error)


@given(
    shape=attention_shapes(embed_dim=(1, 5), num_heads=(0, 6), wide_heads=True),
    vocab_size=st.integers(1, 7),
    seq_len=st.integers(1, 4),
    batch=st.integers(0, 40),
    seed=st.integers(0, 100),
)
def test_forward_is_the_papers_equations(shape: AttentionShape, vocab_size: int, seq_len: int, batch: int, seed: int) -> None:
    model = random_model(vocab_size, seq_len, shape, seed)
    tokens = torch.randint(0, vocab_size, (batch, seq_len), generator=torch.Generator().manual_seed(seed))
    logits = model(tokens, all_positions=True).detach().numpy()
    assert logits.shape == (batch, seq_len, vocab_size)
    assert torch.equal(model(tokens), torch.from_numpy(logits[:, -1]))
    for row, sequence in zip(logits, tokens.tolist(), strict=True):
        for position in range(seq_len):
            expected = by_the_equations(model, sequence[: position + 1])
            np.testing.assert_allclose(row[position], expected, rtol=0, atol=rounding_bound(model))


@given(
    positions=st.integers(1, 4),
    batch=st.integers(1, 40),
    heads=st.integers(1, 5),
    vocab_size=st.integers(1, 12),
    chunk=st.sampled_from([1, 60, 1 << 20]),
    seed=st.integers(0, 50),
)
def test_token_attention_is_attention_whatever_the_chunks(
    positions: int, batch: int, heads: int, vocab_size: int, chunk: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    rows, tokens = draw(positions, vocab_size, 4), torch.randint(0, vocab_size, (batch, positions), generator=generator)
    query, key, value, output = draw(heads, 4, 3), draw(heads, 4, 3), draw(heads, 4, 2), draw(heads, 2, 4)
    x = rows[torch.arange(positions), tokens]  # (batch, positions, 4)
    for kind in ("softmax", "relu"):
        read = [torch.einsum("bpd,hde->bphe", x, matrix) for matrix in (query, key, value)]
        mixed = attention(read[0][:, -1:], read[1], read[2], kind=kind)
        expected = torch.einsum("bhe,hed->bd", mixed[:, 0], output)
        got = token_attention(rows, tokens, query, key, value, output, kind=kind, chunk_elements=chunk)
        # Both are sums over heads, positions and widths of at most `terms` products: each is within terms * eps of their sizes.
        terms = 4 * 4 * 3 * positions * heads * 2
        size = torch.einsum("bphe,hed->bd", read[2].abs(), output.abs()).max() * max(1.0, float(mixed.abs().max()))
        scores = torch.einsum("bhe,bphe->bph", read[0][:, -1].abs(), read[1].abs()).max()
        assert float((got - expected).abs().max()) <= 2.0**-52 * terms * float(size) * (1 + float(scores)) ** 2


def test_causal_attention_hides_the_future_and_weights_are_a_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    before = attention(q, k, v)
    k[:, 3:], v[:, 3:] = 100.0, -100.0
    assert torch.equal(attention(q, k, v)[:, :3], before[:, :3])
    assert not torch.equal(attention(q, k, v)[:, 3:], before[:, 3:])
    assert not torch.equal(attention(q, k, v, causal=False)[:, :3], before[:, :3])
    weights = attention_weights(torch.randn(7, 6, generator=generator), dim=0)
    assert torch.allclose(weights.sum(0), torch.ones(6))


@given(
    positions=st.integers(1, 12), fewer=st.integers(0, 11), block=st.integers(1, 5), kind=st.sampled_from(["softmax", "relu"]),
    seed=st.integers(0, 99),
)
def test_causal_attention_in_blocks_is_that_without(positions: int, fewer: int, block: int, kind: Any, seed: int) -> None:
    generator, queried = torch.Generator().manual_seed(seed), max(1, positions - fewer)
    shapes = ((2, queried, 3, 2), (2, positions, 3, 2), (2, positions, 3, 4))
    queries, keys, values = (torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes)
    results = []
    for size in (block, positions):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("constructions.attention.CAUSAL_BLOCK", size)
            mixed = attention(queries, keys, values, kind=kind)
            results.append((mixed, *torch.autograd.grad(mixed.square().sum(), (queries, keys, values))))
    weights = attention_pattern(queries, keys, kind=kind)
    later = torch.ones(queried, positions, dtype=torch.bool).triu(positions - queried + 1)
    assert bool((weights[..., later] == 0).all())
    whole = torch.einsum("bhqk,bkhe->bqhe", weights, values)
    assert torch.equal(whole, results[1][0])
    for one, other in zip(*results, strict=True):  # sums of at most 12 terms of size at most that of the largest
        assert (one - other).abs().max() <= 1e-12 * (1 + one.abs().max())


def test_what_is_hidden_may_be_infinite() -> None:
    keys = torch.tensor([[1.0, 2.0, torch.inf]], dtype=torch.float64).reshape(1, 3, 1, 1)
    values = torch.arange(3.0, dtype=torch.float64).reshape(1, 3, 1, 1)
    mixed = attention(torch.ones_like(values), keys, values)
    assert mixed[0, 1].item() == pytest.approx(1 / (1 + np.exp(-1.0)), rel=1e-15) and mixed[0, 0].item() == 0


@pytest.mark.bad_input
def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind = 'max'"):
        attention_weights(torch.zeros(2, 3), dim=0, kind="max")  # type: ignore[arg-type]


@given(shape=attention_shapes(embed_dim=(2, 4), num_heads=(1, 3)), factor=st.integers(2, 4), seed=st.integers(0, 50))
def test_heads_wider_than_the_embedding_gain_nothing(shape: AttentionShape, factor: int, seed: int) -> None:
    """A head of any width is matched by one of width d: W_V W_O is d x d, whatever lies between, and so is W_Q W_K^T."""
    wide = random_model(5, 2, AttentionShape(shape.embed_dim, shape.num_heads, shape.embed_dim * factor), seed)
    narrow = AttentionOnlyTransformer(5, 2, shape.embed_dim, shape.num_heads, shape.embed_dim)
    identity = torch.eye(shape.embed_dim, dtype=torch.float64)
    with torch.no_grad():
        for name in ("token_embedding", "position_embedding", "unembedding"):
            getattr(narrow, name).copy_(getattr(wide, name))
        narrow.query.copy_(wide.query @ wide.key.transpose(1, 2))
        narrow.key.copy_(identity.expand_as(narrow.key))
        narrow.value.copy_(wide.value @ wide.output)
        narrow.output.copy_(identity.expand_as(narrow.output))
    tokens = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    assert torch.allclose(wide(tokens), narrow(tokens), rtol=1e-9, atol=rounding_bound(wide))


def test_gradients_flow_and_match_finite_differences() -> None:
    model = random_model(3, 2, AttentionShape(2, 2, 2), 0, scale=0.5)
    tokens = torch.tensor([[0, 1], [2, 2], [1, 0]])

    def loss(*parameters: torch.Tensor) -> torch.Tensor:
        named = dict(zip([name for name, _ in model.named_parameters()], parameters, strict=True))
        return torch.func.functional_call(model, named, (tokens,)).logsumexp(1).sum()

    assert torch.autograd.gradcheck(loss, tuple(model.parameters()))
