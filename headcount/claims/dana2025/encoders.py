"""What sequence encoders can express, and how near an attention-only transformer comes to the best one."""

from fractions import Fraction
from math import ceil, log, sqrt

from headcount.claims.claim import Claim, Kind
from headcount.claims.dana2025 import _distribution_checks as transformers
from headcount.claims.dana2025 import _encoder_checks as checks
from theory.divergence import divergence_lower_bound, encoder_divergence, lemma_1_spread
from theory.encoders import jl_constant, lemma_4_gap, proposition_3_bound, theorem_2_bound

FULL_SUPPORT = "every probability positive (Assumption 2)"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="dana2025/proposition-1",
        number="Proposition 1",
        title="Transformers are sequence encoders",
        kind=Kind.LOWER,
        statement=r"No attention-only transformer of width $d$ has a divergence from $\pi$ below the infimum "
        r"$d_{KL}(\pi, \mathcal{L}(N, S, d))$ over sequence encoders.",
        formula=divergence_lower_bound,
        check=checks.no_better_than_encoders,
        code=("theory.divergence.divergence_lower_bound", "theory.divergence.encoder_divergence"),
        note="The infimum itself is not computable in general: divergences are compared with a proved lower bound on it.",
    ),
    Claim(
        name="dana2025/proposition-2-sufficient",
        number="Proposition 2",
        title="The width that is enough for all distributions",
        kind=Kind.UPPER,
        statement=r"For $d \ge N - 1$ the infimum $d_{KL}(\pi, \mathcal{L}(N, S, d))$ is 0 for every $\pi$.",
        formula=lambda vocab_size: vocab_size - 1,
        check=checks.width_that_suffices,
        code=("theory.divergence.encoder_divergence", "theory.divergence.exact_centred_rank"),
    ),
    Claim(
        name="dana2025/proposition-2-necessary",
        number="Proposition 2",
        title="The width that some distributions need",
        kind=Kind.LOWER,
        statement=r"For every $d < N - 1$ some $\pi$ has $d_{KL}(\pi, \mathcal{L}(N, S, d)) > 0$.",
        formula=lambda vocab_size: vocab_size - 1,
        check=checks.width_that_is_needed,
        code=("theory.divergence.proposition_2_witness", "theory.divergence.divergence_lower_bound"),
        note="One $\\pi$ with N - 1 sequences serves for all $d < N - 1$; the witness and the bound in nats are derived here.",
    ),
    Claim(
        name="dana2025/proposition-3",
        number="Proposition 3",
        title="Sure labels need two dimensions only",
        kind=Kind.UPPER,
        statement=r"For sure labels and $d \ge 2$ the circle's encoder with scale $\lambda$ has a divergence of at most "
        r"$\ln(1 + (N - 1) e^{-\lambda (1 - \cos(2 \pi / N))})$, so $d_{KL}(\pi, \mathcal{L}(N, S, d)) = 0$.",
        assumptions=("every sequence has one label (Assumption 1)",),
        formula=proposition_3_bound,
        check=checks.circle,
        code=("theory.encoders.proposition_3_witness", "theory.encoders.proposition_3_bound"),
    ),
    Claim(
        name="dana2025/t-epsilon",
        number="Section 2, definition of T_epsilon",
        title="How many sequences are likely",
        kind=Kind.LOWER,
        statement=r"For every $\epsilon \ge 0$ some number of sequences carries more than $1 - \epsilon$ of the prior's mass; "
        r"$T_\epsilon$ is the least one.",
        formula=lambda: 1,
        check=transformers.strictly_more,
        code=("theory.tasks.DistributionTask.t_epsilon",),
        note="At epsilon = 0, which Theorem 1 and Corollary 1 use, no number of sequences carries more than everything.",
    ),
    Claim(
        name="dana2025/t-epsilon-repaired",
        number="repairs the definition of T_epsilon",
        title="How many sequences are likely",
        kind=Kind.UPPER,
        statement=r"With at least $1 - \epsilon$ in place of more, $T_\epsilon$ exists for every $\epsilon \in [0, 1]$, and "
        r"$T_\epsilon \le \lceil (1 - \epsilon) T_0 \rceil$ for every prior.",
        formula=lambda num_sequences, epsilon: ceil((1 - Fraction(epsilon)) * num_sequences),
        check=transformers.at_least,
        repairs="dana2025/t-epsilon",
        code=("theory.tasks.DistributionTask.t_epsilon",),
    ),
    Claim(
        name="dana2025/theorem-1",
        number="Theorem 1",
        title="The price of unlikely sequences",
        kind=Kind.UPPER,
        statement=r"For features with right singular vectors $V$ and $P_1 V P_1^T$ invertible, the transformer that is right "
        r"on the likely sequences has $d_{KL}(\pi, T) \le d_{KL}(\pi, \mathcal{L}) + \sqrt{1 + \kappa^2}\, \epsilon\, |W E|_2 "
        r"+ \gamma$, $\kappa = |(P_1 V P_1^T)^{-1}|_2$, $\gamma$ as small as wanted.",
        assumptions=(FULL_SUPPORT, "P1 V P1^T invertible"),
        formula=lambda divergence, inverse_norm, epsilon, norm: divergence + sqrt(1 + inverse_norm**2) * epsilon * norm,
        check=transformers.given_features,
        code=("constructions.distribution.Terms", "constructions.distribution.printed_bound_counterexample"),
        note="W E is the encoder with centred logits. Refuted as its proof argues, for given features. Read as a statement on "
        "some features, with the constant of these, it says little: a large enough constant makes it true of any model.",
    ),
    Claim(
        name="dana2025/theorem-1-repaired",
        number="repairs Theorem 1",
        title="The price of unlikely sequences",
        kind=Kind.UPPER,
        statement=r"For features with $P_1 V P_1^T$ invertible, the transformer that is right on the likely sequences has "
        r"$d_{KL}(\pi, T) \le d_{KL}(\pi, \mathcal{L}) + \sqrt2\, \kappa\, \epsilon\, |W E|_2$.",
        assumptions=(FULL_SUPPORT, "P1 V P1^T invertible"),
        formula=lambda divergence, inverse_norm, epsilon, norm: divergence + sqrt(2) * inverse_norm * epsilon * norm,
        check=transformers.built_models,
        repairs="dana2025/theorem-1",
        code=("constructions.distribution.build", "constructions.distribution.Terms"),
        note="Proved in the docstring of Terms. Any encoder W E may stand for the best one, with its divergence in the first "
        "term.",
    ),
    Claim(
        name="dana2025/theorem-1-rank",
        number="Theorem 1, epsilon = 0",
        title="Heads that are enough for the optimum",
        kind=Kind.UPPER,
        statement=r"For all distinct sequences and every $\pi$ of full support, $H d_h + d \ge T_0$ suffices for some "
        r"transformer with $d_{KL}(\pi, T) \le d_{KL}(\pi, \mathcal{L}) + \gamma$ for every $\gamma > 0$.",
        assumptions=(FULL_SUPPORT, "d_h <= d"),
        formula=lambda task, embed_dim: encoder_divergence(task, embed_dim).upper,
        check=transformers.exclusive_or,
        code=("constructions.distribution.build",),
        note="The printed statement lacks assumptions: the +d needs d different last tokens, and the heads' features have to be "
        "independent. The counterexample holds for all weights.",
    ),
    Claim(
        name="dana2025/theorem-1-exact-skip",
        number="repairs Theorem 1",
        title="The skip connection without a limit",
        kind=Kind.TIGHT,
        statement=r"Whenever $E = B X_S + \sum_h W_O^h W_V^h A^h$ has a solution with $B$ invertible, the transformer with "
        r"$W_U B$ for $W_U$ and $B^{-1} W_O^h$ for $W_O^h$ has the encoder's logits $W_U E$ exactly: $\gamma = 0$.",
        assumptions=("features of full column rank on the likely sequences", "B invertible"),
        formula=lambda: 0,
        check=transformers.exact_skip,
        repairs="dana2025/theorem-1-rank",
        code=("constructions.distribution.build", "theory.attention_rank.softmax_rank"),
        note="The paper reaches the skip connection as a limit of ever larger weights of an extra head.",
    ),
    Claim(
        name="dana2025/footnote-8",
        number="footnote 8",
        title="A block of an orthogonal matrix",
        kind=Kind.LOWER,
        statement=r"As $V$ is orthogonal, $P_1 V P_1^T$ is invertible.",
        formula=lambda count: count,
        check=transformers.orthogonal_blocks,
        code=("constructions.distribution.Terms",),
    ),
    Claim(
        name="dana2025/footnote-8-repaired",
        number="repairs footnote 8",
        title="When the block is invertible",
        kind=Kind.TIGHT,
        statement=r"For as many independent rows of features as likely sequences, $P_1 V P_1^T$ has the rank of the likely "
        r"columns of the features: it is invertible if and only if these are independent.",
        assumptions=("the features' rank is the number of likely sequences",),
        formula=transformers.rank_of_columns,
        check=transformers.independent_columns,
        repairs="dana2025/footnote-8",
        code=("constructions.distribution.Terms",),
        note="With more independent rows than likely sequences it may fail: features diag(1, 10), the first sequence likely, "
        "have the leading right singular vector (0, 1).",
    ),
    Claim(
        name="dana2025/theorem-2",
        number="Theorem 2",
        title="Divergence of a random code",
        kind=Kind.CONDITIONAL,
        granted=Kind.UPPER,
        statement=r"With $C = \sqrt{32 \ln(N + 1) / d}$ there is a code whose encoder has a divergence of at most "
        r"$E_t[(1 - \pi_t(g)) \frac{1 + 2C + C d_{TV}}{1 - 2C} \ln \frac{N - 1}{e^{s_t} - 1}]$, $s_t$ the entropy.",
        assumptions=("C < 1/2, that is d > 128 ln(N + 1)",),
        formula=checks.theorem_2_bound_at,
        check=checks.random_codes_bound,
        code=("theory.encoders.theorem_2", "theory.encoders.jl_constant"),
        note="No experiment of the paper meets the assumption, see `dana2025/theorem-2-range`; with the code's own coherence "
        "for C it says something for most widths.",
    ),
    Claim(
        name="dana2025/theorem-2-range",
        number="derived here, on Theorem 2",
        title="Where Theorem 2 says something",
        kind=Kind.TIGHT,
        statement=r"$N = 869$ is the least vocabulary that has a width $d < N - 1$, below which divergences are not 0 anyway, "
        r"with $32 \ln(N + 1) / d < 1/4$.",
        formula=lambda: 869,
        check=checks.least_useful_vocabulary,
        code=("theory.encoders.jl_constant",),
        note="Counting d = N - 1 too it is N = 868. The paper's experiments have N = 10 to 200 and d = 2 to 60.",
    ),
    Claim(
        name="dana2025/theorem-2-jl",
        number="Theorem 2, proof",
        title="Coherence of random codes",
        kind=Kind.UPPER,
        statement=r"Some unit code of $N$ tokens has $\max |W W^T - I| \le \sqrt{32 \ln(N + 1) / d}$; every one drawn at random "
        r"here has.",
        formula=jl_constant,
        check=checks.random_coherence,
        code=("theory.encoders.jl_constant", "theory.encoders.low_coherence_code"),
        note="The lemma of Johnson and Lindenstrauss. The margin is wide: the constant is not tight.",
    ),
    Claim(
        name="dana2025/theorem-2-printed",
        number="repairs Theorem 2",
        title="Divergence of a code, by its own coherence",
        kind=Kind.UPPER,
        statement=r"For any code with $C = \max |W W^T - I| < 1/2$ the encoder of Theorem 2 has a divergence of at most "
        r"$E_t[(1 - \pi_t(g)) \frac{1 + 2C + C d_{TV}}{1 - 2C} \ln \frac{N - 1}{e^{s_t} - 1}]$.",
        assumptions=("C < 1/2 for the code's own coherence",),
        formula=lambda task, code: theorem_2_bound(task, code, "printed"),
        check=checks.codes,
        repairs="dana2025/theorem-2",
        code=("theory.encoders.theorem_2",),
    ),
    Claim(
        name="dana2025/theorem-2-repaired",
        number="derived here, on Theorem 2",
        title="Divergence of a code without d_TV",
        kind=Kind.UPPER,
        statement=r"The term $C d_{TV}$ is not needed: the factor $\frac{1 + 2C}{1 - 2C}$ does.",
        assumptions=("C < 1/2 for the code's own coherence",),
        formula=lambda task, code: theorem_2_bound(task, code, "repaired"),
        check=checks.codes,
        code=("theory.encoders.theorem_2",),
        note="Proved in the docstring of theorem_2.",
    ),
    Claim(
        name="dana2025/theorem-2-sharp",
        number="derived here, on Theorem 2",
        title="Divergence of a code, sharp",
        kind=Kind.UPPER,
        statement=r"The factor $\frac{1}{1 - 2C}$ does, and some codes approach it.",
        assumptions=("C < 1/2 for the code's own coherence",),
        formula=lambda task, code: theorem_2_bound(task, code, "sharp"),
        check=checks.codes,
        code=("theory.encoders.theorem_2",),
        note="Proved in the docstring of theorem_2; orthonormal codes reach it.",
    ),
    Claim(
        name="dana2025/definition-2-full-support",
        number="derived here, on Definition 2",
        title="Full support is never polynomially approximable",
        kind=Kind.UPPER,
        statement=r"For $\pi_t$ of full support and any logits some token has $\pi_t / \mathrm{softmax} \le 1$: the lower half "
        r"of $c \delta^\alpha \le \ln(\pi / \mathrm{softmax}) \le \delta$ fails for every $c > 0$.",
        assumptions=("Definition 2 as we read it, for every token of the support",),
        formula=lambda: 1,
        check=transformers.no_full_support,
        code=("theory.encoders.definition_2_range",),
        note="So Theorem 3 speaks of distributions that rule tokens out, not of those of Assumption 2.",
    ),
    Claim(
        name="dana2025/lemma-4",
        number="Lemma 4",
        title="Spread of the logits under Definition 2",
        kind=Kind.UPPER,
        statement=r"Under Definition 2 the spread of all logits is at most $K \ln \frac1\delta$, for some constant $K$.",
        assumptions=("Definition 2 and Lemma 4 as we read them",),
        formula=lambda constant, delta: constant * log(1 / delta),
        check=transformers.whole_spread,
        code=("theory.encoders.definition_2_range",),
        note="Definition 2 says nothing of how mass off the support is shared among its tokens. With one such token it holds.",
    ),
    Claim(
        name="dana2025/lemma-4-gap",
        number="Lemma 4, last line",
        title="How far logits lie apart under Definition 2",
        kind=Kind.UPPER,
        statement=r"Under Definition 2 the largest logit on the support lies at most $\ln \frac{1}{e^{\delta / c} - 1}$ above "
        r"the largest one off it.",
        assumptions=("Definition 2 and Lemma 4 as we read them",),
        formula=lambda delta, constant, exponent, num_excluded: lemma_4_gap(delta, constant, exponent, variant="printed"),
        check=transformers.two_token_gap,
        code=("theory.encoders.lemma_4_gap",),
    ),
    Claim(
        name="dana2025/lemma-4-gap-repaired",
        number="repairs Lemma 4",
        title="How far logits lie apart under Definition 2",
        kind=Kind.UPPER,
        statement=r"Under Definition 2, with $m$ tokens off the support, the largest logit on the support lies at most "
        r"$\ln \frac{m}{e^{c \delta^\alpha} - 1}$ above the largest one off it.",
        assumptions=("Definition 2 as we read it",),
        formula=lambda delta, constant, exponent, num_excluded: lemma_4_gap(delta, constant, exponent, num_excluded=num_excluded),
        check=transformers.gaps,
        repairs="dana2025/lemma-4-gap",
        code=("theory.encoders.lemma_4_gap",),
        note="It does not bound the whole spread: with two or more tokens off the support one of their logits may be as low as "
        "it likes.",
    ),
    Claim(
        name="dana2025/theorem-3",
        number="Theorem 3",
        title="The price of unlikely sequences without full support",
        kind=Kind.CONDITIONAL,
        granted=Kind.UPPER,
        statement=r"With $H d_h + d \ge T_\epsilon$ some transformer has a divergence of at most $d_{KL}(\pi, \mathcal{M}(N, "
        r"S, d)) + O(\epsilon \ln \frac1\epsilon)$, $\mathcal{M}$ the polynomially approximable distributions.",
        assumptions=("features of full column rank on the likely sequences", "logits of spread O(ln 1/delta), which Definition "
        "2 lacks"),
        formula=transformers.theorem_3_constant,
        check=transformers.slow_growth,
        code=("theory.encoders.definition_2_circle", "constructions.distribution.build"),
        note="Checked where both are granted: sure labels, which the circle approximates, and features that are independent. The "
        "constant is ours.",
    ),
    Claim(
        name="dana2025/lemma-1",
        number="Lemma 1",
        title="Near-optimal logits are bounded",
        kind=Kind.UPPER,
        statement=r"For $\pi$ of full support the infimum over encoders is attained: logits with a divergence of at most $D$ "
        r"have a spread of at most $(D / p_t + s_t) / \min_j \pi_t(j)$, $p$ the prior and $s_t$ the entropy.",
        assumptions=(FULL_SUPPORT,),
        formula=lambda task, divergence, row: float(lemma_1_spread(task, divergence)[row]),
        check=checks.spreads,
        code=("theory.divergence.lemma_1_spread",),
        note="The bound is derived here; attainment follows, because tables of rank at most d form a closed set.",
    ),
    Claim(
        name="dana2025/lemma-3",
        number="Lemma 3",
        title="Reals that no integer polynomial annihilates",
        kind=Kind.UPPER,
        statement=r"There are positive reals, for instance $e^{\sqrt2}, e^{\sqrt3}, e^{\sqrt5}, \dots$, at which no integer "
        r"polynomial but 0 vanishes.",
        formula=lambda: 0,
        check=checks.polynomials,
        note="Square roots of different primes are linearly independent over the rationals, so the theorem of Lindemann and "
        "Weierstrass makes their exponentials algebraically independent; the paper argues by countability.",
    ),
)
