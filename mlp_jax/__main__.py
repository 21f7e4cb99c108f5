"""``python -m mlp_jax``: the command line."""

import sys

from mlp_jax_command import main

if __name__ == "__main__":
    sys.exit(main())
