"""Rates on a manifold: from its dimension and the smoothness of the target to exponents of scaling laws, and back.

    from theory.manifold_rates import data_exponent, dimension_from_data_exponent

    data_exponent(10, 1.0)                    # 1/6: error^2 falls as n^(-1/6)
    dimension_from_data_exponent(0.095, 1.0)  # 19: what d would have to be

Exponents are positive numbers of a *squared* error (or of a loss above its floor, near the optimum quadratic in the error). With
data of dimension d and a target of Hoelder smoothness beta they are 2 beta / (2 beta + d) in samples, 2 beta / d in parameters:
Havrilla and Liao 2024, theorems 1 and 2. The first is that paper's own; the second is derived here from the size of the network
of theorem 2 (`derive_rates` has every step), as are the inversions and the identity 1/alpha_D - 1/alpha_N = 1, which holds
whatever d and beta are. Constants and powers of logarithms are left out throughout.

Formulas take numbers, arrays (which broadcast), fractions (which stay exact) and sympy expressions alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, log
from numbers import Rational
from typing import Any, Literal

import numpy as np

from theory._manifold_derivation import RateDerivation, derive_rates
from theory.scaling_units import checked_values, plain
from theory.shapes import checked_integer

__all__ = [
    "NetworkSize",
    "RateDerivation",
    "approximation_size",
    "data_exponent",
    "derive_rates",
    "dimension_from_data_exponent",
    "dimension_from_model_exponent",
    "dimensions_within",
    "estimation_size",
    "inverse_difference",
    "inverse_difference_error",
    "inverse_difference_interval",
    "model_exponent",
    "smoothness_ratio",
]

TOKEN_ROWS = 5
FEED_FORWARD_LAYERS = 2
FEED_FORWARD_WIDTH = 11
FIXED_BLOCKS = 3
"""Of the construction: numbers per token; hidden layers and their width; blocks besides those of the tree of products."""


def data_exponent(dimension: Any, beta: Any) -> Any:
    """alpha_D = 2 beta / (2 beta + d): the squared error of the best estimator falls as n^(-alpha_D) or faster. Between 0 and 1.

    Havrilla and Liao 2024, theorem 1, an upper bound of the error: that nothing does better takes a lower bound besides.
    `dimension` (d, need not be whole: estimates are not) and `beta` are > 0, otherwise ValueError.
    """
    return _of(lambda d, b: 2 * b / (2 * b + d), dimension=dimension, beta=beta)


def model_exponent(dimension: Any, beta: Any) -> Any:
    """alpha_N = 2 beta / d: the squared error of the best network of P parameters falls as P^(-alpha_N) or faster.

    Derived from Havrilla and Liao 2024, theorem 2, which says that such networks exist, not that none is better.
    Arguments > 0, otherwise ValueError.
    """
    return _of(lambda d, b: 2 * b / d, dimension=dimension, beta=beta)


def dimension_from_data_exponent(alpha: Any, beta: Any) -> Any:
    """d = beta (2 / alpha_D - 2). `alpha` between 0 and 1 (no dimension gives another) and `beta` > 0, otherwise ValueError."""
    _check_below_one("alpha", alpha)
    return _of(lambda a, b: b * (2 * (1 - a) / a), alpha=alpha, beta=beta)


def dimension_from_model_exponent(alpha: Any, beta: Any) -> Any:
    """d = 2 beta / alpha_N. Arguments > 0, otherwise ValueError."""
    return _of(lambda a, b: 2 * b / a, alpha=alpha, beta=beta)


def smoothness_ratio(alpha: Any, kind: Literal["data", "model"]) -> Any:
    """d / beta, all that one exponent can say of the two: 2 / alpha_D - 2 from a "data" exponent, 2 / alpha_N from a "model" one.

    Raises ValueError for another kind and as the two inversions do.
    """
    if kind not in _INVERSES:
        raise ValueError(f"kind = {kind!r}: must be 'data' or 'model'")
    return _INVERSES[kind](alpha, Fraction(1))


_INVERSES = {"data": dimension_from_data_exponent, "model": dimension_from_model_exponent}


def dimensions_within(alpha: float, tolerance: float, beta: float | int) -> tuple[float, float]:
    """The least and the largest d whose data exponent is within `tolerance` of `alpha`: what an agreement up to that much allows.

    The largest is infinite where `tolerance` >= `alpha`, the least is 0 where `alpha` + `tolerance` >= 1. Derived here. Raises
    ValueError for an alpha that is not between 0 and 1, a tolerance below 0, a beta not above 0.
    """
    middle = float(checked_values("alpha", alpha))
    _check_below_one("alpha", middle)
    play = float(checked_values("tolerance", tolerance, zero=True))
    least = 0.0 if middle + play >= 1 else float(dimension_from_data_exponent(middle + play, beta))
    largest = float("inf") if play >= middle else float(dimension_from_data_exponent(middle - play, beta))
    return least, largest


def inverse_difference(alpha_data: Any, alpha_model: Any) -> Any:
    """1/alpha_D - 1/alpha_N: 1 for exponents of one d and one beta, whatever these are. Arguments > 0, otherwise ValueError.

    A check of two measured exponents that needs neither an estimate of d nor a guess of beta. Derived here.
    """
    return _of(lambda a, b: 1 / a - 1 / b, alpha_data=alpha_data, alpha_model=alpha_model)


def inverse_difference_interval(
    data_interval: tuple[float, float], model_interval: tuple[float, float]
) -> tuple[float, float]:
    """All values of `inverse_difference` with alpha_D and alpha_N in their intervals, given as (low, high) with 0 < low <= high.

    It holds however the two estimates depend on each other: of two intervals that miss with probability q each, it misses with
    2 q at most (90 per cent from two of 95). Raises ValueError for other intervals.
    """
    data = _interval("data_interval", data_interval)
    model = _interval("model_interval", model_interval)
    return float(inverse_difference(data[1], model[0])), float(inverse_difference(data[0], model[1]))


def inverse_difference_error(
    alpha_data: float, alpha_model: float, data_error: float, model_error: float, correlation: float | None = None
) -> float:
    """Standard error of `inverse_difference`, to first order, from those of the exponents.

    `correlation` of the two estimates is between -1 and 1; None takes the worst, -1. Raises ValueError for exponents that are not
    > 0, errors < 0 and other correlations.
    """
    worst = -1.0 if correlation is None else float(correlation)
    if not -1 <= worst <= 1:
        raise ValueError(f"correlation = {correlation}: must be between -1 and 1, or None for the worst")
    data = float(checked_values("data_error", data_error, zero=True)) / float(checked_values("alpha_data", alpha_data)) ** 2
    model = float(checked_values("model_error", model_error, zero=True)) / float(checked_values("alpha_model", alpha_model)) ** 2
    return float(np.sqrt(max(0.0, data**2 + model**2 - 2 * worst * data * model)))


@dataclass(frozen=True)
class NetworkSize:
    """How large the network of a theorem is: leading forms in accuracy, d and beta, without their constants.

    The paper's theorems name these quantities. Their exact forms there are recalled, not read in the text; those below are what
    the construction of this project needs.

    Attributes:
        accuracy: eps, the largest error that the network is for.
        tokens, heads: d eps^(-d/beta), of both: tokens in all, and heads per block. A number of that order, not a count.
        blocks: 3 + log2(d + 1) rounded up, the count of this project's construction with local degree 0 or 1 (a tree multiplies d
            bumps and an indicator); the accuracy is not in it.
        embed_dim: numbers per token, 5 here.
        hidden_layers, width: of the feed-forward part of a block, 2 and 11 at most here.
    """

    accuracy: float
    tokens: float
    heads: float
    blocks: int
    embed_dim: int = TOKEN_ROWS
    hidden_layers: int = FEED_FORWARD_LAYERS
    width: int = FEED_FORWARD_WIDTH


def approximation_size(accuracy: float, dimension: int, beta: float | int) -> NetworkSize:
    """The network that is within `accuracy` of a beta-Hoelder function everywhere on a d-dimensional manifold.

    Havrilla and Liao 2024, theorem 2: depth of order log d, whatever the accuracy. Raises ValueError for an accuracy that is not
    between 0 and 1, a dimension that is not a whole number >= 1, a beta not > 0, a size beyond 1e300.
    """
    eps = float(checked_values("accuracy", accuracy))
    if eps >= 1:
        raise ValueError(f"accuracy = {eps}: must be above 0 and below 1")
    return _network_size(-log(eps), checked_integer("dimension", dimension, 1), float(checked_values("beta", beta)))


def estimation_size(num_samples: float | int, dimension: int, beta: float | int) -> NetworkSize:
    """The network that does best for n samples: the one of `approximation_size` at eps = n^(-beta/(2 beta + d)).

    Havrilla and Liao 2024, theorem 1; tokens are d n^(d/(2 beta + d)). Raises ValueError for fewer than 2 samples, and as there.
    """
    samples = float(checked_values("num_samples", num_samples))
    if samples < 2:
        raise ValueError(f"num_samples = {samples:g}: must be at least 2")
    d, smoothness = checked_integer("dimension", dimension, 1), float(checked_values("beta", beta))
    return _network_size(log(samples) * data_exponent(d, smoothness) / 2, d, smoothness)


def _network_size(digits: float, dimension: int, beta: float) -> NetworkSize:
    # `digits` = -ln eps; in logarithms, where nothing overflows.
    log_tokens = log(dimension) + digits * dimension / beta
    if not (digits <= 690 and log_tokens <= 690):  # ln 1e300
        given = f"dimension = {dimension}, beta = {beta:g}, accuracy = exp({-digits:.6g})"
        raise ValueError(f"{given}: must give fewer than 1e300 tokens and an accuracy above 1e-300")
    tokens = float(np.exp(log_tokens))
    levels = dimension.bit_length()  # log2(d + 1), rounded up
    return NetworkSize(float(np.exp(-digits)), tokens, tokens, FIXED_BLOCKS + levels)


def _of(formula: Callable[[Any, Any], Any], **given: Any) -> Any:
    # One formula for expressions, fractions, numbers and arrays; checked by name.
    first, second = (_argument(name, value) for name, value in given.items())
    if any(isinstance(each, np.ndarray) for each in (first, second)):
        first, second = (float(each) if isinstance(each, Rational) else each for each in (first, second))
        if not any(_symbolic(each) for each in (first, second)):
            return _in_range(formula, first, second, given)
        first, second = (_one_number(name, each) for name, each in zip(given, (first, second), strict=True))
    return formula(first, second)


def _argument(name: str, value: Any) -> Any:
    if _symbolic(value):
        if value.is_positive is False:
            raise ValueError(f"{name} = {value}: must be above 0")
        return value
    if isinstance(value, Fraction):
        if value <= 0:
            raise ValueError(f"{name} = {value}: must be above 0")
        return value
    return checked_values(name, value)


def _one_number(name: str, value: Any) -> Any:
    # Beside a symbol: whole numbers stay whole, so that sympy keeps them exact.
    if _symbolic(value):
        return value
    if np.ndim(value):
        raise ValueError(f"{name} has shape {np.shape(value)}: must be one number beside a symbol")
    number = float(value)
    return int(number) if number.is_integer() else number


def _symbolic(value: Any) -> bool:
    return hasattr(value, "free_symbols")


def _in_range(formula: Callable[[Any, Any], Any], first: Any, second: Any, given: Mapping[str, Any]) -> Any:
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise", under="ignore"):
            return plain(formula(first, second))
    except FloatingPointError:
        raise ValueError(f"{', '.join(given)}: must be near enough to 1 for a result within floating-point range") from None
    except ValueError:
        shapes = ", ".join(f"{name} has shape {np.shape(value)}" for name, value in given.items())
        raise ValueError(f"{shapes}: must be shapes that broadcast") from None


def _check_below_one(name: str, value: Any) -> None:
    # Of a symbol nothing may be known: then it passes.
    if (1 - value).is_positive is False if _symbolic(value) else not np.all(np.asarray(_argument(name, value)) < 1):
        raise ValueError(f"{name} = {str(value)[:40]}: must be above 0 and below 1")


def _interval(name: str, given: tuple[float, float]) -> tuple[float, float]:
    numbers = [float(each) for each in given]
    if len(numbers) != 2 or not all(map(isfinite, numbers)) or not 0 < numbers[0] <= numbers[1]:
        raise ValueError(f"{name} = {str(given)[:60]}: must be (low, high) with 0 < low <= high")
    return numbers[0], numbers[1]
