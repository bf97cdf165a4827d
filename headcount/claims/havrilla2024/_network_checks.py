"""How statements on built networks are checked: networks are built, evaluated at fresh random points, and counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import hypothesis.strategies as st
import numpy as np
import torch

from constructions.interaction import DATA, Block, InteractionNetwork, affine, interaction_head, product_tree
from constructions.manifolds import ManifoldNetwork, build
from headcount.claims.checks import enumerated, property_tested
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from theory.manifolds import Target, manifold_named, target_named

CIRCLE_GRIDS, SURFACE_GRIDS = (16, 32, 64, 128, 256), (8, 16, 32)
FRESH = "fresh uniform points of the manifold"


@dataclass(frozen=True)
class Reach:
    """What one network does: its grid, tokens, heads, blocks, error at fresh points."""

    grid: int
    tokens: int
    heads: int
    blocks: int
    rms: float
    sup: float


def _target(name: str, ambient: int | None, beta: float) -> Target:
    manifold = manifold_named(name, ambient)
    return target_named(manifold, "smooth") if beta > 1 else target_named(manifold, "weierstrass", beta)


@cache
def _network(name: str, ambient: int | None, beta: float, degree: int, grid: int, indicator: bool = True) -> ManifoldNetwork:
    target = _target(name, ambient, beta)
    return build(target.manifold, target, grid, degree, indicator=indicator)


@cache
def _reach(
    name: str, ambient: int | None, beta: float, degree: int, grid: int, points: int, seed: int, indicator: bool = True
) -> Reach:
    target = _target(name, ambient, beta)
    network = _network(name, ambient, beta, degree, grid, indicator)
    fresh = target.manifold.sample(points, np.random.default_rng(seed))
    error = network(fresh) - target(fresh)
    sizes = network.num_tokens, network.num_heads, network.num_blocks
    return Reach(grid, *sizes, float(np.sqrt(np.mean(error**2))), float(np.abs(error).max()))


def _line(inquiry: Inquiry, name: str, ambient: int | None, beta: float, degree: int, grids: tuple[int, ...]) -> list[Reach]:
    points = inquiry.pick(200, 1500, 4000)
    return [_reach(name, ambient, beta, degree, grid, points, inquiry.seed) for grid in grids]


def _slope(sizes: Sequence[float], errors: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def _grid_slope(inquiry: Inquiry, tolerance: float, *, name: str, ambient: int | None, beta: float, degree: int,
                grids: tuple[int, ...]) -> Case:
    line = _line(inquiry, name, ambient, beta, degree, grids)
    target = "smooth" if beta > 1 else f"Weierstrass {beta}"
    words = f"{name}{f' in R^{ambient}' if ambient else ''}, {target}, degree {degree}, N = {grids[0]} .. {grids[-1]}: " \
            f"order of the rms error"
    order = -_slope([each.grid for each in line], [each.rms for each in line])
    return Case(words, order, float(inquiry.formula(beta, degree)), tolerance)


def circle_smooth(inquiry: Inquiry) -> Evidence:
    case = _grid_slope(inquiry, 0.1, name="circle", ambient=8, beta=np.inf, degree=1, grids=CIRCLE_GRIDS)
    return enumerated(inquiry, [case], Method.PROPERTY, f"five grids, {FRESH}, seed {inquiry.seed}")


def circle_rough(inquiry: Inquiry) -> Evidence:
    cases = [
        _grid_slope(inquiry, 0.1, name="circle", ambient=8, beta=beta, degree=0, grids=CIRCLE_GRIDS) for beta in (0.5, 0.75)
    ]
    return enumerated(inquiry, cases, Method.PROPERTY, f"beta = 0.5, 0.75, five grids each, {FRESH}, seed {inquiry.seed}")


def surfaces(inquiry: Inquiry) -> Evidence:
    # The torus needs a grid of 64, which takes seconds.
    names, grids = (("sphere",), SURFACE_GRIDS) if inquiry.effort.rank == 0 else (("sphere", "torus"), (*SURFACE_GRIDS, 64))
    cases = [
        _grid_slope(inquiry, 0.15, name=name, ambient=None, beta=np.inf, degree=1, grids=grids) for name in names
    ]
    return enumerated(inquiry, cases, Method.PROPERTY, f"{len(grids)} grids, {FRESH}, seed {inquiry.seed}")


def higher_degrees(inquiry: Inquiry) -> Evidence:
    grids = (64, 128, 256) if inquiry.effort.rank else (32, 64, 128)
    cases = [
        _grid_slope(inquiry, 0.5, name="circle", ambient=8, beta=np.inf, degree=degree, grids=grids)
        for degree in range(2, inquiry.pick(4, 5, 5))
    ]
    return enumerated(inquiry, cases, Method.PROPERTY, f"three grids, {FRESH}, seed {inquiry.seed}")


CELLS = (("circle", 8, 0.5), ("circle", 8, 0.75), ("sphere", None, 0.5), ("torus", None, 0.5))


def tokens(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        cells = CELLS if inquiry.effort.rank else CELLS[:2]  # surfaces take seconds
        for name, ambient, beta in cells:
            dimension = manifold_named(name, ambient).dimension
            line = _line(inquiry, name, ambient, beta, 0, CIRCLE_GRIDS if dimension == 1 else SURFACE_GRIDS)
            for kind, sizes in (("tokens", [each.tokens for each in line]), ("heads", [each.heads for each in line])):
                power = _slope([1 / each.rms for each in line], sizes)
                words = f"{name}, Weierstrass {beta}, N = {line[0].grid} .. {line[-1].grid}: exponent of {kind} in 1/rms"
                yield Case(words, power, inquiry.formula(dimension, beta), 0.1)

    return enumerated(inquiry, cases(), Method.PROPERTY, f"lines of three or five grids, {FRESH}, seed {inquiry.seed}")


def token_count(inquiry: Inquiry) -> Evidence:
    """No more product tokens than cells' corners of all charts, two bumps' tokens at most for one node of an axis."""
    def cases() -> Iterator[Case]:
        for name, degree in (("circle", 0), ("circle", 1), ("sphere", 1), ("sphere-3", 1), ("torus", 1)):
            for grid in (4, 8, 16) if name != "sphere-3" and inquiry.effort.rank else (4, 8):
                network = _network(name, None, np.inf, degree, grid)
                most = inquiry.formula(network.manifold.dimension, network.manifold.ambient_dim, network.charts.num_charts, grid)
                yield Case(f"{name}, degree {degree}, N = {grid}: tokens", network.num_tokens, most)

    return enumerated(inquiry, cases(), Method.PROPERTY, f"degrees 0 and 1, d = 1, 2, 3, N 4 .. {inquiry.pick(8, 16, 16)}")


def depth(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        surface = (4, 8, 16) if inquiry.effort.rank else (4, 8)
        shapes = (("circle", (4, 16, 64, 256)), ("sphere", surface), ("torus", surface), ("sphere-3", (4, 8)))
        for name, grids in shapes:
            for grid in grids:
                network = _network(name, None, np.inf, 1, grid)
                dimension = network.manifold.dimension
                yield Case(f"{name}, N = {grid}: blocks", network.num_blocks, inquiry.formula(dimension))

    return enumerated(inquiry, cases(), Method.PROPERTY, "d = 1, 2, 3, degree 1")


def depth_accuracy(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for name, degree in (("circle", 0), ("circle", 1), ("circle", 2), ("circle", 3), ("sphere", 1), ("sphere", 2)):
            coarsest = _network(name, None, np.inf, degree, 4).num_blocks
            for grid in (8, 16) if name == "sphere" and inquiry.effort.rank else (8,) if name == "sphere" else (16, 64, 256):
                found = _network(name, None, np.inf, degree, grid).num_blocks
                yield Case(f"{name}, degree {degree}, N = {grid}: blocks", found, inquiry.formula(coarsest))

    return enumerated(inquiry, cases(), Method.PROPERTY, "degrees 0 to 3, N from 4 to 256")


def _rows_in_use(network: InteractionNetwork) -> int:
    """Rows of a token that some weight of the dense model reads or writes."""
    model = network.dense(tolerance=np.inf)
    # What a head reads: rows of queries, and of keys where a query asks for them.
    asked = torch.einsum("...ah,...bh->...ab", model.query, model.key) != 0
    written = torch.einsum("...ah,...hb->...ab", model.value, model.output) != 0
    used = (asked | written).flatten(0, -3).any(0)
    fed = (model.mlp_in != 0).any(-1).any(0) | (model.mlp_out != 0).any(-2).any(0)
    return int((used.any(0) | used.any(1) | fed).sum())


def widths(inquiry: Inquiry) -> Evidence:
    """Rows of a token that are in use in built networks, as dense models."""
    def cases() -> Iterator[Case]:
        for name, ambient, grid in (("circle", None, 4), ("circle", 8, 4), ("circle", 8, 16)):
            network = _network(name, ambient, np.inf, 1, grid).network
            words = f"circle in R^{network.ambient_dim}, N = {grid}, {network.num_tokens} tokens: rows of a token in use"
            yield Case(words, _rows_in_use(network), inquiry.formula())
        yield Case("product tree of 8: rows of a token in use", _rows_in_use(product_tree(8)), inquiry.formula())

    return enumerated(inquiry, cases(), Method.PROPERTY, "dense models of circles in R^2 and R^8 and of a product")


def feed_forward(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for name, degree, grid in (("circle", 0, 8), ("circle", 1, 64), ("circle", 3, 16), ("sphere", 1, 8), ("sphere-3", 1, 4)):
            for block in _network(name, None, np.inf, degree, grid).network.blocks:
                if block.feed_forward is not None:
                    words = f"{name}, degree {degree}, N = {grid}: units of a hidden layer"
                    yield Case(words, len(block.feed_forward.bias_1), inquiry.formula())

    return enumerated(inquiry, cases(), Method.PROPERTY, "degrees 0, 1, 3, d = 1, 2, 3")


def weights(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for name, pair in (("circle", (128, 256)), ("sphere", (32, 64) if inquiry.effort.rank else (16, 32))):
            networks = [_network(name, None, np.inf, 1, grid) for grid in pair]
            largest = [max(network.network.routing_constants) for network in networks]
            power = _slope([network.num_tokens for network in networks], largest)
            dimension = networks[0].manifold.dimension
            yield Case(f"{name}, N = {pair[0]}, {pair[1]}: exponent of the largest routing constant in l", power,
                       inquiry.formula(dimension), 0.1)

    return enumerated(inquiry, cases(), Method.PROPERTY, "degree 1, d = 1, 2, the two finest grids")


def ambient(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        points = inquiry.pick(200, 1500, 4000)
        for grid in (16, 64):
            low, high = (_reach("circle", dimension, np.inf, 1, grid, points, inquiry.seed).rms for dimension in (3, 50))
            yield Case(f"circle, N = {grid}: rms error in R^50 over that in R^3", high / low, inquiry.formula(), 1e-6)

    return enumerated(inquiry, cases(), Method.PROPERTY, "random rotations and offsets, the same points of the circle")


def indicator(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        points = inquiry.pick(200, 1500, 4000)
        for grid in (32, 64):
            with_ramp, without = (_reach("circle", 8, np.inf, 1, grid, points, inquiry.seed, kept).rms for kept in (True, False))
            words = f"circle, N = {grid}: rms error without indicators, over that with"
            yield Case(words, without / with_ramp, inquiry.formula())

    return enumerated(inquiry, cases(), Method.PROPERTY, f"circle in R^8, smooth target, {FRESH}")


# Heads and trees


def interaction(inquiry: Inquiry) -> list[Evidence]:
    def observe(num_tokens: int, seed: int) -> Case:
        generator = np.random.default_rng(seed)
        form = generator.standard_normal((5, 5))
        places = int(generator.integers(num_tokens)), int(generator.integers(num_tokens))
        angles = np.arange(1, num_tokens + 1) * (np.pi / (2 * num_tokens))
        data = generator.standard_normal((num_tokens, 2))
        stream = np.column_stack([data, np.cos(angles), np.sin(angles), np.ones(num_tokens)])
        values = stream @ form @ stream.T
        bound = float((np.abs(stream) @ np.abs(form) @ np.abs(stream).T).max())
        query, key, value, output = interaction_head(form, *places, 0, 1.0, num_tokens, bound)
        scores = np.maximum((stream @ query) @ (stream @ key).T, 0)
        added = scores @ (stream @ value) @ output
        expected = np.zeros_like(stream)
        expected[places[0], 0] = max(float(values[places]), 0.0)
        words = f"l = {num_tokens}, pair {places}, seed {seed}: largest difference in the stream, over M"
        return Case(words, float(np.abs(added - expected).max() / bound), inquiry.formula(num_tokens))

    long = (observe(num_tokens, inquiry.seed) for num_tokens in (200, 800))
    return [
        property_tested(
            inquiry, observe, {"num_tokens": st.integers(1, 40), "seed": st.integers(0, 10**6)},
            examples=inquiry.pick(20, 600, 6000),
            ranges="forms and streams of normal numbers, any pair of up to 40 tokens, float64",
        ),
        enumerated(inquiry, long, Method.PROPERTY, "the same, a pair of 200 and of 800 tokens"),
    ]


FACTORS = (2, 4, 8, 16)


def tree_depth(inquiry: Inquiry) -> Evidence:
    cases = [Case(f"d = {d}: blocks of the product tree", product_tree(d).num_blocks, inquiry.formula(d)) for d in FACTORS]
    return enumerated(inquiry, cases, Method.PROPERTY, "d = 2, 4, 8, 16")


def tree_error(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for d in FACTORS:
            inputs = np.random.default_rng([inquiry.seed, d]).uniform(-1.5, 1.5, (inquiry.pick(100, 500, 5000), d))
            found = product_tree(d).evaluate_dense(inputs)
            error = float(np.abs(found - inputs.prod(axis=1)).max())
            yield Case(f"d = {d}: largest error of the product", error, inquiry.formula())

    return enumerated(inquiry, cases(), Method.PROPERTY, f"factors in [-1.5, 1.5], dense attention, float64, seed {inquiry.seed}")


def _copies(num_tokens: int, target: int, source: int) -> InteractionNetwork:
    """One head pair that adds the source's value to the target, M = 4."""
    return InteractionNetwork(
        num_tokens, np.array([source]), target, (Block(affine(np.array([target]), DATA, np.array([source]), DATA)),), 4.0
    )


