"""What no policy may call: whatever makes a decision depend on more than its input and data, or reaches outside.

The engine refuses modules that refer to one of these, and `opa check` compiles against a list without them.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

FORBIDDEN_BUILTINS: Final = frozenset(
    {
        *("time.now_ns", "opa.runtime", "rand.intn", "uuid.parse", "uuid.rfc4122"),
        *("http.send", "net.lookup_ip_addr", "net.cidr_contains", "net.cidr_contains_matches", "net.cidr_expand"),
        *("net.cidr_intersects", "net.cidr_is_valid", "net.cidr_merge", "net.cidr_overlap"),
        *("json.match_schema", "json.verify_schema", "providers.aws.sign_req"),
        *("io.jwt.decode_verify", "io.jwt.encode_sign", "io.jwt.encode_sign_raw"),
        *("crypto.x509.parse_and_verify_certificates", "crypto.x509.parse_and_verify_certificates_with_options"),
    }
)
"""Clock, dice, environment and network; checks of tokens and certificates, which read the clock; JSON Schema, which
fetches references; and everything else that OPA itself calls nondeterministic."""

_KEPT: Final = ("name", "decl", "infix", "relation", "deprecated")


def allowed_capabilities(current: Mapping[str, Any]) -> str:
    """Return a capabilities file without the forbidden builtins, one builtin a line.

    `current` is what `opa capabilities --current` prints. Schemas are fetched from nowhere: `allow_net` is empty.
    """
    kept = [
        json.dumps({key: builtin[key] for key in _KEPT if key in builtin}, sort_keys=True)
        for builtin in sorted(current["builtins"], key=lambda one: str(one["name"]))
        if builtin["name"] not in FORBIDDEN_BUILTINS
    ]
    features, keywords = (json.dumps(sorted(current.get(key, ()))) for key in ("features", "future_keywords"))
    lines = ",\n    ".join(kept)
    return (
        f'{{\n  "allow_net": [],\n  "builtins": [\n    {lines}\n  ],\n'
        f'  "features": {features},\n  "future_keywords": {keywords}\n}}\n'
    )
