# Everything here works on a machine that has only Python 3.11+ (with pip) and make.

PYTHON ?= python3
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
# Stamps: production is what the service needs, development adds what tests and checks need, tools are apart.
PRODUCTION := $(VENV)/.production
DEVELOPMENT := $(VENV)/.development
TOOLS := $(VENV)/tools/.installed
CLIENTS := tests/clients/requirements.txt tests/clients/package.json tests/clients/package-lock.json
# A data directory of its own, untouched by .env.
ISOLATED := $(PY) -m scripts.isolated
PACKAGES := $(patsubst %/__init__.py,%,$(wildcard */__init__.py))
SHELL := /bin/sh

.DEFAULT_GOAL := help
.PHONY: help install run test test-fast test-sqlite test-postgres test-browser check lock audit deploy-check format docs bench chaos soak clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

# As root, who alone can write there; compiling what is never imported would take minutes.
install: $(PRODUCTION) ## Install what a machine that serves needs, and compile what the service imports
	@$(PY) -m compileall -q $(PACKAGES)
	@LOG_LEVEL=ERROR DJANGO_SETTINGS_MODULE=chatservice.settings $(ISOLATED) $(PY) -c "import django; django.setup(); \
		import chatservice.asgi; from search.embedders import load; [load(name).embed(['x']) for name in ('minilm-int8', 'minilm')]"

run: export PYTHONUNBUFFERED = 1
run: $(PRODUCTION) ## Start the service on HOST:PORT (127.0.0.1:8000); the first start prepares everything
	@exec $(PY) manage.py serve $(ARGS)

test: $(DEVELOPMENT) ## Run the tests on SQLite and on PostgreSQL 18 with pgvector, at once; ARGS goes to pytest
	@shared=$$(mktemp -d) && trap 'rm -rf "$$shared"' EXIT && SHARED_TESTS=$$shared $(PY) -m scripts.side_by_side \
		"$(MAKE) --no-print-directory test-sqlite" "$(MAKE) --no-print-directory test-postgres"

test-fast: $(DEVELOPMENT) ## Run the tests that start no process, on SQLite
	@$(ISOLATED) $(PY) -m pytest --fast -r fE -n 2 --ignore tests/browser $(ARGS)

test-sqlite: $(DEVELOPMENT) ## Run the tests on SQLite only
	@echo "== Tests on SQLite"
	@$(ISOLATED) $(PY) -m pytest $(ARGS)

test-postgres: $(DEVELOPMENT) ## Run the tests on PostgreSQL only
	@echo "== Tests on PostgreSQL 18 with pgvector"
	@$(ISOLATED) $(PY) scripts/postgres.py run -- $(PY) -m pytest $(ARGS)

test-browser: $(DEVELOPMENT) ## Run every test of the pages on each database, one after the other; ARGS goes to pytest
	@$(MAKE) --no-print-directory test-sqlite ARGS="tests/browser $(ARGS)"
	@$(MAKE) --no-print-directory test-postgres ARGS="tests/browser $(ARGS)"

check: $(DEVELOPMENT) ## Lint, types, migrations, production settings, API schemas, documentation
	@echo "== ruff" && $(PY) -m ruff check . && $(PY) -m ruff format --check .
	@echo "== lock" && $(PY) -m scripts.check_lock
	@echo "== mypy" && $(ISOLATED) $(PY) -m mypy $(PACKAGES) conftest.py
	@echo "== migrations" && $(ISOLATED) $(PY) -W error manage.py makemigrations --check --dry-run
	@echo "== production settings" && ALLOWED_HOSTS=chat.example.org ANONYMOUS=off HTTPS=true TRUSTED_PROXIES=1 \
		$(ISOLATED) $(PY) -W error manage.py check --deploy --fail-level WARNING
	@echo "== API schemas" && $(ISOLATED) $(PY) manage.py check_schemas
	@echo "== documentation" && $(PY) -m scripts.document_settings --check && site=$$(mktemp -d) && \
		trap 'rm -rf "$$site"' EXIT && { $(PY) -m mkdocs build --strict --site-dir "$$site/site" >"$$site/log" 2>&1 || \
		{ cat "$$site/log" >&2; exit 1; }; }

lock: $(TOOLS) ## Resolve requirements.txt into requirements.lock, with digests; asks PyPI
	@$(VENV)/tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --no-config --no-emit-package torch --excludes requirements-lock-excludes.txt \
		$(ARGS) --output-file requirements.lock requirements.txt

# Strict: what could not be looked up has not passed.
audit: $(TOOLS) ## Look for known vulnerabilities in what is locked; asks PyPI
	@$(VENV)/tools/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock
	@grep '^torch==' requirements.txt | $(VENV)/tools/bin/pip-audit --strict --disable-pip --no-deps --requirement /dev/stdin

deploy-check: $(DEVELOPMENT) ## Build what deploy/Dockerfile says, and run docs/operations.md, in a machine of its own; root, minutes
	@$(PY) -m tests.deploy $(ARGS)

format: $(DEVELOPMENT) ## Let ruff sort, mend and format the source
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format .

docs: $(DEVELOPMENT) ## Serve the documentation on http://127.0.0.1:8001
	@exec $(PY) -m mkdocs serve --dev-addr 127.0.0.1:8001

bench: $(DEVELOPMENT) ## Measure streaming against a plain relay (and LiteLLM when installed), and budgets; takes minutes
	@$(PY) -m benchmarks.streaming $(ARGS)
	@$(PY) -m benchmarks.budgets

chaos: $(DEVELOPMENT) ## Try to lose answers: kills, cuts, restarts, floods, on both databases; about an hour
	@for database in sqlite postgresql; do \
		echo "== Chaos on $$database"; \
		$(PY) -m tests.chaos --database $$database $(ARGS) || failed="$$failed $$database"; \
	done; \
	if [ -n "$$failed" ]; then echo "make chaos: a promise broke on$$failed" >&2; exit 1; fi

soak: $(DEVELOPMENT) ## Serve for half an hour while everything fails in turn, on PostgreSQL behind nginx; root for the full disk
	@$(PY) -m tests.soak $(ARGS)

clean: ## Remove the environment and all caches; your data in var/ stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An interpreter that is gone (moved, upgraded away) makes every stamp out of date.
$(PY):
	@:

$(PRODUCTION): requirements.lock requirements-torch.lock $(PY)
	@sh scripts/install.sh "$(PYTHON)" $(VENV) requirements.lock
	@touch $@

$(TOOLS): requirements-tools.txt
	@sh scripts/install.sh "$(PYTHON)" $(VENV)/tools requirements-tools.txt
	@touch $@

# What other people's programs call the API with is kept apart: some of it wants other versions of the same libraries.
$(DEVELOPMENT): requirements-dev.txt requirements.txt requirements-traces.txt $(CLIENTS) $(PRODUCTION)
	@sh scripts/install.sh "$(PYTHON)" $(VENV) requirements-dev.txt
	@sh scripts/install.sh "$(PYTHON)" $(VENV)/clients tests/clients/requirements.txt
	@cp tests/clients/package.json tests/clients/package-lock.json $(VENV)/clients && cd $(VENV)/clients && \
		PATH="$$PWD/bin:$$PATH" npm ci --no-audit --no-fund --ignore-scripts --loglevel error
	@touch $@
