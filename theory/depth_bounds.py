"""What hop_k costs at least: in depth, for transformers, if a conjecture holds; in size, for other architectures, without one.

Two kinds of statements of Sanford, Hsu and Telgarsky 2024, and neither rules out a given model at a given N and k:

    CONDITIONAL_BOUNDS  (Corollaries 4.3 and 3.5) need the conjecture that one cycle is hard to tell from two, and speak of growth
                        only. They are data here: words and formulas, and no function that would make a number of layers of them.
    AsymptoticBound     (section 5, Proposition E.4) is unconditional and has the form "at least k layers, or a resource of
                        Omega(N / k^6)". Functions return N / k^6 and what the model at hand spends; the constant in front is not
                        stated in the paper. N / k^6 is below 1 at most sizes that are run (`scale_warning`).

Symbols: N seq_len, k num_hops, L num_layers, H num_heads, m embed_dim (the paper's width), p bits per number.
"""

from dataclasses import dataclass
from math import nan

from theory.shapes import checked_integer

_PAPER = "Sanford, Hsu and Telgarsky 2024"

CONJECTURE = (
    r"For every \(\gamma > 0\) and \(\delta < 1\), every \((\gamma, \delta)\)-MPC protocol that tells one cycle of \(N\) "
    r"vertices from two cycles of \(N/2\) takes \(\Omega(\log N)\) rounds."
)
"""Conjecture 2.4 of Sanford, Hsu and Telgarsky 2024, which is widely believed and unproved."""


@dataclass(frozen=True)
class ConditionalBound:
    """A lower bound on depth that holds if CONJECTURE does, as parameters grow: no layer count follows for given sizes.

    Attributes:
        name: of the task.
        source: paper and number.
        assumptions: what has to hold besides the conjecture (LaTeX).
        depth: how L grows at least (LaTeX).
        condition: the conjecture.
    """

    name: str
    source: str
    assumptions: tuple[str, ...]
    depth: str
    condition: str = CONJECTURE

    @property
    def statement(self) -> str:
        """The whole bound in one sentence, its condition first."""
        return f"If Conjecture 2.4 holds, and {', and '.join(self.assumptions)}: {self.depth}, asymptotically."


HOP_DEPTH = ConditionalBound(
    "hop_k",
    f"{_PAPER}, Corollary 4.3",
    (
        r"\(k = \Theta(N^\xi)\) is even for a fixed \(\xi \in (0, 1/2]\)",
        r"a causally masked transformer with \(m H = O(k^{1-\epsilon})\), \(\epsilon \in (0, 1)\) fixed, computes hop_k",
    ),
    r"\(L = \Omega(\log k)\)",
)
"""Depth for hop_k. Its hard strings are `theory.hop_strings.one_or_two_cycles`."""

CONNECTIVITY_DEPTH = ConditionalBound(
    "connected components",
    f"{_PAPER}, Corollary 3.5",
    (
        r"\(D \ge N^\epsilon\) for a fixed \(\epsilon \in (0, 1)\)",
        r"a transformer with \(m H = O(D^{1-\epsilon})\) decides connectivity of all graphs whose components have diameter "
        r"at most \(D\)",
    ),
    r"\(L = \Omega(\log D)\)",
)
"""Depth for connectivity."""

CONDITIONAL_BOUNDS = (HOP_DEPTH, CONNECTIVITY_DEPTH)


@dataclass(frozen=True)
class AsymptoticBound:
    """An unconditional lower bound of the form "at least k rounds, or a resource of Omega(something)", with sizes filled in.

    Attributes:
        source: paper and number.
        rounds: what has to reach k (LaTeX), "" where the bound leaves no such way out.
        num_hops: k; 0 where the bound has none.
        resource: what is spent otherwise (LaTeX).
        spent: the resource at the sizes given, nan where none were.
        inside: the quantity inside the Omega at the sizes given.
        growth: that quantity (LaTeX).
        constant_stated: whether the constant in front is known. It never is here: `spent < inside` refutes nothing.
        log_factors: whether factors of log N are left out too.
    """

    source: str
    rounds: str
    num_hops: int
    resource: str
    spent: float
    inside: float
    growth: str
    constant_stated: bool = False
    log_factors: bool = False

    @property
    def statement(self) -> str:
        """The bound in one sentence."""
        omega = r"\tilde\Omega" if self.log_factors else r"\Omega"
        either = rf"\({self.rounds} \ge k\) or " if self.rounds else ""
        return rf"{either}\({self.resource} = {omega}({self.growth})\), the constant not stated."

    @property
    def is_vacuous(self) -> bool:
        """Whether the quantity inside the Omega is below 1, what any model spends: the bound then says nothing, at any constant
        up to 1."""
        return self.inside < 1


def pointer_chasing_bound(num_hops: int, width: int, message_bits: int | None = None) -> AsymptoticBound:
    """(q, k)-layered pointer chasing by k players who speak in fixed order, the deepest layer's first.

    To be right with probability 2/3 they need R >= k rounds or messages of s = Omega(q / k^5) bits, q = `width` vertices in a
    layer. The fact on which all bounds for hop_k below stand: Assadi and N 2021, as cited there. ValueError for sizes below 1.
    """
    num_hops, width = checked_integer("num_hops", num_hops, 1), checked_integer("width", width, 1)
    source = f"Assadi and N 2021, as cited by {_PAPER}, appendix E"
    return AsymptoticBound(source, "R", num_hops, "s", _given(message_bits), width / num_hops**5, "q / k^5")


