"""Models that learn or are solved for, and the ruler held to all: training, solver, capacity, comparison."""

from empirical.capacity import Measurement, measure
from empirical.comparison import ROW_COLUMNS, compare, mean_interval, read_published, tidy
from empirical.solver import Solved, solve
from empirical.training import TrainedModel, TrainedModels, TrainingSettings, train

__all__ = [
    "ROW_COLUMNS",
    "Measurement",
    "Solved",
    "TrainedModel",
    "TrainedModels",
    "TrainingSettings",
    "compare",
    "mean_interval",
    "measure",
    "read_published",
    "solve",
    "tidy",
    "train",
]
