"""`TracecraftCallback`: the listener on CrewAI's event bus."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from crewai.events import BaseEventListener, event_types  # noqa: F401 - importing the latter defines all events
from crewai.events.base_events import BaseEvent

from tracecraft.integrations.crewai.narration import Narration
from tracecraft.integrations.crewai.order import BEGINNING, ENDINGS, Order
from tracecraft.integrations.guard import guarded
from tracecraft.integrations.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracecraft.session import Session

logger = logging.getLogger(__name__)


class TracecraftCallback(BaseEventListener):
    """Records every crew of this process, from now on; making another one changes nothing.

    ``session`` is whose runs they are (default: those of `tracecraft.init`, else of the environment); the first that is
    made decides. Inside of ``with tracecraft.run(…)`` everything lies in that run.
    """

    def __init__(self, session: Session | None = None) -> None:
        _listener.choose(session)
        super().__init__()

    def setup_listeners(self, crewai_event_bus: Any) -> None:
        """Register for everything that begins or ends; CrewAI calls this."""
        for event_type in _scopes():
            crewai_event_bus.on(event_type)(_heard)


class _Listener:
    """The one of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Session | None = None
        self.tree: Tree | None = None
        self.order: Order | None = None

    def choose(self, session: Session | None) -> None:
        with self._lock:
            if self.tree is None:
                self.tree, self._session = Tree.shared("crewai", session), session
                self.order = Order(Narration(self.tree))
            elif session is not None and session is not self._session:
                logger.warning("CrewAI's crews are recorded already, as runs of the session that came first")


_listener: Final = _Listener()


def known_tree() -> Tree | None:
    """The tree of the process, once there is a callback."""
    return _listener.tree


def wait_for(key: str, seconds: float) -> None:
    """Wait until an event has come by; the bus tells of it in another thread than the one where it happens."""
    if _listener.order is not None:
        _listener.order.wait_for(key, seconds)


@guarded
async def _heard(source: Any, event: Any) -> None:
    # A coroutine, and one function for all: CrewAI runs coroutines one after the other in the order in which events
    # were emitted, functions in ten threads at once; and the same function registered twice is registered once.
    if _listener.order is not None:
        _listener.order.hear(source, event)


def _scopes() -> Iterator[type[Any]]:
    """The classes of all events that begin or end something; what is not known here is passed through."""
    for event_type in _subclasses(BaseEvent):
        name = event_type.model_fields["type"].default
        if isinstance(name, str) and name.rpartition("_")[2] in (BEGINNING, *ENDINGS):
            yield event_type


def _subclasses(event_type: type[Any]) -> Iterator[type[Any]]:
    for each in event_type.__subclasses__():
        yield each
        yield from _subclasses(each)
