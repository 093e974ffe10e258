"""One request to a registry: TLS or not, who asks, redirects, limits, and which of our errors a failure is."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlencode

import aiohttp
from unicorn_core.errors import Problem, Refused, Waiting
from unicorn_core.reasons import EnvironmentReason
from unicorn_core.text import plain
from yarl import URL

from unicorn_operator.registry import manifests
from unicorn_operator.registry.authentication import Challenge, Tokens, challenges
from unicorn_operator.registry.credentials import Credentials, Login
from unicorn_operator.registry.manifests import Nonsense
from unicorn_operator.registry.reference import DOCKER_HUB, Reference

_CONNECT_SECONDS = 10.0
_REQUEST_SECONDS = 30.0
_CONNECTIONS = 256  # registries that hang take none from the others
_CONNECTIONS_OF_HOST = 8
_LIMIT = 4 * 1024 * 1024  # bytes of a manifest or config: the specification's advice
_ERROR_LIMIT = 64 * 1024
_REDIRECTS = 3
_RETRY = timedelta(seconds=15)
_LONGEST_RETRY = timedelta(hours=1)
_BASIC_SECONDS = 600.0
_ACTIONS = {"PUT": "pull,push", "POST": "pull,push", "DELETE": "delete"}
_ENDPOINTS = {DOCKER_HUB: "registry-1.docker.io"}
_CLIENT = "netunicorn-operator"


@dataclass(frozen=True, slots=True)
class Answer:
    """`said`, `codes`: the registry's own words in an error, as one line and as its codes."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    challenges: tuple[Challenge, ...] = ()
    said: str = ""
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: URL
    headers: Mapping[str, str]
    content: bytes | None = None


