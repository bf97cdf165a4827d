"""The shape of a bank of attention heads, the three numbers every capacity formula starts from, and of layers of them."""

from dataclasses import dataclass
from operator import index


def checked_integer(name: str, value: object, least: int) -> int:
    """`value` as a plain int, when it is an integer (bools are not) of at least `least`; ValueError otherwise."""
    legal = f"an integer >= {least}"
    if isinstance(value, bool):
        raise ValueError(f"{name} = {value!r}: must be {legal}")
    try:
        number = index(value)  # type: ignore[arg-type]  # numpy integers pass, floats and text do not
    except TypeError:
        raise ValueError(f"{name} = {value!r}: must be {legal}") from None
    if number < least:
        raise ValueError(f"{name} = {number}: must be {legal}")
    return number


@dataclass(frozen=True)
class AttentionShape:
    """Embedding width, number of heads and head width of one attention layer.

    `embed_dim` is the papers' d (>= 1), `num_heads` is H (>= 0: a layer without heads is legal and still has its skip
    connection), `head_dim` is d_h (>= 1, width of queries, keys and values; it may exceed d). Anything else raises
    ValueError. Notation of Dana, Pydi and Chevaleyre 2025, section 2.
    """

    embed_dim: int
    num_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        for name, least in (("embed_dim", 1), ("num_heads", 0), ("head_dim", 1)):
            object.__setattr__(self, name, checked_integer(name, getattr(self, name), least))

    @property
    def rank(self) -> int:
        """r = min(d_h, d), the largest rank of one head's value-output map: width beyond d gains nothing."""
        return min(self.head_dim, self.embed_dim)


@dataclass(frozen=True)
class TransformerShape(AttentionShape):
    """The shape of a transformer of several layers, each a bank of heads and, if wanted, a two-layer network behind it.

    `num_layers` is L (>= 1), `mlp_width` the hidden width of the network after the heads of every layer (0: none). With their
    defaults it is the shape of the one-layer model of Dana, Pydi and Chevaleyre 2025. Anything else raises ValueError.
    """

    num_layers: int = 1
    mlp_width: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("num_layers", 1), ("mlp_width", 0)):
            object.__setattr__(self, name, checked_integer(name, getattr(self, name), least))

    @property
    def attention_only(self) -> bool:
        """Whether it is one layer of heads and nothing else."""
        return self.num_layers == 1 and not self.mlp_width

    @property
    def heads(self) -> AttentionShape:
        """The heads of one layer."""
        return AttentionShape(self.embed_dim, self.num_heads, self.head_dim)
