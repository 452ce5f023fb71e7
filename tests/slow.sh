#!/bin/sh
# Runs the tests that take minutes, one after the other: a hundred power cuts, forty times kill -9 under load, a disk
# that fails now and then, a log that cannot be emptied, axe, restarts under load, static binaries, a release made
# twice, Mini Programs built by uni-app and Taro, backends in Java, Go and PHP, and clients generated from
# docs/openapi.yaml. Arguments are names of tests.
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
install_npm_packages tests/miniprogram-frameworks
install_compilers_and_generators

exec cargo test --locked --test it -- --ignored --test-threads=1 "$@"
