"""Settings of `main.py select`: how features are chosen."""

from typing import Literal

from pydantic import Field

from config.setting_types import Section


class SelectSettings(Section):
    """How features are chosen, inside the training part alone."""

    keep: int = Field(32, ge=1, description="most features kept")
    appearance: float = Field(
        0.0, ge=0, le=1, description="share of questions and folds in which one must be among the best; 0 for no rule")
    weights: dict[str, float] = Field(default_factory=dict, description="of targets, by name; 1 if left out")
    bonus: float = Field(0.15, ge=0, description="what a transformer's own gates add, at most; see `--gating`")
    folds: int = Field(3, ge=1, description="rounds within training, each judged on what comes after it")
    judging_folds: int = Field(5, ge=1, description="rounds over the judging part, of the finished choice")
    block: int = Field(36, ge=1, description="bars by which a feature is moved out of step with time, at least")
    repeats: int = Field(5, ge=1, description="how often")
    most_rows: int = Field(40_000, ge=100, description="rows of each target and period, evenly spread over time")
    rounds: int = Field(10, ge=0, description="how often the weakest are tried to do without; 0 keeps the core")
    share: float = Field(0.1, gt=0, lt=1, description="how many are left out at a time")
    search: Literal["thin", "breed"] = Field(
        "thin", description="how sets of features are tried: leaving out the weakest, or breeding sets that score well")
    population: int = Field(12, ge=4, description="sets in a generation")
    generations: int = Field(6, ge=1, description="how often they are bred")
    trees: Literal["auto", "lightgbm", "sklearn"] = Field("auto", description="which library grows the trees")
    tree_rounds: int = Field(150, ge=1, description="trees of a model")
