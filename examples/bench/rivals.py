"""The rivals that are Python libraries: each sealed once, then opened by a process of its own.

What a process prints as `SECONDS x` is the opening alone, without the start of Python and its imports.
"""

import os
import sys
import time

KEY = b"\x07" * 32


def seal_aesgcm(plain, sealed):
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(12)
    with open(plain, "rb") as source, open(sealed, "wb") as target:
        target.write(nonce)
        target.write(AESGCM(KEY).encrypt(nonce, source.read(), None))


def open_aesgcm(sealed, plain):
    """As a storage initialiser does it that decrypts a JWE: the whole file, then its plaintext, in memory."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    begun = time.perf_counter()
    with open(sealed, "rb") as source:
        whole = source.read()
    plaintext = AESGCM(KEY).decrypt(whole[:12], whole[12:], None)
    with open(plain, "wb") as target:
        target.write(plaintext)
    print("SECONDS", time.perf_counter() - begun)


def seal_tensorizer(plain, sealed):
    import numpy
    import torch
    from tensorizer import EncryptionParams, TensorSerializer

    parts = numpy.array_split(numpy.fromfile(plain, dtype=numpy.uint8), 32)
    state = {f"layer.{number}": torch.from_numpy(part.copy()) for number, part in enumerate(parts)}
    serializer = TensorSerializer(sealed, encryption=EncryptionParams(key=KEY))
    serializer.write_state_dict(state)
    serializer.close()


def open_tensorizer(sealed, readers):
    import torch  # noqa: F401  (imported before the clock starts)
    from tensorizer import DecryptionParams, TensorDeserializer

    begun = time.perf_counter()
    with TensorDeserializer(
        sealed, device="cpu", num_readers=int(readers), encryption=DecryptionParams.from_key(KEY)
    ) as tensors:
        count = sum(tensor.numel() for tensor in tensors.values())
    assert count > 0
    print("SECONDS", time.perf_counter() - begun)


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    {
        "seal-aesgcm": seal_aesgcm,
        "open-aesgcm": open_aesgcm,
        "seal-tensorizer": seal_tensorizer,
        "open-tensorizer": open_tensorizer,
    }[verb](*arguments)
