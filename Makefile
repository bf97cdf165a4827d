# Two commands set everything up on a machine that has python3 >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
THREADS ?= 2
export OMP_NUM_THREADS ?= $(THREADS)

.PHONY: demo test lint types unit verify nightly benchmarks experiments experiment-figures hops scaling manifold shown figure claims landscape clean
.DEFAULT_GOAL := demo

# Installed once, and again when the dependencies change. Torch comes first and by version: any looser request may bring CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "headcount needs python3 >= 3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . \
	    $$($(BIN)/python -c 'import tomllib; print(*(name for name in tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"]))')
	touch $@

demo: $(VENV)/.installed
	$(BIN)/headcount compare

test: lint types unit

lint: $(VENV)/.installed
	$(BIN)/ruff check .

types: $(VENV)/.installed
	$(BIN)/mypy

unit: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --jaxtyping-packages=theory,constructions,empirical,beartype.beartype

# Every claim of the papers; exit code 1 when a verdict differs from the one on record.
verify: $(VENV)/.installed
	$(BIN)/headcount verify --effort standard

# Checks all claims anew, puts the verdicts on record, a file for each paper, and writes the page of claims from them.
PAPERS := dana2025 sanford2024 kaplan2020 hoffmann2022 scaling_lecture havrilla2024
claims: $(VENV)/.installed
	for paper in $(PAPERS); do for effort in quick standard; do \
	    $(BIN)/headcount verify --paper $$paper --effort $$effort --record headcount/claims/records/$$paper.json \
	    || test $$? -eq 1 || exit 1; done; done
	$(BIN)/python -m headcount.claims.page docs/claims.md

nightly: $(VENV)/.installed
	HYPOTHESIS_PROFILE=nightly OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Hours in all on two cores; each line is a command of its own.
benchmarks: $(VENV)/.installed
	$(BIN)/python -m benchmarks.staircase_scale
	$(BIN)/python -m benchmarks.planar_scale
	$(BIN)/python -m benchmarks.block_staircase_speed
	$(BIN)/python -m benchmarks.readout_speed
	$(BIN)/python -m benchmarks.solver_reach
	$(BIN)/python -m benchmarks.solver_against_adam
	$(BIN)/python -m benchmarks.fewest_heads
	$(BIN)/python -m benchmarks.rivals
	$(BIN)/python -m benchmarks.certificate_speed
	$(BIN)/python -m benchmarks.training_speed
	$(BIN)/python -m benchmarks.training_cost
	$(BIN)/python -m benchmarks.deep_speed
	$(BIN)/python -m benchmarks.experiment_cost
	$(BIN)/python -m benchmarks.published_accuracy
	$(BIN)/python -m benchmarks.hop_find_speed
	$(BIN)/python -m benchmarks.hops_speed
	$(BIN)/python -m benchmarks.hops_zero_errors
	$(BIN)/python -m benchmarks.scaling_fit_speed
	$(BIN)/python -m benchmarks.scaling_coverage
	$(BIN)/python -m benchmarks.manifold_reach
	$(BIN)/python -m benchmarks.dimension_coverage

# Computes the slow parts of both default landscapes anew, about an hour in all, puts them on record and draws the reference figure.
landscape: $(VENV)/.installed
	$(BIN)/headcount landscape --quick --fresh --record empirical/landscape.csv --out results
	$(BIN)/headcount landscape --fresh --record empirical/landscape.csv --out results
	cp results/landscape.png docs/reference/landscape.png

# All experiments of the paper, hours in all; interrupt at any time, the same command goes on.
experiments: $(VENV)/.installed
	$(BIN)/headcount run all --tier paper
	$(BIN)/headcount figure all --tier paper

# Trains what the figures of docs/experiments.md show, a quarter of an hour, and draws them anew, in 256 colours.
SHOWN := exp_1-paper-notebook exp_4-paper-notebook exp_6-paper-notebook variants-paper effective_parameters-paper
experiment-figures: $(VENV)/.installed
	$(BIN)/headcount run exp_1 exp_2 exp_3 exp_6 --tier paper
	$(BIN)/headcount run exp_2 exp_3 --tier paper --variant paper
	$(BIN)/headcount figure exp_1 exp_4 exp_6 variants effective_parameters --tier paper
	$(MAKE) shown FOLDER=results SHOWN="$(SHOWN)"

shown: $(VENV)/.installed
	for name in $(SHOWN); do $(BIN)/python -c "from PIL import Image; import sys; \
	    Image.open(sys.argv[1]).convert('RGB').quantize(256, dither=Image.Dither.NONE).save(sys.argv[2], optimize=True)" \
	    $(FOLDER)/$$name.png docs/reference/$(PREFIX)$$name.png || exit 1; done

# Trains the decoders of docs/hops.md, a quarter of an hour, and draws its figures anew, in 256 colours.
HOPS := errors-quick thresholds-quick maps-quick slots-quick
hops: $(VENV)/.installed
	$(BIN)/headcount hops train --tier quick
	$(BIN)/headcount hops figure all --tier quick
	$(MAKE) shown FOLDER=results/hops SHOWN="$(HOPS)" PREFIX=hops-

# Trains the small models of docs/scaling.md, under half an hour, and draws its figures anew, in 256 colours.
SCALING := counting ranks spectra runs-quick positions-quick
scaling: $(VENV)/.installed
	$(BIN)/headcount scaling train --tier quick
	$(BIN)/headcount scaling figure all --tier quick
	$(MAKE) shown FOLDER=results/scaling SHOWN="$(SCALING)" PREFIX=scaling-

# Trains what docs/manifolds.md shows, half an hour, and draws its figures anew, in 256 colours.
MANIFOLD := reach circle sphere bias data-quick model-quick text-quick
manifold: $(VENV)/.installed
	$(BIN)/headcount manifold train --tier quick
	$(BIN)/headcount manifold figure all --tier quick
	$(MAKE) shown FOLDER=results/manifold SHOWN="$(MANIFOLD)" PREFIX=manifold-

figure: $(VENV)/.installed
	$(BIN)/headcount compare --out docs/reference
	rm -f docs/reference/compare.pdf

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis results
