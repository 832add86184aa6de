"""`traced`: every call of a function as a step of the run around it."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from tracecraft.recording.place import PLACE, enter, step_out
from tracecraft.recording.step import Step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from tracecraft.recording.place import Place
    from tracecraft_core.run_events import StepKind

_P = ParamSpec("_P")
_R = TypeVar("_R")

MOST_ITEMS: Final = 1_000
"""Items of a generator that are recorded as its output."""


@overload
def traced(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...
@overload
def traced(
    *,
    name: str | None = None,
    kind: StepKind = "other",
    task: str | None = None,
    input: bool = True,
    output: bool = True,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...
def traced(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    kind: StepKind = "other",
    task: str | None = None,
    input: bool = True,
    output: bool = True,
) -> Any:
    """Record every call of a function as a step: ``@traced``, or ``@traced(kind="tool_call")``.

    Its arguments are the step's input, what it returns or yields the output, unless ``input`` or ``output`` is false.
    Works for functions, coroutines, generators and asynchronous generators. Outside of a run it changes nothing.
    """
    if function is None:
        return functools.partial(_traced, name=name, kind=kind, task=task, input=input, output=output)
    return _traced(function, name=name, kind=kind, task=task, input=input, output=output)


def _traced(
    function: Callable[..., Any], *, name: str | None, kind: StepKind, task: str | None, input: bool, output: bool
) -> Callable[..., Any]:
    call = _Call(function, name or function.__qualname__.replace("<locals>.", ""), kind, task, input, output)
    if inspect.isasyncgenfunction(function):
        return call.asynchronous_generator(function)
    if inspect.iscoroutinefunction(function):
        return call.coroutine(function)
    return call.generator(function) if inspect.isgeneratorfunction(function) else call.plain(function)


class _Call:
    """What calls of one function have in common."""

    def __init__(
        self, function: Callable[..., Any], name: str, kind: StepKind, task: str | None, input: bool, output: bool
    ) -> None:
        self._name, self._kind, self._task = name, kind, task
        self._input, self._output = input, output
        self._signature = inspect.signature(function)

    def _step(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Step | None:
        """The step of a call that begins now, if there is a run around it."""
        place: Place | None = PLACE.get()
        while place is not None and place.over:
            place = place._outer
        if place is None:
            return None
        model = getattr(place, "model", None)
        step = Step(place._book, place.agent_name, self._name, self._kind, task=self._task, model=model).start()
        if self._input:
            step.log_input(self._bound(arguments, named))
        return step

    def _bound(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = self._signature.bind(*arguments, **named).arguments
        except TypeError:  # the call itself will say so
            return {"args": arguments, **named}
        return {name: value for name, value in bound.items() if name not in ("self", "cls")}

    def plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            step = self._step(arguments, named)
            if step is None:
                return function(*arguments, **named)
            with _Inside(step, ends=True):
                result = function(*arguments, **named)
                if self._output:
                    step.log_output(result)
                return result

        return wrapper

    def coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*arguments: Any, **named: Any) -> Any:
            step = self._step(arguments, named)
            if step is None:
                return await function(*arguments, **named)
            with _Inside(step, ends=True):
                result = await function(*arguments, **named)
                if self._output:
                    step.log_output(result)
                return result

        return wrapper

    def generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **named: Any) -> Generator[Any, Any, Any]:
            step = self._step(arguments, named)
            source = function(*arguments, **named)
            if step is None:
                return (yield from source)
            items = _Items()
            advance, sent = source.send, None
            try:
                while True:
                    with _Inside(step):
                        item = advance(sent)
                    items.add(item)
                    try:
                        advance, sent = source.send, (yield item)
                    except GeneratorExit:
                        source.close()
                        raise
                    except BaseException as error:
                        advance, sent = source.throw, error
            except StopIteration as ended:
                self._ended(step, items, None)
                return ended.value
            except BaseException as error:
                self._ended(step, items, error)
                raise

        return wrapper

    def asynchronous_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*arguments: Any, **named: Any) -> AsyncGenerator[Any, Any]:
            step = self._step(arguments, named)
            source = function(*arguments, **named)
            items = _Items()
            advance, sent = source.asend, None
            try:
                while True:
                    with _Inside(step):
                        item = await advance(sent)
                    items.add(item)
                    try:
                        advance, sent = source.asend, (yield item)
                    except GeneratorExit:
                        await source.aclose()
                        raise
                    except BaseException as error:
                        advance, sent = source.athrow, error
            except StopAsyncIteration:
                self._ended(step, items, None)
            except BaseException as error:
                self._ended(step, items, error)
                raise

        return wrapper

    def _ended(self, step: Step | None, items: _Items, error: BaseException | None) -> None:
        if step is None:
            return
        if self._output:
            step.log_output(items.recorded())
        step.end(error)


class _Inside:
    """Code that runs inside of a step that has begun; a generator's body does so in pieces."""

    def __init__(self, step: Step | None, *, ends: bool = False) -> None:
        self._step, self._ends = step, ends

    def __enter__(self) -> None:
        if self._step is not None:
            enter(self._step)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._step is None:
            return
        if self._ends:
            self._step.end(error)
        step_out(self._step)


class _Items:
    """What a generator yielded."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._count = 0

    def add(self, item: Any) -> None:
        self._count += 1
        if self._count <= MOST_ITEMS:
            self._items.append(item)

    def recorded(self) -> Any:
        """All of them, or the first and how many there were."""
        return self._items if self._count <= MOST_ITEMS else {"items": self._items, "count": self._count}
