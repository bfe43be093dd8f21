"""A live session as `main.py paper` runs it: its clock, its edge, and who looks on."""

import time as wall_time
from collections.abc import Callable
from threading import Event

from config.edges import CcxtEdge
from config.market_clock import MarketClock
from config.paper import PaperRun, check_paper
from config.secrets import log_without_secrets
from config.session import venue_data
from config.settings import Settings
from config.watching import watchers
from engine.bars import Timeframe
from engine.live.session import Checkpoint


def run_paper(
    settings: Settings, *, stop: Event, fresh: bool = False, take_over: bool = False, span: str | None = None,
    is_plain: bool = True, checkpoint: Checkpoint = lambda place: None,
) -> int:
    """Run a session on the venue that settings name, until it is stopped; return the run's number.

    Args:
        span: how long, such as 2h, in the market's time; None for ever. is_plain: lines instead of a dashboard.
    Raises:
        EngineError: see PaperRun.run.
    """
    check_paper(settings)
    log_without_secrets()
    address = venue_data(settings).market_clock
    clock = MarketClock(address) if address is not None else None
    now: Callable[[], int] = clock or wall_time.time_ns
    until = None if span is None else now() + Timeframe.parse(span).duration
    speed = clock.speed if clock is not None else 1.0
    try:
        return PaperRun(
            settings, lambda: CcxtEdge(settings, now, speed=speed, is_wall=clock is None),
            watchers(settings, is_plain=is_plain), fresh=fresh, take_over=take_over, stop=stop, until=until,
            now=now, checkpoint=checkpoint,
        ).run()
    finally:
        if clock is not None:
            clock.close()
