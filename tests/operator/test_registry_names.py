"""References and credentials: tables, without a registry."""

import base64
import json

import pytest
from unicorn_core.errors import Refused
from unicorn_operator.registry import Credentials, Descriptor, Login, PlatformImage, Reference
from unicorn_operator.registry import manifests as registry_manifests
from unicorn_operator.registry.authentication import Challenge, Tokens, challenges
from unicorn_operator.registry.manifests import Nonsense

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("python", "docker.io", "library/python", "latest", ""),
        ("python:3.12-slim", "docker.io", "library/python", "3.12-slim", ""),
        ("lab/tool", "docker.io", "lab/tool", "latest", ""),
        ("docker.io/python", "docker.io", "library/python", "latest", ""),
        ("index.docker.io/lab/tool:1", "docker.io", "lab/tool", "1", ""),
        ("ghcr.io/lab/tool:1", "ghcr.io", "lab/tool", "1", ""),
        ("GHCR.io/lab/tool:1", "ghcr.io", "lab/tool", "1", ""),
        ("localhost/tool", "localhost", "tool", "latest", ""),
        ("10.0.0.1:5000/a/b/c", "10.0.0.1:5000", "a/b/c", "latest", ""),
        ("registry:5000/tool:x", "registry:5000", "tool", "x", ""),
        ("[fd00::1]:5000/tool", "[fd00::1]:5000", "tool", "latest", ""),
        (f"python@{DIGEST}", "docker.io", "library/python", "", DIGEST),
        (f"h.example/a:b@{DIGEST}", "h.example", "a", "b", DIGEST),
        ("h.example/a__b/c.d-e--f", "h.example", "a__b/c.d-e--f", "latest", ""),
    ],
)
def test_a_reference_is_read(text, registry, repository, tag, digest):
    read = Reference.parse(text)
    assert (read.registry, read.repository, read.tag, read.digest) == (registry, repository, tag, digest)
    assert Reference.parse(str(read)) == read, "what is written out reads the same"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "repository"),
        ("Python", "repository"),
        ("a/../b", "repository"),
        ("a//b", "repository"),
        ("h.example/", "repository"),
        ("h.example:port/a", "registry"),
        ("user@h.example/a", "digest"),
        ("a b", "repository"),
        ("a\nb", "repository"),
        ("a?b=c", "repository"),
        ("https://h.example/a", "registry"),
        ("-h.example/a", "registry"),
        ("a:", "tag"),
        ("a:.b", "tag"),
        ("a:" + "t" * 129, "tag"),
        ("a@", "digest"),
        ("a@sha256:00", "digest"),
        (f"a@{DIGEST.upper()}", "digest"),
        ("a:1\n", "tag"),
        ("h.example/" + "a" * 300, "longer than 255"),
    ],
)
def test_a_wrong_reference_is_refused_with_its_place(text, what):
    with pytest.raises(Refused, match=what) as raised:
        Reference.parse(text, "spec.build.base")
    assert raised.value.problems[0].path == "spec.build.base"
    assert raised.value.problems[0].value == text


def test_ways_from_a_reference():
    reference = Reference.parse("h.example:5000/a/b:1")
    assert str(reference.at(DIGEST)) == f"h.example:5000/a/b@{DIGEST}"
    assert reference.at(DIGEST).version == DIGEST
    assert str(reference.at(DIGEST).tagged("2")) == "h.example:5000/a/b:2"
    assert reference.name == "h.example:5000/a/b"


def config(**auths):
    return json.dumps({"auths": auths})


def auth(text):
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("place", "reference", "found", "because"),
    [
        ("h.example", "h.example/a", True, "the host"),
        ("https://h.example/v2/", "h.example/a", True, "a URL, as some tools write it"),
        ("h.example", "h.example:5000/a", False, "another port is another registry"),
        ("h.example", "g.example/a", False, "another host"),
        ("https://index.docker.io/v1/", "python", True, "Docker Hub, as docker login writes it"),
        ("docker.io", "lab/tool", True, "Docker Hub by its name"),
        ("h.example/lab", "h.example/lab/tool", True, "the beginning of a repository"),
        ("h.example/lab", "h.example/laboratory/tool", False, "the beginning of a word is not enough"),
    ],
)
def test_credentials_are_found(place, reference, found, because):
    credentials = Credentials.parse(config(**{place: auth("lab:pass:word")}))
    expected = Login("lab", "pass:word") if found else None
    assert credentials.of(Reference.parse(reference)) == expected, because


