#!/usr/bin/env bash
# Measures the S3 endpoint, both ways, against nginx serving the plain file: same tmpfs, same kind of socket, by
# turns in one run. Prints a Markdown table for each kind of socket.
#
#   examples/bench/s3.sh [MiB of the file, default 1024] >docs/bench/s3.md
#
# Also read: TURNS (5), MILLISECONDS of a turn (1500), CONNECTIONS (1,8,64), POOL_MIB (6).
set -euo pipefail
cd "$(dirname "$0")/../.."
mib=${1:-1024}
work=$(mktemp -d /dev/shm/adyton-s3-bench.XXXXXX)
cleanup() {
	# A file, because servers are started in subshells.
	while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$work/pids"
	wait 2>/dev/null || true
	rm -rf "$work"
}
touch "$work/pids"
trap cleanup EXIT

command -v nginx >/dev/null 2>&1 || {
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light
} >&2
[ -n "${SKIP_BUILD:-}" ] || cargo build --quiet --locked --release -p s3-stand >&2
[ "$(df -m --output=avail /dev/shm | tail -n 1)" -gt $((mib * 5)) ] || { echo "/dev/shm needs $((mib * 5)) MiB" >&2; exit 1; }

mkdir -p "$work/plain" "$work/www/adyton/model"
head -c "${mib}M" /dev/urandom >"$work/plain/weights.dat"
ln "$work/plain/weights.dat" "$work/www/adyton/model/weights.dat"

port=$((20000 + RANDOM % 20000))
cat >"$work/nginx.conf" <<CONF
worker_processes auto;
pid $work/nginx.pid;
error_log stderr error;
daemon off;
user root;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;
  uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  server {
    listen 127.0.0.1:$port;
    listen unix:$work/nginx.sock;
    root $work/www;
  }
}
CONF
nginx -c "$work/nginx.conf" -p "$work" >&2 2>&1 &
echo $! >>"$work/pids"

# stand <kind> <way>: serves, and leaves its address in a file.
stand() {
	local at=$work/$1-$2
	mkdir -p "$at/sealed" "$at/target" "$at/client"
	local listen=(--listen 127.0.0.1:0)
	[ "$1" = unix ] && listen=(--unix "$at/s3.sock")
	mkfifo "$at/hold"
	sleep 100000 >"$at/hold" &
	echo $! >>"$work/pids"
	target/release/s3-stand --model "$work/plain" --sealed "$at/sealed" --target "$at/target" \
		--client-files "$at/client" --way "$2" --pool-mib "${POOL_MIB:-6}" "${listen[@]}" \
		<"$at/hold" >"$at/address" 2>"$at/log" &
	echo $! >>"$work/pids"
	for _ in $(seq 600); do [ -s "$at/address" ] && break; sleep 0.1; done
	[ -s "$at/address" ] || { cat "$at/log" >&2; exit 1; }
	sed -e 's,^http://,,' -e 's,^unix:,,' "$at/address"
}

echo "# The S3 endpoint against nginx"
echo
echo "\`examples/bench/s3.sh $mib\` on $(nproc) × $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r), $(nginx -v 2>&1 | sed 's,.*/,nginx ,'),"
echo "a file of $mib MiB on tmpfs, load average $(cut -d' ' -f1 /proc/loadavg) at the start; medians of ${TURNS:-5} turns."
echo "*sendfile* is \`expose.mode = \"sendfile\"\`, *fly* opens every range from the sealed object."
for kind in tcp unix; do
	nginx=127.0.0.1:$port
	[ $kind = unix ] && nginx=$work/nginx.sock
	sendfile=$(stand $kind sendfile)
	fly=$(stand $kind fly)
	echo
	[ $kind = tcp ] && echo "## Loopback TCP" || echo "## Unix socket"
	echo
	target/release/s3-load --server "nginx=$nginx" \
		--server "sendfile=$sendfile,$work/$kind-sendfile/client" --server "fly=$fly,$work/$kind-fly/client" \
		--turns "${TURNS:-5}" --milliseconds "${MILLISECONDS:-1500}" --connections "${CONNECTIONS:-1,8,64}"
done
