# `make demo` shows the main job, `make test` proves it. Needs Python 3.11 or newer, Node and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PYTHONPATH := platform:.
# Compiled modules make every start of a process twice as fast.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo up test lint format types check lock clean

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
	@$(BIN)/python -m devstack.cluster build
	@exec $(BIN)/python -m pytest $(ARGS)

lint: install ## Check style, types and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: ## Everything that has to hold before a change lands.
	@.ci/run

lock: install ## Resolve the dependencies anew.
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --extra embedded --extra dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url pyproject.toml --output-file requirements.runtime.lock

clean: ## Remove the embedded stack's state.
	rm -rf .state
