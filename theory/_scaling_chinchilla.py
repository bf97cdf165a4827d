"""Laws with a floor: Hoffmann's three terms, the same with repeated data, and the same at a fixed over-training."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from theory._scaling_law import ScalingLaw
from theory.scaling_units import Amount, Unit, Values, checked_values, plain


@dataclass(frozen=True)
class HoffmannLaw(ScalingLaw):
    """L(N, D) = E + A / N^alpha + B / D^beta.

    N counts total parameters in the paper; `parameter_unit` says so where a fit used non-embedding ones. E = 0 is legal: a law
    without floor. Hoffmann et al. 2022, equation 2 (approach 3).
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    parameter_unit: Unit = field(default=Unit.TOTAL_PARAMETERS, kw_only=True, metadata={"constant": False})

    name = "Hoffmann"
    inputs = {"N": Unit.TOTAL_PARAMETERS, "D": Unit.TOKENS}  # noqa: RUF012
    source = "Hoffmann et al. 2022, equation 2"
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"E"})

    def __post_init__(self) -> None:
        super().__post_init__()
        legal = (Unit.TOTAL_PARAMETERS, Unit.NON_EMBEDDING_PARAMETERS)
        if self.parameter_unit not in legal:
            raise ValueError(f"parameter_unit = {str(self.parameter_unit)!r}: must be {' or '.join(legal)}")
        object.__setattr__(self, "parameter_unit", Unit(self.parameter_unit))

    @property
    def units(self) -> dict[str, Unit]:
        """N in `parameter_unit`, D in tokens."""
        return {"N": self.parameter_unit, "D": Unit.TOKENS}

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """E + A / N^alpha + B / D^beta."""
        return _three_terms(quantities, quantities["N"], quantities["D"])

    def loss(self, parameters: Values | Amount, tokens: Values | Amount) -> Any:
        """Nats per token: a float, or a float64 array broadcast over both. Errors as for a call."""
        return self(N=parameters, D=tokens)

    @property
    def balance(self) -> float:
        """G = (alpha A / (beta B))^(1 / (alpha + beta)): at the optimum N = G (C/6)^a, D = (C/6)^b / G. Section 3.3 there."""
        logarithm = (np.log(self.alpha * self.A) - np.log(self.beta * self.B)) / (self.alpha + self.beta)
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp(logarithm))

    def paired_parameters(self, tokens: Values) -> Any:
        """The N that is compute-optimal together with D: alpha A / N^alpha = beta B / D^beta."""
        return plain(_paired(self.constants, checked_values("tokens", tokens)))

    def paired_tokens(self, parameters: Values) -> Any:
        """The D that is compute-optimal together with N."""
        swapped = {"A": self.B, "B": self.A, "alpha": self.beta, "beta": self.alpha}
        return plain(_paired(swapped, checked_values("parameters", parameters)))


