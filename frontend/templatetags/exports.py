"""The file formats that a page offers."""

from collections.abc import Sequence
from typing import Any

from django import template
from django.urls import reverse

from scanner.exports.formats import EXPORTS
from scanner.exports.interface import Export

register = template.Library()


@register.inclusion_tag("frontend/parts/list_export.html")
def list_export(what: str, door: str, *args: Any, query: str = "") -> dict[str, Any]:
    """Links to a list as a file; `query`: what narrows it, as an address has it."""
    doors = [(each.label, reverse(door, args=[*args, each.name])) for each in EXPORTS if each.takes_lists]
    return {"what": what, "doors": doors, "query": query}


@register.simple_tag
def exports() -> Sequence[Export]:
    return EXPORTS
