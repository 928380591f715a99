"""What CEL says of a filter, in words for the person who wrote it. Pure: CEL's text and the filter in, words out."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from scanner.webhooks.fields import CONSTANTS, FIELDS, PACKAGE_FIELDS

Match = re.Match[str]

TOO_EXPENSIVE = "too expensive: it takes too much time or memory"
TEXT_LIMIT = 300  # characters of a message: it may quote what the user wrote

ALTERNATIVES = {
    "map": "its result could fill the memory; use exists(), all() or filter()",
    "matches": "one pattern could take minutes; use contains(), startsWith() or endsWith()",
}
FORMS = {  # how the functions are called
    **{name: f'host.name.{name}("web")' for name in ("startsWith", "endsWith", "contains")},
    **{name: f'host.tags.{name}(t, t == "prod")' for name in ("exists", "exists_one", "all", "filter")},
    **{name: f"now.{name}()" for name in ("getFullYear", "getMonth", "getDate", "getDayOfWeek", "getHours")},
    "size": "size(packages)",
    "has": "has(p.severity)",
    "timestamp": 'timestamp("2026-01-31T00:00:00Z")',
    "duration": 'duration("24h")',
    **{name: f"{name}(security_updates)" for name in ("int", "double", "string", "type")},
}
OPERATORS = {"and": "&&", "or": "||", "not": "!", "is": "==", "<>": "!="}
MISTYPED = {"=>": ">=", "=<": "<=", "&": "&&", "|": "||", "#": "//"}
MISTYPED |= {"≥": ">=", "≤": "<=", "≠": "!=", "“": '"', "”": '"', "„": '"'}
NAMES = (*(field.name for field in FIELDS), *CONSTANTS, "true", "false")
TEXTS = {field.name for field in FIELDS if field.type in ("string", "list of string")}
TEXT_VALUES = {value for field in FIELDS for value in field.values} | {"CVE"}  # CVE-2026-1 is CVE minus 2026 minus 1

TYPES = (  # CEL's names at compile time and at run time, ours
    ("list(map(string, dyn))", "list of package"),
    ("map(string, dyn)", "package"),
    ("list(string)", "list of string"),
    ("google.protobuf.Timestamp", "timestamp"),
    ("google.protobuf.Duration", "duration"),
    ("int64", "int"),
    ("null_type", "null"),
    ("dyn", "any"),
)
LOOK_IN_LIST = 'to look for a text in a list write "prod" in host.tags'
HINTS = (  # what was tried, what to write
    (r"(<|<=|>|>=)\((string|any), (string|any)\)", "text has no order; use ==, startsWith() or contains()"),
    (r"in\(string, string\)", "for text in text use contains()"),
    (r"(==|!=|contains|startsWith|endsWith)\((list of string, string|string, list of string)\)", LOOK_IN_LIST),
    (r"[-+]\(timestamp, string\)", 'write duration("24h")'),
    (r".*\((timestamp, string|string, timestamp)\)", 'write timestamp("2026-01-31T00:00:00Z")'),
    (r".*\((duration, string|string, duration)\)", 'write duration("24h")'),
)

STRING = r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
NAME = r"[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*"
TOKEN = re.compile(rf"(?P<operand>{STRING}|{NAME}|\d[\d.]*)|//.*|&&|\|\||[<>=!]=|\S", re.ASCII)

# INVALID_ARGUMENT: ERROR: <input>:1:18: undeclared reference to 'danger' (in container '')
#  | status == danger
#  | ..........^
# ERROR: <input>:2:1: Syntax error: …
RAW_ERROR = re.compile(r"^(?:INVALID_ARGUMENT: )?ERROR: <input>:(-?\d+):(-?\d+): (.*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a filter cannot be used, and where: the line and the column of the first character concerned, from 1."""

    message: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a filter CEL found something wrong."""

    source: str
    offset: int

    def problem(self, message: str) -> Problem:
        before = self.source[: self.offset]
        short = message if len(message) <= TEXT_LIMIT else message[:TEXT_LIMIT] + "…"
        return Problem(short, before.count("\n") + 1, len(before) - before.rfind("\n"))

    def at(self, offset: int) -> "Place":
        return Place(self.source, offset)

    def here(self) -> str:
        """The token that begins here."""
        match = TOKEN.match(self.source, self.offset)
        return match[0] if match else ""

    def neighbours(self) -> tuple[Match | None, Match | None]:
        """The tokens before and after the one that begins here."""
        tokens = list(TOKEN.finditer(self.source))
        index = bisect_right([token.start() for token in tokens], self.offset)
        before = tokens[index - 2] if index > 1 else None
        return before, tokens[index] if index < len(tokens) else None

    def start_of(self, name: str) -> "Place":
        """Where a name begins. CEL points at its last dot, at the bracket behind it or at the bracket before it."""
        pattern = r"\s*\.\s*".join(re.escape(part) for part in name.split("."))
        matches = list(re.finditer(rf"(?<!\w){pattern}(?!\w)", self.source))
        if not matches:
            return self
        nearest = min(matches, key=lambda match: max(match.start() - self.offset, self.offset - match.end(), 0))
        return self.at(nearest.start())

    def calls(self, name: str) -> bool:
        """Whether this is the bracket of a call of that name."""
        return re.search(rf"(?<!\w){re.escape(name)}\s*$", self.source[: self.offset]) is not None and (
            self.source[self.offset : self.offset + 1] == "("
        )


# --- what cannot be compiled ------------------------------------------------------------------------


def compile_problem(raw: str, source: str) -> Problem:
    """The one thing to say of a filter that CEL does not compile."""
    errors = list(raw_errors(raw, source))
    # `tags.map(t, t)`: that it does not know t comes first, that it does not know map last
    errors.sort(key=lambda error: not is_unknown_call(*error))
    for text, place in errors:
        for pattern, explain in RULES:
            if match := re.match(pattern, text):
                return explain(match, place)
    if "recursion" in raw:
        return Problem("nested too deeply: at most 32 levels, and at most 31 times '+' in a row")
    text, place = errors[0] if errors else (raw, Place(source, 0))
    return place.problem(plain(text.removeprefix("Syntax error: ")))


def raw_errors(raw: str, source: str) -> Iterator[tuple[str, Place]]:
    lines = source.split("\n")
    for line, column, text in RAW_ERROR.findall(raw):
        if int(line) > 0:  # -1: it belongs to no place
            offset = sum(len(before) + 1 for before in lines[: int(line) - 1]) + int(column) - 1
            yield text, Place(source, offset)


def is_unknown_call(text: str, place: Place) -> bool:
    match = re.match(UNDECLARED, text)
    return match is not None and place.calls(match[1])


def undeclared(match: Match, place: Place) -> Problem:
    name = match[1].lstrip(".")
    start = place.start_of(name)
    return start.problem(unknown_function(name) if place.calls(name) else unknown_field(name, start))


def unknown_function(name: str) -> str:
    if name in ALTERNATIVES:
        return f"{name} is not available: {ALTERNATIVES[name]}"
    if name.lower() in OPERATORS:
        return instead(name)
    if name in FORMS:
        return f"'{name}' is used like this: {FORMS[name]}"
    return f"unknown function '{name}'{did_you_mean(name, FORMS)}"


def unknown_field(name: str, place: Place) -> str:
    first, _, last = name.rpartition(".")
    if first != "host" and first and last in PACKAGE_FIELDS:
        return f"unknown field '{name}' - look at packages with packages.exists(p, p.{last} …)"
    if name in TEXT_VALUES:
        return f"unknown field '{name}' - put text in quotes"
    if compared_with_text(place):
        return f"unknown field '{name}'{did_you_mean(name, NAMES, 0.75) or ' - put text in quotes'}"
    return f"unknown field '{name}'{did_you_mean(name, NAMES)}"


def compared_with_text(place: Place) -> bool:
    """`status == danger`, `t == prod`, `danger in host.tags`: the other side is a text's name, or nothing we know."""
    tokens = [token for token in TOKEN.finditer(place.source) if token.start() != place.offset]
    index = bisect_right([token.start() for token in tokens], place.offset)
    sides = tokens[:index][-1:-3:-1], tokens[index : index + 2]
    for side in sides:
        if len(side) == 2 and side[0][0] in ("==", "!=", "in") and re.match(NAME, side[1][0]):
            return side[1][0] in TEXTS or side[1][0] not in NAMES
    return False


