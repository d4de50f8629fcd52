# make test  lint, types, import layers, tests, in an environment of its own
# make demo  the main job on a simulated acquisition, results in demo-output/
#
# PYTHON names the interpreter (3.11 or later); PIP_FLAGS is passed on to pip, such as an
# --extra-index-url with PyTorch's builds without CUDA.

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt
TESTS ?= tests

.PHONY: test lint types layers tests demo clean

test: lint types layers tests

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev-installed
	$(BIN)/mypy

layers: $(VENV)/.dev-installed
	$(BIN)/lint-imports

tests: $(VENV)/.dev-installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(TESTS)

demo: $(VENV)/.installed
	$(BIN)/fluofocus demo -o demo-output

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# A stamp is newer than what decides on the environment, so that nothing is installed twice.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

$(VENV)/.dev-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
