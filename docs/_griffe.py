"""A griffe extension: of Annotated[kind, what mlp_jax makes of it], readers are shown the kind."""

from typing import Any

import griffe


class Unwrap(griffe.Extension):
    """Leave ``Annotated`` and everything after its first argument out of attributes' types."""

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called for each attribute."""
        found = attr.annotation
        if isinstance(found, griffe.ExprSubscript) and found.canonical_name == "Annotated":
            assert isinstance(found.slice, griffe.ExprTuple)
            attr.annotation = found.slice.elements[0]
