"""Factual recall by attention alone, and the linear associative memory inside it: how many facts value matrices hold.

Recipe. Linear memory: W = sum_x u_{f(x)} e_x^T, answer argmax_y u_y . W e_x. Factual recall: a head that looks after the
subject s attends to it and writes the sum of the answers a(s, r') over all relations; the head of the relation r writes the sum
of all answers that r allows; only a(s, r) is in both sums and gets 2, all others at most 1, plus the noise of random
embeddings. All sums are Hebbian, no equation is solved. One head serves d_h subjects or relations through a value-output matrix
of rank d_h, and finds them by a key that is the sum of their embeddings.

Conditions from memory; that d_h has to stay below about d / (8 ln V), V tokens, so that a head does not mistake others for its
own, is derived here, as is the reserved coordinate that makes the end token (and so the skip connection) inert.
"""

import numpy as np
import torch

from constructions.construction import logit_margins
from constructions.rivals._associative import recalled, sequence_keys, unit_vectors
from constructions.rivals._factual import FactualRecall, embeddings, finder
from constructions.rivals.memory import RivalMemory
from theory.shapes import checked_integer
from theory.tasks import AssociationTask

NAME = "nichani_attention"
SOURCE = "Nichani, Lee and Bietti 2024, theorems on linear associative memories and on factual recall by attention only"
STATEMENT = (
    "Linear memory: for every injective f on N inputs, with high probability over independent uniform unit embeddings in d"
    " dimensions, all N are recalled when d^2 >= N polylog N. Factual recall of S subjects and R relations with D answers"
    " each: with high probability there is a one-layer attention-only transformer right on every prompt when H d_h >= O~(S +"
    " R) and d >= O~(max(R, D))."
)
ASSUMPTIONS = (
    "embeddings are independent and uniform on the sphere, and stay fixed",
    "no two relations share an answer; the linear memory's f is injective",
    "the last token is the same in every prompt (the end token), so that the query is constant",
    "H d_h >= S + R: each subject and relation gets a dimension of a head; d >= O~(max(R, D))",
)


def claimed_capacity(embed_dim: int, head_dim: int, num_heads: int) -> float | None:
    """None: H d_h >= O~(S + R) and d >= O~(max(R, D)) hide logs and constants; their product's order is H d_h d facts."""
    for name, value in (("embed_dim", embed_dim), ("head_dim", head_dim), ("num_heads", num_heads)):
        checked_integer(name, value, 1)
    return None


def linear_recall(num_associations: int, embed_dim: int, *, num_classes: int | None = None, seed: int = 0) -> float:
    """Fraction recalled by the linear memory.

    Args:
        num_associations: N.
        embed_dim: d.
        num_classes: M answers drawn uniformly; an injective f when None.
        seed: of embeddings and answers.
    """
    count, dims = checked_integer("num_associations", num_associations, 1), checked_integer("embed_dim", embed_dim, 1)
    generator = np.random.default_rng(checked_integer("seed", seed, 0))
    keys = unit_vectors(generator, count, dims)
    codes = unit_vectors(generator, count if num_classes is None else checked_integer("num_classes", num_classes, 2), dims)
    answers = np.arange(count) if num_classes is None else generator.integers(num_classes, size=count)
    return float(_linear(keys, codes, answers).mean())


