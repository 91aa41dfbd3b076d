# The same targets for people and for CI. Every one sets up what it needs; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

# The project's own tools first: .tools/bin holds the real OPA.
export PATH := $(CURDIR)/.tools/bin:$(PATH):/usr/sbin

PYTEST_ARGS ?=

.PHONY: help setup demo check gates architecture test e2e-sigstore proof mutation coverage policies fmt lock clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## Install what is missing: .venv from the hashed lock, OPA into .tools, Debian packages when root
	@scripts/setup dev

demo: ## Set up, then run the sample company: real servers, three cycles, verified and attested
	@scripts/setup demo
	@.venv/bin/access-reconciler demo --dir demo-company

test: setup gates ## Set up, then run every gate and every test
	@.venv/bin/pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

e2e-sigstore: setup ## Set up, build the real services of Sigstore and cosign, then sign and verify with them
	@scripts/sigstore-services
	@scripts/own-network .venv/bin/pytest -m services $(PYTEST_ARGS)

proof: setup ## Set up, then run the long proofs that `make test` leaves out
	@.venv/bin/pytest -m proof $(PYTEST_ARGS)

mutation: setup ## Change what decides and acts bit by bit; fails on a change that no test notices and nobody explained
	@.venv/bin/python -m tests.mutation.survivors

check: setup gates architecture ## Run the gates and the architecture tests only

gates:
	@echo "ruff" && .venv/bin/ruff check . && .venv/bin/ruff format --check .
	@echo "mypy" && .venv/bin/mypy
	@echo "import contracts" && .venv/bin/lint-imports --no-logo
	@echo "docstrings" && .venv/bin/interrogate inventory reconciler
	@echo "dependencies" && .venv/bin/deptry inventory reconciler
	@echo "locks" && scripts/check-locks

architecture:
	@.venv/bin/pytest tests/architecture

coverage: setup ## Run the tests with branch coverage and hold it against the thresholds
	@.venv/bin/pytest --cov --cov-report= $(PYTEST_ARGS)
	@.venv/bin/coverage report --skip-covered --fail-under=95
	@.venv/bin/coverage report --include='reconciler/core/*' --skip-covered --fail-under=100

policies: setup ## Check and test the Rego policies with the real OPA, at full coverage
	@.venv/bin/access-reconciler policies check policies
	@.venv/bin/access-reconciler policies test policies

fmt: setup ## Format Python and Rego, and mend what the linter can mend
	@.venv/bin/ruff check --fix-only --quiet . && .venv/bin/ruff format .
	@if command -v opa >/dev/null && [ -d policies ]; then opa fmt --write policies; fi

lock: setup ## Compile the hashed locks after a change of dependencies (UPGRADE=1: the newest of everything)
	@requirements/lock.sh

clean: ## Remove caches, builds and the demo's folder; .venv and .tools stay
	@rm -rf build dist demo-company .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -path ./.venv -prune -o -path ./.tools -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
