"""Points of scaling laws, (N, D, L) of trained models, and the tables that they are read from."""

from empirical._scaling_points import DroppedRow, ParameterCount, ScalingPoints
from empirical._scaling_reading import (
    RECOGNISED,
    ROLES,
    UNITS,
    parse_columns,
    parse_units,
    points_from_table,
    read_points,
)

__all__ = [
    "RECOGNISED",
    "ROLES",
    "UNITS",
    "DroppedRow",
    "ParameterCount",
    "ScalingPoints",
    "parse_columns",
    "parse_units",
    "points_from_table",
    "read_points",
]
