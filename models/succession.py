"""Models that take over from each other: at each instant the newest that was trained by then answers."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from engine.errors import PluginError
from engine.forecasts import Forecaster, Forecasts, ForecastSpec, Windows, check_alike


class Version(NamedTuple):
    """A model and the close (UTC ns) from which on it answers."""

    since: int
    forecaster: Forecaster


class Succession:
    """Several versions as one forecaster. A window is answered by the last version whose time has come at its close, so
    that a swap falls between two bars; the first also answers what comes before its own time.

    Raises:
        PluginError: versions out of order, or that do not say the same kind of thing of the same windows.
    """

    def __init__(self, versions: Sequence[Version]) -> None:
        times = [version.since for version in versions]
        if not times or times != sorted(set(times)):
            raise PluginError(f"a succession of models from {times}; expected times that rise")
        first = versions[0].forecaster.spec
        for version in versions[1:]:
            check_alike(first, version.forecaster.spec)
        self._versions = list(versions)
        hashes = tuple((version.since, version.forecaster.spec.model_hash) for version in versions)
        digest = hashlib.sha256(repr(hashes).encode()).hexdigest()
        self.spec: ForecastSpec = replace(first, model_hash=digest, versions=hashes)

    def forecast(self, windows: Windows) -> Forecasts:
        """Answer each window by the version in force at its close."""
        since = np.array([version.since for version in self._versions])
        places = np.maximum(np.searchsorted(since, windows.as_of, side="right") - 1, 0)
        values = np.empty((len(windows), *self.spec.shape), np.float32)
        for place in np.unique(places):
            rows = np.flatnonzero(places == place)
            values[rows] = self._versions[place].forecaster.forecast(windows.at(rows)).values
        return Forecasts(values)
