"""Scaling laws: published constants to their printed digits, one formula in three libraries, limits, and units at the door."""

from math import e, exp, inf, log

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.allocation import optimal_allocation
from theory.scaling import (
    PUBLISHED,
    CriticalBatchLaw,
    DataConstrainedLaw,
    DownstreamErrorLaw,
    HoffmannLaw,
    KaplanParametersLaw,
    OvertrainingLaw,
    ScalingLaw,
    published_law,
)
from theory.scaling_units import Amount, PearceSongCounting, Unit, transformer_counts
from theory.strategies import HOFFMANN_FAMILIES, LAW_KINDS, hoffmann_laws, scaling_laws

PRINTED = {
    "hoffmann2022": {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.33917084, "beta": 0.2849083},
    "hoffmann2022_rounded": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "besiroglu2024": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
    "besiroglu2024_huber_sum": {"E": 1.8172, "A": 477.8, "B": 2143, "alpha": 0.3473, "beta": 0.3672},
    "sardana2024": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.336, "beta": 0.283},
    "muennighoff2023": {
        "E": 1.8691, "A": 520.8, "B": 1487.7, "alpha": 0.3526596, "beta": 0.3526596, "R_D": 15.387756, "R_N": 5.309743,
    },
    "kaplan2020_parameters": {"N_c": 8.8e13, "alpha_N": 0.076},
    "kaplan2020_data": {"D_c": 5.4e13, "alpha_D": 0.095},
    "kaplan2020_compute": {"C_c": 1.6e7, "alpha_C": 0.057},
    "kaplan2020_efficient_compute": {"C_c": 3.1e8, "alpha_C": 0.050},
    "kaplan2020_critical_batch": {"B_star": 2.1e8, "alpha_B": 0.21},
    "kaplan2020_joint": {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "kaplan2020_steps": {"N_c": 6.5e13, "S_c": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76},
}  # fmt: skip

