"""Reads a model through the S3 endpoint with boto3, the AWS CLI and the Run:ai streamer, and compares every byte
and every tensor with the plain files. Refusals are asked for, too."""

import filecmp
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import urllib.request

import boto3
import botocore
from botocore.config import Config

plain = pathlib.Path(sys.argv[1])
files = sorted(path.relative_to(plain).as_posix() for path in plain.rglob("*") if path.is_file())
done = 0


def ok(what):
    global done
    done += 1
    print(f"ok: {what}")


def code(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return "no refusal"


# RFC 6761 §6.3: every name below localhost is this machine; not every resolver knows.
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **options: resolve(
    "127.0.0.1" if str(host).endswith(".localhost") else host, *more, **options
)

# boto3, in both styles of addresses.
for style in ("path", "virtual"):
    s3 = boto3.client("s3", config=Config(s3={"addressing_style": style}, retries={"total_max_attempts": 1}))
    if style == "virtual":
        port = os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]
        s3 = boto3.client("s3", endpoint_url=f"http://localhost:{port}", config=Config(s3={"addressing_style": style}))
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="adyton", Prefix="model/", PaginationConfig={"PageSize": 2}
    )
    listed = [entry for page in pages for entry in page.get("Contents", [])]
    assert sorted(entry["Key"] for entry in listed) == [f"model/{path}" for path in files], listed
    for entry in listed:
        path = plain / entry["Key"].removeprefix("model/")
        assert entry["Size"] == path.stat().st_size
        head = s3.head_object(Bucket="adyton", Key=entry["Key"])
        assert head["ContentLength"] == entry["Size"] and head["ETag"] == entry["ETag"]
        assert s3.get_object(Bucket="adyton", Key=entry["Key"])["Body"].read() == path.read_bytes()
    ok(f"boto3 lists and reads {len(files)} files ({style} style)")

s3 = boto3.client("s3")
rolled = s3.list_objects_v2(Bucket="adyton", Prefix="model/", Delimiter="/")
assert [entry["Prefix"] for entry in rolled["CommonPrefixes"]] == ["model/deep/"]
assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["adyton"]
assert s3.get_bucket_location(Bucket="adyton")["LocationConstraint"] is None
s3.head_bucket(Bucket="adyton")
weights = (plain / files[-1]).read_bytes()
key = f"model/{files[-1]}"
for wanted, expected in [
    ("bytes=0-7", weights[:8]),
    ("bytes=320-8388607", weights[320:8388608]),
    ("bytes=-100", weights[-100:]),
    ("bytes=16383-16384", weights[16383:16385]),
]:
    assert s3.get_object(Bucket="adyton", Key=key, Range=wanted)["Body"].read() == expected, wanted
with tempfile.TemporaryDirectory() as folder:
    target = os.path.join(folder, "weights")
    s3.download_file("adyton", key, target)  # in parallel parts
    assert filecmp.cmp(target, plain / files[-1], shallow=False)
ok("boto3 asks about buckets, reads ranges, downloads in parts")

assert code(s3.get_object, Bucket="adyton", Key="model/none") == "NoSuchKey"
assert code(s3.get_object, Bucket="adyton", Key="model/../../etc/passwd") in ("NoSuchKey", "SignatureDoesNotMatch")
assert code(s3.get_object, Bucket="other", Key="x") == "NoSuchBucket"
assert code(s3.get_object, Bucket="adyton", Key=key, Range=f"bytes={len(weights)}-") == "InvalidRange"
assert code(s3.put_object, Bucket="adyton", Key="x", Body=b"x") == "MethodNotAllowed"
assert code(s3.delete_object, Bucket="adyton", Key=key) == "MethodNotAllowed"
assert code(s3.get_object, Bucket="adyton", Key=key, IfMatch='"x"') == "PreconditionFailed"
stranger = boto3.client("s3", aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x")
assert code(stranger.list_objects_v2, Bucket="adyton") == "InvalidAccessKeyId"
anonymous = boto3.client("s3", config=Config(signature_version=botocore.UNSIGNED))
assert code(anonymous.list_objects_v2, Bucket="adyton") == "AccessDenied"
link = s3.generate_presigned_url("get_object", Params={"Bucket": "adyton", "Key": "model/config.json"}, ExpiresIn=60)
assert urllib.request.urlopen(link).read() == (plain / "config.json").read_bytes()
ok("boto3 is refused what it should be, and reads by a presigned URL")

with tempfile.TemporaryDirectory() as folder:
    aws = [os.path.join(os.path.dirname(sys.executable), "aws")]
    listing = subprocess.run([*aws, "s3", "ls", "--recursive", "s3://adyton/model/"], check=True, capture_output=True)
    assert len(listing.stdout.splitlines()) == len(files)
    subprocess.run([*aws, "s3", "sync", "--quiet", "s3://adyton/model/", folder], check=True)
    for path in files:
        assert filecmp.cmp(os.path.join(folder, path), plain / path, shallow=False), path
    assert subprocess.run([*aws, "s3", "cp", sys.argv[0], "s3://adyton/x"], capture_output=True).returncode != 0
ok("the AWS CLI lists and synchronises the model, and cannot write")

import torch  # noqa: E402
from runai_model_streamer import SafetensorsStreamer, list_safetensors, pull_files  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

paths = sorted(list_safetensors("s3://adyton/model/"))
assert [os.path.basename(path) for path in paths] == [path for path in files if path.endswith(".safetensors")]
for chunk, concurrency in [("", "16"), ("2097152", "4"), ("8388608", "64")]:
    os.environ["RUNAI_STREAMER_CONCURRENCY"] = concurrency
    if chunk:
        os.environ["RUNAI_STREAMER_CHUNK_BYTESIZE"] = chunk
    compared = 0
    for path in paths:
        expected = load_file(plain / os.path.basename(path))
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            for name, tensor in streamer.get_tensors():
                wanted = expected.pop(name)
                assert tensor.dtype == wanted.dtype and torch.equal(tensor, wanted), (path, name)
                compared += 1
        assert not expected, expected.keys()
    ok(f"the Run:ai streamer reads {compared} equal tensors (concurrency {concurrency}, chunk {chunk or 'default'})")
with tempfile.TemporaryDirectory() as folder:
    pull_files("s3://adyton/model/", folder, ignore_pattern=["*.safetensors"])
    assert (pathlib.Path(folder) / "config.json").read_bytes() == (plain / "config.json").read_bytes()
ok("the Run:ai streamer pulls the other files")
print(f"{done} checks passed")