def no_overload(match: Match, place: Place) -> Problem:
    operator, types = operator_of(match[1]), ours(match[2])
    if re.fullmatch(r"\w+", operator) and operator != "in":
        place = place.start_of(operator)
    return place.problem(cannot_use(operator, types) + (quoting(operator, types, place) or hint(operator, types)))


def cannot_use(operator: str, types: str) -> str:
    *others, last = types.split(", ")
    return f"cannot use '{operator}' with {' and '.join([', '.join(others), last] if others else [last])}"


def hint(operator: str, types: str) -> str:
    return next((f" - {words}" for tried, words in HINTS if re.fullmatch(tried, f"{operator}({types})")), "")


def quoting(operator: str, types: str, place: Place) -> str:
    """`max_severity >= "high"` has quotes too many, `level == high` too few; `level >= "high"` means another field."""
    if operator not in ("==", "!=", "<", "<=", ">", ">="):
        return ""
    before, after = place.neighbours()
    for value, other in (before, after), (after, before):
        if value is None or other is None:
            continue
        word, quoted = value[0].strip("\"'").lower(), value[0][0] in "\"'"
        if word in CONSTANTS and not quoted and other[0] in TEXTS and operator in ("==", "!="):
            return f' - put text in quotes: "{word}"'
        number = word.isdigit() and quoted and re.search(r"int|double|any", types)
        if number or (word in CONSTANTS and (quoted or other[0] in TEXTS)):
            field = "max_severity" if other[0] in TEXTS else other[0]
            left, right = (word, field) if value is before else (field, word)
            return f" - write {left} {operator} {right}, without quotes"
    return ""


