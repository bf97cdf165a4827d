"""The settings of one training run of a language model: checked once, written as JSON, read back with suspicion."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from empirical.decoder import checked_rate, checked_share
from empirical.language_models import AnyLanguageModel, LanguageTransformer, RecurrentModel
from theory.shapes import checked_integer

Architecture = Literal["transformer", "lstm"]
ARCHITECTURES = ("transformer", "lstm")
MOST_WEIGHTS = 1 << 30
"""Of one model: 4 GiB, three times that with the optimiser's moments."""


@dataclass(frozen=True)
class ScalingRun:
    """One language model, the number of tokens that it sees and how; with the corpus it determines the weights, bit for bit.

    The loss is the cross-entropy in nats per token at all positions. Every token is seen once: windows of `context` tokens of the
    training files, in an order drawn from the seed, of which a run with fewer tokens sees the beginning. The optimiser is AdamW
    (betas 0.9 and 0.98, all weights decay). The learning rate rises linearly over `warmup` steps and falls linearly to 0 at the
    run's own end: each D has its own schedule, none is a run of another D that was cut off.

    Attributes:
        architecture: "transformer" (`LanguageTransformer`) or "lstm" (`RecurrentModel`).
        embed_dim: m, the width.
        num_layers: L.
        num_heads: H of a transformer; 0 for an LSTM.
        tokens: D, a multiple of batch_size * context.
        learning_rate: the largest, reached at the end of the warm-up.
        context: n, positions of a window.
        batch_size: windows per step.
        warmup: steps, from 0 to `steps`.
        weight_decay: of AdamW, >= 0.
        dropout: share in [0, 1), in training only; 0 for an LSTM.
        seed: of weights, order of windows and dropout.
        validation_windows: disjoint windows, evenly spread over held-out files, that the loss is measured on.
        vocab_size: of the tokens.
        tokenizer: "bytes" or "bpe", as `empirical.data.stdlib_corpus` cuts the text.
        corpus: digest of the corpus that was read, empty while it is open; `train_run` writes it down.

    Source: the grid of sizes and tokens is that of Hoffmann et al. 2022, section 3, with one schedule per D.
    """

    architecture: Architecture
    embed_dim: int
    num_layers: int
    num_heads: int
    tokens: int
    learning_rate: float | int
    context: int = 256
    batch_size: int = 4
    warmup: int = 0
    weight_decay: float | int = 0.1
    dropout: float | int = 0.0
    seed: int = 0
    validation_windows: int = 1024
    vocab_size: int = 256
    tokenizer: str = "bytes"
    corpus: str = ""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture = {self.architecture!r}: {' and '.join(map(repr, ARCHITECTURES))} are legal")
        heads = 1 if self.architecture == "transformer" else 0
        least = {"embed_dim": 1, "num_layers": 1, "num_heads": heads, "tokens": 1, "context": 1, "batch_size": 1, "warmup": 0,
                 "seed": 0, "validation_windows": 2, "vocab_size": 1}  # fmt: skip
        for name, smallest in least.items():
            object.__setattr__(self, name, checked_integer(name, getattr(self, name), smallest))
        if self.architecture == "lstm" and self.num_heads:
            raise ValueError(f"num_heads = {self.num_heads}: an LSTM has 0")
        step = self.batch_size * self.context
        if self.tokens % step:
            raise ValueError(f"tokens = {self.tokens}: must be a multiple of batch_size * context = {step}")
        if self.warmup > self.steps:
            raise ValueError(f"warmup = {self.warmup}: must be at most steps = {self.steps}")
        for name, positive in (("learning_rate", True), ("weight_decay", False)):
            object.__setattr__(self, name, checked_rate(name, getattr(self, name), positive=positive))
        object.__setattr__(self, "dropout", checked_share("dropout", self.dropout))
        if self.architecture == "lstm" and self.dropout:
            raise ValueError(f"dropout = {self.dropout}: an LSTM has none, 0 is legal")
        if self.tokenizer not in ("bytes", "bpe"):
            raise ValueError(f"tokenizer = {self.tokenizer!r}: 'bytes' and 'bpe' are legal")
        if not isinstance(self.corpus, str):
            raise ValueError(f"corpus = {self.corpus!r}: must be the text of a digest, or empty")
        try:
            weights = self.model(device="meta").total_parameters
        except (RuntimeError, OverflowError):  # torch counts bytes in 64 bits
            weights = MOST_WEIGHTS + 1
        if weights > MOST_WEIGHTS:
            sizes = f"num_layers = {self.num_layers}, embed_dim = {self.embed_dim}"
            raise ValueError(f"{sizes}: at most {MOST_WEIGHTS:,} weights are legal")

    @property
    def steps(self) -> int:
        """Of the optimiser: D / (batch_size * context)."""
        return self.tokens // (self.batch_size * self.context)

    @property
    def name(self) -> str:
        """What the run's folder is called: architecture, sizes, tokens, a seed that is not 0."""
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"{self.architecture}-width{self.embed_dim}-layers{self.num_layers}-tokens{self.tokens}{seed}"

    def model(self, device: str | None = None) -> AnyLanguageModel:
        """The model before the first step."""
        sizes = (self.vocab_size, self.context, self.embed_dim)
        if self.architecture == "lstm":
            return RecurrentModel(*sizes, self.num_layers, seed=self.seed, device=device)
        return LanguageTransformer(
            *sizes, self.num_heads, self.num_layers, dropout=self.dropout, seed=self.seed, device=device
        )

    @property
    def flops(self) -> int:
        """Of the whole training: three times the forward pass, which is counted in full (not 6 N D)."""
        return 3 * self.model(device="meta").forward_flops_per_token * self.tokens

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: (step + 1) / warmup of the largest, then (steps - step) / (steps - warmup)."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        return self.learning_rate * (self.steps - step) / (self.steps - self.warmup)

    def on(self, corpus: str) -> "ScalingRun":
        """The same run, on the corpus of this digest. Raises ValueError where it is a run on another."""
        if self.corpus not in ("", corpus):
            raise ValueError(f"corpus {corpus[:12]}: the run is on corpus {self.corpus[:12]}, another text or other tokens")
        return dataclasses.replace(self, corpus=corpus)

    def as_plain(self) -> dict[str, Any]:
        """What JSON can hold."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """The one JSON text of these settings."""
        return json.dumps(self.as_plain(), sort_keys=True)

    @property
    def digest(self) -> str:
        """SHA-256 of the settings, in hexadecimal."""
        return hashlib.sha256(self.as_text().encode()).hexdigest()

    @classmethod
    def from_plain(cls, plain: object) -> "ScalingRun":
        """The inverse of `as_plain`; ValueError for anything that is not the settings of a run."""
        if not isinstance(plain, dict) or set(plain) != {field.name for field in dataclasses.fields(cls)}:
            raise ValueError("these are not the settings of a run")
        return cls(**plain)
