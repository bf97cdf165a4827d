r"""Huben and Morris 2023: an attention head of width 1 is a SiLU neuron, so a one-hidden-layer MLP is a bank of heads.

Let the last token's query be 1 (it reads a coordinate that is constant there), let keys and values both be z_i = w · x_i + b, and
let a bias token in front have z_1 = 0. The last token then attends to {bias token, itself} with scores (0, z), and the head's
value is sigma(z) z + (1 - sigma(z)) 0 = silu(z), the neuron. Outputs add up over heads as an MLP's do over neurons.

Where the first position holds any token instead of a bias token, the same head computes z_1 + silu(z_2 - z_1): a SiLU neuron of
the difference of the two positions, and a linear term of the first (derived here). That carries the recipe over to every task of
pairs.

The neurons themselves are not the paper's business; two ways to get an MLP that remembers are offered:
 - "features": random neurons, then one linear solve: m neurons for m associations;
 - "bubeck": the ReLU bumps of Bubeck et al. 2020, 4 neurons for d_in associations, with [z]_+ replaced by silu(beta z)/beta,
   whose error is below |z| exp(-beta |z|), as small as one likes away from the kink. The price is weights beta times as large,
   beta being some 30 to 100 over the smallest distance to a kink; the number of heads stays the same.

Labels are read from one coordinate s of the stream by logits 2 c_y s - c_y^2, largest where the number c_y is nearest to s; the
constant coordinate serves as the 1.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int

from constructions.aot import AttentionOnlyTransformer
from constructions.construction import logit_margins
from constructions.rivals._hyperplanes import positions, separable_groups
from constructions.rivals.bubeck import UNITS_PER_GROUP, ReluNetwork, fit, pair_groups
from constructions.rivals.memory import RivalMemory
from theory.shapes import AttentionShape, checked_integer
from theory.tasks import AssociationTask

NAME = "huben_morris"
SOURCE = "Huben and Morris 2023, Attention-only transformers and implementing MLPs with attention heads (arXiv 2309.08593)"
STATEMENT = (
    "For every MLP with one hidden layer of m SiLU neurons there are m attention heads of inner width 1 that add the same vector "
    "to the stream of every token, when each token attends to itself and a bias token only."
)
ASSUMPTIONS = (
    "each token sees itself and the bias token, no other (here: sequences of two tokens, the bias token first)",
    "the activation is SiLU, up to scaling; ReLU is a limit of it",
    "one coordinate of the stream is constant",
)
Network = Literal["features", "bubeck"]
TINY = 2.0**-40  # largest error that replacing [.]_+ may make, in units of the labels' spacing


class HeadWeights(NamedTuple):
    """Arrays of m heads as `AttentionOnlyTransformer` stores them, on a stream of d_in + 1 coordinates, the last one constant."""

    query: Float[np.ndarray, "heads embed_dim 1"]
    key: Float[np.ndarray, "heads embed_dim 1"]
    value: Float[np.ndarray, "heads embed_dim 1"]
    output: Float[np.ndarray, "heads 1 embed_dim"]


def heads_from_mlp(
    inward: Float[np.ndarray, "neurons input_dim"],
    bias: Float[np.ndarray, " neurons"],
    outward: Float[np.ndarray, "neurons input_dim"],
) -> HeadWeights:
    """One head per neuron of x -> sum_j outward_j silu(inward_j · x + bias_j).

    Args:
        inward, bias: of the neurons.
        outward: what each neuron adds to the stream.

    Returns:
        Heads whose sum on (bias token, token) is the MLP's output, in exact arithmetic, when the stream's rows are 0 for the bias
        token in front and (x, 1) for the token.
    """
    neurons, dim = inward.shape
    query = np.zeros((neurons, dim + 1, 1))
    query[:, dim] = 1.0
    key = np.concatenate([inward, bias[:, None]], axis=1)[:, :, None]
    output = np.concatenate([outward, np.zeros((neurons, 1))], axis=1)[:, None, :]
    return HeadWeights(query, key, key, output)


def claimed_capacity(num_heads: int, input_dim: int, network: Network) -> int:
    """Associations that as many SiLU neurons as heads hold: m ("features") or d_in floor(m/4) ("bubeck").

    The paper says one head per neuron; how many neurons remember how much is the network's own count.
    """
    checked_integer("num_heads", num_heads, 0)
    checked_integer("input_dim", input_dim, 1)
    _check_network(network)
    return num_heads if network == "features" else num_heads // UNITS_PER_GROUP * input_dim


def _check_network(network: str) -> None:
    if network not in ("features", "bubeck"):
        raise ValueError(f"network = {network!r}: 'features' and 'bubeck' are legal")


def sharpened(network: ReluNetwork, points: Float[np.ndarray, "points input_dim"]) -> tuple[ReluNetwork, float]:
    """The same network with weights for silu in place of [.]_+, and the sharpness beta; within TINY of it at the points.

    Raises:
        ValueError: a point lies on a unit's kink, where no sharpness is enough.
    """
    before = np.abs(points @ network.inward.T + network.bias)
    if before.size and before.min() == 0.0:
        raise ValueError("points has one on the kink of a unit: SiLU is near ReLU only away from it")
    beta = 1.0
    while (before * np.exp(-np.minimum(beta * before, 700.0)) @ np.abs(network.outward)).max(initial=0.0) > TINY:
        beta *= 2
    return ReluNetwork(beta * network.inward, beta * network.bias, network.outward / beta), beta


def build(*, num_associations: int, input_dim: int, network: Network, seed: int) -> RivalMemory:
    """As many single tokens as asked with random labels, each after the bias token, on a stream of input_dim + 1 coordinates.

    Uses the fewest heads that the network's count allows; the vocabulary has one token more, the bias token.

    Raises:
        ValueError: an argument out of range.
    """
    checked_integer("num_associations", num_associations, 1)
    checked_integer("input_dim", input_dim, 1)
    _check_network(network)
    rng = np.random.default_rng([checked_integer("seed", seed, 0), 1])
    tokens = np.arange(num_associations)
    sequences = np.stack([np.full(num_associations, num_associations), tokens], axis=1)
    task = AssociationTask(sequences, rng.integers(0, num_associations + 1, num_associations), num_associations + 1)
    heads = num_associations if network == "features" else UNITS_PER_GROUP * -(-num_associations // input_dim)
    return _build(task, AttentionShape(input_dim + 1, heads, 1), seed, network, "own")


def transplant(
    task: AssociationTask,
    *,
    embed_dim: int,
    head_dim: int,
    num_heads: int,
    seed: int,
    network: Network | None = None,
) -> RivalMemory:
    """The recipe on a task of pairs, in the project's transformer.

    Args:
        task: pairs (S = 2).
        embed_dim: d >= 2: d - 1 inputs and the constant.
        head_dim: d_h >= 1; the width beyond 1 is left at zero.
        num_heads: H.
        seed: of embeddings and neurons.
        network: "features", "bubeck", or None for the one that holds more.

    Returns:
        What the model holds of the pairs it was given. Pairs (a, a) all have difference 0: "bubeck" is given none of them,
        "features" at most d, and those last.

    Raises:
        ValueError: an argument out of range, or sequences of another length.
    """
    shape = AttentionShape(checked_integer("embed_dim", embed_dim, 2), num_heads, head_dim)
    if task.seq_len != 2:
        raise ValueError(f"task has sequences of {task.seq_len} tokens: 2 is legal, a head is to see a token and one before it")
    checked_integer("seed", seed, 0)
    if network is not None:
        return _build(task, shape, seed, network, "transplanted")
    features, bumps = (_build(task, shape, seed, kind, "transplanted") for kind in get_args(Network))
    return bumps if bumps.num_held > features.num_held else features


def _build(task: AssociationTask, shape: AttentionShape, seed: int, kind: Network, setting: str) -> RivalMemory:
    rng = np.random.default_rng([seed, 2])
    dim, heads, size = shape.embed_dim - 1, shape.num_heads, task.vocab_size
    tokens = rng.standard_normal((size, dim))
    bias_token = int(task.sequences[0, 0]) if len(np.unique(task.sequences[:, 0])) == 1 else None
    if bias_token is not None:
        tokens[bias_token] = 0.0
    codes = np.arange(size) - (size - 1) / 2  # the number that stands for each label
    given, groups = _chosen(task, tokens, heads, kind, rng)
    first, last = tokens[task.sequences[given]].transpose(1, 0, 2)
    wanted = codes[task.targets[given]] - last[:, 0]  # the skip connection brings the rest
    notes = {"network": kind, "bias token": "none: differences of the two positions" if bias_token is None else str(bias_token)}
    if not len(given):
        inward, bias, outward = np.zeros((0, dim)), np.zeros(0), np.zeros(0)
    elif kind == "features":
        inward, bias, outward = _features(first, last, wanted, heads, rng)
    else:
        relu = fit(last - first, wanted, seed=seed, groups=groups)
        network, beta = sharpened(relu, last - first)
        inward, bias, outward = network.inward, network.bias, network.outward
        notes["sharpness"] = f"{beta:.3g}"
    writing = np.zeros((len(bias), dim))
    writing[:, 0] = outward
    model = _model(task, shape, tokens, codes, heads_from_mlp(inward, bias, writing))
    margins = logit_margins(model, task, given).numpy()
    notes["largest weight"] = f"{model.max_weight:.3g}"
    notes["heads in use"] = str(len(bias))
    notes["given"] = f"{len(given)} of the task's {task.num_associations}"
    return RivalMemory(
        rival=NAME,
        setting=setting,
        size=f"H = {heads} heads of width 1 (neurons), d = {shape.embed_dim}",
        num_associations=len(given),
        num_held=int((margins > 0).sum()),
        num_labels=size,
        claimed=float(claimed_capacity(heads, dim, kind)),
        num_parameters=sum(weight.numel() for weight in model.parameters()),
        num_heads=heads,
        model=model,
        notes=notes,
    )


def _chosen(
    task: AssociationTask, tokens: np.ndarray, heads: int, kind: Network, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " given"], list[Int[np.ndarray, " _"]]]:
    """Which associations are given to the network, and for "bubeck" its groups as positions among them."""
    dim, order = tokens.shape[1], rng.permutation(task.num_associations)
    single = len(np.unique(task.sequences[:, 0])) == 1  # then even (bias token, bias token) is but one more point
    if kind == "features":
        alike = task.sequences[order, 0] == task.sequences[order, 1]
        if not single:  # pairs (a, a) differ by the linear term only, whose rank with the constant is d_in + 1
            order = np.concatenate([order[~alike], order[alike][: dim + 1]])
        return np.sort(order[:heads]), []
    if single:
        groups = [order[start : start + dim] for start in range(0, len(order), dim)]
    else:
        apart = np.flatnonzero(task.sequences[:, 0] != task.sequences[:, 1])
        groups = [apart[group] for group in pair_groups(task.subset(apart), dim)] if len(apart) else []
    first, last = tokens[task.sequences].transpose(1, 0, 2)
    apart = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *groups]))
    inside = [np.searchsorted(apart, group) for group in groups]
    found = separable_groups((last - first)[apart], inside, heads // UNITS_PER_GROUP, rng)
    groups = [apart[group] for group in found]
    return np.concatenate([np.zeros(0, dtype=np.int64), *groups]), positions(groups)


def _features(
    first: np.ndarray, last: np.ndarray, wanted: np.ndarray, heads: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random neurons, each with its kink close to a point and sharp enough to tell neighbours apart; outward weights solved."""
    inward = rng.standard_normal((heads, last.shape[1])) * np.exp(rng.uniform(2.0, 2.0 + np.log(len(last)), (heads, 1)))
    through = np.resize(rng.permutation(len(last)), heads)  # a kink close to every point
    bias = -((last - first)[through] * inward).sum(axis=1) + rng.standard_normal(heads)
    before, linear = (last - first) @ inward.T + bias, first @ inward.T
    features = linear + before / (1 + np.exp(-np.clip(before, -700.0, 700.0)))
    outward = np.linalg.lstsq(features, wanted, rcond=None)[0]
    return inward, bias, outward + np.linalg.lstsq(features, wanted - features @ outward, rcond=None)[0]


def _model(
    task: AssociationTask, shape: AttentionShape, tokens: np.ndarray, codes: np.ndarray, heads: HeadWeights
) -> AttentionOnlyTransformer:
    model = AttentionOnlyTransformer(task.vocab_size, 2, shape.embed_dim, shape.num_heads, shape.head_dim)
    used = len(heads.key)
    with torch.no_grad():
        model.token_embedding[:, :-1] = torch.from_numpy(tokens)
        model.position_embedding[1, -1] = 1.0
        for name in ("query", "key", "value"):
            getattr(model, name)[:used, :, :1] = torch.from_numpy(getattr(heads, name))
        model.output[:used, :1] = torch.from_numpy(heads.output)
        model.unembedding[:, 0] = torch.from_numpy(2 * codes)
        model.unembedding[:, -1] = torch.from_numpy(-(codes**2))
    return model
