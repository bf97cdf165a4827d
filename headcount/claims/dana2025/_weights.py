"""Weights and what can be proved of them: the models that checks of this paper's claims compare with its formulas."""

from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Int
from scipy.optimize import linprog

from constructions import AttentionOnlyTransformer
from constructions.certificate import certify
from constructions.planar import build as build_planar
from theory.encoders import circle_code
from theory.tasks import AssociationTask


def certified_right(model: AttentionOnlyTransformer, task: AssociationTask) -> int:
    """How many associations the model certainly holds, in exact arithmetic with its weights as they are."""
    return certify(model, task, dtypes=()).statements["exact"].num_right


def certified_wrong(model: AttentionOnlyTransformer, task: AssociationTask) -> int:
    """How many associations the model certainly does not hold, in exact arithmetic with its weights as they are."""
    return certify(model, task, dtypes=()).statements["exact"].num_wrong


def one_head_cannot(task: AssociationTask) -> bool:
    """Whether no attention-only transformer with one head, of any width and with any weights, holds all of a task.

    For tasks with two labels and one shared last token; proved in exact arithmetic or not said. The difference of the two labels'
    logits times the softmax denominator is a sum over positions of one number per (position, token). Labels are impossible when
    some weights lambda >= 0, not all zero, cancel every such number in sum_t lambda_t (+-1) [token of t at i = v].
    """
    if len(np.unique(task.targets)) != 2 or task.num_last_tokens != 1:
        return False
    signs = np.where(task.targets == task.targets.min(), 1, -1)
    columns = [(position, token) for position in range(task.seq_len - 1) for token in range(task.vocab_size)]
    present = np.array([[row[position] == token for position, token in columns] for row in task.sequences.tolist()])
    terms = signs[:, None] * np.concatenate([present, np.ones((len(signs), 1))], axis=1).astype(np.int64)
    found = linprog(np.zeros(len(signs)), A_eq=np.vstack([terms.T, np.ones(len(signs))]), b_eq=[*[0] * terms.shape[1], 1])
    if found.status != 0 or found.x is None:
        return False
    return _cancels(terms, [Fraction(float(x)).limit_denominator(1000) for x in found.x])


def _cancels(terms: Int[np.ndarray, "sequences columns"], weights: list[Fraction]) -> bool:
    sums = [sum(weight * int(term) for weight, term in zip(weights, column, strict=True)) for column in terms.T]
    return all(weight >= 0 for weight in weights) and any(weights) and not any(sums)


def read_by_rows(vocab_size: int) -> tuple[AttentionOnlyTransformer, AssociationTask]:
    """A memory without heads at d = 2: token j is embedded as point j of the circle, and is to be answered by j."""
    model = AttentionOnlyTransformer(vocab_size, 1, 2, 0, 1)
    code = torch.from_numpy(circle_code(vocab_size))
    with torch.no_grad():
        model.token_embedding.copy_(code)
        model.unembedding.copy_(code)
    tokens = np.arange(vocab_size)
    return model, AssociationTask(tokens[:, None], tokens, vocab_size)


def planar(
    task: AssociationTask, embed_dim: int, num_heads: int, *, seed: int
) -> tuple[AttentionOnlyTransformer, AssociationTask]:
    """A model of width-two heads for up to d (H + 1) associations of any length, and the task.

    Embeddings, positions and scores depend on the sequences and the seed only: they are the same for all labels. How it is made:
    `constructions.planar`. Derived there, beyond Corollary 1.
    """
    built = build_planar(task, embed_dim=embed_dim, num_heads=num_heads, seed=seed, check=False)
    return built.model, task
