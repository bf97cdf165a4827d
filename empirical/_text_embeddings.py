"""Vectors behind a language model's last norm, on held-out text, and clouds of vectors that are no embeddings of text."""

import numpy as np
import torch
from jaxtyping import Float, Int, Integer

from constructions.attention import CHUNK_ELEMENTS
from empirical._evaluated import device_of, evaluated
from empirical.decoder import Decoder
from empirical.language_models import LanguageTransformer
from theory.shapes import checked_integer

VECTORS_STREAM = 0x54585401
"""First word of the seed of windows and positions."""
CLOUD_STREAM = 0x54585402
"""First word of the seed of controls."""


def embedding_places(
    num_tokens: int, context: int, *, num_vectors: int = 3600, first_position: int = 16, per_window: int = 4, seed: int = 0
) -> Int[np.ndarray, "windows positions"]:
    """Where in a text `last_layer_embeddings` looks: indices of tokens, a row for each window, at least num_vectors in all.

    Arguments and errors as there.
    """
    count, per = checked_integer("num_vectors", num_vectors, 2), checked_integer("per_window", per_window, 1)
    first = checked_integer("first_position", first_position, 0)
    if first >= context:
        raise ValueError(f"first_position = {first}: must be below context = {context}")
    there, room = num_tokens // context, context - first
    if there * room < count:
        raise ValueError(f"num_vectors = {count}: the text has {there} windows with {room} positions each, {there * room} in all")
    generator = np.random.default_rng([VECTORS_STREAM, checked_integer("seed", seed, 0)])
    per = max(min(per, room), -(-count // there))
    starts = generator.permutation(there)[: -(-count // per)] * context
    places = generator.permuted(np.tile(np.arange(first, context), (len(starts), 1)), axis=1)[:, :per]
    return starts[:, None] + places


def last_layer_embeddings(
    model: LanguageTransformer,
    tokens: Integer[np.ndarray, " tokens"],
    *,
    num_vectors: int = 3600,
    context: int | None = None,
    first_position: int = 16,
    per_window: int = 4,
    seed: int = 0,
) -> Float[np.ndarray, "vectors embed_dim"]:
    r"""Hidden states that the unembedding reads, the last layer norm's output, at random positions of random windows.

    The norm's output with scale s and shift b is \(s \circ z + b\) with \(\sum_i z_i = 0\) and \(|z|^2 \leq m\) (all but equal,
    by the norm's epsilon): near a sphere of dimension m - 2, bent into an ellipsoid. So no dimension above m - 2 can be seen here
    (derived). In models of the GPT-2 kind "the last hidden state" usually means this vector, behind the norm.

    Args:
        model: its weights; dropout is off.
        tokens: of held-out files, one after the other. Windows do not overlap and, as where the loss is measured, may go over a
            file's end.
        num_vectors: n >= 2.
        context: tokens of a window, None for the model's own.
        first_position: positions before it, counted from 0, are left out: their vectors have hardly a context.
        per_window: vectors from one window; more where the text has too few windows. Few, as neighbours in a text are alike.
        seed: of windows and positions. The same ones for every model with this context.

    Returns:
        float64, in the order of `embedding_places`.

    Raises:
        ValueError: a number below its least value, a context beyond the model's, no position left, a text that is too short.
    """
    length = checked_integer("context", model.seq_len if context is None else context, 1)
    if length > model.seq_len:
        raise ValueError(f"context = {length}: the model reads at most {model.seq_len} tokens")
    places = embedding_places(
        len(tokens), length, num_vectors=num_vectors, first_position=first_position, per_window=per_window, seed=seed
    )
    starts = places[:, :1] // length * length
    size = max(1, CHUNK_ELEMENTS // (length * max(model.shape.mlp_width, model.num_heads * length)))
    parts, device = list[Float[np.ndarray, "vectors embed_dim"]](), device_of(model)
    with evaluated(model):
        for begin in range(0, len(places), size):
            part = slice(begin, begin + size)
            windows = tokens[starts[part] + np.arange(length)].astype(np.int64)
            states = Decoder.stream(model, torch.from_numpy(windows).to(device))
            chosen = torch.from_numpy(places[part] - starts[part]).to(device)
            read = states.gather(1, chosen[..., None].expand(-1, -1, states.shape[-1]))
            parts.append(read.flatten(0, 1).double().cpu().numpy())
    return np.concatenate(parts)[:num_vectors]


def gaussian_like(vectors: Float[np.ndarray, "vectors width"], seed: int = 0) -> Float[np.ndarray, "vectors width"]:
    """As many normal vectors with the mean and the covariance of these: what is left of them when only two moments are kept."""
    generator = np.random.default_rng([CLOUD_STREAM, checked_integer("seed", seed, 0)])
    mean = vectors.mean(axis=0)
    _, sizes, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    return mean + generator.standard_normal((len(vectors), len(sizes))) * (sizes / np.sqrt(len(vectors))) @ axes


def shuffled(vectors: Float[np.ndarray, "vectors width"], seed: int = 0) -> Float[np.ndarray, "vectors width"]:
    """Every coordinate permuted over the vectors on its own: each one's distribution is kept, nothing that ties them together."""
    generator = np.random.default_rng([CLOUD_STREAM, checked_integer("seed", seed, 0)])
    return generator.permuted(vectors, axis=0)
