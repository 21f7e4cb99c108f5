"""Compiled programs of single models: a process keeps the most recently used, and frees the memory of the others.

``jax.jit`` keeps a program for each shape for as long as its function lives, and so do the operations of ``jax.numpy``
outside of one; a program takes megabytes. Here every shape has a function of its own, and programs go with it.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import jax

from mlp_jax.machine.backend import require_jax

KEPT_PROGRAMS = 32
"""Programs that a process keeps: enough for several widths, each with a program to train and one to score."""


def run_compiled(
    function: Callable[..., Any],
    static: Mapping[str, Hashable],
    *arguments: Any,
    donate: Sequence[int] = (),
    compiler_options: Mapping[str, Any] | None = None,
) -> Any:
    """``function(*arguments, **static)``, compiled for the shapes of these arguments, pytrees of arrays.

    Args:
        function: a pure function, the same object each time.
        static: its other arguments by name; a program is compiled for their values.
        *arguments: arrays of JAX or NumPy.
        donate: positions of arguments whose buffers may be reused for results.
        compiler_options: as ``jax.jit`` takes them.

    Raises:
        InputError: JAX cannot be used in this process (``require_jax``).
    """
    require_jax()
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    options = tuple((compiler_options or {}).items())
    return _jitted(function, tuple(static.items()), structure, shapes, tuple(donate), options)(*arguments)


@lru_cache(maxsize=KEPT_PROGRAMS)
def _jitted(
    function: Callable[..., Any],
    static: tuple[tuple[str, Hashable], ...],
    structure: jax.tree_util.PyTreeDef,
    shapes: tuple[tuple[tuple[int, ...], Any], ...],
    donate: tuple[int, ...],
    options: tuple[tuple[str, Any], ...],
) -> Any:
    """A new function for this structure and these shapes, so that its programs are freed with it."""
    return jax.jit(partial(function, **dict(static)), donate_argnums=donate, compiler_options=dict(options))
