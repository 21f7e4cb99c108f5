"""What this package raises when it is the user's input that is wrong."""


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
