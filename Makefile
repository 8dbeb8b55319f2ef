# SPDX-License-Identifier: Apache-2.0
# The front door. Meson and ninja do the work (meson.build); this names what people ask for. `make` alone explains.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
BUILD ?= build
TIME ?= 60
ROUNDS ?= 10000
KILLS ?= 200
CUTS ?= 100
# For which machine `make image` is.
OWN_ARCH := $(shell dpkg --print-architecture 2>/dev/null)
ARCH ?= $(OWN_ARCH)
# More options of meson setup, for instance --werror.
MESON ?=
CLANG_FORMAT ?= clang-format-14
# Where tools/deps puts what the system does not have.
export PATH := $(CURDIR)/build/deps/bin:$(PATH)
# Debian 12 has no yyjson: tools/deps unpacks it below build/deps and says there where its .pc file is.
PKG = PKG_CONFIG_PATH="$$(cat build/deps/pkgconfig 2>/dev/null || true):$${PKG_CONFIG_PATH:-}"
# $(call setup,DIR,MESON OPTIONS): configures DIR unless it is, and builds all of it.
setup = [ -e $(1)/build.ninja ] || env $(3) $(PKG) meson setup $(MESON) $(1) $(2); ninja -C $(1)

.PHONY: help deps all all-arm64 demo test test-clang test-trixie test-arm64 check itest crosswise kill changed-blocks interop sanity e2e e2e-oldest skew guest asan tsan fuzz bench bench-cluster fmt lint cover image fresh cluster-demo \
	clean distclean
help: ## this list
	@echo 'cleat: Kubernetes storage for local disks. A fresh machine: make demo, then make test.'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and testing need (Debian 12 and 13; as root, or SUDO=sudo)
	@tools/deps build test lint ceph

all: ## build build/cleat and all tests
	@tools/deps build test
	@[ -e $(BUILD)/cleat ] || echo 'building cleat and its tests, a minute or two the first time'
	@$(call setup,$(BUILD))

demo: all ## a volume's life on this machine, without Kubernetes, told step by step (root)
	@tools/demo $(BUILD)/cleat

test: deps all ## everything but the cluster: unit, root, lint, fuzz corpora, integration, csi-sanity, demo (root)
	@tools/run-suites --build $(BUILD) unit root lint fuzz itest interop sanity sanity-rbd sanity-cephfs demo

test-clang: ## `make test` with a build by clang
	@tools/deps fuzz
	@$(MAKE) --no-print-directory test BUILD=build-clang CC=clang MESON='--werror'

test-trixie: ## `make test test-clang` on Debian 13, in a root of its own (root; long when cold)
	@tools/deps debian
	@tools/in-debian 13 make --no-print-directory test test-clang MESON=--werror

all-arm64:
	@tools/deps build test arm64
	@tools/sysroot
	@[ -e build-arm64/build.ninja ] || env -u PKG_CONFIG_PATH meson setup $(MESON) build-arm64 --cross-file build/deps/arm64/cross.ini
	@ninja -C build-arm64

test-arm64: all-arm64 ## unit tests, fuzz corpora and image of a build for arm64, under qemu
	@tools/deps image
	@tools/run-suites --build build-arm64 unit fuzz image

check: all ## what needs no root and under a minute: unit, lint, fuzz corpora
	@tools/run-suites --build $(BUILD) unit lint fuzz

itest: all ## integration tests; ARGS='-k name -x' goes to pytest (root)
	@tools/deps ceph
	@tools/run-suites --build $(BUILD) itest -- $(ARGS)

crosswise: all ## upstream's sidecars and ours in turn, at cleat's driver and another vendor's; leaders killed (root, Go; long when cold)
	@tools/deps e2e
	@tests/tools/build kubernetes mock-driver external-provisioner external-attacher external-resizer external-snapshotter >/dev/null
	@CLEAT_CROSSWISE=1 CLEAT_LEADERS=12 tools/run-suites --build $(BUILD) itest -- -k 'crosswise or migration or attacher or leaders' $(ARGS)

kill: all ## KILLS=200 SIGKILLs of the driver under mixed load: nothing leaks, is lost or stuck; CLEAT_SEED repeats (root)
	@CLEAT_KILLS=$(KILLS) tools/run-suites --build $(BUILD) itest -- -k random_kills $(ARGS)

changed-blocks: all ## ROUNDS=10000 random writes on XFS and on btrfs, what is told to have changed against the bytes (root)
	@CLEAT_ROUNDS=$(ROUNDS) $(BUILD)/tests/unit/backend/test_backend_changed_real

guest: all ## a guest VM loses its power CUTS=100 times under mixed load and loses nothing; ext4 growth, cgroup v2 (no root); the kernel's clients on a real Ceph (root)
	@tools/deps guest $(if $(filter 0,$(shell id -u)),ceph)
	@ninja -C $(BUILD) tests/guest/guest_agent
	@tests/guest/image.py $(BUILD)
	@CLEAT_CUTS=$(CUTS) tools/run-suites --build $(BUILD) guest -- -s $(ARGS)

