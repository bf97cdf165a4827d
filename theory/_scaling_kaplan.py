"""The power laws of Kaplan et al. 2020: no floor, non-embedding parameters, compute in PF-days."""

from dataclasses import dataclass
from typing import Any

from theory._scaling_law import ScalingLaw
from theory.scaling_units import Amount, Unit, Values


@dataclass(frozen=True)
class KaplanParametersLaw(ScalingLaw):
    """L(N) = (N_c / N)^alpha_N, trained to convergence on as much data as it takes. Kaplan et al. 2020, equation 1.1."""

    N_c: float
    alpha_N: float

    name = "Kaplan L(N)"
    inputs = {"N": Unit.NON_EMBEDDING_PARAMETERS}  # noqa: RUF012
    source = "Kaplan et al. 2020, equation 1.1"

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """(N_c / N)^alpha_N."""
        return (quantities["N_c"] / quantities["N"]) ** quantities["alpha_N"]

    def loss(self, parameters: Values | Amount) -> Any:
        """Nats per token. Errors as for a call."""
        return self(N=parameters)


@dataclass(frozen=True)
class KaplanDataLaw(ScalingLaw):
    """L(D) = (D_c / D)^alpha_D, a large model stopped early. Kaplan et al. 2020, equation 1.2."""

    D_c: float
    alpha_D: float

    name = "Kaplan L(D)"
    inputs = {"D": Unit.TOKENS}  # noqa: RUF012
    source = "Kaplan et al. 2020, equation 1.2"

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """(D_c / D)^alpha_D."""
        return (quantities["D_c"] / quantities["D"]) ** quantities["alpha_D"]

    def loss(self, tokens: Values | Amount) -> Any:
        """Nats per token. Errors as for a call."""
        return self(D=tokens)


@dataclass(frozen=True)
class KaplanComputeLaw(ScalingLaw):
    """L(C) = (C_c / C)^alpha_C at one fixed batch size; C in PF-days. Kaplan et al. 2020, section 3 and table 5."""

    C_c: float
    alpha_C: float

    name = "Kaplan L(C)"
    inputs = {"C": Unit.PF_DAYS}  # noqa: RUF012
    source = "Kaplan et al. 2020, section 3.3"

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """(C_c / C)^alpha_C."""
        return (quantities["C_c"] / quantities["C"]) ** quantities["alpha_C"]

    def loss(self, compute: Values | Amount) -> Any:
        """Nats per token, from PF-days (or an `Amount`). Errors as for a call."""
        return self(C=compute)


@dataclass(frozen=True)
class KaplanEfficientComputeLaw(ScalingLaw):
    """L(C_min) = (C_c / C_min)^alpha_C, for the compute of a batch far below the critical one. Kaplan et al. 2020, equation 1.3.

    C_min = C / (1 + B / B_crit), in PF-days: not the compute that a run burns, which is twice as much at the critical batch.
    """

    C_c: float
    alpha_C: float

    name = "Kaplan L(C_min)"
    inputs = {"C_min": Unit.PF_DAYS}  # noqa: RUF012
    source = "Kaplan et al. 2020, equation 1.3"

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """(C_c / C_min)^alpha_C."""
        return (quantities["C_c"] / quantities["C_min"]) ** quantities["alpha_C"]

    def loss(self, compute: Values | Amount) -> Any:
        """Nats per token, from PF-days (or an `Amount`). Errors as for a call."""
        return self(C_min=compute)


@dataclass(frozen=True)
class KaplanJointLaw(ScalingLaw):
    """L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D, stopped early. Kaplan et al. 2020, equation 1.5.

    The simplest form in which a change of tokenizer goes into N_c and D_c, both limits are power laws, and which is analytic in
    1/D at D = infinity.
    """

    N_c: float
    D_c: float
    alpha_N: float
    alpha_D: float

    name = "Kaplan L(N, D)"
    inputs = {"N": Unit.NON_EMBEDDING_PARAMETERS, "D": Unit.TOKENS}  # noqa: RUF012
    source = "Kaplan et al. 2020, equation 1.5"

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """[(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D."""
        size = (quantities["N_c"] / quantities["N"]) ** (quantities["alpha_N"] / quantities["alpha_D"])
        return (size + quantities["D_c"] / quantities["D"]) ** quantities["alpha_D"]

    def loss(self, parameters: Values | Amount, tokens: Values | Amount) -> Any:
        """Nats per token: a float, or a float64 array broadcast over both. Errors as for a call."""
        return self(N=parameters, D=tokens)


@dataclass(frozen=True)
class KaplanStepsLaw(ScalingLaw):
    """L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S. Kaplan et al. 2020, equation 1.6.

    S_min are the steps of a batch far above the critical one: S / (1 + B_crit / B).
    """

    N_c: float
    S_c: float
    alpha_N: float
    alpha_S: float

    name = "Kaplan L(N, S)"
    inputs = {"N": Unit.NON_EMBEDDING_PARAMETERS, "S_min": Unit.STEPS}  # noqa: RUF012
    source = "Kaplan et al. 2020, equation 1.6"

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """(N_c / N)^alpha_N + (S_c / S_min)^alpha_S."""
        size = (quantities["N_c"] / quantities["N"]) ** quantities["alpha_N"]
        return size + (quantities["S_c"] / quantities["S_min"]) ** quantities["alpha_S"]

    def loss(self, parameters: Values | Amount, steps: Values | Amount) -> Any:
        """Nats per token: a float, or a float64 array broadcast over both. Errors as for a call."""
        return self(N=parameters, S_min=steps)


@dataclass(frozen=True)
class CriticalBatchLaw(ScalingLaw):
    """B_crit(L) = B_star / L^(1 / alpha_B), in tokens: a matter of the loss alone. Kaplan et al. 2020, equation 1.4."""

    B_star: float
    alpha_B: float

    name = "Kaplan B_crit(L)"
    inputs = {"L": Unit.NATS_PER_TOKEN}  # noqa: RUF012
    output = Unit.TOKENS_PER_BATCH
    source = "Kaplan et al. 2020, equation 1.4"

    @staticmethod
    def formula(operations: Any, **quantities: Any) -> Any:
        """B_star / L^(1 / alpha_B)."""
        return quantities["B_star"] / quantities["L"] ** (1 / quantities["alpha_B"])

    def batch(self, loss: Values | Amount) -> Any:
        """Tokens per batch at which time and compute are traded evenly. Errors as for a call."""
        return self(L=loss)
