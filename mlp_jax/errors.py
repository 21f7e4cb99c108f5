"""What this package raises when it is the user's input, or the machine, that is at fault."""

from pathlib import Path


class InputError(ValueError):
    """Bad input: one line that says what was wrong, what was expected and how to mend it."""


class DataError(InputError):
    """Data that cannot be used as asked: a damaged file, labels that do not fit the task, ..."""


class MissingExtraError(InputError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        super().__init__(
            f'{purpose} needs the package {package}, which is not installed: python -m pip install "mlp-jax[{extra}]"'
        )


class SweepStopped(Exception):  # noqa: N818 (nothing went wrong)
    """A sweep ended early because it was asked to; what was trained is saved, if it had a place to save to.

    Attributes:
        saved: the directory to resume from; None if there is none.
    """

    def __init__(self, saved: Path | None) -> None:
        super().__init__("stopped" if saved is None else f"stopped; saved in {saved}")
        self.saved = saved


class SweepWarning(UserWarning):
    """Something that a sweep went around, and that its user should know of."""
