"""Tests of the adapters, each file in the environment of its framework: `make test-integrations`."""