class Transport:
    """Registries by their host names; see `Registries` for what is raised."""

    def __init__(self, plain_http: frozenset[str], ca_file: str) -> None:
        self._plain = plain_http
        self._context = _context(ca_file)
        self._session: aiohttp.ClientSession | None = None
        self._tokens = Tokens()

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, limit_per_host=_CONNECTIONS_OF_HOST, ssl=self._context)
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS, sock_connect=_CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers={"User-Agent": _CLIENT},
            cookie_jar=aiohttp.DummyCookieJar(),  # nothing of one person's session may reach another's
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self,
        method: str,
        reference: Reference,
        path: str,
        credentials: Credentials,
        field: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        refusals: Sequence[int] = (404,),
    ) -> Answer:
        """To the reference's repository. Its status is below 300, or one of `refusals`; else raises Waiting or Refused."""
        request = _Request(method, self._url(reference, path), headers or {}, content)
        return await self._send(request, reference, credentials, field, refusals)

    async def upload(self, reference: Reference, digest: str, content: bytes, credentials: Credentials, field: str) -> None:
        """A blob of the reference's repository, in two requests: the registry says where it wants it. Raises Waiting, Refused."""
        path = "blobs/uploads/"
        begun = await self.send("POST", reference, path, credentials, field, refusals=())
        here = self._url(reference, path)
        try:
            place = here.join(URL(begun.headers.get("Location", ""), encoded=True))
            is_here = place.origin() == here.origin()
        except ValueError as error:
            raise _unreachable(reference.registry, "takes uploads at what is no URL") from error
        if not is_here:  # nobody else is told who asks
            raise _unreachable(reference.registry, f"takes uploads at another place: {plain(str(place.with_query(None)), 200)}")
        target = URL(f"{place}{'&' if place.raw_query_string else '?'}digest={digest}", encoded=True)
        headers = {"Content-Type": "application/octet-stream"}
        await self._send(_Request("PUT", target, headers, content), reference, credentials, field, ())

    def _url(self, reference: Reference, path: str) -> URL:
        registry = reference.registry
        scheme = "http" if self._is_plain(registry) else "https"
        host = _ENDPOINTS.get(registry, registry)
        return URL(f"{scheme}://{host}/v2/{reference.repository}/{path}", encoded=True)  # all parts are checked

    async def _send(
        self, request: _Request, reference: Reference, credentials: Credentials, field: str, refusals: Sequence[int]
    ) -> Answer:
        registry, login = reference.registry, credentials.of(reference)
        actions = _ACTIONS.get(request.method, "pull")
        key = (registry, reference.repository, actions, login)
        answer = await self._follow(registry, request, self._tokens.get(key))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._tokens.forget(key)
            authorization, seconds = await self._authorization(reference, answer, actions, login, field)
            if authorization:
                answer = await self._follow(registry, request, authorization)
                if answer.status != HTTPStatus.UNAUTHORIZED:
                    self._tokens.keep(key, authorization, seconds)
        if answer.status < 300 or answer.status in refusals:
            return answer
        raise _failure(reference, answer, login, field)

    async def _authorization(
        self, reference: Reference, answer: Answer, actions: str, login: Login | None, field: str
    ) -> tuple[str, float]:
        """What to send as Authorization, and for how long; empty when nothing is known that could help."""
        for challenge in sorted(answer.challenges, key=lambda one: one.scheme != "bearer"):
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                scope = challenge.parameters.get("scope") or f"repository:{reference.repository}:{actions}"
                return await self._token(reference, challenge, scope, login, field)
            if challenge.scheme == "basic" and login is not None and login.username:
                return login.basic, _BASIC_SECONDS
        return "", 0.0

    async def _token(
        self, reference: Reference, challenge: Challenge, scope: str, login: Login | None, field: str
    ) -> tuple[str, float]:
        """From the token service that the registry names."""
        registry = reference.registry
        asked = {"scope": scope}
        if service := challenge.parameters.get("service"):
            asked["service"] = service
        try:
            realm = URL(challenge.parameters["realm"])
        except ValueError as error:
            raise _unreachable(registry, "names a token service that is no URL") from error
        if not realm.host or (realm.scheme != "https" and not self._is_plain(registry)):
            raise _unreachable(registry, f"names a token service without TLS: {plain(str(realm), 200)}")
        if login is not None and login.identity_token:
            form = {**asked, "grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": login.identity_token}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            request = _Request("POST", realm, headers, urlencode(form).encode())
        else:
            request = _Request("GET", realm.update_query(asked), {})
        answer = await self._once(registry, request, login.basic if login is not None and login.username else "")
        if answer.status >= 300:
            if answer.status in (400, 401, 403, 404):
                raise _unauthorized(reference, answer, login, field)
            raise _failure(reference, answer, login, field)
        try:
            found = manifests.document(answer.content)
            token, seconds = found.get("token") or found.get("access_token"), found.get("expires_in", 0)
            if not isinstance(token, str) or not token.isascii() or not token.isprintable():
                raise Nonsense("has no token")
        except Nonsense as error:
            raise _unreachable(registry, f"has a token service whose answer {error}") from error
        return f"Bearer {token}", float(seconds) if isinstance(seconds, int | float) else 0.0

    async def _follow(self, registry: str, request: _Request, authorization: str) -> Answer:
        """With redirects of what is read. Another host is not told who asks, nor is anything sent there."""
        for _ in range(_REDIRECTS + 1):
            answer = await self._once(registry, request, authorization)
            if not 300 <= answer.status < 400:
                return answer
            try:
                target = request.url.join(URL(answer.headers.get("Location", "")))
            except ValueError as error:
                raise _unreachable(registry, "redirects to what is no URL") from error
            safe = target.scheme == "https" or (target.scheme == "http" and self._is_plain(registry))
            if request.method not in ("GET", "HEAD") or not target.host or not safe:
                raise _unreachable(registry, f"redirects a {request.method} to {plain(str(target.with_query(None)), 200)}")
            if target.origin() != request.url.origin():
                authorization = ""
            request = _Request(request.method, target, request.headers)
        raise _unreachable(registry, f"redirects more than {_REDIRECTS} times")

    async def _once(self, registry: str, request: _Request, authorization: str) -> Answer:
        if self._session is None:
            raise RuntimeError("Registries are used outside of their context")
        headers = {**request.headers, **({"Authorization": authorization} if authorization else {})}
        try:
            async with self._session.request(
                request.method, request.url, headers=headers, data=request.content, allow_redirects=False
            ) as response:
                return await _answer(registry, response)
        except TimeoutError as error:
            raise _unreachable(registry, "does not answer in time") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise _unreachable(registry, f"has a certificate that is not trusted: {error.certificate_error}") from error
        except aiohttp.ClientConnectorSSLError as error:
            raise _unreachable(registry, f"speaks no TLS (UNICORN_PLAIN_HTTP_REGISTRIES lists those without): {error}") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise _unreachable(registry, f"cannot be reached: {error or type(error).__name__}") from error

    def _is_plain(self, registry: str) -> bool:
        return registry in self._plain


