#!/usr/bin/env bash
# Measures opening a sealed model against the machine and against what a user would take instead, in one run,
# interleaved, medians. Writes docs/bench/open.md and open.svg. Needs root: it mounts two tmpfs.
#
#   MIB=4096          the model's size, in four files
#   ROUNDS=5          of everybody
#   WORK=DIR          where the model lies (128 MiB more than twice MIB); default: a new folder under /var/tmp
#   PYTHON=python3    one that has `cryptography`, and `tensorizer` with torch, for these rivals
#   MEMORY_MIB="100 1024 8192"   sizes for the peak of memory; "" leaves that part out
#   OUT=docs/bench/open
#
# A rival that is not there is skipped, and said to be.
set -euo pipefail
cd "$(dirname "$0")/../.."

mib=${MIB:-4096} rounds=${ROUNDS:-5} python=${PYTHON:-python3} out=${OUT:-docs/bench/open}
memory_mib=${MEMORY_MIB-100 1024 8192}
own_work=
work=${WORK:-$(own_work=1; mktemp -d /var/tmp/adyton-bench-XXXXXX)}
mkdir -p "$work" "$(dirname "$out")"
huge=$work/huge small=$work/small
cleanup() {
    for place in "$work/gocryptfs.mnt" "$huge" "$small"; do
        if mountpoint -q "$place"; then umount "$place"; fi
    done
    if [ -z "${WORK:-}" ]; then rm -rf "$work"; fi
}
trap cleanup EXIT

cargo build --quiet --release -p adyton-sealed-weights --example measure
measure=${CARGO_TARGET_DIR:-target}/release/examples/measure

mkdir -p "$huge" "$small"
mount -t tmpfs -o huge=always,size=90%,mode=0700 adyton-bench "$huge"
mount -t tmpfs -o huge=never,size=90%,mode=0700 adyton-bench "$small"