def single_bound(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        inputs = np.random.default_rng(inquiry.seed).uniform(-4, 4, (inquiry.pick(40, 200, 1000), 1))
        for length in (2, 5, 16, 64, 256, inquiry.pick(256, 1024, 1024)):
            last = length - 1
            for target, source in sorted({(last, 0), (0, last), (0, max(1, length // 8)), (last // 2, last)}):
                network = _copies(length, target, source)
                found = network.evaluate_dense(inputs, network.dense(torch.float32, tolerance=np.inf))
                bound = max(network.score_bounds)
                words = f"l = {length}, M = {bound:.3g}, {source} to {target}: largest error of one copied value in float32"
                yield Case(words, float(np.abs(found - inputs[:, 0]).max()), inquiry.formula(bound, length))

    return enumerated(inquiry, cases(), Method.PROPERTY, f"values in [-4, 4], 2 to 4 pairs a length, dense attention, seed "
                      f"{inquiry.seed}")


def single_network(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        network = _network("circle", 8, np.inf, 1, 16)
        points = network.manifold.sample(inquiry.pick(10, 30, 200), np.random.default_rng(inquiry.seed))
        exact = network(points)
        approximation = _reach("circle", 8, np.inf, 1, 16, inquiry.pick(200, 1500, 4000), inquiry.seed).rms
        found = network.network.evaluate_dense(points, network.dense(torch.float32, tolerance=np.inf))
        words = f"{network.num_tokens} tokens, rms error {approximation:.3g} without rounding: largest rounding error in float32"
        yield Case(words, float(np.abs(found - exact).max()), inquiry.formula(approximation))

    return enumerated(inquiry, cases(), Method.PROPERTY, "circle in R^8, smooth target, N = 16, dense against pair by pair")
