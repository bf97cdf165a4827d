"""Damped Gauss-Newton steps of the solver: solved by Cholesky for small nets, by conjugate gradients for large ones.

Both minimise, per net of the batch, the model 1/2 |sqrt(w) (v - J s)|^2 + 1/2 decay |theta + s|^2 + 1/2 damping s^T D s over the
violated margins v with weights w in {0, 1}; D is the recent maximum of diag(J^T J), floored (Marquardt's scaling, More 1978).
The dense engine adds a second candidate, bent along the curvature of the margins (geodesic acceleration, Transtrum and Sethna
2012), which costs one more pass and no new factorisation. The matrix-free engine preconditions with Kronecker products in the
manner of K-FAC (Martens and Grosse 2015): averages over associations of the two sides of each head's derivative.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from empirical._solver_net import Linearisation, Net, Pass

MEMORY_OF_SCALE = 0.9  # what remains per step of an earlier maximum of the diagonal
PROBE = 0.1  # how far along the step the second derivative is probed
LONGEST_BEND = 0.75  # the bend may be at most this share of the step


@dataclass
class Proposal:
    """Candidate steps (B, P) and how far the model expects the objective to fall (B,), for the first of them."""

    candidates: list[Tensor]
    expected: Tensor
    failed: Tensor
    inner_steps: int = 0


class Scaling:
    """The diagonal D: the largest of recent diagonals of J^T W J, never below a share of its mean."""

    def __init__(self, floor: float) -> None:
        self.floor, self.largest = floor, torch.zeros(())

    def update(self, diagonal: Tensor) -> Tensor:
        self.largest = torch.maximum(self.largest.to(diagonal) * MEMORY_OF_SCALE, diagonal)
        return torch.maximum(self.largest, self.floor * self.largest.mean(1, keepdim=True)).clamp_min(1e-30)

    def forget(self, member: int) -> None:
        """A member of the batch starts anew."""
        self.largest[member] = 0.0


class DenseEngine:
    """Explicit J^T W J and its Cholesky factor, float64."""

    def __init__(self, net: Net, decay: float, *, floor: float = 1e-2) -> None:
        self.net, self.decay, self.scaling = net, decay, Scaling(floor)

    def propose(self, theta: Tensor, done: Pass, violations: Tensor, damping: Tensor) -> Proposal:
        """Steps for parameters (B, P) whose pass is `done`, each with its own damping (B,)."""
        net, first = self.net, self.net.first_free
        lin, weights = Linearisation(net, done), (violations > 0).to(theta.dtype)
        gram = lin.gram(weights)
        gradient = (self.decay * theta - lin.vjp(violations))[:, first:]
        scale = self.scaling.update(gram.diagonal(dim1=1, dim2=2))
        matrix = gram.clone()
        matrix.diagonal(dim1=1, dim2=2).add_(damping[:, None] * scale + self.decay)
        factor, info = torch.linalg.cholesky_ex(matrix)
        failed = info > 0
        if bool(failed.any()):
            factor[failed] = torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device)
        short = -torch.cholesky_solve(gradient[..., None], factor)[..., 0]
        short[failed] = 0.0
        curved = (gram @ short[..., None])[..., 0] + self.decay * short
        expected = -((gradient + 0.5 * curved) * short).sum(1)
        step = torch.zeros_like(theta)
        step[:, first:] = short
        bent = self._bent(theta, done, lin, weights, factor, scale, step)
        return Proposal([step, bent], expected, failed)

    def _bent(
        self, theta: Tensor, done: Pass, lin: Linearisation, weights: Tensor, factor: Tensor, scale: Tensor, step: Tensor
    ) -> Tensor:
        first = self.net.first_free
        probed = self.net.forward(theta + PROBE * step).margins
        second = (2 / PROBE) * ((done.margins - probed) / PROBE + lin.jvp(step))  # minus the margins' second derivative
        bend = torch.cholesky_solve(lin.vjp(second * weights)[:, first:, None], factor)[..., 0]
        share = 2 * ((scale * bend**2).sum(1) / (scale * step[:, first:] ** 2).sum(1).clamp_min(1e-300)).sqrt()
        bend = bend * (LONGEST_BEND / share.clamp_min(LONGEST_BEND))[:, None]
        result = step.clone()
        result[:, first:] += 0.5 * bend
        return result

    def forget(self, member: int) -> None:
        """A member of the batch starts anew."""
        self.scaling.forget(member)


class KrylovEngine:
    """Preconditioned conjugate gradients on products with J and J^T; the batch is a single net."""

    def __init__(
        self,
        net: Net,
        decay: float,
        *,
        dtype: torch.dtype = torch.float32,
        floor: float = 1e-4,
        iterations: int = 150,
        tolerance: float = 0.05,
        bend: bool = False,
    ) -> None:
        self.net, self.decay, self.scaling = net.like(dtype), decay, Scaling(floor)
        self.iterations, self.tolerance, self.bend = iterations, tolerance, bend

    def propose(self, theta: Tensor, done: Pass, violations: Tensor, damping: Tensor) -> Proposal:
        """A step for parameters (1, P) in the engine's own number format, handed back in that of `theta`."""
        net, first = self.net, self.net.first_free
        low = theta.to(net.dtype)
        done = net.forward(low)
        violations = net.violations(done.margins)
        lin, weights = Linearisation(net, done), (violations > 0).to(net.dtype)
        gradient = self.decay * low - lin.vjp(violations)
        gradient[:, :first] = 0.0
        second = Curvature(lin, weights)
        shift = damping.to(net.dtype)[:, None] * self.scaling.update(second.diagonal()) + self.decay
        precondition = second.preconditioner(shift)

        def operator(x: Tensor) -> Tensor:
            return lin.vjp(weights * lin.jvp(x)) + shift * x

        step, used = conjugate_gradients(operator, precondition, -gradient, self.iterations, self.tolerance)
        step[:, :first] = 0.0
        moved = lin.jvp(step)
        quadratic = (weights * moved * moved).sum((1, 2)) + self.decay * (step * step).sum(1)
        expected = (-(gradient * step).sum(1) - 0.5 * quadratic).to(theta.dtype)
        failed = ~torch.isfinite(step).all(1)
        step[failed] = 0.0
        candidates = [step.to(theta.dtype)]
        if self.bend:
            probed = net.forward(low + PROBE * step).margins
            lack = (2 / PROBE) * ((done.margins - probed) / PROBE + moved)  # minus the margins' second derivative
            bend, more = conjugate_gradients(operator, precondition, lin.vjp(lack * weights), self.iterations, self.tolerance)
            scale = shift - self.decay
            share = 2 * ((scale * bend**2).sum(1) / (scale * step**2).sum(1).clamp_min(1e-30)).sqrt()
            bend = bend * (LONGEST_BEND / share.clamp_min(LONGEST_BEND))[:, None]
            candidates.append((step + 0.5 * bend).to(theta.dtype))
            used += more
        return Proposal(candidates, expected, failed, used)

    def forget(self, member: int) -> None:
        """A member of the batch starts anew."""
        self.scaling.forget(member)


