# Set-up and checks. Needs only python3 (3.10 or newer) and make; everything else goes into virtual environments here.
PYTHON ?= python3
PYTEST = -m pytest -q
# Small matrix products gain nothing from threads and lose much when two test processes share two cores.
export OPENBLAS_NUM_THREADS ?= 1
export TF_CPP_MIN_LOG_LEVEL ?= 2

# lingvo has wheels for Linux on x86-64 only, and asks for 3.5 GB of packages of which its models import half.
LINGVO = lingvo==0.14.2

.PHONY: help demo test test-tensorflow test-lingvo test-backends lint types doctest coverage mutants bench bench-lingvo clean

help:
	@echo "make demo            set up, then attack a trained network on real photos"
	@echo "make test            set up, then run the tests (TensorFlow, and lingvo where it can be installed)"
	@echo "make test-backends   set up, then run capture and gate tests on JAX and on torch"
	@echo "make lint types doctest coverage"
	@echo "make mutants         break the rules of the gate one by one; a test must notice each"
	@echo "make bench-lingvo    the speech tables: two hours, 6 GB, and it goes on where it was interrupted"
	@echo "make bench           print the tables of docs/benchmarks.md (an hour or so)"

# One environment per Keras backend, so that nobody needs two frameworks; rebuilt when pyproject.toml changes.
.venv/ready: PARTS = --group dev -e .[testing]
.venv-jax/ready: PARTS = --group test --group jax -e .[testing]
.venv-torch/ready: PARTS = --group test --group torch -e .[testing]
.venv/ready .venv-jax/ready .venv-torch/ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet $(PARTS)
	@touch $@

.venv-lingvo/ready: pyproject.toml Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet --group test --group lingvo -e .[testing]
	$(@D)/bin/python -m pip install --quiet --no-deps --only-binary :all: $(LINGVO)
	@touch $@

demo: .venv/ready
	cd examples/image_classifier && ../../.venv/bin/python -m pytest --labelleak

test: test-tensorflow test-lingvo

test-tensorflow: .venv/ready
	KERAS_BACKEND=tensorflow .venv/bin/python $(PYTEST)

ifeq ($(shell uname -sm),Linux x86_64)
test-lingvo: .venv-lingvo/ready
	.venv-lingvo/bin/python $(PYTEST) tests/lingvo
	cd examples/lingvo_asr && ../../.venv-lingvo/bin/python $(PYTEST)
else
test-lingvo:
	@echo "SKIPPED: the lingvo tests, because lingvo has no wheel for $(shell uname -sm)"
endif

test-backends: .venv-jax/ready .venv-torch/ready
	KERAS_BACKEND=jax .venv-jax/bin/python $(PYTEST) tests/capture tests/examples tests/test_auditing.py
	KERAS_BACKEND=torch .venv-torch/bin/python $(PYTEST) tests/capture tests/examples tests/test_auditing.py

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

mutants: .venv/ready
	.venv/bin/python tests/mutants.py

bench: .venv/ready
	.venv/bin/python benchmarks/bench_real_network.py
	.venv/bin/python benchmarks/bench_architectures.py
	.venv/bin/python benchmarks/bench_accuracy.py
	.venv/bin/python benchmarks/bench_startup.py
	.venv/bin/python -m pip install --quiet --group bench
	.venv/bin/python benchmarks/bench_speed.py --words

bench-lingvo: .venv-lingvo/ready
	.venv-lingvo/bin/python benchmarks/bench_lingvo.py

clean:
	rm -rf .venv .venv-jax .venv-torch .venv-lingvo .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
