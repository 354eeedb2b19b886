# make demo: the main job.  make test: everything that a change must pass, with TensorFlow.
# make test-models: the tests of models on Keras's other backends, and those of tf_keras.
# Each sets up what it needs: virtual environments in .venv*, from the package registry.
# On a fresh machine only Python 3.11 to 3.13 and make are needed.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
# What Python has compiled is kept: tests start hundreds of programs, and pytest compiles each test.
unexport PYTHONDONTWRITEBYTECODE
export TF_CPP_MIN_LOG_LEVEL ?= 2
export MPLBACKEND ?= Agg

# Where the sets of tested versions are, one for each environment. Without them (make SETS= ...) the
# newest releases are installed.
SETS ?= constraints

# All but what has a command of its own.
USUAL := not soak and not legacy and not cluster and not site
# Two at a time, each from its half of the files; who has done its half takes over from the end of
# the other's. Plain tests wait for a third of their time, for the ends of processes and for signals:
# of them three at a time keep two CPUs busy.
TWO   := -n 2 --dist worksteal
THREE := -n 3 --dist worksteal

# The release of torch for its set. Its build without CUDA has an index of its own, which is asked for
# this one package alone. Where it cannot be reached, the registry's is taken.
TORCH       ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

comma := ,

.PHONY: demo test test-plain test-tensorflow test-docs docs notebooks test-models test-jax test-torch
.PHONY: test-legacy test-package test-cluster test-newest test-oldest lint types constraints soak bench clean
.DEFAULT_GOAL := test
.NOTPARALLEL:

# $(call pip,environment,set): how packages are installed there.
pip = $(1)/bin/python -m pip install --quiet $(if $(SETS),--constraint $(SETS)/$(2).txt)

# $(call install,environment,set,extras): this package there, and what it needs. What builds it is of
# the set, too.
define install
	$(call pip,$(1),$(2)) 'setuptools>=77'
	$(call pip,$(1),$(2)) --no-build-isolation --editable '.[$(3)]'
endef

# $(call set,name): the file of a set, if there is one.
set = $(wildcard $(SETS)/$(1).txt)

# $(call say,environment,what,minutes)
say = @echo "Installing $(2) into $(1), from the package registry: about $(3) minutes, this time only."

