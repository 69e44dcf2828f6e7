"""Secrets leave no text, and texts without any stay as they are."""

import json
import re
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from labelgen.core.errors import FrameError
from labelgen.core.records import Failure
from labelgen.core.redact import HIDDEN, redact, redact_all
from labelgen.shards import create_run, write_shard
from tests.helpers.cli import Shell
from tests.helpers.runs import FINGERPRINT

#: As AWS makes them, and as people do.
secrets = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/+=_", min_size=12, max_size=40
)

PLACES = [
    "cannot reach https://user:{}@store.example:9000/bucket/run.json: time-out",
    "s3://AKIAX:{}@bucket/run is not a run",
    "cloning https://{plain}@example.com/x",
    "GET https://b.s3.amazonaws.com/run.json?X-Amz-Date=1&X-Amz-Signature={plain}&X-Amz-Expires=5 failed",
    "https://b.blob.example/x?se=1&sig={plain} gave 403",
    "AWS_SECRET_ACCESS_KEY={}",
    "{{'aws_secret_access_key': '{}', 'region': 'eu'}}",
    '"session_token": "{}"',
    "password: {}, user: me",
    "<Error><Code>X</Code><SecretAccessKey>{}</SecretAccessKey></Error>",
    "Authorization: Bearer {}",
    "headers={{'Authorization': 'Basic {}'}}",
    "AWS4-HMAC-SHA256 Credential={plain}, SignedHeaders=host, Signature={plain}",
    "RAY_AUTH_TOKEN={}",
    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=40)
@given(secret=secrets)
@example(secret="00000000000/")
@example(secret="9000/bucket00")
def test_a_secret_is_gone_and_the_rest_can_be_read(place, secret):
    assume("https://user" not in place or not re.match(r"\d{2,5}/", secret))  # that is a port
    text = place.format(secret, plain=quote(secret, safe=""))
    found = redact(text)
    assert HIDDEN in found
    assert secret not in found
    assert quote(secret, safe="") not in found
    assert len(found) < len(text)


@settings(max_examples=40)
@given(secret=st.text("aZ09 /+=%&?:@'\"<>{}[].*$^|()äß中", min_size=8, max_size=40))
def test_secrets_of_the_environment_are_found_wherever_they_stand(secret):
    assume(secret.strip("*"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MY_STORE_PASSWORD", secret)
        assert secret not in redact(f"no such run: <{secret}> in the shard")
        assert quote(secret, safe="") not in redact(f"<{quote(secret, safe='')}>")


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/run@2/shards/0-a: no such object",
        "http://127.0.0.1:9000/bucket/a@b/run.json in 30.0s",
        "sample_data.json: record 3: sample_token: 0a0b0c0d0e0f is not in sample.json",
        "token 5fb0a1c2 of calibrated_sensor_token: 12ab",
        "cannot connect to Ray at 'ray://head:10001'; check RAY_ADDRESS and its token",
        "refused: bad credentials in the environment; look at AWS_SECRET_ACCESS_KEY",
        "the key points/label of 17 frames; basic understanding of bearer frames",
        "image CAM_FRONT=samples/CAM_FRONT/n008-2018.jpg, labels: semantics.temperature=0.01",
        "",
    ],
)
def test_texts_without_a_secret_stay(text, monkeypatch):
    for name, value in {
        "AWS_SHARED_CREDENTIALS_FILE": "samples/CAM_FRONT",
        "RAY_AUTH_TOKEN_PATH": "s3://bucket/run@2",
        "TOKENIZERS_PARALLELISM": "semantics.temperature",
        "SHORT_TOKEN": "frames",
    }.items():
        monkeypatch.setenv(name, value)
    assert redact(text) == text


def test_settings_as_data():
    found = redact_all({"a": ["https://me:hunter22@host/x", 1, None], "b": {"c": True}})
    assert json.dumps(found) == '{"a": ["https://***@host/x", 1, null], "b": {"c": true}}'


SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def test_nothing_that_a_run_keeps_holds_a_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    config = {"semantics": {"checkpoint": f"https://me:{SECRET}@host/x.pt"}}
    models = [{"name": "clip", "source": f"https://host/x.pt?X-Amz-Signature={SECRET}"}]
    for _ in range(2):  # the second time it is compared with what is there
        create_run(tmp_path, fingerprint=FINGERPRINT, config=config, taxonomy={}, models=models)
    trace = f"Traceback …\n  get('https://b/x?X-Amz-Signature={SECRET}')\nOSError: {SECRET}\n"
    error = FrameError(f"cannot get https://me:{SECRET}@host/x", frame_id="a", path="x.bin")
    failure = Failure("a", "source", "load", "OSError", str(error), trace)
    write_shard(tmp_path, [], [failure], fingerprint=FINGERPRINT)
    kept = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(kept) == 2
    assert HIDDEN in kept[0]
    assert HIDDEN in kept[1]
    assert not any(SECRET in text for text in kept)


@pytest.mark.parametrize(
    "address",
    [
        f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/run",
        f"s3://bucket/run?X-Amz-Signature={SECRET}",
        f"https://me:{SECRET}@host/run",
    ],
)
def test_an_address_with_credentials_is_refused_without_them(address, monkeypatch, capsys):
    shell = Shell(monkeypatch, capsys)
    for arguments in (["inspect", address], ["index", address], ["verify", address], ["diff", address, "x"]):
        found = shell(*arguments)
        assert found.code == 2
        assert SECRET not in found.out + found.err


def test_a_traceback_is_printed_without_them(monkeypatch, capsys):
    def fail(path, dataroot):
        raise RuntimeError(f"no answer from https://me:{SECRET}@host/x for {path}")

    monkeypatch.setattr("labelgen.runs.open_run", fail)
    found = Shell(monkeypatch, capsys)("inspect", "runs/a")
    assert found.code == 1
    assert "in fail\n" in found.err
    assert "for runs/a" in found.err
    assert SECRET not in found.err
