#!/usr/bin/env bash
# Reads a sealed model through the S3 endpoint with boto3, the AWS CLI and the Run:ai streamer, both ways of
# reading, and compares every byte and every tensor with the plain files.
#
#   examples/s3/check.sh
#
# Also read: PYTHON (default python3), VENV (a folder to keep the packages in; default: a temporary one),
# STAND (a built s3-stand; default: cargo builds it).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
work=$(mktemp -d /dev/shm/adyton-s3-check.XXXXXX)
disk=$(mktemp -d)   # the packages do not fit into memory
stand_pid=
cleanup() {
	exec 9>&- || true
	[ -z "$stand_pid" ] || kill "$stand_pid" 2>/dev/null || true
	rm -rf "$work" "$disk"
}
trap cleanup EXIT

venv=${VENV:-$disk/venv}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" || {
	echo "examples/s3: the clients of requirements.txt cannot be installed; pip says why above" >&2
	exit 1
}
stand=${STAND:-}
[ -n "$stand" ] || { cargo build --quiet --locked --release -p s3-stand && stand=target/release/s3-stand; }
"$venv/bin/python" "$here/model.py" "$work/plain"

for way in fly sendfile; do
	at=$work/$way
	mkdir -p "$at/sealed" "$at/target" "$at/client" "$at/home"
	mkfifo "$at/hold"
	"$stand" --model "$work/plain" --sealed "$at/sealed" --target "$at/target" \
		--client-files "$at/client" --way $way <"$at/hold" >"$at/address" 2>"$at/log" &
	stand_pid=$!
	exec 9>"$at/hold"   # the stand runs until this is closed
	for _ in $(seq 300); do
		[ -s "$at/address" ] && break
		kill -0 "$stand_pid" || { cat "$at/log" >&2; exit 1; }
		sleep 0.1
	done
	echo "== $way: $(cat "$at/address")"
	# Nothing of this user's own AWS set-up, and only what the endpoint hands over.
	(
		exec 9>&-
		set -a
		. "$at/client/s3.env"
		set +a
		HOME="$at/home" "$venv/bin/python" "$here/check.py" "$work/plain"
	) || { echo "examples/s3: $way failed; the endpoint said:" >&2; tail -n 20 "$at/log" >&2; exit 1; }
	exec 9>&-
	wait "$stand_pid"
	stand_pid=
	tail -n 1 "$at/log"
	[ -z "$(ls -A "$at/client")" ] || { echo "credentials are left behind" >&2; exit 1; }
done
echo "examples/s3: both ways passed"
