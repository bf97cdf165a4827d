"""What leaving points out does to a fit: the refits are real, nothing is forgotten, and a planted culprit is named."""

import numpy as np
import pytest

from empirical._scaling_engine import minimise
from empirical._scaling_forms import FORMS
from empirical._scaling_refits import constants_with_allocation, random_starts
from empirical.scaling_influence import Influence, influence
from empirical.scaling_points import ScalingPoints

BESIROGLU = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)
THETA = np.array([np.log(482.01), np.log(2085.43), np.log(1.8172), 0.3478, 0.3658])
HOFFMANN = FORMS["hoffmann"]


def grid(noise: float = 0.005, num_sizes: int = 6, num_tokens: int = 8, seed: int = 0) -> ScalingPoints:
    sizes, tokens = (row.ravel() for row in np.meshgrid(np.geomspace(5e7, 5e9, num_sizes), np.geomspace(1e9, 1e11, num_tokens)))
    loss = BESIROGLU[0] + BESIROGLU[1] / sizes ** BESIROGLU[3] + BESIROGLU[2] / tokens ** BESIROGLU[4]
    return ScalingPoints.of(sizes, tokens, loss * np.exp(noise * np.random.default_rng(seed).normal(size=sizes.size)))


def fitted(points: ScalingPoints, weights: np.ndarray | None = None) -> np.ndarray:
    logs = points.log_parameters, points.log_tokens, points.log_loss
    solutions = minimise(HOFFMANN, *logs, random_starts(HOFFMANN, 8, seed=7), weights=weights)
    return solutions.theta[solutions.best]


@pytest.fixture(scope="module")
def outlying() -> tuple[ScalingPoints, Influence]:
    """A table whose highest loss is 8% too high, and its influence."""
    table = grid()
    loss = table.loss.copy()
    loss[np.argmax(loss)] *= 1.08
    points = ScalingPoints.of(table.parameters, table.tokens, loss)
    return points, influence(HOFFMANN, points, fitted(points), top=(1, 5))


def test_each_row_is_the_fit_without_those_points(outlying: tuple[ScalingPoints, Influence]) -> None:
    points, found = outlying
    order = np.argsort(-points.loss)
    for row, number in ((0, 0), (1, 1), (2, 5)):
        keep = np.ones(points.num_points, dtype=bool)
        keep[order[:number]] = False
        expected = HOFFMANN.constants(fitted(points.select(keep)))
        told = found.table.iloc[row]
        assert told["num_left_out"] == number and told["num_left"] == points.num_points - number
        for symbol, value in expected.items():
            assert told[symbol] == pytest.approx(value, rel=1e-4), symbol
        assert told["a"] == pytest.approx(expected["beta"] / (expected["alpha"] + expected["beta"]), rel=1e-4)
    last = points.without(np.isclose(points.parameters, 5e9))
    assert found.table.iloc[-1]["alpha"] == pytest.approx(fitted(last)[3], rel=1e-4)


def test_every_size_is_left_out_once_and_all_its_points(outlying: tuple[ScalingPoints, Influence]) -> None:
    _, found = outlying
    sizes = found.table[found.table["kind"] == "size"]
    assert len(sizes) == 6 and (sizes["num_left_out"] == 8).all() and (sizes["reason"] == "").all()
    assert sizes["left_out"].is_unique and "the size 5e+07" in set(sizes["left_out"])


def test_the_largest_move_is_told_with_its_numbers(outlying: tuple[ScalingPoints, Influence]) -> None:
    _, found = outlying
    assert set(found.moves) == {"E", "a"}
    for symbol, move in found.moves.items():
        values = found.table[symbol].to_numpy()
        assert move.before == values[0] and abs(move.after - move.before) == np.abs(values[1:] - values[0]).max()
        assert found.table.set_index("left_out").loc[move.left_out, symbol] == move.after
        assert str(move).startswith("leaving out the ") and f"moves {symbol} from {move.before:.4g}" in str(move)
    assert found.sentences == tuple(map(str, found.moves.values()))


