"""Networks: what one head, a tree of products and whole constructions do, how deep and large they are, how near they come."""

from fractions import Fraction
from math import pi

import sympy

from headcount.claims.claim import Claim, Effort, Kind
from headcount.claims.havrilla2024 import _network_checks as networks
from headcount.claims.havrilla2024 import _piece_checks as pieces
from headcount.claims.havrilla2024.rates import RECALLED

HEADS, BUILD = "constructions.interaction", "constructions.manifolds.build"
OURS = "The network is this project's own, which need not be the paper's in detail. "
HOELDER = "a target of Hoelder smoothness beta of at most 1"




CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="havrilla2024/depth",
        number="theorem 2, depth",
        title="Blocks of order log d",
        kind=Kind.UPPER,
        statement=r"A transformer of $O(\log d)$ blocks, here $3 + \lceil \log_2 (d + 1) \rceil$, approximates functions on a "
        r"$d$-dimensional manifold.",
        formula=lambda d: 3 + d.bit_length(),
        check=networks.depth,
        code=(BUILD, "theory.manifold_rates.approximation_size"),
        note=OURS + "How near these networks come is the matter of the claims on rates. Manifolds of d above 3 are not tried.",
    ),
    Claim(
        name="havrilla2024/depth-accuracy",
        number="theorem 2, depth against accuracy",
        title="Blocks don't depend on the accuracy",
        kind=Kind.TIGHT,
        statement=r"The number of blocks stays the same when the grid is refined.",
        formula=lambda coarsest: coarsest,
        check=networks.depth_accuracy,
        code=(BUILD,),
        note=OURS,
    ),
    Claim(
        name="havrilla2024/tokens",
        number="theorem 2, tokens",
        title="Tokens and heads of order eps^(-d/beta)",
        kind=Kind.UPPER,
        statement=r"Tokens and heads of order $\epsilon^{-d/\beta}$ are enough for an error of $\epsilon$ in the root mean "
        r"square, to $0.1$ in the exponent.",
        assumptions=(HOELDER,),
        formula=lambda d, beta: d / beta,
        check=networks.tokens,
        code=(BUILD, "theory.manifold_rates.approximation_size"),
        note=RECALLED + "The theorem speaks of the largest error; what is measured is the root mean square over fresh points, "
        "against tokens and against heads. Powers over these grids are below the limit: the coarse cells are not yet on their "
        "line.",
    ),
    Claim(
        name="havrilla2024/token-count",
        number="derived here, on theorem 2",
        title="Tokens are at most a polynomial of degree d in the grid",
        kind=Kind.UPPER,
        statement=r"With $C$ charts in $R^D$ and $N$ cells an axis there are at most $1 + D + C (1 + d + d (N + 1) + (N + "
        r"1)^d)$ tokens.",
        formula=lambda d, ambient, charts, grid: 1 + ambient + charts * (1 + d + d * (grid + 1) + (grid + 1) ** d),
        check=networks.token_count,
        code=(BUILD,),
    ),
    Claim(
        name="havrilla2024/token-rows",
        number="theorem 2, embedding width",
        title="Five numbers a token are enough",
        kind=Kind.UPPER,
        statement=r"$d_{embd} = O(1)$: 5 rows a token, two of data, two that say which token it is, and a constant; "
        r"whatever $D$ and the grid, no head and no feed-forward network reads or writes another.",
        formula=lambda: 5,
        check=networks.widths,
        code=(HEADS + ".InteractionNetwork",),
        note="That it is constant is recalled of the paper, not checked against its text; the 5 are this construction's.",
    ),
    Claim(
        name="havrilla2024/feed-forward-width",
        number="theorem 2, feed-forward width",
        title="Two hidden layers of at most 11 units are enough",
        kind=Kind.UPPER,
        statement=r"$L_{FFN}, w_{FFN} = O(1)$: two hidden layers of 11 units at most.",
        formula=lambda: 11,
        check=networks.feed_forward,
        code=(HEADS + ".feed_forward",),
        note="That they are constant is recalled of the paper, not checked against its text; 7 to 10 units do in this "
        "construction, by the degree.",
    ),
    Claim(
        name="havrilla2024/weight-bound",
        number="derived here, on theorem 2",
        title="Weights are polynomial in the tokens",
        kind=Kind.TIGHT,
        statement=r"The largest weight grows as $l^{2 + 1/d}$ with the tokens, to $0.1$ in the exponent.",
        formula=lambda d: 2 + 1 / d,
        check=networks.weights,
        code=(HEADS + ".InteractionNetwork",),
        note="Routing takes M l^2, and the largest score M is that of a far point in units of a cell, which grows as N. "
        "That the bound on weights is polynomial is recalled of the paper; its power there is not known here.",
    ),
    Claim(
        name="havrilla2024/rate-circle",
        number="derived here, on theorem 2",
        title="Order 2 on a circle in R^8, smooth",
        kind=Kind.TIGHT,
        statement=r"Hats have an rms error of order $N^{-2}$ for a smooth function on a circle, to $0.1$ in the exponent.",
        formula=lambda beta, degree: min(beta, degree + 1),
        check=networks.circle_smooth,
        shares="havrilla2024 circles",
        code=(BUILD, "empirical.manifold_reach.reach_table"),
    ),
    Claim(
        name="havrilla2024/rate-rough",
        number="theorem 2, rate",
        title="Order beta on a circle in R^8, Weierstrass functions",
        kind=Kind.TIGHT,
        statement=r"Trapezoids have an rms error of order $N^{-\beta}$ for functions of Hoelder smoothness $\beta = 0.5$ "
        r"and $0.75$ exactly, to $0.1$ in the exponent.",
        assumptions=(HOELDER,),
        formula=lambda beta, degree: min(beta, degree + 1),
        check=networks.circle_rough,
        shares="havrilla2024 circles",
        code=(BUILD, "theory.manifolds.weierstrass_target"),
        note="The theorem speaks of the largest error; over few points that scatters more. On coarse grids slopes are "
        "steeper than promised: for beta = 0.5 the error falls as N^-0.58 over N = 16 to 256, which the tolerance has to allow, "
        "and as N^-0.512 over 256 to 2048 (1500 points).",
    ),
    Claim(
        name="havrilla2024/rate-surfaces",
        number="derived here, on theorem 2",
        title="Order 2 on surfaces, smooth",
        kind=Kind.TIGHT,
        statement=r"Hats have an rms error of order $N^{-2}$ for smooth functions on a sphere and a flat torus, to $0.15$.",
        formula=lambda beta, degree: min(beta, degree + 1),
        check=networks.surfaces,
        shares="havrilla2024 surfaces",
        code=(BUILD, "empirical.manifold_reach.reach_table"),
        note="The torus takes part from effort standard on, where there is a grid of 64.",
    ),
    Claim(
        name="havrilla2024/higher-degree-slope",
        number="derived here, beyond theorem 2",
        title="Local polynomials of degree m reach order m + 1",
        kind=Kind.TIGHT,
        statement=r"Local polynomials of degree $m = 2, 3, 4$ have an rms error of order $N^{-(m + 1)}$ for a smooth "
        r"function on a circle, to $0.5$ in the exponent.",
        formula=lambda beta, degree: min(beta, degree + 1),
        check=networks.higher_degrees,
        shares="havrilla2024 circles",
        code=(BUILD,),
        note="The theorem's smoothness of at most 1 is recalled; this is what its idea gives beyond, at 1 or 2 blocks more. "
        "The line wavers by some tenths from grid to grid, as nodes fall differently on the charts. Degree 4 takes part from "
        "effort standard on; higher ones, whose errors soon meet rounding, are not tried.",
    ),
    Claim(
        name="havrilla2024/ambient-dimension",
        number="derived here, on theorem 2",
        title="The ambient dimension doesn't count",
        kind=Kind.TIGHT,
        statement=r"A circle has the same error in $R^{50}$ as in $R^3$, to $10^{-6}$ of it.",
        formula=lambda: 1,
        check=networks.ambient,
        shares="havrilla2024 circles",
        code=(BUILD, "theory.manifolds.Embedded"),
        note="Of the approximation; tokens and weights grow with D.",
    ),
    Claim(
        name="havrilla2024/indicators",
        number="derived here, on the construction",
        title="Without indicators far sheets answer too",
        kind=Kind.LOWER,
        statement=r"On a circle, where the opposite arc projects onto the same coordinates, the rms error without "
        r"indicators is 10 times that with them, at least.",
        formula=lambda: 10,
        check=networks.indicator,
        shares="havrilla2024 circles",
        code=(BUILD,),
    ),
    Claim(
        name="havrilla2024/interaction-lemma",
        number="interaction lemma",
        title="One head makes one ordered pair of tokens speak",
        kind=Kind.UPPER,
        statement=r"A ReLU head adds $\mathrm{relu}(h_p^T W h_q)$ to one row of token $p$ and nothing anywhere else, to "
        r"$48 \cdot 2^{-52} l^2 M$ in float64, for $l$ tokens.",
        assumptions=("M is at least |h_i|^T |W| |h_j| over all pairs of tokens, for which no term of a score exceeds it",),
        formula=lambda length: 48 * 2.0**-52 * length**2,
        check=networks.interaction,
        code=(HEADS + ".interaction_head",),
        note=RECALLED + "Its proof is in positions and routing-enough. The bound is derived here: a score has at most 15 "
        "roundings of 2^-53 at the size of 4 C + M, C = 1.05 M/(1 - cos(pi/(2l))) < 0.9 M l^2 from l = 2 on (1.05 M at l = 1). "
        "It grows as l^2: 1.2e-7 M was seen at 20,000 tokens.",
    ),
    Claim(
        name="havrilla2024/positions",
        number="derived here, on the interaction lemma",
        title="Position rows know how far apart two tokens are",
        kind=Kind.TIGHT,
        statement=r"Rows $(\cos\frac{t \pi}{2l}, \sin\frac{t \pi}{2l})$ of tokens $s$ and $t$ have the inner product "
        r"$\cos\frac{(s - t)\pi}{2l}$.",
        formula=lambda distance, length: sympy.cos(distance * sympy.pi / (2 * length)),
        check=pieces.positions,
        code=(HEADS + ".position_rows",),
    ),
    Claim(
        name="havrilla2024/routing-enough",
        number="derived here, on the interaction lemma",
        title="The routing constant silences every other pair",
        kind=Kind.UPPER,
        statement=r"With $C = 1.05 M / (1 - \cos\frac{\pi}{2l})$ every other pair's score is below 0.",
        formula=lambda length: sympy.Rational(21, 20) / (1 - sympy.cos(sympy.pi / (2 * length))),
        check=pieces.routing_enough,
        code=(HEADS + ".interaction_head",),
    ),
    Claim(
        name="havrilla2024/routing-constant",
        number="derived here, on the interaction lemma",
        title="Routing by position needs weights of 0.81 M l^2",
        kind=Kind.LOWER,
        statement=r"A routing constant that silences neighbours with a score of $M$ is at least $M / (1 - "
        r"\cos\frac{\pi}{2l}) \ge 8 M l^2 / \pi^2$.",
        formula=lambda length: 8 * length**2 / (pi**2 if isinstance(length, float) else sympy.pi**2),
        check=pieces.routing_lower,
        code=(HEADS + ".InteractionNetwork",),
        note="Of this design, where a token is known by an angle in one quadrant; other codes of positions are not ruled out.",
    ),
    Claim(
        name="havrilla2024/signed-score",
        number="derived here, on the interaction lemma",
        title="Two heads write a score with its sign",
        kind=Kind.TIGHT,
        statement=r"$\mathrm{relu}(s) - \mathrm{relu}(-s) = s$; so that a pair of heads adds, copies and multiplies without "
        r"an error.",
        formula=lambda score: score,
        check=pieces.signed,
        code=(HEADS + ".HeadPairs",),
    ),
    Claim(
        name="havrilla2024/tree-depth",
        number="figure 7, depth",
        title="A product of d numbers in log2 d blocks",
        kind=Kind.TIGHT,
        statement=r"A tree of products of $d = 2, 4, 8, 16$ numbers has $\log_2 d$ blocks.",
        formula=lambda d: d.bit_length() - 1,
        check=networks.tree_depth,
        code=(HEADS + ".product_tree",),
    ),
    Claim(
        name="havrilla2024/tree-error",
        number="figure 7, exactness",
        title="Its products are exact but for rounding",
        kind=Kind.UPPER,
        statement=r"Its products of up to 16 numbers in $[-1.5, 1.5]$ are within $10^{-10}$, by dense attention in float64.",
        formula=lambda: 1e-10,
        check=networks.tree_error,
        code=(HEADS + ".product_tree",),
    ),
    Claim(
        name="havrilla2024/relu-depth",
        number="derived here, on the contrast with ReLU networks",
        title="ReLU networks of any width need depth for products",
        kind=Kind.LOWER,
        statement=r"A ReLU feed-forward network within $\epsilon$ of $x^2$ on $[0, 1]$ has $\frac12 \log_2 \frac{1}{8 "
        r"\epsilon}$ hidden layers at least.",
        formula=lambda error: Fraction(1, 2) * Fraction(str(float(sympy.log(1 / (8 * error), 2).evalf()))),
        check=pieces.relu_depth,
        note="The wording is ours: the paper isn't known to state it so. Without a word on the width it is wrong: one "
        "wide hidden layer comes as near as wanted. relu-depth-width is right.",
    ),
    Claim(
        name="havrilla2024/relu-depth-width",
        number="repairs relu-depth",
        title="ReLU networks of bounded width need depth for products",
        kind=Kind.LOWER,
        statement=r"Such a network of width $w$ has $\frac12 \log_{w + 1} \frac{1}{8 \epsilon}$ hidden layers at least: at "
        r"a fixed width depth grows as $\ln \frac1\epsilon$, that of ReLU attention doesn't.",
        assumptions=("w units at most in each hidden layer",),
        formula=lambda error, width: sympy.log(1 / (8 * error)) / (2 * sympy.log(width + 1)),
        check=pieces.relu_depth_width,
        repairs="havrilla2024/relu-depth",
        note="A lower bound by counting linear pieces, with relu-pieces for the error of each. What attention gains is a product "
        "without an error; the width of a network for a function grows in both.",
    ),
    Claim(
        name="havrilla2024/relu-pieces",
        number="derived here, on the contrast with ReLU networks",
        title="A line is off a square by h^2/8",
        kind=Kind.TIGHT,
        statement=r"Of $x^2$ on a stretch of length $h$ any line is off by $h^2/8$ somewhere.",
        formula=lambda length: length**2 / 8,
        check=pieces.relu_pieces,
    ),
    Claim(
        name="havrilla2024/chart-radius",
        number="theorem 2, radius of charts",
        title="Charts of a quarter of the reach are one-to-one",
        kind=Kind.LOWER,
        statement=r"The tangent projection is one-to-one on balls of a radius of a quarter of the reach, on spheres.",
        formula=lambda: Fraction(1, 4),
        check=pieces.chart_radius,
        code=("theory.manifolds.Charts",),
        note=RECALLED + "On spheres balls up to root 2 times the reach do, so that far fewer charts are needed.",
    ),
    Claim(
        name="havrilla2024/float32-copy",
        number="derived here, on numbers",
        title="What routing costs in float32",
        kind=Kind.UPPER,
        statement=r"One value, of size $M$ at most, copied by a pair of heads to another of $l = 2, \ldots, 1024$ tokens, "
        r"which hold nothing else, is off by $10 \cdot 2^{-23} M l^2$ at most in float32.",
        formula=lambda bound, length: 10 * 2.0**-23 * bound * length**2,
        check=networks.single_bound,
        code=(HEADS + ".InteractionNetwork",),
        note="Derived here: at most 18 roundings of 2^-24 at the size of C = 1.05 M/(1 - cos(pi/(2l))) and 12 at that of M, with "
        "C < 0.9 M l^2 and M < 0.28 C; only one of the two heads can be off at a time. Seen are up to 1.35 in place of the 10. "
        "Times every coefficient that comes later; in float64 it is nine orders less.",
    ),
    Claim(
        name="havrilla2024/float32-network",
        number="derived here, on numbers",
        title="In float32 rounding drowns the approximation",
        kind=Kind.LOWER,
        statement=r"At 145 tokens the rounding error of a network on a circle in float32 is larger than its approximation error.",
        least_effort=Effort.STANDARD,
        formula=lambda approximation: approximation,
        check=networks.single_network,
        code=(HEADS + ".InteractionPrecisionError",),
        note="So the construction is a statement on real numbers, or on float64 at modest sizes, not on formats that models "
        "run in.",
    ),
)
