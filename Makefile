# Everything a developer does is a target here; `make` alone lists them.

VENV ?= .venv
PYTEST_WORKERS ?= 2
ARGS ?=
SEEDS ?= 60
SEED ?= 1
BIN := $(VENV)/bin
# mkfs.ext4, debugfs and losetup live where a user's PATH does not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
export VENV

.DEFAULT_GOAL := help
.PHONY: help demo test simulate soak check bench scale docs lock clean

help: ## list the targets
	@echo "Usage: make TARGET [ARGS='…']"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

demo: ## back up a real disk image, change it, back it up again, verify, restore, compare (KEEP=1 keeps the files)
	@scripts/bootstrap demo
	@$(BIN)/python scripts/demo.py $(ARGS)

test: ## install what the tests need and run them all (ARGS='-k name', PYTEST_WORKERS=0 for one process)
	@scripts/bootstrap test
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal $(ARGS)

simulate: ## many clients of one repository under bad weather, replayable (SEEDS=60 SEED=1; ARGS=--trace shows each step)
	@scripts/bootstrap simulate
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(SEED) $(ARGS)

soak: ## the proof at its full length: hours (ARGS='--seeds 1000 tests/fuzz'), and a summary of what was tried
	@scripts/bootstrap test
	@$(BIN)/python scripts/soak.py $(ARGS)

check: ## formatting, lints, types, layers, and that the documents tell the truth
	@scripts/bootstrap test
	@failed=; for command in "ruff check ." "ruff format --check ." mypy "mypy scripts" "mypy benchmarks" "lint-imports --no-logo" \
		"pytest -q tests/docs"; do \
		echo "$$command"; $(BIN)/$$command || failed="$$failed, $$command"; \
	done; if [ -n "$$failed" ]; then echo "make check: failed$$failed" >&2; exit 1; fi

bench: ## measure against restic and borg on the same images and trees, as ratios (ARGS passes options on)
	@scripts/bootstrap bench
	$(BIN)/python -m benchmarks $(ARGS)

scale: ## what a prune, a list and a backup cost in repositories of 1 and 10 million chunks (ARGS passes options on)
	@scripts/bootstrap test
	$(BIN)/python -m benchmarks.scale $(ARGS)

docs: ## write the generated reference pages and man pages again
	@scripts/bootstrap test
	$(BIN)/python scripts/generate_reference.py $(ARGS)

lock: ## solve the dependencies again and write requirements/ (ARGS=--upgrade for newer versions)
	@scripts/lock $(ARGS)

clean: ## remove the environment and every cache
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