def test_leaving_out_a_planted_culprit_mends_the_fit() -> None:
    """Losses of one size 3% too low; another size may well move the bent fit further."""
    table = grid(noise=0.0005)
    culprit = np.isclose(table.parameters, table.parameters.max())
    points = ScalingPoints.of(table.parameters, table.tokens, np.where(culprit, 0.97, 1.0) * table.loss)
    found = influence(HOFFMANN, points, fitted(points), top=(1,))
    exponents = found.table.set_index("left_out")["a"]
    true = BESIROGLU[4] / (BESIROGLU[3] + BESIROGLU[4])
    assert abs(exponents["nothing"] - true) > 0.02
    assert exponents["the size 5e+09"] == pytest.approx(true, abs=0.01)


def test_what_leaves_too_little_has_a_reason_and_no_numbers() -> None:
    points = grid(num_sizes=3, num_tokens=4)  # with two sizes E and A / N^alpha cannot be told apart
    found = influence(HOFFMANN, points, THETA, top=(3, 8, 12, 500))
    reasons = dict(zip(found.table["left_out"], found.table["reason"], strict=True))
    assert reasons["the 3 highest losses"] == ""
    assert reasons["the 8 highest losses"] == "4 points for 5 free constants"
    assert reasons["the 12 highest losses"] == reasons["the 500 highest losses"] == "0 points for 5 free constants"
    one_size = found.table[found.table["kind"] == "size"]
    assert (one_size["reason"] == "these points do not decide all constants").all() and one_size["E"].isna().all()
    assert one_size["a"].isna().all() and (found.table["num_left"] >= 0).all()


def test_many_sizes_are_left_out_in_bands() -> None:
    rng = np.random.default_rng(1)
    sizes, tokens = 10 ** rng.uniform(7.5, 9.5, 150), 10 ** rng.uniform(9, 11, 150)
    loss = BESIROGLU[0] + BESIROGLU[1] / sizes ** BESIROGLU[3] + BESIROGLU[2] / tokens ** BESIROGLU[4]
    found = influence(HOFFMANN, ScalingPoints.of(sizes, tokens, loss), THETA, top=())
    bands = found.table[found.table["kind"] == "size"]
    assert len(bands) == 20 and bands["num_left_out"].sum() == 150 and bands["num_left_out"].between(6, 9).all()
    assert bands["left_out"].str.startswith("the sizes ").all()
    assert bands["E"].to_numpy() == pytest.approx(np.full(20, BESIROGLU[0]), rel=1e-4)  # an exact law moves for nobody
    assert bands["a"].to_numpy() == pytest.approx(np.full(20, BESIROGLU[4] / (BESIROGLU[3] + BESIROGLU[4])), rel=1e-4)


@pytest.mark.parametrize(("name", "symbols"), [("tied", {"E"}), ("kaplan", {"a"}), ("kaplan-parameters", set())])
def test_laws_without_a_constant_have_no_move_of_it(name: str, symbols: set[str]) -> None:
    form, points = FORMS[name], grid(num_sizes=4, num_tokens=4)
    logs = points.log_parameters, points.log_tokens, points.log_loss
    solutions = minimise(form, *logs, random_starts(form, 12))
    found = influence(form, points, solutions.theta[solutions.best], top=(1,), by_size=False)
    assert set(found.moves) == symbols and len(found.table) == 2 and found.sentences


def test_kaplans_allocation_exponent_is_that_of_a_search() -> None:
    """Minimise L over N at N D = C/6 for two C, where nothing but the law is known."""
    form = FORMS["kaplan"]
    theta = np.array([20.0, 30.0, 0.74, 0.1])
    best = []
    for compute in (1e20, 1e22):
        logs = np.linspace(10, 35, 400_001)
        best.append(logs[np.argmin(form.log_prediction(theta[None], logs, np.log(compute / 6) - logs)[0])])
    slope = (best[1] - best[0]) / np.log(100)
    assert constants_with_allocation(form, theta)["a"] == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"top": (0,)}, "top = 0"), ({"delta": 0.0}, "delta = 0.0"), ({"delta": float("nan")}, "delta = nan"),
        ({"theta": THETA[:4]}, "5 finite numbers"), ({"theta": THETA * np.nan}, "5 finite numbers"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(changes: dict[str, object], words: str) -> None:
    arguments: dict[str, object] = {"theta": THETA} | changes
    with pytest.raises(ValueError, match=words) as caught:
        influence(HOFFMANN, grid(), **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