interop: all ## the gRPC server against grpc-go and a raw HTTP/2 framer (Go)
	@tools/run-suites --build $(BUILD) interop

sanity: all ## the CSI conformance suite, mount and block (root, Go)
	@tools/deps ceph
	@tools/run-suites --build $(BUILD) sanity sanity-rbd sanity-cephfs

e2e: all ## a real Kubernetes in namespaces of its own: chart, pods, kills (root, Go; long when cold)
	@tools/deps image e2e ceph
	@tools/run-suites --build $(BUILD) image e2e

e2e-oldest: all ## the same on the oldest release of Kubernetes that is held to work, 1.34 (root, Go; long when cold)
	@tools/deps image e2e ceph
	@CLEAT_KUBERNETES=oldest-kubernetes tools/run-suites --build $(BUILD) image e2e

skew: all ## the version before beside this one: agents, controllers and pools of both, an upgrade of the chart (root, Go; long when cold)
	@tools/deps image e2e
	@before=$$(tests/tools/previous) && export CLEAT_BEFORE=$$before && \
	tools/run-suites --build $(BUILD) itest -- -k test_skew.py && tests/e2e/run $(BUILD)/cleat -k test_upgrade.py

asan: ## unit, fuzz corpora, integration and sanity with AddressSanitizer and UBSan
	@tools/deps build test ceph
	@$(call setup,build-asan,-Db_sanitize=address$(comma)undefined -Db_lundef=false)
	@UBSAN_OPTIONS=print_stacktrace=1:log_path=$(CURDIR)/build-asan/sanitizer \
	ASAN_OPTIONS=log_path=$(CURDIR)/build-asan/sanitizer tools/run-suites --build build-asan unit root fuzz itest interop sanity sanity-rbd sanity-cephfs -- $(ARGS)

tsan: ## the same with ThreadSanitizer
	@tools/deps build test ceph
	@$(call setup,build-tsan,-Db_sanitize=thread -Db_lundef=false)
	@TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp:log_path=$(CURDIR)/build-tsan/sanitizer \
	tools/run-suites --build build-tsan unit root fuzz itest interop sanity sanity-rbd sanity-cephfs -- $(ARGS)

fuzz: ## libFuzzer on every target, TIME=60 seconds each
	@tools/deps build test fuzz
	@$(call setup,build-fuzz,-Dfuzz=true -Db_sanitize=address$(comma)undefined -Db_lundef=false,CC=clang)
	@tools/run-fuzz build-fuzz $(TIME)

bench: all ## the figures of the README against their references, one interleaved run (root, Go)
	@tests/perf/run $(BUILD)/cleat

bench-cluster: all ## claims, and all that sidecars do, beside upstream's on one real cluster (root, Go)
	@tools/deps image e2e
	@tests/perf/cluster $(BUILD)/cleat
	@tests/perf/sidecars $(BUILD)/cleat

fmt: ## lay out every .c and .h
	@tools/deps lint
	@git ls-files -co --exclude-standard 'src/*.[ch]' 'tests/*.[ch]' | grep -v '^tests/lint/' | xargs $(CLANG_FORMAT) -i

lint: all ## directions of includes, source checks, layout, spelling, scripts
	@tools/deps lint
	@tools/run-suites --build $(BUILD) lint

cover: ## line coverage of the unit tests
	@tools/deps build test cover
	@$(call setup,build-cover,-Db_coverage=true)
	@meson test -C build-cover --suite unit
	@gcovr -r . --object-directory build-cover --filter src/ --print-summary

fresh: ## every target on a Debian 12 and a 13 that never saw cleat (root; three hours)
	@tools/deps debian
	@tools/fresh

# CEPH=1 also has librados and librbd.
image: $(if $(filter $(OWN_ARCH),$(ARCH)),all,all-$(ARCH)) ## an OCI archive of the container image, offline, at build/cleat-image.tar (ARCH=arm64: in build-arm64; CEPH=1: with Ceph's libraries)
	@tools/deps image
	@CEPH=$(CEPH) tools/image $(if $(filter $(OWN_ARCH),$(ARCH)),$(BUILD),build-$(ARCH))

cluster-demo: all ## the demo's story with kubectl on a real cluster (root, Go)
	@tools/deps image e2e
	@tests/e2e/demo $(BUILD)

clean: ## drop every build but what tools/deps fetched
	@rm -rf $(other_builds)
	@find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} + 2>/dev/null || true

distclean: ## drop that too
	@rm -rf build $(other_builds)

other_builds := build-asan build-tsan build-fuzz build-cover build-clang build-arm64
comma := ,
