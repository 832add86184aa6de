# Everything here works on a fresh machine with Python and make: the environment is made by the first target that needs it.
#   PYTHON=python3.12 make test        use this Python; it makes .venv anew when that has another version
#   make test ARGS='-k claims -x'      pass arguments on to the program
#   make test VENV=.venv-3.12          another environment beside the usual one

VENV := .venv
BIN := $(VENV)/bin
ARGS :=
ONLY :=

# The first of these that is new enough makes the environment.
ifdef PYTHON
PYTHONS := "$(PYTHON)"
else
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
endif
WITH_PYTHON = \
	for python in $(PYTHONS); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exec "$$python"

NO_PYTHON = \
	done; \
	echo "tracecraft: needs Python 3.11 or newer, and these are older, missing or broken:" $(PYTHONS) >&2; \
	echo "tracecraft: install one, or name one: make PYTHON=/path/to/python3" >&2; \
	exit 1

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo autoresearch coding-agents serve test test-integrations check format bench docs constraints clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

setup: ## Make the environment (.venv); every target below does it by itself
	@$(WITH_PYTHON) scripts/environment.py make "$(VENV)"; $(NO_PYTHON)

demo: setup ## Watch agents share work on a stack of their own
	@$(BIN)/python examples/stdlib_survey/demo.py $(ARGS)

autoresearch: setup ## Watch six researchers search for the best model, and replay the winner
	@$(BIN)/python examples/autoresearch/search.py $(ARGS)

coding-agents: ## Watch the real Claude Code and Codex share a repository; the first time it loads both (800 MB)
	@$(WITH_PYTHON) scripts/frameworks.py --only coding_agents --make; $(NO_PYTHON)
	@.venvs/coding_agents/bin/python examples/coding_agents/together.py $(ARGS)

serve: setup ## Run the whole stack in the foreground
	@$(BIN)/tracecraft serve $(ARGS)

test: setup ## Run the tests, four files at a time (they mostly wait for servers)
	@$(BIN)/python -m pytest -n 4 --dist loadfile $(ARGS)

test-integrations: ## Test the adapters, each framework in its own environment under .venvs; ONLY=crewai,hermes
	@$(WITH_PYTHON) scripts/frameworks.py --only "$(ONLY)" -- $(ARGS); $(NO_PYTHON)

check: setup ## Run the linter, the format check, the type checker and the layer rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format the code, and mend what the linter can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup ## Run the benchmarks
	@$(BIN)/python -m benchmarks $(ARGS)

docs: setup ## Write docs/reference anew from the code
	$(BIN)/python -m tracecraft_core.reference docs/reference

constraints: ## Resolve all versions anew and write constraints.txt
	@$(WITH_PYTHON) scripts/environment.py pin; $(NO_PYTHON)

clean: ## Remove caches and build results
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## Remove the environments too
	rm -rf .venvs
	@test ! -f "$(VENV)/pyvenv.cfg" || rm -rf "$(VENV)"
