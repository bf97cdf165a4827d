"""The formulas of a landscape: what is promised from below, and the ceilings that nothing bound by them passes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from theory import ceilings
from theory.memorization import corollary_1_associations, effective_parameters, parameter_count

WEIGHT_BITS = 64
PAPER = "Dana, Pydi and Chevaleyre 2025"


def bound_rows(
    vocab_size: int, embed_dim: int, head_dim: int, heads: Sequence[int], threshold: Callable[[int], float]
) -> Iterator[dict[str, Any]]:
    """One row per formula and number of heads.

    Args:
        vocab_size, embed_dim, head_dim: N, d and d_h of the models; S = 2.
        heads: numbers of heads H >= 1.
        threshold: the threshold law: associations as a function of the number of heads.
    """
    rank = min(head_dim, embed_dim)
    code = min(embed_dim, vocab_size - 1)
    for count in heads:
        features = embed_dim * (count + 1)  # with value maps solved for; H d_h + d where they are frozen
        shape = (vocab_size, embed_dim, head_dim, count)
        formulas: dict[str, tuple[float, str]] = {
            "corollary_1": (corollary_1_associations(count, head_dim, embed_dim), f"{PAPER}, Corollary 1: H d_h + d"),
            "planar_count": (embed_dim * count + min(embed_dim, vocab_size), "derived here: d H + min(d, N) for any d_h >= 1"),
            "threshold": (threshold(count), "threshold law m r / codim, frozen heads (theory.thresholds); not proved"),
            "U0": (ceilings.counting_ceiling(vocab_size, 2), "U0: there are N^S sequences"),
            "U1": (
                ceilings.bits_ceiling(vocab_size, parameter_count(vocab_size, 2, embed_dim, count, rank), WEIGHT_BITS),
                f"U1: pigeonhole over {WEIGHT_BITS}-bit weights",
            ),
            "U2": (
                ceilings.readout_ceiling(vocab_size, code, features),
                "U2: Cover's count; heads and unembedding fixed before the labels, output maps free",
            ),
            "U3": (
                ceilings.trained_readout_ceiling(*shape, train_values=True),
                "U3: Warren's count; attention fixed before the labels, the rest free",
            ),
            "U4": (
                ceilings.hard_attention_ceiling(vocab_size, 2, embed_dim, head_dim, count),
                "U4: Warren's count; hard attention, everything free",
            ),
        }
        for name, (number, source) in formulas.items():
            yield {
                "kind": "bound", "name": name, "num_heads": count, "held": float(number), "source": source,
                "effective_parameters": effective_parameters(vocab_size, 2, embed_dim, count, head_dim),
            }  # fmt: skip
