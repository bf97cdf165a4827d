"""All experiments by name, in the order of the paper, and the names of groups."""

from empirical.experiments import deep, exp_1, exp_2, exp_3, exp_4, exp_5, exp_6, large
from empirical.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        exp_1.EXPERIMENT, exp_2.EXPERIMENT, exp_3.EXPERIMENT, exp_4.EXPERIMENT, exp_5.EXPERIMENT, exp_6.EXPERIMENT,
        large.EXP_1, large.EXP_2, large.EXP_5, deep.EXP_1, deep.EXP_2, deep.EXP_5,
    )
}  # fmt: skip
"""All experiments by name."""

GROUPS: dict[str, tuple[str, ...]] = {
    "large": ("exp_1_large", "exp_2_large", "exp_5_large"),
    "deep": ("exp_1_deep", "exp_2_deep", "exp_5_deep"),
    "all": tuple(EXPERIMENTS),
}
"""Names that stand for several experiments."""


def named(name: str) -> tuple[Experiment, ...]:
    """The experiment of a name, or those of a group. Raises ValueError for a name that is neither."""
    if name not in EXPERIMENTS and name not in GROUPS:
        raise ValueError(f"name = {name!r}: must be one of {', '.join((*EXPERIMENTS, *GROUPS))}")
    return tuple(EXPERIMENTS[one] for one in GROUPS.get(name, (name,)))
