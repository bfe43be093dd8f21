"""Which recipe trains what: settings, bars and spans to a recipe and the plan that is its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from config.settings import (
    CostSettings,
    FixedSlippageSettings,
    MakerTakerFeeSettings,
    NoSlippageSettings,
    TieredFeeSettings,
)
from config.tft_recipe import make_tft
from config.training_settings import KronosSettings, KronosTokenizerSettings, TrainingSettings
from engine.errors import SettingsError
from models.artefact import check_architecture, load_artefact
from models.krnn import KRNNConfiguration
from models.kronos.configuration import ModelSizes, TokenizerSizes
from models.position.head import HeadSizes, Serving
from models.position.loading import HEAD, PRICE, load_price_transformer
from models.position.objective import Weights
from models.position.price_transformer import PRESETS
from models.training import krnn, kronos, position, price
from models.training.data.augment import Augmentation
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
        agg=of.agg, pool=of.pool, nodes=len(panel.symbols) if of.agg == "node" else 0,
    )
    data = krnn.KRNNData(of.lag, of.horizon, of.price, of.label, of.batching)
    return krnn.KRNNRecipe(panel, split, sizes, data, _augmentation(settings)), krnn.DEFAULTS


def _kronos_tokenizer(settings: TrainingSettings, panel: Panel, split: Split) -> tuple[Recipe, Plan]:
    of = settings.kronos_tokenizer
    sizes = TokenizerSizes(
        6, of.d_model, of.n_heads, of.ff_dim, of.n_enc_layers, of.n_dec_layers, 0.0, 0.0, 0.0, of.s1_bits, of.s2_bits,
        of.beta, of.gamma0, of.gamma, of.zeta, of.group_size,
    )
    return kronos.TokenizerRecipe(_windows(of, panel, split, settings), sizes, of.pretrained), kronos.TOKENIZER_DEFAULTS


def _kronos(settings: TrainingSettings, panel: Panel, split: Split) -> tuple[Recipe, Plan]:
    of = settings.kronos
    if not of.tokenizer:
        raise SettingsError("kronos.tokenizer is missing: train one first (train kronos-tokenizer), or name a folder")
    coder = kronos.tokenizer_of(of.tokenizer, "kronos.tokenizer").sizes
    sizes = ModelSizes(
        coder.s1_bits, coder.s2_bits, of.n_layers, of.d_model, of.n_heads, of.ff_dim, of.dropout, of.dropout,
        of.dropout, of.dropout, of.learn_te,
    )
    recipe = kronos.PredictorRecipe(
        _windows(of, panel, split, settings), sizes, of.tokenizer, pretrained=of.pretrained, max_context=of.max_context,
        tuning=of.tuning, rank=of.rank, teacher=of.teacher,
    )
    return recipe, kronos.PREDICTOR_DEFAULTS


def _augmentation(settings: TrainingSettings) -> Augmentation:
    return Augmentation(**settings.augment.model_dump())


def _windows(
    of: KronosTokenizerSettings | KronosSettings, panel: Panel, split: Split, settings: TrainingSettings
) -> kronos.KronosWindows:
    try:
        clock = UTC if of.clock == "UTC" else ZoneInfo(of.clock)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise SettingsError(f"clock is {of.clock!r}; expected a zone such as Asia/Shanghai") from exc
    return kronos.KronosWindows(
        panel, split, kronos.WindowPlan(of.lookback, of.horizon, of.samples, of.judged, clock, _augmentation(settings))
    )


def _price(settings: TrainingSettings, panel: Panel, split: Split) -> tuple[Recipe, Plan]:
    of = settings.price
    sizes = replace(PRESETS[of.preset], horizons=of.horizons, dropout=of.dropout, experts=of.experts)
    data = price.PriceData(of.lookback, of.every)
    return price.PriceRecipe(panel, split, sizes, data, _augmentation(settings)), price.DEFAULTS


def _position(settings: TrainingSettings, panel: Panel, split: Split) -> tuple[Recipe, Plan]:
    of = settings.position
    if not of.price:
        raise SettingsError("position.price is missing: train it first (train price), and name its artefact")
    artefact = load_artefact(Path(of.price))
    check_architecture(artefact, PRICE, what=f"position.price {of.price}", made_by="train price")
    position.check_stage_one(artefact, of.price, allow=of.allow_unskilled)
    plan = position.PositionPlan(
        of.steps, of.burn, of.every, cost=cost_of_trading(settings.costs, panel.symbols), first=of.first_temperature,
        last=of.last_temperature, exploration=of.exploration, entropy=of.entropy, floor=of.entropy_floor,
        jitter=of.jitter, objective=of.objective,
        weights=Weights(of.variance, of.drawdown, of.opportunity),
    )
    inputs = load_price_transformer(artefact).sizes.feature_count
    sizes = HeadSizes(inputs, of.state, of.short, of.dropout)
    serving = Serving(temperature=of.last_temperature, hysteresis=of.hysteresis)
    return position.PositionRecipe(panel, split, artefact, sizes, plan, serving), position.DEFAULTS


def cost_of_trading(costs: CostSettings, symbols: Sequence[str]) -> float:
    """Return what the broker takes for trading the whole equity once, as a fraction: fee, half spread and slippage of
    an order that takes liquidity.

    Raises:
        SettingsError: that depends on more than the order's worth, or on the symbol.
    """
    fees, slippage = costs.fees, costs.slippage
    match fees:
        case MakerTakerFeeSettings(taker=taker, symbols=own):
            rates = {name: own[name].taker if name in own else taker for name in symbols}
            if len(set(rates.values())) > 1:
                said = ", ".join(f"{name} {rate}" for name, rate in list(rates.items())[:3])
                raise SettingsError(f"costs.fees: takers pay {said}; expected the same for all symbols learned from")
            fee = float(next(iter(rates.values()), taker))
        case TieredFeeSettings(tiers=tiers):
            fee = float(tiers[0].taker)
        case _:
            raise SettingsError("costs.fees of shares depend on their price; expected kind maker_taker or tiered here")
    match slippage:
        case NoSlippageSettings():
            return fee
        case FixedSlippageSettings():
            return fee + (slippage.basis_points + slippage.half_spread_basis_points) / 1e4
    raise SettingsError(f"costs.slippage is {slippage.kind}, which depends on the order; expected fixed or none here")


RECIPES: Mapping[str, Maker] = {
    "krnn": _krnn,
    "kronos-tokenizer": _kronos_tokenizer,
    "kronos": _kronos,
    "price": _price,
    "position": _position,
    "tft": make_tft,
}

ARCHITECTURES: Mapping[str, str] = {
    "krnn": "krnn",
    "kronos-tokenizer": kronos.TOKENIZER,
    "kronos": "kronos",
    "price": PRICE,
    "position": HEAD,
    "tft": "tft",
}
"""What the artefact of each is."""
