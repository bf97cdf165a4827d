"""What the theorems about transformers and massively parallel computation cost, constants only where a proof gives them."""

import math
from dataclasses import dataclass

from theory.shapes import checked_integer


@dataclass(frozen=True)
class Stated:
    """A quantity of a theorem: its growth as a formula, that formula's value, and whether a constant in front is left open.

    With `up_to_constant` the value is no bound at any size: only its growth is stated. Two such values may be compared by their
    ratio as sizes grow, and neither with a number that was counted.
    """

    formula: str
    value: int | float
    up_to_constant: bool


def _inside(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
        raise ValueError(f"{name} = {value!r}: must be a number in ({low}, {high})")


def _log2(value: int | float) -> float:
    return max(1.0, math.log2(value))


def simulation_cost(num_words: int, gamma: float, delta: float, num_rounds: int) -> dict[str, Stated]:
    r"""The transformer that reproduces a deterministic protocol of R rounds on n words.

    Args:
        num_words: n >= 2, which is also the number of tokens.
        gamma, delta: of the model, \(0 < \gamma < \delta < 1\).
        num_rounds: R >= 1.

    Returns:
        "num_layers" (R + 1, exact), "embed_dim" (\(n^{4\delta} \log n\)) and "num_heads" (\(\log \log n\)), both up to constants.
        The width is below the number of tokens, as n grows, only for delta < 1/4.

    Source: Sanford, Hsu and Telgarsky 2024, Theorem 3.1.
    """
    n, rounds = checked_integer("num_words", num_words, 2), checked_integer("num_rounds", num_rounds, 1)
    _inside("delta", delta, 0.0, 1.0)
    _inside("gamma", gamma, 0.0, delta)
    return {
        "num_layers": Stated("R + 1", rounds + 1, up_to_constant=False),
        "embed_dim": Stated("n^(4 delta) log2 n", n ** (4 * delta) * _log2(n), up_to_constant=True),
        "num_heads": Stated("log2 log2 n", _log2(_log2(n)), up_to_constant=True),
    }


def routing_cost(num_machines: int, messages: int, message_words: int) -> dict[str, Stated]:
    """The attention layer that delivers any routing of at most s messages of beta words to and from every machine.

    Args:
        num_machines: N >= 2.
        messages: s >= 1.
        message_words: beta >= 1.

    Returns:
        "num_layers" and "num_heads" (one each, exact), "embed_dim" (s^4 beta log N, up to a constant), and "slots", the
        columns of the hashing matrix that the proof asks for, with its constant.

    Source: Sanford, Hsu and Telgarsky 2024, Lemma 3.2.
    """
    n, s = checked_integer("num_machines", num_machines, 2), checked_integer("messages", messages, 1)
    beta = checked_integer("message_words", message_words, 1)
    return {
        "num_layers": Stated("1", 1, up_to_constant=False),
        "num_heads": Stated("1", 1, up_to_constant=False),
        "embed_dim": Stated("s^4 beta log2 N", s**4 * beta * _log2(n), up_to_constant=True),
        "slots": Stated("12 b^2 ln(N^2), b = s^2", hashing_slots_bound(n, s), up_to_constant=False),
    }


def hashing_slots_bound(num_machines: int, messages: int) -> int:
    r"""Slots that are enough for every routing at once: \(\lceil 12 b^2 \ln(N^2) \rceil\), b = s^2 and N^2 pairs of machines.

    Args:
        num_machines: N >= 2.
        messages: s >= 1, the most messages that one machine sends, and receives.

    Source: Sanford, Hsu and Telgarsky 2024, proof of Lemma 3.2 (the matrix of multiple hashing).
    """
    n, s = checked_integer("num_machines", num_machines, 2), checked_integer("messages", messages, 1)
    return math.ceil(12 * s**4 * 2 * math.log(n))


def hashing_slots_for(num_machines: int, messages: int, failure: float) -> int:
    r"""Slots with which one given routing fails with probability at most `failure`, over the draw of the hashing matrix.

    Args:
        num_machines: N >= 2.
        messages: s >= 1.
        failure: a number in (0, 1).

    A packet is alone in a column at its receiver when its own entry there is 1 and those of the at most b - 1 = s^2 - 1 other
    packets that could disturb it (s - 1 of its own sender, s each of s - 1 other senders) are 0: probability at least
    \(p (1-p)^{b-1}\) with p = 1/(b + 1) per column, independently. A routing has at most N s packets, and the union bound gives
    \(N s (1 - p(1-p)^{b-1})^{m} \le\) failure.

    Source: derived here; the bound of the proof serves all routings at once and grows like b^2 where this grows like b.
    """
    n, s = checked_integer("num_machines", num_machines, 2), checked_integer("messages", messages, 1)
    _inside("failure", failure, 0.0, 1.0)
    disturbed = s * s
    alone = (1 - 1 / (disturbed + 1)) ** (disturbed - 1) / (disturbed + 1)
    return math.ceil(math.log(n * s / failure) / -math.log1p(-alone))


@dataclass(frozen=True)
class ConverseLayout:
    """How one attention layer of N tokens is spread over machines of s words: trees of branching b and depth D."""

    branching: int
    depth: int
    num_rounds: int
    num_machines: int


def converse_layout(seq_len: int, num_heads: int, head_dim: int, words_per_machine: int) -> ConverseLayout:
    r"""Trees that compute an attention layer by messages: branching b, depth \(D = \lceil \log_b N \rceil\), 2D + 3 rounds.

    Args:
        seq_len: N >= 2 tokens.
        num_heads: H >= 1.
        head_dim: m >= 1, the width of queries, keys and values of one head.
        words_per_machine: s; \(b = \lfloor s / (4 m H) \rfloor\).

    Machines: N for tokens, N^2 for inner products, and below every token two trees, one that carries its query and one that
    carries its key and value, each with ceil(N / b^(D - t)) machines at depth t = 1..D.

    Raises:
        ValueError: s < 8 m H, so that b < 2 and no tree branches.

    Source: Sanford, Hsu and Telgarsky 2024, proof of Theorem 3.4.
    """
    n, heads = checked_integer("seq_len", seq_len, 2), checked_integer("num_heads", num_heads, 1)
    width, s = checked_integer("head_dim", head_dim, 1), checked_integer("words_per_machine", words_per_machine, 1)
    branching = s // (4 * width * heads)
    if branching < 2:
        least = 8 * width * heads
        raise ValueError(f"words_per_machine = {s}: at least 8 head_dim num_heads = {least} is legal, or no tree branches")
    depth, leaves = 1, branching
    while leaves < n:
        depth, leaves = depth + 1, leaves * branching
    tree = sum(-(-n // branching ** (depth - t)) for t in range(1, depth + 1))
    return ConverseLayout(branching, depth, 2 * depth + 3, n + n * n + 2 * n * tree)


def converse_cost(num_layers: int, seq_len: int, delta: float, delta_prime: float) -> dict[str, Stated]:
    r"""The protocol that computes a transformer of L layers on N tokens whose width times heads is \(O(N^\delta)\).

    Args:
        num_layers: L >= 1.
        seq_len: N >= 2.
        delta, delta_prime: \(0 < \delta < \delta' < 1\).

    Returns:
        "num_rounds" (\(L / (\delta' - \delta)\)), "num_machines" (N^2) and "words_per_machine" (\(N^{\delta'}\)), all up to
        constants; `converse_layout` has the counts of the proof. A protocol that becomes a transformer runs on about n machines,
        this one on N^2: the two simulations do not invert each other.

    Source: Sanford, Hsu and Telgarsky 2024, Theorem 3.4.
    """
    layers, n = checked_integer("num_layers", num_layers, 1), checked_integer("seq_len", seq_len, 2)
    _inside("delta_prime", delta_prime, 0.0, 1.0)
    _inside("delta", delta, 0.0, delta_prime)
    return {
        "num_rounds": Stated("L / (delta' - delta)", layers / (delta_prime - delta), up_to_constant=True),
        "num_machines": Stated("N^2", n * n, up_to_constant=True),
        "words_per_machine": Stated("N^delta'", n**delta_prime, up_to_constant=True),
    }


def connectivity_cost(num_words: int, epsilon: float, diameter: int) -> dict[str, Stated]:
    r"""A transformer for connected components of graphs whose components have diameter at most D.

    Args:
        num_words: N >= 2, twice the number of edges.
        epsilon: in (0, 1).
        diameter: D >= 1.

    Returns:
        "num_layers" (log D), "embed_dim" (\(N^\epsilon\)), "num_heads" (log log N), all up to constants. Rooted spanning forests
        have the same bounds, and minimum spanning forests too, D then being the diameter of that forest.

    Source: Sanford, Hsu and Telgarsky 2024, Corollary 3.3 (from the deterministic algorithm of Coy and Czumaj 2022).
    """
    n, most = checked_integer("num_words", num_words, 2), checked_integer("diameter", diameter, 1)
    _inside("epsilon", epsilon, 0.0, 1.0)
    return {
        "num_layers": Stated("log2 D", _log2(most), up_to_constant=True),
        "embed_dim": Stated("N^epsilon", n**epsilon, up_to_constant=True),
        "num_heads": Stated("log2 log2 N", _log2(_log2(n)), up_to_constant=True),
    }
