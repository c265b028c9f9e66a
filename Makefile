# Needs Python 3.11 or newer, make and a package index. `make run` and `make test` install what they need into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DAGSTER_HOME := $(CURDIR)

.PHONY: setup run test ui bench prove lint types check clean help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(STAMP)  ## create .venv with the pinned environment

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,foundation,dev]'
	touch $(STAMP)

run: setup  ## the main job: simulated gold, from raw bars to a signal
	$(BIN)/quant run GC=F

test: setup  ## the test suite
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

ui: setup  ## the Dagster UI on http://127.0.0.1:3000
	$(BIN)/quant ui

bench: setup  ## every measured claim, against its named peer
	@for script in quant_pipeline_tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

prove: setup  ## minutes-long proofs: kill -9, 200-hour replay, null and known market
	$(BIN)/pytest -m long --override-ini 'addopts=-ra --import-mode=importlib' --timeout 1800

lint: setup  ## ruff, every rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy, strict
	$(BIN)/mypy

check: lint types test  ## everything that CI runs

clean:  ## remove the environment and everything the pipeline made (your data/raw stays)
	rm -rf $(VENV) data/lake data/bundles data/reports data/dagster quant_pipeline/__pycache__/kernels-* quant_pipeline/__pycache__/code-*
