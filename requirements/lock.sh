#!/usr/bin/env bash
# Compile the hashed locks from pyproject.toml: requirements/lock.sh [DIRECTORY]. `make lock` writes them, `make check` compares.
#   runtime.txt  what the wheel needs to run (its extra `daemon`)
#   verify.txt   what an auditor needs (its extra `verify`)
#   demo.txt     runtime + in-process engine + the servers of the demo + what builds from source
#   dev.txt      demo.txt + traces + the gates and the tests
#   build.txt    what the wheel, and python-ldap, are built with
#   otel.txt     runtime + what sends traces
#   ldap.txt     python-ldap alone, which is built from source and therefore optional
# What is locked stays locked as long as it fits, so that comparing fails only when pyproject.toml asks for something else.
# Packages younger than seven days are left out, so that a poisoned release has time to be noticed.
# EXCLUDE_NEWER overrides the seven days, UV names another uv, UPGRADE=1 takes the newest of everything.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-requirements}
uv=${UV:-.venv/bin/uv}
mkdir -p "$out"

compile() { # name, arguments of uv: the lock of that name
  local lock=$1.txt
  shift
  if [ "$out" != requirements ] && [ -e "requirements/$lock" ]; then
    cp "requirements/$lock" "$out/$lock"
  fi
  "$uv" pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header \
    --no-annotate ${UPGRADE:+--upgrade} --exclude-newer "${EXCLUDE_NEWER:-7 days}" -o "$out/$lock" "$@"
}

compile dev --extra daemon --extra embedded --extra demo --extra otel --group dev pyproject.toml
compile demo --extra daemon --extra embedded --extra demo --group build -c "$out/dev.txt" pyproject.toml
compile runtime --extra daemon -c "$out/dev.txt" pyproject.toml
compile verify --extra verify -c "$out/dev.txt" pyproject.toml
compile build --group build -c "$out/dev.txt"
compile otel --extra daemon --extra otel -c "$out/dev.txt" pyproject.toml
# The extra `ldap` alone: its lock is installed on top of another one.
sed -n 's/^ldap = \["\(.*\)"\]$/\1/p' pyproject.toml | compile ldap -c "$out/dev.txt" -
