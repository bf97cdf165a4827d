"""hop_k by hand-written weights: three recipes that compute k-fold induction exactly, on every string of a length.

    from constructions import hops
    built = hops.build(16, vocab_size=4, seq_len=256)             # recipe A, 6 layers, one head each
    built.predict(symbols)                                        # (.., 256) -> symbols, -1 where there is none
    hops.build(max_hops=16, vocab_size=4, seq_len=98, recipe="B") # reads k from its first token
    hops.margins(built, symbols)                                  # score gaps, leaked attention, scales
    hops.certify_hops(built).proved                               # right on every string of that length
    built.save("hop.safetensors")                                 # and HopConstruction.load

Recipe A (one head a layer, depth ceil(log2 k) + 2) and recipe B (two heads in its first two layers, depth floor(log2 k) + 2)
restore whole numbers by an element-wise map behind every layer; recipe C has linear attention and nothing else, and is exact bit
for bit. Depths are those of `theory.hops.layers_needed`; where a number format ends is said in `theory.hop_precision`.

Source: Sanford, Hsu and Telgarsky 2024, Theorem 4.2, whose proof is repaired here (its recurrence composes with a power of
find that is half of what is needed).
"""

import math

import torch

from constructions._hops_certificate import HopCertificate, Inequality, certify_hops, recheck
from constructions._hops_construction import LARGEST_SCALE, HopConstruction
from constructions._hops_layout import HeadRole
from constructions._hops_margins import HeadMargin, MarginReport, margins
from constructions._hops_recipes import plan_of
from constructions.construction import DTYPES
from theory.hop_precision import DEFAULT_SCALE, Encoding, HopRangeError, check_range, primitives_of, significand_bits
from theory.hops import HopTask, Recipe
from theory.shapes import checked_integer

__all__ = [
    "DTYPES",
    "HeadMargin",
    "HeadRole",
    "HopCertificate",
    "HopConstruction",
    "HopRangeError",
    "Inequality",
    "MarginReport",
    "build",
    "certify_hops",
    "margins",
    "recheck",
]

MOST_POSITIONS = 1 << 17
"""Attention takes N^2 scores a layer."""
MOST_HOPS = 1 << 16
"""A model that reads k has a token for each."""


def build(
    num_hops: int | None = None, *, max_hops: int | None = None, vocab_size: int, seq_len: int, recipe: Recipe = "A",
    encoding: Encoding = "quadratic", dtype: torch.dtype = torch.float64, scale: float | None = None, looped: bool = False,
) -> HopConstruction:  # fmt: skip
    """A transformer that computes hop_k on all strings of `seq_len` symbols.

    Args:
        num_hops: k >= 1, the one that it computes; its first token then only marks the start.
        max_hops: instead: it reads k from its first token and serves 0..max_hops (recipes A and B).
        vocab_size: |Sigma| >= 1.
        seq_len: N >= 1.
        recipe: "A" (one head, two in the first layer with max_hops), "B" (less depth) or "C" (attention only).
        encoding: of positions in scores: "quadratic" (whole numbers) or "circle" (cosines; recipes A and B).
        dtype: torch.float32 or torch.float64.
        scale: what scores are multiplied with; a power of two large enough for the sizes. None: 128 in float32, 1024 in float64.
        looped: recipe A with max_hops only: the layers from the third on shall be one layer applied again and again (they are).

    Returns:
        The model of depth `theory.hops.layers_needed`, with the roles of its heads.

    Raises:
        HopRangeError: sizes past a limit of the number format (`theory.hop_precision.range_limits`), which is named.
        ValueError: any other argument that is not legal.

    Source: Sanford, Hsu and Telgarsky 2024, Theorem 4.2; the three recipes derived here.
    """
    if (num_hops is None) == (max_hops is None):
        raise ValueError(f"num_hops = {num_hops}, max_hops = {max_hops}: exactly one of the two is legal")
    vocab_size, seq_len = checked_integer("vocab_size", vocab_size, 1), checked_integer("seq_len", seq_len, 1)
    if max_hops is not None:
        task = HopTask(vocab_size, seq_len, 0, checked_integer("max_hops", max_hops, 0))
    else:
        k = checked_integer("num_hops", num_hops, 1)
        task = HopTask(vocab_size, seq_len, k, k)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype = {dtype!r}: torch.float32 and torch.float64 are legal")
    for what, size, most in (("seq_len", seq_len, MOST_POSITIONS), ("max_hops", max_hops or 0, MOST_HOPS)):
        if size > most:
            raise ValueError(f"{what} = {size}: at most {most} is legal, beyond it a model is too large to run")
    if task.max_hops >= 2**62:
        raise ValueError(f"num_hops = {task.max_hops}: below 2^62 is legal")
    name = str(dtype).removeprefix("torch.")
    significand_bits(name)
    primitives_of(recipe, encoding, multi_task=max_hops is not None)
    if not isinstance(looped, bool) or (looped and (recipe != "A" or max_hops is None)):
        raise ValueError(f"looped = {looped!r}: True is legal for recipe = 'A' with max_hops")
    if scale is not None:
        is_number = isinstance(scale, int | float) and not isinstance(scale, bool) and 0 < scale < LARGEST_SCALE
        if not is_number or math.frexp(scale)[0] != 0.5:
            raise ValueError(f"scale = {scale!r}: a power of two below 2^64 is legal, so that scaling is exact")
    check_range(seq_len, vocab_size, name, recipe, encoding, max_hops=max_hops, scale=scale)
    scale = DEFAULT_SCALE[name] if scale is None else float(scale)
    plan = plan_of(task, recipe, encoding, scale)
    return HopConstruction(plan.realised(task, dtype), task, recipe, encoding, scale, plan.roles(), looped)
