"""Decisions by the real OPA server: one that somebody runs (`OpaServer`), or a child of ours (`ManagedOpa`).

The client library leaves three traps that this door closes: a missing `result` reads like "no findings", a policy that
does not parse is rewritten and uploaded anyway, and builtin errors are swallowed unless asked for. Errors name modules
and lines, never values: what an engine complains about may be somebody's data.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from opa_client.errors import (
    DeleteDataError,
    DeletePolicyError,
    PolicyNotFoundError,
    RegoParseError,
    TypeException,
)
from opa_client.opa import OpaClient

from reconciler.adapters.opa_process import OpaProcess
from reconciler.adapters.opa_replies import compact, evaluation_error, package_path, references
from reconciler.core.builtins import FORBIDDEN_BUILTINS
from reconciler.core.canonical import Json, dumps
from reconciler.core.errors import PolicyError, SettingsError, Undecided
from reconciler.core.metadata import policy_digest
from reconciler.core.model import EngineInfo, PolicySet

OLDEST_VERSION: Final = (1, 21, 3)
"""Older servers accept a bundle whose signature was stripped (GHSA-g2pf-6v5v-qcc8)."""

_DECIDE_PARAMETERS: Final = {"strict-builtin-errors": "true", "provenance": "true"}
_VERSION = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)")
_LIBRARY_ERRORS = (DeleteDataError, DeletePolicyError, PolicyNotFoundError, RegoParseError, TypeException)
_MALFORMED_ANSWER = (ValueError, TypeError, AttributeError, KeyError, RecursionError)
"""What the client raises when a reply is JSON of a shape, or a depth, that OPA never sends."""
_DENIED = (401, 403)

_T = TypeVar("_T")


class OpaServer:
    """Implements `ports.PolicyEngine` over a running server."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        decide_timeout_seconds: float = 30.0,
        control_timeout_seconds: float = 120.0,
        ca_file: Path | None = None,
        publish: bool = True,
    ) -> None:
        """Prepare connections; nothing is sent yet.

        With `publish`, policies and thresholds are written to the server; without, they must be there already (a
        bundle) and equal ours. `data.roster` and `data.waivers` are always written. Raises `SettingsError` for a URL
        with a path, or without TLS to anywhere but this host: roster and token would travel in the clear.
        """
        parts = urlsplit(url)
        _check_url(url)
        tls: bool | str = (str(ca_file) if ca_file else True) if parts.scheme == "https" else False
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
        port = parts.port or (443 if tls else 8181)

        def client(timeout: float) -> OpaClient:
            made = OpaClient(host=host, port=port, ssl=tls, token=token, retries=0, timeout=timeout)
            made._session.trust_env = False  # noqa: SLF001 - else a proxy or .netrc of the environment gets our token
            made._session.hooks["response"].append(_stay_here)  # noqa: SLF001 - else the roster follows a redirect
            return made

        self._url = f"{parts.scheme}://{host}:{port}"
        self._control = client(control_timeout_seconds)
        self._decide = client(decide_timeout_seconds)
        self._publish = publish
        self._version = ""
        self._places: tuple[str, ...] = ()

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        """Put policies, thresholds and documents in place and read everything back."""
        self._version = ""
        self._version = self._ask_version()
        data = json.loads(policies.data)["access"]
        self._places = tuple(sorted(data))
        if self._publish:
            self._publish_modules(policies)
            for place in self._places:
                self._put_data(f"access/{place}", data[place])
        self.put(documents)
        info = self.info()
        if info.revision != policies.digest:
            msg = f"{self._url} holds other policies than ours: {info.revision}, not {policies.digest}"
            raise PolicyError(msg, advice="deploy the same policies to both, without test modules")
        return info

    def put(self, documents: Mapping[str, Json]) -> None:
        """Put data documents in place and read them back."""
        for name, document in documents.items():
            self._put_data(name, document)
            if self._data(name) != document:
                raise PolicyError(f"{self._url} gives back another {name} than the one sent", advice=_LOOK)

    def evaluate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the raw decision; raises `Undecided` when OPA answers that it has none for this request."""
        body = self._call(
            "decide", lambda: self._decide.query_rule(dict(request), "access.driver", "decide", _DECIDE_PARAMETERS)
        )
        if self._provenance(body) != self._version:
            raise PolicyError(f"{self._url} changed its version while it was asked", advice=_LOOK)
        if "result" not in body:
            msg = "the decision is undefined: something it rests on is missing"
            raise Undecided(msg, advice="see that every module is loaded; `opa eval` with the same input shows more")
        result = body["result"]
        if not isinstance(result, dict):
            raise Undecided("the decision is no object", advice=_LOOK)
        return result

    def info(self) -> EngineInfo:
        """Read the policies back, refuse foreign and forbidden ones, and say what they hash to."""
        if not self._places:
            raise PolicyError(f"{self._url} was not loaded yet", advice="load policies before asking")
        modules = sorted(self._held_modules().items())
        data: dict[str, Json] = {place: self._data(f"access/{place}") for place in self._places}
        digest = policy_digest(modules, dumps({"access": data}).decode())
        return EngineInfo(name="opa", version=self._ask_version(), revision=digest)

    def trees(self) -> dict[str, Json]:
        """Return the syntax tree of every module as it was compiled, imports resolved, by the path of the module."""
        return {name: self._module(name)[1] for name in self._ids() if name.startswith("access/")}

    def close(self) -> None:
        """Release connections."""
        self._control.close_connection()
        self._decide.close_connection()

    def holds(self, name: str, source: str) -> bool:
        """Say whether the server holds exactly this module under an id that ends in `name`."""
        ids = [module for module in self._ids() if module.endswith(name)]
        return any(self._module(module)[0] == source for module in ids)

    def _ask_version(self) -> str:
        body = self._call(
            "version", lambda: self._control.query_rule({}, "access.driver", "decide", {"provenance": "true"})
        )
        version = self._provenance(body)
        found = _VERSION.match(version)
        if found is None or tuple(int(part) for part in found.groups()) < OLDEST_VERSION:
            wanted = ".".join(str(part) for part in OLDEST_VERSION)
            raise PolicyError(f"{self._url} runs OPA {version or '(unknown)'}", advice=f"install OPA {wanted} or newer")
        return version

    def _provenance(self, body: Mapping[str, object]) -> str:
        provenance = body.get("provenance")
        version = provenance.get("version") if isinstance(provenance, dict) else None
        return version if isinstance(version, str) else ""

    def _publish_modules(self, policies: PolicySet) -> None:
        ours = {module for module in self._ids() if module.startswith("access/")}
        wanted = dict(policies.modules)
        if ours == set(wanted) and all(self._module(name)[0] == source for name, source in wanted.items()):
            return
        self._in_rounds(ours, self._control.delete_policy)
        self._in_rounds(
            wanted, lambda name: self._control.update_policy_from_string(wanted[name], name, rego_compat=False)
        )

    def _in_rounds(self, names: Iterable[str], act: Callable[[str], object]) -> None:
        """Do it for all in whatever order their dependencies allow; OPA compiles after every single change."""
        left = sorted(names)
        while left:
            failed: dict[str, PolicyError] = {}
            for name in left:
                try:
                    self._call(name, lambda name=name: {"done": act(name)})  # type: ignore[misc]  # bound early
                except _Refused as error:
                    failed[name] = error
            if len(failed) == len(left):
                raise failed[left[0]]
            left = sorted(failed)

    def _put_data(self, path: str, document: Json) -> None:
        if not isinstance(document, dict):
            raise PolicyError(f"data.{path.replace('/', '.')} must be an object", advice="correct access/**/data.json")
        self._call(f"data {path}", lambda: {"done": self._control.update_or_create_data(document, path)})

    def _data(self, path: str) -> Json:
        result: Json = self._call(f"data {path}", lambda: self._control.get_data(path))["result"]
        return result

    def _ids(self) -> list[str]:
        names = self._call("policies", lambda: {"ids": self._control.get_policies_list()})["ids"]
        return [str(name) for name in names]

    def _module(self, name: str) -> tuple[str, Json]:
        result = self._call(name, lambda: self._control.get_policy(name)).get("result")
        if not isinstance(result, dict) or not isinstance(result.get("raw"), str):
            raise PolicyError(f"{self._url} does not give back module {name}", advice=_LOOK)
        return result["raw"], result.get("ast")

    def _held_modules(self) -> dict[str, str]:
        """Return the modules of package `access` and below by their path from `access/` on."""
        held: dict[str, str] = {}
        for module in self._ids():
            raw, ast = self._module(module)
            if package_path(ast)[:2] != ["data", "access"]:
                continue
            forbidden = sorted(references(ast) & FORBIDDEN_BUILTINS)
            if forbidden:
                msg = f"{module} uses {', '.join(forbidden)}"
                raise PolicyError(msg, advice="a decision rests on its input and data alone; take the call out")
            start = module.find("access/")
            name = module[start:] if start >= 0 else module
            if name in held:
                raise PolicyError(f"{self._url} holds {name} twice", advice="remove one of the two modules")
            held[name] = raw
        return held

    def _call(self, what: str, call: Callable[[], _T]) -> _T:
        """Make one call of the client; everything that is not a proper answer becomes a `PolicyError`."""
        try:
            answer = call()
        except requests.HTTPError as error:
            raise self._http_error(what, error) from error
        except requests.JSONDecodeError as error:
            raise PolicyError(f"{self._url} did not answer {what} in JSON", advice=_LOOK) from error
        except requests.RequestException as error:
            msg = f"{self._url} did not answer {what}: {type(error).__name__}"
            raise PolicyError(msg, advice="see that OPA runs and can be reached") from error
        except _LIBRARY_ERRORS as error:
            raise _Refused(f"{self._url} refused {what}: {compact(error)}", advice="correct the policy") from error
        except _MALFORMED_ANSWER as error:
            raise PolicyError(f"{self._url} answered {what} in a shape OPA does not use", advice=_LOOK) from error
        if not isinstance(answer, dict):
            raise PolicyError(f"{self._url} answered {what} in a shape OPA does not use", advice=_LOOK)
        return answer

    def _http_error(self, what: str, error: requests.HTTPError) -> PolicyError:
        status = error.response.status_code
        if status in _DENIED:
            return PolicyError(f"{self._url} refused our token for {what}", advice="check the token and system.authz")
        place = evaluation_error(error.response)
        if place:
            return Undecided(f"the policies failed: {place}", advice="correct the rule at that line")
        return PolicyError(f"{self._url} answered {what} with status {status}", advice=_LOOK)


class ManagedOpa:
    """Implements `ports.PolicyEngine` over a child process that serves us alone and ends with us.

    Policies are written and read back once in the life of a child, and documents when they have changed: nobody else
    has the token that changes them.
    """

    def __init__(
        self,
        executable: Path,
        *,
        directory: Path,
        decide_timeout_seconds: float = 30.0,
        control_timeout_seconds: float = 120.0,
    ) -> None:
        """Remember what to start; `directory` keeps the child's log. The child starts with the first `load`."""
        self._executable = executable
        self._directory = directory
        self._timeouts = (decide_timeout_seconds, control_timeout_seconds)
        self._process: OpaProcess | None = None
        self._server: OpaServer | None = None
        self._info: EngineInfo | None = None
        self._documents: dict[str, Json] = {}

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        """Start the child where there is none, it does not answer or it holds other policies, and load it."""
        info, self._info = self._info, None
        if (
            info is not None
            and info.revision == policies.digest
            and self._process is not None
            and self._process.answers()
        ):
            new = {name: document for name, document in documents.items() if self._documents.get(name) != document}
            self._documents = {}  # until all of them are known to be there
            self._running().put(new)
            self._info, self._documents = info, dict(documents)
            return info
        self.close()
        self._server = self._start()
        self._info = self._server.load(policies, documents)
        self._documents = dict(documents)
        return self._info

    def _start(self) -> OpaServer:
        process = OpaProcess(self._executable, self._directory)
        self._process = process
        process.wait_ready()
        decide, control = self._timeouts
        server = OpaServer(
            f"http://127.0.0.1:{process.port}",
            process.token,
            decide_timeout_seconds=decide,
            control_timeout_seconds=control,
        )
        if not server.holds(process.authz.name, process.authz_source) or not process.alive:
            msg = "another program answers on the port that was meant for the managed OPA"
            raise PolicyError(msg, advice="try again; the next start takes another port")
        return server

    def evaluate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the raw decision of the child."""
        return self._running().evaluate(request)

    def info(self) -> EngineInfo:
        """Return which policies the child was given; raises `PolicyError` when it is not there or not loaded."""
        self._running()
        if self._info is None:
            raise PolicyError("the managed OPA was not loaded", advice="load policies before asking")
        return self._info

    def trees(self) -> dict[str, Json]:
        """Return the compiled modules of the child (see `OpaServer.trees`)."""
        return self._running().trees()

    def _running(self) -> OpaServer:
        if self._server is None or self._process is None:
            raise PolicyError("the managed OPA was not started", advice="load policies before asking")
        if not self._process.alive:
            msg = f"the managed OPA ended by itself: {self._process.log_tail()}"
            raise PolicyError(msg, advice="the next cycle starts another one")
        return self._server

    def close(self) -> None:
        """End the child and release connections."""
        if self._server is not None:
            self._server.close()
        if self._process is not None:
            self._process.stop()
        self._server, self._process, self._info, self._documents = None, None, None, {}


class _Refused(PolicyError):
    """OPA answered that it does not accept or does not know something."""


_LOOK: Final = "look at the log of the OPA server and at whatever stands between it and us"


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    try:
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        port_ok = False
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_ok or parts.username:
        raise SettingsError("the URL of the OPA server is none", advice="give it as https://host:port")
    if parts.path.rstrip("/") or parts.query or parts.fragment:
        raise SettingsError(f"OPA server {parts.hostname}: the URL has a path", advice="give it as https://host:port")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        msg = f"OPA server {parts.hostname}: without TLS, roster and token would travel in the clear"
        raise SettingsError(msg, advice="use https, or run OPA on this host")


def _stay_here(response: requests.Response, **_: object) -> None:
    """Refuse a redirect, except of a read within the server (OPA drops a trailing slash that way)."""
    if not response.is_redirect:
        return
    target = urlsplit(urljoin(response.url, response.headers["location"]))
    here = urlsplit(response.url)
    if response.request.method != "GET" or (target.scheme, target.netloc) != (here.scheme, here.netloc):
        raise requests.TooManyRedirects("a redirect that leads away", response=response)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
