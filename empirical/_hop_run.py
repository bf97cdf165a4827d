"""The settings of one training run on hop_k: checked once, written as JSON, read back with suspicion."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from empirical.decoder import Decoder, checked_rate, checked_share
from theory.hops import HopTask
from theory.shapes import checked_integer

MOST_WEIGHTS = 1 << 30
"""Of one model: 4 GiB, three times that with the optimiser's moments."""


@dataclass(frozen=True)
class HopRun:
    """One model and how it is trained; with `seed` it determines the trained weights, bit for bit on one machine.

    The loss is the cross-entropy, in nats, at all positions, those whose target is the blank or the missing token included. The
    optimiser is AdamW (betas 0.9 and 0.999, all weights decay). The learning rate rises linearly over the first `warmup` steps
    and then falls linearly to 0.

    Attributes:
        task: strings (without adjacent repeats), range of k, tokens.
        embed_dim: m, at least task.num_tokens.
        num_heads: H per layer.
        num_layers: L.
        steps: optimiser steps, >= 1.
        batch_size: strings per step.
        learning_rate: the largest, reached at the end of the warm-up.
        warmup: steps, from 0 to `steps`.
        weight_decay: of AdamW, >= 0.
        dropout: share in [0, 1), in training only.
        train_samples: None: new strings in every step. A number: a fixed set of so many, at least one batch, read again and again
            in whole batches in one order (1000 at 32 a batch: 31 batches, 992 strings).
        seed: of weights, strings and dropout.
        looped: layers from the third on share their weights.
        embed_tokens: rows of the token embedding where they are more than tokens.
        embed_positions: rows of the position embedding where they are more than positions.

    Raises ValueError for anything else.
    Source: Sanford, Hsu and Telgarsky 2024, appendix G.1; the defaults are theirs (they say Adam; their code decays weights).
    """

    task: HopTask
    embed_dim: int
    num_heads: int
    num_layers: int
    steps: int = 100_000
    batch_size: int = 32
    learning_rate: float | int = 1e-4
    warmup: int = 1000
    weight_decay: float | int = 0.01
    dropout: float | int = 0.1
    train_samples: int | None = None
    seed: int = 0
    looped: bool = False
    embed_tokens: int | None = None
    embed_positions: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.task, HopTask):
            raise ValueError(f"task = {self.task!r}: must be a HopTask")
        if self.task.vocab_size == 1 and self.task.seq_len > 1:
            raise ValueError("task has vocab_size = 1: must be at least 2, for strings without adjacent repeats")
        for name, least in (("steps", 1), ("batch_size", 1), ("warmup", 0), ("seed", 0)):
            object.__setattr__(self, name, checked_integer(name, getattr(self, name), least))
        if self.warmup > self.steps:
            raise ValueError(f"warmup = {self.warmup}: must be at most steps = {self.steps}")
        for name, positive in (("learning_rate", True), ("weight_decay", False)):
            # As floats: 0 and 0.0 are one setting, and have one text.
            object.__setattr__(self, name, checked_rate(name, getattr(self, name), positive=positive))
        object.__setattr__(self, "dropout", checked_share("dropout", self.dropout))
        if self.train_samples is not None:
            samples = checked_integer("train_samples", self.train_samples, self.batch_size)
            object.__setattr__(self, "train_samples", samples)
        plain = self._shape().arguments()
        for name in ("embed_dim", "num_heads", "num_layers"):
            object.__setattr__(self, name, plain[name])
        for name in ("embed_tokens", "embed_positions"):
            object.__setattr__(self, name, None if getattr(self, name) is None else plain[name])

    def _shape(self) -> Decoder:
        """The decoder without numbers. Raises ValueError for sizes that are none, and for more weights than a run can have."""
        try:
            shape = self.model(device="meta")
            weights = sum(parameter.numel() for parameter in shape.parameters())
        except (RuntimeError, OverflowError):  # torch counts bytes in 64 bits
            weights = MOST_WEIGHTS + 1
        if weights > MOST_WEIGHTS:
            sizes = f"num_layers = {self.num_layers}, embed_dim = {self.embed_dim}"
            raise ValueError(f"{sizes}: at most {MOST_WEIGHTS:,} weights are legal")
        return shape

    @property
    def name(self) -> str:
        """What the run's folder is called: heads, depth, what differs from the usual."""
        samples = "" if self.train_samples is None else f"-samples{self.train_samples}"
        looped = "-looped" if self.looped else ""
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"heads{self.num_heads}-depth{self.num_layers}{samples}{looped}{seed}"

    def model(self, device: str | None = None) -> Decoder:
        """The decoder before the first step."""
        return Decoder(
            self.task.num_tokens, self.task.seq_len + 1, self.embed_dim, self.num_heads, self.num_layers,
            dropout=self.dropout, looped=self.looped, embed_tokens=self.embed_tokens, embed_positions=self.embed_positions,
            seed=self.seed, device=device,
        )  # fmt: skip

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: (step + 1) / warmup of the largest, then (steps - step) / (steps - warmup)."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        return self.learning_rate * (self.steps - step) / (self.steps - self.warmup)

    def as_plain(self) -> dict[str, Any]:
        """What JSON can hold."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """The one JSON text of these settings."""
        return json.dumps(self.as_plain(), sort_keys=True)

    @classmethod
    def from_plain(cls, plain: object) -> "HopRun":
        """The inverse of `as_plain`; ValueError for anything that is not the settings of a run."""
        if not isinstance(plain, dict) or set(plain) != {field.name for field in dataclasses.fields(cls)}:
            raise ValueError("these are not the settings of a run")
        task = plain["task"]
        if not isinstance(task, dict) or set(task) != {field.name for field in dataclasses.fields(HopTask)}:
            raise ValueError("these are not the settings of a task")
        return cls(**{**plain, "task": HopTask(**task)})
