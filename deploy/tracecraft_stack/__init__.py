"""A whole tracecraft on this machine: nats-server, PostgreSQL, SeaweedFS and the bridge as child processes.

`run_foreground` is ``tracecraft serve``, `detach` its ``--detach``, `stop_running` is ``tracecraft stop``. Tests and
programs use `Stack`, or one server alone (`NatsServer`), as context managers.
"""

from tracecraft_stack.background import detach, stop_running
from tracecraft_stack.foreground import run_foreground
from tracecraft_stack.nats_server import NatsServer
from tracecraft_stack.options import Change, Durability, StackEvent, StackOptions
from tracecraft_stack.postgres import PostgresServer
from tracecraft_stack.stack import Stack

__all__ = [
    "Change",
    "Durability",
    "NatsServer",
    "PostgresServer",
    "Stack",
    "StackEvent",
    "StackOptions",
    "detach",
    "run_foreground",
    "stop_running",
]
