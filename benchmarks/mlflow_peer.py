"""MLflow 3 in an environment of its own: none of its many dependencies meets ours."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIREMENT = "mlflow>=3,<4"
HOME = Path(__file__).parent.parent / ".venv-mlflow"
PROGRAM = Path(__file__).with_name("mlflow_calls.py")


def install() -> Path:
    """Make the environment at first use; returns its interpreter."""
    if not (HOME / "bin" / "mlflow").exists():
        print(f"installing {REQUIREMENT} into {HOME.name}", flush=True)
        venv.create(HOME, with_pip=True)
        subprocess.run([HOME / "bin" / "pip", "install", "-q", REQUIREMENT], check=True)
    return HOME / "bin" / "python"


def measure(uri: str, folder: Path, plan: Mapping[str, int]) -> tuple[str, dict[str, list[float]]]:
    """MLflow's version, and the seconds of each call of each kind, in a process of its own in ``folder``."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command = [str(install()), str(PROGRAM), uri, json.dumps(plan)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"MLflow with {uri} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer["version"], answer["took"]
