# `make demo` shows the main job, `make test` proves it. Needs Python 3.11 or newer, Node and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PYTHONPATH := platform:.
# Compiled modules make every start of a process twice as fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo up test soak attacks chaos fuzz bench lint audit format types check lock clean

help: ## Show this.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

.venv/installed: requirements.lock pyproject.toml package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

install: .venv/installed ## Make the virtual environment.

demo: install ## Start the platform, make a store, serve until Ctrl-C.
	@exec $(BIN)/python -m devstack demo

up: install ## Start the platform without a store.
	@exec $(BIN)/python -m devstack up

test: install ## Run all tests.
	@scripts/install-chromium.sh
	@scripts/install-php.sh
	@$(BIN)/python -m devstack.cluster build
	@exec $(BIN)/python -m pytest $(or $(ARGS),--cov --cov-report=term:skip-covered)

soak: install ## Kill parts at random while stores come and go (MINUTES=5 SEED=1).
	@$(BIN)/python -m devstack.cluster build
	@exec $(BIN)/python -m tests.faults.soak --minutes $(or $(MINUTES),5) --seed $(or $(SEED),1) $(if $(KILLS),--kills $(KILLS))

attacks: install ## Attack every point of a store's life with everything.
	@$(BIN)/python -m devstack.cluster build
	@WHOLE_MATRIX=1 exec $(BIN)/python -m pytest -v tests/faults/test_attacks.py tests/faults/test_races.py

chaos: install ## Check every answer while parts are killed at random (MINUTES=5 SEED=1); counts in .state/chaos.json.
	@$(BIN)/python -m devstack.cluster build
	@exec $(BIN)/python -m tests.faults.chaos --minutes $(or $(MINUTES),5) --seed $(or $(SEED),1) $(if $(KILLS),--kills $(KILLS))

fuzz: install ## Ask the API whatever its description allows and forbids, as each role (EXAMPLES=200); counts at its end.
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),200) exec $(BIN)/python -m pytest tests/access/test_fuzz.py --quiet --timeout 7200 $(ARGS)

bench: install ## Measure the platform (BENCH="--stores 20 --only burst" for less).
	@$(BIN)/python -m devstack.cluster build
	@exec $(BIN)/python -m benchmarks $(BENCH)

lint: install ## Check style, types and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml platform provisioning stores

audit: install ## Look for known vulnerabilities in what the locks pin; needs a source of advisories.
	@$(BIN)/python scripts/audit.py

format: install ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: ## Everything that has to hold before a change lands.
	@.ci/run

lock: install ## Resolve the dependencies anew.
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --extra embedded --extra dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras pyproject.toml --output-file requirements.runtime.lock

clean: ## Remove the embedded stack's state.
	rm -rf .state
