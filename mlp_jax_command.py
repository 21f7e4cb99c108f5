"""The program mlp-jax, before it imports anything that takes time: a Ctrl-C so early is answered with one line too."""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Run the command line; returns the exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # and not ignored, as in the background of some shells
        signal.signal(signal.SIGINT, _end)
    try:
        import jax  # noqa: F401 (reads its settings)
    except ValueError as error:
        print(f"mlp-jax: error: JAX cannot be set up as the environment asks: {error}", file=sys.stderr)
        return 2
    from mlp_jax import cli

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    return cli.main()


def _end(_: int, __: FrameType | None) -> None:
    """End at once: nothing is begun, and an exception may be lost in an import."""
    os.write(2, b"mlp-jax: interrupted: no run was written\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
