"""Product trees: log2 d blocks, right up to rounding, dense and sparse."""

import numpy as np
import pytest
import torch

from constructions.interaction import InteractionPrecisionError, product_tree

INPUTS = np.random.default_rng(0).uniform(-1.5, 1.5, (500, 16))


@pytest.mark.parametrize(("num_factors", "heads"), [(2, (4,)), (4, (8, 4)), (8, (16, 8, 4)), (16, (32, 16, 8, 4))])
def test_trees_multiply_in_exactly_log2_blocks(num_factors: int, heads: tuple[int, ...]) -> None:
    tree, inputs = product_tree(num_factors), INPUTS[:, :num_factors]
    assert tree.num_blocks == np.log2(num_factors) and tree.heads_per_block == heads and tree.num_tokens == num_factors
    wanted, model = inputs.prod(1), tree.dense()
    assert model.num_layers == np.log2(num_factors) and (model.attention, model.causal) == ("relu", False)
    dense = np.abs(tree.evaluate_dense(inputs, model) - wanted).max()
    assert dense < 1e-10 and dense <= tree.error_bound() < 1e-6
    assert np.abs(tree.evaluate(inputs) - wanted).max() <= num_factors * np.finfo(float).eps * np.abs(wanted).max()


@pytest.mark.parametrize("num_factors", [1, 3, 5, 6, 7, 9, 15])
def test_factors_without_partner_go_on_as_they_are(num_factors: int) -> None:
    tree, inputs = product_tree(num_factors), INPUTS[:50, :num_factors]
    assert tree.num_blocks == int(np.ceil(np.log2(num_factors)))
    assert np.abs(tree.evaluate(inputs) - inputs.prod(1)).max() < 1e-13
    assert np.abs(tree.evaluate_dense(inputs) - inputs.prod(1)).max() < 1e-10


def test_scores_reach_their_bound_and_no_more() -> None:
    """M of level k is bound^(2^k): the largest product of two tokens there."""
    tree = product_tree(8, bound=1.25)
    assert tree.score_bounds == pytest.approx([1.25**2, 1.25**4, 1.25**8], rel=1e-7)
    assert tree.bounds()[-1, 0, 0] == pytest.approx([-(1.25**8), 1.25**8], rel=1e-7)
    with pytest.raises(InteractionPrecisionError):
        tree.dense(torch.float32)
    assert np.abs(tree.evaluate(np.full((1, 8), 1.25)) - 1.25**8).max() < 1e-14


@pytest.mark.parametrize(
    ("arguments", "named"), [((0,), "num_factors = 0"), ((2, -1.0), "bound = -1.0"), ((16, 1e20), "bound = 1e+20")]
)
def test_trees_that_cannot_be_are_refused(arguments: tuple[float, ...], named: str) -> None:
    with pytest.raises(ValueError) as error:
        product_tree(*arguments)  # type: ignore[arg-type]
    assert named in str(error.value) and "\n" not in str(error.value)
