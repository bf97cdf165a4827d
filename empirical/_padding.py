"""Which models can share a stack by being padded with zeros, and how large that stack is.

The zeros stay zero: every block's gradient is a sum of products with another block, or with an input, that is zero in the same
place, and Adam moves nothing whose gradient has always been 0.
"""

from collections.abc import Sequence
from dataclasses import replace

from empirical._parameters import Layout
from theory.shapes import AttentionShape, TransformerShape


def is_deep(layout: Layout) -> bool:
    """Whether it is anything but one layer of heads (whose layout has a plain AttentionShape)."""
    return isinstance(layout.shape, TransformerShape)


def padded_heads(layout: Layout) -> int:
    """Heads of the stack that a model is trained in: its own, or the next multiple of 12 where one layer's heads are small.

    With k <= 4 a step costs the overhead of its calls rather than arithmetic, so several head counts in one stack are nearly
    free. The width depends on nothing but the model: its padding takes part in the rounding of its sums.
    """
    heads = layout.shape.num_heads
    return heads if layout.inner_dim > 4 or is_deep(layout) else -(-heads // 12) * 12


def stack_key(layout: Layout, all_widths: bool) -> object:
    """Models of one task and equal keys share a stack: those of equal widths, or, of one layer of heads, of `all_widths`."""
    if all_widths and not is_deep(layout):
        return layout.shared_maps
    return replace(layout.shape, num_heads=padded_heads(layout))


def widest_layout(layouts: Sequence[Layout]) -> Layout:
    """Layout of a stack of models of equal keys: the largest of their widths and head counts, with or without shared maps."""
    first = layouts[0]
    if is_deep(first):
        return first
    width, head_dim = (max(getattr(layout.shape, name) for layout in layouts) for name in ("embed_dim", "head_dim"))
    if first.shared_maps and width == head_dim:
        width += 1  # equal widths would do without the maps
    return replace(first, shape=AttentionShape(width, max(map(padded_heads, layouts)), head_dim))
