"""Makes replies.json: RCAR hash inputs and JWE replies, by OpenSSL through python-cryptography.

An implementation that shares nothing with ours. The keys are made here and protect nothing.
Run: python3 make.py > replies.json
"""

import base64
import hashlib
import json
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

ALG = "ECDH-ES+A256KW"


def b64u(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def framed(text):
    return len(text).to_bytes(4, "big") + text.encode()


def coordinates(key, size):
    numbers = key.public_key().public_numbers()
    return b64u(numbers.x.to_bytes(size, "big")), b64u(numbers.y.to_bytes(size, "big"))


def case(name, crv, curve, size, additional, ours, plaintext):
    tee = ec.generate_private_key(curve)
    x, y = coordinates(tee, size)
    nonce = base64.b64encode(os.urandom(32)).decode()
    hash_input = compact(
        {
            "additional-evidence": additional,
            "nonce": nonce,
            "tee-pubkey": {"alg": ALG, "crv": crv, "kty": "EC", "x": x, "y": y},
        }
    )
    ephemeral = ec.generate_private_key(curve)
    ex, ey = coordinates(ephemeral, size)
    header = {"alg": ALG, "enc": "A256GCM", **ours}
    header["epk"] = {"crv": crv, "kty": "EC", "x": ex, "y": ey}
    protected = b64u(compact(header).encode())
    z = ephemeral.exchange(ec.ECDH(), tee.public_key())
    other_info = framed(ALG) + framed("") + framed("") + (256).to_bytes(4, "big")
    kek = ConcatKDFHash(algorithm=hashes.SHA256(), length=32, otherinfo=other_info).derive(z)
    cek, iv = os.urandom(32), os.urandom(12)
    sealed = AESGCM(cek).encrypt(iv, plaintext.encode(), protected.encode())
    return {
        "name": name,
        "nonce": nonce,
        "additional_evidence": additional,
        "hash_input": hash_input,
        "sha384": hashlib.sha384(hash_input.encode()).hexdigest(),
        "tee_pubkey": {"kty": "EC", "crv": crv, "alg": ALG, "x": x, "y": y},
        "tee_private_pkcs8": base64.b64encode(
            tee.private_bytes(
                serialization.Encoding.DER,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        ).decode(),
        "reply": {
            "protected": protected,
            "encrypted_key": b64u(aes_key_wrap(kek, cek)),
            "iv": b64u(iv),
            "ciphertext": b64u(sealed[:-16]),
            "tag": b64u(sealed[-16:]),
        },
        "resource": ours.get("adyton.resource"),
        "minimum_model_version": ours.get("adyton.minimum-model-version"),
        "plaintext": plaintext,
    }


BOTH = {"adyton.minimum-model-version": 7, "adyton.resource": "acme/model-key/kjv"}
P256 = ("P-256", ec.SECP256R1(), 32)
P521 = ("P-521", ec.SECP521R1(), 66)
print(
    json.dumps(
        [
            case("p256-plain", *P256, "", {}, "a secret of a foreign KBS"),
            case("p256-extras", *P256, "", BOTH, "a secret of ours"),
            case("p256-empty-secret", *P256, "", {}, ""),
            case("p521-plain", *P521, "", {}, "a secret of a foreign KBS"),
            case("p521-extras", *P521, 'quote " back \\ \x01 \n \u00e9', BOTH, "\u20ac" * 100),
        ],
        indent=1,
        ensure_ascii=True,
    )
)
