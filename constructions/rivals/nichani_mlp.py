"""Memories in an MLP, V^T sigma(W z): width m stores about m d associations up to logs, also facts that attention has gathered.

Recipe, one embedding: rows w_i of W Gaussian, V = sum_x h(w_i . e_x) u_{f(x)}, h the second Hermite polynomial. Over W, the
output at e_x' is sum_x c <e_x, e_x'>^2 u_{f(x)}, with c = E[relu h] not zero: nearly u_{f(x')}, as random embeddings are nearly
orthogonal.
Recipe, facts: attention writes e_s + e_r, and the read-out weights are the product (w_i . e_s)(w_i . e_r) - <e_s, e_r>, whose
mean output is proportional to <e_s, e_s'><e_r, e_r'> + <e_s, e_r'><e_r, e_s'>: a key for the pair, though the input is only a
sum. All sums are Hebbian; sigma is ReLU.

Conditions from memory; the read-out polynomials, which have no constant or linear part to drown the signal, are derived here.
"""

import numpy as np
import torch

from constructions.attention import token_attention
from constructions.rivals._associative import recalled, unit_vectors
from constructions.rivals._factual import FactualRecall, embeddings, finder
from constructions.rivals.memory import RivalMemory
from theory.shapes import checked_integer
from theory.tasks import AssociationTask

NAME = "nichani_mlp"
SOURCE = "Nichani, Lee and Bietti 2024, theorems on MLP associative memories and on factual recall by attention and MLP"
STATEMENT = (
    "MLP memory: for every injective f on N inputs, with high probability over independent uniform unit embeddings in d"
    " dimensions, an MLP of width m recalls all N when m d >= N polylog N (and d >= N^epsilon). Factual recall of S subjects"
    " and R relations: with high probability one layer of attention and an MLP is right on every prompt when H d_h >= O~(S +"
    " R) and m d >= O~(S R)."
)
ASSUMPTIONS = (
    "embeddings are independent and uniform on the sphere, and stay fixed",
    "f is injective; for facts, no two relations share an answer",
    "the last token is the same in every prompt (the end token)",
    "H d_h >= S + R, so that attention can copy subject and relation; m d >= O~(S R)",
)


def claimed_capacity(embed_dim: int, width: int) -> float | None:
    """None: m d up to logs, and no constants."""
    for name, value in (("embed_dim", embed_dim), ("width", width)):
        checked_integer(name, value, 1)
    return None


def mlp_recall(num_associations: int, embed_dim: int, width: int, *, seed: int = 0) -> float:
    """Fraction of N injective associations that an MLP of width m recalls."""
    return build(num_associations, embed_dim=embed_dim, width=width, seed=seed).num_held / num_associations


def build(num_associations: int, *, embed_dim: int, width: int, seed: int = 0) -> RivalMemory:
    """The paper's own setting for the memory alone: N random unit inputs, an injective f, N random unit codes.

    Args:
        num_associations: N.
        embed_dim: d.
        width: m, hidden units.
        seed: of embeddings and hidden weights.

    Returns:
        What is recalled; the parameters are 2 m d of the MLP and 2 N d of the embeddings.
    """
    count, dims = checked_integer("num_associations", num_associations, 1), checked_integer("embed_dim", embed_dim, 1)
    generator = np.random.default_rng(checked_integer("seed", seed, 0))
    hidden = generator.standard_normal((checked_integer("width", width, 1), dims))
    keys, codes = unit_vectors(generator, count, dims), unit_vectors(generator, count, dims)
    inside = keys @ hidden.T
    readout = (inside**2 - 1).T @ codes
    right = recalled(np.maximum(inside, 0) @ readout, codes, np.arange(count))
    total = 2 * dims * (width + count)
    return _memory("own", f"MLP memory, d = {dims}, m = {width}", right, count, total, 2 * dims * width, None)


