"""tracecraft-ai 0.2.5, the S3-based peer, in its own environment: both packages are imported as ``tracecraft``."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracecraft_core.local import StackState

VERSION = "0.2.5"
HOME = Path(__file__).parent.parent / ".venv-peer"


def install() -> Path:
    """Make the environment at first use; returns the peer's command."""
    command = HOME / "bin" / "tracecraft"
    if not command.exists():
        print(f"installing tracecraft-ai {VERSION} into {HOME.name}", flush=True)
        venv.create(HOME, with_pip=True)
        subprocess.run([HOME / "bin" / "pip", "install", "-q", f"tracecraft-ai=={VERSION}"], check=True)
    return command


class Peer:
    """The peer's command line on the stack's own SeaweedFS."""

    def __init__(self, state: StackState, folder: Path) -> None:
        self.command = install()
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": state.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": state.s3_secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.run("init", "--endpoint", state.s3_endpoint, "--bucket", "peer", "--project", "bench", "--agent", "bench")

    def run(self, *arguments: str) -> None:
        """Run one command of the peer to its end."""
        subprocess.run(
            [self.command, *arguments], cwd=self.folder, env=self.environment, check=True, capture_output=True
        )


def ours(state: StackState, folder: Path) -> dict[str, str]:
    """The environment for our own command line against the same stack."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TRACECRAFT_SERVER": state.nats_url,
        "TRACECRAFT_PROJECT": "bench",
        "TRACECRAFT_AGENT": "bench",
    }


OUR_COMMAND = Path(sys.executable).with_name("tracecraft")
