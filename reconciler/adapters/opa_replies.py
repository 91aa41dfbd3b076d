"""Reading what an OPA server replies: where an evaluation failed, what it says of a policy, what a module refers to."""

import requests

from reconciler.core.canonical import Json


def evaluation_error(response: requests.Response) -> str:
    """Return where the evaluation failed, or nothing when the reply is no evaluation error of OPA."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return ""
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return ""
    code, location = errors[0].get("code"), errors[0].get("location")
    if not isinstance(code, str) or not code.startswith("eval_"):
        return ""
    place = f"{location.get('file')}:{location.get('row')}" if isinstance(location, dict) else "an unknown place"
    return f"{code} at {place}"


def compact(error: Exception) -> str:
    """Return OPA's complaint about a policy on one line, with file and row."""
    details = getattr(error, "errors", None) or []
    places = []
    for entry in details:
        location = entry.get("location") if isinstance(entry, dict) else None
        if isinstance(location, dict):
            places.append(f"{location.get('file')}:{location.get('row')}: {entry.get('message')}")
    return " ".join("; ".join(places).split()) or " ".join(str(error).split())[:500]


def package_path(ast: Json) -> list[str]:
    """Return the package of a module as its path, `data` first; empty when the tree has none."""
    package = ast.get("package") if isinstance(ast, dict) else None
    path = package.get("path") if isinstance(package, dict) else None
    return [str(term.get("value")) for term in path or [] if isinstance(term, dict)] if isinstance(path, list) else []


def references(node: Json) -> set[str]:
    """Return every reference of a module in dotted form, builtins among them."""
    found: set[str] = set()
    if isinstance(node, list):
        for entry in node:
            found |= references(entry)
    elif isinstance(node, dict):
        value = node.get("value")
        if node.get("type") == "ref" and isinstance(value, list):
            found.add(".".join(str(term.get("value")) for term in value if isinstance(term, dict)))
        for entry in node.values():
            found |= references(entry)
    return found
