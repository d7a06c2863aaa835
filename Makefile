# SPDX-License-Identifier: MIT
# make setup    everything kpmagic needs: distribution packages (with sudo when not root) and .venv
# make demo     run the first lesson in the sandbox and print what it shows
# make test     all tests, AT_ONCE (2) at a time, and of the cases as magics and on other kernels
#               those that differ there; test-unit: those without a kernel; test-kernel: in the sandbox
# make test-kernels  all kernel tests on all kernels, AT_ONCE (2) at a time; kernels-table then
#               makes docs/kernels.md of what came of them
# make test-browser  JupyterLab and Notebook 7 in a headless Chromium, which it installs
#               when it is missing; screenshots in build/screenshots
# make record-lessons  run the lessons on a real kernel and keep what they show; LESSONS="01 07"
# make fuzz     odd cells, bodies, texts and frames, 100,000 of most; make test tries a few
# make test-runners  one notebook under nbclient, nbmake and jupyter execute, on ipykernel 6 and 7
# make lab      JupyterLab on notebooks/, installed when it is missing
# make lab-extension  the wheel of kpmagic-lab, which highlights C in JupyterLab, in build/lab
# make soak     faults at random moments, ROUNDS times (50), AT_ONCE (2) at a time: kills, panics,
#               stopped ssh
# make crash    handlers that end their kernel, each of four kinds TURNS times (20)
# make check    ruff, mypy, import-linter
# make lock     pin the development packages anew
# make docs     build the documentation as a static site in build/docs, all its links checked
# make bench    measure side by side with bpftrace, BCC and libbpf C: a page of ratios in build/bench
# make bench-quick  what decides most of it, in under five minutes; fails when a ratio falls short
# make bench-classroom  ten sandboxes at once: time and memory of each
# make binder   Binder's environment in a plain directory, and the first lesson in it (as root)
# make clean    remove what was built here

SHELL := /bin/sh
PY := .venv/bin/python
KERNEL ?= 6.1
ROUNDS ?= 50
TURNS ?= 20
ALL_KERNELS ?= 5.10 6.1 6.12 7.2
AT_ONCE ?= 2
NOTEBOOK ?= notebooks/01-first-probe.ipynb
PYTEST := $(PY) -m pytest
# what is timed runs alone; so do, last, the tests without a sandbox, for some weigh memory and open
# files of their own process
TIMED := tests/notebooks/test_flood.py
# of the *.case files those that a magic can do otherwise than a function, a newer kernel otherwise
OF_MAGICS := first or errors or listing or sections
OF_KERNELS := places or stacks or returns or together or types or members or modules
IN_SANDBOXES := tests/kernel tests/notebooks tests/faults tests/runners tests/binder

.PHONY: help setup test-runners lab lab-extension docs demo test test-unit test-kernel test-kernels kernels-table test-browser fuzz soak crash check lock bench bench-quick \
  bench-classroom binder clean record-lessons
.DEFAULT_GOAL := help

help:
	@sed -n '2,/^$$/s/^# //p' Makefile

setup:
	@.ci/packages
	@.ci/venv

demo: setup
	$(PY) -m kpmagic kernels fetch $(KERNEL)
	$(PY) notebooks/execute.py $(NOTEBOOK)

test: setup
	@.ci/ipykernel6
	$(PYTEST) -n $(AT_ONCE) tests/kernel/test_cases.py --kernel 5.10 --kernel 7.2 -k README
	$(PYTEST) -n $(AT_ONCE) tests/kernel/test_cases.py --kernel 6.12 \
	  -k 'as-function and ($(OF_KERNELS))'
	$(PYTEST) -n $(AT_ONCE) tests/notebooks/test_lessons.py --kernel 6.12 -k live
	$(PYTEST) -n $(AT_ONCE) --dist loadfile $(IN_SANDBOXES) --ignore=$(TIMED) \
	  -k 'not as-magic or $(OF_MAGICS)'
	$(PYTEST) $(TIMED)
	$(PYTEST) tests --ignore=tests/browser $(IN_SANDBOXES:%=--ignore=%)

test-unit: setup
	$(PYTEST) tests/unit

test-kernel: setup
	$(PYTEST) tests/kernel $(KERNELS:%=--kernel %)

# cells as magics only on the kernel that is the default: they are thin, and the same everywhere
test-kernels: setup
	rm -rf build/kernels && mkdir -p build/kernels
	$(MAKE) -k -j$(AT_ONCE) $(ALL_KERNELS:%=build/kernels/%.xml)

build/kernels/%.xml:
	env -u MAKEFLAGS $(PYTEST) -q tests/kernel --kernel $* $(if $(filter $(KERNEL),$*),,-k 'not as-magic') \
	  --junitxml $@

kernels-table:
	$(PY) tests/kernels_table.py build/kernels/*.xml

test-browser: setup
	@.ci/browser
	$(PYTEST) tests/browser

record-lessons: setup
	$(PY) -m kpmagic kernels fetch $(KERNEL)
	$(PY) notebooks/record.py $(LESSONS)

fuzz: setup
	KPMAGIC_FUZZ=full $(PYTEST) tests/fuzz

test-runners: setup
	@.ci/ipykernel6
	KPMAGIC_ALL_RUNNERS=1 $(PYTEST) tests/runners

lab: setup
	@$(PY) -c 'import jupyterlab' 2>/dev/null || \
	    $(PY) -m pip install -q --disable-pip-version-check 'jupyterlab>=4.2'
	.venv/bin/jupyter lab notebooks $(shell [ "$$(id -u)" != 0 ] || echo --allow-root)

lab-extension: setup
	$(PY) -m pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps -w build/lab ./lab
	@ls build/lab/*.whl

soak: setup
	KPMAGIC_ROUNDS=$(ROUNDS) $(PYTEST) -n $(AT_ONCE) tests/faults

crash: setup
	KPMAGIC_ROUNDS=$(TURNS) $(PYTEST) tests/kernel/test_crashes.py

check: setup
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m mypy bench/*.py
	.venv/bin/lint-imports

lock: setup
	rm -rf .venv/lock
	$(PY) -m venv .venv/lock
	.venv/lock/bin/python -m pip install -q --upgrade pip
	.venv/lock/bin/python -m pip install -q --group dev --editable .
	{ sed '/^[^#]/,$$d' requirements-dev.lock; \
	  .venv/lock/bin/python -m pip freeze --exclude-editable; } > .venv/lock/new
	mv .venv/lock/new requirements-dev.lock
	rm -rf .venv/lock

docs: setup
	$(PY) -m sphinx -q -W --keep-going -b dirhtml docs build/docs
	$(PY) docs/links.py build/docs

bench bench-quick: setup
	$(PY) -m kpmagic kernels fetch $(KERNEL)
	$(PY) bench/run.py $(if $(filter bench-quick,$@),--quick)

bench-classroom: setup
	$(PY) -m kpmagic kernels fetch $(KERNEL)
	$(PY) bench/classroom.py

binder: setup
	folder=$$(mktemp -d /var/tmp/kpmagic-binder.XXXXXX) && chmod 755 $$folder && \
	  { $(PY) binder/rehearse.py $$folder $(NOTEBOOK); code=$$?; rm -rf $$folder; exit $$code; }

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
