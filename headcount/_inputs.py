"""A saved model and a user's table, read together: what `measure`, `certify` and `recheck` start from."""

from pathlib import Path

from constructions.aot import AttentionOnlyTransformer, load_with_provenance
from theory.tasks import AssociationTask


def model_and_task(model_file: Path, task_file: Path) -> tuple[AttentionOnlyTransformer, AssociationTask, dict[str, str]]:
    """The model, the task with the model's vocabulary, and the strings kept beside the weights.

    Raises ValueError where a file can't be read, or the table has a token or a length that the model does not take.
    """
    model, provenance = load_with_provenance(model_file)
    task = AssociationTask.from_csv(task_file)
    largest = int(max(task.sequences.max(), task.targets.max()))
    if largest >= model.vocab_size:
        raise ValueError(f"{task_file}: has the token {largest}, but {model_file} knows only 0 to {model.vocab_size - 1}")
    if task.seq_len != model.seq_len:
        raise ValueError(f"{task_file}: has sequences of {task.seq_len} tokens, but {model_file} takes {model.seq_len}")
    # The model's vocabulary, not the file's largest entry, says how many answers there are to choose from.
    return model, AssociationTask(task.sequences, task.targets, max(2, model.vocab_size), f"read from {task_file}"), provenance
