# The commands of this repository; `make` alone lists them. Targets that need programs install
# them first, so each works in a fresh clone.

# Where `cargo install` and rustup put programs, in case the shell does not know yet.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

FUZZ_SECONDS ?= 600
FUZZ_FLAGS ?= -timeout=25 -rss_limit_mb=1024 -max_len=262144

# Where release builds put programs. The benchmarks are built together with the program that they
# measure: apart, each would have its own build of the dependencies.
RELEASE = $(or $(CARGO_TARGET_DIR),target)/release
DEBUG = $(or $(CARGO_TARGET_DIR),target)/debug

# The tests that compare times.
CHAOS_ALONE = bombs three_calls
SERVICE_ALONE = crowd:: a_wrong_name

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: ## Install what is missing to build, test and demonstrate
	@scripts/setup.sh

.PHONY: demo
demo: setup ## Start the service, upload a small video, download and check the MP3
	@scripts/demo.sh

.PHONY: test
test: setup-test ## Run the tests
	cargo test --workspace --locked

.PHONY: lint
lint: setup ## Check format, clippy and rustdoc; warnings fail
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p tonemill --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

.PHONY: test-long
test-long: setup-bench setup-fuzz ## Quality on ten minutes of real sound, a minute of each fuzz target
	scripts/long-media.sh target/long/music.wav
	TONEMILL_LONG=1 TONEMILL_MUSIC=$(CURDIR)/target/long/music.wav \
		cargo test --release --locked -p tonemill-codec --test quality -- --nocapture
	$(call fuzz_each,60)

.PHONY: test-garage
test-garage: setup-test setup-garage ## Run the tests of store, workers and service on Garage
	cargo test --workspace --locked --test objects -- --ignored
	TONEMILL_S3=garage cargo test --workspace --locked --test pool --test service

.PHONY: kubernetes
kubernetes: setup-kubernetes ## Check the manifests: render, schemas, and what the program really has
	@scripts/kubernetes.sh

