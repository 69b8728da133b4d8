# Every target sets itself up: nothing but git, make and Python >= 3.11 is expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak servers docs format lock clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("dicomcast needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12 …" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

# The two stamps: what `make demo` needs, and what development needs on top.
$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(BIN)/python
	@echo "Installing dicomcast into $(VENV) (once) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.demo
	@echo "Installing the development tools into $(VENV) (once) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.demo ## Run the whole flow on the embedded servers with real DICOM files.
	@$(BIN)/dicomcast demo

test: $(VENV)/.dev ## Run the tests (real servers too, where they are installed: see `make servers`).
	$(BIN)/pytest

check: $(VENV)/.dev ## Lint, types, import contracts, generated docs.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
