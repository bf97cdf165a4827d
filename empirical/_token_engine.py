"""Forward and backward pass of a stack of one-layer models of any sequence length, most of it per token and not per row.

What a head reads and writes depends on tokens alone until attention mixes it, and a vocabulary of N tokens is usually
shorter than a batch of R rows. So two tables are made per token: W, what a head compares its keys with when that token comes
last (its score map applied to the token), and U, what a head would write of that token. Rows are then sums over entries of
these tables, picked row by row, and gradients are gathered back into tables of the same form.

With z the attention's input at the last position and delta_i that at position i minus z, the score of position i less that
of the last one is delta_i . W[last token], and the output is z W_V W_O + sum_i a_i (U[token i] - U[last token]), where U of
the earlier positions has their position vectors in it. M models, R rows, S positions, E = S - 1 earlier ones, H heads of
inner width k. Features run along the last axis here, so that picking a row of a table is one copy.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from empirical._parameters import StackedParameters, summed_products


class TokenEngine:
    """The engine for any S >= 1; `rows` is the number R of rows of every call. Large results have buffers, made once."""

    def __init__(self, parameters: StackedParameters, rows: int) -> None:
        self.p, self.g, self.layout, self.rows = parameters.block, parameters.grad, parameters.layout, rows
        layout, models = parameters.layout, parameters.num_models
        self.score_scale = parameters.score_scale
        self.models, self.k, self.heads = models, layout.inner_dim, layout.shape.num_heads
        self.earlier, self.vocab = layout.seq_len - 1, layout.vocab_size
        empty, zeros, wide = parameters.flat.new_empty, parameters.flat.new_zeros, self.heads * self.k
        if self.heads:
            self.compared = empty(models * rows, wide)  # W of the last token
            self.written, self.scratch = (empty(models * rows * self.earlier, wide) for _ in range(2))
            self.written_last = empty(models * rows * self.earlier, wide)
            self.d_compared, self.d_last = (zeros(models * self.vocab, wide) for _ in range(2))
            self.d_first = zeros(models * self.earlier * self.vocab, wide)
        device = parameters.flat.device
        self.model_offset = torch.arange(models, device=device).view(models, 1, 1) * self.vocab
        position = torch.arange(self.earlier, device=device).view(1, self.earlier, 1)
        self.first_offset = self.model_offset * self.earlier + position * self.vocab

    def logits(self, tokens: Int[Tensor, "models_or_one seq_len rows"]) -> Float[Tensor, "models vocab_size rows"]:
        p, models, rows = self.p, self.models, self.rows
        earlier = tokens[:, :-1]
        self.last = (tokens[:, -1:] + self.model_offset).expand(models, 1, rows).reshape(-1)
        self.by_last = self.last.view(-1, 1).expand(-1, self.earlier).reshape(-1)
        self.by_token = (earlier + self.model_offset).expand(models, -1, rows).transpose(1, 2).reshape(-1)
        self.by_first = (earlier + self.first_offset).expand(models, -1, rows).transpose(1, 2).reshape(-1)
        self.token_rows = p["token"].transpose(1, 2).contiguous()
        residual = self._picked(self.token_rows, self.last)
        if self.layout.variant == "paper":
            residual += p["position"][:, :, -1].unsqueeze(1)
        if self.heads:
            attended = self._attend()
            residual += torch.bmm(attended, p["up"].transpose(1, 2)) if self.layout.shared_maps else attended
        self.embedding = residual
        return torch.bmm(p["unembedding"], residual.transpose(1, 2))

    def _picked(self, table: Float[Tensor, "models entries width"], index: Int[Tensor, " picked"]) -> Tensor:
        """Entries of a table of all models, as (M, picked per model, width)."""
        return table.reshape(-1, table.shape[2]).index_select(0, index).view(self.models, -1, table.shape[2])

    def _attend(self) -> Float[Tensor, "models rows inner"]:
        p, models, rows, k, heads, earlier = self.p, self.models, self.rows, self.k, self.heads, self.earlier
        inside = self.token_rows
        if self.layout.shared_maps:
            inside = torch.bmm(self.token_rows, p["down"].transpose(1, 2))
        self.inside, position = inside, p["position"].transpose(1, 2)
        self.position_last, self.steps = position[:, -1:], position[:, :-1] - position[:, -1:]
        last = self._picked(inside, self.last)
        self.z = last + self.position_last
        delta = self._picked(inside, self.by_token).view(models, rows, earlier, k)
        self.delta = delta.sub_(last.unsqueeze(2)).add_(self.steps.unsqueeze(1))

        square = (2 * models * heads, k, k)
        maps = torch.bmm(p["left"].reshape(square[0], k, -1), p["right"].reshape(square[0], -1, k))
        maps = maps.view(models, 2, heads, k, k)
        self.score_map = (maps[:, 0] * self.score_scale).permute(0, 3, 1, 2).reshape(models, k, heads * k)
        self.value_map = maps[:, 1].transpose(1, 2).reshape(models, k, heads * k)
        self.value_sum = maps[:, 1].sum(1)

        compared = torch.bmm(inside + self.position_last, self.score_map).view(-1, heads * k)
        written = torch.bmm(inside, self.value_map)
        at_position = written.unsqueeze(1) + torch.bmm(self.steps, self.value_map).unsqueeze(2)
        torch.index_select(compared, 0, self.last, out=self.compared)
        torch.index_select(at_position.view(-1, heads * k), 0, self.by_first, out=self.written)
        self.written.sub_(torch.index_select(written.view(-1, heads * k), 0, self.by_last, out=self.written_last))

        sizes = (models, rows, earlier, heads, k)
        torch.mul(self.compared.view(models, rows, 1, heads, k), self.delta.unsqueeze(3), out=self.scratch.view(sizes))
        self.weights = self._softmax(self.scratch.view(sizes).sum(4))
        mixed = torch.bmm(self.weights.view(models * rows, 1, -1), self.written.view(models * rows, -1, k))
        self.attended = torch.baddbmm(mixed.view(models, rows, k), self.z, self.value_sum)
        return self.attended

    def _softmax(self, scores: Float[Tensor, "models rows earlier heads"]) -> Float[Tensor, "models rows earlier heads"]:
        """Attention on the earlier positions, of scores from which that of the last position was taken."""
        if self.earlier == 1:
            return torch.sigmoid(scores)
        scores = torch.cat([scores, torch.zeros_like(scores[:, :, :1])] if self.earlier else [scores], dim=2)
        return torch.softmax(scores, dim=2)[:, :, : self.earlier].contiguous()

    def backward(self, d_logits: Float[Tensor, "models vocab_size rows"]) -> None:
        p, g = self.p, self.g
        torch.bmm(d_logits, self.embedding, out=g["unembedding"])
        d_residual = torch.bmm(d_logits.transpose(1, 2), p["unembedding"])
        d_token = torch.zeros_like(self.token_rows)
        self._gathered(d_token, self.last, d_residual)
        g["position"].zero_()
        if self.layout.variant == "paper":
            g["position"][:, :, -1] += d_residual.sum(1)
        if self.layout.shared_maps and not self.heads:
            g["up"].zero_()
            g["down"].zero_()
        elif self.layout.shared_maps:
            g["up"].copy_(summed_products(d_residual.transpose(1, 2), self.attended.transpose(1, 2)))
            d_inside = self._backward_attention(torch.bmm(d_residual, p["up"]))
            g["down"].copy_(summed_products(d_inside.transpose(1, 2), self.token_rows.transpose(1, 2)))
            d_token.baddbmm_(d_inside, p["down"])
        elif self.heads:
            d_token += self._backward_attention(d_residual)
        g["token"].copy_(d_token.transpose(1, 2))

    def _gathered(self, table: Float[Tensor, "models entries width"], index: Int[Tensor, " picked"], rows: Tensor) -> None:
        """Add rows to the entries of a table that they were picked from."""
        table.view(-1, table.shape[2]).index_add_(0, index, rows.reshape(-1, table.shape[2]))

    def _backward_attention(self, d_attended: Float[Tensor, "models rows inner"]) -> Float[Tensor, "models vocab_size inner"]:
        models, rows, k, heads, earlier = self.models, self.rows, self.k, self.heads, self.earlier
        sizes, table = (models, rows, earlier, heads, k), (models, -1, heads * k)
        d_value_sum = torch.bmm(self.z.transpose(1, 2), d_attended)
        d_z = torch.bmm(d_attended, self.value_sum.transpose(1, 2))
        d_row = d_attended.view(models, rows, 1, 1, k)
        scratch = self.scratch.view(sizes)
        d_weights = torch.mul(self.written.view(sizes), d_row, out=scratch).sum(4)
        torch.mul(self.weights.unsqueeze(4), d_row, out=scratch)
        d_first = self.d_first.zero_().index_add_(0, self.by_first, self.scratch)
        d_first = d_first.view(models, earlier, self.vocab, heads * k)
        d_last = self.d_last.zero_().index_add_(0, self.by_last, self.scratch, alpha=-1).view(table)

        mean = (self.weights * d_weights).sum(2, keepdim=True)  # over positions; the last one has a difference of 0
        d_scores = d_weights.sub_(mean).mul_(self.weights)
        torch.mul(d_scores.unsqueeze(4), self.delta.unsqueeze(3), out=scratch)
        d_compared = self.d_compared.zero_().index_add_(0, self.by_last, self.scratch).view(table)
        compared = self.compared.view(models * rows, heads, k)
        d_delta = torch.bmm(d_scores.view(models * rows, earlier, heads), compared).view(models, rows, earlier, k)
        d_inside = torch.zeros_like(self.inside)
        self._gathered(d_inside, self.by_token, d_delta)
        self._gathered(d_inside, self.last, d_z - d_delta.sum(2))

        # per token from here on: compared = (inside + position_last) score_map, written = inside value_map
        d_query = torch.bmm(d_compared, self.score_map.transpose(1, 2))
        d_score_map = torch.bmm((self.inside + self.position_last).transpose(1, 2), d_compared)
        d_at_step = d_first.sum(2)
        d_written = d_last + d_first.sum(1)
        d_value_map = torch.bmm(self.inside.transpose(1, 2), d_written).baddbmm_(self.steps.transpose(1, 2), d_at_step)
        d_inside.baddbmm_(d_written, self.value_map.transpose(1, 2)).add_(d_query)
        d_steps = torch.bmm(d_at_step, self.value_map.transpose(1, 2)) + d_delta.sum(1)
        d_position = self.g["position"]
        d_position[:, :, :-1] += d_steps.transpose(1, 2)
        d_position[:, :, -1] += d_z.sum(1) + d_query.sum(1) - d_steps.sum(1)

        d_maps = d_value_map.new_empty(models, 2, heads, k, k)
        torch.mul(d_score_map.view(models, k, heads, k).permute(0, 2, 3, 1), self.score_scale, out=d_maps[:, 0])
        torch.add(d_value_map.view(models, k, heads, k).transpose(1, 2), d_value_sum.unsqueeze(1), out=d_maps[:, 1])
        square = d_maps.view(-1, k, k)
        left, right = (self.p[name].reshape(square.shape[0], *self.p[name].shape[3:]) for name in ("left", "right"))
        torch.bmm(square, right.transpose(1, 2), out=self.g["left"].view(left.shape))
        torch.bmm(left.transpose(1, 2), square, out=self.g["right"].view(right.shape))
        return d_inside
