"""Gradient-boosted trees, by LightGBM if it is there, else by scikit-learn: quick judges of what features tell."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np

from engine.bars import FloatArray
from engine.errors import SettingsError

Backend = Literal["auto", "lightgbm", "sklearn"]


class Trees(Protocol):
    """A fitted model."""

    def predict(self, features: FloatArray) -> FloatArray:
        """Return numbers, or probabilities of an event, float64 [N]."""

    @property
    def importance(self) -> FloatArray | None:
        """Share of each feature in what the splits gained, float64 [F]; None where it is not known."""


@dataclass(frozen=True)
class TreePlan:
    """How trees are grown: small, many, slow, and the same with the same seed."""

    backend: Backend = "auto"
    rounds: int = 150
    rate: float = 0.05
    leaves: int = 15
    least_rows: int = 100
    seed: int = 0

    def fit(self, features: FloatArray, target: FloatArray, *, is_event: bool) -> Trees:
        """Return trees fitted to rows [N, F] and targets [N].

        Raises:
            SettingsError: neither library is installed.
        """
        if self.backend != "sklearn" and find_spec("lightgbm") is not None:
            return _LightGBM(self, features, target, is_event)
        if self.backend != "lightgbm" and find_spec("sklearn") is not None:
            return _HistGradient(self, features, target, is_event)
        wanted = {"auto": "LightGBM or scikit-learn", "lightgbm": "LightGBM", "sklearn": "scikit-learn"}[self.backend]
        raise SettingsError(f"choosing features takes {wanted}, which is not installed; pip install 'barcast[train]'")


class _LightGBM:
    def __init__(self, plan: TreePlan, features: FloatArray, target: FloatArray, is_event: bool) -> None:
        import lightgbm

        parameters = {
            "objective": "binary" if is_event else "regression", "learning_rate": plan.rate, "num_leaves": plan.leaves,
            "min_data_in_leaf": min(plan.least_rows, max(len(target) // 20, 1)), "feature_fraction": 0.8,
            "bagging_fraction": 0.8, "bagging_freq": 1, "seed": plan.seed, "deterministic": True, "num_threads": 1,
            "force_row_wise": True, "verbosity": -1,
        }  # fmt: skip
        data = lightgbm.Dataset(features, target, free_raw_data=True)
        self._booster: Any = lightgbm.train(parameters, data, plan.rounds)

    def predict(self, features: FloatArray) -> FloatArray:
        return np.asarray(self._booster.predict(features, num_threads=1), np.float64)

    @property
    def importance(self) -> FloatArray | None:
        gain = np.asarray(self._booster.feature_importance("gain"), np.float64)
        return gain / gain.sum() if gain.sum() > 0 else gain


class _HistGradient:
    importance: FloatArray | None = None

    def __init__(self, plan: TreePlan, features: FloatArray, target: FloatArray, is_event: bool) -> None:
        from sklearn import ensemble

        kind = ensemble.HistGradientBoostingClassifier if is_event else ensemble.HistGradientBoostingRegressor
        self._model: Any = kind(
            learning_rate=plan.rate, max_iter=plan.rounds, max_leaf_nodes=plan.leaves,
            min_samples_leaf=min(plan.least_rows, max(len(target) // 20, 1)), early_stopping=False,
            random_state=plan.seed,
        )  # fmt: skip
        self._is_event = is_event
        self._model.fit(features, target.astype(np.int64) if is_event else target)

    def predict(self, features: FloatArray) -> FloatArray:
        if self._is_event:
            return np.asarray(self._model.predict_proba(features)[:, 1], np.float64)
        return np.asarray(self._model.predict(features), np.float64)