FORMULAS = {
    "kaplan2020_parameters": "(N_c / N)**alpha_N",
    "kaplan2020_data": "(D_c / D)**alpha_D",
    "kaplan2020_compute": "(C_c / C)**alpha_C",
    "kaplan2020_efficient_compute": "(C_c / C_min)**alpha_C",
    "kaplan2020_critical_batch": "B_star / L**(1 / alpha_B)",
    "kaplan2020_joint": "((N_c / N)**(alpha_N / alpha_D) + D_c / D)**alpha_D",
    "kaplan2020_steps": "(N_c / N)**alpha_N + (S_c / S_min)**alpha_S",
    "besiroglu2024": "E + A / N**alpha + B / D**beta",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_constants_round_to_what_is_printed(name: str) -> None:
    found = PUBLISHED[name].law.constants
    assert list(found) == list(PRINTED[name])
    for symbol, printed in PRINTED[name].items():
        digits = len(f"{printed:.10g}".replace(".", "").lstrip("0").split("e")[0])
        assert float(f"{found[symbol]:.{digits}g}") == printed, symbol


def test_kaplans_units_and_hoffmanns() -> None:
    units = {symbol: unit for published in PUBLISHED.values() for symbol, unit in published.law.units.items()
             if not isinstance(published.law, HoffmannLaw | DataConstrainedLaw)}
    assert units == {"N": "non-embedding parameters", "D": "tokens", "L": "nats per token",
                     "C": "PF-days", "C_min": "PF-days", "S_min": "steps"}  # fmt: skip
    assert published_law("hoffmann2022").units == {"N": "total parameters", "D": "tokens"}
    assert published_law("muennighoff2023").units["U"] == "unique tokens"
    assert {published.law.output for published in PUBLISHED.values()} == {"nats per token", "tokens per batch"}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_those_of_the_papers(name: str) -> None:
    expression = PUBLISHED[name].law.expression()
    names = {str(symbol): symbol for symbol in expression.free_symbols}
    assert sympy.simplify(expression - sympy.sympify(FORMULAS[name], locals=names)) == 0


# Powers x^p have relative errors of eps |p ln x|, and |p ln x| is below 100 for these inputs.
ROUNDING = 400 * float(np.finfo(float).eps)
OTHERS = (OvertrainingLaw(1.7, 300.0, 500.0, 0.15), DownstreamErrorLaw(0.85, 2.0, 0.7))


def inputs_of(law: ScalingLaw, exponents: list[float]) -> dict[str, np.ndarray]:
    low = 0.5 if "L" in law.inputs else 1e4
    rows = np.array(exponents).reshape(-1, 2)
    return {symbol: low * 10.0 ** (place + rows[place]) for place, symbol in enumerate(law.inputs)}


@settings(max_examples=25)
@given(scaling_laws() | st.sampled_from(OTHERS), st.lists(st.floats(0, 4), min_size=6, max_size=6))
def test_numbers_arrays_and_tensors_agree(law: ScalingLaw, exponents: list[float]) -> None:
    inputs = inputs_of(law, exponents)
    found = law(**inputs)
    np.testing.assert_allclose(law.function("numpy")(*inputs.values()), found, rtol=ROUNDING)
    tensors = law.function("torch")(*(torch.tensor(values) for values in inputs.values()))
    assert tensors.dtype == torch.float64
    np.testing.assert_allclose(tensors.numpy(), found, rtol=ROUNDING)
    single = law(**{symbol: float(values[1]) for symbol, values in inputs.items()})
    assert isinstance(single, float)
    assert single == pytest.approx(found[1], rel=1e-14)


@pytest.mark.parametrize("law", [*(PUBLISHED[name].law for name in FORMULAS), *OTHERS], ids=lambda law: law.name)
def test_the_symbolic_value_in_thirty_digits(law: ScalingLaw) -> None:
    inputs = {symbol: float(values[0]) for symbol, values in inputs_of(law, [1.5, 0, 2.5, 0, 1.0, 0]).items()}
    where = {sympy.Symbol(symbol, positive=True): number for symbol, number in inputs.items()}
    assert law(**inputs) == pytest.approx(float(law.expression(numbers=True).evalf(30, subs=where)), rel=ROUNDING)


def test_torch_differentiates_and_keeps_single_precision() -> None:
    law = PUBLISHED["besiroglu2024"].law
    size = torch.tensor([1e9, 7e10], dtype=torch.float32, requires_grad=True)
    loss = law.function("torch")(size, torch.tensor([2e10, 1.4e12], dtype=torch.float32))
    assert loss.dtype == torch.float32
    loss.sum().backward()
    expected = -0.3478 * 482.01 * np.array([1e9, 7e10]) ** -1.3478
    np.testing.assert_allclose(size.grad.numpy(), expected, rtol=1e-5)  # 24 bits and powers up to 27 in the exponent


def test_a_law_broadcasts_over_its_inputs() -> None:
    law = PUBLISHED["hoffmann2022"].law
    table = law.loss(np.array([[1e8], [1e9]]), np.array([1e9, 1e10, 1e11]))
    assert table.shape == (2, 3)
    assert table[1, 2] == law.loss(1e9, 1e11)
    assert law.loss(10**9, np.float64(1e11)) == law.loss(1e9, 1e11)


def test_limits_of_the_joint_law() -> None:
    law = PUBLISHED["kaplan2020_joint"].law
    assert law(N=1e9, D=inf) == pytest.approx((6.4e13 / 1e9) ** 0.076, rel=1e-13)
    assert law(N=inf, D=1e10) == pytest.approx((1.8e13 / 1e10) ** 0.103, rel=1e-13)
    # Analytic in 1/D: halving a small 1/D halves the distance to the limit.
    far, further = (law(N=1e6, D=data) - law(N=1e6, D=inf) for data in (1e13, 2e13))
    assert far / further == pytest.approx(2, rel=1e-3)


def test_the_exponent_of_the_ratio_is_that_of_the_joint_fit() -> None:
    law = PUBLISHED["kaplan2020_joint"].law
    assert round(law.alpha_N / law.alpha_D, 2) == 0.74
    assert round(law.alpha_N / PUBLISHED["kaplan2020_data"].law.alpha_D, 2) == 0.80


def test_a_change_of_tokenizer_is_absorbed_in_the_scales() -> None:
    law, factor = PUBLISHED["kaplan2020_joint"].law, 1.3
    scaled = type(law)(
        law.N_c * factor ** (1 / law.alpha_N), law.D_c * factor ** (1 / law.alpha_D), law.alpha_N, law.alpha_D
    )
    assert scaled(N=3e8, D=2e10) == pytest.approx(factor * law(N=3e8, D=2e10), rel=1e-13)


def test_muennighoffs_values_of_their_own_test() -> None:
    law = PUBLISHED["muennighoff2023"].law
    assert law.loss(6.34e9, 242e9, 25e9) == pytest.approx(2.2256440889984477, rel=4e-16)
    assert law.loss(8.67e9, 178e9, 25e9) == pytest.approx(2.2269634075087867, rel=4e-16)
    assert round(1 / law.single_epoch.balance**2, 1) == 19.6


@given(parameters=st.floats(1e6, 1e12), tokens=st.floats(1e8, 1e13), unique=st.floats(1e8, 1e13))
def test_repeats_never_help_beyond_new_data(parameters: float, tokens: float, unique: float) -> None:
    law = PUBLISHED["muennighoff2023"].law
    fresh = law.single_epoch
    found = law.loss(parameters, tokens, unique)
    slack = 1e-13
    assert found >= fresh.loss(parameters, tokens) - slack
    if unique >= tokens and parameters <= fresh.paired_parameters(tokens):
        assert found == pytest.approx(fresh.loss(parameters, tokens), rel=slack)
    # However often they are repeated, unique tokens are worth 1 + R_D* times themselves at most.
    assert found >= law.E + law.B / (min(unique, tokens) * (1 + law.R_D)) ** law.beta - slack


@pytest.mark.parametrize(("epochs", "worth"), [(1, 1.0), (4, 0.93), (40, 0.38)])
def test_four_epochs_are_nearly_as_good_as_new_data_and_forty_are_not(epochs: int, worth: float) -> None:
    law = PUBLISHED["muennighoff2023"].law
    size = law.single_epoch.paired_parameters(1e10)
    data_term = law.loss(size, epochs * 1e10, 1e10) - law.E - law.A / size**law.alpha
    assert (law.B / data_term) ** (1 / law.beta) / (epochs * 1e10) == pytest.approx(worth, abs=0.005)


def test_a_repeat_is_worth_one_e_th_after_r_star_repeats() -> None:
    law = PUBLISHED["muennighoff2023"].law
    size, unique = 1e6, 1e10

    def tokens_worth(repeats: float) -> float:
        term = law.loss(size, (1 + repeats) * unique, unique) - law.E - law.A / size**law.alpha
        return float((law.B / term) ** (1 / law.beta))

    first = tokens_worth(1e-3) - tokens_worth(0.0)
    later = tokens_worth(law.R_D + 1e-3) - tokens_worth(law.R_D)
    assert first / later == pytest.approx(e, rel=1e-4)  # cancellation: digits 1e-13 of a difference of 1e-5, thrice


@settings(max_examples=25)
@given(hoffmann_laws(family="tied"), st.floats(1e16, 1e26), st.floats(1e-2, 1e4))
def test_gadres_law_is_hoffmanns_in_other_coordinates(law: HoffmannLaw, compute: float, ratio: float) -> None:
    other = OvertrainingLaw.from_tied(law)
    size = (compute / (6 * ratio)) ** 0.5
    assert other.eta == law.alpha / 2
    assert other.loss(compute, ratio) == pytest.approx(law.loss(size, size * ratio), rel=1e-12)
    # Parallel lines: the ratio of reducible losses at two M is the same at every C.
    lines = other.loss(np.array([[1e18], [compute]]), np.array([20.0, ratio])) - other.E
    bound = 1e-13 * (other.E + lines.max()) / lines.min()
    np.testing.assert_allclose(lines[0, 1] / lines[0, 0], lines[1, 1] / lines[1, 0], rtol=4 * bound)
    assert other.optimal_ratio == pytest.approx(optimal_allocation(law, compute).tokens_per_parameter, rel=1e-9)


def test_over_training_needs_one_exponent() -> None:
    with pytest.raises(ValueError, match=r"law has alpha = 0.34, beta = 0.28: must be equal"):
        OvertrainingLaw.from_tied(published_law("hoffmann2022_rounded"))
    tied = HoffmannLaw(1.8, 500.0, 1500.0, 0.35, 0.35)
    assert OvertrainingLaw.from_tied(tied).a == pytest.approx(500 * 6**0.175, rel=1e-15)
    assert OvertrainingLaw.from_tied(tied).b == pytest.approx(1500 * 6**0.175, rel=1e-15)


def test_downstream_error_falls_with_the_loss() -> None:
    law = DownstreamErrorLaw(0.85, 2.0, 0.7)
    assert law.error(np.array([2.0, 3.0])) == pytest.approx([0.85 - 2 * exp(-1.4), 0.85 - 2 * exp(-2.1)])
    assert law.output == "share of errors"


@settings(max_examples=25)
@given(hoffmann_laws(), st.floats(1e6, 1e13))
def test_pairs_are_balanced(law: HoffmannLaw, tokens: float) -> None:
    size = law.paired_parameters(tokens)
    assert law.alpha * law.A / size**law.alpha == pytest.approx(law.beta * law.B / tokens**law.beta, rel=1e-11)
    assert law.paired_tokens(size) == pytest.approx(tokens, rel=1e-11)


def test_amounts_are_converted_on_their_way_in() -> None:
    naive = PUBLISHED["kaplan2020_compute"].law
    assert naive(C=Amount(8.64e19, Unit.FLOP)) == naive(C=1.0) == pytest.approx(1.6e7**0.057)
    assert naive(C=8.64e19) != naive(C=1.0)  # a plain number is in the law's own unit
    law = PUBLISHED["hoffmann2022"].law
    bare = Amount(1e9, Unit.NON_EMBEDDING_PARAMETERS)
    with pytest.raises(ValueError, match="counting = None"):
        law(N=bare, D=2e10)
    counted = law.value(N=bare, D=2e10, counting=PearceSongCounting())
    assert counted == Amount(law.loss(1e9 + 47491e3, 2e10), Unit.NATS_PER_TOKEN)
    model = transformer_counts(64, 2, 1000)
    own = Amount(model.non_embedding_parameters, Unit.NON_EMBEDDING_PARAMETERS)
    assert law.value(N=own, D=1e9, counting=model).value == law.loss(model.total_parameters, 1e9)
    with pytest.raises(ValueError, match="unique tokens cannot be turned into it"):
        law(N=1e9, D=Amount(1e9, Unit.UNIQUE_TOKENS))
    bits = Amount(3.0, Unit.BITS_PER_TOKEN)
    assert CriticalBatchLaw(2.1e8, 0.21)(L=bits) == CriticalBatchLaw(2.1e8, 0.21).batch(3 * log(2))


def test_a_fit_in_non_embedding_parameters_says_so() -> None:
    law = HoffmannLaw(1.7, 400.0, 400.0, 0.3, 0.3, parameter_unit=Unit.NON_EMBEDDING_PARAMETERS)
    assert law.constants == {"E": 1.7, "A": 400.0, "B": 400.0, "alpha": 0.3, "beta": 0.3}
    assert law(N=Amount(1e8, Unit.NON_EMBEDDING_PARAMETERS), D=1e9) == law.loss(1e8, 1e9)
    assert law != HoffmannLaw(1.7, 400.0, 400.0, 0.3, 0.3)


FAMILY_FACTS = {
    "free": lambda law: law.E > 0,
    "published": lambda law: law in [published.law for published in PUBLISHED.values()],
    "tied": lambda law: law.alpha == law.beta,
    "no floor": lambda law: law.E == 0,
    "symmetric": lambda law: law.alpha == law.beta and law.A == law.B,
    "lopsided": lambda law: max(law.alpha, law.beta) > 2 * min(law.alpha, law.beta) - 1e-9,
}


@pytest.mark.parametrize("family", HOFFMANN_FAMILIES)
def test_families_are_what_they_are_called(family: str) -> None:
    @settings(max_examples=10, database=None, derandomize=True)
    @given(hoffmann_laws(family=family))
    def check(law: HoffmannLaw) -> None:
        assert FAMILY_FACTS[family](law)

    check()


def test_strategies_mix_kinds_and_families() -> None:
    kinds, laws = set(), []

    @settings(max_examples=100, database=None, derandomize=True)
    @given(scaling_laws(), hoffmann_laws(), scaling_laws(kind=LAW_KINDS[1]))
    def draw(law: ScalingLaw, floored: HoffmannLaw, other: ScalingLaw) -> None:
        kinds.add(type(law))
        laws.append(floored)
        assert type(other) is LAW_KINDS[1]

    draw()
    assert len(kinds) >= 3
    assert all(any(fact(law) for law in laws) for fact in FAMILY_FACTS.values())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: HoffmannLaw(1.7, 0, 400, 0.3, 0.3), "A = 0.0: must be a finite number > 0"),
        (lambda: HoffmannLaw(-0.1, 1, 1, 0.3, 0.3), "E = -0.1: must be a finite number >= 0"),
        (lambda: HoffmannLaw(1, 1, 1, float("inf"), 0.3), "alpha = inf: must be a finite number > 0"),
        (lambda: HoffmannLaw(1, np.ones(2), 1, 0.3, 0.3), "A has shape (2,): must be one number"),
        (lambda: HoffmannLaw(1, 1, 1, 1, 1, parameter_unit="tokens"), "parameter_unit = 'tokens': must be total parameters or"),
        (lambda: HoffmannLaw(1, 1, 1, 1, 1).loss(0, 1e9), "N = 0.0: must be a number > 0"),
        (lambda: HoffmannLaw(1, 1, 1, 1, 1).loss(1e9, np.array([1e9, np.nan])), "D = nan: must be a number > 0"),
        (lambda: HoffmannLaw(1, 1, 1, 1, 1).loss("1e9", 1e9), "N = '1e9': must be a number or an array of numbers"),
        (lambda: HoffmannLaw(1, 1, 1, 1, 1)(N=1e9), "inputs = N: must be N (total parameters), D (tokens)"),
        (lambda: KaplanParametersLaw(1, 1)(), "inputs = none: must be N (non-embedding parameters)"),
        (lambda: published_law("muennighoff2023").loss(1e9, inf, 1e9), "D = inf: must be a finite number > 0"),
        (lambda: KaplanParametersLaw(1, 1).function("jax"), "library = 'jax': must be 'numpy' or 'torch'"),
        (lambda: published_law("chinchilla"), "law = 'chinchilla': must be one of hoffmann2022, "),
        (lambda: hoffmann_laws(family="odd"), "family = 'odd': must be None or one of free, "),
        (lambda: scaling_laws(kind=int), "kind = <class 'int'>: must be None or one of HoffmannLaw, "),
    ],
)
def test_bad_input_is_refused_in_one_line(work, message: str) -> None:
    with pytest.raises(ValueError) as error:
        work()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
