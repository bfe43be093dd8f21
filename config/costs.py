"""Costs: the fees, slippage and latency that settings describe."""

from config.settings import (
    ConstantLatencySettings,
    CostSettings,
    EquityFeeSettings,
    FixedSlippageSettings,
    MakerTakerFeeSettings,
    NoSlippageSettings,
    TieredFeeSettings,
    VolatilitySlippageSettings,
)
from engine.bars import DAY
from engine.costs import (
    ConstantLatency,
    EquityFees,
    FeeSchedule,
    FeeTier,
    FixedSlippage,
    Latency,
    LognormalLatency,
    MakerTakerFees,
    NoSlippage,
    Slippage,
    SquareRootImpact,
    TieredFees,
    VolatilitySlippage,
)


def make_fees(settings: CostSettings) -> FeeSchedule:
    """Return what the venue charges."""
    match settings.fees:
        case MakerTakerFeeSettings(maker=maker, taker=taker, symbols=symbols):
            return MakerTakerFees(maker, taker, {name: (rates.maker, rates.taker) for name, rates in symbols.items()})
        case TieredFeeSettings(tiers=tiers, window_days=days):
            return TieredFees([FeeTier(tier.volume, tier.maker, tier.taker) for tier in tiers], window=days * DAY)
        case EquityFeeSettings(per_share=per_share, rate=rate, minimum=minimum, stamp_duty=duty):
            return EquityFees(per_share, rate, minimum, duty)


def make_slippage(settings: CostSettings) -> Slippage:
    """Return how taking liquidity moves the price."""
    chosen = settings.slippage
    match chosen:
        case NoSlippageSettings():
            return NoSlippage()
        case FixedSlippageSettings():
            return FixedSlippage(chosen.basis_points, chosen.half_spread_basis_points)
        case VolatilitySlippageSettings():
            return VolatilitySlippage(chosen.fraction, chosen.horizon_seconds, chosen.half_spread_basis_points)
    return SquareRootImpact(chosen.coefficient, chosen.exponent, chosen.half_spread_basis_points)


def make_latency(settings: CostSettings, seed: int) -> Latency:
    """Return the delay before the venue sees an order; `seed` is used where none is set."""
    chosen = settings.latency
    if isinstance(chosen, ConstantLatencySettings):
        return ConstantLatency(round(chosen.milliseconds * 1e6))
    median = round(chosen.median_milliseconds * 1e6)
    return LognormalLatency(median, chosen.sigma, seed if chosen.seed is None else chosen.seed)
