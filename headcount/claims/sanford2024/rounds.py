"""Parallel computation and attention: Lemma 3.2, Theorems 3.1 and 3.4, what rests on them, and section 5's lower bounds.

What rests on a conjecture is conditional; what has a constant that is not given can't be checked at any size and is not checked.
"""

from fractions import Fraction
from math import log

from headcount.claims.claim import Claim, Kind
from headcount.claims.sanford2024 import _parallel_checks as parallel
from headcount.claims.sanford2024 import _round_checks as checks


def _per_sixth_power(seq_len: int, num_hops: int) -> Fraction:
    """N / k^6, the size in section 5's bounds, up to a constant that is not given."""
    return Fraction(seq_len, num_hops**6)


ASYMPTOTIC_ONLY = (
    "Needs no conjecture, but holds up to a constant that is not given, so that it says nothing of any single size; and N / k^6 "
    "is below 1 at sizes that can be run (N = 1,000, k = 4: 0.24)."
)
CONJECTURE = "the conjecture that telling one cycle from two takes Omega(log N) rounds of parallel computation"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="sanford2024/theorem-3-1",
        number="Theorem 3.1",
        title="Transformers reproduce parallel protocols",
        kind=Kind.UPPER,
        statement=r"For $0 < \gamma < \delta < 1$ every deterministic $R$-round protocol is reproduced on all inputs by a "
        r"transformer with $m = O(n^{4 \delta} \log n)$, $H = O(\log\log n)$ and $L = R + 1$ layers.",
        assumptions=("the output has no more words than the input: n_out <= n",),
        formula=lambda num_rounds: num_rounds + 1,
        check=None,
        code=("constructions.mpc.build", "theory.parallel.execute"),
        note="Width and heads hold up to constants that are not given, so that no single size can contradict them; the width is "
        "below n only if delta < 1/4. What can be checked are the layers: theorem-3-1-layers.",
    ),
    Claim(
        name="sanford2024/theorem-3-1-layers",
        number="Theorem 3.1, layers at the sizes run",
        title="A layer per round, and one more",
        kind=Kind.TIGHT,
        statement=r"Prefix sums, bitonic sort, list ranking and telling one cycle from two, protocols of $R$ rounds, are "
        r"reproduced with one token per word by $L = R + 1$ attention layers.",
        assumptions=(
            "R counts local computations: one more than exchanges of messages, since nobody sends in the last",
            "the output has no more words than the input: n_out <= n",
            "a look-up of words at other machines counts as one round; by messages it is two, a request and an answer",
            "maps of each position by itself behind the layers, for local computation",
        ),
        formula=lambda num_rounds: num_rounds + 1,
        check=parallel.layers,
        code=("constructions.mpc.build", "theory.parallel.execute", "theory.protocols.OneWordEach"),
        note="The first and the last layer gather words and scatter them; each one between is an exchange of messages.",
    ),
    Claim(
        name="sanford2024/lemma-3-2",
        number="Lemma 3.2",
        title="One head routes a round of messages",
        kind=Kind.UPPER,
        statement=r"One head, one layer, takes what every position sends to what every position receives, at most $s$ messages "
        r"each: no message is lost or changed.",
        assumptions=("at the sizes run, with keys and slots drawn at random, and as much width as these take",),
        formula=lambda: 0,
        check=parallel.routing,
        code=("constructions.mpc.routing_head", "constructions.mpc.route"),
        note="The lemma also bounds the width, by a multiple of s^4 beta log N that is not given; that is not checked.",
    ),
    Claim(
        name="sanford2024/lemma-3-2-slots",
        number="Lemma 3.2, multiple hashing",
        title="Slots that are enough",
        kind=Kind.UPPER,
        statement=r"With $12 b^2 \ln N^2$ columns of independent bits, 1 with probability $1/(b+1)$, there is a table of $N^2$ "
        r"rows in which any $b$ rows each have a column where they alone have a 1.",
        formula=lambda num_positions, num_rows: 12 * num_rows**2 * log(num_positions**2),
        check=checks.slots,
        code=("theory.parallel.hashing_slots_for",),
        note="Ample: the least number for which the union bound is below 1 is less than half of it. At random full loads far "
        "fewer are enough.",
    ),
    Claim(
        name="sanford2024/theorem-3-4-merge",
        number="Theorem 3.4, merging",
        title="Softmax attention by merging partial sums",
        kind=Kind.TIGHT,
        statement=r"Merging $Z = \sum_c Z_c$, $S = \sum_c (Z_c / Z) S_c$ up any tree over the keys gives at its root the softmax "
        r"average of all values.",
        formula=lambda weights, values: sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights),
        check=checks.merge,
        code=("constructions.mpc.softmax_by_messages",),
    ),
    Claim(
        name="sanford2024/theorem-3-4-rounds",
        number="Theorem 3.4, rounds",
        title="Rounds per attention layer",
        kind=Kind.UPPER,
        statement=r"One attention layer over $N$ positions takes $2D + 3$ rounds, $D = \lceil \log_b N \rceil$, where a "
        r"machine's words let $b$ partial results be merged at once.",
        formula=lambda depth: 2 * depth + 3,
        check=parallel.rounds,
        code=("constructions.mpc.softmax_by_messages",),
    ),
    Claim(
        name="sanford2024/theorem-3-4-dense",
        number="Theorem 3.4, outputs",
        title="Attention by messages against dense attention",
        kind=Kind.UPPER,
        statement=r"Softmax attention computed by messages differs from dense attention by at most a bound on the rounding of "
        r"both: their difference over that bound is at most 1.",
        assumptions=("float64",),
        formula=lambda: 1,
        check=parallel.dense,
        code=("constructions.mpc.softmax_by_messages",),
        note="Not an exact equivalence with Theorem 3.1: this way takes N^2 machines, that one gives back about n.",
    ),
    Claim(
        name="sanford2024/corollary-3-3",
        number="Corollary 3.3",
        title="Connected components in depth O(log D)",
        kind=Kind.ASYMPTOTIC,
        statement=r"Components of graphs whose components have diameter at most $D$ are computed with $m = O(N^\epsilon)$, "
        r"$H = O(\log\log N)$ and $L = O(\log D)$.",
        formula=lambda diameter: log(diameter),
        check=None,
        note="Theorem 3.1 applied to a deterministic parallel algorithm of Coy and Czumaj 2022, which is not built here; no "
        "constant is given, so that no depth at any size contradicts it.",
    ),
    Claim(
        name="sanford2024/corollary-3-5",
        number="Corollary 3.5",
        title="Depth that connectivity needs",
        kind=Kind.CONDITIONAL,
        granted=Kind.LOWER,
        statement=r"For $\epsilon \in (0, 1)$ and $D \ge N^\epsilon$ every transformer with $m H = O(D^{1 - \epsilon})$ that "
        r"decides connectivity of all graphs with components of diameter at most $D$ has $L = \Omega(\log D)$ layers.",
        assumptions=(CONJECTURE,),
        formula=lambda diameter: log(diameter),
        check=None,
        code=("theory.depth_bounds",),
        note="Rests on an open conjecture, and its constant is not given: it says nothing of any single graph size.",
    ),
    *(
        Claim(
            name=f"sanford2024/{name}",
            number=number,
            title=title,
            kind=Kind.LOWER,
            statement=statement,
            formula=_per_sixth_power,
            check=None,
            code=("theory.depth_bounds",),
            note=ASYMPTOTIC_ONLY,
        )
        for name, number, title, statement in (
            (
                "corollary-5-2", "Corollary 5.2", "Recurrent networks",
                r"A multi-layer recurrent network that computes $\mathrm{hop}_k$ has $L \ge k$ layers or width "
                r"$m = \Omega(N / k^6)$.",
            ),
            (
                "corollary-5-3", "Corollary 5.3", "Kernel attention",
                r"A causal transformer with kernel attention of $m'$ features that computes $\mathrm{hop}_k$ has $L \ge k$ or "
                r"$m m' H p = \Omega(N / k^6)$.",
            ),
            (
                "corollary-5-4", "Corollary 5.4", "Windowed attention",
                r"A causal transformer with a window of $w$ and every $g$-th position global that computes $\mathrm{hop}_k$ has "
                r"$L \ge k$ or $(w + N / (g k)) m H p = \Omega(N / k^6)$.",
            ),
            (
                "corollary-5-6", "Corollary 5.6", "One layer and chain of thought",
                r"A one-layer causal transformer that computes $\mathrm{hop}_k$ by a chain of thought takes $k$ tokens of "
                r"thought or $m H p = \Omega(N / k^6)$.",
            ),
        )
    ),
    Claim(
        name="sanford2024/theorem-5-1",
        number="Theorem 5.1",
        title="Message-passing graph networks",
        kind=Kind.LOWER,
        statement=r"A graph network on the input graph's own edges that decides connectivity of a subgraph has "
        r"$L \sqrt{m} = \tilde\Omega(N^{1/4})$.",
        formula=lambda num_vertices: num_vertices**0.25,
        check=None,
        note="From Loukas 2019. Needs no conjecture, but holds up to constants and powers of log N that are not given.",
    ),
)
