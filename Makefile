# adamacs: `make demo` for users, `make test` for contributors. Everything lands in .venv and the lab home.
#
#   PYTHON       the interpreter to make .venv with (3.11 to 3.13)
#   TORCH_INDEX  address of a package index that holds torch's CPU build, where pip's own sources do not
#                (pytorch.org names it under "Start locally"); without it and without a CPU build at hand,
#                `make` stops before it would download several GB of CUDA, unless TORCH=cuda
#   TORCH        cpu (default) or cuda
#   ADAMACS_HOME the lab home of `make demo`, ./lab by default

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test lint docs bench chaos fuzz clean help

PYTHON ?= python3
TORCH ?= cpu
TORCH_INDEX ?=
export ADAMACS_HOME ?= $(CURDIR)/lab
VENV := .venv
BIN := $(VENV)/bin
CHAOS := BACKEND FAULTS KILLS STOPS OUTAGES STORES SECONDS SEED SLOTS RECORD
FUZZ := READERS SECONDS RUNS SEED TIMEOUT MEMORY FINDINGS INPUT RECORD
# What is set on the command line, as options of the same names in small letters
options = $(foreach name,$(1),$(if $($(name)),--$(shell echo $(name) | tr A-Z a-z)=$($(name))))
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check

help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/demo.stamp ## From an empty machine to queried cells
	@$(BIN)/adamacs -v demo

test: $(VENV)/test.stamp ## Unit tests, then integration tests on every database at hand: COVER=1 prints the coverage
	@PATH="$(CURDIR)/$(BIN):$$PATH" COVER="$(COVER)" bash tests/run

lint: $(VENV)/test.stamp ## Format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/docs.stamp ## Build the documentation into site/
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs site

bench: $(VENV)/test.stamp ## Run every benchmark: one JSON line each, both sides in one run
	for file in benchmarks/*.py; do $(BIN)/python $$file; done

chaos: $(VENV)/test.stamp ## Kill real workers and see that nothing is lost: KILLS= SECONDS= SEED= BACKEND= FAULTS= RECORD=
	@PATH="$(PATH):/usr/sbin" OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos.run $(call options,$(CHAOS))

fuzz: $(VENV)/test.stamp ## Feed every reader what coverage leads to: READERS= SECONDS= SEED= INPUT= RECORD=
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.run $(call options,$(FUZZ))

clean: ## Remove what make made, but never a lab home
	rm -rf $(VENV) build site *.egg-info .coverage htmlcov .*_cache .hypothesis

$(VENV)/made.stamp:
	@PYTHON="$(PYTHON)" bash tools/prepare $(VENV)
	@$(PIP) install -c constraints.txt pip setuptools
	@touch $@

$(VENV)/torch.stamp: $(VENV)/made.stamp constraints.txt
	@TORCH="$(TORCH)" TORCH_INDEX="$(TORCH_INDEX)" bash tools/torch $(BIN)/python
	@touch $@

$(VENV)/demo.stamp: $(VENV)/torch.stamp setup.cfg constraints.txt
	@echo "installing adamacs with Suite2p; the first time takes a few minutes"
	@$(PIP) install --no-build-isolation -c constraints.txt -e '.[server,imaging,s3,watch,video]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp
	@$(PIP) install --no-build-isolation -c constraints.txt -e '.[server,imaging,s3,watch,video,notebooks,test,fuzz]'
	@$(PIP) install --no-deps -c constraints.txt $$($(BIN)/python tools/extra.py oracle)
	@touch $@

$(VENV)/gui.stamp: $(VENV)/test.stamp
	@$(PIP) install -c constraints.txt $$($(BIN)/python tools/extra.py gui)
	@touch $@

$(VENV)/docs.stamp: $(VENV)/test.stamp
	@$(PIP) install -c constraints.txt $$($(BIN)/python tools/extra.py docs)
	@touch $@
