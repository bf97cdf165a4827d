"""Models that learn, and the ruler held to both: training, capacity, comparison."""

from empirical.capacity import Measurement, measure
from empirical.comparison import ROW_COLUMNS, compare, mean_interval, read_published, tidy
from empirical.training import TrainedModel, TrainedModels, TrainingSettings, train

__all__ = [
    "ROW_COLUMNS",
    "Measurement",
    "TrainedModel",
    "TrainedModels",
    "TrainingSettings",
    "compare",
    "mean_interval",
    "measure",
    "read_published",
    "tidy",
    "train",
]
