"""Attention maps of one model on one string as a tidy table, with the hop that each head shown makes."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from empirical._evaluated import device_of, evaluated
from empirical.hop_probe import MappedModel, ProbeResult, probe
from theory.hops import HopTask

MAP_COLUMNS = (
    "kind", "name", "tier", "num_hops", "string", "layer", "head", "row", "column", "weight", "target", "target_column", "cosine",
)  # fmt: skip
"""Columns of `map_table`: one row for each weight. Layers count from 1; heads, rows and columns from 0, the hop token's row.
`string` is the symbols with spaces between; `target` is the head's best one and `target_column` where it leads from this row, -1
where it is not defined; `cosine` is that of the head with it on this string."""


def map_table(
    model: MappedModel,
    task: HopTask,
    num_hops: int,
    symbols: Int[np.ndarray, " seq_len"],
    *,
    kind: str,
    name: str,
    tier: str = "",
) -> pd.DataFrame:
    """Where the head of each layer whose best target fits best looks on one string, in eval mode, with MAP_COLUMNS.

    Args:
        model: with `attention_maps(tokens)`.
        task: its token format.
        num_hops: k, within the task's.
        symbols: one string.
        kind, name, tier: of the model, for the table.

    Raises:
        ValueError: as `empirical.hop_probe.probe`.
    """
    if not isinstance(model, MappedModel):
        raise ValueError(f"model is a {type(model).__name__}: must have the method attention_maps(tokens)")
    strings = np.asarray(symbols)[None]
    tokens = torch.as_tensor(np.asarray(task.tokens(strings, num_hops), dtype=np.int64), device=device_of(model))
    with evaluated(model):
        maps = model.attention_maps(tokens).cpu().double().numpy()
    result = probe(maps, strings, num_hops=max(num_hops, 1))
    chosen = _chosen(result)
    best = {(row["layer"], row["head"]): row for row in result.best_targets().to_dict("records")}
    parts = []
    size = maps.shape[-1]
    for layer, head in chosen:
        found = best.get((layer, head), {"target": "", "cosine": np.nan})
        columns = result.columns(str(found["target"]), strings)[0] if found["target"] else np.full(size, -1)
        parts.append(pd.DataFrame({
            "kind": kind, "name": name, "tier": tier, "num_hops": num_hops, "string": " ".join(map(str, strings[0])),
            "layer": layer, "head": head, "row": np.repeat(np.arange(size), size), "column": np.tile(np.arange(size), size),
            "weight": maps[layer - 1, 0, head].ravel(), "target": found["target"],
            "target_column": np.repeat(columns, size), "cosine": found["cosine"],
        }, columns=list(MAP_COLUMNS)))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _chosen(result: ProbeResult) -> list[tuple[int, int]]:
    best = result.best_targets().sort_values("cosine", ascending=False, kind="stable").drop_duplicates("layer")
    return sorted((int(row["layer"]), int(row["head"])) for row in best.to_dict("records"))
