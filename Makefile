# Every task of the project. `make help` lists them.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz tsan soak sweep sim bench build install header bindings python-wheel fmt clippy doc clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

demo: ## Run a C program, a Python script and the terminal client against each other
	@tests/prepare gcc python3
	@python3 tests/demo

test: ## Run everything that is tested
	@tests/run

fuzz: ## Fuzz every target for SECONDS=60 each, JOBS=1 at once, or some: make fuzz TARGET=abi|archive|engine|letters|link|mailbox|names|profile|records|streams|transport|wire
	@JOBS="$(JOBS)" fuzz/run "$(SECONDS)" $(TARGET)

tsan: ## Run what meets on threads under ThreadSanitizer; needs rust-src
	@tests/tsan

# With SEED=N the choices of an earlier run are made again.
soak: ## Run kills, real life, random stories, a million messages, a parted network and 10,000 clients of each language; or one: make soak RUN=kills|life|model|million|partition AMOUNT=50
	$(CARGO) build --release -p peerchat-soak
	@ulimit -n "$$(ulimit -Hn)" && exec env SEED="$(SEED)" target/release/soak $(if $(RUN),$(RUN) $(AMOUNT))
ifndef RUN
	PEERCHAT_CYCLES=10000 $(CARGO) test --workspace --test c clients_that_come_and_go -- --nocapture
	tests/soak-languages
endif

# A node costs one descriptor, so the limit on open files is raised as far as the system allows.
sweep: ## Measure networks of 10 to 10,000 nodes; `make sweep N=320` one size, `N="40 40-disk"` some
	$(CARGO) build --release -p peerchat-bench --bin sweep
	@ulimit -n "$$(ulimit -Hn)" && exec target/release/sweep $(N)

sim: ## Run the simulator's experiments, or one: make sim EXPERIMENT=growth|churn|churn-large|sybils|targets|survival|names
	$(CARGO) run --release -p peerchat-sim --bin sim -- $(EXPERIMENT)

# The figures take an hour and a quarter, because a node's hour at rest is one of them; SECONDS=600 shortens that.
bench: ## Measure hot paths and figures; or FIGURE=cold-call|lookups|first-message|strangers|fresh|passphrase|stream|waiting|work|floods|idle
ifndef FIGURE
	$(CARGO) bench -p peerchat-bench --bench machines
endif
	$(CARGO) build --release -p peerchat-bench --bin figures
	@ulimit -n "$$(ulimit -Hn)" && exec env SECONDS="$(SECONDS)" target/release/figures $(if $(FIGURE),$(FIGURE) $(N))

build: ## Build every library, program, example and test
	$(CARGO) build --workspace --all-targets

# PREFIX, LIBDIR, INCLUDEDIR and DESTDIR mean what they mean elsewhere.
install: ## Install header, libraries, pkg-config and CMake files for C: make install PREFIX=/usr/local
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" INCLUDEDIR="$(INCLUDEDIR)" DESTDIR="$(DESTDIR)" packaging/c/install

header: ## Regenerate include/peerchat.h, docs/errors.md and the list of exported functions
	$(CARGO) run -p peerchat-ffi --features tools --bin peerchat-header

bindings: ## Regenerate the code under bindings/*/generated
	bindings/generate

python-wheel: ## Build the Python wheel that ships, into target/wheels
	bindings/python/wheel

fmt: ## Format the Rust code
	$(CARGO) fmt --all

clippy: ## Run clippy with warnings denied
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc: ## Build the documentation of the Rust crates
	$(CARGO) doc --workspace --no-deps --document-private-items

clean: ## Remove everything that was built
	$(CARGO) clean
