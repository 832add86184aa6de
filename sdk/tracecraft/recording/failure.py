"""How something ended: the status and the `Failure` of an exception."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final

from tracecraft_core.run_events import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracecraft_core.run_events import EndStatus

LONGEST_MESSAGE: Final = 2_000
"""Characters of an exception's message that are kept."""
LONGEST_TRACE: Final = 16_000
"""Characters of a traceback that are kept, of its beginning and its end."""


def failure(error: BaseException, clean: Callable[[str], str], *, trace: bool = True) -> Failure:
    """What is recorded of an exception, after ``clean`` has taken the secrets out; never raises."""
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return Failure(
        type=f"{module}{kind.__qualname__}",
        message=clean(_message(error)),
        trace=clean(_trace(error)) if trace else "",
    )


def reported(
    error: BaseException | Failure | None, clean: Callable[[str], str], *, trace: bool = True
) -> Failure | None:
    """What is recorded of an end: of an exception, or of what somebody else says of one; ``None`` for a good end."""
    if isinstance(error, Failure):
        return Failure(type=clean(error.type), message=clean(_cut(error.message)), trace=clean(error.trace))
    return None if error is None or succeeded(error) else failure(error, clean, trace=trace)


def succeeded(error: BaseException | Failure | None) -> bool:
    """Whether a block that ended with this did what it should: a program may leave it by ``sys.exit(0)``."""
    if isinstance(error, SystemExit):
        return error.code in (None, 0)
    return error is None or isinstance(error, GeneratorExit)


def end_status(error: BaseException | Failure | None) -> EndStatus:
    """How a run ended whose body raised ``error``: what is no `Exception` was an interrupt from outside."""
    if succeeded(error):
        return "finished"
    return "failed" if isinstance(error, (Exception, Failure)) else "killed"


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:
        return f"<its message raised {type(broken).__name__}>"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}… ({len(text):,} characters)"


def _trace(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:
        return ""
    if len(text) <= LONGEST_TRACE:
        return text
    half = LONGEST_TRACE // 2
    return f"{text[:half]}\n… ({len(text) - 2 * half:,} characters) …\n{text[-half:]}"
