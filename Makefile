# One door to everything a contributor runs. `make help` lists the verbs.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check --quiet

# CUDA 13 needs driver 580 or newer. Without a driver CUDA 13's compiler still builds the kernels for the tests.
DRIVER := $(shell nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | sed -n 's/^\([0-9][0-9]*\)\..*/\1/p;q')
CUDA ?= $(if $(DRIVER),$(shell test $(DRIVER) -ge 580 && echo cuda13 || echo cuda12),cuda13)
# A machine without a C++ compiler gets one from a wheel.
COMPILER := $(if $(shell command -v c++ || command -v clang++),,compiler)
RUN_EXTRAS := $(if $(DRIVER),$(CUDA),) $(COMPILER)
comma := ,
empty :=
space := $(empty) $(empty)
extras = $(if $(strip $1),[$(subst $(space),$(comma),$(strip $1))])

REF ?=
OUT ?=
PEER ?=
TASKS ?=
ARGS ?=

.PHONY: setup train test slow lint type golden bench wheel help
.DEFAULT_GOAL := help

$(PY):
	$(PYTHON) -m venv $(VENV)

# Stamps: an installation is repeated only when pyproject.toml changed.
$(VENV)/.installed: pyproject.toml | $(PY)
	@echo "installing aihw$(call extras,$(RUN_EXTRAS)) into $(VENV) (some minutes the first time)"
	$(PIP) --editable '.$(call extras,$(RUN_EXTRAS))'
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(PY)
	@echo "installing aihw[test,$(CUDA)] into $(VENV) (some minutes the first time)"
	$(PIP) --editable '.[test,$(CUDA)]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml | $(PY)
	@echo "installing aihw[dev,$(CUDA)] into $(VENV) (some minutes the first time)"
	$(PIP) --editable '.[dev,$(CUDA)]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed

setup: $(VENV)/.installed-dev  ## install everything a contributor needs into .venv

train: $(VENV)/.installed  ## train the default recipe; ARGS="device=ecram run.epochs=3" changes it
	$(VENV)/bin/aihw train $(ARGS)

test: $(VENV)/.installed-test  ## run the test suite; ARGS="tests/exact -k philox" picks tests
	$(PY) -m pytest -n 2 $(ARGS)

slow: $(VENV)/.installed-test  ## run the tests that take minutes each
	$(PY) -m pytest -n 2 -m slow $(ARGS)

lint: $(VENV)/.installed-dev  ## check style (ruff)
	$(PY) -m ruff check .

type: $(VENV)/.installed-dev  ## check types (mypy)
	$(PY) -m mypy

golden: $(VENV)/.installed-test  ## measure the golden cases of REF=FILE.json again, write OUT=MINE.json, compare
	$(PY) -m tests.golden $(REF) $(OUT)

bench: $(VENV)/.installed-test  ## time training; TASKS=REGEX picks, PEER=PYTHON (one that has aihwkit) compares side by side
	$(PY) -m benchmarks.run $(if $(PEER),--peer '$(PEER)') $(if $(TASKS),--tasks '$(TASKS)') $(ARGS)

wheel: $(VENV)/.installed-test  ## build the wheel and the source archive into dist/
	$(PY) -m hatchling build

help:  ## list the verbs
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r verb text; do \
		printf 'make %-8s %s\n' "$$verb" "$$text"; done
