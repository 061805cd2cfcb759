# Everything a person needs, in two commands: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# One thread a process: two threads of one core are no faster, and the thread count alters bits.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

CHROMIUM ?= $(firstword $(shell command -v chromium chromium-browser google-chrome))
GET_CHROMIUM := apt-get update && apt-get install -y --no-install-recommends chromium fonts-liberation
export CHROMIUM SHOTS

.PHONY: help demo test test-many test-one install lint format lock clean notebooks test-nightly test-kernels test-kills test-e2e test-slurm test-postgres

help:            ## Say what each target does.
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(VENV)/.installed  ## Create .venv with the locked packages; does nothing when it is up to date.

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Expected Python 3.11 or newer, got " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: install    ## Train under attack on the embedded digits and compare attacks side by side.
	$(BIN)/fl-platform grid quick

test: install    ## The whole suite in two processes side by side, with line coverage.
	$(MAKE) --no-print-directory -j2 test-many test-one
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --skip-empty

# Two processes of pytest rather than workers of one: the grid forks, which a worker's threads forbid.
MANY  := tests/study tests/grid tests/faults
SUITE := $(BIN)/python -m coverage run --parallel-mode -m pytest -m "not nightly and not e2e"
NONE  := || test $$? -eq 5 # ARGS="-k ..." may leave one of the two without a test

test-many: install
	$(SUITE) $(MANY) $(ARGS) $(NONE)

test-one: install
	$(SUITE) tests $(MANY:%=--ignore=%) $(ARGS) $(NONE)

notebooks: install  ## Execute the notebooks of examples/ and store their outputs; NAMES= some of them.
	$(BIN)/python examples/execute.py $(NAMES)

test-nightly: install  ## The long fault and property tests, at most 30 minutes.
	$(BIN)/python -m pytest -m nightly $(ARGS)

# The simplest instructions round otherwise than those of newer processors.
SIMPLE := ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41
NUMERIC := tests/core tests/defenses tests/attacks tests/federated tests/metrics tests/models

test-kernels: install  ## The tests of numbers with the simplest instructions of the processor; none may depend on rounding.
	$(SIMPLE) $(BIN)/python -m pytest -m "not nightly" $(NUMERIC) $(ARGS)

test-kills: install  ## 300 runs killed at random instants and compared bit by bit.
	FL_FAULT_TRIALS=300 $(BIN)/python -m pytest tests/faults/test_kill.py -m nightly $(ARGS)

test-slurm: install  ## A grid over a real one-node SLURM; INSTALL=1 lets it use apt and root.
	INSTALL=$(INSTALL) PYTHON_BIN=$(BIN)/python tests/e2e/slurm.sh

test-postgres: install  ## A grid from two process groups into MLflow on PostgreSQL; INSTALL=1 as above.
	INSTALL=$(INSTALL) PYTHON_BIN=$(BIN)/python tests/e2e/postgres.sh

test-e2e: install  ## MLflow's page in a headless Chromium; INSTALL=1 fetches it, SHOTS=DIR keeps pictures.
	@test -n "$(CHROMIUM)" || test -z "$(INSTALL)" || { $(GET_CHROMIUM); }
	@command -v $(or $(CHROMIUM),chromium) >/dev/null || { echo "Expected Chromium, got none." \
	  "Run with INSTALL=1, or as root: $(GET_CHROMIUM)"; exit 1; }
	$(BIN)/python -m pytest -m e2e tests/e2e/test_browser.py $(ARGS)

.PHONY: site
site: install    ## The documentation site in build/site/index.html; a warning is an error.
	$(BIN)/python -m sphinx -W --keep-going -q -c docs . build/site

lint: install    ## ruff (lint, format) and mypy.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## Let ruff rewrite what it can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:            ## Pin every dependency with its hashes (needs uv).
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links -o requirements.lock

clean:           ## Forget the environment and caches; runs under mlruns/ stay.
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage build/site