def bad_token(_: Match, place: Place) -> Problem:
    source, offset = place.source, place.offset
    for wrong, right in MISTYPED.items():
        if source.startswith(wrong, offset):
            return place.problem(f"use '{right}' instead of '{wrong}'")
    if source.startswith("=", offset):
        return place.problem("use '==' to compare")
    if source[offset : offset + 1] in ('"', "'"):
        return place.problem("this text has no closing quote, or a '\\' that is not doubled")
    return place.problem(f"{character(source[offset : offset + 1])} cannot be used here")


def character(text: str) -> str:
    return f"'{text}'" if text.isprintable() else f"the character U+{ord(text):04X}"


def unexpected(_: Match, place: Place) -> Problem:
    token, (before, _after) = place.here(), place.neighbours()
    if not token:
        return place.problem("the expression ends too early")
    if before and (before[0].lower() == "not" or before[0] + token == "<>"):  # CEL sees it one token too late
        return place.at(before.start()).problem(instead(before[0] if before["operand"] else "<>"))
    if token.lower() in OPERATORS:
        return place.problem(instead(token))
    if not before or not before["operand"] or not re.match(r"[\w\"']", token):
        return place.problem(f"'{token}' is not expected here")
    if before[0][0].isdigit() and before.end() == place.offset:  # 24h
        return place.problem('a time span is written as duration("24h")')
    return place.problem(f"an operator such as '&&' is missing before '{token}'")


def missing(match: Match, place: Place) -> Problem:
    if place.here():
        return place.problem(f"'{match[1]}' is missing before '{place.here()}'")
    return place.problem(f"the expression ends too early: '{match[1]}' is missing")


def no_fields(match: Match, place: Place) -> Problem:
    if ours(match[1]) == "list of package":
        return place.problem('packages is a list: write packages.exists(p, p.name == "openssl")')
    return place.problem(f"{ours(match[1])} has no fields")


def no_list(match: Match, place: Place) -> Problem:
    return place.problem(f"this needs a list, but it is {ours(match[1])}")


def reserved(match: Match, place: Place) -> Problem:
    return place.problem(f"'{match[1]}' is a reserved word{did_you_mean(match[1], NAMES)}")


def has_needs_a_package(_: Match, place: Place) -> Problem:
    return place.problem("has() asks a package for a field, such as has(p.severity)")


def too_large(_: Match, place: Place) -> Problem:
    return place.problem("this number is too large")


def no_name(match: Match, place: Place) -> Problem:
    return place.problem(f"'{match[1]}' is used like this: {FORMS[match[1]]}")


