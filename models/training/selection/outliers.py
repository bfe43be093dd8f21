"""How much of the rows that judge is unlike anything that training saw: a hint, which leaves no row out.

The local outlier factor (Breunig, Kriegel, Ng and Sander 2000) says how much thinner the data are around a row than
around its neighbours. It is fitted on the features of training windows alone. A hundredth of those are outliers by
definition, and about as many of later rows should be, unless the market has changed.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from engine.bars import FloatArray, IntArray
from engine.errors import SettingsError
from models.training.data.table import Table

NEIGHBOURS = 24
USUAL = 0.01
_MOST = 4000
"""Rows that it is fitted on, and of each period that it is asked about, evenly spread."""


def outlier_notes(table: Table, train: IntArray, valid: IntArray) -> tuple[str, ...]:
    """Return a note for each period: the share of its judging rows that are outliers to training's, and which features
    are farthest out on those.

    Args:
        train, valid: int64, rows of the table at which windows end.
    Raises:
        SettingsError: scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise SettingsError("tft.outliers takes scikit-learn, which is not installed: pip install scikit-learn")
    periods = np.array([group.timeframe for group in table.groups])[table.group]
    return tuple(
        _note(period, table.names, *(_spread(table, rows[periods[rows] == period]) for rows in (train, valid)))
        for period in dict.fromkeys(periods.tolist())
    )


def is_outlier(train: FloatArray, asked: FloatArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows are outliers to those of training, bool [N]; all in deviations of training's."""
    from sklearn.neighbors import LocalOutlierFactor

    made = LocalOutlierFactor(min(NEIGHBOURS, len(train) - 1), contamination=USUAL, novelty=True, n_jobs=1).fit(train)
    return np.asarray(made.predict(asked) < 0)


def _spread(table: Table, rows: IntArray) -> FloatArray:
    return table.values[rows[:: max(-(-len(rows) // _MOST), 1)]].astype(np.float64)


def _note(period: str, names: Sequence[str], train: FloatArray, asked: FloatArray) -> str:
    if len(train) <= NEIGHBOURS or not len(asked):
        few = f"{len(train):,} rows of training and {len(asked):,} that judge"
        return f"{period}: {few} are too few to look for outliers"
    centre, scale = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-8)
    train, asked = (train - centre) / scale, (asked - centre) / scale
    out = is_outlier(train, asked)
    said = f"{period}: {out.mean():.1%} of the rows that judge are outliers to those that train; {USUAL:.0%} is usual"
    if not out.any():
        return said
    far = np.abs(asked[out]).mean(axis=0)
    return f"{said}; farthest out: {', '.join(names[place] for place in np.argsort(-far, kind='stable')[:3])}"
