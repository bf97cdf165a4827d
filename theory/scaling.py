"""Scaling laws of language models, one class per law, and the constants that papers print for them.

    from theory.scaling import PUBLISHED, HoffmannLaw

    law = PUBLISHED["besiroglu2024"].law
    law.loss(70e9, 1.4e12)              # nats per token
    law.expression()                    # sympy
    law.function("torch")               # of tensors

Every set in PUBLISHED belongs together: constants of one are never mixed with those of another, because within a set they make
up for each other's errors. Kaplan's count non-embedding parameters, Hoffmann's all of them; see `theory.scaling_units`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from types import MappingProxyType

from theory._scaling_chinchilla import DataConstrainedLaw, DownstreamErrorLaw, HoffmannLaw, OvertrainingLaw
from theory._scaling_kaplan import (
    CriticalBatchLaw,
    KaplanComputeLaw,
    KaplanDataLaw,
    KaplanEfficientComputeLaw,
    KaplanJointLaw,
    KaplanParametersLaw,
    KaplanStepsLaw,
)
from theory._scaling_law import ScalingLaw

__all__ = [
    "PUBLISHED",
    "CriticalBatchLaw",
    "DataConstrainedLaw",
    "DownstreamErrorLaw",
    "HoffmannLaw",
    "KaplanComputeLaw",
    "KaplanDataLaw",
    "KaplanEfficientComputeLaw",
    "KaplanJointLaw",
    "KaplanParametersLaw",
    "KaplanStepsLaw",
    "OvertrainingLaw",
    "Published",
    "ScalingLaw",
    "published_law",
]


@dataclass(frozen=True, eq=False)
class Published:
    """A law with the constants of a publication.

    Attributes:
        law: to be used as a unit.
        source: paper, and where in it.
        note: what to know before using it.
        standard_errors, intervals: of constants and exponents (a is that of N ~ C^a), where they are published; intervals of 95
            per cent.
    """

    law: ScalingLaw
    source: str
    note: str
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


_TABLES = "Kaplan et al. 2020, tables 5 and 6"

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "hoffmann2022": Published(
            HoffmannLaw(exp(0.5267228), exp(6.0073404), exp(6.0179186), 0.33917084, 0.2849083),
            "Hoffmann et al. 2022, unrounded in the source of the preprint as read by Besiroglu et al. 2024",
            "At Gopher's compute 40B parameters, as the paper says; its printed two digits give 32B.",
        ),
        "hoffmann2022_rounded": Published(
            HoffmannLaw(1.69, 406.4, 410.7, 0.34, 0.28),
            "Hoffmann et al. 2022, equation 10",
            "As printed. Two digits of an exponent move the optimal size by a quarter: use the unrounded set.",
        ),
        "besiroglu2024": Published(
            HoffmannLaw(1.8172, 482.01, 2085.43, 0.3478, 0.3658),
            "Besiroglu et al. 2024, table 1",
            "Refit of 240 points read off a figure, Huber density with a free scale. Intervals from 4000 bootstraps.",
            MappingProxyType({"E": 0.0257, "A": 124.5, "B": 1293.3, "alpha": 0.0154, "beta": 0.0206, "a": 0.020}),
            MappingProxyType(
                {"E": (1.769, 1.871), "A": (285.0, 744.0), "B": (1042.0, 5810.0), "alpha": (0.317, 0.373), "beta": (0.331, 0.415)}
            ),
        ),
        "besiroglu2024_huber_sum": Published(
            HoffmannLaw(1.8172, 477.8, 2143.0, 0.3473, 0.3672),
            "the objective of Hoffmann et al. 2022 on the 240 points of Besiroglu et al. 2024, refitted here",
            "Plain sum of Huber losses, minimised to tight tolerance.",
        ),
        "sardana2024": Published(
            HoffmannLaw(1.69, 406.4, 410.7, 0.336, 0.283),
            "Sardana et al. 2024, section 2",
            "Hoffmann's constants with three digits of the exponents, which the examples there need.",
        ),
        "muennighoff2023": Published(
            DataConstrainedLaw(
                exp(0.6254804), exp(6.255414), exp(7.3049974), 0.3526596, 0.3526596, R_D=15.387756, R_N=5.309743
            ),
            "Muennighoff et al. 2023, unrounded in the authors' code",
            "Single-epoch constants from 54 digitised points, alpha = beta imposed.",
        ),
        "kaplan2020_parameters": Published(KaplanParametersLaw(8.8e13, 0.076), _TABLES, "Converged models."),
        "kaplan2020_data": Published(KaplanDataLaw(5.4e13, 0.095), _TABLES, "Large models, stopped early."),
        "kaplan2020_compute": Published(
            KaplanComputeLaw(1.6e7, 0.057), _TABLES, "Naive: one fixed batch of 2^19 tokens. PF-days."
        ),
        "kaplan2020_efficient_compute": Published(
            KaplanEfficientComputeLaw(3.1e8, 0.050), _TABLES, "PF-days. Figure 1 of the paper prints C_c = 2.3e8."
        ),
        "kaplan2020_joint": Published(
            KaplanJointLaw(6.4e13, 1.8e13, 0.076, 0.103),
            "Kaplan et al. 2020, table 2",
            "Joint fit: its N_c, D_c and alpha_D are not those of the laws of one quantity.",
        ),
        "kaplan2020_steps": Published(
            KaplanStepsLaw(6.5e13, 2.1e3, 0.077, 0.76), "Kaplan et al. 2020, table 3", "Joint fit of size and steps."
        ),
        "kaplan2020_critical_batch": Published(
            CriticalBatchLaw(2.1e8, 0.21), _TABLES, "Tokens. The text rounds B* to 2e8."
        ),
    }
)
"""Name -> published law: constants with their source, each set to be used as a unit."""


def published_law(name: str) -> ScalingLaw:
    """The law of that name in PUBLISHED; ValueError, naming all, for another."""
    if name not in PUBLISHED:
        raise ValueError(f"law = {str(name)[:40]!r}: must be one of {', '.join(PUBLISHED)}")
    return PUBLISHED[name].law
