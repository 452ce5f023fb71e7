#!/bin/sh
# Runs all tests but those that take minutes, after installing what they need (packages.sh).
# Arguments go to cargo test.
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh

exec cargo test --locked "$@"
