# Set-up and checks. Needs only python3 (3.10 or newer) and make; everything else goes into virtual environments here.
PYTHON ?= python3
PYTEST = -m pytest -q
# Each further process imports the framework once more. Neighbours stay together and share the fixtures of their module.
PARALLEL = -n auto --maxprocesses 4 --dist worksteal
# Small matrix products gain nothing from threads and lose much when two test processes share two cores.
export OPENBLAS_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 2
BENCH = .venv/bin/python benchmarks
TABLES = build/bench
# "make bench RESUME=--resume" keeps the rows that a stopped run left.
RESUME ?=
# Mutants by words of their name or module; size and seed of a sample, and the share that tests must notice.
WORDS ?=
SAMPLE ?= 60
SEED ?= 0
LEAST ?= 0

# lingvo has wheels for Linux on x86-64 only, and asks for 3.5 GB of packages of which its models import half.
LINGVO = lingvo==0.14.2

.PHONY: help quick demo demo-las demo-whisper test test-tensorflow test-lingvo test-backends lint types doctest coverage
.PHONY: docs mutants mutants-sample dist test-jax test-torch test-lowest
.PHONY: bench bench-quick bench-lingvo clean

help:
	@echo "make quick           set up, then run the tests that need no framework and are not slow (a minute)"
	@echo "make demo            set up, then attack a trained network on real photos"
	@echo "make demo-las        set up, then attack a small listen-attend-spell recogniser on synthetic speech"
	@echo "make demo-whisper    set up, then attack a trained speech recogniser on a real sentence"
	@echo "make test            set up, then run the tests (TensorFlow, and lingvo where it can be installed)"
	@echo "make test-backends   set up, then run capture and gate tests on JAX and on torch"
	@echo "make test-lowest     set up with the lowest supported versions, then run the tests that need no framework"
	@echo "make lint types doctest coverage"
	@echo "make docs            set up, then build the documentation's site into build/site; warnings are errors"
	@echo "make mutants         break the rules of the gate one by one; a test must notice each (WORDS=... chooses)"
	@echo "make mutants-sample  break SAMPLE=60 random places of the package, chosen by SEED=0"
	@echo "make dist            build wheel and sdist into dist, and check both"
	@echo "make bench           print the tables of docs/benchmarks.md into build/bench (a night)"
	@echo "make bench-quick     the same scripts on little (minutes): do they still run?"
	@echo "make bench-lingvo    the speech tables: two hours, 6 GB, and it goes on where it was interrupted"

# One environment per Keras backend, so that nobody needs two frameworks; rebuilt when pyproject.toml changes.
.venv/ready: PARTS = --group dev -e .[testing]
.venv-quick/ready: PARTS = --group test -e .[testing]
.venv-lowest/ready: PARTS = --group lowest -e .[testing]
.venv-jax/ready: PARTS = --group test --group jax -e .[testing]
.venv-torch/ready: PARTS = --group test --group torch -e .[testing]
.venv/ready .venv-quick/ready .venv-lowest/ready .venv-jax/ready .venv-torch/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet $(PARTS)
	@touch $@

# The site needs no framework: the package's source is read, never imported.
.venv-docs/ready: PARTS = --group docs
.venv-docs/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet $(PARTS)
	@touch $@

# What the benchmarks need besides.
.venv/bench: .venv/ready
	.venv/bin/python -m pip install --quiet --group bench
	@touch $@

.venv-lingvo/ready: pyproject.toml Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet --group test --group lingvo -e .[testing]
	$(@D)/bin/python -m pip install --quiet --no-deps --only-binary :all: $(LINGVO)
	@touch $@

demo: .venv/ready
	cd examples/image_classifier && ../../.venv/bin/python -m pytest --labelleak

demo-las: .venv/ready
	cd examples/las && ../../.venv/bin/python -m pytest --labelleak

demo-whisper: .venv/ready
	cd examples/whisper && ../../.venv/bin/python -m pytest --labelleak

# An environment without a framework shows that none is needed. One process: the start of a second costs a quarter more.
quick: .venv-quick/ready
	env -u KERAS_BACKEND .venv-quick/bin/python $(PYTEST) -m "not slow and not framework and not inner"

test: test-tensorflow test-lingvo

test-tensorflow: .venv/ready
	KERAS_BACKEND=tensorflow .venv/bin/python $(PYTEST) $(PARALLEL)

ifeq ($(shell uname -sm),Linux x86_64)
test-lingvo: .venv-lingvo/ready
	.venv-lingvo/bin/python $(PYTEST) $(PARALLEL) tests/lingvo
	cd examples/lingvo_asr && ../../.venv-lingvo/bin/python $(PYTEST)
else
test-lingvo:
	@echo "SKIPPED: the lingvo tests, because lingvo has no wheel for $(shell uname -sm)"
endif

# Backends differ in capture; the audit's own tests need no framework, and run once with TensorFlow.
ON_BACKENDS = tests/capture tests/examples tests/test_auditing.py

test-backends: test-jax test-torch

test-jax: .venv-jax/ready
	KERAS_BACKEND=jax .venv-jax/bin/python $(PYTEST) $(PARALLEL) $(ON_BACKENDS)

