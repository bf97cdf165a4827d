"""How the claims about transformers that follow a sequence encoder are checked: Theorems 1 and 3, and what they rest on."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations, product
from math import log
from typing import Any

import numpy as np
from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st

from constructions.distribution import DistributionConstruction, build
from headcount.claims.checks import enumerated, property_tested
from headcount.claims.claim import Case, Evidence, Inquiry, Method
from headcount.claims.dana2025 import _exact_transformer as exact
from headcount.claims.dana2025._encoder_checks import SEEDS, below, in_words, rounding, settled
from headcount.claims.dana2025._weights import one_head_cannot
from theory.divergence import EPS, EncoderFit, encoder_divergence
from theory.encoders import circle_code, definition_2_circle
from theory.strategies import distribution_tasks
from theory.tasks import AssociationTask, DistributionTask

# T_epsilon


def strictly_more(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for total, epsilon in product(range(1, 6), (Fraction(1, 2), Fraction(1, 10), Fraction(0))):
            fitting = sum(Fraction(count, total) > 1 - epsilon for count in range(total + 1))
            words = f"{total} equally likely sequences, epsilon = {epsilon}: counts that carry more than 1 - epsilon"
            yield Case(words, fitting, inquiry.formula())

    return enumerated(inquiry, cases(), Method.EXACT, "1 to 5 equally likely sequences, epsilon 1/2, 1/10, 0")


def at_least(inquiry: Inquiry) -> Evidence:
    def observe(task: DistributionTask, twentieths: int) -> Case:
        epsilon = Fraction(twentieths, 20)
        prior = task.prior.tolist() if task.num_sequences <= 6 else task.description
        return Case(
            f"{task.num_sequences} sequences, prior {prior}, epsilon = {epsilon}: T_epsilon", task.t_epsilon(epsilon),
            inquiry.formula(task.num_sequences, epsilon),
        )

    seen = property_tested(
        inquiry, observe, {"task": distribution_tasks(), "twentieths": st.integers(0, 20)},
        examples=inquiry.pick(80, 600, 6000), method=Method.EXACT, ranges="priors of all kinds, T0 1..16, epsilon 0, 1/20, .., 1",
    )
    return settled(seen, "all T0 carry 1 >= 1 - epsilon, and the k likeliest of T0 sequences carry at least k / T0, whatever "
    "the prior")


# Theorem 1


def given_features(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        # The readout matches the first sequence, with logits +-x / 2; the second one gets m times those.
        # epsilon is just above 1/4, so that T_epsilon is 1 by the paper's strict definition too
        first, second = fmpq(99, 100), fmpq(1, 10)
        x, y = (arb(p / (1 - p)).log() for p in (first, second))
        norm = float(((x**2 + y**2) / 2).sqrt().mid())
        for m in range(1, 13):
            cross = arb(1 - second) * m * x + (-m * x).exp().log1p()
            entropy = -(arb(second) * arb(second).log() + arb(1 - second) * arb(1 - second).log())
            formula = inquiry.formula(0.0, float(np.sqrt(1 + m * m)), 0.251, norm)
            yield Case(
                f"N = 2, S = 1, d = 1, no head, prior (3/4, 1/4), epsilon = .251, conditionals (.99, .01) and (.1, .9), "
                f"embeddings 1 and {m}, readout right on the first: divergence in nats",
                below(arb(fmpq(1, 4)) * (cross - entropy)), formula, 16 * EPS * abs(float(formula)),
            )

    note = (
        "d = N - 1, so the encoder's divergence is 0; kappa = sqrt(1 + m^2). With logits off by e the divergence grows by up to "
        "(softmax - pi).e, which for two tokens is sqrt(2) |e| times a probability: sqrt(1 + kappa^2) is less than sqrt(2) kappa."
    )
    return enumerated(inquiry, cases(), Method.BALL, "two sequences of one token, embeddings 1 and m = 1..12", note=note)


def built_models(inquiry: Inquiry) -> list[Evidence]:
    def observe(task: DistributionTask, dim: int, width: int, epsilon: Fraction, seed: int) -> Case | None:
        width = min(dim, width)
        encoder = encoder_divergence(task, dim, seed=seed, restarts=1, max_iterations=60)
        built = build(task, embed_dim=dim, head_dim=width, epsilon=epsilon, seed=seed, encoder=encoder)
        terms = built.terms
        if terms is None or not np.isfinite(built.divergence):
            return None  # sequences too alike for these heads
        sizes = f"d = {dim}, d_h = {width}, H = {built.num_heads}, epsilon = {epsilon}, seed {seed}"
        return Case(
            f"{in_words(task)}; {sizes}: divergence in nats", built.divergence,
            inquiry.formula(encoder.upper, terms.inverse_norm, float(epsilon), terms.logit_norm), _missed(built),
        )

    tasks = distribution_tasks(full_support=True, vocab_size=(2, 6), seq_len=(2, 3), num_sequences=(2, 16))
    shares = st.sampled_from([Fraction(0), Fraction(1, 20), Fraction(1, 4), Fraction(1, 2), Fraction(9, 10)])
    random = property_tested(
        inquiry, observe,
        {"task": tasks, "dim": st.integers(1, 5), "width": st.integers(1, 5), "epsilon": shares, "seed": st.integers(0, 9)},
        examples=inquiry.pick(40, 250, 3000),
        ranges="distributions of full support, N 2..6, S 2, 3, T0 2..16, d 1..5, epsilon 0 to 9/10",
    )
    return [given_features(inquiry), random]  # chosen features come nearer to the bound than random ones


def _missed(built: DistributionConstruction) -> float:
    """How far the model's float64 logits are from the exact solution's, in nats, and the rounding of that solution."""
    assert built.terms is not None
    size = sum(built.task.conditionals.shape) + built.model.embed_dim
    solution = 64 * EPS * size * built.terms.inverse_norm * (1 + built.terms.logit_norm)
    return built.gamma + solution + rounding(built.task, built.terms.logit_norm)


def exclusive_or(inquiry: Inquiry) -> Evidence:
    sequences = [(a, b, 0) for a in (0, 1) for b in (0, 1)]
    # A model that gives the likelier of two tokens at most 1/2 is at least so far from (3/4, 1/4); weighed by the prior 1/4.
    least = below((arb(fmpq(3, 4)) * arb(3).log() - arb(2).log()) / 4)

    def cases() -> Iterator[Case]:
        for labels in product((0, 1), repeat=4):
            rows = [[0.75, 0.25] if label == 0 else [0.25, 0.75] for label in labels]
            task = DistributionTask(np.array(sequences), rows)
            impossible = one_head_cannot(AssociationTask(np.array(sequences), np.array(labels), 2))
            pairs = zip(sequences, rows, strict=True)
            shown = ", ".join(f"{''.join(map(str, sequence))} -> {tuple(row)}" for sequence, row in pairs)
            yield Case(
                f"N = 2, {shown}, uniform prior; one head, d = d_h = 2: divergence in nats of any weights, at least",
                least if impossible else 0, inquiry.formula(task, 2),
            )

    note = (
        "The difference of the two logits times the softmax denominator is f(a) + g(b), so its signs are never those of an "
        "exclusive or: some sequence has its likelier token at 1/2 or less, and misses by 3/4 ln 3 - ln 2. Yet H d_h + d = 4 = "
        "T_0, and d >= N - 1 makes the encoders' infimum 0."
    )
    return enumerated(
        inquiry, cases(), Method.BALL, "000, 010, 100, 110 with 3/4 on one of two tokens, all 16 ways, all weights of one head",
        note=note,
    )


def exact_skip(inquiry: Inquiry) -> Evidence:
    def solved(vocab: int, dim: int, width: int, heads: int, seed: int) -> Case | None:
        total = heads * width + dim
        model = exact.drawn(vocab, 2, dim, heads, width, seed)
        rng = np.random.default_rng(seed)
        codes = rng.permutation(vocab * vocab)[:total]
        sequences = [divmod(int(code), vocab) for code in codes]
        targets = fmpq_mat([[int(x) for x in row] for row in rng.integers(-9, 10, (dim, total))])
        features = exact.stacked([model.last(sequences), *(model.head(head, sequences) for head in range(heads))])
        if features.det() == 0:
            return None
        readout = targets * features.inv()
        skip = exact.columns(readout, 0, dim)
        if skip.det() == 0:
            return None
        outputs = [
            skip.inv() * exact.columns(readout, dim + head * width, dim + (head + 1) * width) for head in range(heads)
        ]
        moved = exact.ExactTransformer(
            model.tokens, model.positions, model.scores, model.values, outputs, model.unembedding * skip
        )
        difference = moved.logits(sequences) - model.unembedding * targets
        largest = max(abs(Fraction(int(x.p), int(x.q))) for x in difference.entries())
        sizes = f"d = {dim}, d_h = {width}, H = {heads}, seed {seed}"
        return Case(f"{total} random pairs of {vocab} tokens, {sizes}: largest difference of a logit", largest, inquiry.formula())

    def cases() -> Iterator[Case]:
        for dim, width, heads, seed in product((2, 3), (1, 2), (0, 1, 2, 3), range(inquiry.pick(3, 12, 60))):
            case = solved(6, dim, width, heads, seed)
            if case is not None:
                yield case

    return enumerated(
        inquiry, cases(), Method.EXACT, "random pairs of 6 tokens, T0 = H d_h + d, d 2, 3, d_h 1, 2, H 0..3, exact softmax and "
        "solution",
        argument="with W_U B for W_U and B^-1 W_O^h for W_O^h the logits are W_U B (X_S + B^-1 sum_h W_O^h W_V^h A^h) = W_U E; "
        "embeddings and attention stay as they are, so that no limit is taken",
    )


# Footnote 8


def orthogonal_blocks(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for size in (1, 2, 3):
            for count, order in product(range(1, size + 1), permutations(range(size))):
                block = fmpq_mat([[int(order[row] == column) for column in range(count)] for row in range(count)])
                words = f"V the permutation matrix of {order}, P1 the first {count} of {size}: rank of P1 V P1^T"
                yield Case(words, int(block.rank()), inquiry.formula(count))

    note = "The swap comes up: one row of features (0, 1) on two sequences has these right singular vectors."
    return enumerated(inquiry, cases(), Method.EXACT, "permutation matrices of size 1 to 3", note=note)


def rank_of_columns(features: list[list[int]], likely: list[int]) -> int:
    """Exact rank of some columns of a table of whole numbers."""
    return int(fmpq_mat([[row[column] for column in likely] for row in features]).rank())


def independent_columns(inquiry: Inquiry) -> Evidence:
    def observe(count: int, more: int, seed: int) -> Case | None:
        features = np.random.default_rng(seed).integers(-1, 2, (count, count + more)).tolist()
        table = fmpq_mat(features)
        if table.rank() < count:
            return None
        likely = list(range(count))
        # V V^T, without square roots: the projection onto the rows. Its block B B^T has the rank of B = P1 V P1^T.
        projection = table.transpose() * (table * table.transpose()).inv() * table
        block = fmpq_mat([row[:count] for row in projection.tolist()[:count]])
        words = f"features {features} (rows over {count + more} sequences), the first {count} likely: rank of P1 V P1^T"
        return Case(words, int(block.rank()), inquiry.formula(features, likely))

    seen = property_tested(
        inquiry, observe, {"count": st.integers(1, 4), "more": st.integers(0, 4), "seed": SEEDS},
        examples=inquiry.pick(80, 600, 6000), method=Method.EXACT,
        ranges="features with entries -1, 0, 1, 1 to 4 independent rows, up to 8 sequences",
    )
    return settled(
        seen, "with F = U S V^T and U S invertible, the likely columns of F are U S times the likely rows of V, so both have "
        "one rank"
    )


# Definition 2, Lemma 4, Theorem 3


def no_full_support(inquiry: Inquiry) -> Evidence:
    def observe(weights: list[int], seed: int) -> Case:
        exponents = np.random.default_rng(seed).integers(-8, 9, len(weights)).tolist()
        parts = [Fraction(2) ** power for power in exponents]
        ratios = [Fraction(w, sum(weights)) / (part / sum(parts)) for w, part in zip(weights, parts, strict=True)]
        words = f"pi proportional to {weights}, logits ln 2 times {exponents}: least pi / softmax"
        return Case(words, min(ratios), inquiry.formula())

    seen = property_tested(
        inquiry, observe, {"weights": st.lists(st.integers(1, 20), min_size=2, max_size=6), "seed": SEEDS},
        examples=inquiry.pick(80, 500, 5000), method=Method.EXACT, ranges="rational distributions and models, N 2..6",
    )
    return settled(seen, "pi and the softmax both sum to 1 over the same tokens, so that pi can't exceed the softmax at each "
    "of them")


def two_token_gap(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for inverse, tenths in product((1, 2, 4), (5, 1)):
            delta, constant = fmpq(tenths, 10), fmpq(1, inverse)
            sure = (-arb(constant * delta)).exp()  # the sure token's probability, ln(1 / p) = c delta
            gap = (sure / (1 - sure)).log()
            formula = inquiry.formula(tenths / 10, 1 / inverse, 1.0, 1)
            yield Case(
                f"N = 2, pi = (1, 0), softmax (p, 1 - p) with ln(1 / p) = c delta, c = {constant}, alpha = 1, delta = {delta}: "
                f"gap of the "
                "two logits", below(gap), formula, 16 * EPS * (1 + abs(float(formula))) / (tenths / 10 / inverse),
            )

    return enumerated(inquiry, cases(), Method.BALL, "two tokens, c in 1, 1/2, 1/4, delta in 1/2, 1/10")


def whole_spread(inquiry: Inquiry) -> Evidence:
    """Two tokens off the support, of which one has next to no mass; larger and larger constants."""
    def cases() -> Iterator[Case]:
        for constant in (1, 10, 100, 1000):
            for delta in (fmpq(1, 2), fmpq(1, 10)):
                # ln(pi / softmax) is delta exactly, as Definition 2 wants it with c = 1 and alpha = 1.
                eta = arb(delta) ** (2 * constant)
                spread = below(-arb(delta) - eta.log())
                yield Case(
                    f"N = 3, pi = (1, 0, 0), softmax (e^-delta, 1 - e^-delta - eta, eta), delta = {delta}, eta = "
                    f"delta^{2 * constant}, K = {constant}: spread", spread, inquiry.formula(constant, float(delta)),
                )

    return enumerated(inquiry, cases(), Method.BALL, "three tokens, delta 1/2 and 1/10, K 1 to 1000")


def gaps(inquiry: Inquiry) -> Evidence:
    def observe(task: DistributionTask, seed: int, delta: float, constant: float, exponent: float) -> Case | None:
        seen = task.conditionals > 0
        row = int(np.argmax((~seen).sum(axis=1)))
        outside = int((~seen[row]).sum())
        if not outside:
            return None
        rng, least = np.random.default_rng(seed), constant * delta**exponent
        models = task.conditionals[row] * np.exp(-rng.uniform(least, delta, task.vocab_size) if seed else -least)
        shares = rng.dirichlet(np.full(outside, 0.5)) if seed else np.full(outside, 1 / outside)
        models[~seen[row]] = np.maximum((1 - models.sum()) * shares, 1e-300)
        logits = np.log(models)
        gap = float(logits[seen[row]].max() - logits[~seen[row]].max())
        formula = inquiry.formula(delta, constant, exponent, outside)
        return Case(
            f"pi = {task.conditionals[row].tolist()}, softmax {models.tolist()}, c = {constant}, alpha = {exponent}, delta = "
            f"{delta!r}: gap",
            gap, formula, 64 * EPS * task.vocab_size / least,
        )

    drawn_from: dict[str, Any] = {
        "task": distribution_tasks(full_support=False), "seed": SEEDS, "delta": st.floats(0.01, 1),
        "constant": st.sampled_from([1.0, 0.5, 1 / 3]), "exponent": st.sampled_from([1.0, 2.0]),
    }
    return property_tested(
        inquiry, observe, drawn_from, examples=inquiry.pick(80, 500, 5000),
        ranges="distributions without full support, N 2..6, softmaxes within Definition 2, c 1, 1/2, 1/3, alpha 1, 2, delta "
        "0.01..1",
    )


def theorem_3_constant(inverse_norm: float, num_sequences: int, vocab_size: int) -> float:
    """What divergence / (epsilon ln(1 / epsilon)) stays below for circle encoders with delta = epsilon <= 1 / e.

    From the repaired Theorem 1 with |W E|_2 <= scale sqrt(T0 N) and scale <= (ln(N - 1) + ln(1 / epsilon)) / (1 - cos(2 pi / N)).
    """
    margin = 2 * float(np.sin(np.pi / vocab_size)) ** 2
    slope = float(np.sqrt(2 * num_sequences * vocab_size)) * (1 + log(max(1, vocab_size - 1))) / margin
    return 1 + inverse_norm * slope


def slow_growth(inquiry: Inquiry) -> Evidence:
    def cases() -> Iterator[Case]:
        for vocab, seed in product((3, 5), range(inquiry.pick(2, 6, 40))):
            table = AssociationTask.random(vocab, 2, 8, seed)
            inverse_norm = None
            for power in range(1, 7):
                epsilon = Fraction(1, 10**power)
                built = _sure_but_for(table, 5, epsilon, seed)
                if built.terms is None or len(built.likely) != 5:
                    continue
                inverse_norm = inverse_norm or built.terms.inverse_norm  # of the first epsilon, for all of them
                unit = float(epsilon) * log(1 / epsilon)
                words = (
                    f"N = {vocab}, 8 random pairs of seed {seed} with sure labels, 5 of them with the prior 1 - epsilon / 2, d "
                    f"= d_h = 2, H = {built.num_heads}, circle encoder with delta = epsilon = {epsilon}: divergence / (epsilon "
                    f"ln 1 / epsilon)"
                )
                yield Case(words, built.divergence / unit, inquiry.formula(inverse_norm, 8, vocab), _missed(built) / unit)

    return enumerated(
        inquiry, cases(), Method.PROPERTY, "sure labels, the circle's encoders as Definition 2 wants them, epsilon 1/10 to 1e-6",
        note="The constant depends on the features of the likely sequences, so on the task; it doesn't grow as epsilon falls.",
    )


def _sure_but_for(table: AssociationTask, count: int, epsilon: Fraction, seed: int) -> DistributionConstruction:
    """A model that follows the circle's encoder for delta = epsilon on the first `count` sequences, all likely."""
    total, tokens, share = table.num_associations, table.vocab_size, float(epsilon)
    prior = np.full(total, share / 2 / (total - count))
    prior[:count] = (1 - share / 2) / count
    task = DistributionTask(table.sequences, np.eye(tokens)[table.targets], prior)
    logits = definition_2_circle(table.targets, tokens, share)
    code = circle_code(tokens)
    scale = float(np.ptp(logits[0])) / float(np.ptp(code[:, 0]))
    encoder = EncoderFit(code, scale * code[table.targets], task.divergence(logits), 0.0, 0.0, False, "the circle")
    return build(task, embed_dim=2, head_dim=2, epsilon=epsilon, seed=seed, encoder=encoder)
