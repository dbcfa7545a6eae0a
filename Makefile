# `make up` and `make test` do everything on a fresh Debian 12 machine; the rest is for developers.
#
#   make up            install what is missing, build, start a local cluster, say how to connect
#   make down          stop it; the data stays
#   make build         everything, release, and the extension for the PostgreSQL on the machine
#   make test [T=name] all proofs, or those whose name contains T
#   make pg-regress    PostgreSQL's own suites on an endpoint and on a stock server, PG=15 or 17; an hour.
#                      SUITE=regress, isolation, contrib/hstore; CONFIGURATION=serial, parallel or default: one of them
#   make redo-oracle   page redo judged by PostgreSQL, PG=15; redo-oracle-mutants: whether it would notice
#   make standby-oracle  a stock standby stopped at random LSNs under load, PG=15 STOPS=20, beside the pageserver's pages
#   make many-timelines what 10,000 idle timelines cost a safekeeper, TIMELINES=10000
#   make many-tenants   what 1,000 idle tenants of ten timelines cost a pageserver, TENANTS=1000
#   make sim            simulated safekeepers and computes, SEEDS=20000 worlds or SEED=n; sim-mutants: whether it would notice
#   make fuzz          the WAL decoder and page redo, MINUTES=10 each (takes a nightly Rust)
#   make bench         Varve beside stock PostgreSQL, a line for each number; WRITE=docs writes docs/benchmarks.md
#   make test-garage  object storage that is a bucket of Garage, which is built first (ten minutes and more)
#   make test-docker   the images and docker-compose.yml: every container killed, cut off, restarted under load; PG=15 or 17
#   make test-docker-s3       they with Garage as object storage, killed too, which is built where no registry can be reached
#   make test-docker-upgrade  a cluster of the previous release goes on with them
#   make deb           Debian packages, in target/deb
#   make test-deb      them on three machines with systemd: installed, upgraded with PostgreSQL beneath them, removed
#   make test-kubernetes  the manifests against Kubernetes' schemas, and run (needs root)
#   make test-extensions  PostGIS, pgvector, pg_cron as Debian ships them, beside a stock server; PG=15 or 17 (a quarter of an hour)
#   make test-api      schemathesis asks the HTTP APIs of a running cluster whether they are as their documents say; SEED=1, EXAMPLES=60
#   make test-console  the pages of varve console in headless Chromium: complaints, accessibility (axe), light and dark
#   make lint          formatting, clippy, layering, C warnings
#   make clean-cluster delete the local cluster and its data

SHELL := /bin/bash
.DEFAULT_GOAL := build

PG_MAJOR ?= 15
PG ?= $(PG_MAJOR)
PG_BIN_DIR := /usr/lib/postgresql/$(PG_MAJOR)/bin
PG_CONFIG := $(PG_BIN_DIR)/pg_config
PG_OTHER := 17
PG_CONFIG_OTHER := /usr/lib/postgresql/$(PG_OTHER)/bin/pg_config
VARVE_DIR ?= .varve
# Everything that is downloaded or built once and lives outside the tree.
export VARVE_CACHE ?= /var/cache/varve
export PATH := $(PATH):$(HOME)/.cargo/bin

VARVE := target/release/varve --data-dir $(VARVE_DIR)

.PHONY: deps build extension extension-of-other up down clean-cluster test test-docker test-docker-s3 test-docker-upgrade test-garage test-extensions deb test-deb test-kubernetes test-api test-console pg-regress bench lint format oracle redo-oracle redo-oracle-mutants standby-oracle chaos many-timelines many-tenants sim sim-mutants fuzz

deps:
	@tests/scripts/install-deps $(PG_MAJOR)

build: deps
	cargo build --release --locked --workspace
	$(MAKE) --no-print-directory extension

# Compiled against the installed server's headers; it refuses to load into any other minor release.
extension: deps
	$(MAKE) --no-print-directory -C pgext PG_CONFIG=$(PG_CONFIG)
	@tests/scripts/as-root $(MAKE) --no-print-directory -C pgext PG_CONFIG=$(PG_CONFIG) install

# For the PostgreSQL that this machine's release does not have and tests run on as well: see tests/scripts/with-postgres.
extension-of-other:
	tests/scripts/with-postgres $(PG_OTHER) $(MAKE) --no-print-directory -C pgext PG_CONFIG=$(PG_CONFIG_OTHER) all install

up: build
	@$(VARVE) up $(if $(PORT_BASE),--port-base $(PORT_BASE))
	@echo "The command line tool is $(CURDIR)/target/release/varve; put its directory on your PATH."

down:
	@$(VARVE) down

clean-cluster:
	-@$(VARVE) down --mode immediate
	rm -rf $(VARVE_DIR)

test: build extension-of-other
	@tests/scripts/run-tests "$(T)"

pg-regress: build extension-of-other
	@tests/scripts/postgres-source $(PG) >/dev/null
	cargo test --release --locked --workspace --no-run
	@VARVE_TEST_PG=$(PG) SUITE="$(SUITE)" CONFIGURATION="$(CONFIGURATION)" \
		tests/scripts/with-postgres $(PG) tests/scripts/pg-regress \
		"$$(ls -t target/release/deps/pg_regress-* | grep -v '\.d$$' | head -n 1)" --ignored --nocapture all_suites

