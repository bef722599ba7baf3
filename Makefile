# make demo   map a real Landsat scene: own virtual environment, install, the main job
# make test   every check there is; CI runs just this
# make fuzz   disturb state files, imagery and specs for ten minutes: FUZZ_SECONDS=60, FUZZ_SEED=7 FUZZ_CASES=1
# make bench  geoseg run beside the network alone, in turns: ten minutes; make bench-gpu the same on a GPU
# make install, lint, format, lock, clean: see below

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
ENOUGH := import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach each,python3.13 python3.12 python3.11 python3,\
	$(shell $(each) -c '$(ENOUGH)' >/dev/null 2>&1 && echo $(each))))

# Tests start schedulers and workers of their own, and wait for them: more than two at once would be in each other's way.
SPREAD := --numprocesses 2 --dist worksteal

.PHONY: install demo test fuzz bench bench-gpu lint format lock clean

install: $(STAMP)

# uv inside the environment installs the locked set in seconds; every archive must match its hash. Bytecode is compiled
# once here: where it cannot be written later, each worker process would compile torch and pandas again at its start.
$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "geoseg needs Python 3.11 or newer with its venv module, and none was found as \
	python3.13, python3.12, python3.11 or python3; install one, or name it: make install PYTHON=/path/to/python"; exit 2; }
	@$(PYTHON) -c '$(ENOUGH)' || { echo "geoseg needs Python 3.11 or newer with its venv module, and \
	$(PYTHON) is not one; name another: make install PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --require-hashes --compile-bytecode requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --no-deps --editable .
	$(BIN)/python -m compileall -q geoseg
	-$(BIN)/geoseg demo --fetch
	@touch $(STAMP)

demo: install
	$(BIN)/geoseg demo

# Tests begin hundreds of processes: what pytest and numba compile for one need not be compiled again for the next, and is
# compiled beside the linters, by tests that trace polygons.
COMPILING := $(BIN)/pytest -q -p no:xdist -m "not slow" -k "test_every_block_runs or strips_and_threads or test_pieces"

test: export PYTHONDONTWRITEBYTECODE :=
test: install
	$(COMPILING) > /dev/null 2>&1 & $(MAKE) --no-print-directory lint; found=$$?; wait; exit $$found
	$(BIN)/pytest $(SPREAD) -m "not slow"
	$(BIN)/pytest $(SPREAD) -m slow

# Says the seed of each case that breaks the law, and keeps it in fuzz-failures.jsonl; the same seed is the same case.
FUZZ_SECONDS ?= 600
FUZZ_SEED ?= $(shell date +%s)000
FUZZ_CASES ?= 1000000
fuzz: install
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --cases $(FUZZ_CASES)

bench: install
	$(BIN)/python tests/benchmarks/throughput.py --network compact --window 256 --halo 48 --precision float32
	$(BIN)/python tests/benchmarks/throughput.py --network unet --memory 4GB

bench-gpu: install
	$(BIN)/python tests/benchmarks/throughput.py --device cuda --edge 10980 --window 256 --halo 48 --network compact --workers 1
	$(BIN)/python tests/benchmarks/throughput.py --device cuda --edge 10980 --network unet --workers 1 --memory 8GB

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy geoseg
	$(BIN)/lint-imports --no-logo

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Pins stay as they are unless pyproject.toml asks for more; UPGRADE=--upgrade takes the newest of everything.
lock: install
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra demo --extra dev \
	--custom-compile-command "make lock" $(UPGRADE) --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
