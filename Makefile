# make demo: the main job.  make test: everything that a change must pass, with TensorFlow.
# make test-models: the tests of models on Keras's other backends, and those of tf_keras.
# Each sets up what it needs: virtual environments in .venv*, from the package registry.
# On a fresh machine only Python 3.11 (or later) and make are needed.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2
export MPLBACKEND ?= Agg

# All but what has a command of its own.
USUAL := not soak and not legacy and not cluster
# Many tests wait: for the ends of processes, for signals. Two at a time, a file in one process.
TWO := -n 2 --dist loadfile

# The build of torch without CUDA, whose index is asked for this one package alone. Where it cannot
# be reached, the registry's is taken.
TORCH       ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo test test-models test-jax test-torch test-legacy test-cluster lint types docs notebooks soak bench clean
.DEFAULT_GOAL := test

# The interpreter may come without ensurepip (Debian splits it off): then virtualenv brings pip.
%/made:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), sys.version' \
	  || { echo "Python 3.11 or later is needed; call make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $* \
	  || { rm -rf $*; $(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $*; } \
	  || { rm -rf $*; apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv $*; }
	touch $@

# What the demo needs; then what the tests need on top of it.
$(VENV)/demo-installed: $(VENV)/made pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[tensorflow-cpu,examples]'
	$(BIN)/python -m compileall -q batchflow
	touch $@

$(VENV)/dev-installed: $(VENV)/demo-installed
	$(BIN)/python -m pip install --quiet --editable '.[tensorflow-cpu,examples,dev]'
	touch $@

$(VENV)-jax/installed: $(VENV)-jax/made pyproject.toml
	$(VENV)-jax/bin/python -m pip install --quiet --editable '.[jax,examples,dev]' 'tensorboard>=2.18'
	touch $@

$(VENV)-torch/installed: $(VENV)-torch/made pyproject.toml
	$(VENV)-torch/bin/python -m pip install --quiet --no-deps --retries 0 --extra-index-url $(TORCH_INDEX) '$(TORCH)'
	$(VENV)-torch/bin/python -m pip install --quiet --editable '.[torch,examples,dev]' 'tensorboard>=2.18'
	touch $@

# tf_keras asks for tensorflow by name: the small build is as good, so that is installed before it.
$(VENV)-legacy/installed: $(VENV)-legacy/made pyproject.toml
	$(VENV)-legacy/bin/python -m pip install --quiet --editable '.[tensorflow-cpu,examples,dev]' 'pyyaml>=6'
	$(VENV)-legacy/bin/python -m pip install --quiet --no-deps 'tf_keras>=2.18'
	touch $@

demo: $(VENV)/demo-installed
	$(BIN)/python examples/digits.py

test: lint types $(VENV)/dev-installed
	$(BIN)/python -m pytest tests $(TWO) -m 'not tensorflow and $(USUAL)'
	$(BIN)/python -m pytest tests $(TWO) -m 'tensorflow and $(USUAL)'
	$(BIN)/python -m pytest README.md docs batchflow --doctest-modules

test-models: test-jax test-torch test-legacy

# What JAX has compiled is kept: the tests compile the same small models again and again.
test-jax: export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/$(VENV)-jax/compiled
test-jax: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
test-jax: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1

test-jax test-torch: test-%: $(VENV)-%/installed
	KERAS_BACKEND=$* $(VENV)-$*/bin/python -m pytest tests $(TWO) -m '(tensorflow or torch) and $(USUAL)'

test-legacy: $(VENV)-legacy/installed
	$(VENV)-legacy/bin/python -m pytest tests -m 'legacy and not soak'
	$(VENV)-legacy/bin/python -m pytest docs/reference/keras.md

# Ray and Dask, which start clusters on this machine.
$(VENV)-cluster/installed: $(VENV)-cluster/made pyproject.toml
	$(VENV)-cluster/bin/python -m pip install --quiet --editable '.[ray,dask,tensorflow-cpu,examples,dev]'
	touch $@

test-cluster: $(VENV)-cluster/installed
	$(VENV)-cluster/bin/python -m pytest tests -m 'cluster and not soak'
	$(VENV)-cluster/bin/python -m pytest docs/how-to/more_than_one_machine.md

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
	rm -rf $(VENV) $(VENV)-jax $(VENV)-torch $(VENV)-legacy $(VENV)-cluster build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
