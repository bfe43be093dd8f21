"""How a run ends that nobody ended: its journal was left by an error, by Ctrl-C, or just closed."""


def ending_of(error: BaseException | None) -> tuple[str, str]:
    """Return the status and the error text for a run whose journal is left with an exception, or with none."""
    if isinstance(error, Exception):
        return "failed", f"{type(error).__name__}: {error}"
    if error is not None:
        return "interrupted", type(error).__name__
    return "interrupted", "the journal was closed before the run ended"
