"""The experiments section as claims: how memory grows with heads, head width and embedding width, in trained models.

Statements on models trained here and on the paper's published points are claims of their own, since the latter are accuracies
on training draws. What memory, exponents and intervals are: see `_experiment_checks`.
"""

from headcount.claims.claim import Claim, Effort, Kind
from headcount.claims.dana2025 import _architecture_checks as architecture_checks
from headcount.claims.dana2025 import _experiment_checks as checks
from theory.memorization import corollary_1_associations, mahdavi_associations_as_plotted


def _one(embed_dim: int) -> float:
    """Linear: the exponent of H, or of the effective parameters, for every width."""
    return 1.0


def _two(num_heads: int) -> float:
    """Quadratic: the exponent of d_h, for every number of heads."""
    return 2.0


BELOW = f"points with accuracy up to {checks.SATURATED}"
UNIFORM = "accuracy counted on the uniform table, N = 50, S = 2, trained with the paper's schedule"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="dana2025/linear-in-heads",
        number="Experiment 1",
        title="Memory is linear in the number of heads",
        kind=Kind.ASYMPTOTIC,
        statement=r"For $d = d_h$ in 3, 5, 7, 10 (at effort exhaustive 3 to 13), before saturation, the memory of the trained "
        r"model grows linearly in $H$: in $X = a + b H^p$ the exponent is $p = 1$.",
        assumptions=(UNIFORM, BELOW),
        formula=_one,
        check=checks.linear_in_heads,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        code=("empirical.regression.power_law", "empirical.training.train"),
        note="At d = 3 the interval is too wide to tell much. The paper's cut-off, all points up to the first accuracy above "
        ".95, keeps points that have begun to bend.",
    ),
    Claim(
        name="dana2025/quadratic-in-head-dim",
        number="Experiment 2",
        title="Memory is quadratic in the head dimension",
        kind=Kind.ASYMPTOTIC,
        statement=r"At fixed $d$ and $H$ the memory of the attention-only transformer, with a map $W_V$ of size $d_h \times d$ "
        r"in each head, grows like the square of the head dimension: in $X = a + b d_h^p$ the exponent is $p = 2$.",
        assumptions=(UNIFORM, BELOW),
        formula=_two,
        check=checks.in_head_dim,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        code=("empirical.regression.power_law", "empirical.training.train"),
        note="The published curve comes from other code: one map from d to d_h in front of all heads and one behind, so that the "
        "heads have 2 H d_h^2 effective parameters. In the paper's own model they have 2 H d_h (2d - d_h), and the curve is "
        "concave. That is no saturation: at H = 8 the accuracy stays below .35.",
    ),
    Claim(
        name="dana2025/quadratic-in-head-dim-published",
        number="Experiment 2, published points",
        title="The published points are quadratic in the head dimension",
        kind=Kind.ASYMPTOTIC,
        statement=r"The published accuracies of experiment 2 for $d_h < d$, as memory, follow $X = a + b d_h^p$ with $p = 2$.",
        assumptions=("accuracies on training draws", "errors of the nine points independent and of equal size"),
        formula=_two,
        check=checks.quadratic_published,
        code=("empirical.regression.power_law",),
        note="Of the notebook's model, not of the paper's. The tenth point, d_h = d, comes from another model, without shared "
        "maps; with it the exponent is near 2.",
    ),
    Claim(
        name="dana2025/quadratic-in-head-dim-notebook",
        number="Experiment 2, as its code ran it",
        title="With shared maps memory is quadratic in the head dimension",
        kind=Kind.ASYMPTOTIC,
        statement=r"With one map $\mathbb{R}^d \to \mathbb{R}^{d_h}$ in front of all heads and one back behind their sum, $d = "
        r"10$, $H = 20$ and $d_h < d$, the memory of the trained model follows $X = a + b d_h^p$ with $p = 2$.",
        assumptions=(UNIFORM, "d_h < d: at d_h = d the code has no shared maps"),
        formula=_two,
        check=checks.in_shared_head_dim,
        least_effort=Effort.STANDARD,
        shares="notebook variant",
        code=("empirical.regression.power_law", "empirical.training.train"),
        note="Nearly so: the shared maps leave 2 (H - 1) d_h^2 + (2d + S) d_h effective parameters, whose share linear in d_h "
        "flattens the curve a little; the exponent of memory in these is still a little below 1.",
    ),
    Claim(
        name="dana2025/affine-in-effective-parameters",
        number="repairs Experiment 2",
        title="Memory is affine in the effective parameters of the heads",
        kind=Kind.ASYMPTOTIC,
        statement=r"At $d = 10$, before saturation, the memory of the trained model depends on $H$ and $d_h$ through "
        r"$P = 2 H d_h (2d - d_h)$ alone and grows linearly in it: in $X = a + b P^p$ the exponent is $p = 1$.",
        assumptions=(UNIFORM, BELOW, "d_h <= d"),
        formula=_one,
        check=checks.affine_in_parameters,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        repairs="dana2025/quadratic-in-head-dim",
        code=("theory.memorization.effective_parameters", "empirical.regression.power_law"),
        note="Derived here; 2 H d_h (2d - d_h) is the heads' share of the effective parameters.",
    ),
    Claim(
        name="dana2025/linear-in-embed-dim-published",
        number="Experiment 3, published points",
        title="Memory is linear in d on both sides of d_h",
        kind=Kind.ASYMPTOTIC,
        statement=r"At $d_h = 10$ and $H = 20$ the published accuracies of experiment 3, as memory, are affine in $d$ for "
        r"$d \le d_h$ and, with another slope, for $d \ge d_h$: the coefficient of $d^2$ is 0.",
        assumptions=("accuracies on training draws", "errors of the points independent and of equal size"),
        formula=lambda: 0.0,
        check=checks.bend_in_embed_dim,
        code=("empirical.regression.least_squares",),
        note="As the paper's README words it (linear by part). Not excluded, no more: six points leave a wide interval. The knee "
        "at d = d_h belongs to the notebook's shared maps: 2 H min(d, d_h)^2 effective parameters do not grow beyond it, "
        "those of the paper's model do.",
    ),
    Claim(
        name="dana2025/knee-of-shared-maps",
        number="Experiment 3, as its code ran it",
        title="With shared maps memory hardly grows beyond d = d_h",
        kind=Kind.UPPER,
        statement=r"With one map $\mathbb{R}^d \to \mathbb{R}^{d_h}$ in front of all heads and one back behind their sum, at "
        r"$d_h = 10$ and $H = 8$, the memory of the trained model grows from $d = 10$ to $15$ at most half as much as from $5$ "
        r"to $10$.",
        assumptions=(UNIFORM, "H = 8, far from saturation; the paper has 20"),
        formula=lambda: 0.5,
        check=architecture_checks.shared_knee,
        least_effort=Effort.STANDARD,
        shares="notebook variant",
        code=("empirical.training.train",),
        note="All heads see the same min(d, d_h) dimensions: their 2 H min(d, d_h)^2 effective parameters stop growing there. "
        "'Half' and H = 8 were chosen after a trial on tables 0 and 1, which are among those counted.",
    ),
    Claim(
        name="dana2025/no-knee-without-shared-maps",
        number="Experiment 3, with the model of equations (1)-(2)",
        title="In the paper's own model memory grows on beyond d = d_h",
        kind=Kind.LOWER,
        statement=r"In the attention-only transformer of equations (1)-(2), at $d_h = 10$ and $H = 8$, the memory of the trained "
        r"model grows from $d = 10$ to $15$ at least as much as from $5$ to $10$.",
        assumptions=(UNIFORM, "H = 8, far from saturation; the paper has 20"),
        formula=lambda: 1.0,
        check=architecture_checks.own_knee,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        code=("empirical.training.train", "theory.memorization.effective_parameters"),
        note="Derived here: 2 H r (2d - r), the heads' effective parameters, has no kink at d = d_h.",
    ),
    Claim(
        name="dana2025/mlp-holds-more",
        number="Experiment 5",
        title="One head with an MLP remembers more than heads of as many parameters",
        kind=Kind.LOWER,
        statement=r"At $N = 40$ and $d = d_h = 7$ the memory of one trained head with an MLP of width $2d(H - 1)$ behind it is "
        r"at least that of $H = 11$ trained heads.",
        assumptions=(
            "accuracy counted on the uniform table", "the experiment made small: the paper has N = 70 and 16 times as many draws",
            "the rate falls to 0.0005 for heads and to 0.0001 with an MLP, as published",
        ),
        formula=lambda: 1.0,
        check=architecture_checks.mlp,
        least_effort=Effort.STANDARD,
        shares="notebook variant",
        code=("empirical.training.train",),
        note="At one size only, chosen after a trial on tables 0 and 1, which are among those counted; at H = 16 the same two "
        "showed no lead, the MLP being slower to train.",
    ),
    Claim(
        name="dana2025/cubic-in-width",
        number="Experiment 4",
        title="Memory per head is cubic in d = d_h",
        kind=Kind.ASYMPTOTIC,
        statement=r"For $d = d_h$ from 3 to 13 the memory that one more head adds to the trained model grows like $d^3$.",
        assumptions=(UNIFORM, f"slopes in H from {BELOW}"),
        formula=lambda: 3.0,
        check=checks.cubic,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        code=("empirical.regression.log_log_slope", "empirical.training.train"),
    ),
    Claim(
        name="dana2025/cubic-in-width-published",
        number="Experiment 4, published points",
        title="The published slopes are cubic in d = d_h",
        kind=Kind.ASYMPTOTIC,
        statement=r"The slopes in $H$ of the published accuracies of experiment 1, as memory, grow like $d^3$ for $d = d_h$ "
        r"from 3 to 13.",
        assumptions=("accuracies on training draws", "errors of the log slopes independent and of equal size"),
        formula=lambda: 3.0,
        check=checks.cubic_published,
        code=("empirical.regression.log_log_slope",),
    ),
    Claim(
        name="dana2025/at-least-quadratic-in-width",
        number="repairs Experiment 4",
        title="Memory per head over d = 3 to 13, against H d_h d",
        kind=Kind.LOWER,
        statement=r"A log-log line through $d = d_h$ from 3 to 13 of the memory that one more head adds to the trained model "
        r"has at least the slope 2, the lower end of the range from $H d_h d$ to $H d_h d^2$.",
        assumptions=(UNIFORM, f"slopes in H from {BELOW}"),
        formula=lambda: 2.0,
        check=checks.at_least_quadratic,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        repairs="dana2025/cubic-in-width",
        code=("empirical.regression.log_log_slope", "empirical.training.train"),
        note="The range is the README's. No power law fits throughout: between neighbouring widths the slope falls from about "
        "2.9 to about 1.9, so the cubic is excluded over the range, not at its low end.",
    ),
    Claim(
        name="dana2025/slope-factor-printed",
        number="Experiment 6",
        title="Slope at d = 2 over the bound's, as printed",
        kind=Kind.TIGHT,
        statement=r"At $N = 10$, $d = d_h = 2$ the regression of the published points, as memory in $H$, is 1.3 times as steep "
        r"as $H d_h + d$.",
        assumptions=("printed to one decimal", "points cut off as in the published script"),
        formula=lambda: 1.3,
        check=checks.printed_factor,
        code=("empirical.regression.line", "empirical.regression.before_saturation"),
        note="Earlier versions of the paper print twice and 1.7, its notebook 1.5.",
    ),
    Claim(
        name="dana2025/slope-factor-recomputed",
        number="repairs Experiment 6",
        title="Slope at d = 2 over the bound's, recomputed",
        kind=Kind.TIGHT,
        statement=r"At $N = 10$, $d = d_h = 2$ the regression of the published points, as memory in $H$, is 1.5 times as steep "
        r"as $H d_h + d$.",
        assumptions=("printed to one decimal", "points cut off as in the published script"),
        formula=lambda: 1.5,
        check=checks.printed_factor,
        repairs="dana2025/slope-factor-printed",
        code=("empirical.regression.line", "empirical.regression.before_saturation"),
    ),
    Claim(
        name="dana2025/slope-factor",
        number="Experiment 6",
        title="Slope at d = 2 over the bound's, trained anew",
        kind=Kind.ASYMPTOTIC,
        statement=r"At $N = 10$, $d = d_h = 2$ the memory of trained models grows 1.3 times as fast in $H$ as $H d_h + d$.",
        assumptions=("accuracy on the uniform table", "the paper's schedule", "points cut off as in the published script"),
        formula=lambda: 1.3,
        check=checks.factor,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        code=("empirical.regression.line", "empirical.training.train"),
    ),
    Claim(
        name="dana2025/trained-above-corollary-1",
        number="experiments section",
        title="Trained models remember more than Corollary 1 says",
        kind=Kind.LOWER,
        statement=r"In every setting of the experiments the memory of the trained model is at least $H d_h + d$.",
        assumptions=("the paper's schedule", "memory by phi^-1: it counts good guesses, also those of a model without heads"),
        formula=corollary_1_associations,
        check=checks.above,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        code=("theory.memorization.corollary_1_associations", "empirical.capacity.measure"),
    ),
    Claim(
        name="dana2025/trained-above-previous-bound",
        number="experiments section",
        title="Trained models remember more than the bound of earlier work",
        kind=Kind.LOWER,
        statement=r"In every setting of the experiments the memory of the trained model is at least $H (d_h - 1) + 1$.",
        assumptions=("the paper's schedule", "memory by phi^-1: it counts good guesses, also those of a model without heads"),
        formula=lambda num_heads, head_dim, embed_dim: mahdavi_associations_as_plotted(num_heads, head_dim),
        check=checks.above,
        least_effort=Effort.STANDARD,
        shares="paper variant",
        code=("theory.memorization.mahdavi_associations_as_plotted", "empirical.capacity.measure"),
        note="As drawn in the paper. The theorem of Mahdavi, Liao and Thrampoulidis 2024 has min(S, d_h) for d_h: H + 1 at "
        "S = 2.",
    ),
)
