# Two commands: `make run` executes the tutorial, `make test` proves it. Both set up what they need first.
# Everything is installed into .venv, from uv.lock: the set of versions known to work together.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of `make run`, as in: make run PROFILE=laptop. A variable of that name in the environment is somebody else's.
PROFILE := auto
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
# Notebooks are committed as the smoke profile leaves them: no data, no GPU, the same everywhere.
# Where there is no C compiler, that is said on stderr, which the notebooks' outputs do not expect.
HEADLESS := SASA_PROFILE=smoke SASA_PROGRESS=off PYTHONWARNINGS="ignore:on cpu:RuntimeWarning"
CLEAN_NOTEBOOK := nbstripout --keep-output --keep-count --keep-id --extra-keys \
	"metadata.widgets metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.language_info.version"

.PHONY: help run test setup lab site lint format notebooks results lock clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: setup  ## Execute every notebook (a GPU trains on CIFAR-100, a CPU on synthetic images; PROFILE=laptop for another)
	@$(BIN)/sasa-tutorial run --profile $(PROFILE)
	@echo "Open build/notebooks/index.html, or: make lab"

# Three files at a time, because some tests wait; each with one thread: more threads than cores wait for each other.
# What papermill's notebooks train and learn is kept in build/, and nbval's find it there.
test: setup  ## Unit tests, commands, every notebook through nbval and papermill
	$(HEADLESS) SASA_LEARNED=build/learned OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder \
		--nbval --nbval-cell-timeout=300 tests notebooks

setup: $(VENV)/installed  ## Make .venv and install everything

$(VENV)/installed: pyproject.toml uv.lock scripts/setup.py
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "setup: no $(PYTHON) found; install Python 3.11 or later, or: make setup PYTHON=python3.12" >&2; exit 1; }
	@VENV="$(VENV)" "$(PYTHON)" scripts/setup.py
	@touch $@

lab: setup  ## Open JupyterLab on the first notebook
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

site: setup  ## Build the static site in build/site: notebooks as committed, library, ledger, results, search
	$(BIN)/python docs/build.py

lint: setup  ## Check code and notebooks with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## Format code and notebooks, mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: setup  ## Execute the notebooks in place and clean them, before a commit
	$(BIN)/ruff format notebooks
	$(HEADLESS) $(BIN)/jupyter nbconvert --to notebook --execute --inplace $(NOTEBOOKS)
	$(BIN)/jupyter nbconvert --to notebook --coalesce-streams --inplace $(NOTEBOOKS)  # in one call, that comes before executing
	$(BIN)/$(CLEAN_NOTEBOOK) $(NOTEBOOKS)

results: setup  ## Bring the tables of results in README.md and data/README.md up to date
	$(BIN)/sasa-tutorial results --update README.md
	$(BIN)/sasa-tutorial results --update data/README.md

lock: setup  ## Renew uv.lock from pyproject.toml
	$(BIN)/uv lock --upgrade

clean:  ## Remove .venv, build/ and caches; data/ and the notebooks stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
