#!/usr/bin/env bash
# The same as stream_chat.py with curl: streams a completion over mutual TLS, event by event.
#
#   MODEL_URL=https://127.0.0.1:8443 SERVER_CERTIFICATE=server.pem \
#   CLIENT_CERTIFICATE=me.pem CLIENT_KEY=me.key ./stream_curl.sh "In the beginning"
#
# SERVER_CERTIFICATE is the file that `adyton verify --save-certificate` wrote. The prompt is put into
# JSON as it is, so it may hold no quotation marks, backslashes or control characters.
set -euo pipefail

: "${MODEL_URL:?the address of the sidecar, such as https://127.0.0.1:8443}"
: "${SERVER_CERTIFICATE:?the PEM file that adyton verify --save-certificate wrote}"
: "${CLIENT_CERTIFICATE:?your certificate (PEM)}"
: "${CLIENT_KEY:?your private key (PEM)}"
prompt=${1:-In the beginning}
case $prompt in
*[\"\\]* | *[[:cntrl:]]*)
	echo "the prompt holds a character that this script does not put into JSON; use stream_chat.py" >&2
	exit 2
	;;
esac

call() {
	curl --silent --show-error --fail-with-body --no-buffer --tlsv1.3 --noproxy '*' \
		--cacert "$SERVER_CERTIFICATE" --cert "$CLIENT_CERTIFICATE" --key "$CLIENT_KEY" "$@"
}

if [ -z "${MODEL:-}" ]; then
	listed=$(call "$MODEL_URL/v1/models")
	MODEL=$(sed -n 's/.*"id":"\([^"]*\)".*/\1/p' <<<"$listed")
fi
call "$MODEL_URL/v1/completions" --header 'content-type: application/json' --data \
	"{\"model\":\"$MODEL\",\"prompt\":\"$prompt\",\"max_tokens\":60,\"stream\":true}"
