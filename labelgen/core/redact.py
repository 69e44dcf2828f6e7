"""Takes credentials out of texts that are shown or stored: messages, tracebacks, settings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

#: What stands in their place.
HIDDEN = "***"
#: Characters from which on a secret of the environment is looked for: shorter ones are words, too.
_SHORTEST = 8
#: Environment variables that hold a secret, and those among them that only say where one is, or of what kind.
_SECRET_NAME = re.compile(r"SECRET|TOKEN(?!IZ)|PASSW|API_?KEY|ACCESS_KEY|PRIVATE_KEY|ACCOUNT_KEY", re.I)
_NO_SECRET = re.compile(r"(FILE|PATH|DIR|MODE|URL|URI|HOST|EXPIRATION)$", re.I)

# Of names, "token" alone is none: nuScenes calls its ids so. Lengths are bounded to keep the search linear.
_NAME = (
    r"[\w.-]{0,40}(?:secret|passw(?:or)?d|passphrase|(?:api|access|private|account)[_-]?key(?:[_-]?id)?"
    r"|(?:auth|access|session|security|refresh|bearer|hf|ray)[_-]?token)[\w.-]{0,40}"
)
_PATTERNS = [
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", HIDDEN),
    # scheme://user:secret@host, also as a path writes it, with one slash; the secret may hold slashes, and
    # what looks like a port is none, except in buckets, which have no ports.
    (r"(\b(?:s3a?|gs|az):/{1,2})[^\s/@:'\"]{0,200}:[^\s@'\"]{0,1000}@", rf"\1{HIDDEN}@"),
    (r"(:/{1,2})[^\s/@:'\"]{0,200}:(?!\d{2,5}/)[^\s@'\"]{0,1000}@", rf"\1{HIDDEN}@"),
    (r"(:/{1,2})[^\s/@:'\"]{1,1000}@", rf"\1{HIDDEN}@"),
    # …?X-Amz-Signature=…&token=…
    (
        r"([?&;](?:[\w.-]{0,40}(?:signature|credential|token|secret|password|key)|sig|pwd)=)[^&\s'\"<>)]+",
        rf"\1{HIDDEN}",
    ),
    (r"(\b(?:signature|credential)=)[^\s,;&'\"<>)]+", rf"\1{HIDDEN}"),
    (r"(\bauthorization\b['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic|token)\s+)?)[^\s,'\"]+", rf"\1{HIDDEN}"),
    (r"(\bbearer\s+)(?=\S*\d)[\w.~+/=-]{12,}", rf"\1{HIDDEN}"),
    # NAME=value, name: value, "name": "value", <Name>value<
    (rf"(\b{_NAME}['\"]?\s*[:=]\s*)'[^']*'", rf"\1'{HIDDEN}'"),
    (rf"(\b{_NAME}['\"]?\s*[:=]\s*)\"[^\"]*\"", rf'\1"{HIDDEN}"'),
    (rf"(\b{_NAME}\s*[:=]\s*)[^\s,;&'\"<>)}}\]]+", rf"\1{HIDDEN}"),
    (rf"(<{_NAME}>)[^<]*", rf"\1{HIDDEN}"),
    # By their shape: keys of AWS, tokens of Hugging Face, GitHub and Google, JSON web tokens.
    (r"\b(?:(?-i:AKIA|ASIA)[A-Z0-9]{16}|hf_\w{16,}|gh[pousr]_\w{20,}|ya29\.[\w-]{10,})\b", HIDDEN),
    (r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+", HIDDEN),
]
_COMPILED = [(re.compile(pattern, re.I | re.S), hidden) for pattern, hidden in _PATTERNS]


def redact(text: str) -> str:
    """A text without credentials; `HIDDEN` stands in their place.

    Found are the values of environment variables that are called secret, token, password or key; users and
    passwords in addresses; signatures and tokens in their queries; values that are assigned to such names;
    and what has the shape of a well-known key.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _SECRET_NAME.search(name) and not _NO_SECRET.search(name):
            for written in (value, quote(value, safe="")):
                text = text.replace(written, HIDDEN)
    for pattern, hidden in _COMPILED:
        text = pattern.sub(hidden, text)
    return text


def redact_all(data: Any) -> Any:
    """JSON-like data with all of its texts redacted; keys stay."""
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, Mapping):
        return {key: redact_all(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [redact_all(value) for value in data]
    return data