def test_the_nearest_login_wins():
    credentials = Credentials.parse(config(**{"h.example": auth("host:1"), "h.example/lab": auth("lab:2")}))
    assert credentials.of(Reference.parse("h.example/lab/tool")).username == "lab"
    assert credentials.of(Reference.parse("h.example/tool")).username == "host"
    merged = Credentials.merged([Credentials.parse(config(**{"h.example": auth("first:1")})), credentials])
    assert merged.of(Reference.parse("h.example/tool")).username == "first"


def test_other_forms_of_a_login():
    credentials = Credentials.parse(config(a={"username": "u", "password": "p"}, b={"identitytoken": "t"}))
    assert credentials.logins["a"] == Login("u", "p")
    assert credentials.logins["b"] == Login(identity_token="t")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"auths": []}', '{"auths": {"h": "s3cret"}}', '{"auths": {"h": {"auth": "s3cret!"}}}', b"\xff"]
)
def test_wrong_credentials_are_refused_and_not_shown(text):
    with pytest.raises(Refused, match=r"dockerconfigjson|base64") as raised:
        Credentials.parse(text, "secret lab/pull")
    assert raised.value.problems[0].path.startswith("secret lab/pull")
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_password_is_in_no_repr():
    credentials = Credentials.parse(config(**{"h.example": auth("lab:s3cret")}))
    assert "s3cret" not in repr(credentials) + repr(credentials.logins)
    tokens = Tokens()
    tokens.keep(("a",), "Bearer s3cret", 300)
    assert tokens.get(("a",)) == "Bearer s3cret"
    assert "s3cret" not in repr(tokens)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        (['Basic realm="the lab"'], [Challenge("basic", {"realm": "the lab"})]),
        (
            ['Bearer realm="https://a/b?c=d,e",service=s,scope="repository:x:pull,push"'],
            [Challenge("bearer", {"realm": "https://a/b?c=d,e", "service": "s", "scope": "repository:x:pull,push"})],
        ),
        (['Basic realm="a", Bearer realm="b"'], [Challenge("basic", {"realm": "a"}), Challenge("bearer", {"realm": "b"})]),
        (["Negotiate", 'basic realm="a\\"b"'], [Challenge("negotiate", {}), Challenge("basic", {"realm": 'a"b'})]),
        (['"nonsense'], []),
    ],
)
def test_challenges_are_read(headers, expected):
    assert challenges(headers) == expected


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": "linux", "architecture": "amd64", "variant": "v1"}, "linux/amd64"),
        ({"os": "linux", "architecture": "amd64", "variant": "v3"}, "linux/amd64/v3"),
        ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "linux/arm64"),
        ({"os": "linux", "architecture": "arm"}, "linux/arm/v7"),
        ({"os": "linux", "architecture": "arm", "variant": "v6"}, "linux/arm/v6"),
        ({"os": "unknown", "architecture": "unknown"}, ""),
        ({}, ""),
    ],
)
def test_platforms_have_one_name(platform, name):
    assert registry_manifests.platform_name(platform) == name


def entry(platform, **changes):
    described = {"mediaType": registry_manifests.OCI_MANIFEST, "digest": DIGEST, "size": 3, "platform": platform}
    return {**described, **changes}


def test_an_index_is_read():
    amd64 = {"os": "linux", "architecture": "amd64"}
    nested = entry(amd64, mediaType=registry_manifests.OCI_INDEX)
    second = entry(amd64, size=4)
    attestation = entry({"os": "unknown", "architecture": "unknown"})
    found = registry_manifests.images({"manifests": [nested, attestation, entry(amd64), second, entry(None)]})
    assert found == (PlatformImage("linux/amd64", Descriptor(registry_manifests.OCI_MANIFEST, DIGEST, 3)),)


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"manifests": {}},
        {"manifests": ["x"]},
        {"manifests": [entry({}, digest="../x")]},
        {"manifests": [entry({}, size="3")]},
    ],
)
def test_a_wrong_index_is_nonsense(index):
    with pytest.raises(Nonsense):
        registry_manifests.images(index)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'"x"', b"[" * 100_000])
def test_what_is_no_document_is_nonsense(content):
    with pytest.raises(Nonsense):
        registry_manifests.document(content)


def test_an_index_is_the_same_in_any_order():
    one, two = (Descriptor(registry_manifests.OCI_MANIFEST, f"sha256:{char * 64}", 3) for char in "ab")
    forth = registry_manifests.index_of({"linux/amd64": one, "linux/arm/v7": two})
    assert forth == registry_manifests.index_of({"linux/arm/v7": two, "linux/amd64": one})
    read = registry_manifests.images(registry_manifests.document(forth))
    assert {image.platform: image.manifest for image in read} == {"linux/amd64": one, "linux/arm/v7": two}