.PHONY: images
images: setup-images ## Check Dockerfile, compose file and workflow against their rules
	target/images/venv/bin/hadolint deploy/Dockerfile
	target/images/venv/bin/shellcheck deploy/ffmpeg.sh deploy/compose/secrets.sh \
		deploy/systemd/tonemill-admin scripts/images/*.sh
	target/images/venv/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	target/images/venv/bin/check-jsonschema --builtin-schema vendor.github-workflows \
		.github/workflows/ci.yaml

.PHONY: images-try
images-try: setup-images-try ## Build the images without a Docker engine, and try them (as root)
	scripts/images/try.sh target/images

.PHONY: docs-try
docs-try: setup-docs ## Run what README and docs say, block by block (ARGS='docs/api.md')
	@scripts/docs.sh $(ARGS)

.PHONY: reference
reference: setup ## Write the settings into docs/configure.md again
	cargo build --workspace --bins --locked
	{ sed '/^<!-- tonemill config reference -->$$/q' docs/configure.md && \
		$(DEBUG)/tonemill config reference; } >docs/configure.new
	mv docs/configure.new docs/configure.md

.PHONY: clients
clients: setup-clients ## Prove the API with clients of others: schemathesis, tus, a browser, curl
	@scripts/clients.sh

.PHONY: chaos
chaos: setup-test ## Break workers, API, Redis, store, databases, clocks at full size; takes hours
	TONEMILL_CHAOS=1 cargo test --release --locked -p tonemill --test pool -- \
		--nocapture --include-ignored --test-threads 3 $(addprefix --skip ,$(CHAOS_ALONE))
	TONEMILL_CHAOS=1 cargo test --release --locked -p tonemill --test pool -- \
		--nocapture --test-threads 1 $(CHAOS_ALONE)
	TONEMILL_CHAOS=1 cargo test --release --locked -p tonemill --test system -- \
		--nocapture --test-threads 1
	$(MAKE) chaos-service

.PHONY: chaos-service
chaos-service: setup-test ## The part of `chaos` that goes through the front door of the service
	TONEMILL_CHAOS=1 cargo test --release --locked -p tonemill --test service -- \
		--nocapture --include-ignored --test-threads 3 $(addprefix --skip ,$(SERVICE_ALONE))
	TONEMILL_CHAOS=1 cargo test --release --locked -p tonemill --test service -- \
		--nocapture --test-threads 1 $(SERVICE_ALONE)

.PHONY: skew
skew: setup-test ## Roll an update from an older program to this one, and back (OLD=REVISION)
	@scripts/skew.sh $(OLD)

.PHONY: fuzz
fuzz: setup-fuzz ## Run each fuzz target for FUZZ_SECONDS (default 600)
	$(call fuzz_each,$(FUZZ_SECONDS))

.PHONY: bench
bench: setup-bench ## Run the benchmarks of the codec (ARGS='-- FILTER')
	cargo bench --locked -p tonemill-benches $(ARGS)

.PHONY: peers
peers: setup-bench ## Compare with ffmpeg, lame and moviepy (ARGS='…')
	cargo build --release --locked -p tonemill -p tonemill-benches
	$(RELEASE)/peers $(ARGS)

.PHONY: pool
pool: setup-test ## Measure the worker pool (ARGS='--case clips,long --out FILE')
	cargo build --release --locked -p tonemill -p tonemill-benches
	$(RELEASE)/pool $(ARGS)

.PHONY: service
service: setup-test ## Measure the service (ARGS='--case start,reads --out FILE')
	cargo build --release --locked -p tonemill -p tonemill-benches
	$(RELEASE)/service $(ARGS)

# What `service` has measured last (--case costs --costs FILE).
COSTS ?= $(lastword $(sort $(wildcard benches/runs/*-costs.json)))
need_costs = $(if $(COSTS),,$(error no costs of jobs are there: \
	`make service ARGS='--case costs --costs FILE'` measures them, then say COSTS=FILE))

.PHONY: capacity
capacity: setup-bench ## Compute what fleets of 1 to 1,000 workers do (COSTS=FILE ARGS='--out FILE')
	cargo build --release --locked -p tonemill-benches
	$(need_costs)$(RELEASE)/scaling capacity --costs $(COSTS) $(ARGS)

.PHONY: simulate
simulate: setup-bench ## Simulate fleets, crowds and lost machines (COSTS=FILE ARGS='--seed 1 --out FILE')
	cargo build --release --locked -p tonemill-benches
	$(need_costs)$(RELEASE)/scaling simulate --costs $(COSTS) $(ARGS)

.PHONY: validate-simulation
validate-simulation: setup-test ## Hold the simulation against two real workers that are killed (ARGS='…')
	cargo build --release --locked -p tonemill -p tonemill-benches
	$(RELEASE)/scaling validate $(ARGS)

.PHONY: audit
audit: setup-audit ## Check licences, bans and sources of the dependencies
	cargo deny --locked check licenses bans sources

.PHONY: audit-advisories
audit-advisories: setup-audit ## Check for known vulnerabilities (downloads their database)
	cargo deny --locked check advisories

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
	rm -rf fuzz/target

.PHONY: setup-test setup-garage setup-bench setup-fuzz setup-audit setup-clients
.PHONY: setup-kubernetes setup-images setup-images-try setup-docs
setup-test setup-garage setup-bench setup-fuzz setup-audit setup-clients setup-kubernetes \
setup-images setup-images-try setup-docs: setup-%:
	@scripts/setup.sh $*

# fuzz_each SECONDS. RUSTC_BOOTSTRAP lets stable Rust build with AddressSanitizer, which cargo-fuzz
# asks for and which needs a nightly toolchain otherwise. cargo-fuzz has no --locked, so a fetch
# with it fails first if the lock file is out of date.
define fuzz_each
	cargo fetch --locked --manifest-path fuzz/Cargo.toml
	@fuzz/seeds.sh
	@targets=$$(cargo fuzz list) && [ -n "$$targets" ] || exit 1; \
	for target in $$targets; do \
		echo "fuzz: $$target for $(1) s"; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" -- -max_total_time=$(1) $(FUZZ_FLAGS) || exit 1; \
	done
endef
