"""Weights and what can be proved of them: the models that checks of this paper's claims compare with its formulas."""

from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Int
from scipy.optimize import linprog

from constructions import AttentionOnlyTransformer
from constructions.certificate import certify
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

    Random embeddings, positions and rank-one scores, the same for all labels. Targets are points c_y of the circle:
    P X_S + sum_h M_h A^h = c_y is solved for P and M_h, 2 x d; then W_U = c P, W_V^h = M_h and W_O^h = P^+, so that the logits
    are c (P x_S + sum_h M_h A^h). Derived here, beyond Corollary 1.
    """
    rng = np.random.default_rng(seed)
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, embed_dim, num_heads, 2)
    names = ("token_embedding", "position_embedding")
    random = {name: torch.from_numpy(rng.standard_normal(getattr(model, name).shape)) for name in names}
    query, key = (torch.from_numpy(rng.standard_normal((num_heads, embed_dim, 1))) for _ in range(2))
    rows = random["token_embedding"][torch.from_numpy(np.array(task.sequences))] + random["position_embedding"]
    scores = torch.einsum("td,hdo,heo,tie->hti", rows[:, -1], query, key, rows)
    mixed = torch.einsum("hti,tid->htd", torch.softmax(scores, dim=-1), rows)
    features = torch.cat([rows[:, -1], *mixed], dim=1)
    code = torch.from_numpy(circle_code(task.vocab_size))
    solution = torch.linalg.lstsq(features, code[torch.from_numpy(np.array(task.targets))], driver="gelsd").solution
    # Targets of rank one (all labels alike, say) would leave P without an inverse: a little of another map cures that.
    basis = solution[:embed_dim] + 1e-3 * torch.from_numpy(rng.standard_normal((embed_dim, 2)))
    with torch.no_grad():
        for name, weights in random.items():
            getattr(model, name).copy_(weights)
        model.query[:, :, :1], model.key[:, :, :1] = query, key
        model.unembedding.copy_(code @ basis.T)
        if num_heads:
            model.value.copy_(solution[embed_dim:].reshape(num_heads, embed_dim, 2))
            model.output.copy_(torch.linalg.pinv(basis.T).T)
    return model, task
