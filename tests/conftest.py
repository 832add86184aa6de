"""Fixtures of all tests; they live in tests/support, one noun a file."""

pytest_plugins = [
    "tests.support.environment",
    "tests.support.folder",
    "tests.support.nats",
    "tests.support.project",
    "tests.support.cli",
    "tests.support.stack",
    "tests.support.bridge",
    "tests.support.browser",
    "tests.support.artifacts",
    "tests.support.coding_agent",
    "tests.support.coding_sessions",
    "tests.support.desk",
    "tests.support.repository",
    "tests.support.sandbox",
    "tests.support.workplace",
]
