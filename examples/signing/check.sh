#!/usr/bin/env bash
# Signatures go both ways: what `adyton sign` writes, the Python package model-signing verifies, and what that signs
# (by files and by shards), `adyton verify-signature` verifies; and neither accepts a changed file.
# Usage: ADYTON=target/debug/adyton PYTHON=python3 examples/signing/check.sh
set -euo pipefail
adyton=$(realpath "${ADYTON:-target/debug/adyton}")
python=$(realpath -s "${PYTHON:-python3}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

mkdir -p model/sub
printf '{"architectures":["LlamaForCausalLM"]}' >model/config.json
head -c 5000001 /dev/urandom >model/sub/weights.dat
"$python" - <<'PY'
from pathlib import Path
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
Path("team.key").write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
Path("team.pem").write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
PY
chmod 600 team.key
python_verifies() { "$python" -m model_signing verify key model --signature "$1" --public_key team.pem; }
ours_verifies() { "$adyton" verify-signature model --signature "$1" --key team.pem; }

"$adyton" sign model --sign-key team.key --out ours.sig
python_verifies ours.sig

"$python" -m model_signing sign key model --private_key team.key --signature files.sig
"$python" - <<'PY'
import model_signing
hashing = model_signing.hashing.Config().use_shard_serialization(hashing_algorithm="sha256", shard_size=1_000_000)
model_signing.signing.Config().use_elliptic_key_signer(private_key="team.key").set_hashing_config(hashing).sign("model", "shards.sig")
PY
ours_verifies files.sig
ours_verifies shards.sig

printf '{"architectures":["Another"]}' >model/config.json
for signature in ours.sig files.sig shards.sig; do
  if ours_verifies "$signature" 2>/dev/null; then echo "adyton accepted a changed file ($signature)"; exit 1; fi
  if python_verifies "$signature" >/dev/null 2>&1; then echo "model_signing accepted a changed file ($signature)"; exit 1; fi
done
echo "signatures go both ways, and neither side accepts a changed file"
