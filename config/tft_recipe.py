"""The transformer's recipe out of settings and bars."""

from config.training_data import make_table
from config.training_settings import TrainingSettings
from models.training.data.augment import Augmentation
from models.training.data.splits import Split
from models.training.panel import Panel
from models.training.plan import Plan
from models.training.tft.losses import Stages
from models.training.tft.recipe import DEFAULTS, TFTPlan, TFTRecipe, TFTSizes
from models.training.tft.score import Composite, ScorePart


def make_tft(settings: TrainingSettings, panel: Panel, split: Split) -> tuple[TFTRecipe, Plan]:
    """Return the recipe and the plan that is its own.

    Raises:
        SettingsError, DataError: before training, if anything does not fit.
    """
    of = settings.tft
    assert panel.source is not None
    table = make_table(of, panel.source, across_gaps=panel.across_gaps)
    plan = TFTPlan(
        TFTSizes(of.hidden_size, of.lstm_layers, of.attention_head_size, of.hidden_continuous_size, of.dropout),
        of.weighing, Stages({one.epoch: one.weights for one in of.stages}), of.class_weights, of.symbol_dropout,
        Composite(tuple(ScorePart(**one.model_dump()) for one in of.score)), Augmentation(**of.augment.model_dump()),
        of.outliers,
    )
    return TFTRecipe(table, split, plan), DEFAULTS
