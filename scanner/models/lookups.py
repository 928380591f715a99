"""What queries may ask of a column besides what Django offers."""

import json
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Field, ForeignKey, JSONField, Lookup


@Field.register_lookup
@ForeignKey.register_lookup
class OneOf(Lookup):
    """`pk__one_of=[…]`: as `in`, but all values are one parameter. `in` spends 5 ms on 500, and SQLite takes 32,766."""

    lookup_name = "one_of"

    def get_prep_lookup(self) -> list[int] | list[str]:
        return list(self.rhs)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        if not self.rhs:
            raise EmptyResultSet
        column, parameters = self.process_lhs(compiler, connection)
        if connection.vendor == "postgresql":
            kind = "text" if isinstance(self.rhs[0], str) else "bigint"
            return f"{column} = ANY(%s::{kind}[])", (*parameters, self.rhs)
        return f"{column} IN (SELECT value FROM json_each(%s))", (*parameters, json.dumps(self.rhs))  # noqa: S608


@JSONField.register_lookup
class Lists(Lookup):
    """`cves__lists="CVE-2026-1"`: whether a JSON list has this text. Migrations 7 and 12 make indexes for it."""

    lookup_name = "lists"

    def get_prep_lookup(self) -> str:
        return str(self.rhs)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, parameters = self.process_lhs(compiler, connection)
        if connection.vendor == "postgresql":
            return f"{column} @> %s::jsonb", (*parameters, json.dumps([self.rhs]))
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value = %s)", (*parameters, self.rhs)  # noqa: S608
