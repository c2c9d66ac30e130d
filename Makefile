# make demo   set up, then show a tunnel at work      make test   set up, then every test
# Both as root on a fresh Debian 12. "make help" lists the rest.

VENV    := .venv
BIN     := $(VENV)/bin
# The distribution's own Python first: another one in PATH may lack the venv module.
PYTHON  := $(firstword $(wildcard /usr/bin/python3) python3)
STAMP   := $(VENV)/.ovpn6-set-up
BENCHED := $(VENV)/.ovpn6-bench-set-up
LINTED  := ovpn6 tests netns-tests bench

.PHONY: help setup packages check lint types unit netns-test mtu-matrix vm-test kmod-oracle kmod-selftests test bench demo clean fuzz gate nightly
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: packages $(STAMP) ## Debian packages (as root) and .venv with ovpn6 and its test tools

packages:
	@sh .ci/packages

$(STAMP): pyproject.toml setup.py $(wildcard ovpn6/datapath/fastpath/*.[ch])
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	rm -f $(FASTPATH)/*.so
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@ls $(FASTPATH)/*.so >/dev/null || ! command -v cc >/dev/null || { \
		echo "the native worker did not build, although there is a compiler: $(BIN)/python setup.py build_ext" >&2; exit 1; }
	@touch $@

check: $(STAMP) lint types unit ## lint, types and unit tests; no root, under a minute

lint: $(STAMP)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/ruff check $(LINTED)

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/pytest -q -n 2 tests

netns-test: $(STAMP) ## tunnels in network namespaces, with OpenVPN as the other end; needs root
	@test "$$(id -u)" = 0 || { echo "make netns-test needs root: it makes network namespaces" >&2; exit 1; }
	$(BIN)/pytest -q -n 2 --dist worksteal netns-tests

mtu-matrix: $(STAMP) ## every row of packet sizes: paths, families, formats, both makers; needs root
	@test "$$(id -u)" = 0 || { echo "make mtu-matrix needs root: it makes network namespaces" >&2; exit 1; }
	OVPN6_MTU_MATRIX=full $(BIN)/pytest -q -n 2 --dist worksteal netns-tests/test_mtu_matrix.py netns-tests/vm/test_openvpn27_sizes.py

vm-test: setup ## what needs a kernel of its own, in a virtual machine (docs/vm.md; FORM=long: every row); needs root
	@sh .ci/packages vm
	netns-tests/vm/vm build --openvpn3 --openvpn26
	netns-tests/vm/vm kmod
	$(BIN)/pytest -q netns-tests/vm --ignore-glob 'netns-tests/vm/guest*'
	netns-tests/vm/vm run --limit 2400 --results .vm/vm-test -- sh netns-tests/vm/guest/suite.sh $(FORM)
	netns-tests/vm/vm run --kmod --limit 1800 --results .vm/kmod-test -- sh netns-tests/vm/guest_kmod/suite.sh

kmod-oracle: setup ## our kernel module beside mainline's: same answers, same octets, a tunnel between; ten minutes; needs root
	@sh .ci/packages vm
	netns-tests/vm/vm run --kmod --limit 1200 --results .vm/kmod-oracle -- sh netns-tests/vm/guest_kmod/oracle/oracle.sh
	sh netns-tests/vm/two_kernels.sh

kmod-selftests: setup ## the kernel's own tests of ovpn, on mainline's module and on ours; half an hour; needs root
	@sh .ci/packages vm
	netns-tests/vm/vm selftests --results .vm/kmod-selftests

# One after the other, and each whatever became of the one before.
test: setup ## everything: set-up, check, netns-test, vm-test; an hour
	$(MAKE) --keep-going --jobs=1 check netns-test vm-test

# The kernel is built once, from Debian's sources, and kept.
gate: setup ## our kernel module under every check of the kernel, storms and fuzzers (GATE_SECONDS=600); needs root
	@sh .ci/packages vm
	netns-tests/vm/vm build --kernel gate
	GATE_SECONDS=$(GATE_SECONDS) sh netns-tests/vm/gate.sh

GATE_SECONDS := 600

nightly: setup ## races in our kernel module (KCSAN), its fuzzers an hour each with other draws each day; needs root
	@sh .ci/packages vm
	@sh .ci/packages fuzz
	netns-tests/vm/vm build --kernel gate --kernel races
	GATE_SECONDS=$(NIGHTLY_SECONDS) GATE_SEED=$$(date +%Y%j) sh netns-tests/vm/gate.sh races netlink packets
	$(MAKE) -C kmod fuzz FUZZ_SECONDS=$(NIGHTLY_SECONDS)

NIGHTLY_SECONDS := 3600

bench: setup $(BENCHED) ## ovpn6 beside OpenVPN and wireguard-go, ten minutes (FORM=long: more); needs root
	@sh .ci/packages bench
	PYTHONPATH=netns-tests $(BIN)/python -m bench $(FORM)

$(BENCHED): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

FUZZ_SECONDS := 60
FASTPATH := ovpn6/datapath/fastpath
FUZZING := tests/datapath/native
FUZZER  := clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
	-fno-sanitize-recover=all -I$(FASTPATH)
FUZZED  := $(addprefix $(FASTPATH)/,checksum.c segment.c coalesce.c)
# The harness includes rx.c and tx.c, and has no use for Python's side.
WORKER  := $(filter-out %/module.c %/module_peers.c %/rx.c %/tx.c,$(wildcard $(FASTPATH)/*.c))

fuzz: ## packet arithmetic and worker in C under libFuzzer, FUZZ_SECONDS=60 each; .fuzz has what is new
	@sh .ci/packages fuzz
	mkdir -p .fuzz/found .fuzz/found-worker
	$(FUZZER) $(FUZZING)/fuzz.c $(FUZZING)/offload.c $(FUZZED) -o .fuzz/offload
	$(FUZZER) $(addprefix $(FUZZING)/,fuzz_worker.c fuzz_receive.c fuzz_send.c) $(WORKER) \
		-lcrypto -ldl -lpthread -o .fuzz/worker
	cd .fuzz && ./offload -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -print_final_stats=1 \
		found ../$(FUZZING)/corpus
	cd .fuzz && ./worker -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -print_final_stats=1 \
		found-worker ../$(FUZZING)/corpus-worker

demo: setup ## a dual-stack tunnel over an IPv6-only network, in one minute; needs root
	@$(BIN)/python -m ovpn6.lab.demo

clean: ## remove .venv, caches and what virtual machines are made of
	test ! -e .vm || netns-tests/vm/vm clean
	rm -rf $(VENV) .fuzz build ovpn6.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f ovpn6/datapath/fastpath/*.so kmod/*.deb
	find ovpn6 tests netns-tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
