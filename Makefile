# make setup    an environment in .venv, with everything installed at the pinned versions
# make demo     a network trained on a synthetic market, and a backtest of it on the rest
# make paper-demo  two minutes of paper trading on an exchange of this machine: no account, no network
# make test     linter, type checker and the whole suite
# make bench    speed, side by side with other engines
# make mutants  mutation testing of matching, costs and books: a quarter of an hour, MODULES=costs for a part
# make docs     rewrite docs/settings.md from config/settings.py
# make pins     rewrite constraints.txt from what is installed
# make clean    remove what the tools left behind (not .venv, not your runs/ and data/)
#
# Each of them does all the set-up it needs; a machine needs only Python >= 3.11 and make.

SHELL   := /bin/bash
PYTHON  := .venv/bin/python
PIP     := $(PYTHON) -m pip --disable-pip-version-check
READY   := .venv/.ready
# Two workers are enough for a small machine and kind to the others on it: make test WORKERS=8
WORKERS ?= 2

.DEFAULT_GOAL := setup
.PHONY: setup demo paper-demo test lint types bench mutants docs pins clean

setup: $(READY)

# The first interpreter that runs and is new enough. A name on the path may be a shim with nothing behind it.
$(PYTHON):
	@for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Making .venv with $$python"; exec "$$python" -m venv .venv; \
	    fi; \
	done; \
	echo "No Python 3.11 or later with the venv module was found on the path" >&2; exit 1

# PyTorch comes first and by its range, without a pin: a build that is already installed or that pip is pointed at
# (a CPU build, say) is taken, instead of the large CUDA build that an exact version could ask for.
$(READY): pyproject.toml constraints.txt | $(PYTHON)
	$(PIP) install --quiet --constraint constraints.txt 'torch>=2.6,<2.14'
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "Ready: .venv holds $$($(PYTHON) --version) and everything Barcast needs"

demo: $(READY)
	@$(PYTHON) main.py demo

paper-demo: $(READY)
	@$(PYTHON) -m tests.venue.demo

test: $(READY) lint types
	$(PYTHON) -m pytest -q -n $(WORKERS) --dist worksteal

lint: $(READY)
	$(PYTHON) -m ruff check .

types: $(READY)
	$(PYTHON) -m mypy

bench: $(READY)
	$(PYTHON) benchmarks/engine.py

mutants: $(READY)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[mutants]'
	$(PYTHON) -m tests.mutants $(MODULES)

docs: $(READY)
	$(PYTHON) -m config.reference

pins: $(READY)
	$(PYTHON) -m pip freeze --exclude-editable --exclude torch | sed '1i # Versions that are known to work together, for pip install --constraint. Written by `make pins`.\n# torch is left out: see the Makefile.' > constraints.txt.new
	mv constraints.txt.new constraints.txt && touch $(READY)

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
