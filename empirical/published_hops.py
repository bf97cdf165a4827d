"""Errors of the authors' trained models: as published, with dropout on, and as measured here on their checkpoints with it off."""

from importlib import resources

import pandas as pd

from empirical.hop_errors import typed

DROPOUT_ON, DROPOUT_OFF = "Sanford et al. 2024, dropout on", "Sanford et al. 2024, dropout off"
"""The two values of `name`; never one curve: the published errors are those of models that dropped a tenth of everything."""


def read_published_hops() -> pd.DataFrame:
    """One row per model and k, in `empirical.hop_errors.HOP_COLUMNS`, kind "published", errors as shares without intervals.

    DROPOUT_ON: what the public repository of Sanford, Hsu and Telgarsky 2024 holds, 100 strings per k: depths 2 to 6 for 4 heads
    of width 128 and 8 heads of width 256 with new strings in every step (k = 0..16), and for 4 heads with 1000 and 3000 training
    strings the points k = 1, 2, 3, 4, 8, 16 at depths 2, 4, 6, of two digits. Their evaluation left dropout 0.1 on.
    DROPOUT_OFF: the authors' checkpoints of depths 2 to 5 (4 heads, new strings), measured here in eval mode, 300 strings per k
    (k = 1..16). `train_samples` is empty for new strings in every step.
    """
    with (resources.files("empirical") / "published_hops.csv").open(encoding="utf-8") as file:
        return typed(pd.read_csv(file))
