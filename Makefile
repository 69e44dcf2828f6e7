# labelgen: `make` alone lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin

DATASET ?= demo
DATAROOT ?=
VERSION ?=
SPLIT ?=
CONFIG ?=
OUTPUT ?=
RAY_ADDRESS ?=
# Of the local cluster: nodes beside the head, logical CPUs of each, the head's port.
NODES ?= 3
NODE_CPUS ?= 1
RAY_PORT ?= 6379
ARGS ?=
METHOD ?= slidr
RUN ?= runs/demo
CLASSES ?= nuscenes-b12n4
VARIANT ?= full
LABELS ?= truth
PANOPTIC = $(or $(OUTPUT),$(RUN)-panoptic)
SIZE ?= $(if $(filter runs/demo%,$(RUN)),demo,base)

.PHONY: help setup pseudolabels cluster-up cluster-down distill panoptic test test-slow test-gpu lint format bench clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}'
	@echo
	@echo "  make pseudolabels                                     the simulated city, shipped small models, no network"
	@echo "  make pseudolabels DATASET=nuscenes DATAROOT=/data/nuscenes [VERSION= SPLIT= CONFIG= OUTPUT= RAY_ADDRESS= ARGS=]"

setup: $(VENV)/.installed ## make .venv and install everything, pinned by requirements.lock

# uv lives inside the environment, so that nothing but Python and pip is asked of the machine.
$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "labelgen needs Python 3.11 or 3.12; found $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet -r requirements.lock
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

pseudolabels: setup ## label a data set: DATASET=demo|nuscenes (see below)
	@$(BIN)/python -m pipelines.pseudolabels --dataset "$(DATASET)" \
		$(if $(DATAROOT),--dataroot "$(DATAROOT)") $(if $(VERSION),--version "$(VERSION)") \
		$(if $(SPLIT),--split "$(SPLIT)") $(if $(CONFIG),--config "$(CONFIG)") \
		$(if $(OUTPUT),--output "$(OUTPUT)") $(if $(RAY_ADDRESS),--ray-address "$(RAY_ADDRESS)") $(ARGS)

distill: setup ## train a 3D network from a run, label with it, report: METHOD=slidr RUN=runs/demo [SIZE=]
	@$(BIN)/labelgen train distill "$(METHOD)" "$(RUN)" --size "$(SIZE)" \
		$(if $(OUTPUT),--output "$(OUTPUT)") $(if $(DATAROOT),--dataroot "$(DATAROOT)") \
		$(if $(SPLIT),--split "$(SPLIT)") $(if $(CONFIG),--config "$(CONFIG)") $(ARGS)

panoptic: setup ## train open-vocabulary panoptic segmentation, label, score, report: RUN=runs/demo [SIZE= CLASSES= VARIANT= LABELS=]
	@$(BIN)/labelgen train panoptic "$(RUN)" --size "$(SIZE)" --classes "$(CLASSES)" --variant "$(VARIANT)" \
		--labels "$(LABELS)" --output "$(PANOPTIC)" $(if $(DATAROOT),--dataroot "$(DATAROOT)") \
		$(if $(SPLIT),--split "$(SPLIT)") $(if $(CONFIG),--config "$(CONFIG)") $(ARGS)
	@$(BIN)/labelgen train predict "$(RUN)" "$(PANOPTIC)" --output "$(PANOPTIC)-labels" \
		$(if $(DATAROOT),--dataroot "$(DATAROOT)")
	@$(BIN)/labelgen evaluate "$(PANOPTIC)-labels" --classes "$(CLASSES)" $(if $(DATAROOT),--dataroot "$(DATAROOT)")
	@$(BIN)/labelgen report "$(PANOPTIC)-labels" --classes "$(CLASSES)" $(if $(DATAROOT),--dataroot "$(DATAROOT)")

cluster-up: setup ## start a local Ray cluster of several nodes: NODES=3 NODE_CPUS=1 RAY_PORT=6379
	@PATH="$(abspath $(BIN)):$$PATH" cluster/local/cluster.sh up runs/.cluster "$(RAY_PORT)" "$(NODES)" "$(NODE_CPUS)"

cluster-down: ## stop it
	@cluster/local/cluster.sh down runs/.cluster

# Two processes, a file at a time: more would wait for each other's Ray.
test: setup ## the tests for everyone (no GPU, no network)
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile $(ARGS)

test-slow: setup ## long trials
	$(BIN)/python -m pytest -m slow $(ARGS)

test-gpu: setup ## tests that need a CUDA GPU
	$(BIN)/python -m pytest -m gpu $(ARGS)

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## run every benchmark and rewrite benchmarks/README.md's table
	$(BIN)/python benchmarks/run_all.py $(ARGS)

clean: ## remove the environment, the demo's data and runs
	rm -rf $(VENV) data/demo runs/demo runs/demo-fused .pytest_cache .mypy_cache .ruff_cache build *.egg-info