# The model, sealed onto the disk; reading it once more leaves it in the page cache.
rm -rf "$work/model"
"$measure" prepare "$work/model" "$mib" 4 noise >"$work/lines.json"
cat "$work"/model/sealed/* "$work"/model/plain/* >/dev/null

# --- rivals ------------------------------------------------------------------------------------------------------
plain=$work/model/plain/part-00000.dat
bytes=$(stat -c %s "$plain")
rivals=()
rival() { rivals+=("rival=$1|$bytes|$2"); }
skipped() { echo "skipped: $1 ($2)" >&2; skips+=("facts=skipped: $1 ($2)"); }
skips=()
zeros=$(printf '%064d' 0 | tr 0 1)

if command -v openssl >/dev/null; then
    openssl enc -aes-256-ctr -K "$zeros" -iv "${zeros:32}" -in "$plain" -out "$work/ctr"
    rival "openssl enc aes-256-ctr (no authentication)" \
        "openssl enc -d -aes-256-ctr -K $zeros -iv ${zeros:32} -in $work/ctr -out \$OUT/f"
else skipped "openssl enc" "no openssl"; fi

for age in age rage; do
    if command -v $age >/dev/null && command -v $age-keygen >/dev/null; then
        rm -f "$work/$age.key"
        $age-keygen -o "$work/$age.key" 2>/dev/null
        $age -r "$($age-keygen -y "$work/$age.key")" -o "$work/$age.sealed" "$plain"
        rival "$age" "$age -d -i $work/$age.key -o \$OUT/f $work/$age.sealed"
    else skipped "$age" "not installed"; fi
done

if command -v gpg >/dev/null; then
    mkdir -p -m 0700 "$work/gpg"
    gpg="gpg --homedir $work/gpg --batch --yes --quiet --pinentry-mode loopback --passphrase x"
    $gpg --symmetric --cipher-algo AES256 --compress-algo none -o "$work/gpg.sealed" "$plain"
    rival "gpg --symmetric AES256" "$gpg -o \$OUT/f -d $work/gpg.sealed"
else skipped "gpg" "not installed"; fi

if "$python" -c 'import cryptography' 2>/dev/null; then
    "$python" examples/bench/rivals.py seal-aesgcm "$plain" "$work/aesgcm.sealed"
    rival "Python cryptography AESGCM, whole file in memory" \
        "$python examples/bench/rivals.py open-aesgcm $work/aesgcm.sealed \$OUT/f"
else skipped "Python cryptography" "not installed for $python"; fi

if "$python" -c 'import tensorizer, torch' 2>/dev/null; then
    "$python" examples/bench/rivals.py seal-tensorizer "$plain" "$work/tensors.sealed"
    for readers in 1 2; do
        rival "tensorizer, encrypted, $readers reader(s), into its own memory" \
            "$python examples/bench/rivals.py open-tensorizer $work/tensors.sealed $readers"
    done
else skipped "tensorizer" "tensorizer and torch are not installed for $python"; fi

if command -v gocryptfs >/dev/null && [ -e /dev/fuse ]; then
    mkdir -p "$work/gocryptfs" "$work/gocryptfs.mnt"
    rm -rf "$work"/gocryptfs/* "$work"/gocryptfs/.??*
    if gocryptfs -q -init -extpass 'echo x' "$work/gocryptfs" >/dev/null &&
        gocryptfs -q -extpass 'echo x' "$work/gocryptfs" "$work/gocryptfs.mnt" >/dev/null; then
        cp "$plain" "$work/gocryptfs.mnt/f"
        rival "gocryptfs, cp" "cp $work/gocryptfs.mnt/f \$OUT/f"
    else skipped "gocryptfs" "it does not mount here"; fi
else skipped "gocryptfs" "not installed, or no /dev/fuse"; fi

# --- the run -----------------------------------------------------------------------------------------------------
priority=()
if nice -n -5 true 2>/dev/null; then priority=(nice -n -5); fi
thp() { awk -v name="$1" '$1 == name {print $2}' /proc/vmstat; }
given=$(thp thp_file_alloc) missed=$(thp thp_file_fallback)
load_before=$(cut -d' ' -f1-3 /proc/loadavg)
"${priority[@]}" "$measure" open "$work/model" "rounds=$rounds" "huge=$huge" "small=$small" "${rivals[@]}" \
    >>"$work/lines.json"
given=$(($(thp thp_file_alloc) - given)) missed=$(($(thp thp_file_fallback) - missed))
load_after=$(cut -d' ' -f1-3 /proc/loadavg)

# --- memory, sizes, many files -----------------------------------------------------------------------------------
rm -rf "$work"/*.sealed "$work/ctr"
one() { "${priority[@]}" "$measure" memory "$1" "$2" 2 >>"$work/lines.json"; }
for size in $memory_mib; do
    rm -rf "$work/model"
    "$measure" prepare "$work/model" "$size" 1 holes >/dev/null
    rm -rf "$work/model/plain"
    cat "$work"/model/sealed/* >/dev/null
    for place in "$huge" "$small" anonymous; do one "$work/model" "$place"; done
done
if [ -n "$memory_mib" ]; then
    for files in 1 10000; do
        rm -rf "$work/model"
        "$measure" prepare "$work/model" 640 $files holes >/dev/null
        rm -rf "$work/model/plain"
        find "$work/model/sealed" -type f -exec cat {} + >/dev/null
        for _ in 1 2 3; do one "$work/model" "$huge"; done
        for _ in 1 2 3; do one "$work/model" "$small"; done
    done
fi

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
"$measure" report "$out" "$work/lines.json" \
    "facts=$(nproc) × $cpu, $(awk '/MemTotal/ {printf "%d GiB", $2/1048576+0.5}' /proc/meminfo), Linux $(uname -r)" \
    "facts=model: $mib MiB in four files, in the page cache; $rounds rounds; priority: ${priority[*]:-usual}" \
    "facts=memory is compacted before each round; huge pages given and missed in this run: $given, $missed" \
    "facts=load average before the run $load_before, after it $load_after (other work on the machine)" \
    "${skips[@]}"
cat "$out.md"
