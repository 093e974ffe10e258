"""What buildah says of a pull or a push, as the result of a build."""

import pytest
from unicorn_builder.buildah import BuildahError

PULL = "buildah pull: Error: initializing source docker://r.example/lab/eof-tls-timeout:5 : "
PING = 'pinging container registry r.example: Get "https://r.example/v2/": '


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (f"{PULL}{PING}dial tcp 10.0.0.1:443: connect: connection refused", "RegistryUnreachable"),
        (f"{PULL}{PING}dial tcp: lookup r.example on 10.0.0.53:53: no such host", "RegistryUnreachable"),
        (f"{PULL}{PING}net/http: TLS handshake timeout", "RegistryUnreachable"),
        (f"{PULL}{PING}tls: failed to verify certificate: x509: certificate has expired", "RegistryUnreachable"),
        (f"{PULL}{PING}http: server gave HTTP response to HTTPS client", "RegistryUnreachable"),
        (f"{PULL}{PING}context deadline exceeded (Client.Timeout exceeded while awaiting headers)", "RegistryUnreachable"),
        (f"{PULL}{PING}EOF", "RegistryUnreachable"),
        (f"{PULL}received unexpected HTTP status: 503 Service Unavailable", "RegistryUnreachable"),
        (f"{PULL}reading manifest 5: toomanyrequests: You have reached your pull rate limit.", "RegistryUnreachable"),
        (f"{PULL}reading blob sha256:0: fetching blob: StatusCode: 429, slow down", "RegistryUnreachable"),
        (f"{PULL}reading manifest 5 in r.example/lab/x: manifest unknown", "missing"),
        (f"{PULL}reading manifest 5 in r.example/lab/x: unauthorized: authentication required", "refused"),
        (f"{PULL}reading manifest 5 in r.example/lab/x: denied: requested access to the resource is denied", "refused"),
        ("buildah push: Error: writing blob: no space left on device", "Broken"),
        ("buildah from: Error: creating container: database is locked", "Broken"),
        (f"{PULL}something nobody has seen before", "Broken"),
    ],
)
def test_what_is_worth_another_try(said, expected):
    assert BuildahError(said).result("missing", "refused") == expected