test-torch: .venv-torch/ready
	KERAS_BACKEND=torch .venv-torch/bin/python $(PYTEST) $(PARALLEL) $(ON_BACKENDS)

# pytest 8.4 does not know "strict", and says so.
test-lowest: .venv-lowest/ready
	env -u KERAS_BACKEND .venv-lowest/bin/python $(PYTEST) $(PARALLEL) -m "not framework" \
		-W "ignore:Unknown config option:pytest.PytestConfigWarning"

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: .venv/ready
	.venv/bin/mypy

doctest: .venv/ready
	.venv/bin/python $(PYTEST) --doctest-modules pytest_labelleak

coverage: .venv/ready
	KERAS_BACKEND=tensorflow .venv/bin/python -m coverage run -m pytest -q
	.venv/bin/python -m coverage report

docs: export NO_MKDOCS_2_WARNING = 1
docs: export PATH := $(CURDIR)/.venv-docs/bin:$(PATH)
docs: .venv-docs/ready
	.venv-docs/bin/python -m mkdocs build --strict --site-dir build/site

# The archives are built in an environment of their own and then looked at: metadata, description, content.
.venv-dist/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet --group dist
	@touch $@

dist: .venv-dist/ready
	rm -rf dist
	.venv-dist/bin/python -m build --outdir dist
	.venv-dist/bin/python -m twine check --strict dist/*
	.venv-dist/bin/check-wheel-contents dist/*.whl

mutants: .venv/ready
	.venv/bin/python -m tests.mutants $(WORDS)

mutants-sample: .venv/ready
	.venv/bin/python -m tests.mutants --sample $(SAMPLE) --seed $(SEED) --least $(LEAST) $(WORDS)

bench: .venv/bench
	mkdir -p $(TABLES)
	$(BENCH)/bench_real_network.py --output $(TABLES)/real_network.md
	$(BENCH)/bench_architectures.py --output $(TABLES)/architectures.md
	$(BENCH)/bench_accuracy.py $(RESUME) --output $(TABLES)/accuracy.md
	$(BENCH)/bench_defended.py $(RESUME) --output $(TABLES)/defended.md
	$(BENCH)/bench_rivals.py $(RESUME) --output $(TABLES)/rivals.md
	$(BENCH)/bench_disaggregate.py --output $(TABLES)/disaggregate.md
	$(BENCH)/bench_whisper.py --output $(TABLES)/whisper.md
	$(BENCH)/bench_startup.py --output $(TABLES)/startup.md
	$(BENCH)/bench_growth.py $(RESUME) --output $(TABLES)/growth.md --plot $(TABLES)/growth.svg
	$(BENCH)/bench_speed.py --words --output $(TABLES)/speed.md
	$(BENCH)/bench_rules.py $(RESUME) --output $(TABLES)/rules.md
	$(BENCH)/bench_names.py $(RESUME) --output $(TABLES)/names.md
	$(BENCH)/bench_power.py $(RESUME) --output $(TABLES)/power.md
	$(BENCH)/bench_calibration.py $(RESUME) --output $(TABLES)/calibration.md

# The same scripts at their smallest useful sizes: figures to look at, not to quote.
bench-quick: TABLES = build/bench-quick
bench-quick: .venv/bench
	mkdir -p $(TABLES)
	$(BENCH)/bench_real_network.py --noise 1 --draws 2 --gate 100 --swaps 4 --output $(TABLES)/real_network.md
	$(BENCH)/bench_architectures.py --networks MobileNetV2 --image-size 96 --batches 1 --output $(TABLES)/architectures.md
	$(BENCH)/bench_accuracy.py --batches 3 --captured 1 --epochs 0 5 --output $(TABLES)/accuracy.md
	$(BENCH)/bench_defended.py --batches 1 --output $(TABLES)/defended.md \
		--defences sign-SGD 'drop 90 %' '4 bits' 'noise 1e-2'
	$(BENCH)/bench_rivals.py --batches 2 --output $(TABLES)/rivals.md \
		--sizes 10x512x1000 64x84x100 256x84x100 8x128x10 32x128x10
	$(BENCH)/bench_startup.py --runs 3 --output $(TABLES)/startup.md
	$(BENCH)/bench_growth.py --output $(TABLES)/growth.md --plot $(TABLES)/growth.svg \
		--classes 250 1000 4000 --positions 5 20 80 --repeat 1
	$(BENCH)/bench_speed.py --repeat 1 --output $(TABLES)/speed.md
	$(BENCH)/bench_rules.py --quick --output $(TABLES)/rules.md
	$(BENCH)/bench_names.py --quick --output $(TABLES)/names.md
	$(BENCH)/bench_power.py --quick --output $(TABLES)/power.md
	$(BENCH)/bench_calibration.py --quick --classes 7 100 --output $(TABLES)/calibration.md

bench-lingvo: .venv-lingvo/ready
	.venv-lingvo/bin/python benchmarks/bench_lingvo.py
	.venv-lingvo/bin/python benchmarks/bench_transcripts.py
	.venv-lingvo/bin/python benchmarks/bench_matching.py

clean:
	rm -rf .venv .venv-quick .venv-lowest .venv-jax .venv-torch .venv-lingvo .venv-dist .venv-docs build dist .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
