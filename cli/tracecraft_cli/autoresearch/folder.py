"""`Folder`: one experiment's folder, looked at now and then; what is new in it becomes batches to be written.

Only results.tsv, run.log and git are read. The log says that an experiment goes on: it has changed since the table has,
and belongs to the commit that is checked out, as the agent commits before it trains and goes back only behind its row.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import msgspec

from tracecraft_cli.autoresearch import assignments, naming, rows, training_log
from tracecraft_cli.autoresearch.memo import HEAD, Known, Live, Signature
from tracecraft_cli.autoresearch.trial import Branch, Change, Trial, best_of, progress
from tracecraft_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tracecraft_cli.autoresearch.memo import Memo
    from tracecraft_cli.autoresearch.repository import Repository
    from tracecraft_cli.autoresearch.rows import Row, Table
    from tracecraft_cli.autoresearch.training_log import TrainingLog
    from tracecraft_cli.autoresearch.trial import Batch, File, Kind

TABLE: Final = "results.tsv"
LOG: Final = "run.log"
SETTLED_S: Final = 3.0
"""Seconds after which a last line without a line break is no longer being written."""
MAX_TABLE: Final = 16 * 1024 * 1024
MAX_LOG: Final = 16 * 1024 * 1024
"""Bytes of a log in which steps are looked for."""
END_OF_LOG: Final = 64 * 1024
"""Bytes at the end of a longer one in which its summary is looked for."""
MAX_LOG_FILE: Final = 4 * 1024 * 1024
"""Bytes of a log that are kept as a file, the last ones."""
_CLOSE: Final = 1e-3
"""By how much, relatively, a value in the table may differ from that in the log: agents round."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a folder is to be understood."""

    script: str = "train.py"
    metric: str | None = None
    """``None``: the first column of numbers."""
    higher: bool = False


@dataclass(slots=True)
class News:
    """One thing that is new, to be written whole before it counts as known."""

    kind: Kind
    run: str
    text: str
    batches: list[Batch] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    slot: str = ""
    known: Known | None = None
    live: Live | None = None
    log_done: Signature | None = None


