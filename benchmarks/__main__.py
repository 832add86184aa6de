"""``python -m benchmarks [NAME …]``: run the named benchmarks, or all."""

from __future__ import annotations

import sys
from importlib import import_module

from benchmarks.report import print_machine

NAMES = (
    "cli",
    "sdk",
    "recording",
    "tracking",
    "million",
    "outage",
    "waiting",
    "hooks",
    "race",
    "order",
    "bridge",
    "projections",
    "restart",
    "serve",
    "queries",
    "artifacts",
    "bundles",
    "otlp",
    "frameworks",
)


def main(names: list[str]) -> None:
    """Run benchmarks one after another; never two at once."""
    unknown = set(names) - set(NAMES)
    if unknown:
        raise SystemExit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    print_machine()
    for name in names or NAMES:
        print(f"\n## {name}\n", flush=True)
        import_module(f"benchmarks.{name}").main([])


if __name__ == "__main__":
    main(sys.argv[1:])
