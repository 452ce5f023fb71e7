#!/bin/sh
# Runs all tests but those that take minutes, after installing what they need (packages.sh).
# Arguments go to cargo test.
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh

# Many tests wait for timeouts and processes: three times as many as cores run at a time.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) * 3))}"
exec cargo test --locked "$@"
