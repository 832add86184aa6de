"""The state file of a local stack: how clients find a stack that ``tracecraft serve`` started, without being told.

``serve`` writes it when the stack is ready and removes it when it stops. It holds the token of the bus, so its mode
is 600. A file whose supervisor is gone (killed) is ignored by `running_stack`.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

STATE_FILE = "stack.json"
"""Name of the state file, in the data folder of the stack."""


class StackState(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parts of a running stack are. URLs hold their secrets: never log them whole."""

    pid: int
    """Process id of the supervisor."""
    pid_started: float
    """When that process was created, seconds since the epoch, as psutil tells: pids are used again."""
    data: str
    """The data folder."""
    nats_url: str
    """``nats://<token>@127.0.0.1:<port>``."""
    nats_monitor_url: str
    """``http://127.0.0.1:<port>``, nats-server's own monitoring."""
    postgres_dsn: str = ""
    """libpq URL; empty when the stack runs without PostgreSQL."""
    s3_endpoint: str = ""
    s3_access_key: str = ""
    s3_secret_key: str = ""
    bridge_url: str = ""
    """``http://127.0.0.1:<port>`` with /metrics and /healthz."""
    otlp_url: str = ""
    """``http://127.0.0.1:<port>``: where the bridge receives OpenTelemetry, as ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
    otlp_token: str = ""
    """What exporters must send: ``OTEL_EXPORTER_OTLP_HEADERS=x-tracecraft-token=<token>``."""
    durability: str = "interval"
    """``interval`` (fsync every second) or ``durable`` (fsync before every acknowledgement)."""
    started: float = 0.0
    """Seconds since the epoch."""


def data_dir() -> Path:
    """The data folder of the default stack: ``$TRACECRAFT_DATA`` or the platform's user data folder."""
    chosen = os.environ.get("TRACECRAFT_DATA")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_path

    return user_data_path("tracecraft", appauthor=False)


def read_state(data: Path | None = None) -> StackState | None:
    """The state that a stack wrote into its data folder, whether or not it still runs; ``None`` without one."""
    try:
        return msgspec.json.decode(((data or data_dir()) / STATE_FILE).read_bytes(), type=StackState)
    except (OSError, msgspec.MsgspecError):
        return None


def has_served(data: Path | None = None) -> bool:
    """Whether a stack has ever run in a data folder, whether or not it runs now."""
    return ((data or data_dir()) / "nats").is_dir()


def running_stack(data: Path | None = None) -> StackState | None:
    """The stack that runs in a data folder, or ``None``: a state file left by a killed supervisor does not count."""
    state = read_state(data)
    return state if state is not None and _runs(state.pid, state.pid_started) else None


def _runs(pid: int, started: float) -> bool:
    """Whether the process that was made at ``started`` still runs; pids are used again, and zombies run no more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines() if "btime" in line)
    except (OSError, StopIteration):
        return True  # not Linux: the pid is all there is to go by
    state, ticks = stat[0], int(stat[19])
    made = int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return state != "Z" and (not started or abs(made - started) < 2)
