"""Signs one small model in every way that `model_signing` (PyPI, 1.1.1) offers without a network.

    python3 make.py        writes beside itself; the keys are thrown away afterwards
"""

import datetime
import os
import pathlib
import tempfile

import model_signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE = pathlib.Path(__file__).parent
PEM = serialization.Encoding.PEM


def write_key(key, path):
    path.write_bytes(
        key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def public(key, name):
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (HERE / name).write_bytes(key.public_key().public_bytes(PEM, spki))


def certificate(subject, key, issuer, issuer_key, extensions):
    begin = datetime.datetime(2024, 1, 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=365))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def usage(**bits):
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment "
        "key_agreement key_cert_sign crl_sign encipher_only decipher_only"
    ).split()
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names})


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = folder / "model"
        (model / "weights").mkdir(parents=True)
        (model / "config.json").write_text("{}")
        (model / "weights" / "part.dat").write_bytes(bytes(n % 251 for n in range(200_000)))
        os.chdir(folder)
        hashing = model_signing.hashing.Config
        for name, curve in [("p256", ec.SECP256R1()), ("p384", ec.SECP384R1()), ("p521", ec.SECP521R1())]:
            key = ec.generate_private_key(curve)
            write_key(key, folder / "key.pem")
            public(key, f"{name}.pem")
            signer = model_signing.signing.Config().use_elliptic_key_signer(private_key="key.pem")
            signer.sign(model, HERE / f"{name}.sig")
            if name == "p256":
                shards = hashing().use_shard_serialization(shard_size=65536)
                signer.set_hashing_config(shards).sign(model, HERE / "shards.sig")
                blake = hashing().use_file_serialization(hashing_algorithm="blake3")
                signer.set_hashing_config(blake).sign(model, HERE / "blake3.sig")
        root_key, middle_key, leaf_key = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
        ca = [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (usage(key_cert_sign=True, crl_sign=True), True),
        ]
        root = certificate("Example Root", root_key, "Example Root", root_key, ca)
        middle = certificate("Example Signing", middle_key, "Example Root", root_key, ca)
        signing = [
            (usage(digital_signature=True), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
        ]
        leaf = certificate("Model Owner", leaf_key, "Example Signing", middle_key, signing)
        (HERE / "root.pem").write_bytes(root.public_bytes(PEM))
        (folder / "leaf.pem").write_bytes(leaf.public_bytes(PEM))
        (folder / "middle.pem").write_bytes(middle.public_bytes(PEM))
        write_key(leaf_key, folder / "key.pem")
        model_signing.signing.Config().use_certificate_signer(
            private_key="key.pem", signing_certificate="leaf.pem", certificate_chain=["middle.pem"]
        ).sign(model, HERE / "certificate.sig")


if __name__ == "__main__":
    main()
