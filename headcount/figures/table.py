"""What every figure asks of its table."""

from collections.abc import Sequence

import pandas as pd


def check_columns(table: pd.DataFrame, columns: Sequence[str], source: str) -> None:
    """ValueError where a column is missing or there are no rows."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"table lacks the columns {', '.join(missing)}: must have those of {source}")
    if table.empty:
        raise ValueError("table has no rows: must have at least one")


def one_setting(table: pd.DataFrame, columns: Sequence[str], setting: Sequence[str], source: str) -> dict[str, int]:
    """The values of the columns `setting`, of which a table has one combination.

    Args:
        table: rows as `source`, a function by its full name, returns them.
        columns: those that the figure reads.
        setting: those that say what it is about, whole numbers.
        source: for the message.

    Raises:
        ValueError: a column is missing, there are no rows, or rows of several settings.
    """
    check_columns(table, columns, source)
    settings = table[list(setting)].drop_duplicates()
    if len(settings) > 1:
        raise ValueError(f"table has rows of {len(settings)} settings of {', '.join(setting)}: must be of one")
    return {name: int(settings.iloc[0][name]) for name in setting}
