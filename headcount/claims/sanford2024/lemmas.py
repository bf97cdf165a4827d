"""The heads that the proof of Theorem 4.2 is made of: look-up (Lemma D.1), last occurrence (Lemma D.2), hardmax (Lemma A.2)."""

from fractions import Fraction

from headcount.claims.claim import Claim, Kind
from headcount.claims.sanford2024 import _lemma_checks as checks

String = tuple[int, ...]


def _target(target: int, position: int, seq_len: int) -> Fraction:
    """A look-up attends to its target alone, whatever the position and the length."""
    return Fraction(target)


def _latest_match(string: String, position: int, vocab_size: int) -> Fraction:
    """p + 1 for the latest p before `position` with the same symbol; 0 without one. The alphabet's size doesn't enter."""
    return Fraction(next((p + 1 for p in range(position - 1, 0, -1) if string[p - 1] == string[position - 1]), 0))


def _latest_match_strictly_before(string: String, position: int) -> int:
    """As Lemma D.2 has it: the largest i' < i whose predecessor is the symbol at i."""
    return next((p + 1 for p in range(position - 2, 0, -1) if string[p - 1] == string[position - 1]), 0)


def _leak(num_positions: int, num_ties: int, decay: Fraction, payload: int) -> Fraction:
    """2 v (N - t) / t e^-xi."""
    return 2 * payload * Fraction(num_positions - num_ties, num_ties) * decay


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="sanford2024/lemma-a-2",
        number="derived here, Lemma A.2 with its constant",
        title="How near softmax comes to hardmax",
        kind=Kind.UPPER,
        statement=r"If $t$ of $N$ scores are largest and the others at least $\xi$ below, then softmax and hardmax attention to "
        r"values in $[-v, v]$ differ by at most $2 v \frac{N - t}{t} e^{-\xi}$.",
        formula=_leak,
        check=checks.hardmax,
        code=("theory.hop_precision",),
        note="The paper has a factor of order (p + zeta) log N / xi on the scores and leaves its constant open.",
    ),
    Claim(
        name="sanford2024/lemma-d-1",
        number="Lemma D.1",
        title="Look-up on a circle of N marks",
        kind=Kind.TIGHT,
        statement=r"With the key of position $j = 0..N$ at angle $2 \pi j / N$ and the query of position $i$ at that of a target "
        r"$t \le i$, hardmax attention looks at $t$ alone: with values $V_j = j$ its output is $t$.",
        formula=_target,
        check=checks.look_up,
        note="The start token, position 0, and position N stand at the same angle, for every N: the output is their average.",
    ),
    Claim(
        name="sanford2024/lemma-d-1-repaired",
        number="repairs Lemma D.1",
        title="Look-up on a circle of more than N marks",
        kind=Kind.TIGHT,
        statement=r"With a period $P \ge N + 1$ in place of $N$ hardmax attention looks at the target alone.",
        assumptions=("P >= N + 1",),
        formula=_target,
        check=checks.look_up_repaired,
        repairs="sanford2024/lemma-d-1",
        code=("constructions.hops.build",),
    ),
    Claim(
        name="sanford2024/lemma-d-2",
        number="Lemma D.2",
        title="Last occurrence on a circle, symbols N apart",
        kind=Kind.TIGHT,
        statement=r"With the key of position $j$ at mark $N X_{j-1} + j$ of a circle of $N |\Sigma|$ marks and the query of "
        r"position $i$ at mark $N X_i + i$, hardmax attention over $2 \le j \le i$ looks at the latest $j$ with $X_{j-1} = X_i$, "
        r"if there is one.",
        formula=_latest_match,
        check=checks.last_match,
        note="A position that follows another symbol can be as near on the circle as the true one, or nearer. The smallest "
        "string has such a tie. Read kindly: position 1 and the start token are no keys here; with them shorter strings fail.",
    ),
    Claim(
        name="sanford2024/lemma-d-2-repaired",
        number="repairs Lemma D.2",
        title="Last occurrence on a circle, symbols 2 N apart",
        kind=Kind.TIGHT,
        statement=r"With symbols coded $1..|\Sigma|$ (the start token is 0), $2N$ marks apart on a circle of $2N(|\Sigma| + 1)$ "
        r"marks, and the start token's key $N - 1/2$ marks from every query, hardmax attention looks at the latest $j \le i$ "
        r"with $X_{j-1} = X_i$, and at the start token if there is none.",
        formula=_latest_match,
        check=checks.last_match_repaired,
        repairs="sanford2024/lemma-d-2",
        code=("constructions.hops.build",),
    ),
    Claim(
        name="sanford2024/lemma-d-2-strict",
        number="Lemma D.2 against Definition 4.1",
        title="Positions before i, or up to i",
        kind=Kind.TIGHT,
        statement=r"$\max\{0, i' < i : X_{i'-1} = X_i\}$, as the lemma has it, is $\mathrm{find}^1_X(i)$.",
        formula=_latest_match_strictly_before,
        check=checks.strict,
        note="Definition 4.1 and a causal mask let i' = i.",
    ),
    Claim(
        name="sanford2024/lemma-d-2-strict-repaired",
        number="repairs Lemma D.2",
        title="Where the two differ",
        kind=Kind.TIGHT,
        statement=r"$\max\{0, i' < i : X_{i'-1} = X_i\}$ and $\mathrm{find}^1_X(i)$ differ exactly where $X_{i-1} = X_i$.",
        formula=lambda string, position: int(position > 1 and string[position - 2] == string[position - 1]),
        check=checks.strict_repaired,
        repairs="sanford2024/lemma-d-2-strict",
        code=("theory.hops.find",),
        note="So the two agree on the strings of the experiments, which have no symbol twice in a row.",
    ),
)
