#!/usr/bin/env bash
# Runs the clients of this folder against a sidecar that serves, and requires that they get text over
# mutual TLS and that the same call without a client certificate is refused.
#
#   MODEL_URL=https://127.0.0.1:8443 SERVER_CERTIFICATE=server.pem \
#   CLIENT_CERTIFICATE=me.pem CLIENT_KEY=me.key ./check.sh
#
# Also read: PYTHON (default python3), VENV (a folder to keep the packages in; default: a temporary one).
set -euo pipefail

: "${MODEL_URL:?the address of the sidecar, such as https://127.0.0.1:8443}"
: "${SERVER_CERTIFICATE:?the PEM file that adyton verify --save-certificate wrote}"
: "${CLIENT_CERTIFICATE:?a client certificate (PEM)}"
: "${CLIENT_KEY:?its private key (PEM)}"
export MODEL_URL SERVER_CERTIFICATE CLIENT_CERTIFICATE CLIENT_KEY

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${VENV:-$work/venv}
passed=0

pass() {
	passed=$((passed + 1))
	echo "ok: $1"
}
fail() {
	echo "failed: $1" >&2
	echo "examples/clients: $passed passed, 1 failed"
	exit 1
}

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

prompt="And God said"
"$venv/bin/python" "$here/stream_chat.py" --max-tokens 32 "$prompt" >"$work/answer" ||
	fail "stream_chat.py got no answer"
# The client prints the prompt first; the model has to add to it.
[ "$(wc -c <"$work/answer")" -gt $((${#prompt} + 20)) ] || fail "stream_chat.py streamed no text"
cat "$work/answer"
pass "stream_chat.py streams text over mutual TLS"

if CLIENT_CERTIFICATE='' CLIENT_KEY='' "$venv/bin/python" "$here/stream_chat.py" >"$work/none" 2>"$work/why"; then
	fail "a client without a certificate was served"
fi
grep -q '^no connection: ' "$work/why" || fail "without a certificate: expected a refused connection, got: $(cat "$work/why")"
pass "a client without a certificate is refused: $(tail -n 1 "$work/why")"

if SERVER_CERTIFICATE=$CLIENT_CERTIFICATE "$venv/bin/python" "$here/stream_chat.py" >"$work/none" 2>"$work/why"; then
	fail "a server with another certificate than the attested one was believed"
fi
grep -q 'CERTIFICATE_VERIFY_FAILED' "$work/why" || fail "with another server certificate: got: $(cat "$work/why")"
pass "a server with another certificate than the attested one is not believed"

"$here/stream_curl.sh" "$prompt" >"$work/events" || fail "stream_curl.sh got no answer: $(cat "$work/events")"
grep -q '^data: \[DONE\]' "$work/events" || fail "stream_curl.sh got no complete stream"
pass "stream_curl.sh streams $(grep -c '^data: {' "$work/events") events over mutual TLS"

echo "examples/clients: $passed passed, 0 failed"
