"""JSON: the very document of the API, one row of its lists a line."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scanner.exports.interface import Content, Export, Row, in_pieces


class Json(Export):
    name = "json"
    label = "JSON"
    holds = "The whole scan, as the API gives it"
    content_type = "application/json"
    extension = "json"
    takes_diffs = True
    takes_lists = True

    def scan(self, content: Content, part: str = "") -> Iterator[bytes]:
        packages = ({name: getattr(row, name) for name in content.package_fields} for row in content.packages())
        return in_pieces(document(content.scan, updates=content.updates(), packages=packages))

    def diff(self, found: Row) -> Iterator[bytes]:
        lists = {name: found[name] for name in ("updates", "packages")}
        return in_pieces(document({name: found[name] for name in found if name not in lists}, **lists))

    def listed(self, head: Row, name: str, columns: Sequence[str], rows: Iterable[Row]) -> Iterator[bytes]:
        return in_pieces(document(head, **{name: rows}))


encode = json.JSONEncoder(ensure_ascii=False).encode


def document(head: Row, **lists: Iterable[Any]) -> Iterator[str]:
    """An object with these lists at its end, whose rows are encoded one at a time."""
    yield encode(dict(head))[:-1]
    for name, rows in lists.items():
        yield f",\n{encode(name)}: ["
        for number, row in enumerate(rows):
            yield f"{',' if number else ''}\n{encode(row)}"
        yield "]"
    yield "}\n"
