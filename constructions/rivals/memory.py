"""What every rival returns: how much it was asked to remember, how much it does, and what its paper claims for its size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from constructions.aot import AttentionOnlyTransformer


@dataclass(frozen=True)
class RivalMemory:
    """One memory built by a rival's recipe, measured by running it.

    Attributes:
        rival: the module's name, "mahdavi" for instance.
        setting: "own" (the paper's own data and model) or "transplanted" (this project's task and transformer).
        size: what was built, in words and symbols: "H = 20 heads, n = d_h = 5".
        num_associations: asked of it.
        num_held: of these, how many a plain forward evaluation answers rightly (the label strictly first).
        num_labels: how many answers there are to choose from; labels are worth log2 of it each.
        claimed: how many the paper's statement claims for this size; None where the statement gives an order without constants.
        num_parameters: numbers stored that grow with the memory, fixed random ones (embeddings, say) included.
        num_heads: attention heads used; None for a memory without attention.
        weight_bits: bits that each parameter needs; 64 where float64 weights do and fewer were not tried.
        model: the weights, where the recipe fits the project's transformer.
        notes: everything else worth a line: margins, largest weight, which assumption bites.
    """

    rival: str
    setting: str
    size: str
    num_associations: int
    num_held: int
    num_labels: int
    claimed: float | None
    num_parameters: int
    num_heads: int | None = None
    weight_bits: int = 64
    model: AttentionOnlyTransformer | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def bits_per_parameter(self) -> float:
        """Label bits held per parameter: num_held log2(num_labels) / num_parameters."""
        return self.num_held * math.log2(self.num_labels) / self.num_parameters
