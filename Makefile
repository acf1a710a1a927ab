# Everything here works on a machine that has Python 3.11 or newer and make, and nothing else.
# Variables may be given on the command line, e.g. `make serve ARGS="--port 9000"`; SWARMHOLD_* of the environment reaches
# the server as it is.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The Python that makes the environment. The first that is new enough and can make one is taken; name another with PY=.
PY ?=
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# What follows the command of `serve`, `demo`, `test`, `bench` and `chaos`.
ARGS ?=
# How tests are distributed: a file stays in one process, since its tests share a server, and the order of the files stays,
# since the slow ones come first. PARALLEL= runs them one by one.
PARALLEL ?= -n auto --dist loadfile --no-loadscope-reorder
# How many kills `make chaos` does per scenario.
CHAOS_ROUNDS ?= 50

LOCKS := requirements.lock requirements-dev.lock requirements-build.lock
SOURCES := app clients tests $(wildcard benchmarks) $(wildcard examples)

# Compiled modules are kept: each server that a test starts would compile hundreds of them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv venv-run serve demo test test-fast check format-check lint types imports fmt lock openapi openapi-check docs docs-check bench schemathesis chaos \
	browser-deps audit clean

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | while IFS= read -r line; do \
		printf '  %-14s %s\n' "$${line%%:*}" "$${line##*## }"; done

# --- The environment -------------------------------------------------------------------------------------------------

$(VENV)/.python:
	@PY="$(PY)"; \
	new_enough() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; \
	if [ -n "$$PY" ]; then \
		new_enough "$$PY" || { echo "PY=$$PY is not Python 3.11 or newer with the venv module" >&2; exit 1; }; \
	else \
		for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do \
			if new_enough "$$candidate"; then PY="$$candidate"; break; fi; \
		done; \
		[ -n "$$PY" ] || { echo "swarmhold needs Python 3.11 or newer with its venv module (on Debian also the package" \
			"python3-venv); none was found. Name one: make PY=/path/to/python3.11" >&2; exit 1; }; \
	fi; \
	echo "making $(VENV) with $$("$$PY" --version)"; \
	"$$PY" -m venv $(VENV)
	@touch $@

# The package itself is installed in place, by a build backend that is locked as well.
define install_package
	@$(PIP) install --require-hashes -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
endef

$(VENV)/.run: $(VENV)/.python requirements.lock requirements-build.lock pyproject.toml
	@echo "installing what the server needs"
	@$(PIP) install --require-hashes -r requirements.lock
	$(install_package)
	@touch $@

# The development lock holds the other one, version for version.
$(VENV)/.dev: $(VENV)/.python $(LOCKS) pyproject.toml
	@echo "installing what development needs"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	$(install_package)
	@touch $(VENV)/.run $@

venv: $(VENV)/.dev ## Make the environment for development

venv-run: $(VENV)/.run ## Make the environment for serving alone

# --- Running it ------------------------------------------------------------------------------------------------------

serve: $(VENV)/.run ## Serve one node on 127.0.0.1:7777 with its data in ./data
	@exec $(BIN)/swarmhold serve $(ARGS)

demo: $(VENV)/.run ## Run a whole swarm against a server of its own and show what came of it
	@exec $(BIN)/swarmhold demo $(ARGS)

# --- Development -----------------------------------------------------------------------------------------------------

test: $(VENV)/.dev ## Run every test
	@exec $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

# Without PostgreSQL, whose tests hold the same contract, and with one test of a whole node.
test-fast: $(VENV)/.dev ## Run the tests that are quick, in less than two minutes
	@SWARMHOLD_TEST_HISTORIES=5 exec $(BIN)/python -m pytest $(PARALLEL) -m "not slow and not chaos" -k "not postgres" \
		tests/architecture tests/unit tests/property tests/contract \
		tests/e2e/cli/test_examples.py::test_curl_walks_through_a_whole_life $(ARGS)

check: format-check lint types imports openapi-check docs-check ## Everything that is checked without running the tests

format-check: $(VENV)/.dev
	$(BIN)/ruff format --check

lint: $(VENV)/.dev
	$(BIN)/ruff check

types: $(VENV)/.dev
	$(BIN)/pyright --warnings

imports: $(VENV)/.dev
	$(BIN)/lint-imports

openapi-check: $(VENV)/.dev
	$(BIN)/swarmhold openapi --check

docs-check: $(VENV)/.dev
	$(BIN)/swarmhold configuration --check

fmt: $(VENV)/.dev ## Format the code and fix what can be fixed by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

openapi: $(VENV)/.dev ## Write openapi/ anew
	$(BIN)/swarmhold openapi

docs: $(VENV)/.dev ## Write docs/configuration.md anew
	$(BIN)/swarmhold configuration

bench: $(VENV)/.dev ## Measure, and write benchmarks/results.md
	@exec $(BIN)/python -m benchmarks $(ARGS)

schemathesis: $(VENV)/.dev ## Try every operation of the OpenAPI document on a server of its own
	@exec $(BIN)/python -m tests.support.schemathesis_runs $(ARGS)

chaos: $(VENV)/.dev ## Kill servers while they work, longer than `make test` does
	@CHAOS_ROUNDS=$(CHAOS_ROUNDS) exec $(BIN)/python -m pytest tests/chaos --timeout 0 $(ARGS)

# Exact versions with digests and nothing that names where they come from.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) pyproject.toml

lock: $(VENV)/.dev ## Write the lock files anew (UPGRADE=1 takes newer versions)
	$(COMPILE) -o requirements.lock
	$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	$(subst pyproject.toml,,$(COMPILE)) --group build -o requirements-build.lock

audit: $(VENV)/.dev ## Look the locked versions up among the known vulnerabilities
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements-dev.lock

# The browser tests drive the system's Chromium, since a browser is no Python package.
browser-deps: ## Install Chromium for the browser tests, where that is possible
	@for name in chromium chromium-browser google-chrome; do \
		if command -v $$name >/dev/null; then echo "found $$(command -v $$name)"; exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		for attempt in 1 2 3; do \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core && exit 0; \
			echo "attempt $$attempt to install chromium failed" >&2; sleep 5; \
		done; \
		exit 1; \
	fi; \
	echo "no Chromium here and none can be installed: the browser tests will be skipped"

clean: ## Remove what was made, but not ./data
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
