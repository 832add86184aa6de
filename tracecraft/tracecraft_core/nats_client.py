"""nats-py's client, without paying for its JetStream helpers until somebody touches them.

``import nats`` also imports ``nats.js``: 16 ms of the 150 ms of a one-shot command (docs/decisions/0006-start-up.md),
for helpers that core does not use (it speaks JetStream's own API). So a stand-in takes its place, which loads the real
package at the first access to anything in it; nobody else notices a difference. `importlib.util.LazyLoader` cannot do
this: the import statement itself looks at the module and so loads it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_NAME = "nats.js"


class _Deferred(ModuleType):
    """Stands for a package until an attribute of it is wanted."""

    def __getattr__(self, attribute: str) -> Any:
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        real = import_module(_NAME)
        sys.modules["nats"].js = real  # type: ignore[attr-defined]
        return getattr(real, attribute)


if "nats" not in sys.modules:
    sys.modules[_NAME] = _Deferred(_NAME)
    import nats

    # The import statement sets this only for a module that it loads itself.
    nats.js = sys.modules[_NAME]

from nats import errors  # noqa: E402
from nats.aio.client import Client  # noqa: E402

__all__ = ["Client", "errors", "load"]


def load() -> None:
    """Load the rest, now: a child that is forked in the middle of an import on another thread never gets its end."""
    import_module("nats").js.api  # noqa: B018  # looking at it loads it
