"""The scaling runs that are kept ready: seconds, minutes on two cores, hours."""

from typing import Any

from empirical._scaling_run import Architecture, ScalingRun

WARMUP_SHARE = 0.1
"""Of a run's steps: a warm-up of one length would be over-long for small runs (Porian et al. 2024)."""
RATE_TIMES_WIDTH: dict[Architecture, float] = {"transformer": 0.256, "lstm": 6.144}
LEAST_RECURRENT_WIDTH = 48
"""LSTMs narrower than that have the rate of this width."""
SMALL_BATCH_TOKENS = 1 << 20
"""Runs on at most so many tokens have half the batch."""


def learning_rate(architecture: Architecture, embed_dim: int) -> float:
    """The largest learning rate of a model of that width: 0.256 / m for transformers, 6.144 / max(m, 48) for LSTMs.

    An untuned small run bends every exponent, so the rule was tried out on held-out loss, in factors of 2 (nats per token at each
    rate; * is the rule's):

        transformer  D 131k: m = 8: .016 2.818, .032* 2.819                         m = 32: .008* 2.653, .016 2.702
        transformer  D 131k: m = 96: .0027* 2.496, .0054 2.493
        transformer  D 524k: m = 8: .016 2.509, .032* 2.507                         m = 32: .004 2.317, .008* 2.300
        LSTM         D 262k: m = 24: .016 2.596, .032 2.362, .064 2.212, .128* 2.093
        LSTM         D 262k: m = 48: .016 2.311, .032 2.144, .064 1.986, .128* 1.921
        LSTM         D 262k: m = 96: .008 2.203, .016 2.056, .032 1.820, .064* 1.775

    Losses are one seed's, on 128 windows of the very files that runs report their loss on: differences of .02 say nothing. For
    transformers that is flat around the rule, and a rate that falls as 1/m is what Yang et al. 2021 derive for Adam. For LSTMs
    the loss still fell at the largest rate that was tried, so they may be under-tuned, the narrow ones most: compare their
    shapes, not their exponents. Beyond D = 524k nothing was tried.
    """
    if architecture == "lstm":
        return RATE_TIMES_WIDTH[architecture] / max(embed_dim, LEAST_RECURRENT_WIDTH)
    return RATE_TIMES_WIDTH[architecture] / embed_dim


def _run(architecture: Architecture, width: int, layers: int, heads: int, tokens: int, **others: Any) -> ScalingRun:
    sizes = {"context": 256, "batch_size": 2 if tokens <= SMALL_BATCH_TOKENS else 4, **others}
    steps = tokens // (sizes["batch_size"] * sizes["context"])
    rate = learning_rate(architecture, width)
    return ScalingRun(architecture, width, layers, heads, tokens, rate, warmup=round(WARMUP_SHARE * steps), **sizes)


def _smoke() -> tuple[ScalingRun, ...]:
    models: tuple[tuple[Architecture, int, int, int], ...] = (
        ("transformer", 8, 2, 1), ("transformer", 16, 2, 1), ("lstm", 16, 1, 0),
    )  # fmt: skip
    return tuple(_run(*model, tokens, context=32, validation_windows=64) for model in models for tokens in (4096, 8192))


QUICK_TRANSFORMERS = ((8, 2, 1), (16, 2, 1), (32, 2, 2), (56, 2, 2), (96, 2, 3))
"""Width, layers, heads."""
QUICK_RECURRENT = (24, 48, 96)
QUICK_TOKENS = tuple((1 << 17) << power for power in range(6))


def _quick() -> tuple[ScalingRun, ...]:
    grid = [_run("transformer", *size, tokens) for size in QUICK_TRANSFORMERS for tokens in QUICK_TOKENS]
    again = [_run("transformer", *size, tokens, seed=1) for size in QUICK_TRANSFORMERS[::2] for tokens in QUICK_TOKENS[:3]]
    recurrent = [_run("lstm", width, 1, 0, tokens) for width in QUICK_RECURRENT for tokens in QUICK_TOKENS[1::2]]
    return (*grid, *again, *recurrent)


def _paper() -> tuple[ScalingRun, ...]:
    tokens_seen = tuple((1 << 17) << power for power in range(7))
    sizes = (*QUICK_TRANSFORMERS, (160, 2, 5), (256, 2, 8))
    grid = [_run("transformer", *size, tokens, seed=seed) for size in sizes for tokens in tokens_seen for seed in (0, 1)]
    recurrent = [_run("lstm", width, 1, 0, tokens, seed=seed) for width in (*QUICK_RECURRENT, 192) for tokens in tokens_seen[1::2]
                 for seed in (0, 1)]  # fmt: skip
    return (*grid, *recurrent)


TIERS: dict[str, tuple[ScalingRun, ...]] = {"smoke": _smoke(), "quick": _quick(), "paper": _paper()}
"""Runs by tier; within one, each `name` is there once. All read bytes, each once, in windows of 256 (smoke: 32).

    smoke: two transformers and an LSTM on 4 and 8 thousand bytes, seconds; learns next to nothing, shows that everything works.
    quick: transformers of two layers and widths 8 to 96 (8 to 300 thousand weights in all, 1.8 to 224 thousand without the
        embeddings) on each of 131 thousand to 4.2 million bytes, nine of them with two seeds; LSTMs of widths 24, 48 and 96 on
        three of these. Depth is the same throughout, so that width is all that differs. Batches are of 512 bytes up to a million
        and of 1024 above: more in a small run costs it the steps that it needs.
    paper: widths up to 256 (2.2 million weights), 8.4 million bytes (the standard library has 11 million for training), two seeds
        each; hours. Neither paper's sizes, which no such text would feed: the same experiment as far as the text reaches.
"""