@dataclass(frozen=True)
class DataConstrainedLaw(ScalingLaw):
    """Hoffmann's law when data repeat: N and D are replaced by what they are worth.

    With U unique tokens (D of them at most), R_D = D/U - 1 repeats, U_N = min(N, the N paired with U) and R_N = N/U_N - 1,
    D is worth U + U R_D* (1 - exp(-R_D / R_D*)) and N likewise. The constants R_D* and R_N* are fields `R_D` and `R_N`. Without
    repeats (U = D) the data term is Hoffmann's, the parameter term only for N up to the paired one. Muennighoff et al. 2023.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    R_D: float
    R_N: float

    name = "data-constrained"
    inputs = {"N": Unit.TOTAL_PARAMETERS, "D": Unit.TOKENS, "U": Unit.UNIQUE_TOKENS}  # noqa: RUF012
    source = "Muennighoff et al. 2023, section 3 and appendix A"
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"E"})

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """E + A / N_worth^alpha + B / D_worth^beta."""
        unique = operations.minimum(quantities["U"], quantities["D"])
        used = operations.minimum(quantities["N"], _paired(quantities, unique))
        tokens = _worth(operations, quantities["D"], unique, quantities["R_D"])
        return _three_terms(quantities, _worth(operations, quantities["N"], used, quantities["R_N"]), tokens)

    def loss(self, parameters: Values | Amount, tokens: Values | Amount, unique_tokens: Values | Amount) -> Any:
        """Nats per token: a float, or a float64 array broadcast over all three. Errors as for a call."""
        return self(N=parameters, D=tokens, U=unique_tokens)

    @property
    def single_epoch(self) -> HoffmannLaw:
        """The law of fresh data: the same five constants."""
        return HoffmannLaw(self.E, self.A, self.B, self.alpha, self.beta)

    def _checked(self, symbol: str, value: Any) -> Any:
        return checked_values(symbol, value)  # ratios of infinities have no value


@dataclass(frozen=True)
class OvertrainingLaw(ScalingLaw):
    """L(C, M) = E + (a M^eta + b M^-eta) C^-eta, with M = D/N tokens per parameter: parallel lines in log(L - E) for each M.

    C in FLOP. From Hoffmann's law with alpha = beta = 2 eta and C = 6 N D (`from_tied`): a = A 6^eta, b = B 6^eta.
    Gadre et al. 2024, equation 4. That the two exponents are one is their assumption.
    """

    E: float
    a: float
    b: float
    eta: float

    name = "over-training"
    inputs = {"C": Unit.FLOP, "M": Unit.TOKENS_PER_PARAMETER}  # noqa: RUF012
    source = "Gadre et al. 2024, equation 4"
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"E"})

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """E + (a M^eta + b M^-eta) C^-eta."""
        ratio = quantities["M"] ** quantities["eta"]
        return quantities["E"] + (quantities["a"] * ratio + quantities["b"] / ratio) / quantities["C"] ** quantities["eta"]

    def loss(self, compute: Values | Amount, tokens_per_parameter: Values | Amount) -> Any:
        """Nats per token: a float, or a float64 array broadcast over both. Errors as for a call."""
        return self(C=compute, M=tokens_per_parameter)

    @property
    def optimal_ratio(self) -> float:
        """(b / a)^(1 / (2 eta)), the M of lowest loss, the same at every C. Derived here."""
        return float((self.b / self.a) ** (1 / (2 * self.eta)))

    @classmethod
    def from_tied(cls, law: HoffmannLaw, *, flops_per: float = 6.0) -> "OvertrainingLaw":
        """The same law in (C, M), with C = `flops_per` N D; ValueError unless alpha = beta."""
        if law.alpha != law.beta:
            raise ValueError(f"law has alpha = {law.alpha}, beta = {law.beta}: must be equal for one exponent eta")
        eta, flops = law.alpha / 2, float(checked_values("flops_per", flops_per))
        return cls(law.E, law.A * flops**eta, law.B * flops**eta, eta)


@dataclass(frozen=True)
class DownstreamErrorLaw(ScalingLaw):
    """Average error on downstream tasks from the loss: epsilon - k exp(-gamma L). Gadre et al. 2024, equation 5."""

    epsilon: float
    k: float
    gamma: float

    name = "downstream error"
    inputs = {"L": Unit.NATS_PER_TOKEN}  # noqa: RUF012
    output = Unit.ERROR_SHARE
    source = "Gadre et al. 2024, equation 5"

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """epsilon - k exp(-gamma L)."""
        return quantities["epsilon"] - quantities["k"] * operations.exp(-quantities["gamma"] * quantities["L"])

    def error(self, loss: Values | Amount) -> Any:
        """Share of errors, not kept between 0 and 1. Errors as for a call."""
        return self(L=loss)


def _three_terms(constants: Any, parameters: Any, tokens: Any) -> Any:
    return constants["E"] + constants["A"] / parameters ** constants["alpha"] + constants["B"] / tokens ** constants["beta"]


def _paired(constants: Any, tokens: Any) -> Any:
    """The N with alpha A / N^alpha = beta B / D^beta."""
    ratio = constants["alpha"] * constants["A"] / (constants["beta"] * constants["B"])
    return (ratio * tokens ** constants["beta"]) ** (1 / constants["alpha"])


def _worth(operations: Any, used: Any, unique: Any, scale: Any) -> Any:
    """U + U R* (1 - exp(-R / R*)), R = used / U - 1."""
    return unique + unique * scale * (1 - operations.exp(-(used / unique - 1) / scale))
