"""What can be asked of the bridge: subject ``tcsvc.<project>.<verb>``, JSON each way (docs/reference/queries.md).

An answer is a JSON object of the verb's answer type. A refusal has the headers ``Nats-Service-Error`` (text) and
``Nats-Service-Error-Code`` (400 bad question, 404 nothing there, 409 cannot be done now, 500 the bridge failed on it,
503 a store is away) and the body ``{"error": …, "hint": …}``, with ``kind`` and ``name`` when nothing of that name is
there (404). Lists come in pages: pass ``next`` of an answer as ``cursor`` of the next question. Times are RFC 3339,
UTC, with microseconds. An answer includes everything that the log held when the question came.
"""

from __future__ import annotations

from typing import Final

from tracecraft_core.queries.artifacts import (
    ArtifactRow,
    ArtifactsPage,
    ArtifactsQuestion,
    CommitQuestion,
    Committed,
    Download,
    GetQuestion,
    PartQuestion,
    PartUrls,
    PutQuestion,
    Upload,
)
from tracecraft_core.queries.bundles import BundleAnswer, BundleRow, Imported, ImportQuestion
from tracecraft_core.queries.costs import CostQuestion, CostReport, CostRow, Tokens, UnpricedRow
from tracecraft_core.queries.entries import EntriesPage, EntriesQuestion, Entry
from tracecraft_core.queries.metrics import Curve, MetricSummary, Plot, PlotQuestion, PointsPage, PointsQuestion
from tracecraft_core.queries.question import MAX_PAGE, PAGE, Answer, Question, RunQuestion
from tracecraft_core.queries.runs import AgentRow, Deleted, DeleteQuestion, RunDetail, RunRow, RunsList, RunsPage
from tracecraft_core.queries.state import LastStep, MailAt, MemoryValue, State, StateQuestion, TaskAt
from tracecraft_core.queries.steps import (
    Outline,
    OutlineGroup,
    SearchHit,
    SearchPage,
    SearchQuestion,
    StepRow,
    StepsList,
    StepsPage,
)
from tracecraft_core.queries.verification import RunVerification, VerifyQuestion, WriterReport

__all__ = [
    "MAX_PAGE",
    "PAGE",
    "VERBS",
    "AgentRow",
    "Answer",
    "ArtifactRow",
    "ArtifactsPage",
    "ArtifactsQuestion",
    "BundleAnswer",
    "BundleRow",
    "CommitQuestion",
    "Committed",
    "CostQuestion",
    "CostReport",
    "CostRow",
    "Curve",
    "DeleteQuestion",
    "Deleted",
    "Download",
    "EntriesPage",
    "EntriesQuestion",
    "Entry",
    "GetQuestion",
    "ImportQuestion",
    "Imported",
    "LastStep",
    "MailAt",
    "MemoryValue",
    "MetricSummary",
    "Outline",
    "OutlineGroup",
    "PartQuestion",
    "PartUrls",
    "Plot",
    "PlotQuestion",
    "PointsPage",
    "PointsQuestion",
    "PutQuestion",
    "Question",
    "RunDetail",
    "RunQuestion",
    "RunRow",
    "RunVerification",
    "RunsList",
    "RunsPage",
    "SearchHit",
    "SearchPage",
    "SearchQuestion",
    "State",
    "StateQuestion",
    "StepRow",
    "StepsList",
    "StepsPage",
    "TaskAt",
    "Tokens",
    "UnpricedRow",
    "Upload",
    "VerifyQuestion",
    "WriterReport",
]

VERBS: Final[dict[str, tuple[type[Question], type[Answer]]]] = {
    "runs.list": (RunsList, RunsPage),
    "runs.get": (RunQuestion, RunDetail),
    "runs.steps": (StepsList, StepsPage),
    "runs.outline": (RunQuestion, Outline),
    "runs.search": (SearchQuestion, SearchPage),
    "runs.plot": (PlotQuestion, Plot),
    "runs.points": (PointsQuestion, PointsPage),
    "runs.verify": (VerifyQuestion, RunVerification),
    "runs.bundle": (RunQuestion, BundleAnswer),
    "runs.import": (ImportQuestion, Imported),
    "runs.delete": (DeleteQuestion, Deleted),
    "log.entries": (EntriesQuestion, EntriesPage),
    "state.at": (StateQuestion, State),
    "cost": (CostQuestion, CostReport),
    "artifacts.put": (PutQuestion, Upload),
    "artifacts.part": (PartQuestion, PartUrls),
    "artifacts.commit": (CommitQuestion, Committed),
    "artifacts.get": (GetQuestion, Download),
    "artifacts.list": (ArtifactsQuestion, ArtifactsPage),
}
"""Every verb with its question and its answer."""
