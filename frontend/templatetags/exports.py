"""The file formats that a page offers."""

from collections.abc import Sequence

from django import template

from scanner.exports.formats import EXPORTS
from scanner.exports.interface import Export

register = template.Library()


@register.simple_tag
def exports() -> Sequence[Export]:
    return EXPORTS