async def _answer(registry: str, response: aiohttp.ClientResponse) -> Answer:
    limit = _LIMIT if response.status < 300 else _ERROR_LIMIT
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > limit:
            if response.status < 300:
                raise _unreachable(registry, f"answers with more than {limit} bytes")
            break
    said, codes = ("", ()) if response.status < 400 else _errors(bytes(content[:limit]), response)
    asked = challenges(response.headers.getall("WWW-Authenticate", ()))
    return Answer(response.status, dict(response.headers), bytes(content), tuple(asked), said, codes)


def _errors(content: bytes, response: aiohttp.ClientResponse) -> tuple[str, tuple[str, ...]]:
    """The text and the codes of `{"errors": [{"code": …, "message": …}]}`; else the status line."""
    try:
        entries = [entry for entry in manifests.document(content)["errors"] if isinstance(entry, dict)]
        codes = tuple(str(entry.get("code") or "") for entry in entries)
        said = "; ".join(": ".join(str(entry[key]) for key in ("code", "message") if entry.get(key)) for entry in entries)
    except (Nonsense, KeyError, TypeError):
        codes, said = (), ""
    return plain(said or f"{response.status} {response.reason}", 300), codes


def _failure(reference: Reference, answer: Answer, login: Login | None, field: str) -> Waiting | Refused:
    if answer.status in (401, 403):
        return _unauthorized(reference, answer, login, field)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        message = f"{reference.registry} asks to wait: {answer.said}"
        return Waiting(EnvironmentReason.REGISTRY_BUSY, message, _retry_after(answer))
    if answer.status >= 500:
        return _unreachable(reference.registry, f"fails: {answer.said}", _retry_after(answer))
    if 300 <= answer.status < 400:
        return _unreachable(reference.registry, f"answers {answer.status} where it must not")
    problem = Problem(field, f"{reference.registry} refuses {reference}: {answer.said}")
    return Refused(problem, EnvironmentReason.REGISTRY_REFUSED)


def _unauthorized(reference: Reference, answer: Answer, login: Login | None, field: str) -> Refused:
    who = "nobody in particular: no credentials are known for it" if login is None else "these credentials"
    problem = Problem(field, f"{reference.registry} does not let {who} have {reference}, if there is one: {answer.said}")
    return Refused(problem, EnvironmentReason.REGISTRY_UNAUTHORIZED)


def _unreachable(registry: str, what: str, retry_after: timedelta = _RETRY) -> Waiting:
    return Waiting(EnvironmentReason.REGISTRY_UNREACHABLE, plain(f"the registry {registry} {what}"), retry_after)


def _retry_after(answer: Answer) -> timedelta:
    asked = answer.headers.get("Retry-After", "")
    return min(timedelta(seconds=int(asked)), _LONGEST_RETRY) if asked.isdecimal() and len(asked) < 8 else _RETRY


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            problem = Problem("UNICORN_REGISTRY_CA_FILE", f"cannot be used: {error}", "a file of PEM certificates", ca_file)
            raise Refused(problem) from error
    return context