def build(
    num_subjects: int,
    num_relations: int,
    num_answers: int,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int | None = None,
    prompt_len: int = 4,
    seed: int = 0,
) -> RivalMemory:
    """The paper's own setting: an attention-only transformer, one layer, query at the last position, for all S R facts.

    Args:
        num_subjects, num_relations, num_answers: S, R, and D answers of each relation.
        embed_dim: d >= 2, of which one coordinate belongs to the end token.
        head_dim: d_h.
        num_heads: H; as few as H d_h >= S + R asks for unless given.
        prompt_len: tokens before the end token.
        seed: of the facts, the prompts and the embeddings.

    Returns:
        What the transformer (in `model`) holds of the task `facts(...)`, by its forward pass.

    Raises:
        ValueError: too few heads, or a size below its least value.
    """
    recall = FactualRecall(num_subjects, num_relations, num_answers, prompt_len)
    embed_dim = checked_integer("embed_dim", embed_dim, 2)
    heads = recall.check_heads(head_dim, recall.heads_needed(head_dim) if num_heads is None else num_heads)
    task, vectors = recall.draw(seed), embeddings(recall, embed_dim, seed)
    codes = np.zeros_like(vectors)
    answers = slice(recall.first_answer, recall.first_answer + recall.all_answers)
    rng = np.random.default_rng((checked_integer("seed", seed, 0), 5))
    codes[answers, 1:] = unit_vectors(rng, recall.all_answers, embed_dim - 1)
    per_fact = codes[task.targets].reshape(num_subjects, num_relations, embed_dim).sum(axis=1)
    per_relation = codes[answers].reshape(num_relations, num_answers, embed_dim).sum(axis=1)
    model = finder(recall, vectors, np.concatenate((per_fact, per_relation)), head_dim, heads, prompt_len + 1)
    with torch.no_grad():
        model.unembedding.copy_(torch.from_numpy(codes))
    margins = logit_margins(model, task)
    attention_parameters = 4 * heads * embed_dim * head_dim
    return RivalMemory(
        rival=NAME,
        setting="own",
        size=f"S = {num_subjects}, R = {num_relations}, D = {num_answers}; d = {embed_dim}, d_h = {head_dim}, H = {heads}",
        num_associations=task.num_associations,
        num_held=int((margins > 0).sum()),
        num_labels=num_answers,
        claimed=claimed_capacity(embed_dim, head_dim, heads),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_heads=heads,
        model=model,
        notes={"attention parameters": f"{attention_parameters:,} (4 H d d_h)", "least margin": f"{float(margins.min()):.3g}"},
    )


def facts(num_subjects: int, num_relations: int, num_answers: int, *, prompt_len: int = 4, seed: int = 0) -> AssociationTask:
    """The task that `build` with the same arguments answers: one prompt per fact, the end token last."""
    return FactualRecall(num_subjects, num_relations, num_answers, prompt_len).draw(seed)


def transplant(task: AssociationTask, *, embed_dim: int, seed: int = 0) -> RivalMemory:
    """This project's task, on the linear memory alone: one d x d matrix from bound sequence keys to label codes.

    The factual recipe itself does not fit: its last token is constant and its relations share no answer, while here the last
    token is half of the question and every token may answer every pair. So each sequence gets one key (random signs per
    position and token, multiplied), as if attention had bound it already, and `model` is None.

    Args:
        task: any associations, all of them stored; labels need not be distinct.
        embed_dim: d.
        seed: of the embeddings.

    Returns:
        What is recalled. The parameters are the matrix, S N vectors of signs and N codes.
    """
    embed_dim = checked_integer("embed_dim", embed_dim, 1)
    keys = sequence_keys(task, embed_dim, seed)
    codes = unit_vectors(np.random.default_rng((checked_integer("seed", seed, 0), 2)), task.vocab_size, embed_dim)
    return RivalMemory(
        rival=NAME,
        setting="transplanted",
        size=f"linear memory, d = {embed_dim}",
        num_associations=task.num_associations,
        num_held=int(_linear(keys, codes, task.targets).sum()),
        num_labels=task.vocab_size,
        claimed=None,
        num_parameters=embed_dim * (embed_dim + (task.seq_len + 1) * task.vocab_size),
        notes={"assumption": "an injective f: here it need not be; the facts' disjoint answers and constant last token: absent"},
    )


def _linear(keys: np.ndarray, codes: np.ndarray, answers: np.ndarray) -> np.ndarray:
    memory = codes[answers].T @ keys
    return recalled(keys @ memory.T, codes, answers)
