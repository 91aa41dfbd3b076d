"""Decisions without an OPA server: regorus, an interpreter of Rego in this very package's child process.

For the first run, the demo and observing; an operator allows it for more by name. It is not OPA: it checks little when
it loads and some builtins are missing or differ, so modules may call only what `ALLOWED_BUILTINS` names and the
conformance suite tries on both engines. It evaluates in a child process, because nothing else can be ended when a
policy does not come to an end.
"""

import importlib.metadata
import importlib.util
import json
import multiprocessing
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.canonical import Json
from reconciler.core.errors import PolicyError, Undecided
from reconciler.core.metadata import policy_digest
from reconciler.core.model import EngineInfo, PolicySet

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

DISTRIBUTION: Final = "gordon-to-regorus"
LOAD_SECONDS: Final = 120.0
"""Longest time for starting the child and loading policies and roster."""
ALLOWED_BUILTINS: Final = frozenset(
    {
        *("abs", "ceil", "count", "floor", "max", "min", "product", "round", "sort", "sum", "numbers.range"),
        *("concat", "contains", "endswith", "format_int", "indexof", "lower", "replace", "split", "sprintf"),
        *("startswith", "substring", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix"),
        *("upper", "to_number", "regex.match", "array.concat", "array.reverse", "array.slice"),
        *("intersection", "union", "object.filter", "object.get", "object.keys", "object.remove", "object.union"),
        *("is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "type_name"),
        "time.parse_rfc3339_ns",
    }
)
"""Builtins that give the same in regorus 0.13 and OPA 1.22 (tests/contract/test_engine_conformance.py)."""

_PLACE = re.compile(r"-->\s*(\S+\.rego:\d+)")
_COMPLAINT = re.compile(r"^error: (.+)$", re.MULTILINE)


class EmbeddedRego:
    """Implements `ports.PolicyEngine` with regorus in a spawned child."""

    def __init__(self, *, deadline_seconds: float = 30.0) -> None:
        """Prepare; the child starts with the first `load`. Raises `PolicyError` when regorus is not installed."""
        if importlib.util.find_spec("regorus") is None:
            msg = "the in-process policy engine is not installed"
            raise PolicyError(msg, advice="install access-reconciler[embedded], or OPA")
        self._deadline = deadline_seconds
        self._version = importlib.metadata.version(DISTRIBUTION)
        self._lock = Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._loaded: str | None = None

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        """Start a fresh child with these policies and documents, and read the policies back."""
        with self._lock:
            self._loaded = json.dumps(
                {"modules": policies.modules, "data": json.loads(policies.data), "documents": dict(documents)}
            )
            return self._start()

    def evaluate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the raw decision; a child that misses the deadline is killed and replaced for the next request."""
        with self._lock:
            if self._process is None:
                self._start()
            answer = self._ask("evaluate", json.dumps(request), self._deadline)
        if not isinstance(answer, dict):
            raise Undecided("the decision is no object", advice="correct access/driver.rego")
        return answer

    def info(self) -> EngineInfo:
        """Ask the child which policies it holds."""
        with self._lock:
            return self._info(self._ask("held", "", LOAD_SECONDS) if self._process else self._start_and_ask())

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()
            self._loaded = None

    def _start(self) -> EngineInfo:
        return self._info(self._start_and_ask())

    def _start_and_ask(self) -> Json:
        if self._loaded is None:
            raise PolicyError("the in-process policy engine was not loaded yet", advice="load policies before asking")
        self._end()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), name="embedded-rego", daemon=True)
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        return self._ask("load", self._loaded, LOAD_SECONDS)

    def _info(self, held: Json) -> EngineInfo:
        if not isinstance(held, str):
            raise PolicyError("the in-process policy engine does not say what it holds", advice="report this defect")
        return EngineInfo(name="regorus", version=self._version, revision=held)

    def _ask(self, verb: str, content: str, seconds: float) -> Json:
        if self._pipe is None:
            raise PolicyError("the in-process policy engine was not loaded yet", advice="load policies before asking")
        try:
            self._pipe.send((verb, content))
            if not self._pipe.poll(seconds):
                self._end()
                msg = f"the in-process policy engine did not answer within {seconds:g} s"
                raise PolicyError(msg, advice="look for a rule that walks the whole roster, or use OPA")
            state, answer = self._pipe.recv()
        except (OSError, EOFError) as error:
            self._end()
            raise PolicyError("the in-process policy engine ended by itself", advice="use OPA") from error
        if state == "undecided":
            raise Undecided(str(answer), advice="correct the rule; `opa eval` with the same input shows more")
        if state == "refused":
            self._end()
            raise PolicyError(str(answer), advice="correct the policy, or use OPA")
        found: Json = json.loads(answer)
        return found

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process, self._pipe = None, None


class _Refused(Exception):
    """The child cannot take these policies."""


def _serve(pipe: Connection) -> None:
    """Answer requests until the other end closes; runs in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = _Child()
    with suppress(EOFError, BrokenPipeError):
        while True:
            verb, content = pipe.recv()
            pipe.send(_reply(child, verb, content))


def _reply(child: "_Child", verb: str, content: str) -> tuple[str, str]:
    try:
        if verb == "load":
            child.load(json.loads(content))
        if verb in {"load", "held"}:
            return "ok", json.dumps(child.held())
        found = child.decide(content)
    except _Refused as error:
        return "refused", str(error)
    except RuntimeError as error:
        return "undecided", f"the policies failed: {_place(error)}"
    if found is None:
        return "undecided", "the decision is undefined: something it rests on is missing"
    return "ok", found


class _Child:
    """The interpreter, in the child process."""

    def __init__(self) -> None:
        # Imported here alone: in the parent an endless policy could not be ended.
        import regorus  # noqa: PLC0415 - the extra is optional

        self._engine: Any = regorus.Engine()
        self._data = ""

    def load(self, content: dict[str, Any]) -> None:
        """Take modules, data and documents; refuses what does not parse and what is not allowed."""
        for name, source in content["modules"]:
            try:
                self._engine.add_policy(name, source)
            except RuntimeError as error:
                complaint = _COMPLAINT.search(str(error))
                raise _Refused(f"{_place(error)}: {complaint.group(1) if complaint else 'not Rego'}") from error
        unknown = sorted(set(calls_outside(json.loads(self._engine.get_ast_as_json()))))
        if unknown:
            raise _Refused(f"{unknown[0]}: not allowed in the in-process policy engine, or not defined")
        self._data = json.dumps(content["data"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        try:
            for document in (content["data"], *({name: held} for name, held in content["documents"].items())):
                self._engine.add_data_json(json.dumps(document))
        except RuntimeError as error:
            raise _Refused("the data documents contradict one another") from error

    def held(self) -> str:
        """Return the digest of the policies that the interpreter holds."""
        held = json.loads(json.loads(self._engine.get_policies()))  # regorus encodes it twice
        modules = [(entry["path"], entry["contents"]) for entry in held]
        return policy_digest(sorted(modules), self._data)

    def decide(self, request: str) -> str | None:
        """Return the decision as JSON, or None when it is undefined."""
        self._engine.set_input_json(request)
        answer = json.loads(self._engine.eval_query_as_json("data.access.driver.decide"))
        rows = answer.get("result")
        if not rows:
            return None
        return json.dumps(rows[0]["expressions"][0]["value"])


def _place(error: RuntimeError) -> str:
    """Return file and line of an error, never its text: that may quote somebody's data."""
    found = _PLACE.search(str(error))
    return found.group(1) if found else "an error in a builtin or a conflict"


def calls_outside(modules: list[dict[str, Any]]) -> Iterator[str]:
    """Yield `file:line: name` of each call in regorus's syntax trees that is neither allowed nor defined in them."""
    defined = {
        f"{_package(module)}.{_dotted(rule['Spec']['head']['Func']['refr'])}"
        for module in modules
        for rule in module["ast"]["rules"]
        if "Func" in rule.get("Spec", {}).get("head", {})
    }
    for module in modules:
        aliases = dict(_imports(module))
        for name, line in _calls(module["ast"]):
            head, _, rest = name.partition(".")
            full = f"{aliases[head]}.{rest}" if head in aliases and rest else name
            local = f"{_package(module)}.{name}"
            if name not in ALLOWED_BUILTINS and full not in defined and local not in defined:
                yield f"{module['source']['file']}:{line}: {name}"


def _package(module: dict[str, Any]) -> str:
    return f"data.{_dotted(module['ast']['package']['refr'])}"


def _imports(module: dict[str, Any]) -> Iterator[tuple[str, str]]:
    source = module["source"]["contents"].encode()
    for entry in module["ast"]["imports"]:
        full = _dotted(entry["refr"])
        span = entry.get("as")
        alias = source[span["start"] : span["end"]].decode() if span else full.rpartition(".")[2]
        yield alias, full


def _calls(node: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401 - a syntax tree of another program
    if isinstance(node, list):
        for entry in node:
            yield from _calls(entry)
    elif isinstance(node, dict):
        call = node.get("Call")
        if isinstance(call, dict):
            yield _dotted(call["fcn"]), int(call["span"]["line"])
        for entry in node.values():
            yield from _calls(entry)


def _dotted(node: dict[str, Any]) -> str:
    """Return a reference as `a.b.c`; anything that is not a plain reference comes out as a name nobody defines."""
    if "Var" in node:
        return str(node["Var"]["value"])
    if "RefDot" in node:
        return f"{_dotted(node['RefDot']['refr'])}.{node['RefDot']['field'][1]}"
    return "(computed)"
