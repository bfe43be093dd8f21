"""Which recipe trains what: settings, bars and spans to a recipe and the plan that is its own."""

from collections.abc import Callable, Mapping

from config.training_settings import TrainingSettings
from models.krnn import KRNNConfiguration
from models.training import krnn
from models.training.data.splits import Split
from models.training.panel import Panel
from models.training.plan import Plan
from models.training.recipe import Recipe

Maker = Callable[[TrainingSettings, Panel, Split], tuple[Recipe, Plan]]


def _krnn(settings: TrainingSettings, panel: Panel, split: Split) -> tuple[Recipe, Plan]:
    of = settings.krnn
    sizes = KRNNConfiguration(
        cnn_dim=of.cnn_dim, cnn_kernel_size=of.cnn_kernel_size, rnn_dim=of.rnn_dim, rnn_dups=of.rnn_dups,
        rnn_layers=of.rnn_layers, dropout=of.dropout, layout=of.layout,
    )
    data = krnn.KRNNData(of.lag, of.horizon, of.price, of.label, of.batching)
    return krnn.KRNNRecipe(panel, split, sizes, data), krnn.DEFAULTS


RECIPES: Mapping[str, Maker] = {"krnn": _krnn}
