"""Which recipe trains what: settings, bars and spans to a recipe and the plan that is its own."""

from collections.abc import Callable, Mapping
from datetime import UTC
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from config.training_settings import KronosSettings, KronosTokenizerSettings, TrainingSettings
from engine.errors import SettingsError
from models.krnn import KRNNConfiguration
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.training import krnn, kronos
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


def _kronos_tokenizer(settings: TrainingSettings, panel: Panel, split: Split) -> tuple[Recipe, Plan]:
    of = settings.kronos_tokenizer
    sizes = TokenizerSizes(
        6, of.d_model, of.n_heads, of.ff_dim, of.n_enc_layers, of.n_dec_layers, 0.0, 0.0, 0.0, of.s1_bits, of.s2_bits,
        of.beta, of.gamma0, of.gamma, of.zeta, of.group_size,
    )
    return kronos.TokenizerRecipe(_windows(of, panel, split), sizes, of.pretrained), kronos.TOKENIZER_DEFAULTS


def _kronos(settings: TrainingSettings, panel: Panel, split: Split) -> tuple[Recipe, Plan]:
    of = settings.kronos
    if not of.tokenizer:
        raise SettingsError("kronos.tokenizer is missing: train one first (train kronos-tokenizer), or name a folder")
    coder = kronos.tokenizer_of(of.tokenizer).sizes
    sizes = ModelSizes(
        coder.s1_bits, coder.s2_bits, of.n_layers, of.d_model, of.n_heads, of.ff_dim, of.dropout, of.dropout,
        of.dropout, of.dropout, of.learn_te,
    )
    recipe = kronos.PredictorRecipe(
        _windows(of, panel, split), sizes, of.tokenizer, pretrained=of.pretrained, max_context=of.max_context,
        tuning=of.tuning, rank=of.rank, teacher=of.teacher,
    )
    return recipe, kronos.PREDICTOR_DEFAULTS


def _windows(of: KronosTokenizerSettings | KronosSettings, panel: Panel, split: Split) -> kronos.KronosWindows:
    try:
        clock = UTC if of.clock == "UTC" else ZoneInfo(of.clock)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise SettingsError(f"clock is {of.clock!r}; expected a zone such as Asia/Shanghai") from exc
    return kronos.KronosWindows(
        panel, split, kronos.WindowPlan(of.lookback, of.horizon, of.samples, of.judged, clock)
    )


RECIPES: Mapping[str, Maker] = {"krnn": _krnn, "kronos-tokenizer": _kronos_tokenizer, "kronos": _kronos}