Linear = Callable[[Tensor], Tensor]


def conjugate_gradients(
    operator: Linear, precondition: Linear, right: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, int]:
    """x with operator(x) = right, until the preconditioned residual has fallen to `tolerance` of its first size."""
    x, residual = torch.zeros_like(right), right.clone()
    z = precondition(residual)
    direction = z
    size = first = float((residual * z).sum())
    for count in range(iterations):
        if not size > tolerance**2 * first:  # also when a NaN appears
            return x, count
        image = operator(direction)
        bending = float((direction * image).sum())
        if not bending > 0:  # rounding has eaten the definiteness: what is there is good enough
            return x, count
        length = size / bending
        x = x + length * direction
        residual = residual - length * image
        z = precondition(residual)
        before, size = size, float((residual * z).sum())
        direction = z + (size / before) * direction
    return x, iterations


class Curvature:
    """The diagonal of J^T W J, exact, and an approximate inverse of it plus a diagonal."""

    def __init__(self, lin: Linearisation, weights: Tensor) -> None:
        self.lin, self.net = lin, lin.net
        net, done, code = lin.net, lin.done, lin.code
        gaps = code[:, net.labels][:, :, None] - code[:, None]
        self.metric = (gaps * weights[..., None]).transpose(2, 3) @ gaps  # C_t (B, T, d, d): J^T W J = sum_t J_z^T C_t J_z
        self.seen = weights + net.is_label * weights.sum(2, keepdim=True)  # (B, T, N) how often a code row appears
        self.metric_diagonal = self.metric.diagonal(dim1=2, dim2=3)
        self.trace = self.metric_diagonal.sum(2)
        self.moved = [move @ self.metric for move in lin.moves]
        self.done = done

    def diagonal(self) -> Tensor:
        """diag(J^T W J), (B, P); zero at parameters that are not free."""
        lin, net, done = self.lin, self.net, self.done
        result = done.z.new_zeros(done.z.shape[0], net.size)
        q = net.views(result)
        if net.heads:
            self._head_diagonal(q)
        if net.free == "heads":
            return result
        q["code"].copy_(self.seen.transpose(1, 2) @ done.z**2)
        q["skip"].copy_((done.last**2).transpose(1, 2) @ self.metric_diagonal)
        inputs = [(to_input @ self.metric * to_input).sum(3) for to_input in lin.to_input]
        for i, part in enumerate(inputs):  # a token at two positions: cross terms are left out
            q["token"].index_add_(1, net.tokens[i], part)
            q["position"][:, i] = part.sum(1)
        return result

    def _head_diagonal(self, q: dict[str, Tensor]) -> None:
        lin, net, p = self.lin, self.net, self.done.parameters
        d, heads = net.dim, net.heads
        read = lin.read.unflatten(2, (heads, d))
        if net.full:
            q["write"].copy_(((lin.read**2).transpose(1, 2) @ self.metric_diagonal).unflatten(1, (heads, d)))
            for outer, move, moved in zip(lin.outer, lin.moves, self.moved, strict=True):
                strength = (move * moved).sum(3)  # positions' cross terms are left out
                q["score"].add_((strength.transpose(1, 2) @ outer**2).unflatten(2, (d, d)))
            return
        output = p["output"]
        inner = torch.einsum("bhri,btij,bhrj->bthr", output, self.metric, output)
        q["value"].copy_(torch.einsum("bthd,bthr->bhdr", read**2, inner))
        reads = torch.einsum("bthd,bhdr->bthr", read, p["value"])
        q["output"].copy_(torch.einsum("bthr,bti->bhri", reads**2, self.metric_diagonal))
        queries = torch.einsum("btd,bhdr->bthr", self.done.last, p["query"])
        for x, move, moved in zip(self.done.differences, lin.moves, self.moved, strict=True):
            strength = (move * moved).sum(3)[..., None]
            keys = torch.einsum("btd,bhdr->bthr", x, p["key"])
            q["query"].add_(torch.einsum("btd,bthr->bhdr", self.done.last**2, strength * keys**2))
            q["key"].add_(torch.einsum("btd,bthr->bhdr", x**2, strength * queries**2))

    def preconditioner(self, shift: Tensor) -> Linear:
        """An approximate inverse of J^T W J + diag(shift), as a function on (B, P)."""
        net = self.net
        s = net.views(shift)
        blocks: list[tuple[list[str], Kronecker]] = []
        if net.heads and net.full:
            blocks += self._full_blocks(s)
        elif net.heads:
            blocks += self._factor_blocks(s)
        if net.free == "all":
            blocks += self._other_blocks(s)

        def apply(x: Tensor) -> Tensor:
            result = torch.zeros_like(x)
            q, out = net.views(x), net.views(result)
            for names, solver in blocks:
                solver.apply([q[name] for name in names], [out[name] for name in names])
            return result

        return apply

    def _full_blocks(self, s: dict[str, Tensor]) -> list[tuple[list[str], "Kronecker"]]:
        lin, done, net = self.lin, self.done, self.net
        names = ["write", "skip"] if net.free == "all" else ["write"]
        features = torch.cat([lin.read, done.last], dim=2) if net.free == "all" else lin.read
        left = features.transpose(1, 2) @ (features * self.trace[..., None])
        blocks = [(names, Kronecker(left, self._mean_metric(), _stacked([s[name] for name in names], net.dim)))]
        products = sum(
            (moved @ move.transpose(2, 3) for move, moved in zip(lin.moves, self.moved, strict=True)), start=done.z.new_zeros(())
        )
        strength = products.diagonal(dim1=2, dim2=3).sum(2)
        right = sum((outer.transpose(1, 2) @ (outer * strength[..., None]) for outer in lin.outer), start=done.z.new_zeros(()))
        right = right / len(lin.outer)  # each position has its part of the strength
        among_heads = products.sum(1) / strength.sum(1).clamp_min(1e-30)[:, None, None]
        return [*blocks, (["score"], Kronecker(among_heads, right, s["score"].flatten(2)))]

    def _factor_blocks(self, s: dict[str, Tensor]) -> list[tuple[list[str], "Kronecker"]]:
        lin, done, net = self.lin, self.done, self.net
        p, d, heads = done.parameters, net.dim, net.heads
        read = lin.read.unflatten(2, (heads, d))
        metric = self._mean_metric()
        reads = torch.einsum("bthd,bhdr->bthr", read, p["value"]).flatten(2)
        written = reads.transpose(1, 2) @ (reads * self.trace[..., None])
        names = ["output", "skip"] if net.free == "all" else ["output"]
        if net.free == "all":
            features = torch.cat([reads, done.last], dim=2)
            written = features.transpose(1, 2) @ (features * self.trace[..., None])
        blocks = [(names, Kronecker(written, metric, _stacked([s[name] for name in names], d)))]
        per_head = torch.einsum("bthd,bt,bthe->bhde", read, self.trace, read)
        inner = p["output"] @ metric[:, None] @ p["output"].transpose(-1, -2)
        blocks.append((["value"], Kronecker(per_head, inner, s["value"])))
        queries = torch.einsum("btd,bhdr->bthr", done.last, p["query"])
        sums = {name: done.z.new_zeros(()) for name in ("query", "keys", "key", "queries", "total")}
        for x, move, moved in zip(done.differences, lin.moves, self.moved, strict=True):
            strength = (move * moved).sum(3)
            keys = torch.einsum("btd,bhdr->bthr", x, p["key"])
            for name, side in (("query", done.last[:, :, None].expand_as(read)), ("keys", keys), ("queries", queries)):
                sums[name] = sums[name] + torch.einsum("bthi,bth,bthj->bhij", side, strength, side)
            sums["key"] = sums["key"] + torch.einsum("bti,bth,btj->bhij", x, strength, x)
            sums["total"] = sums["total"] + strength.sum(1)[..., None, None].clamp_min(1e-30)
        blocks.append((["query"], Kronecker(sums["query"], sums["keys"] / sums["total"], s["query"])))
        blocks.append((["key"], Kronecker(sums["key"], sums["queries"] / sums["total"], s["key"])))
        return blocks

    def _other_blocks(self, s: dict[str, Tensor]) -> list[tuple[list[str], "Kronecker"]]:
        """One d x d block per token, position and row of the code; the skip where no head shares its block."""
        lin, done, net = self.lin, self.done, self.net
        d = net.dim
        squares = (done.z[..., None] * done.z[:, :, None]).flatten(2)
        code = (self.seen.transpose(1, 2) @ squares).unflatten(2, (d, d))
        token = done.z.new_zeros(done.z.shape[0], net.vocab, d, d)
        position = []
        for i, to_input in enumerate(lin.to_input):
            block = to_input @ self.metric @ to_input.transpose(2, 3)
            token.index_add_(1, net.tokens[i], block)
            position.append(block.sum(1))
        found = [("code", code), ("token", token), ("position", torch.stack(position, dim=1))]
        one = done.z.new_ones(1, 1)
        blocks = [([name], Kronecker(one.expand(*block.shape[:2], 1, 1), block, s[name][:, :, None])) for name, block in found]
        if not net.heads:
            left = done.last.transpose(1, 2) @ (done.last * self.trace[..., None])
            blocks.append((["skip"], Kronecker(left, self._mean_metric(), s["skip"])))
        return blocks

    def _mean_metric(self) -> Tensor:
        return self.metric.sum(1) / self.trace.sum(1).clamp_min(1e-30)[:, None, None]


