"""The file that `calibrate` writes and a backtest names in `costs.calibrated`: costs, where they come from, and a hash.

Its first line is the SHA-256 of the rest, so that nobody takes a file for measured that was changed by hand.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.errors import SettingsError

CAVEAT = "paper-only: own orders had no impact"
COSTS = ("fees", "slippage", "latency")


@dataclass(frozen=True)
class CalibratedCosts:
    """What a file says.

    Args:
        costs: fees, slippage and latency, as in [costs]. intervals: low and high by the name of what was fitted.
    """

    name: str
    version: int
    hash: str
    costs: Mapping[str, Any]
    intervals: Mapping[str, tuple[float, float]]

    @property
    def reference(self) -> str:
        """Return what a card names it by: name, version and the beginning of its hash."""
        return f"{self.name} v{self.version}@{self.hash[:12]}"


def sealed(body: str) -> str:
    """Return a file's text, its hash in front."""
    return f'hash = "{sha256(body.encode()).hexdigest()}"\n{body}'


def read_calibration(path: Path) -> CalibratedCosts:
    """Return what a file of calibrated costs says.

    Raises:
        SettingsError: there is no such file, it is none that `calibrate` wrote, or it was changed since.
    """
    try:
        text = path.read_text("utf-8")
        made = tomllib.loads(text)
    except OSError as exc:
        raise SettingsError(
            f"{path}: calibrated costs cannot be read ({exc.strerror}); `python main.py calibrate RUN --out FILE` "
            "writes them") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: this is no file of calibrated costs: {exc}") from exc
    missing = [key for key in ("hash", "calibration", "costs", "intervals") if key not in made]
    if missing:
        raise SettingsError(f"{path}: this is no file of calibrated costs: it has no {', '.join(missing)}")
    body = text.partition("\n")[2]
    found = sha256(body.encode()).hexdigest()
    if made["hash"] != found:
        raise SettingsError(
            f"{path}: it was changed after it was measured (its hash is {found[:12]}, it says {made['hash'][:12]}); "
            "calibrate again, or set the costs themselves instead of costs.calibrated")
    about = made["calibration"]
    intervals = {name: (float(low), float(high)) for name, (low, high) in made["intervals"].items()}
    return CalibratedCosts(about["name"], about["version"], found, made["costs"], intervals)


def with_calibrated(value: Any, folder: Path) -> Any:
    """Return [costs] with what a calibration says, where nothing else is set beside it."""
    if not isinstance(value, Mapping) or not value.get("calibrated") or value.get("calibrated_as"):
        return value
    kept = read_calibration(Path(folder, Path(str(value["calibrated"])).expanduser()).resolve())
    by_hand = [name for name in COSTS if name in value]
    said = f"{kept.reference} ({CAVEAT}{'; set by hand: ' + ', '.join(by_hand) if by_hand else ''})"
    return {**kept.costs, **value, "calibrated_as": said}
