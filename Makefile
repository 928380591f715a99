# `make` lists the commands. Needed: Python 3.11 or newer with venv and pip, and make; nothing else.

PYTHON ?= python3
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help run setup lint test test-all bench lock clean environment test-programs

PY := .venv/bin/python
# Three on two cores: there is much to wait for.
PYTEST := $(PY) -m pytest -n 3 --dist worksteal
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes

# What the tests run, as program:Debian-package.
TEST_PROGRAMS := chromium-headless-shell:chromium-headless-shell apt-get:apt dpkg-deb:dpkg dnf:dnf rpm:rpm rpmbuild:rpm \
	createrepo_c:createrepo-c pacman:pacman-package-manager makepkg:makepkg bsdtar:libarchive-tools fakeroot:fakeroot \
	systemd-analyze:systemd debsecan:debsecan

help: ## List these commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: environment ## Start the scanner (HOST=, PORT= and the settings in .env.example choose how)
	@exec $(PY) manage.py up

setup: environment ## Make .venv with everything that running, testing and checking need
	@cmp -s requirements/test.txt .venv/test.txt && exit
	echo "Installing what the tests need …"
	$(PIP) -r requirements/base.txt -r requirements/test.txt
	cp requirements/test.txt .venv/test.txt

lint: setup ## Check style, types, who imports whom, and that no migration is missing
	@export SCANNER_DATA=.venv/lint
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) manage.py makemigrations --check --dry-run

test: lint test-programs ## Install what the tests need, then lint and run all but the slow ones
	@$(PYTEST) -m "not slow"

test-all: lint test-programs ## Run every test
	@$(PYTEST)

bench: setup ## Measure scans, live progress, webhooks, matching, exports, and pages of 10,000 hosts (some minutes)
	@$(PY) -m tests.bench

lock: ## Choose the versions anew (needs uv)
	@command -v uv > /dev/null || { echo "make lock needs uv: python3 -m pip install uv" >&2; exit 1; }
	for name in base test; do
		uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
			requirements/$$name.in -o requirements/$$name.txt
	done

clean: ## Remove the environment and what tools left; the data folder stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv with the locked requirements; a copy of the lock file says what is installed.
environment:
	@cmp -s requirements/base.txt .venv/base.txt && [ -x $(PY) ] && exit
	command -v "$(PYTHON)" > /dev/null || { echo "$(PYTHON) is not installed: the scanner needs Python 3.11 or newer." >&2; exit 1; }
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
		echo "$$("$(PYTHON)" --version) is too old: the scanner needs Python 3.11 or newer. If there is another: PYTHON=python3.12 make run" >&2
		exit 1
	}
	echo "Installing the requirements into .venv …"
	[ -x $(PY) ] && $(PY) -m pip --version > /dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	$(PIP) -r requirements/base.txt
	cp requirements/base.txt .venv/base.txt

# Root gets what is missing from Debian; anybody else is told.
test-programs:
	@programs="" packages=""
	need() { programs+=" $$1"; [[ " $$packages " = *" $$2 "* ]] || packages+=" $$2"; }
	for pair in $(TEST_PROGRAMS); do
		command -v "$${pair%%:*}" > /dev/null || need "$${pair%%:*}" "$${pair##*:}"
	done
	"$(PYTHON)" -c 'import ctypes; ctypes.CDLL("libatomic.so.1")' 2> /dev/null || need libatomic.so.1 libatomic1
	/usr/bin/python3 -c 'import apt_pkg' 2> /dev/null || need "apt_pkg(Python)" python3-apt
	[ -n "$$programs" ] || exit 0
	get="apt-get install -y --no-install-recommends$$packages"
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
		echo "Installing$$packages …"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		$$get -qq > /dev/null
	else
		printf 'The tests need programs that are missing:%s\nOn Debian or Ubuntu: sudo %s\n' "$$programs" "$$get" >&2
		exit 1
	fi
