"""`main.py fetch`: bars of an exchange's past, into the catalog."""

from pathlib import Path
from typing import Annotated

import typer

from config.commands.telling import told, write_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fetch")(told(fetch))


def fetch(
    symbols: Annotated[
        str | None, typer.Option(metavar="A,B", help="Which, as ccxt has them: BTC/USDT,ETH/USDT.")
    ] = None,
    timeframe: Annotated[str | None, typer.Option(help="The length of a bar: 1m, 1h, 1d.")] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="From when on: 2024-01-01.")] = "",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Until when; now if left out.")] = None,
    venue: Annotated[str | None, typer.Option(metavar="ID", help="Where: binance, okx, bybit, kraken, …")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="CONFIG.toml", help="Take the rest from a live session's settings.")
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option("--catalog", metavar="DIR", help="Which catalog; data/catalog if left out.")
    ] = None,
    mix: Annotated[bool, typer.Option("--mix", help="Add to bars that were imported from elsewhere.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fetch bars from an exchange into the catalog. Needs no key; goes on where it stopped."""
    from config.fetching import fetched_as_plain, time_of, wanted
    from config.terminal import progress, screen
    from config.venues import fetch as run

    total = []
    first, last = time_of("--since", since), None if until is None else time_of("--until", until)
    for one in wanted(venue, symbols, timeframe, config):
        with progress(f"{one.venue} {one.timeframe}", "bars") as shown:
            done = run(
                one.venue, one.symbols, one.timeframe, first, last, api_urls=one.api_urls, options=one.options,
                catalog=catalog, mixes_origins=mix, progress=shown)
        total += done
        if not as_json:
            screen.print("\n".join(map(str, done)), soft_wrap=True)
    if as_json:
        write_json([fetched_as_plain(one) for one in total], "-")
