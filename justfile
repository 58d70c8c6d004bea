# Each recipe is one line that calls cargo or xtask; all of them can be typed by hand.

# types, lints, formatting, the rules of the house: under a minute when warm, no network
check:
    cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings && cargo xtask tidy

# every test of the workspace
test *ARGS:
    cargo nextest run --workspace {{ARGS}}

# what machines can mend
fix:
    cargo fmt --all && cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# the binary, as in: just run demo
run *ARGS:
    cargo run --release -- {{ARGS}}

# the stories, told by the real binary
e2e *ARGS:
    cargo nextest run -p legwork-cli -p legwork-e2e {{ARGS}}

# schema/*.json anew from the types
schema:
    cargo xtask schema

# the rules of the house
tidy:
    cargo xtask tidy

# every example called bench_*, in release mode
bench *NAME:
    cargo xtask bench {{NAME}}

# the release binary and its size
dist:
    cargo xtask dist