class Folder:
    """One folder. Not thread-safe; `look` takes as long as git does."""

    def __init__(self, path: Path, repository: Repository, memo: Memo, options: Options) -> None:
        self.path, self._repository, self._memo, self._options = path, repository, memo, options
        self._identity = repository.identity()
        self._seen: tuple[Signature | None, Signature | None, bool] | None = None
        self._branch: Branch | None = None
        self.problems: list[str] = []

    @property
    def branch(self) -> Branch | None:
        """The experiment that was going on here at the last `look`."""
        return self._branch

    def standing(self) -> str:
        """What is here, for people. Raises `UsageError` when the table does not have the metric that is asked for."""
        table = self._table(settled=True)
        if self._lacks_metric(table):
            metric, columns = self._options.metric, ", ".join(table.columns)
            raise UsageError(f"--metric {metric}: {TABLE} of {self.path.name} has no such column, but {columns}")
        yet = "" if (self.path / TABLE).is_file() else f", no {TABLE} yet"
        return f"{self.path.name} (branch {self._repository.branch()}{yet})"

    def _lacks_metric(self, table: Table) -> bool:
        metric = self._options.metric
        known = metric is None or metric in table.columns or any(metric in row.metrics for row in table.rows)
        return bool(table.columns) and not known

    def _branch_of(self, table: Table) -> Branch:
        identity = self._identity or self._repository.identity() or self.path.name
        metric = self._options.metric or (table.metric if table.columns else None)
        return Branch(identity, self._repository.branch(), metric, self._options.higher)

    def look(self) -> list[News]:
        """What is new since what `done` was told. Raises ``OSError`` for a table that cannot be read."""
        table, log = _signature(self.path / TABLE), _signature(self.path / LOG)
        settled = table is None or time.time() - table[2] / 1e9 >= SETTLED_S
        if (table, log, settled) == self._seen:
            return []
        found = self._news(self._table(settled=settled), table, log)
        if not found:
            self._seen = (table, log, settled)
        return found

    def done(self, news: News) -> None:
        """This is written."""
        facts = self._memo.facts
        if news.known is not None:
            facts.rows[news.slot] = news.known
        if news.log_done is not None:
            facts.log_done = news.log_done
        facts.live = news.live
        self._memo.save()

    def _table(self, *, settled: bool) -> Table:
        path = self.path / TABLE
        if not path.is_file():
            return rows.Table()
        with path.open("rb") as file:
            text = file.read(MAX_TABLE).decode("utf-8", "replace")
        return rows.parse(text, settled=settled)

    def _news(self, table: Table, written: Signature | None, log: Signature | None) -> list[News]:
        self.problems = list(table.problems)
        if self._lacks_metric(table):
            self.problems.append(f"no column is called {self._options.metric!r}: there are {', '.join(table.columns)}")
        facts = self._memo.facts
        branch = self._branch = self._branch_of(table)
        if table.rows:
            self._compare(table, branch.name)
        changed = [row for row in table.rows if not self._is_known(row)]
        if changed:
            return [self._row(branch, table, changed[0], log, last=changed[0] is table.rows[-1])]
        if log is None or log == facts.log_done:
            return []
        if facts.live is not None:
            return self._going_on(branch, facts.live, log)
        return self._begun(branch, table, written, log)

    def _compare(self, table: Table, branch: str) -> None:
        """Another table, begun anew for another branch, has rows of its own, also where their commits are the same."""
        facts, first = self._memo.facts, table.rows[0].key
        if facts.rows and branch != facts.branch and len(table.rows) < facts.count:
            facts.rows = {}
        elif facts.first not in ("", first):
            facts.rows = {slot: one for slot, one in facts.rows.items() if _holds(table, slot, one)}
        facts.first, facts.branch, facts.count = first, branch, len(table.rows)

    def _is_known(self, row: Row) -> bool:
        known = self._memo.facts.rows.get(_slot(row))
        return known is not None and known.text == row.text

    # -- a row -------------------------------------------------------------------------------------------------------

    def _row(self, branch: Branch, table: Table, row: Row, log: Signature | None, *, last: bool) -> News:
        before = self._memo.facts.rows.get(_slot(row))
        live = self._memo.facts.live if before is None else None
        if live is not None and (live.commit[: len(row.key)], live.occurrence) != (row.key, row.occurrence):
            live = None
        read = self._log_of(branch, row, log, ours=live is not None) if before is None and (live or last) else None
        if live is None and read is not None:
            live = self._memo.facts.live  # its row has another commit than the one that was there when it began
        trial = self._trial(branch, row, live, before)
        if live is None and read is not None and log is not None:
            trial = replace(trial, ended=max(trial.began, log[2] // 1000))
        news = News(
            "row" if before is None else "changed", trial.run, _said(row, branch), slot=_slot(row),
            known=Known(run=trial.run, text=row.text), live=None if live is not None else self._memo.facts.live,
        )  # fmt: skip
        news.log_done = log if read is not None else None
        news.batches += self._curve(trial, live, read, log)
        earlier = None if before is None else rows.parse(before.text).rows
        news.batches.append(trial.result(row, read, before=earlier[0] if earlier else None))
        news.batches.append(self._progress(branch, table, row, trial))
        if before is None:
            news.files = trial.files(self._log_bytes(MAX_LOG_FILE) if read is not None else b"")
        return news

    def _log_of(self, branch: Branch, row: Row, log: Signature | None, *, ours: bool) -> TrainingLog | None:
        """The log, when it is that of a row: it may be that of the next experiment already."""
        if log is None or log == self._memo.facts.log_done:
            return None
        read = self._log()
        return read if _fits(row, read, branch.metric, ours=ours) else None

    def _curve(self, trial: Trial, live: Live | None, read: TrainingLog | None, log: Signature | None) -> list[Batch]:
        """What of the log is not written yet, and that no more will come of it."""
        known = 0 if live is None else live.points
        if read is None or log is None:
            return [] if live is None else [trial.left(known, trial.ended)]
        if live is None and not read.points:
            return []
        first = [trial.beginning()] if live is None else []
        points = trial.points(read.points, known, log[2] // 1000)
        return [*first, points, trial.left(max(known, len(read.points)), trial.ended)]

    def _trial(self, branch: Branch, row: Row, live: Live | None, before: Known | None) -> Trial:
        change = self._change(row.commit)
        run = naming.trial(branch.repository, branch.name, row.key, row.occurrence)
        if live is not None:
            return Trial(live.run, replace(branch, name=live.branch), change, live.began, _now())
        if before is not None:
            run = before.run
        began = change.time or _now()
        return Trial(run, branch, change, began, began)

    def _progress(self, branch: Branch, table: Table, row: Row, trial: Trial) -> Batch:
        best = best_of(table.rows[: row.number], branch)
        known = self._memo.facts.rows.get(_slot(best)) if best is not None else None
        best_run = trial.run if best is row else known.run if known else ""
        return progress(branch, row, trial.run, best, best_run, trial.ended or _now())

    # -- an experiment that goes on ------------------------------------------------------------------------------------

    def _begun(self, branch: Branch, table: Table, written: Signature | None, log: Signature) -> list[News]:
        """A log that is newer than the table is that of the commit which is checked out."""
        head = self._repository.head()
        if not head or (written is not None and log[2] <= written[2]):
            return []
        occurrence = sum(row.key == head[: len(row.key)] for row in table.rows)
        run = naming.trial(branch.repository, branch.name, head[:7], occurrence)
        live = Live(
            run=run, branch=branch.name, commit=head, occurrence=occurrence, began=_now(), inode=log[0], size=log[1],
            seen=log[2], head=self._log_head(),
        )  # fmt: skip
        trial = Trial(run, branch, self._change(head), live.began)
        return [News("running", run, trial.change.subject or head[:7], [trial.beginning()], live=live)]

    def _going_on(self, branch: Branch, live: Live, log: Signature) -> list[News]:
        if self._is_another(live, log):
            trial = Trial(live.run, replace(branch, name=live.branch), Change(), live.began)
            return [News("abandoned", live.run, live.commit[:7], [trial.abandoned(_now())])]
        read = self._log()
        trial = Trial(live.run, branch, Change(), live.began)
        seen: Live = msgspec.structs.replace(
            live, size=log[1], seen=log[2], head=self._log_head(), points=len(read.points)
        )
        if len(read.points) > live.points:
            points = trial.points(read.points, live.points, log[2] // 1000)
            return [News("running", live.run, "", [points], live=seen)]
        self._memo.facts.live = seen
        return []

    def _is_another(self, live: Live, log: Signature) -> bool:
        """Whether the log is that of another experiment: it was begun anew, or grew while another commit was there."""
        if log[0] != live.inode or log[1] < live.size or not self._log_head().startswith(live.head):
            return True
        return log[2] != live.seen and self._repository.head() != live.commit

    # -- what is read --------------------------------------------------------------------------------------------------

    def _change(self, commit: str) -> Change:
        found = self._repository.commit(commit)
        if found is None:
            return Change(commit=commit)
        script = self._options.script
        after = assignments.constants(self._repository.source(found.id, script))
        earlier = assignments.constants(self._repository.source(found.parent, script))
        diff = self._repository.diff(found, script)
        return Change(
            commit=found.id,
            parent=found.parent,
            subject=found.subject,
            time=found.time * 1_000_000,
            constants=after,
            changed=assignments.changed(earlier, after) if earlier else {},
            patch_id=self._repository.patch_id(diff),
            diff=diff.encode("utf-8", "surrogateescape"),
        )

    def _log(self) -> TrainingLog:
        """What the log says. The points of a very long one are those of its beginning: each keeps its number."""
        with (self.path / LOG).open("rb") as file:
            begun = file.read(MAX_LOG)
        read = training_log.parse(begun.decode("utf-8", "replace"))
        if len(begun) < MAX_LOG:
            return read
        return replace(training_log.parse(self._log_bytes(END_OF_LOG).decode("utf-8", "replace")), points=read.points)

    def _log_bytes(self, most: int) -> bytes:
        with (self.path / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - most))
            return file.read(most)

    def _log_head(self) -> str:
        with (self.path / LOG).open("rb") as file:
            return file.read(HEAD).decode("latin-1")


def _signature(path: Path) -> Signature | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _slot(row: Row) -> str:
    return f"{row.key}/{row.occurrence}"


def _holds(table: Table, slot: str, known: Known) -> bool:
    """Whether a row that was known of another table stands in this one too."""
    return any(_slot(row) == slot and row.text == known.text for row in table.rows)


def _fits(row: Row, log: TrainingLog, metric: str | None, *, ours: bool) -> bool:
    """Whether a log can be that of a row: the value is the same, or there is none in both."""
    value, seen = row.metrics.get(metric or ""), log.summary.get(metric or "")
    if row.crashed or seen is None:
        return row.crashed and (ours or seen is None)
    if value is None:
        return ours
    return abs(value - seen) <= _CLOSE * max(abs(value), abs(seen), _CLOSE)


def _said(row: Row, branch: Branch) -> str:
    value = row.metrics.get(branch.metric or "")
    words = [row.status, *([f"{branch.metric} {value:g}"] if value is not None else []), row.description]
    return " ".join(filter(None, words))


def _now() -> int:
    return time.time_ns() // 1000
