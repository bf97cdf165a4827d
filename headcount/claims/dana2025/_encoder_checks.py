"""How the claims about sequence encoders are checked: what some encoder reaches, and what none of a width does better than.

Divergences come from weights and logits, bounds from the claims' formulas. Where both are floats, the tolerance bounds the
rounding of the two.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import log
from typing import Any

import numpy as np
import torch
from flint import arb, ctx, fmpq_mat
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer
from constructions.distribution import build
from headcount.claims.checks import Tally, enumerated, property_tested
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.dana2025._exact_transformer import drawn
from theory.divergence import (
    EPS,
    divergence_lower_bound,
    encoder_divergence,
    exact_centred_rank,
    proposition_2_exponents,
    proposition_2_witness,
)
from theory.encoders import jl_constant, largest_deviation, low_coherence_code, proposition_3_witness, theorem_2
from theory.strategies import association_tasks, distribution_tasks
from theory.tasks import DistributionTask

SEEDS = st.integers(0, 999)


def below(ball: arb) -> Fraction:
    """The lower end of a ball, exactly."""
    end = ball.lower().mid().man_exp()
    return Fraction(int(end[0])) * Fraction(2) ** int(end[1])


def above(ball: arb) -> Fraction:
    """The upper end of a ball, exactly."""
    return -below(-ball)


def rounding(task: DistributionTask, spread: float) -> float:
    """Bounds the rounding of a divergence from logits of this spread: each logarithm misses by a few units of its size."""
    return 64 * EPS * task.vocab_size * (1 + spread)


def settled(evidence: Evidence, argument: str) -> Evidence:
    """The same evidence with the argument that carries to all cases, unless there is a counterexample."""
    if evidence.counterexample is not None or not evidence.num_cases:
        return evidence
    return replace(evidence, complete=True, argument=argument)


def in_words(task: DistributionTask) -> str:
    """A task that can be drawn again: its conditionals in full where they are few."""
    return repr(task) if task.conditionals.size <= 12 else f"{task.num_sequences} sequences, N = {task.vocab_size}, "
    f"{task.description}"


# Propositions 1, 2 and 3


def _random_model(task: DistributionTask, dim: int, heads: int, width: int, seed: int) -> AttentionOnlyTransformer:
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, dim, heads, width)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(0.5 * torch.randn(weights.shape, generator=chance, dtype=torch.float64))
    return model


def no_better_than_encoders(inquiry: Inquiry) -> list[Evidence]:
    def observe(task: DistributionTask, dim: int, width: int, heads: int, seed: int, solved: bool) -> Case | None:
        width = min(dim, width)
        how = "random weights"
        model = _random_model(task, dim, heads, width, seed)
        if solved:
            encoder = encoder_divergence(task, dim, seed=seed, restarts=1, max_iterations=40)
            model, how = build(task, embed_dim=dim, head_dim=width, seed=seed, encoder=encoder).model, "weights solved for"
        with torch.no_grad():
            logits = model(torch.from_numpy(np.array(task.sequences))).numpy()
        if not np.isfinite(logits).all():
            return None  # weights solved for, beyond float64
        sizes = f"d = {dim}, d_h = {width}, H = {model.num_heads}, seed {seed}"
        return Case(
            f"{in_words(task)}; {sizes}, {how}: divergence in nats", task.divergence(logits), inquiry.formula(task, dim),
            rounding(task, float(np.ptp(logits, axis=1).max())),
        )

    tasks = distribution_tasks(full_support=True, vocab_size=(3, 6), seq_len=(2, 3), num_sequences=(2, 10))
    drawn_from = {
        "task": tasks, "dim": st.integers(1, 4), "width": st.integers(1, 4), "heads": st.integers(0, 4), "seed": SEEDS,
        "solved": st.booleans(),
    }
    floats = property_tested(
        inquiry, observe, drawn_from, examples=inquiry.pick(18, 150, 3000),
        ranges="distributions of full support, N 3..6, T0 2..10, d 1..4, random weights and weights solved for the best "
        "encoder found",
    )

    def ranks() -> Iterator[Case]:
        for vocab, dim, heads, seed in product((3, 4, 5), (1, 2, 3), (0, 1, 3), range(inquiry.pick(1, 4, 20))):
            model = drawn(vocab, 2, dim, heads, 1 + seed % dim, seed)
            logits = model.logits(list(product(range(vocab), repeat=2)))
            yield Case(
                f"all {vocab}^2 pairs, whole-number weights, d = {dim}, H = {heads}, seed {seed}: d against the rank of the "
                f"logits",
                dim, int(logits.rank()),
            )

    exact = enumerated(
        inquiry, ranks(), Method.EXACT, "all pairs of N tokens, N 3..5, d 1..3, H 0, 1, 3, exact softmax",
        argument="the logits are W_U times a vector of R^d per sequence, a table of rank at most d whatever the weights, which "
        "is what a sequence encoder is; an infimum over more of them is not larger",
    )
    return [floats, exact]


def _dyadic(vocab_size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """log2 of distributions made by halving a random probability until there are N, each row in random order."""
    rows = []
    for _ in range(count):
        row = [0]
        while len(row) < vocab_size:
            place = int(rng.integers(len(row)))
            row[place] -= 1
            row.append(row[place])
        rows.append(rng.permutation(row))
    return np.array(rows, dtype=np.int64)


def width_that_suffices(inquiry: Inquiry) -> list[Evidence]:
    def centring() -> Iterator[Case]:
        for vocab in range(2, inquiry.pick(16, 40, 120)):
            matrix = fmpq_mat([[vocab * (i == j) - 1 for j in range(vocab)] for i in range(vocab)])
            yield Case(f"N = {vocab}: dimension of all centred rows of logits", int(matrix.rank()), inquiry.formula(vocab))

    def tables(vocab: int, count: int, seed: int) -> Case:
        exponents = _dyadic(vocab, count, np.random.default_rng(seed))
        words = f"{count} random dyadic distributions of {vocab} tokens, seed {seed}: least width with divergence 0"
        return Case(words, exact_centred_rank(exponents), inquiry.formula(vocab))

    needed = enumerated(
        inquiry, centring(), Method.EXACT, "the centring matrix of N tokens",
        argument="rows of logits count up to a constant, and rows of sum 0 form the image of I - 11^T / N, a projection of "
        "trace N - 1 for every N; so every table of log-probabilities has the form W E with width N - 1. Zeros are a limit: "
        "mixing in a share s of the uniform distribution costs at most -ln(1 - s)",
    )
    drawn_from = {"vocab": st.integers(2, 9), "count": st.integers(1, 14), "seed": SEEDS}
    seen = property_tested(
        inquiry, tables, drawn_from, examples=inquiry.pick(60, 400, 4000), method=Method.EXACT,
        ranges="random dyadic distributions, N 2..9, T0 1..14, exact ranks",
    )
    return [needed, seen]


def width_that_is_needed(inquiry: Inquiry) -> list[Evidence]:
    def ranks() -> Iterator[Case]:
        for vocab in range(3, inquiry.pick(20, 50, 150)):
            exponents = proposition_2_exponents(vocab)
            words = f"N = {vocab}, the shifts of (1/2, 1/4, ..) by 0 to {vocab - 2}: least width with divergence 0"
            yield Case(words, exact_centred_rank(exponents), inquiry.formula(vocab))

    def bounds() -> Iterator[Case]:
        for vocab in range(3, inquiry.pick(9, 12, 15)):
            task = proposition_2_witness(vocab)
            positive = [divergence_lower_bound(task, width) for width in range(1, vocab)]
            largest = max((width for width, bound in enumerate(positive, 1) if bound > 0), default=0)
            least = f"; at width {largest} at least {positive[largest - 1]:.2g} nats" if largest else ""
            words = f"N = {vocab}, the same distributions{least}: least width without a positive lower bound"
            yield Case(words, largest + 1, inquiry.formula(vocab))

    exact = enumerated(
        inquiry, ranks(), Method.EXACT, "cyclic shifts of (1/2, 1/4, .., 2^-(N-1), 2^-(N-1))",
        argument="the log-probabilities of all N shifts are a circulant table whose eigenvalues N / (w - 1) - 1 / w at the "
        "N-th roots of unity w other than 1 vanish for no N >= 3 (|1 - 1/w| = N is impossible), so its centred rank is N - 1 "
        "for every N; the infimum over encoders is attained (Lemma 1), and at 0 it would need logits of that rank. For N = 2 "
        "there is no d < N - 1",
    )
    floats = enumerated(inquiry, bounds(), Method.PROPERTY, "the same distributions, lower bounds in nats for every smaller "
    "width")
    return [exact, floats]


def circle(inquiry: Inquiry) -> list[Evidence]:
    def balls() -> Iterator[Case]:
        # The worst case is every case: by symmetry all labels have the same divergence.
        for vocab, scale in product(range(2, inquiry.pick(12, 40, 200)), (0, 1, 10, 100)):
            with ctx.workprec(400):  # at scale 100 the divergence is down to 1e-87
                others = [(-arb(scale) * (1 - (2 * arb(k) / vocab).cos_pi())).exp() for k in range(1, vocab)]
                divergence = above(sum(others, arb(0)).log1p())
            formula = inquiry.formula(vocab, float(scale))
            yield Case(
                f"N = {vocab}, circle code, E(t) = {scale} times the label's point: divergence in nats", divergence, formula,
                16 * EPS * (1 + 2 * scale) * abs(float(formula)),
            )

    def observe(task: Any, scale: float) -> Case:
        sure = DistributionTask.from_associations(task)
        code, encodings = proposition_3_witness(task.targets, task.vocab_size, scale)
        return Case(
            f"N = {task.vocab_size}, labels {task.targets.tolist()}, scale {scale!r}: divergence in nats",
            sure.divergence(encodings @ code.T), inquiry.formula(task.vocab_size, scale), rounding(sure, 2 * scale),
        )

    exact = enumerated(
        inquiry, balls(), Method.BALL, "circle code, scales 0, 1, 10, 100",
        argument="the logit of the k-th neighbour lies scale (1 - cos(2 pi k / N)) below the label's, for k = 1..N-1 never "
        "less than scale (1 - cos(2 pi / N)); so the bound holds for every N, labels and scale, and it falls to 0 as the scale "
        "grows",
    )
    floats = property_tested(
        inquiry, observe, {"task": association_tasks(vocab_size=(2, 12)), "scale": st.floats(0, 200)},
        examples=inquiry.pick(60, 400, 4000), ranges="association tasks of all families, N 2..12, scales 0..200, float64",
    )
    return [exact, floats]


# Lemmas 1 and 3


def spreads(inquiry: Inquiry) -> Evidence:
    def observe(task: DistributionTask, size: float, seed: int) -> Case:
        logits = size * np.random.default_rng(seed).standard_normal(task.conditionals.shape)
        divergence = task.divergence(logits)
        found = np.ptp(logits, axis=1)
        cases = [
            Case(
                f"{in_words(task)}; normal logits of size {size!r}, seed {seed}: spread of row {row}", float(found[row]), bound,
                1e-9 * abs(bound),  # relative rounding of divergence, entropy and their sum is far below
            )
            for row in range(task.num_sequences)
            for bound in [float(inquiry.formula(task, divergence, row))]
        ]
        return min(cases, key=lambda case: case.slack(inquiry.claim.comparison))

    return property_tested(
        inquiry, observe, {"task": distribution_tasks(full_support=True), "size": st.floats(0.01, 50), "seed": SEEDS},
        examples=inquiry.pick(60, 500, 5000), ranges="distributions of full support, N 2..6, T0 1..16, random logits, every "
        "sequence",
    )


def independent_reals(count: int) -> list[arb]:
    """e^sqrt(2), e^sqrt(3), e^sqrt(5) at the working precision."""
    return [arb(prime).sqrt().exp() for prime in (2, 3, 5)[:count]]


def _vanishes(terms: dict[tuple[int, ...], int]) -> bool:
    """Whether a polynomial, coefficients by exponents, can't be told from 0 even with 4,000 bits."""
    for precision in (128, 4000):
        with ctx.workprec(precision):
            point = independent_reals(3)
            total = arb(0)
            for exponents, coefficient in terms.items():
                term = arb(coefficient)
                for x, power in zip(point, exponents, strict=False):
                    term *= x**power
                total += term
            if 0 not in total:
                return False
    return True


