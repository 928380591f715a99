"""Secrets at rest: encrypted with a key made of SECRET_KEY (Fernet: AES-128-CBC with HMAC-SHA256)."""

import base64
import hashlib
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

PURPOSE = b"package-scanner webhook secrets\0"


class CannotUnseal(Exception):
    """What was sealed cannot be read: SECRET_KEY is another one than when it was stored."""

    def __init__(self) -> None:
        super().__init__(
            "Its address and secret cannot be read, since SECRET_KEY has changed. "
            "Put the old key into SECRET_KEY_FALLBACKS, or enter them again."
        )


def seal(text: str) -> str:
    """Encrypted text; an empty text stays empty."""
    return keys(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS).encrypt(text.encode()).decode() if text else ""


def unseal(sealed: str) -> str:
    """The text that was sealed. Raises CannotUnseal."""
    if not sealed:
        return ""
    try:
        return keys(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise CannotUnseal from error


@lru_cache(maxsize=4)
def keys(*secret_keys: str) -> MultiFernet:
    """The first key encrypts, all of them decrypt."""
    digests = (hashlib.sha256(PURPOSE + key.encode()).digest() for key in secret_keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
