"""The experiments of Dana, Pydi and Chevaleyre 2025, each as one short declarative file, and what is read from their results."""

from empirical.experiments._deviations import DEVIATION_COLUMNS, deviations
from empirical.experiments._registry import EXPERIMENTS, GROUPS, named
from empirical.experiments._results import EXPERIMENT_COLUMNS, results
from empirical.experiments._slopes import SLOPE_COLUMNS, bootstrap_slope_exponent, slope_exponent, slopes
from empirical.experiments.experiment import TIERS, Axis, Curve, Experiment, Grid, Tier, plotted_parameters

__all__ = [
    "DEVIATION_COLUMNS",
    "EXPERIMENTS",
    "EXPERIMENT_COLUMNS",
    "GROUPS",
    "SLOPE_COLUMNS",
    "TIERS",
    "Axis",
    "Curve",
    "Experiment",
    "Grid",
    "Tier",
    "bootstrap_slope_exponent",
    "deviations",
    "named",
    "plotted_parameters",
    "results",
    "slope_exponent",
    "slopes",
]
