"""Steps of the paper's proofs and results that it quotes, where they are looser than they sound."""

from headcount.claims.claim import Claim, Kind
from headcount.claims.dana2025 import _proof_step_checks as checks
from theory.memorization import corollary_1_associations

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="dana2025/lemma-2-hyperplane",
        number="proof of Lemma 2",
        title="What lying in no hyperplane gives",
        kind=Kind.LOWER,
        statement=r"If the outputs of one more head, matrices in $\mathbb{R}^{d \times T_0}$, lie in no hyperplane, then one of "
        r"them adds $\min(d, T_0)$ to the rank.",
        formula=min,
        check=checks.no_hyperplane,
        note="The step from one head to the next needs more than the span; what holds is dana2025/lemma-2-free.",
    ),
    Claim(
        name="dana2025/values-of-full-rank",
        number="proof of Theorem 1",
        title="Value maps of full rank",
        kind=Kind.LOWER,
        statement=r"If $[A^1; \dots; A^H]$ has full rank, then so has $[W_V^1 A^1; \dots; W_V^H A^H]$, of rank "
        r"$\min(T_0, H d_h)$, for all $W_V^h$ of full rank.",
        formula=lambda num_associations, num_heads, head_dim: min(num_associations, num_heads * head_dim),
        check=checks.values_of_full_rank,
        note="For d_h < d the value maps have to be generic, or chosen before W_QK.",
    ),
    Claim(
        name="dana2025/skip-adds-its-width",
        number="proof of Theorem 1",
        title="What the skip connection adds",
        kind=Kind.LOWER,
        statement=r"The skip connection counts as a head of width $d$: features with it reach rank $\min(T_0, H d_h + d)$.",
        formula=corollary_1_associations,
        check=checks.skip_adds_its_width,
        code=("theory.memorization.repaired_associations", "theory.attention_rank.free_attention_rank"),
        note="It sees last tokens only and adds min(d, K): with one shared last token, 1.",
    ),
    Claim(
        name="dana2025/labels-per-neuron",
        number="introduction, on Bubeck et al. 2020",
        title="Real labels that a ReLU layer meets",
        kind=Kind.UPPER,
        statement=r"A layer of $k$ ReLU neurons meets $k$ arbitrary real labels, and no more.",
        formula=lambda neurons: neurons,
        check=checks.labels_per_neuron,
        note="Their theorem needs 4 neurons for d points in general position in R^d, d / 4 labels per neuron.",
    ),
)