Explain = Callable[[Match, Place], Problem]
UNDECLARED = r"undeclared reference to '(.*)' \(in container ''\)"
RULES: tuple[tuple[str, Explain], ...] = (
    (UNDECLARED, undeclared),
    (r"found no matching overload for '(.*)' applied to '\((.*)\)'", no_overload),
    (r"Syntax error: token recognition error at: ", bad_token),
    (r"Syntax error: (?:mismatched|extraneous|no viable alternative at) input ", unexpected),
    (r"Syntax error: missing '(.*)' at ", missing),
    (r"expression of type '(.*)' cannot be the operand of a select operation", no_fields),
    (r"expression of type '(.*)' cannot be the range of a comprehension", no_list),
    (r"reserved identifier: (\w+)", reserved),
    (r"has\(\) argument must be a field selection", has_needs_a_package),
    (r"invalid (?:int|uint) literal", too_large),
    (r"(\w+)\(\) variable name must be a simple identifier", no_name),
)


def type_problem(name: str) -> Problem:
    """A filter whose result is not BOOL; `name` is CEL's for its type."""
    known_later = ": compare it, for instance with == true" if name == "DYN" else ""
    return Problem(f"must be true or false, but this is {name}{known_later}")


# --- what goes wrong while it runs ------------------------------------------------------------------

NO_KEY = re.compile(r'Key not found in map : "(.*)"', re.DOTALL)
NO_RUN_OVERLOAD = re.compile(r"No matching overloads found : (.+?)(?:\((.*)\))?$")
CONVERSION = re.compile(r"String to (Duration|Timestamp) conversion failed")
MAY_HAPPEN = r"Index error|by zero|OUT_OF_RANGE"
RUN_ERRORS = (
    (r"Iteration budget exceeded", TOO_EXPENSIVE),
    (r"(?:divide|modulus) by zero", "division by zero"),
    (r'No value with name "(.*)" found in Activation', r"\1 is not known in this event"),
    (r"String to Duration", 'duration() takes a text such as "48h" or "30m"'),
    (r"String to Timestamp", 'timestamp() takes a text such as "2026-01-31T00:00:00Z"'),
    (r"Index error: index=(\S+) size=(\d+)", r"a list of \2 has no [\1]; the first is [0]"),
)


def run_error(raw: str) -> str:
    """Why a filter could not answer for an event."""
    for pattern, words in RUN_ERRORS:
        if match := re.search(pattern, raw):
            return match.expand(words)
    if match := NO_KEY.search(raw):
        return no_key(match[1])
    if match := NO_RUN_OVERLOAD.search(raw):
        return no_run_overload(match[1], match[2])
    return plain(raw)


def no_run_overload(function: str, types: str | None) -> str:
    if types is None:
        return "what exists(), all(), && and || look at must be true or false"
    return cannot_use(operator_of(function), ours(types))


def no_key(key: str) -> str:
    if key in PACKAGE_FIELDS:
        return f"{key} is not known for every package; ask has(p.{key}) first"
    return f"a package has no '{key[:TEXT_LIMIT]}'{did_you_mean(key, PACKAGE_FIELDS)}"


def sample_problem(raw: str, source: str) -> Problem | None:
    """What goes wrong with an event in which everything is known: always the filter's fault, but for a few."""
    if re.search(MAY_HAPPEN, raw):
        return None
    place = Place(source, 0)
    if match := NO_KEY.search(raw) or CONVERSION.search(raw):
        place = place.start_of(match[1] if match.re is NO_KEY else match[1].lower())
    elif match := NO_RUN_OVERLOAD.search(raw):
        found = [token.start() for token in TOKEN.finditer(source) if token[0] == operator_of(match[1])]
        place = place.at(found[0] if len(found) == 1 else 0)
    return place.problem(run_error(raw))


# --- names ------------------------------------------------------------------------------------------


def plain(raw: str) -> str:
    """INVALID_ARGUMENT: Invalid timezone [INVALID_ARGUMENT]"""
    return re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", raw)[:TEXT_LIMIT]


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    by_small_letters = {known.lower(): known for known in names}
    close = get_close_matches(name.lower()[:100], by_small_letters, 1, cutoff)
    return f" - did you mean '{by_small_letters[close[0]]}'?" if close else ""


def instead(word: str) -> str:
    return f"use '{OPERATORS[word.lower()]}' instead of '{word}'"


def operator_of(function: str) -> str:
    """_>=_ is >=, @in is in, _?_:_ is ?:"""
    return function if re.fullmatch(r"\w*[a-zA-Z]\w*", function) else function.replace("_", "").removeprefix("@")


def ours(types: str) -> str:
    for theirs, name in TYPES:
        types = types.replace(theirs, name)
    return types
