"""The net that the solver moves, its logit margins, and their first derivatives written out by hand.

With rows for vectors, x_i = e(t_i) + p_i and D_i = x_i - x_S (i < S), head h has the scores c_i = x_S W_h D_i^T relative to the
last position, weights a_i = softmax over i and the last position (score 0), and the net is

    z = x_S G + sum_h (sum_i a_i D_i) M_h,        logits z U^T.

For S = 2 the softmax is a sigmoid; for S = 1 only x_S G is left. A width d_h < d means M_h = V_h O_h and W_h = Q_h K_h^T with the
inner dimension d_h. This is the attention-only transformer after a change of basis: there the skip hands on x_S itself and heads
read means, not differences, so that its skip is B = G - sum_h M_h here; with U := U B^T and O_h := O_h B^-1 its logits are these.

Derivatives of z, with m = sum_i a_i D_i and v_hi = a_i (D_i - m) M_h: dM_h moves z by m dM_h, dW_h by
sum_i (x_S dW_h D_i^T) v_hi, dD_i by dD_i (sum_h a_i M_h + (x_S W_h)^T v_hi), and x_S in the scores by
dx_S (sum_hi (W_h D_i^T) v_hi).

Several nets of one shape are kept side by side: the first axis of every array is the batch of restarts. Below, B is that batch,
T the associations, P the parameters of one net.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from constructions.aot import AttentionOnlyTransformer
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask


class Net:
    """Layout, start and margins of nets for one task and shape; parameters are rows of a (B, P) matrix.

    `free` "all" moves everything; "heads" keeps embeddings, positions, code and skip as drawn, with G = I, and heads then read
    means as the transformer's do, so that B = I as well.
    """

    def __init__(
        self,
        task: AssociationTask,
        shape: AttentionShape,
        free: str = "all",
        *,
        hinge: float = 1.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.task, self.shape, self.free, self.hinge, self.dtype = task, shape, free, hinge, dtype
        self.device = torch.device(device)
        self.vocab, self.length, self.count = task.vocab_size, task.seq_len, task.num_associations
        self.dim, self.rank = shape.embed_dim, shape.rank
        self.heads = shape.num_heads if self.length > 1 else 0  # one position leaves attention nothing to choose
        self.full = self.rank == self.dim
        self.centre = 1.0 if free == "heads" else 0.0
        d, rank, heads = self.dim, self.rank, self.heads
        parts: dict[str, tuple[int, ...]] = {
            "token": (self.vocab, d),
            "position": (self.length, d),
            "code": (self.vocab, d),
            "skip": (d, d),
        }
        if self.full:
            parts |= {"write": (heads, d, d), "score": (heads, d, d)}
        else:
            into = (heads, d, rank)
            parts |= {"value": into, "output": (heads, rank, d), "query": into, "key": into}
        self.layout: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.size = 0
        for name, sizes in parts.items():
            self.layout[name] = (self.size, sizes)
            self.size += math.prod(sizes)
        self.first_free = 0 if free == "all" else self.layout["write" if self.full else "value"][0]
        tokens = torch.tensor(task.sequences, device=self.device)
        self.tokens = [tokens[:, i].contiguous() for i in range(self.length)]
        self.labels = torch.tensor(task.targets, device=self.device)
        self.label_index = self.labels[None, :, None]
        self.label_mask = torch.zeros(self.count, self.vocab, dtype=torch.bool, device=self.device)
        self.label_mask[torch.arange(self.count, device=self.device), self.labels] = True
        self.is_label = self.label_mask.to(dtype)

    def like(self, dtype: torch.dtype) -> "Net":
        """The same net in another floating-point type."""
        return Net(self.task, self.shape, self.free, hinge=self.hinge, dtype=dtype, device=self.device)

    @property
    def num_free(self) -> int:
        """Parameters that the solver may move."""
        return self.size - self.first_free

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The arrays inside (B, P) parameters (or anything laid out like them), without a copy where P is contiguous."""
        return {
            name: flat[..., start : start + math.prod(sizes)].unflatten(-1, sizes) for name, (start, sizes) in self.layout.items()
        }

    def maps(self, p: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The heads' full maps M and W, each (B, H, d, d)."""
        if self.full:
            return p["write"], p["score"]
        return p["value"] @ p["output"], p["query"] @ p["key"].transpose(-1, -2)

    def draw(self, seed: int, restart: int) -> Tensor:
        """One start (P,), float64 on the CPU: it depends on nothing but the shape, the seed and the number of the restart."""
        rng = np.random.default_rng([seed, restart])
        d, rank, heads = self.dim, self.rank, self.heads
        flat = torch.zeros(self.size, dtype=torch.float64)
        p = self.views(flat)

        def normal(name: str, scale: float) -> None:
            p[name].copy_(torch.from_numpy(rng.standard_normal(tuple(p[name].shape)) * scale))

        normal("token", d**-0.5)
        normal("position", d**-0.5)
        normal("code", 1.0)
        p["skip"].copy_(torch.eye(d))
        if self.dim == 2:
            angles = torch.arange(self.vocab, dtype=torch.float64) * (2 * math.pi / self.vocab)
            p["code"].copy_(torch.stack([angles.cos(), angles.sin()], dim=1))
        p["code"].mul_(3 / p["code"].norm(dim=1, keepdim=True).clamp_min(1e-300))
        if not heads:
            return flat
        if self.full:
            normal("write", (heads * d) ** -0.5)
            normal("score", 2 / 3**0.5)
        else:  # products of factors with entries of the same variances as above
            normal("value", d**-0.5)
            normal("output", (heads * rank) ** -0.5)
            normal("query", (2 / 3**0.5) ** 0.5 * rank**-0.25)
            normal("key", (2 / 3**0.5) ** 0.5 * rank**-0.25)
        return flat

    def forward(self, flat: Tensor) -> "Pass":
        """The net's margins and what their derivatives need, for parameters (B, P)."""
        p = self.views(flat)
        write, score = self.maps(p)
        inputs = [p["token"][:, self.tokens[i]] + p["position"][:, None, i] for i in range(self.length)]
        last = inputs[-1]
        z = last @ p["skip"]
        batch, count = z.shape[:2]
        differences = [x - last for x in inputs[:-1]]
        weights: list[Tensor] = []
        queries = mean = z.new_zeros(batch, count, 0, self.dim)
        if self.heads:
            queries = (last @ _beside(score)).unflatten(-1, (self.heads, self.dim))  # x_S W_h
            scores = torch.stack(
                [(queries @ x[..., None])[..., 0] for x in differences] + [z.new_zeros(batch, count, self.heads)]
            )
            weights = list(torch.softmax(scores, dim=0)[:-1])
            mean = weights[0][..., None] * differences[0][:, :, None]
            for weight, x in zip(weights[1:], differences[1:], strict=True):
                mean = mean + weight[..., None] * x[:, :, None]
            read = mean + last[:, :, None] if self.centre else mean
            z = z + read.flatten(2) @ write.flatten(1, 2)
        logits = z @ p["code"].transpose(1, 2)
        margins = logits.gather(2, self.label_index.expand(batch, -1, -1)) - logits
        return Pass(p, z, margins, last, differences, queries, weights, mean, write, score)

    def violations(self, margins: Tensor) -> Tensor:
        """max(0, hinge - margin) for every wrong label, 0 for the right one: (B, T, N)."""
        return (self.hinge - margins).clamp_min(0).masked_fill(self.label_mask, 0.0)

    def to_transformer(self, flat: Tensor) -> AttentionOnlyTransformer:
        """One net (P,) as the transformer with the same logits in exact arithmetic, float64 on the CPU.

        The skip is absorbed: U := U B^T and O_h := O_h B^-1 with B = G - sum_h M_h (B = I where only the heads are free).
        Raises torch.linalg.LinAlgError where B is singular.
        """
        p = {name: array.detach().to("cpu", torch.float64) for name, array in self.views(flat).items()}
        d, rank, heads = self.dim, self.rank, self.heads
        model = AttentionOnlyTransformer(self.vocab, self.length, d, self.shape.num_heads, self.shape.head_dim)
        write, _ = self.maps(p)
        basis = p["skip"] - (0.0 if self.centre else write.sum(0))
        code = p["code"]
        output = torch.eye(d, dtype=torch.float64).expand(heads, d, d) if self.full else p["output"]
        value, query, key = (p["write"], p["score"], output) if self.full else (p["value"], p["query"], p["key"])
        if not self.centre:
            code = code @ basis.T
            if self.full:
                value = torch.linalg.solve(basis, value, left=False)
            else:
                output = torch.linalg.solve(basis, output, left=False)
        with torch.no_grad():
            model.token_embedding.copy_(p["token"])
            model.position_embedding.copy_(p["position"])
            model.unembedding.copy_(code)
            if heads:
                model.value[:, :, :rank], model.output[:, :rank] = value, output
                model.query[:, :, :rank], model.key[:, :, :rank] = query, key
        return model


def _beside(maps: Tensor) -> Tensor:
    """(B, H, d, d) heads' maps side by side, (B, d, H d): one product for all heads."""
    return maps.transpose(1, 2).flatten(2)


@dataclass
class Pass:
    """One forward pass: z (B, T, d), margins of the label over every label (B, T, N), and intermediate arrays."""

    parameters: dict[str, Tensor]
    z: Tensor
    margins: Tensor
    last: Tensor
    differences: list[Tensor]
    queries: Tensor
    weights: list[Tensor]
    mean: Tensor
    write: Tensor
    score: Tensor


class Linearisation:
    """The Jacobian J of the margins (B, T, N) with respect to the parameters (B, P), as products.

    `jvp` is J times a step, `vjp` is J^T times a cotangent (0 at the labels), `gram` is J^T diag(w) J over the free parameters.
    """

    def __init__(self, net: Net, done: Pass) -> None:
        self.net, self.done, p = net, done, done.parameters
        self.code = p["code"]
        batch, count, d = done.z.shape
        through_last = p["skip"][:, None].expand(batch, count, d, d)
        self.to_input: list[Tensor] = []  # (B, T, d, d) per position: dz = dx @ this
        self.moves: list[Tensor] = []  # v_hi (B, T, H, d) per position: how z moves with the score
        self.outer: list[Tensor] = []  # x_S (x) D_i (B, T, d d)
        self.read = (done.mean + done.last[:, :, None] if net.centre else done.mean).flatten(2)
        if net.heads:
            if net.centre:
                through_last = through_last + done.write.sum(1)[:, None]
            stacked, beside = done.write.flatten(2), _beside(done.score.transpose(2, 3))
            for weight, x in zip(done.weights, done.differences, strict=True):
                spread = weight[..., None] * (x[:, :, None] - done.mean)
                move = (spread.transpose(1, 2) @ done.write).transpose(1, 2).contiguous()
                keys = (x @ beside).unflatten(-1, (net.heads, d))  # W_h D_i
                to_input = (weight @ stacked).unflatten(-1, (d, d)) + done.queries.transpose(2, 3) @ move
                through_last = through_last + keys.transpose(2, 3) @ move - to_input
                self.moves.append(move)
                self.to_input.append(to_input)
                self.outer.append((done.last[..., None] * x[:, :, None]).flatten(2))
        elif net.length > 1:
            self.to_input = [done.z.new_zeros(batch, count, d, d)] * (net.length - 1)
        self.to_input.append(through_last)

    def jvp(self, step: Tensor) -> Tensor:
        """J step: how the margins (B, T, N) move with a step (B, P)."""
        net, done = self.net, self.done
        q = net.views(step)
        dz = done.last @ q["skip"]
        for i, to_input in enumerate(self.to_input):
            dx = q["token"][:, net.tokens[i]] + q["position"][:, None, i]
            dz = dz + (dx[..., None] * to_input).sum(2)  # on a CPU quicker than thousands of tiny products
        if net.heads:
            d_write, d_score = self._map_steps(q)
            dz = dz + self.read @ d_write.flatten(1, 2)
            columns = d_score.flatten(2).transpose(1, 2)
            for outer, move in zip(self.outer, self.moves, strict=True):
                dz = dz + ((outer @ columns)[..., None] * move).sum(2)
        logits = dz @ self.code.transpose(1, 2) + done.z @ q["code"].transpose(1, 2)
        return logits.gather(2, net.label_index.expand(len(logits), -1, -1)) - logits

    def _map_steps(self, q: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        if self.net.full:
            return q["write"], q["score"]
        p = self.done.parameters
        d_score = q["query"] @ p["key"].transpose(-1, -2) + p["query"] @ q["key"].transpose(-1, -2)
        return q["value"] @ p["output"] + p["value"] @ q["output"], d_score

    def vjp(self, cotangent: Tensor) -> Tensor:
        """J^T cotangent: (B, P), zero at parameters that are not free; the cotangent (B, T, N) is zero at the labels."""
        net, done, p = self.net, self.done, self.done.parameters
        to_logits = net.is_label * cotangent.sum(2, keepdim=True) - cotangent
        result = done.z.new_zeros(done.z.shape[0], net.size)
        q = net.views(result)
        to_z = to_logits @ self.code
        if net.heads:
            to_write = (self.read.transpose(1, 2) @ to_z).unflatten(1, (net.heads, net.dim))
            to_score = torch.zeros_like(to_write).flatten(2)
            for outer, move in zip(self.outer, self.moves, strict=True):
                to_score = to_score + (move @ to_z[..., None])[..., 0].transpose(1, 2) @ outer
            self._store_maps(q, p, to_write, to_score.unflatten(2, (net.dim, net.dim)))
        if net.free == "heads":
            return result
        q["code"].copy_(to_logits.transpose(1, 2) @ done.z)
        q["skip"].copy_(done.last.transpose(1, 2) @ to_z)
        for i, to_input in enumerate(self.to_input):
            to_x = (to_input @ to_z[..., None])[..., 0]
            q["token"].index_add_(1, net.tokens[i], to_x)
            q["position"][:, i] = to_x.sum(1)
        return result

    def _store_maps(self, q: dict[str, Tensor], p: dict[str, Tensor], to_write: Tensor, to_score: Tensor) -> None:
        if self.net.full:
            q["write"].copy_(to_write)
            q["score"].copy_(to_score)
            return
        q["value"].copy_(to_write @ p["output"].transpose(-1, -2))
        q["output"].copy_(p["value"].transpose(-1, -2) @ to_write)
        q["query"].copy_(to_score @ p["key"])
        q["key"].copy_(to_score.transpose(-1, -2) @ p["query"])

    def of_z(self) -> Tensor:
        """The Jacobian of z, explicit: (B, T, d, P); its columns of the code are zero."""
        net, done, p = self.net, self.done, self.done.parameters
        batch, count, d = done.z.shape
        result = done.z.new_zeros(batch, count, d, net.size)
        q = net.views(result)
        rows = torch.arange(count, device=net.device)
        if net.free == "all":
            for i, to_input in enumerate(self.to_input):
                turned = to_input.transpose(2, 3)
                # advanced indices around a slice come first: (T, B, d, d)
                q["token"][:, rows, :, net.tokens[i]] += turned.transpose(0, 1)
                q["position"][:, :, :, i] += turned
            for j in range(d):
                q["skip"][:, :, j, :, j] = done.last
        if net.heads:
            read = self.read.unflatten(2, (net.heads, d))
            to_write = done.z.new_zeros(batch, count, d, net.heads, d, d)
            for j in range(d):
                to_write[:, :, j, :, :, j] = read
            to_score = sum(
                (
                    move.transpose(2, 3)[..., None] * outer[:, :, None, None]
                    for move, outer in zip(self.moves, self.outer, strict=True)
                ),
                start=done.z.new_zeros(()),
            ).unflatten(-1, (d, d))
            self._store_maps(q, {name: array[:, None, None] for name, array in p.items()}, to_write, to_score)
        return result

    def gram(self, weights: Tensor) -> Tensor:
        """J^T diag(weights) J over the free parameters, (B, F, F); weights (B, T, N), zero at the labels."""
        net, done, code = self.net, self.done, self.code
        batch, count, d = done.z.shape
        vocab = net.vocab
        gaps = code[:, net.labels][:, :, None] - code[:, None]  # u_label - u_j, (B, T, N, d)
        weighted = gaps * weights[..., None]
        jacobian = self.of_z()[..., net.first_free :]
        flat = jacobian.flatten(1, 2)
        result = flat.transpose(1, 2) @ ((weighted.transpose(2, 3) @ gaps) @ jacobian).flatten(1, 2)
        if net.free == "heads":
            return result
        start = net.layout["code"][0]
        block = slice(start, start + vocab * d)
        # rows of the code: the label's moves with +z, the other one's with -z
        pull = net.is_label[..., None] * weighted.sum(2, keepdim=True) - weighted
        mixed = (pull.transpose(2, 3)[..., None] * done.z[:, :, None, None]).reshape(batch, count * d, vocab * d)
        cross = mixed.transpose(1, 2) @ flat
        result[:, block] += cross
        result[:, :, block] += cross.transpose(1, 2)
        squares = (done.z[..., None] * done.z[:, :, None]).flatten(2)
        pairs = (weights[..., None] * squares[:, :, None]).flatten(2)
        grouped = pairs.new_zeros(batch, vocab, vocab * d * d).index_add_(1, net.labels, pairs).unflatten(2, (vocab, d, d))
        both = grouped.sum(1) + grouped.sum(2)
        codes = -(grouped + grouped.transpose(1, 2))
        codes.diagonal(dim1=1, dim2=2).add_(both.permute(0, 2, 3, 1))
        result[:, block, block] += codes.transpose(2, 3).reshape(batch, vocab * d, vocab * d)
        return result
