#!/usr/bin/env bash
# Compile the hashed locks from pyproject.toml. Run after every change of a dependency; `make check` compares.
#   requirements/demo.txt  runtime + in-process engine + the servers of the demo
#   requirements/dev.txt   demo.txt + the gates and the tests
#   requirements/ldap.txt  python-ldap, which is built from source and therefore optional
# Packages younger than seven days are left out, so that a poisoned release has time to be noticed.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-requirements}
uv=${UV:-.venv/bin/uv}
compile() { # name, arguments...
  local name=$1
  shift
  [ "$out" = requirements ] || cp "requirements/$name.txt" "$out/$name.txt"
  "$uv" pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header \
    --no-annotate --exclude-newer "${EXCLUDE_NEWER:-7 days}" "$@" pyproject.toml -o "$out/$name.txt"
}
compile dev --extra embedded --extra demo --group dev
compile demo --extra embedded --extra demo -c "$out/dev.txt"
compile ldap --extra ldap -c "$out/dev.txt"