# The interpreter may come without ensurepip (Debian splits it off): then virtualenv brings pip.
%/made:
	@$(or $(PYTHON),python3) .ci/python_fits.py \
	  || { echo "make needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.13 ..."; exit 1; }
	$(PYTHON) -m venv $* \
	  || { rm -rf $*; $(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $*; } \
	  || { rm -rf $*; apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv $*; }
	@touch $@

# What the demo needs; then what the tests need on top of it.
$(VENV)/demo-installed: $(VENV)/made pyproject.toml $(call set,tensorflow)
	$(call say,$(VENV),TensorFlow$(comma) Keras$(comma) scikit-learn and matplotlib,3 to 4)
	$(call install,$(VENV),tensorflow,tensorflow-cpu$(comma)examples)
	$(BIN)/python -m compileall -q batchflow
	@touch $@

$(VENV)/dev-installed: $(VENV)/demo-installed
	$(call say,$(VENV),what the tests need,2)
	$(call install,$(VENV),tensorflow,tensorflow-cpu$(comma)examples$(comma)dev)
	@touch $@

$(VENV)/docs-installed: $(VENV)/dev-installed
	$(call say,$(VENV),what builds the documentation,1)
	$(call install,$(VENV),tensorflow,tensorflow-cpu$(comma)examples$(comma)dev$(comma)docs)
	@touch $@

$(VENV)-jax/installed: $(VENV)-jax/made pyproject.toml $(call set,jax)
	$(call say,$(VENV)-jax,Keras with JAX and what the tests need,3)
	$(call install,$(VENV)-jax,jax,jax$(comma)examples$(comma)dev)
	@touch $@

$(VENV)-torch/installed: $(VENV)-torch/made pyproject.toml $(call set,torch)
	$(call say,$(VENV)-torch,Keras with torch and what the tests need,3 to 6)
	$(call pip,$(VENV)-torch,torch) --no-deps --retries 0 --extra-index-url $(TORCH_INDEX) torch
	$(call install,$(VENV)-torch,torch,torch$(comma)examples$(comma)dev)
	@touch $@

# tf_keras asks for tensorflow by name: the small build is as good, so that is installed before it.
$(VENV)-legacy/installed: $(VENV)-legacy/made pyproject.toml $(call set,legacy)
	$(call say,$(VENV)-legacy,tf_keras with TensorFlow and what the tests need,4)
	$(call install,$(VENV)-legacy,legacy,tensorflow-cpu$(comma)examples$(comma)dev)
	$(call pip,$(VENV)-legacy,legacy) 'pyyaml>=6'
	$(call pip,$(VENV)-legacy,legacy) --no-deps 'tf_keras>=2.18'
	@touch $@

demo: $(VENV)/demo-installed
	$(BIN)/python examples/digits.py

# `make -k test` goes on behind the first of these that fails.
test: lint types test-plain test-tensorflow test-docs

test-plain: $(VENV)/dev-installed
	$(BIN)/python -m pytest tests $(THREE) -m 'not tensorflow and $(USUAL)'

test-tensorflow: $(VENV)/dev-installed
	$(BIN)/python -m pytest tests $(TWO) -m 'tensorflow and $(USUAL)'

# Every block of code and every output in README, docs and docstrings: a page in one process, from top
# to bottom.
test-docs: $(VENV)/dev-installed
	$(BIN)/python -m pytest README.md docs batchflow --doctest-modules -n 2 --dist loadfile

# The site, in build/site: notebooks are executed, warnings and dead links are errors. Then a browser
# opens some of its pages, if there is one (Chromium).
docs: $(VENV)/docs-installed
	$(BIN)/python docs/site/build.py
	$(BIN)/python -m pytest tests/site -m site

# What users install: a wheel and a source distribution, each in an environment with nothing else.
test-package: $(VENV)/dev-installed
	rm -rf build/package
	$(BIN)/python -m build --no-isolation --outdir build/package .
	for file in build/package/*.whl build/package/*.tar.gz; do \
	  rm -rf build/bare && $(BIN)/python -m venv build/bare \
	  && $(call pip,build/bare,tensorflow) 'setuptools>=77' \
	  && $(call pip,build/bare,tensorflow) --no-build-isolation $$file \
	  && (cd build/bare && bin/python -W error -c 'import batchflow' && bin/python -m batchflow doctor) \
	  || exit 1; \
	done

notebooks: $(VENV)/dev-installed
	$(BIN)/python -m pytest tests/notebooks

# What the registry has today, in an environment of its own that is made anew.
test-newest:
	rm -rf .venv-newest
	$(MAKE) test VENV=.venv-newest SETS=

# The lowest versions that pyproject.toml allows, on the lowest Python.
test-oldest:
	@$(PYTHON) .ci/python_fits.py 3.11 \
	  || { echo "make test-oldest needs Python 3.11: make PYTHON=/path/to/python3.11 test-oldest"; exit 1; }
	$(MAKE) test-plain test-tensorflow test-docs VENV=.venv-oldest SETS=constraints/oldest

# The sets of tested versions, made again of what the registry has today.
constraints: $(VENV)-constraints/made
	$(VENV)-constraints/bin/python -m pip install --quiet uv
	UV=$(VENV)-constraints/bin/uv sh constraints/remake.sh '$(TORCH)'

test-models: test-jax test-torch test-legacy

# What JAX has compiled is kept: the tests compile the same small models again and again.
test-jax: export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/$(VENV)-jax/compiled
test-jax: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
test-jax: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1

# Threads of torch wait for each other by turning round: two programs of two take the CPUs from each other.
test-torch: export OMP_NUM_THREADS = 1

test-jax test-torch: test-%: $(VENV)-%/installed
	KERAS_BACKEND=$* $(VENV)-$*/bin/python -m pytest tests $(TWO) -m '(tensorflow or torch or jax) and $(USUAL)'
	$(if $(filter torch,$*),$(VENV)-torch/bin/python -m pytest docs/how-to/torch.md)

test-legacy: $(VENV)-legacy/installed
	$(VENV)-legacy/bin/python -m pytest tests -m 'legacy and not soak'
	$(VENV)-legacy/bin/python -m pytest docs/reference/keras.md

# Ray and Dask, which start clusters on this machine. Ray trains a module of torch, too.
$(VENV)-cluster/installed: $(VENV)-cluster/made pyproject.toml $(call set,cluster)
	$(call say,$(VENV)-cluster,Ray$(comma) Dask and what the tests need,6)
	$(call pip,$(VENV)-cluster,cluster) --no-deps --retries 0 --extra-index-url $(TORCH_INDEX) torch
	$(call install,$(VENV)-cluster,cluster,ray$(comma)dask$(comma)tensorflow-cpu$(comma)examples$(comma)dev)
	$(call pip,$(VENV)-cluster,cluster) 'ray[train]' torch
	@touch $@

test-cluster: $(VENV)-cluster/installed
	$(VENV)-cluster/bin/python -m pytest tests -m 'cluster and not soak'
	$(VENV)-cluster/bin/python -m pytest docs/how-to/more_than_one_machine.md

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The package and tests/typing, which is what users write: that pyright reads, too.
# Both at once: each keeps one CPU busy.
types: $(VENV)/dev-installed
	@echo "$(BIN)/mypy & $(BIN)/pyright"
	@$(BIN)/mypy & package=$$!; $(BIN)/pyright --pythonpath $(BIN)/python; users=$$?; \
	  wait $$package && exit $$users

# The same checks, more of them and longer.
soak: $(VENV)/dev-installed $(VENV)-torch/installed
	$(BIN)/python -m pytest tests -m soak --timeout=3600
	KERAS_BACKEND=torch $(VENV)-torch/bin/python -m pytest tests/resume -m 'soak and torch' --timeout=3600

bench: $(VENV)/demo-installed
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
