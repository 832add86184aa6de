"""`Scope`: what can be logged in a run, as one of its agents, and in a step; the same names everywhere."""

from __future__ import annotations

import mimetypes
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, get_args

from tracecraft.recording import images
from tracecraft.recording.logbook import moment, now
from tracecraft.recording.place import Place
from tracecraft.recording.usage import Reading, amount, read, tokens
from tracecraft_core import values
from tracecraft_core.errors import UsageError
from tracecraft_core.run_events import MAX_NAME, ArtifactKind, Cause, LogLine, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from typing import Literal

    from tracecraft.recording.flushed import Flushed

LONGEST_LINE: Final = 64 * 1024
"""Characters of a log line that are kept; `Scope.log_text` keeps all of a text."""
LONGEST_NAME: Final = 512
"""Characters in the name of an artifact."""
_LEVELS: Final = ("debug", "info", "warning", "error")
_KINDS: Final = get_args(ArtifactKind)
_CAUSES: Final = get_args(Cause)


class Scope(Place):
    """A place that can be logged from. Nothing here waits for the bus; wrong use raises `UsageError` at the call."""

    __slots__ = ("model",)

    model: str | None
    """The model that is meant where a usage does not say."""

    @property
    def run_id(self) -> str:
        """Id of the run that is logged into."""
        return self._book.run

    def log_metric(self, key: str, value: float, step: int | None = None, *, time: float | None = None) -> None:
        """Log a point of a metric.

        ``value`` is a number, NaN and infinities included. ``step`` is a whole number from 0 to 2**62; without it, the
        next one of its key. ``time`` is in seconds since 1970 (default: now).
        """
        self._book.metric(self.agent_name, self._clean(key), value, step, now() if time is None else moment(time))

    def log_metrics(self, values: Mapping[str, float], step: int | None = None, *, time: float | None = None) -> None:
        """Log a point of each of several metrics, at the same step and time."""
        if not hasattr(values, "items"):
            raise UsageError(f"metrics {values!r}: a dict is expected, for example {{'loss': 0.3}}")
        at = moment(time)
        for key, value in values.items():
            self._book.metric(self.agent_name, self._clean(key), value, step, at)

    def log_param(self, key: str, value: Any) -> None:
        """Log a parameter of the run: any JSON."""
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters of the run."""
        self._book.log_params(self.agent_name, params)

    def log(
        self,
        text: str,
        *,
        level: Literal["debug", "info", "warning", "error"] = "info",
        time: float | None = None,
    ) -> None:
        """Log a line for people; ``time`` is in seconds since 1970 (default: now)."""
        if level not in _LEVELS:
            raise UsageError(f"level {level!r}: one of {', '.join(_LEVELS)} is expected")
        text = values.as_text(text)
        if len(text) > LONGEST_LINE:
            text = f"{text[:LONGEST_LINE]}… ({len(text):,} characters)"
        line = LogLine(text=self._book.text(text), time=moment(time), level=level, step=self.step_id)
        self._book.event(self.agent_name, "log", line)

    def log_usage(
        self,
        usage: Any = None,
        *,
        input: int | None = None,
        output: int | None = None,
        cache_read: int | None = None,
        cache_write: int | None = None,
        reasoning: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        cost: float | None = None,
        currency: str = "USD",
        request: str | None = None,
        cause: Cause | None = None,
        time: float | None = None,
    ) -> None:
        """Log what one model call used.

        ``usage`` is what OpenAI's, Anthropic's, Google's, Bedrock's or LangChain's client returned, the response or its
        usage, or a dict like it. The numbers are tokens in disjoint buckets: ``input`` without those read from or
        written to a cache, ``output`` without ``reasoning``; what is given wins over ``usage``. ``cost`` is what the
        source says it cost; left out it is made from a price list. The same ``request`` (the provider's id) counts
        once. ``cause`` is ``retry`` for a call that is paid for again, ``fork`` or ``replay`` for one that is not; in a
        run of that purpose the latter is the default, and ``original`` is for a call that really was made anew.
        ``time`` is in seconds since 1970 (default: now).
        """
        given = (usage, input, output, cache_read, cache_write, reasoning, cost)
        if all(one is None for one in given):
            raise UsageError("log_usage needs a usage or numbers, for example log_usage(input=1200, output=300)")
        cause = self._book.cause if cause is None else cause
        _check_call(cause, request, currency)
        seen = read(usage) if usage is not None else Reading()
        said = Usage(
            time=moment(time),
            step=self.step_id,
            task=self.task,
            provider=self._clean(provider or seen.provider),
            model=self._clean(model or seen.model or self.model),
            input=seen.input if input is None else tokens("input", input),
            cache_read=seen.cache_read if cache_read is None else tokens("cache_read", cache_read),
            cache_write=seen.cache_write if cache_write is None else tokens("cache_write", cache_write),
            output=seen.output if output is None else tokens("output", output),
            reasoning=seen.reasoning if reasoning is None else tokens("reasoning", reasoning),
            cost=seen.cost if cost is None else amount(cost),
            currency=currency,
            cause=cause,
            request=request or seen.request,
        )
        self._book.event(self.agent_name, "usage", said)

    def _clean(self, name: Any) -> Any:
        """A name without secrets; what is none is left to whoever checks it."""
        return self._book.text(name) if isinstance(name, str) else name

    def log_artifact(
        self,
        path: str | PathLike[str],
        name: str | None = None,
        *,
        kind: ArtifactKind = "file",
        media_type: str | None = None,
    ) -> None:
        """Log a file, or all files of a folder; they are uploaded in the background, equal ones once.

        ``name`` is its path inside the run (default: the file's name). A file over 16 MiB must stay as it is until the
        run has ended. Raises `UsageError` when it cannot be read.
        """
        if kind not in _KINDS:
            raise UsageError(f"kind {kind!r}: one of {', '.join(_KINDS)} is expected")
        source = Path(path)
        name = self._clean(_artifact_name(name if name is not None else source.resolve().name))
        if not source.is_dir():
            self._upload(source, name, kind, media_type)
            return
        for file in sorted(source.rglob("*")):
            if file.is_file():
                self._upload(file, f"{name}/{file.relative_to(source).as_posix()}", kind, media_type)

    def log_text(self, name: str, text: str) -> None:
        """Log a text as an artifact, such as ``log_text("prompt.md", prompt)``; secrets in it are redacted."""
        if not isinstance(text, str):
            raise UsageError(f"log_text({name!r}, …): {type(text).__name__} is no text")
        name = self._clean(_artifact_name(name))
        media_type = mimetypes.guess_type(name)[0] or "text/plain"
        self._upload_bytes(self._book.text(text).encode(), name, "text", media_type)

    def log_image(self, name: str, image: Any) -> None:
        """Log an image as an artifact, such as ``log_image("confusion.png", figure)``.

        ``image`` is the path or the bytes of an image file, a figure of matplotlib, an image of Pillow, or an array of
        NumPy: height x width, or height x width x 1 to 4 channels, from 0 to 255, or fractions from 0 to 1.
        """
        name = self._clean(_artifact_name(name))
        if isinstance(image, str) or hasattr(image, "__fspath__"):
            self.log_artifact(image, name, kind="image")
            return
        data, media_type = images.encode(image)
        if not PurePosixPath(name).suffix:
            name += mimetypes.guess_extension(media_type) or ""
        self._upload_bytes(data, name, "image", media_type)

    def _upload(self, path: Path, name: str, kind: ArtifactKind, media_type: str | None) -> None:
        media_type = media_type or mimetypes.guess_type(name)[0]
        try:
            self._book.writing.upload(
                path, name=name, kind=kind, media_type=media_type, step=self.step_id, agent=self.agent_name
            )
        except OSError as error:
            raise UsageError(f"artifact {name}: {path} cannot be read: {error.strerror or error}") from None
        except ValueError as error:  # NUL in the path
            raise UsageError(f"artifact {name}: {str(path)!r} is no path: {error}") from None

    def _upload_bytes(self, data: bytes, name: str, kind: ArtifactKind, media_type: str) -> None:
        self._book.writing.upload(
            data, name=name, kind=kind, media_type=media_type, step=self.step_id, agent=self.agent_name
        )


async def flush_async(scope: Scope, timeout: float | None) -> Flushed:
    """Wait up to ``timeout`` seconds, on any event loop, until all that was logged so far is acknowledged.

    For those who do not know which face of a run they log into. Raises `UsageError` outside of the run.
    """
    return await scope._book.writing.flush_async(timeout)


def _check_call(cause: str, request: str | None, currency: str) -> None:
    if cause not in _CAUSES:
        raise UsageError(f"cause {cause!r}: one of {', '.join(_CAUSES)} is expected")
    if request is not None and not 0 < len(request) <= MAX_NAME:
        raise UsageError(f"request {request!r}: an id of 1 to {MAX_NAME} characters is expected")
    if not (len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise UsageError(f"currency {currency!r}: three capital letters are expected, for example 'USD'")


def _artifact_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise UsageError(f"artifact {name!r}: a name of 1 to {LONGEST_NAME} characters is expected")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UsageError(f"artifact {name!r}: a path inside the run is expected, for example 'models/best.joblib'")
    return values.text(str(path))
