"""Section 2.1 and the learning rate: parameters and operations of a transformer; and what counting without embedding does."""

from fractions import Fraction

import sympy

from headcount.claims.claim import Claim, Kind
from headcount.claims.kaplan2020 import _counting_checks as checks

MATRICES = "matrices alone: biases, norms and embeddings are not counted"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="kaplan2020/parameters",
        number="section 2.1, equation 2.1",
        title="Parameters of a transformer",
        kind=Kind.TIGHT,
        statement=r"Without embedding a transformer has $N = 2 d_{model} n_{layer} (2 d_{attn} + d_{ff})$ parameters.",
        assumptions=(MATRICES,),
        formula=lambda layers, width, attention, hidden: 2 * width * layers * (2 * attention + hidden),
        check=checks.parameters,
        code=("theory.scaling_units.transformer_counts",),
    ),
    Claim(
        name="kaplan2020/parameters-short",
        number="section 2.1, equation 2.1",
        title="Twelve squares of the width per layer",
        kind=Kind.TIGHT,
        statement=r"With $d_{attn} = d_{model} = d_{ff} / 4$ these are $N = 12 n_{layer} d_{model}^2$.",
        assumptions=(MATRICES,),
        formula=lambda layers, width: 12 * layers * width**2,
        check=checks.parameters_short,
        code=("theory.scaling_units.transformer_counts",),
        note="With biases and norms it is 12 n d^2 + 13 n d: at 768 parameters, the paper's smallest model, no small difference.",
    ),
    Claim(
        name="kaplan2020/forward",
        number="derived here, on equation 2.2",
        title="Operations of a forward pass, every query against every key",
        kind=Kind.TIGHT,
        statement=r"A forward pass takes $2N + 2 n_{layer} n_{ctx} d_{attn}$ operations per token.",
        assumptions=("attention as it is usually computed: masked products are computed too",),
        formula=lambda layers, width, context: 24 * layers * width**2 + 2 * layers * context * width,
        check=checks.forward_dense,
        note="The paper doesn't say that masked products count. Scores alone take the second term then; weighing the values "
        "takes as much again.",
    ),
    Claim(
        name="kaplan2020/forward-causal",
        number="repairs section 2.1, equation 2.2",
        title="Operations of a forward pass, no masked product counted",
        kind=Kind.TIGHT,
        statement=r"With $t$ keys and values for the $t$-th of $n_{ctx}$ tokens a forward pass takes "
        r"$2N + 2 n_{layer} (n_{ctx} + 1) d_{attn}$ operations per token on average.",
        assumptions=("masked products are not counted", "d_attn = d_model"),
        formula=lambda layers, width, context: 24 * layers * width**2 + 2 * layers * (context + 1) * width,
        check=checks.forward_causal,
        repairs="kaplan2020/forward",
        code=("theory.scaling_units.TransformerCounts",),
        note="So the printed count is right up to one token in n_ctx if masked products are free.",
    ),
    Claim(
        name="kaplan2020/training",
        number="section 2.1",
        title="Six operations per parameter and token",
        kind=Kind.TIGHT,
        statement=r"A backward pass takes twice the forward pass, so that training takes $C = 6 N$ operations per token.",
        assumptions=("the term with n_ctx and the unembedding are left out",),
        formula=lambda: 6,
        check=checks.training,
        code=("theory.scaling_units.TransformerCounts",),
        note="The unembedding, 6 V d_model more per token, is most of it in small models: one of three reasons that Porian et "
            "al. "
        "2024 found for the exponent 0.73.",
    ),
    Claim(
        name="kaplan2020/context-term",
        number="section 2.1",
        title="When the term with the context is small",
        kind=Kind.TIGHT,
        statement=r"The term with $n_{ctx}$ is $n_{ctx} / (12 d_{model})$ of that with $N$: small for $d_{model} \gg "
            r"n_{ctx}/12$.",
        formula=lambda width, context: context / (12 * width),
        check=checks.context_share,
        code=("theory.scaling_units.TransformerCounts",),
        note="Appendix C warns of n_ctx of 12 d_model and more, the same condition.",
    ),
    Claim(
        name="kaplan2020/learning-rate",
        number="appendix D.6",
        title="The learning rate rule is zero near 1e10 parameters",
        kind=Kind.TIGHT,
        statement=r"The rule of thumb $0.003239 - 0.0001395 \ln N$ falls to zero at about $10^{10}$ parameters, and is "
        r"negative beyond.",
        formula=lambda: 10,
        check=checks.learning_rate_ends,
        note="It is zero at 1.2e10, where the paper has it break down. That the rates are good ones below is not checked here.",
    ),
    Claim(
        name="kaplan2020/counting-slope",
        number="derived here, after Pearce and Song 2024",
        title="The exponent 0.73 as an effect of counting",
        kind=Kind.TIGHT,
        statement=r"If losses obey the law of Hoffmann et al. with the constants of Besiroglu et al. 2024, and $N$ and $C$ are "
        r"counted without embedding, then the optimum grows as $N \propto C^{0.79}$ over the sizes of Kaplan et al., 768 to "
        r"$1.5 \cdot 10^9$.",
        assumptions=("total parameters are N + 47491 N^(1/3), fitted by Pearce and Song 2024 to Chinchilla's shapes",
                     "one least-squares line over budgets evenly spaced in ln C"),
        formula=lambda: Fraction("0.79"),
        check=checks.counting_slope,
        code=("theory.parameter_counting.reconciliation",),
        note="Pearce and Song 2024 print 0.78. There is no power law behind it: local slopes run from .98 to .53.",
    ),
    Claim(
        name="kaplan2020/counting-limits",
        number="derived here, after Pearce and Song 2024",
        title="Limits of the local exponent",
        kind=Kind.TIGHT,
        statement=r"There the local exponent of $N$ tends to $\beta / (\alpha + \beta)$ for large and to "
        r"$\beta / (\alpha/3 + \beta)$ for small $N$.",
        assumptions=("total parameters are N + omega N^(1/3)",),
        formula=lambda alpha, beta, elasticity: beta / (alpha * sympy.sympify(elasticity) + beta),
        check=checks.counting_limits,
        code=("theory.parameter_counting.reconciliation",),
    ),
)
