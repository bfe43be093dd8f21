"""The conformance kit under pytest: `pytest --strategy module:Class [--strategy-config FILE]` adds a test a check."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("barcast", "Barcast's conformance kit")
    group.addoption(
        "--strategy", action="append", default=[], metavar="STRATEGY",
        help="check a strategy: a name, module:Class, or a file; may be given several times",
    )
    group.addoption(
        "--strategy-config", metavar="FILE", default=None,
        help="settings of the market it is checked on; a made-up market if left out",
    )


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the strategies asked for to whatever else is collected."""
    settings = config.getoption("--strategy-config")
    for strategy in config.getoption("--strategy"):
        collector = StrategyChecks.from_parent(session, name=strategy, config_file=settings)
        items.extend(collector.collect())


class StrategyChecks(pytest.Collector):
    """The checks of one strategy."""

    def __init__(self, *, config_file: str | None, **options: Any) -> None:
        super().__init__(**options)
        self.config_file = config_file
        self._prepared: Any = None

    def collect(self) -> Iterator[pytest.Item]:
        """Return one item a check."""
        from engine.conformance import CHECKS

        for check in CHECKS:
            yield CheckItem.from_parent(self, name=check.name, check=check)

    def run_one(self, check: Any) -> Any:
        """Return the result of one check; the strategy is loaded and run for the first of them."""
        from config.conformance import asked_for, subject_for
        from engine.conformance import reference_of, run_check

        if self._prepared is None:
            subject = subject_for(asked_for(self.name, Path(self.config_file) if self.config_file else None))
            self._prepared = subject, reference_of(subject)
        return run_check(check, *self._prepared)


class CheckItem(pytest.Item):
    """One check of one strategy."""

    def __init__(self, *, check: Any, **options: Any) -> None:
        super().__init__(**options)
        self.check = check

    def runtest(self) -> None:
        """Run the check; what it found is the failure."""
        assert isinstance(self.parent, StrategyChecks)
        result = self.parent.run_one(self.check)
        if result.status == "skipped":
            pytest.skip(result.summary)
        if result.status == "failed":
            found = "\n".join(f"{finding.where or self.parent.name}: {finding.what}" for finding in result.findings)
            pytest.fail(f"{result.summary}\n{found}", pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return what a report calls it."""
        assert self.parent is not None
        return self.path, None, f"{self.parent.name}: {self.name}"