def build_facts(
    num_subjects: int,
    num_relations: int,
    num_answers: int,
    *,
    embed_dim: int,
    head_dim: int,
    width: int,
    num_heads: int | None = None,
    prompt_len: int = 4,
    seed: int = 0,
) -> RivalMemory:
    """The paper's own setting for facts: softmax attention copies subject and relation, the MLP answers.

    Args:
        num_subjects, num_relations, num_answers: S, R, and D answers of each relation.
        embed_dim: d >= 2, of which one coordinate belongs to the end token.
        head_dim: d_h.
        width: m, hidden units.
        num_heads: H; as few as H d_h >= S + R asks for unless given.
        prompt_len: tokens before the end token.
        seed: of the facts, the prompts, the embeddings and the hidden weights.

    Returns:
        What is held of the S R facts, one prompt each; `model` is None, as the project's transformer has no MLP.

    Raises:
        ValueError: too few heads, or a size below its least value.
    """
    recall = FactualRecall(num_subjects, num_relations, num_answers, prompt_len)
    embed_dim, width = checked_integer("embed_dim", embed_dim, 2), checked_integer("width", width, 1)
    heads = recall.check_heads(head_dim, recall.heads_needed(head_dim) if num_heads is None else num_heads)
    task, vectors = recall.draw(seed), embeddings(recall, embed_dim, seed)
    attention = finder(recall, vectors, vectors[: recall.first_answer], head_dim, heads, prompt_len + 1)
    with torch.no_grad():
        rows = attention.token_embedding + attention.position_embedding[:, None, :]
        prompts = torch.from_numpy(np.array(task.sequences))
        gathered = token_attention(rows, prompts, attention.query, attention.key, attention.value, attention.output).numpy()
    subjects, relations = np.divmod(np.arange(task.num_associations), num_relations)
    answers = task.targets - recall.first_answer
    generator = np.random.default_rng((checked_integer("seed", seed, 0), 5))
    codes = unit_vectors(generator, recall.all_answers, embed_dim)
    hidden = generator.standard_normal((width, embed_dim))
    right = _answer(hidden, vectors[subjects], vectors[num_subjects + relations], gathered, codes, answers)
    mlp = 2 * width * embed_dim
    attention_parameters = sum(parameter.numel() for parameter in attention.parameters()) - attention.unembedding.numel()
    task_size = f"S = {num_subjects}, R = {num_relations}, D = {num_answers}"
    size = f"{task_size}; d = {embed_dim}, d_h = {head_dim}, H = {heads}, m = {width}"
    return _memory("own", size, right, num_answers, attention_parameters + mlp + codes.size, mlp, heads)


def transplant(task: AssociationTask, *, embed_dim: int, width: int, seed: int = 0) -> RivalMemory:
    """This project's task of pairs, on the MLP alone: its input is the sum of one embedding per (position, token).

    Attention is taken to have gathered both tokens exactly; every token may answer every pair, which breaks the assumption of
    disjoint answers but not this half of the recipe, which does not use it. `model` is None.

    Args:
        task: pairs (S = 2); all associations are stored.
        embed_dim: d.
        width: m.
        seed: of embeddings and hidden weights.

    Returns:
        What is recalled; the parameters are 2 m d of the MLP and 3 N d of the embeddings.

    Raises:
        ValueError: the sequences are not pairs.
    """
    if task.seq_len != 2:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: 2 are legal, a subject and a relation")
    embed_dim, width = checked_integer("embed_dim", embed_dim, 1), checked_integer("width", width, 1)
    generator = np.random.default_rng(checked_integer("seed", seed, 0))
    first, second, codes = (unit_vectors(generator, task.vocab_size, embed_dim) for _ in range(3))
    hidden = generator.standard_normal((width, embed_dim))
    subjects, relations = first[task.sequences[:, 0]], second[task.sequences[:, 1]]
    right = _answer(hidden, subjects, relations, subjects + relations, codes, task.targets)
    total = embed_dim * (2 * width + 3 * task.vocab_size)
    size = f"MLP memory of pairs, d = {embed_dim}, m = {width}"
    return _memory("transplanted", size, right, task.vocab_size, total, 2 * width * embed_dim, None)


def _answer(
    hidden: np.ndarray, subjects: np.ndarray, relations: np.ndarray, inputs: np.ndarray, codes: np.ndarray, answers: np.ndarray
) -> np.ndarray:
    """Whether the MLP with read-out weights for these facts answers these inputs rightly; blocks keep (facts, m) arrays small."""
    readout = np.zeros((len(hidden), codes.shape[1]))
    rows = max(1, (1 << 23) // len(hidden))
    blocks = [slice(start, start + rows) for start in range(0, len(inputs), rows)]
    for here in blocks:
        product = (subjects[here] @ hidden.T) * (relations[here] @ hidden.T)
        product -= np.einsum("fd,fd->f", subjects[here], relations[here])[:, None]
        readout += product.T @ codes[answers[here]]
    right = [recalled(np.maximum(inputs[here] @ hidden.T, 0) @ readout, codes, answers[here]) for here in blocks]
    return np.concatenate(right)


def _memory(
    setting: str, size: str, right: np.ndarray, num_labels: int, total: int, mlp_parameters: int, num_heads: int | None
) -> RivalMemory:
    return RivalMemory(
        rival=NAME,
        setting=setting,
        size=size,
        num_associations=len(right),
        num_held=int(right.sum()),
        num_labels=num_labels,
        claimed=None,
        num_parameters=total,
        num_heads=num_heads,
        notes={"MLP parameters": f"{mlp_parameters:,} (2 m d)"},
    )
