"""The OpenAPI document of /api/v1/: what ninja does not write into it, and the same for a page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import responses
from typing import Any

from frontend.api_shapes import ProblemOut

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
METHODS = ("get", "post", "put", "patch", "delete")
ALWAYS = {
    401: "Neither a valid token nor a session.",
    403: "The token's scope, or the account's rights, do not reach.",
    422: "A parameter, or the body, is not valid; `errors` says which.",
    429: "The token has sent its requests of this minute: see `Retry-After`.",
}
ETAG = {"description": "Of the answer; send it as `If-None-Match`.", "schema": {"type": "string"}}


def completed(document: Any) -> Any:
    """Every answer that is an error is a problem; what any operation may answer stands with each."""
    shape = ProblemOut.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    shape["required"] = [name for name in shape["required"] if name != "errors"]  # only what is not valid has them
    document["components"]["schemas"] |= shape.pop("$defs") | {"ProblemOut": shape}
    for path, method, operation in each(document):
        answers = operation["responses"]
        own = {status for status in answers if int(status) >= 400}
        more = dict(ALWAYS)
        if "{" in path:
            more[404] = "There is no such thing."
        if "requestBody" in operation:
            more[400] = "The body is not JSON."
        for status in own | set(more):
            answers[status] = {"description": more.get(status, responses[int(status)]), "content": PROBLEM}
        if method == "get":
            answers[200]["headers"] = {"ETag": ETAG}
            answers[304] = {"description": "It has not changed since the `ETag` that `If-None-Match` names."}
        operation["responses"] = {str(status): answers[status] for status in sorted(answers, key=int)}
    return document


def each(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                yield path, method, methods[method]


# --- for the page -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A parameter, or a field of a body or an answer."""

    name: str
    type: str
    about: str
    required: bool = False
    where: str = ""


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Row]
    body: list[Row]
    answers: list[tuple[str, str, list[Row]]]


def operations(document: Mapping[str, Any]) -> dict[str, list[Operation]]:
    """By tag."""
    schemas = document["components"]["schemas"]
    found: dict[str, list[Operation]] = {}
    for path, method, operation in each(document):
        parameters = [
            Row(row["name"], words(row["schema"]), row["schema"].get("description", ""), row["required"], row["in"])
            for row in operation["parameters"]
        ]
        body = fields(content(operation.get("requestBody", {})), schemas)
        answers = [
            (status, answer["description"], [] if int(status) >= 400 else fields(content(answer), schemas))
            for status, answer in operation["responses"].items()
        ]
        about = operation["summary"], operation.get("description", "")
        row = Operation(operation["operationId"], method.upper(), path, *about, parameters, body, answers)
        found.setdefault(operation.get("tags", ["other"])[0], []).append(row)
    return found


def content(part: Mapping[str, Any]) -> Mapping[str, Any]:
    for described in part.get("content", {}).values():
        return dict(described.get("schema", {}))
    return {}


def fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], before: str = "") -> list[Row]:
    """With those of the shapes in it: items[].name."""
    shape = schema
    while "$ref" in shape or shape.get("type") == "array":
        if "$ref" in shape:
            shape = schemas[shape["$ref"].rsplit("/", 1)[-1]]
        else:
            shape, before = shape["items"], f"{before.removesuffix('.')}[]."
    rows = []
    for name, field in shape.get("properties", {}).items():
        required = name in shape.get("required", ())
        rows.append(Row(before + name, words(field), field.get("description", ""), required))
        inner = next((some for some in field.get("anyOf", ()) if "$ref" in some), field)
        if "$ref" in inner or inner.get("type") == "array":
            rows += fields(inner, schemas, f"{before}{name}.")
    return rows


def words(schema: Mapping[str, Any]) -> str:
    """ "integer or null, 1 to 1000, else 100"."""
    if "enum" in schema:
        kind = " | ".join(map(str, schema["enum"]))
    elif "anyOf" in schema:
        kind = " or ".join(words(some) for some in schema["anyOf"])
    elif "$ref" in schema:
        kind = schema["$ref"].rsplit("/", 1)[-1]
    elif schema.get("type") == "array":
        kind = f"list of {words(schema['items'])}"
    else:
        kind = str(schema.get("const", schema.get("format", schema.get("type", "anything"))))
    if "minimum" in schema and "maximum" in schema:
        kind += f", {schema['minimum']} to {schema['maximum']}"
    if schema.get("default") not in (None, "", [], {}):
        kind += f", else {schema['default']}"
    return kind
