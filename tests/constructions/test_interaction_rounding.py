"""Bounds of interaction networks are rounded outwards: what many roundings add up to still lies within them."""

from fractions import Fraction

import numpy as np

from constructions.interaction import DATA, ONE, Block, FeedForward, InteractionNetwork, constants, joined

TENTHS = 30


def test_a_sum_of_tenths_lies_within_its_bounds_exactly_and_as_rounded() -> None:
    block = Block(constants(np.zeros(TENTHS, int), DATA, 0.1), None)
    network = InteractionNetwork(2, np.array([1]), 0, (block,), 1.0)
    low, high = (Fraction(float(end)) for end in network.bounds()[-1, DATA, 0])
    exact = TENTHS * Fraction(0.1)
    assert low <= exact <= high and low <= Fraction(float(network.evaluate(np.zeros((1, 1)))[0])) <= high
    assert high - low < Fraction(1, 10**10)


def test_what_a_network_of_tenths_writes_lies_within_its_bounds() -> None:
    # Thirty first units of exactly 0.1, a tenth of each into one second unit: only the sums are rounded.
    weight_1, weight_2, weight_3 = np.zeros((5, TENTHS)), np.zeros((TENTHS, TENTHS)), np.zeros((TENTHS, 5))
    weight_1[ONE], weight_2[:, 0], weight_3[0, DATA] = 0.1, 0.1, 1.0
    nothing = np.zeros(TENTHS)
    network = InteractionNetwork(
        2, np.array([1]), 0, (Block(joined(), FeedForward(weight_1, nothing, weight_2, nothing, weight_3)),), 1.0
    )
    low, high = (Fraction(float(end)) for end in network.bounds()[-1, DATA, 0])
    exact = TENTHS * Fraction(0.1) ** 2
    assert low <= exact <= high and low <= Fraction(float(network.evaluate(np.zeros((1, 1)))[0])) <= high
    assert high - low < Fraction(1, 10**10)
