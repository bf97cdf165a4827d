"""The solver's hand-written derivatives against torch.autograd in float64, and its change of basis, to computed bounds."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from constructions import logit_margins
from empirical._solver_net import Linearisation, Net
from empirical._solver_steps import Curvature, DenseEngine, Kronecker, KrylovEngine, conjugate_gradients
from theory.shapes import AttentionShape
from theory.tasks import AssociationTask

UNIT = 2.0**-53
# S, d, H, d_h, free: one position, sigmoid, softmax, factors, width beyond d, no heads, heads alone.
CASES = [
    (1, 2, 2, 2, "all"),
    (2, 2, 3, 2, "all"),
    (3, 3, 2, 3, "all"),
    (2, 3, 3, 2, "all"),
    (3, 3, 2, 1, "all"),
    (4, 2, 1, 5, "all"),
    (2, 3, 0, 3, "all"),
    (2, 2, 2, 2, "heads"),
    (3, 3, 2, 1, "heads"),
]


def nets(case: tuple[int, int, int, int, str], seed: int = 0) -> tuple[Net, Tensor]:
    length, dim, heads, width, free = case
    task = AssociationTask.random(5, length, min(15, 5**length), seed)
    net = Net(task, AttentionShape(dim, heads, width), free)
    return net, torch.stack([net.draw(seed, restart) for restart in range(2)])


def autograd_jacobian(net: Net, flat: Tensor) -> Tensor:
    """(B, T, N, P), zero at parameters that may not move."""
    members = [torch.autograd.functional.jacobian(lambda x: net.forward(x[None]).margins[0], member) for member in flat]
    result = torch.stack([m for m in members if isinstance(m, Tensor)])
    result[..., : net.first_free] = 0.0
    return result


def rounding(net: Net, jacobian: Tensor, absolute_sum: Tensor) -> float:
    """A bound on rounding: a term of the sum passes at most this many operations, each with relative error 2^-53.

    Entries of the Jacobian come out of sums over d, H and S whose terms may exceed the entry; they are bounded with the largest
    entry of all, and a factor for what cancels in between.
    """
    operations = net.size + net.count * net.vocab + 50
    largest = float(jacobian.abs().max()) + 1.0
    return 8 * operations * UNIT * (float(absolute_sum.max()) + largest)


@pytest.mark.parametrize("case", CASES)
def test_products_with_the_jacobian_are_those_of_autograd(case: tuple[int, int, int, int, str]) -> None:
    net, flat = nets(case)
    jacobian = autograd_jacobian(net, flat)
    rng = torch.Generator().manual_seed(1)
    step = torch.randn(flat.shape, generator=rng, dtype=torch.float64)
    step[:, : net.first_free] = 0.0
    done = net.forward(flat)
    lin = Linearisation(net, done)
    cotangent = torch.randn(done.margins.shape, generator=rng, dtype=torch.float64).masked_fill(net.label_mask, 0.0)
    forward = torch.einsum("btnp,bp->btn", jacobian, step)
    bound = rounding(net, jacobian, torch.einsum("btnp,bp->btn", jacobian.abs(), step.abs()))
    assert float((lin.jvp(step) - forward).abs().max()) <= bound
    backward = torch.einsum("btn,btnp->bp", cotangent, jacobian)
    bound = rounding(net, jacobian, torch.einsum("btn,btnp->bp", cotangent.abs(), jacobian.abs()))
    assert float((lin.vjp(cotangent) - backward).abs().max()) <= bound
    assert bound < 1e-8  # far below any entry that could be wrong


@pytest.mark.parametrize("case", CASES)
def test_gram_and_its_diagonal_are_those_of_autograd(case: tuple[int, int, int, int, str]) -> None:
    net, flat = nets(case)
    if not net.num_free:
        return
    jacobian = autograd_jacobian(net, flat)
    done = net.forward(flat)
    lin = Linearisation(net, done)
    weights = (done.margins < done.margins.median()).to(torch.float64).masked_fill(net.label_mask, 0.0)
    free = jacobian[..., net.first_free :]
    wanted = torch.einsum("btn,btnp,btnq->bpq", weights, free, free)
    bound = rounding(net, jacobian, torch.einsum("btn,btnp,btnq->bpq", weights, free.abs(), free.abs())) * float(
        1 + jacobian.abs().max()
    )
    assert float((lin.gram(weights) - wanted).abs().max()) <= bound
    diagonal = Curvature(lin, weights).diagonal()
    assert float(diagonal[:, : net.first_free].abs().sum()) == 0.0
    if net.length <= 2:  # beyond, cross terms of positions are left out on purpose
        exact = wanted.diagonal(dim1=1, dim2=2)
        # a token that stands at both positions has a cross term, left out too: compare everything but tokens there
        start, sizes = net.layout["token"]
        tokens = range(start, start + math.prod(sizes)) if net.free == "all" else range(0)
        kept = [i for i in range(net.num_free) if i + net.first_free not in tokens]
        assert float((diagonal[:, net.first_free :][:, kept] - exact[:, kept]).abs().max()) <= bound


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(CASES), st.integers(0, 100))
def test_the_transformer_has_the_logits_of_the_net(case: tuple[int, int, int, int, str], seed: int) -> None:
    net, flat = nets(case, seed)
    own = net.forward(flat).margins[0].masked_fill(net.label_mask, torch.inf).amin(1)
    model = net.to_transformer(flat[0])
    p = net.views(flat[0])
    write, _ = net.maps(p)
    basis = p["skip"] - (0 if net.free == "heads" else write.sum(0))
    condition = float(torch.linalg.cond(basis)) if net.free == "all" else 1.0
    rows = float((p["token"].abs().max() + p["position"].abs().max()) * net.dim)
    size = rows * (1 + float(write.abs().sum())) * float(p["code"].abs().max()) * net.dim
    # the scores' own rounding moves the softmax by as much as it moves the scores
    scores = 1 + rows**2 * float(net.maps(p)[1].abs().max() if net.heads else 0.0)
    bound = 64 * net.dim * (1 + net.heads) * UNIT * size * scores * (1 + condition) * net.dim
    assert float((logit_margins(model, net.task) - own).abs().max()) <= bound


@pytest.mark.parametrize("case", [(2, 2, 3, 2, "all"), (3, 3, 2, 1, "all"), (2, 2, 3, 2, "heads"), (1, 3, 0, 3, "all")])
def test_both_engines_take_the_same_step(case: tuple[int, int, int, int, str]) -> None:
    net, flat = nets(case)
    flat = flat[:1]
    if not net.num_free:
        return
    done = net.forward(flat)
    violations, damping = net.violations(done.margins), torch.ones(1, dtype=torch.float64)
    dense = DenseEngine(net, 1e-4, floor=1e-2)
    krylov = KrylovEngine(net, 1e-4, dtype=torch.float64, floor=1e-2, iterations=4000, tolerance=1e-11, bend=False)
    lin, weights = Linearisation(net, done), (violations > 0).to(torch.float64)
    gram = lin.gram(weights)
    exact_diagonal = torch.zeros_like(flat)
    exact_diagonal[:, net.first_free :] = gram.diagonal(dim1=1, dim2=2)
    # The engines may scale differently (cross terms); with one D their linear systems are the same.
    scale = torch.maximum(exact_diagonal, 1e-2 * exact_diagonal.mean()) + 1e-30
    for engine in (dense, krylov):
        engine.scaling.update = lambda diagonal: scale[:, -diagonal.shape[1] :]  # type: ignore[method-assign]
    first = dense.propose(flat, done, violations, damping).candidates[0]
    second = krylov.propose(flat, done, violations, damping).candidates[0]
    # |error| <= |residual| / least eigenvalue, and the tolerance is on the preconditioned residual
    matrix = gram[0] + torch.diag(scale[0, net.first_free :] + 1e-4)
    condition = float(torch.linalg.cond(matrix))
    assert float((first - second).norm()) <= 1e-11 * condition * 10 * float(first.norm())
    assert float(first.norm()) > 0


def test_a_kronecker_block_inverts_what_it_stands_for() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 4, generator=rng, dtype=torch.float64), torch.randn(3, 3, generator=rng, dtype=torch.float64)
    left, right = a @ a.T, b @ b.T
    rows, columns = (
        torch.rand(4, generator=rng, dtype=torch.float64) + 0.1,
        torch.rand(3, generator=rng, dtype=torch.float64) + 0.1,
    )
    shift = rows[:, None] * columns
    matrix = torch.kron(left, right) + torch.diag(shift.flatten())
    x = torch.randn(1, 4, 3, generator=rng, dtype=torch.float64)
    result = torch.empty_like(x)
    Kronecker(left[None], right[None], shift[None]).apply([x], [result])
    wanted = torch.linalg.solve(matrix, x.flatten())
    bound = 1e3 * UNIT * float(torch.linalg.cond(matrix)) * float(wanted.norm())
    assert float((result.flatten() - wanted).norm()) <= bound


def test_conjugate_gradients_stop_at_what_is_not_definite() -> None:
    right = torch.ones(1, 3, dtype=torch.float64)
    x, used = conjugate_gradients(lambda v: -v, lambda v: v, right, 10, 1e-6)
    assert used == 0
    assert np.array_equal(x.numpy(), np.zeros((1, 3)))
    x, used = conjugate_gradients(lambda v: 2 * v, lambda v: v, right, 10, 1e-6)
    assert used == 1
    assert torch.equal(x, right / 2)


def test_draws_depend_on_seed_and_restart_alone() -> None:
    net, flat = nets((2, 3, 2, 2, "all"))
    assert torch.equal(net.draw(0, 1), flat[1])
    assert not torch.equal(flat[0], flat[1])
    assert not torch.equal(net.draw(1, 0), flat[0])
