# Every task of the project. `make help` lists them.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test sweep sim bench build header bindings python-wheel fmt clippy doc clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

demo: ## Run a C program, a Python script and the terminal client against each other
	@tests/prepare gcc python3
	@python3 tests/demo

test: ## Run everything that is tested
	@tests/run

# A node costs one descriptor, so the limit on open files is raised as far as the system allows.
sweep: ## Measure networks of 10 to 10,000 nodes; `make sweep N=320` one size, `N="40 40-disk"` some
	$(CARGO) build --release -p peerchat-bench --bin sweep
	@ulimit -n "$$(ulimit -Hn)" && exec target/release/sweep $(N)

sim: ## Run the simulator's experiments, or one: make sim EXPERIMENT=growth|churn|churn-large|sybils|targets|survival
	$(CARGO) run --release -p peerchat-sim --bin sim -- $(EXPERIMENT)

# The figures take an hour and a quarter, because a node's hour at rest is one of them; SECONDS=600 shortens that.
bench: ## Measure hot paths and figures; or FIGURE=cold-call|lookups|first-message|idle
ifndef FIGURE
	$(CARGO) bench -p peerchat-bench --bench machines
endif
	$(CARGO) build --release -p peerchat-bench --bin figures
	@ulimit -n "$$(ulimit -Hn)" && exec env SECONDS="$(SECONDS)" target/release/figures $(if $(FIGURE),$(FIGURE) $(N))

build: ## Build every library, program, example and test
	$(CARGO) build --workspace --all-targets

header: ## Regenerate include/peerchat.h
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