def polynomials(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        monomials: list[tuple[int, ...]] = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
        largest = inquiry.pick(1, 2, 3)
        coefficients = sorted(product(range(-largest, largest + 1), repeat=6), key=lambda row: sum(map(abs, row)))
        # Up to the sign, and without 0 itself.
        listed = [dict(zip(monomials, row, strict=True)) for row in coefficients if next((c for c in row if c), -1) > 0]
        rng = np.random.default_rng(inquiry.seed)
        for _ in range(inquiry.pick(200, 1000, 10000)):
            powers = rng.integers(0, 5, (5, 3)).tolist()
            listed.append({tuple(row): int(rng.integers(1, 100)) * int(rng.choice([-1, 1])) for row in powers})
        for terms in listed:
            shown = ", ".join(f"{coefficient} x^{exponents}" for exponents, coefficient in terms.items() if coefficient)
            words = f"polynomial with the terms {shown}: 1 if it can't be told from 0"
            yield Case(words, int(_vanishes(terms)), inquiry.formula())

    return enumerated(
        inquiry, cases(), Method.BALL, "all polynomials of degree 2 in two of e^sqrt(2), e^sqrt(3), e^sqrt(5) with small "
        "coefficients, and random ones in all three",
    )


# Theorem 2


def theorem_2_bound_at(task: DistributionTask, code: np.ndarray, coherence: float) -> float:
    """The printed bound of Theorem 2 for another C than the code's own: nats."""
    found = theorem_2(task, code)
    own = found.coherence
    plain = found.sharp * (1 - 2 * own)
    variation = (found.printed * (1 - 2 * own) - (1 + 2 * own) * plain) / own if own else 0.0
    return ((1 + 2 * coherence) * plain + coherence * variation) / (1 - 2 * coherence)


def _code_case(inquiry: Inquiry, task: DistributionTask, code: np.ndarray, words: str, *more: float) -> Case:
    formula = inquiry.formula(task, code, *more)
    # Scales carry a few roundings of logarithms up to 40; sums have one term per token.
    tolerance = 64 * EPS * task.vocab_size * 40 * (1 + abs(float(formula)) / max(1e-3, largest_deviation(code)))
    return Case(f"{in_words(task)}; {words}: divergence in nats", theorem_2(task, code).divergence, formula, tolerance)


def codes(inquiry: Inquiry) -> list[Evidence]:
    def observe(task: DistributionTask, spread: float, seed: int) -> Case | None:
        tokens = task.vocab_size
        noise = np.random.default_rng(seed).standard_normal((tokens, tokens))
        code = np.eye(tokens) + spread * noise / np.sqrt(tokens)
        if not largest_deviation(code) < 0.499:
            return None
        words = f"code I + {spread!r} normal noise / sqrt(N), seed {seed}, C = {largest_deviation(code):.3g}"
        return _code_case(inquiry, task, code, words)

    def nearest() -> Iterator[Case]:
        # All rivals of the likeliest token at C but for the one that may follow, at -C: what the factor 1 / (1 - 2C) is made for.
        for worst, power in product((0.1, 0.3, 0.45), (2, 4, 8)):
            tokens = 12
            code = np.zeros((tokens, tokens + 1))
            code[:, 0] = np.sqrt(worst)
            code[1, 0] = -code[1, 0]
            code[np.arange(tokens), np.arange(1, tokens + 1)] = np.sqrt(1 - worst)
            code[0, 1] = np.sqrt(1 - 2 * worst)
            row = [1 - 10.0**-power, 10.0**-power] + [0.0] * (tokens - 2)
            task = DistributionTask([[0]], [row], None, f"pi = (1 - 1e-{power}, 1e-{power}, 0, ..)")
            words = f"W_0 = (sqrt C, sqrt(1 - 2C)), W_1 = (-sqrt C, sqrt(1 - C)), others (sqrt C, sqrt(1 - C)), C = {worst}"
            yield _code_case(inquiry, task, code, f"{words}, second entries on axes of their own")

    drawn_from = {"task": distribution_tasks(vocab_size=(2, 7)), "spread": st.floats(0, 0.35), "seed": st.integers(0, 50)}
    chosen = enumerated(inquiry, nearest(), Method.PROPERTY, "codes of 12 tokens chosen to come near the bound, C 0.1, 0.3, 0.45")
    random = property_tested(
        inquiry, observe, drawn_from, examples=inquiry.pick(100, 500, 8000),
        ranges="all kinds of distributions, N 2..7, codes of coherence below 1/2, lengths not 1",
    )
    return [chosen, random]


def random_codes_bound(inquiry: Inquiry) -> Evidence:
    def observe(task: DistributionTask, more: int, seed: int) -> Case | None:
        dim = int(128 * log(task.vocab_size + 1)) + 1 + more
        code = low_coherence_code(task.vocab_size, dim, seed, steps=0)
        worst = jl_constant(task.vocab_size, dim)
        if not largest_deviation(code) <= worst:
            return None  # one of the few draws that the lemma of Johnson and Lindenstrauss leaves out
        return _code_case(inquiry, task, code, f"random unit code of seed {seed} in d = {dim}", worst)

    return property_tested(
        inquiry, observe, {"task": distribution_tasks(vocab_size=(2, 8)), "more": st.integers(0, 300), "seed": SEEDS},
        examples=inquiry.pick(60, 400, 4000), ranges="all kinds of distributions, N 2..8, d above 128 ln(N + 1) by 1 to 301",
    )


def random_coherence(inquiry: Inquiry) -> Evidence:
    def observe(tokens: int, dim: int, seed: int) -> Case:
        code = low_coherence_code(tokens, dim, seed, steps=0)
        words = f"random unit code of {tokens} tokens in d = {dim}, seed {seed}: coherence"
        return Case(words, largest_deviation(code), inquiry.formula(tokens, dim), 8 * EPS * dim)

    return property_tested(
        inquiry, observe, {"tokens": st.integers(2, 60), "dim": st.integers(132, 800), "seed": SEEDS},
        examples=inquiry.pick(100, 1000, 10000), ranges="N 2..60, d 132..800, where C <= 1",
    )


def least_useful_vocabulary(inquiry: Inquiry) -> Evidence:
    def useful(vocab: int) -> bool:
        return bool(128 * arb(vocab + 1).log() < vocab - 2)  # sure: False also where the ball can't tell

    found = next(vocab for vocab in range(3, 10000) if useful(vocab))
    sure = all(bool(128 * arb(vocab + 1).log() > vocab - 2) for vocab in range(2, found))
    if not sure:
        raise ArithmeticError("a vocabulary below the one found can't be told apart")
    tally = Tally(inquiry)
    tally.see(Case("least N with C < 1/2 at some width d <= N - 2", found, inquiry.formula()))
    return tally.evidence(
        Method.BALL, "all vocabularies in turn",
        argument="C decreases with d, so the widest d = N - 2 decides; all N below were tried",
    )


