# Each target first sets up what it needs, in this folder only: see .ci/setup.
export PATH := $(CURDIR)/.tools/bin:$(CURDIR)/.venv/bin:$(PATH)
playground := python -m teddy_edge.fleet.playground

.DEFAULT_GOAL := help
.PHONY: help setup run broker-stop broker-start test torture link-faults bench fuzz mutants check format lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup:
	@.ci/setup

run: setup ## run a bear, a broker and the cloud's end on this machine, until Ctrl-C
	@$(playground)

broker-stop: setup ## stop the broker of `make run`: the bear is offline
	@$(playground) stop-broker

broker-start: setup ## start it again
	@$(playground) start-broker

test: setup ## run the tests, on as many cores as there are up to four; `ARGS="-k uplink"` runs some
	@python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

fuzz: setup ## put millions of cases through the log's decoders; `ARGS="--cases 1000"`
	@python -m benchmarks.fuzz $(ARGS)

mutants: setup .tools/mutmut ## change the log's code in 3,000 small ways; lists those that no quick test sees
	@PYTHONPATH=$(CURDIR)/.tools/mutmut python -m mutmut run $(ARGS)
	@PYTHONPATH=$(CURDIR)/.tools/mutmut python -m mutmut results

.tools/mutmut:
	@python -m pip install --quiet --disable-pip-version-check --target $@ mutmut==3.8.1

torture: setup ## kill the log's writer 2,000 times, cut its power 4,000 times, fail every storage call
	@KILLS=2000 POWER_CUTS=4000 FAULT_POINTS=1000 FAULT_TIME_S=3600 \
		python -m pytest -s -o faulthandler_timeout=7200 \
		tests/eventlog/test_kill.py tests/power tests/faults $(ARGS)

link-faults: setup ## 320 faults under 53,000 commands, a backlog of 1,000,000 events, 1,000 bears
	@LINK_FAULTS=320 LINK_COMMANDS=53000 LINK_MUTANTS=3 BACKLOG_EVENTS=1000000 MANY_BEARS=1000 \
		python -m pytest -s -o faulthandler_timeout=3600 tests/faults/test_link_faults.py \
		tests/faults/test_backlog.py tests/fleet/test_many_bears.py $(ARGS)

bench: ## measure beside other libraries, while nobody else writes to the same device
	@.ci/setup bench
	@mkdir -p .run/bench
	@python -m benchmarks.appends .run/bench $(ARGS)
	@python -m benchmarks.history .run/bench
	@python -m benchmarks.starting .run/bench
	@python -m benchmarks.queries .run/bench
	@python -m benchmarks.link .run/bench
	@if command -v strace >/dev/null; \
		then python -m benchmarks.link .run/bench --only commands --card-ms 2 --rounds 3 --commands 1000; \
		else echo "the link at a card's latency: left out, strace is not installed"; fi

check: setup ## lint, formatting and types
	ruff check
	ruff format --check
	mypy

format: setup ## format the code
	ruff format
	ruff check --fix-only

lock: setup ## write the lock files anew, with the newest versions that pyproject.toml accepts
	@.ci/lock

clean: ## remove what set-up and runs made
	rm -rf .venv .tools .run mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
