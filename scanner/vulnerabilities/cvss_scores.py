"""What a CVSS vector says: its version, its base score, and the word for that. https://www.first.org/cvss/"""

from functools import lru_cache
from typing import Any, NamedTuple

from cvss import CVSS2, CVSS3, CVSS4
from cvss.exceptions import CVSSError

READERS: dict[str, tuple[str, type[Any]]] = {
    "CVSS:4": ("CVSSv4", CVSS4),
    "CVSS:3.1": ("CVSSv31", CVSS3),
    "CVSS:3.0": ("CVSSv3", CVSS3),
}
"""By how a vector begins: the version in CycloneDX's words, and what reads it. AV:N/AC:L/… is of version 2."""


class Score(NamedTuple):
    method: str
    number: float  # 0 to 10
    word: str  # none, low, medium, high or critical


@lru_cache(maxsize=4096)
def score(vector: str) -> Score | None:
    """None for none, and for nonsense."""
    method, reader = next((known for start, known in READERS.items() if vector.startswith(start)), ("CVSSv2", CVSS2))
    try:
        found = reader(vector) if vector else None
        return Score(method, float(found.scores()[0]), found.severities()[0].lower()) if found else None
    except CVSSError:
        return None
