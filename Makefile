# make demo: the main job.  make test: everything that a change must pass.
# Both set up what they need: a virtual environment in .venv, from the package registry.
# On a fresh machine only Python 3.11 (or later) and make are needed.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2
export MPLBACKEND ?= Agg

.PHONY: demo test lint types docs notebooks soak bench clean
.DEFAULT_GOAL := test

# The interpreter may come without ensurepip (Debian splits it off): then virtualenv brings pip.
$(VENV)/made:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), sys.version' \
	  || { echo "Python 3.11 or later is needed; call make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); $(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $(VENV); } \
	  || { rm -rf $(VENV); apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv $(VENV); }
	touch $@

# What the demo needs; then what the tests need on top of it.
$(VENV)/demo-installed: $(VENV)/made pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[tensorflow-cpu,examples]'
	$(BIN)/python -m compileall -q batchflow
	touch $@

$(VENV)/dev-installed: $(VENV)/demo-installed
	$(BIN)/python -m pip install --quiet --editable '.[tensorflow-cpu,examples,dev]'
	touch $@

demo: $(VENV)/demo-installed
	$(BIN)/python examples/digits.py

test: lint types $(VENV)/dev-installed
	$(BIN)/python -m pytest tests -m 'not soak and not tensorflow'
	$(BIN)/python -m pytest tests -m 'tensorflow and not soak'
	$(BIN)/python -m pytest README.md docs batchflow --doctest-modules

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/dev-installed
	$(BIN)/mypy

# The same checks, more of them and longer.
soak: $(VENV)/dev-installed
	$(BIN)/python -m pytest tests -m soak --timeout=3600

bench: $(VENV)/demo-installed
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
