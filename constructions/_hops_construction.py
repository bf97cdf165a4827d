"""A built hop model: the weights, what they were built from, and the ways to ask it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Integer

from constructions._hops_layout import HeadRole
from constructions._hops_recipes import attended_hops, plan_of
from constructions._token_model import ModelFileError
from constructions.attention import CHUNK_ELEMENTS
from constructions.transformer import Transformer, load_transformer_with_provenance
from theory.hop_precision import Encoding, primitives_of, significand_bits
from theory.hops import HopTask, Recipe

PROVENANCE_KEY = "hops"
LARGEST_SCALE = 2.0**64
"""Far above every sufficient scale, and far from where scores overflow."""


@dataclass(frozen=True)
class HopConstruction:
    """A built model of hop_k and what it was built from.

    Attributes:
        model: the Transformer; reads the N + 1 tokens of `task`, answers at all of them. Everything that it computes with is in
            its tensors and, for recipes A and B, in its programs.
        task: tokens and sizes. min_hops = max_hops = k for a single k; 0..max_hops for a model that reads k.
        recipe: "A", "B" or "C".
        encoding: of positions, "quadratic" or "circle".
        scale: what scores are multiplied with (on circles: per unit of gap), folded into the query weights.
        roles: of every head, layer by layer.
        looped: whether the layers from the third on were asked to be one and the same layer.
    """

    model: Transformer
    task: HopTask
    recipe: Recipe
    encoding: Encoding
    scale: float
    roles: tuple[HeadRole, ...]
    looped: bool = False

    @property
    def multi_task(self) -> bool:
        """Whether k is read from the first token."""
        return self.task.min_hops == 0

    @property
    def num_layers(self) -> int:
        """L."""
        return self.model.num_layers

    @property
    def dtype(self) -> str:
        """"float32" or "float64"."""
        return str(self.model.dtype).removeprefix("torch.")

    def roles_for(self, num_hops: int) -> tuple[HeadRole, ...]:
        """The roles with j in find^j filled in for one k: what every head attends to when the model is asked for hop_k.

        Raises ValueError for k outside the task's.
        """
        self.task.hop_token(num_hops)
        if not self.multi_task:
            return self.roles
        find = attended_hops(self.recipe, num_hops, self.num_layers)
        return tuple(
            replace(role, hops=find[role.layer]) if role.role == "find" and role.hops is None else role for role in self.roles
        )

    def predict(
        self, symbols: Integer[np.ndarray, "*batch seq_len"], num_hops: int | Integer[np.ndarray, "*batch"] | None = None
    ) -> Int[np.ndarray, "*batch seq_len"]:
        """hop_k at every position, by running the model.

        Args:
            symbols: strings of N symbols 0..vocab_size - 1.
            num_hops: k, one for all strings or one each; may be left out for a model of a single k.

        Returns:
            Symbols, -1 where the model answers that there is none (-2 if it ever answered with another token).

        Raises:
            ValueError: strings or k that are not legal.
        """
        if num_hops is None:
            if self.multi_task:
                raise ValueError(f"num_hops = None: 0 to {self.task.max_hops} are legal for a model that reads k")
            num_hops = self.task.max_hops
        tokens = self.task.tokens(symbols, num_hops)
        rows = torch.from_numpy(tokens.reshape(-1, tokens.shape[-1]))
        size = max(1, CHUNK_ELEMENTS // (rows.shape[1] ** 2 * self.model.num_heads))
        parts = [self.model.logits_at_every_position(part).argmax(-1) for part in rows.split(size)]
        return self.task.symbols_of(torch.cat(parts).cpu().numpy())[:, 1:].reshape(np.shape(symbols))

    def with_scale(self, scale: float) -> "HopConstruction":
        """A copy whose scores are multiplied with another scale, sufficient or not: to measure where exactness ends.

        Raises ValueError unless it is a number > 0 and below LARGEST_SCALE.
        """
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < LARGEST_SCALE:
            raise ValueError(f"scale = {scale!r}: a number > 0 and below 2^64 is legal")
        copy = self.model.to_dtype(self.model.dtype)
        copy.requires_grad_(False)
        copy.query.copy_((self.model.query.double() * (scale / self.scale)).to(self.model.dtype))
        return replace(self, model=copy, scale=float(scale))

    def save(self, path: str | os.PathLike[str], provenance: Mapping[str, str] | None = None) -> None:
        """Write the model as a safetensors file with what it was built from beside it. ModelFileError as `Transformer.save`."""
        task = self.task
        kept = {
            "vocab_size": task.vocab_size, "seq_len": task.seq_len, "min_hops": task.min_hops, "max_hops": task.max_hops,
            "recipe": self.recipe, "encoding": self.encoding, "scale": self.scale, "looped": self.looped,
        }  # fmt: skip
        self.model.save(path, {**(provenance or {}), PROVENANCE_KEY: json.dumps(kept)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "HopConstruction":
        """Read what `save` wrote; nothing in the file is executed. Its weights may be any: `certify_hops` judges.

        Raises ModelFileError: no readable file, no hop model's, or a model of other sizes than it says it was built for.
        """
        model, provenance = load_transformer_with_provenance(path)
        try:
            kept: dict[str, Any] = json.loads(provenance.get(PROVENANCE_KEY, ""))
            task = HopTask(*(kept[name] for name in ("vocab_size", "seq_len", "min_hops", "max_hops")))
            multi_task, scale, looped = task.min_hops == 0, float(kept["scale"]), kept["looped"]
            significand_bits(str(model.dtype).removeprefix("torch."))
            primitives_of(kept["recipe"], kept["encoding"], multi_task=multi_task)
            one_task = multi_task or task.min_hops == task.max_hops
            if not one_task or not 0 < scale < LARGEST_SCALE or not isinstance(looped, bool):
                raise ValueError("its hops, scale or looped are not legal")
            if task.num_tokens != model.vocab_size or task.seq_len + 1 != model.seq_len:
                raise ValueError("its model has other sizes than it was built for")
            plan = plan_of(task, kept["recipe"], kept["encoding"], scale)
            if (model.embed_dim, model.num_heads, model.num_layers) != (len(plan.coordinates), plan.num_heads, len(plan.layers)):
                raise ValueError("its model has other sizes than its recipe")
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ModelFileError(f"{Path(path)}: is no hop model ({type(error).__name__}: {error})") from error
        model.requires_grad_(False)
        return cls(model, task, kept["recipe"], kept["encoding"], scale, plan.roles(), looped)