def _stacked(parts: list[Tensor], dim: int) -> Tensor:
    """Maps into R^d below each other: (B, rows, d)."""
    return torch.cat([part.reshape(part.shape[0], -1, dim) for part in parts], dim=1)


class Kronecker:
    """The inverse of L (x) R + diag(S) for positive semidefinite L (.., m, m), R (.., n, n) and S (.., m, n) > 0.

    S is replaced by the rank-one a b^T next to it in logarithms, so that one eigendecomposition of each side does it.
    """

    def __init__(self, left: Tensor, right: Tensor, shift: Tensor) -> None:
        logs = shift.double().clamp_min(1e-30).log()
        rows = (logs.mean(-1) - 0.5 * logs.mean((-1, -2))[..., None]).exp().rsqrt()
        columns = (logs.mean(-2) - 0.5 * logs.mean((-1, -2))[..., None]).exp().rsqrt()
        first, turn_left = torch.linalg.eigh(left.double() * rows[..., None] * rows[..., None, :])
        second, turn_right = torch.linalg.eigh(right.double() * columns[..., None] * columns[..., None, :])
        self.left = (turn_left * rows[..., None]).to(left.dtype)
        self.right = (turn_right * columns[..., None]).to(left.dtype)
        self.divisor = (first.clamp_min(0)[..., None] * second.clamp_min(0)[..., None, :] + 1).to(left.dtype)

    def apply(self, parts: list[Tensor], results: list[Tensor]) -> None:
        """Solve for the parts below each other, and write the answers into `results`."""
        shape = (*self.divisor.shape[:-2], -1, self.divisor.shape[-1])
        stacked = torch.cat([part.reshape(shape) for part in parts], dim=-2) if len(parts) > 1 else parts[0].reshape(shape)
        solved = self.left @ ((self.left.transpose(-1, -2) @ stacked @ self.right) / self.divisor) @ self.right.transpose(-1, -2)
        start = 0
        for part, result in zip(parts, results, strict=True):
            rows = part.numel() // (solved.shape[-1] * solved[..., 0, 0].numel())
            result.copy_(solved[..., start : start + rows, :].reshape(part.shape))
            start += rows
