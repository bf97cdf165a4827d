"""What the papers state, as code: tasks, shapes, bounds and closed forms. No torch here, and nothing slow at import."""

from theory.shapes import AttentionShape
from theory.tasks import AssociationTask, DistributionTask, TaskFileError

__all__ = ["AssociationTask", "AttentionShape", "DistributionTask", "TaskFileError"]
