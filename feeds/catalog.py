"""A store of bars: import once, then read by symbol, timeframe and range.

    catalog = Catalog("data/bars")
    catalog.write(read_bars("BTCUSDT-1m-2024-01.zip", symbol="BTC/USDT"))
    feed = catalog.feed(["BTC/USDT"], "1m", start=…, end=…)

On disk: <symbol>/<timeframe>/<year>-<hash>.parquet, and stream.json, which names the files that count. Files are never changed;
an import writes new ones, then replaces stream.json in one step. So a reader and a crash see the old content or the new.
What is stored are checked bars as they came; missing ones are missing. The gap policy is applied when they are read.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from engine.bars import Bars, IntArray, Stream, Timeframe, iso
from engine.errors import DataError, nearest_name
from feeds.catalog_import import Conflicts, ImportResult, StreamImport, check_on_conflict
from feeds.chunks import CHUNK_ROWS, join, split
from feeds.fingerprints import StreamDigest, digest_of
from feeds.gaps import Calendar, Gap, GapPolicy, Gaps, find_gaps, refuse_gaps
from feeds.parts import Part, read_batches, read_part, read_times
from feeds.storage import Storage, storage_at
