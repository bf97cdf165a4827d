"""Transformers that read points of R^D and answer with a number: one token for each coordinate, one more to read out.

`ManifoldRegressor` is `constructions.transformer.Transformer` with a vocabulary of one: token j is x_j e + p_j, with its only
token vector e and the position vectors p, the read-out token is p_{D+1}, and the answer is its inner product with the only row of
the unembedding, behind the last layer. `StackedRegressors` computes the same for many models of one shape at once, each on points
of its own, for training.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from constructions.attention import CHUNK_ELEMENTS, AttentionKind, attention
from constructions.transformer import MlpActivation, Transformer
from theory.shapes import checked_integer

FILE_FORMAT = "headcount manifold regressor, version 1"


class ManifoldRegressor(Transformer):
    r"""f(x) = u . (stream of the read-out token behind L layers), from the stream (x_1 e + p_1, .., x_D e + p_D, p_{D+1}).

    All tokens see each other; scores are scaled by 1/sqrt(head_dim). Layers and names of parameters are those of `Transformer`,
    with token_embedding (1, m) = e, position_embedding (D + 1, m) = p, unembedding (1, m) = u. All are zero at birth
    (`initialise_` draws them).

    Args:
        ambient_dim: D >= 1. embed_dim: m >= 1, width of the stream. num_heads: >= 0 a layer. head_dim: >= 1.
        num_layers: L >= 1. mlp_width: >= 0. attention: "softmax" or "relu". mlp_activation: "relu" or "gelu".
        dtype, device: as for any torch module; float64 unless said otherwise.

    Raises:
        ValueError: as `Transformer`.

    Source: one token for each coordinate, blocks of attention and ReLU layers as in Havrilla and Liao 2024 (recalled, without
    their bounds on weights, and with position vectors of full width that are trained).
    """

    file_format = FILE_FORMAT

    def __init__(
        self,
        ambient_dim: int,
        embed_dim: int,
        num_heads: int,
        head_dim: int,
        num_layers: int = 2,
        mlp_width: int = 0,
        *,
        attention: AttentionKind = "softmax",
        mlp_activation: MlpActivation = "relu",
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        self.ambient_dim = checked_integer("ambient_dim", ambient_dim, 1)
        scale = 1 / math.sqrt(checked_integer("head_dim", head_dim, 1))
        super().__init__(
            1, self.ambient_dim + 1, embed_dim, num_heads, head_dim, num_layers, mlp_width, score_scale=scale, causal=False,
            attention=attention, mlp_activation=mlp_activation, dtype=dtype, device=device,
        )  # fmt: skip

    def arguments(self) -> dict[str, Any]:
        """What the constructor takes, dtype and device left out."""
        shape = self.shape
        return {
            "ambient_dim": self.ambient_dim, "embed_dim": shape.embed_dim, "num_heads": shape.num_heads,
            "head_dim": shape.head_dim, "num_layers": shape.num_layers, "mlp_width": shape.mlp_width,
            "attention": self.attention, "mlp_activation": self.mlp_activation,
        }  # fmt: skip

    @property
    def num_parameters(self) -> int:
        """Numbers that training sets, all of them counted."""
        return sum(getattr(self, name).numel() for name in self.parameter_names)

    def forward(self, points: Float[Tensor, "batch ambient_dim"]) -> Float[Tensor, " batch"]:  # type: ignore[override]
        """The answers at points (batch, D) of the parameters' dtype.

        Raises ValueError for points of another width or dtype.
        """
        points = self._checked_points(points)
        widest = max(self.num_heads * self.head_dim, self.mlp_width, self.embed_dim, self.num_heads * self.seq_len)
        parts = points.split(max(1, CHUNK_ELEMENTS // (self.seq_len * widest)))
        return torch.cat([self._last(self._embedded(part), False)[:, 0] @ self.unembedding[0] for part in parts])

    @torch.no_grad()
    def initialise_(self, generator: torch.Generator) -> "ManifoldRegressor":
        """Draw all weights, in place; biases become zero.

        Normal, with the standard deviations 1 for e and p, 1/sqrt(m) for what heads read, sqrt(2/m) into the MLPs and
        1/sqrt(L fan-in) out of heads and MLPs (out of ReLU heads another 1/(D + 1) of it: they are not normalised), 1/m for the
        read-out: at birth answers are of size 1/sqrt(m). Draws are of float64 on the CPU, the same for every dtype.
        """
        m, layers = self.embed_dim, self.num_layers
        tokens = self.seq_len if self.attention == "relu" else 1
        spreads = dict.fromkeys(("token_embedding", "position_embedding"), 1.0)
        spreads |= dict.fromkeys(("query", "key", "value"), 1 / math.sqrt(m))
        spreads["output"] = 1 / (tokens * math.sqrt(max(1, layers * self.num_heads * self.head_dim)))
        spreads |= {"mlp_in": math.sqrt(2 / m), "mlp_out": 1 / math.sqrt(max(1, layers * self.mlp_width)), "unembedding": 1 / m}
        for name in self.parameter_names:
            place = getattr(self, name)
            if name in spreads:
                place.copy_(spreads[name] * torch.randn(place.shape, generator=generator, dtype=torch.float64))
            else:
                place.zero_()
        return self

    def _embedded(self, points: Tensor) -> Tensor:
        read_out = points.new_zeros(len(points), 1)
        return torch.cat([points, read_out], 1).unsqueeze(-1) * self.token_embedding[0] + self.position_embedding

    def _checked_points(self, points: Tensor) -> Tensor:
        if points.ndim != 2 or points.shape[1] != self.ambient_dim or points.dtype != self.dtype:
            given = f"shape {tuple(points.shape)} and dtype {points.dtype}"
            raise ValueError(f"points has {given}: (batch, {self.ambient_dim}) and {self.dtype} are legal for this model")
        return points

    def _checked_tokens(self, tokens: Int[Tensor, "batch positions"]) -> Tensor:
        raise ValueError("tokens: this model reads points of R^D; call it on them")


class StackedRegressors(nn.Module):
    """M regressors of one shape as one set of arrays (M, ..): what training moves.

    Args:
        models: at least one; their weights are copied.

    Raises ValueError for models that differ in shape, kind or dtype.
    """

    def __init__(self, models: Sequence[ManifoldRegressor]) -> None:
        super().__init__()
        if not models:
            raise ValueError("models is empty: at least one is legal")
        first = models[0]
        if any(model.arguments() != first.arguments() or model.dtype != first.dtype for model in models):
            raise ValueError("models differ in shape, kind or dtype: all alike are legal")
        self.num_models, self.template = len(models), first.arguments()
        self.names = first.parameter_names
        self.score_scale, self.heads, self.num_layers = first.score_scale, first.num_heads, first.num_layers
        self.kind, self.relu, self.dtype = first.attention, first.mlp_activation == "relu", first.dtype
        self.mlp_width, self.head_dim, self.ambient_dim = first.mlp_width, first.head_dim, first.ambient_dim
        for name in self.names:
            stacked = torch.stack([getattr(model, name).detach() for model in models])
            if name in ("query", "key", "value"):  # (M, L, H, m, r) -> (M, L, m, H r): one product for all heads
                stacked = stacked.transpose(2, 3).flatten(3)
            elif name == "output":
                stacked = stacked.flatten(2, 3)
            setattr(self, name, nn.Parameter(stacked.contiguous()))

    token_embedding: Float[Tensor, "models 1 embed_dim"]
    position_embedding: Float[Tensor, "models positions embed_dim"]
    query: Float[Tensor, "models layers embed_dim all_heads"]
    key: Float[Tensor, "models layers embed_dim all_heads"]
    value: Float[Tensor, "models layers embed_dim all_heads"]
    output: Float[Tensor, "models layers all_heads embed_dim"]
    mlp_in: Float[Tensor, "models layers embed_dim width"]
    mlp_bias: Float[Tensor, "models layers width"]
    mlp_out: Float[Tensor, "models layers width embed_dim"]
    unembedding: Float[Tensor, "models 1 embed_dim"]

    def forward(self, points: Float[Tensor, "models batch ambient_dim"]) -> Float[Tensor, "models batch"]:
        """The answers of model i at points[i] (M, B, D) -> (M, B)."""
        models, batch, width = points.shape
        if models != self.num_models or width != self.ambient_dim:
            raise ValueError(f"points has shape {tuple(points.shape)}: ({self.num_models}, batch, {self.ambient_dim}) is legal")
        values = nn.functional.pad(points, (0, 1)).unsqueeze(-1)
        stream = values * self.token_embedding.unsqueeze(1) + self.position_embedding.unsqueeze(1)  # (M, B, S, m)
        for layer in range(self.num_layers):
            queried = stream[:, :, -1:] if layer == self.num_layers - 1 else stream
            rows = queried.flatten(1, 2)
            if self.heads:
                rows = rows + self._attend(layer, rows, stream)
            if self.mlp_width:
                into, bias, out_of = self.mlp_in[:, layer], self.mlp_bias[:, layer].unsqueeze(1), self.mlp_out[:, layer]
                hidden = torch.baddbmm(bias, rows, into)
                rows = torch.baddbmm(rows, torch.relu(hidden) if self.relu else nn.functional.gelu(hidden), out_of)
            stream = rows.unflatten(1, (batch, queried.shape[2]))
        return torch.bmm(stream[:, :, 0], self.unembedding.transpose(1, 2)).squeeze(2)

    def _attend(self, layer: int, rows: Tensor, stream: Tensor) -> Tensor:
        models, batch, positions, _ = stream.shape
        queried = rows.shape[1] // batch
        seen = stream.flatten(1, 2)

        def heads(read: Tensor, maps: Tensor, places: int) -> Tensor:
            return torch.bmm(read, maps[:, layer]).view(models * batch, places, self.heads, self.head_dim)

        queries = heads(rows, self.query * self.score_scale, queried)
        keys, values = heads(seen, self.key, positions), heads(seen, self.value, positions)
        mixed = attention(queries, keys, values, causal=False, kind=self.kind)
        return torch.bmm(mixed.reshape(models, batch * queried, self.heads * self.head_dim), self.output[:, layer])

    def member(self, index: int) -> ManifoldRegressor:
        """A copy of one model, as it is now."""
        model = ManifoldRegressor(**self.template, dtype=self.dtype)
        with torch.no_grad():
            for name in self.names:
                own = getattr(self, name)[index]
                if name in ("query", "key", "value"):
                    own = own.unflatten(2, (self.heads, self.head_dim)).transpose(1, 2)
                getattr(model, name).copy_(own.reshape(getattr(model, name).shape))
        return model
