# Keyturn's commands. `make` alone lists them.
#
#   PYTHON=python3.12   the interpreter to make .venv with (3.11 or later)
#   ARGS='--port 9000'  passed on to `make run`, `make bench` and the tests
#   CHECK=--all         `make check` fails where a tool is missing that checks deploy/
#   BENCH=quick         the main figures of `make bench` alone, in under 50 s

PYTHON ?= python3
ARGS ?=
CHECK ?=
BENCH ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
# The locks are complete and hashed, so pip has nothing to resolve. Bytecode is written at the first
# import instead: most of it would never be used.
INSTALL := $(PIP) install --require-hashes --no-deps --no-compile
SELF := $(PIP) install --no-deps --no-index --no-build-isolation --editable .

# Stamps: written when an installation is whole. They stand in .venv and go with it.
SERVER := $(VENV)/.keyturn-server
DEV := $(VENV)/.keyturn-dev
# A .venv whose interpreter is gone (never made, or python was replaced) is made anew.
BROKEN := $(shell $(BIN)/python -c '' 2>/dev/null || echo force)

# Whatever the shell says: most of a start is compiling, unless it is kept.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test test-faults test-day screenshots check check-deploy bench format requests lock clean force

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1	/p' Makefile | while IFS='	' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

run: $(SERVER) ## start the service on this machine with two demo tenants and a key
	@exec $(BIN)/keyturn dev $(ARGS)

test: $(DEV) ## run all tests; starts PostgreSQL and Redis by itself
	@exec $(BIN)/python -m pytest $(ARGS)

test-faults: $(DEV) ## run the tests that break things for long
	@exec $(BIN)/python -m pytest -m slow_fault --numprocesses=3 $(ARGS)

test-day: $(DEV) ## play an operator's day: upgrade, rotation, failover, restore under load
	@exec $(BIN)/python -m pytest -m day -n0 -s --no-header -q $(ARGS) tests/day

screenshots: $(DEV) ## take the pictures of the console in deploy/console/ anew; needs Chromium
	@KEYTURN_REQUIRE_BROWSER=1 exec $(BIN)/python -m pytest -n0 -q --screenshots $(ARGS) tests/browser

check: $(DEV) ## lint, format, types, import arrows, openapi.yaml, deploy/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/openapi-spec-validator openapi.yaml
	$(BIN)/python deploy/requests/make.py --check
	$(BIN)/python deploy/check.py $(CHECK)

check-deploy: $(DEV) ## what deploy/ ships alone, by the tools of this machine
	@exec $(BIN)/python deploy/check.py $(CHECK)

bench: $(DEV) ## load a running service and print tokens per second; BENCH=quick is shorter
	@exec $(BIN)/python -m tests.bench $(addprefix --,$(BENCH)) $(ARGS)

format: $(DEV) ## put the sources in order
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

requests: $(DEV) ## make deploy/requests/ of openapi.yaml
	$(BIN)/python deploy/requests/make.py

lock: ## choose the newest dependencies and write deploy/lock/*.txt
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; mkdir -p deploy/lock; \
	$(PYTHON) -m venv "$$tmp"; \
	"$$tmp/bin/python" -m pip install --quiet --disable-pip-version-check uv; \
	compile() { \
		out=$$1; shift; echo "Resolving deploy/lock/$$out"; \
		"$$tmp/bin/uv" pip compile --quiet pyproject.toml --group build --universal \
			--python-version 3.11 --fork-strategy fewest --upgrade --generate-hashes \
			--no-emit-index-url --no-emit-find-links --no-header --annotation-style line \
			"$$@" --output-file "$$tmp/$$out" >/dev/null; \
		{ echo "# Written by \`make lock\`. One resolution for all platforms, with hashes."; \
			sed "s|$$tmp/||g" "$$tmp/$$out"; } > "deploy/lock/$$out"; \
	}; \
	compile server.txt --extra server; \
	compile image.txt --extra server --extra tracing --constraint "$$tmp/server.txt"; \
	compile dev.txt --extra server --extra tracing --extra dev --constraint "$$tmp/server.txt"

clean: ## remove .venv, caches and builds; leaves data directories alone
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg: $(BROKEN)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Keyturn needs Python 3.11 or later, and '$(PYTHON)' is:" \
			"$$($(PYTHON) --version 2>&1 || true)" >&2; \
		echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(SERVER): $(VENV)/pyvenv.cfg deploy/lock/server.txt pyproject.toml
	@echo "Installing the service from deploy/lock/server.txt"
	@$(INSTALL) -r deploy/lock/server.txt
	@$(SELF)
	@touch $@

# The dev lock holds the server lock's versions and more, so it fulfils both stamps.
$(DEV): $(VENV)/pyvenv.cfg deploy/lock/dev.txt deploy/lock/server.txt pyproject.toml
	@echo "Installing the service, tests and checks from deploy/lock/dev.txt"
	@$(INSTALL) -r deploy/lock/dev.txt
	@$(SELF)
	@touch $(SERVER) $@