# All packages at once, so that what `make build` compiled is used. BENCH="--only branches --rounds 1": see --help.
bench: build
	cargo bench --locked --workspace --bench cluster -- $(BENCH) $(if $(WRITE),--write $(abspath $(WRITE)))

# The suite of all stores, and a cluster.
test-garage: build
	cargo test --release --locked --workspace --no-run
	tests/scripts/with-garage bash -c 'for program in conformance e2e; do \
		"$$(ls -t target/release/deps/$$program-* | grep -v "\.d$$" | head -n 1)" --ignored --nocapture another_store || exit; done'

# Needs Docker and psql, and nothing of what `make deps` installs.
test-docker:
	@PG_MAJOR=$(PG) tests/docker/run

test-docker-s3:
	@PG_MAJOR=$(PG) tests/docker/s3

test-docker-upgrade:
	@PG_MAJOR=$(PG) tests/docker/upgrade

deb: build
	@packaging/build-deb

# Machines are namespaces of this one, which takes root.
test-deb: deb
	@DEB_VERSION=0.0.1 packaging/build-deb target/deb-earlier >/dev/null
	@tests/scripts/as-root tests/packages/run target/deb target/deb-earlier

# What a kubelet makes of manifests takes root; without programs they are only looked at.
test-kubernetes: build
	@tests/kubernetes/check
	@tests/scripts/as-root tests/kubernetes/run

# In a small Debian that has them: what they need is more than a machine should have for a test.
test-extensions: build
	cargo test --release --locked --workspace --no-run
	@tests/scripts/test-extensions $(PG) \
		"$$(ls -t target/release/deps/e2e-* | grep -v '\.d$$' | head -n 1)" --include-ignored

# On a cluster of its own, which goes when it ends.
test-api: build
	@tests/scripts/test-api --seed $(or $(SEED),1) --examples $(or $(EXAMPLES),60)

# Installs Debian's Chromium where there is none. Pictures of all pages are left in PICTURES, to be looked at.
test-console: build
	@command -v chromium >/dev/null || { tests/scripts/as-root apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive tests/scripts/as-root apt-get install -y -qq --no-install-recommends chromium; }
	cargo test --release --locked --workspace --no-run
	VARVE_PICTURES=$(or $(PICTURES),/tmp/varve-console) \
		"$$(ls -t target/release/deps/e2e-* | grep -v '\.d$$' | head -n 1)" --include-ignored --nocapture console::

lint: deps
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	@tests/scripts/check-layering
	@tests/scripts/check-one-build
	$(MAKE) --no-print-directory -C pgext PG_CONFIG=$(PG_CONFIG)
	tests/scripts/with-postgres $(PG_OTHER) $(MAKE) --no-print-directory -C pgext PG_CONFIG=$(PG_CONFIG_OTHER)

format:
	cargo fmt --all
	cargo fmt --manifest-path tests/fuzz/Cargo.toml

# Page redo against PostgreSQL's own opinion of every page (wal_consistency_checking): a minute of it.
oracle: build
	tests/redo_oracle/run.sh --release --count --pgbench 30

# All of it, which needs 40 GB of TMPDIR.
redo-oracle: build
	@tests/redo_oracle/all.sh $(PG)

redo-oracle-mutants: build
	@tests/redo_oracle/mutants.sh --pg $(PG)

standby-oracle: build extension-of-other
	cargo test --release --locked -p e2e --no-run
	VARVE_TEST_PG=$(PG) STOPS=$(or $(STOPS),20) SEED=$(or $(SEED),1) tests/scripts/with-postgres $(PG) \
		"$$(ls -t target/release/deps/e2e-* | grep -v '\.d$$' | head -n 1)" --ignored --nocapture at_random_lsns

chaos: build
	cargo test --release --locked -p e2e --no-run
	CHAOS_MINUTES=$(or $(MINUTES),30) CHAOS_SEED=$(or $(SEED),1) \
		"$$(ls -t target/release/deps/e2e-* | grep -v '\.d$$' | head -n 1)" --nocapture nothing_is_lost_in_chaos

# What timelines cost a safekeeper when nobody uses them.
many-timelines: build
	cargo test --release --locked -p e2e --no-run
	MANY_TIMELINES=$(or $(TIMELINES),10000) \
		"$$(ls -t target/release/deps/e2e-* | grep -v '\.d$$' | head -n 1)" --nocapture many_timelines::

# What tenants cost a pageserver when nobody uses them.
many-tenants: build
	cargo test --release --locked -p e2e --no-run
	MANY_TENANTS=$(or $(TENANTS),1000) \
		"$$(ls -t target/release/deps/e2e-* | grep -v '\.d$$' | head -n 1)" --nocapture many_tenants::

sim:
	cargo build --quiet --release --locked -p consensus_sim
	@target/release/consensus-sim $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),20000))

sim-mutants:
	@tests/scripts/sim-mutants

fuzz:
	@tests/scripts/fuzz $(or $(MINUTES),10)