def hop_players_bound(num_hops: int, seq_len: int, message_bits: int | None = None) -> AsymptoticBound:
    """hop_k at the last position, the string cut into k blocks for k players who speak from left to right: R rounds, s bits.

    R >= k or s = Omega(N / k^6). With |Sigma| = 2 q + 2 symbols, q = floor(N / 2k), and blocks of 2 q: the strings are
    `theory.hop_strings.pointer_chasing`, and N / k^6 is 2 q / k^5. Proposition E.4 there. ValueError for sizes below 1.
    """
    return _hop_bound("Proposition E.4", "R", num_hops, seq_len, "s", _given(message_bits))


def recurrent_bound(num_hops: int, seq_len: int, state_dim: int) -> AsymptoticBound:
    """An RNN of L layers, whatever their update is (state-space models at inference too): L >= k or m = Omega(N / k^6).

    Corollary 5.2 there; m = `state_dim` is the state of one layer. What the reduction hands from block to block is the state in
    bits, m p for numbers of p bits. ValueError for sizes below 1.
    """
    return _hop_bound("Corollary 5.2", "L", num_hops, seq_len, "m", _product(state_dim=state_dim))


def kernel_attention_bound(
    num_hops: int, seq_len: int, embed_dim: int, feature_dim: int, num_heads: int, bits: int
) -> AsymptoticBound:
    """Causal kernel ("linear") attention with m' = `feature_dim` features per query and key: L >= k or m m' H p = Omega(N / k^6).

    Corollary 5.3 there (Performer, PolySketchFormer). ValueError for sizes below 1.
    """
    spent = _product(embed_dim=embed_dim, feature_dim=feature_dim, num_heads=num_heads, bits=bits)
    return _hop_bound("Corollary 5.3", "L", num_hops, seq_len, "m m' H p", spent)


def windowed_attention_bound(
    num_hops: int, seq_len: int, window: int, every: int, embed_dim: int, num_heads: int, bits: int
) -> AsymptoticBound:
    """Attention to a window of w tokens and to every g-th token of the string: L >= k or (w + N / (g k)) m H p = Omega(N / k^6).

    Corollary 5.4 there (masks in the manner of Longformer); `window` is w, `every` is g. ValueError for sizes below 1.
    """
    seen = checked_integer("window", window, 1) + checked_integer("seq_len", seq_len, 1) / (
        checked_integer("every", every, 1) * checked_integer("num_hops", num_hops, 1)
    )
    spent = seen * _product(embed_dim=embed_dim, num_heads=num_heads, bits=bits)
    return _hop_bound("Corollary 5.4", "L", num_hops, seq_len, "(w + N / (g k)) m H p", spent)


def chain_of_thought_bound(num_hops: int, seq_len: int, embed_dim: int, num_heads: int, bits: int) -> AsymptoticBound:
    """One causal layer that writes N_CoT tokens before it answers: N_CoT >= k or m H p = Omega(N / k^6).

    Corollary 5.6 there. A chain of thought of length linear in k suffices; more layers with one are left open. ValueError for
    sizes below 1.
    """
    spent = _product(embed_dim=embed_dim, num_heads=num_heads, bits=bits)
    return _hop_bound("Corollary 5.6", r"N_{\mathrm{CoT}}", num_hops, seq_len, "m H p", spent)


def message_passing_bound(num_vertices: int, num_layers: int, message_dim: int) -> AsymptoticBound:
    """A message-passing network on the input graph that decides connectivity of a subgraph: L sqrt(m) = Omega~(N^(1/4)).

    Spanning trees too; m = `message_dim`, N = `num_vertices`. Theorem 5.1 there, from Loukas 2019. ValueError for sizes below 1.
    """
    inside = checked_integer("num_vertices", num_vertices, 1) ** 0.25
    spent = checked_integer("num_layers", num_layers, 1) * checked_integer("message_dim", message_dim, 1) ** 0.5
    source = f"{_PAPER}, Theorem 5.1, from Loukas 2019"
    return AsymptoticBound(source, "", 0, r"L \sqrt{m}", spent, inside, "N^{1/4}", log_factors=True)


def scale_warning(num_hops: int, seq_len: int) -> str | None:
    """One line for figures and tables when N / k^6 < 1, None else: experiments at such sizes show trends and test no bound."""
    bound = hop_players_bound(num_hops, seq_len)
    if not bound.is_vacuous:
        return None
    return f"N / k^6 = {bound.inside:.2g} < 1 at N = {seq_len}, k = {num_hops}: bounds of Omega(N / k^6) say nothing at this size"


def _hop_bound(number: str, rounds: str, num_hops: int, seq_len: int, resource: str, spent: float) -> AsymptoticBound:
    num_hops, seq_len = checked_integer("num_hops", num_hops, 1), checked_integer("seq_len", seq_len, 1)
    return AsymptoticBound(f"{_PAPER}, {number}", rounds, num_hops, resource, spent, seq_len / num_hops**6, "N / k^6")


def _given(message_bits: int | None) -> float:
    return nan if message_bits is None else float(checked_integer("message_bits", message_bits, 1))


def _product(**sizes: int) -> float:
    product = 1.0
    for name, size in sizes.items():
        product *= checked_integer(name, size, 1)
    return product
