"""`trace` and `run`: a team's stream, recorded while it passes."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tracecraft.integrations.autogen.model_calls import ModelCalls, ear
from tracecraft.integrations.autogen.narration import Narration
from tracecraft.integrations.guard import guarded
from tracecraft.integrations.tree import Tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from tracecraft.session import Session
    from tracecraft_core.run_events import EndStatus


def trace(
    stream: AsyncIterator[Any], *, name: str | None = None, model: str | None = None, session: Session | None = None
) -> TracedStream:
    """Record what a team or an agent does: ``async for message in trace(team.run_stream(task=…))``.

    ``name`` is the run's (default: the team's). ``model`` is what a call is priced as whose client does not say which
    model it asked. ``session`` is whose run it is (default: of `tracecraft.init`, else of the environment). Inside of
    ``with tracecraft.run(…)`` it is a step of that run. The messages are AutoGen's own; a traced stream is not traced
    again.
    """
    if isinstance(stream, TracedStream):
        return stream
    return TracedStream(stream, name or _name_of(stream), model, session)


async def run(
    team: Any, *, name: str | None = None, model: str | None = None, session: Session | None = None, **arguments: Any
) -> Any:
    """``await team.run(**arguments)``, recorded: takes what `run` of the team takes, returns its ``TaskResult``."""
    async for message in trace(team.run_stream(**arguments), name=name, model=model, session=session):
        last = message
    return last


class TracedStream:
    """The messages of a stream, each recorded as it passes."""

    def __init__(self, stream: AsyncIterator[Any], name: str, model: str | None, session: Session | None) -> None:
        self._stream, self._name, self._model = stream, name, model
        self._tree = Tree.shared("autogen", session)
        self._calls = ModelCalls()
        self._narration: Narration | None = None
        self._begun = self._over = False
        self._listening = ExitStack()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if not self._begun:
            self._begun = True
            self._begin()
        try:
            with self._around():
                message = await anext(self._stream)
        except StopAsyncIteration:
            self._close("finished")
            raise
        except BaseException as error:
            self._fail(error)
            raise
        self._hear(message)
        return message

    async def aclose(self) -> None:
        """End early; what the stream would have said is not said."""
        try:
            close = getattr(self._stream, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._close()

    def __del__(self) -> None:
        if self._begun and not self._over:  # somebody left the loop, and nobody closed the stream
            self._close()

    @guarded
    def _begin(self) -> None:
        self._listening.enter_context(ear.open())
        self._narration = Narration(self._tree, self._calls, self._name, self._model)

    @contextmanager
    def _around(self) -> Iterator[None]:
        """While AutoGen works: its model calls are heard, and what its tools record lies inside of the run."""
        if self._narration is None:
            yield
            return
        with self._calls.heard(), self._tree.inside(self._narration.key):
            yield

    @guarded
    def _hear(self, message: Any) -> None:
        if self._narration is not None:
            self._narration.hear(message)

    @guarded
    def _fail(self, error: BaseException) -> None:
        if not self._over:
            self._over = True
            self._listening.close()
            if self._narration is not None:
                self._narration.fail(error)

    @guarded
    def _close(self, status: EndStatus = "killed") -> None:
        if not self._over:
            self._over = True
            self._listening.close()
            if self._narration is not None:
                self._narration.close(status)


def _name_of(stream: Any) -> str:
    """The name of the team whose generator this is."""
    frame = getattr(stream, "ag_frame", None)
    owner = frame.f_locals.get("self") if frame is not None else None
    name = getattr(owner, "name", None)
    return name if isinstance(name, str) and name else "team"
