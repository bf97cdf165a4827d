"""The training runs of hop_k that are kept ready: seconds, minutes, and the paper's own."""

from empirical._hop_run import HopRun
from theory.hops import PAPER_TASK, HopTask

SMOKE_TASK = HopTask(vocab_size=3, seq_len=10, min_hops=0, max_hops=2)
QUICK_TASK = HopTask(vocab_size=3, seq_len=32, min_hops=0, max_hops=10)


def _smoke() -> tuple[HopRun, ...]:
    return tuple(
        HopRun(SMOKE_TASK, 16, 2, layers, steps=64, batch_size=8, learning_rate=3e-3, warmup=8, dropout=0.1) for layers in (2, 3)
    )


def _quick() -> tuple[HopRun, ...]:
    return tuple(
        HopRun(QUICK_TASK, 64, 4, layers, steps=5000, learning_rate=2e-3, warmup=300, dropout=0.0, seed=seed)
        for layers in (2, 3, 4)
        for seed in (0, 1)
    )


def _published(num_heads: int, num_layers: int, train_samples: int | None = None) -> HopRun:
    return HopRun(
        PAPER_TASK, 32 * num_heads, num_heads, num_layers, train_samples=train_samples, embed_tokens=30, embed_positions=100
    )


def _paper() -> tuple[HopRun, ...]:
    depths = range(2, 7)
    fresh = tuple(_published(heads, depth) for heads in (4, 8) for depth in depths)
    return fresh + tuple(_published(4, depth, samples) for samples in (1000, 3000) for depth in depths)


TIERS: dict[str, tuple[HopRun, ...]] = {"smoke": _smoke(), "quick": _quick(), "paper": _paper()}
"""Runs by tier; within one, each `name` is there once.

    smoke: depths 2 and 3, seconds; learns next to nothing, shows that everything works.
    quick: depths 2, 3, 4, two seeds each, minutes on two cores. Not the paper's experiment but a small relative of it: three
        symbols instead of four, strings of 32 instead of 98, up to 10 hops instead of 16, heads of 16 instead of 32 in a width
        of 64, 5000 steps instead of 100,000 at twenty times the learning rate, 300 of warm-up, and no dropout. On strings so
        short and so repetitive the largest k that a depth learns need not be that of the paper's models; that it grows with
        depth shows.
    paper: depths 2 to 6 with 4 heads in width 128 and 8 heads in width 256 on new strings in every step, and with 4 heads on 1000
        and 3000 fixed ones; sizes and schedule of the paper, 100,000 steps each (for a GPU). Weights, strings and dropout are our
        own draws from the same distributions.
"""
