"""Spans into a file, which appears whole or not at all, or onto standard output.

``.json`` is one request in OTLP/JSON, ``.jsonl`` one request a line (what the collector's file exporter writes and its
receiver reads), ``.binpb`` and ``.pb`` one request in protobuf.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from tracecraft_cli.otlp_export.encoding import json_span
from tracecraft_cli.output import Unwritable
from tracecraft_core.errors import FileProblem, TracecraftError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tracecraft_cli.otlp_export.encoding import Encoder
    from tracecraft_cli.otlp_export.span import Span

STDOUT: Final = "-"
_PROTOBUF: Final = (".binpb", ".pb")


class Writer:
    """Writes batches of spans into an open file."""

    def __init__(self, out: IO[bytes], encoder: Encoder, suffix: str) -> None:
        self._out, self._encoder, self._suffix = out, encoder, suffix
        self._head, self._tail = encoder.json_frame()
        self._first = True

    def write(self, spans: Sequence[Span]) -> None:
        """Append a batch."""
        if self._suffix in _PROTOBUF:
            self._out.write(self._encoder.protobuf(spans))
        elif self._suffix == ".jsonl":
            self._out.write(self._encoder.json(spans) + b"\n")
        else:
            self._out.write((self._head if self._first else b",") + b",\n".join(map(json_span, spans)))
        self._first = False

    def finish(self) -> None:
        """Write what belongs behind the last span."""
        if self._suffix == ".json":
            self._out.write((self._head if self._first else b"") + self._tail + b"\n")


def check(target: str) -> str:
    """The form of a target. Raises `UsageError`."""
    if target == STDOUT:
        return ".json"
    suffix = Path(target).suffix.lower()
    if suffix not in (".json", ".jsonl", *_PROTOBUF):
        raise UsageError(
            f"--otlp {target}: the end of its name says what is written: .json, .jsonl, .binpb or .pb; "
            "an address begins with http:// or https://"
        )
    return suffix


@contextlib.contextmanager
def opened(target: str, encoder: Callable[[], Encoder]) -> Iterator[Writer]:
    """A writer for a target; a file is put into its place when the block ends well. Raises `FileProblem`."""
    suffix = check(target)
    if target == STDOUT:
        yield from _on_stdout(Writer(sys.stdout.buffer, encoder(), suffix))
        return
    path = Path(target)
    try:
        folder = path.absolute().parent
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", delete=False) as out:
            try:
                writer = Writer(out, encoder(), suffix)
                yield writer
                writer.finish()
                out.flush()
                os.chmod(out.name, 0o666 & ~_umask())
                os.replace(out.name, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(out.name)
                raise
    except TracecraftError:  # some of ours are an OSError too
        raise
    except OSError as error:
        raise FileProblem(target, error.strerror or str(error), "give another place with --otlp") from None


def _on_stdout(writer: Writer) -> Iterator[Writer]:
    try:
        yield writer
        writer.finish()
        sys.stdout.buffer.flush()
    except (BrokenPipeError, TracecraftError):
        raise
    except OSError as error:
        raise Unwritable(error.strerror) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
