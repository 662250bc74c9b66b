# Everything a new machine needs: `make run` to see it work, `make test` to prove it. Linux, Python 3.11 or 3.12.
.DEFAULT_GOAL := help
.PHONY: help install run demo check fmt test sip-test chaos soak fuzz load bench bench-compare lock clean

# SIPp, another user agent, a proxy, a voice, certificates, a browser for the load report
DEBIAN_PACKAGES := sip-tester baresip-core kamailio espeak-ng openssl chromium
BIN := .venv/bin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## make .venv from the lock file (again when that changed)

.venv/installed: requirements.lock pyproject.toml
	@.ci/environment .venv
	@touch $@

run: install ## start the server; without a config in the sandbox, with a first AI call to watch
	@$(BIN)/trunkline serve --welcome

demo: install ## one sandbox AI call from start to end, kept as a stereo WAV
	@$(BIN)/trunkline demo

check: install ## style, types, import rules, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy engine media api tests
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q tests/test_architecture.py

fmt: install ## format the code and repair what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each test starts processes: all of them would compile everything anew where bytecode may not be kept.
test sip-test: export PYTHONDONTWRITEBYTECODE :=

test: install ## every test, real SIP peers included (installs them when missing, by sudo)
	@.ci/debian-packages $(DEBIAN_PACKAGES)
	REQUIRE_SIP=1 $(BIN)/pytest -n 3 --dist worksteal --durations 10 -m "not alone"
	REQUIRE_SIP=1 $(BIN)/pytest --durations 5 -m alone

sip-test: install ## the part of the tests that has real SIP peers, as a table of far ends
	@.ci/debian-packages $(DEBIAN_PACKAGES)
	REQUIRE_SIP=1 $(BIN)/pytest -n 3 --dist worksteal -q -m "sip and not alone" --sip-table tests/sip

chaos: install ## break one thing after another under 30 live calls, and count what was lost (as root: the disk too)
	@.ci/debian-packages sip-tester
	$(BIN)/python -m tests.sip.tools.chaos $(ARGS)

soak: install ## calls that come and go for MINUTES=30, most of them badly; then nothing may be left over or have grown
	@.ci/debian-packages sip-tester
	$(BIN)/python -m tests.sip.tools.soak --minutes $(or $(MINUTES),30) $(ARGS)

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--extra load --extra dev --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock

fuzz: install ## hostile SIP, SDP and RTP at a live engine with AI calls up, for MINUTES=1
	@.ci/debian-packages sip-tester
	$(BIN)/python -m tests.sip.tools.fuzz --minutes $(or $(MINUTES),1) $(ARGS)

load: install ## 100 AI calls for a minute, measured at the far ends (ARGS="--calls 20 --html load.html")
	@.ci/debian-packages sip-tester
	$(BIN)/trunkline load $(or $(ARGS),--calls 100 --cps 10 --seconds 60)

bench: install ## the figures of the design, measured; three to four minutes a repeat, two of them (ARGS="--repeats 1")
	@.ci/debian-packages sip-tester
	$(BIN)/trunkline bench $(ARGS)

bench-compare: install ## the last two of them side by side
	@$(BIN)/trunkline bench --compare

clean: ## remove the environment and every cache
	rm -rf .venv *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
