"""Our own lookups find the same in every database."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.utils import ConnectionHandler
from django.utils import timezone

from scanner.models import Host, PackageSet, PackageVersion, Tag

pytestmark = pytest.mark.django_db

NAMES = ("prod", "", "NULL", "{}", "a,b", 'say "hi"', "it's", "back\\slash", "%s", "größer", "[1]", "x" * 50)


@pytest.fixture(params=["the tests' own", "SQLite"])
def database(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param != "SQLite":
        yield connection
        return
    other = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})["default"]
    with other.schema_editor() as editor:
        editor.create_model(Tag)
        editor.create_model(PackageSet)
    yield other
    other.close()


def pks(rows: QuerySet[Any], database: Any) -> set[int]:
    statement, parameters = rows.order_by().values("pk").query.get_compiler(connection=database).as_sql()
    with database.cursor() as cursor:
        cursor.execute(statement, parameters)
        return {pk for (pk,) in cursor.fetchall()}


def test_whatever_the_values_are(database: Any) -> None:
    with database.cursor() as cursor:
        for pk, name in enumerate(NAMES, 1):
            cursor.execute("INSERT INTO scanner_tag (id, name) VALUES (%s, %s)", [pk, name])
    for pk, name in enumerate(NAMES, 1):
        assert pks(Tag.objects.filter(name__one_of=[name]), database) == {pk}
        assert pks(Tag.objects.exclude(name__one_of={name}), database) == set(range(1, len(NAMES) + 1)) - {pk}
    assert pks(Tag.objects.filter(name__one_of=["x" * 51, "prod", "prod"]), database) == {1}
    assert pks(Tag.objects.filter(pk__one_of=[2**62, 2, -1, 3]), database) == {2, 3}
    assert pks(Tag.objects.filter(pk__one_of=dict.fromkeys(range(4, 40_000))), database) == set(
        range(4, len(NAMES) + 1)
    )


def test_none_of_no_values() -> None:
    tag = Tag.objects.create(name="prod")
    assert not Tag.objects.filter(pk__one_of=[])
    assert Tag.objects.filter(Q(pk__one_of=()) | Q(name="prod")).get() == tag
    assert Tag.objects.exclude(pk__one_of=[]).get() == tag


def test_keys_of_other_tables() -> None:
    hosts = [Host.objects.create(name=name) for name in ("a", "b", "c")]
    tags = [Tag.objects.create(name=name) for name in ("x", "y")]
    hosts[0].tags.set(tags)
    hosts[1].tags.set(tags[1:])
    assert set(Host.objects.filter(tags__one_of=[tags[0].pk])) == {hosts[0]}
    assert set(Host.objects.filter(tags__name__one_of=["y", "z"])) == {hosts[0], hosts[1]}
    assert not PackageVersion.objects.filter(findings__package_version__one_of=[1])


def test_json_lists(database: Any) -> None:
    lists = ['["CVE-2026-1", "CVE-2026-12"]', "[]", '["CVE-2026-12"]', '["say \\"hi\\"", "it\'s %s"]']
    insert = (
        "INSERT INTO scanner_packageset (id, hash, distribution, kernel, tally, created_at)"
        " VALUES (%s, %s, '', '', %s, %s)"
    )
    with database.cursor() as cursor:
        for pk, each in enumerate(lists, 1):
            cursor.execute(insert, [pk, str(pk), each, timezone.now()])
    wanted = {"CVE-2026-1": {1}, "CVE-2026-12": {1, 3}, "CVE-2026": set(), 'say "hi"': {4}, "it's %s": {4}}
    for item, found in wanted.items():
        assert pks(PackageSet.objects.filter(tally__lists=item), database) == found, item
