"""Bundles: a finished run in one file, ``.tcb``, that opens without a server (docs/reference/bundle.md)."""

from tracecraft_core.bundle.layout import ChunkStats, Manifest, Member, Summary
from tracecraft_core.bundle.reader import BundleReader
from tracecraft_core.bundle.rollups import MetricRollup
from tracecraft_core.bundle.skeleton import AgentMark, MessageColumns, Skeleton, StepColumns, StepMark
from tracecraft_core.bundle.source import FileSource, HttpSource, Source
from tracecraft_core.bundle.writer import BundleWriter

__all__ = [
    "AgentMark",
    "BundleReader",
    "BundleWriter",
    "ChunkStats",
    "FileSource",
    "HttpSource",
    "Manifest",
    "Member",
    "MessageColumns",
    "MetricRollup",
    "Skeleton",
    "Source",
    "StepColumns",
    "StepMark",
    "Summary",
]
