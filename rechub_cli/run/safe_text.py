"""What may be kept and shown: text without secrets, and without what would steer a terminal.

Everything that goes into events and ``run.json`` passes ``redacted_data``; everything that a person reads passes
``printable``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_WORD = (
    r"(?:passwords?|passwd|pwd|passphrase|secrets?|token|credentials?|signature|sig|apikey|authkey"
    r"|(?:api|access|secret|private|account|auth|shared|encryption|signing|session)[_\-]?key(?:[_\-]?id)?|key"
    r"|accesskeyid|connection[_\-]?string)"
)
_SECRET = rf"(?:[\w.\-]*[._\-])?{_WORD}"
_KEY = rf"(?:[\w\-]*[_\-])?{_WORD}"  # of YAML or JSON: not at the end of a path, which a colon may follow
_NAME = re.compile(_SECRET, re.IGNORECASE)
_COLUMNS = frozenset({"features", "labels", "columns", "where"})  # mappings whose keys are columns, not settings
_FOLDERS = ("PWD", "OLDPWD")  # of the shell: no passwords
_SHORTEST = 8  # of a value in the environment that is looked for: shorter ones are words
_VALUE = r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s&;,\"'}\])]+)"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=://)[^\s/?#'\"]+@"), f"{HIDDEN}@"),  # user:password@host
    (re.compile(rf"(?i)(?<![\w.\-])({_SECRET}=){_VALUE}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?im)((?:^|[\s{{,|])[\"']?{_KEY}[\"']?:[ \t]+)[^\s,{{}}\[\]][^\n,}}]*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)(--{_SECRET}[ \t]+){_VALUE}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(\bbearer[ \t]+|\bauthorization[=:][ \t]*\w+[ \t]+)[\w.~+/\-]{8,}=*"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), HIDDEN),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|hf_|glpat-|xox[abprs]-|sk-)[\w\-]{16,}"), HIDDEN),
    (re.compile(r"\beyJ[\w\-]{10,}\.[\w\-]{10,}\.[\w\-]*"), HIDDEN),  # a JSON web token
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*-----|\Z)"), HIDDEN),
)
# C0 and C1 controls but line feed and tab, and what turns or hides the text around it
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret: ``model.params.api_key``, ``DB_PASSWORD``, ``X-Amz-Signature``."""
    return _NAME.fullmatch(name) is not None


def redacted(text: str) -> str:
    """The text with ``***`` for what looks like a secret.

    These are credentials in addresses, the values of keys with telling names, tokens of known shape, and the values of
    environment variables with telling names, wherever they stand.
    """
    for value in _secrets_of_environment():
        text = text.replace(value, HIDDEN)
    for rule, instead in _RULES:
        text = rule.sub(instead, text)
    return text


def redacted_data(value: Any, name: str = "", *, columns: bool = False) -> Any:
    """The same data with every text redacted; a text under a telling key, or behind such a flag, is hidden whole.

    Numbers stay, and so do texts under the names of columns, which may be called anything.
    """
    if isinstance(value, str):
        return HIDDEN if value and not columns and is_secret(name) else redacted(value)
    if isinstance(value, Mapping):
        return {key: redacted_data(item, str(key), columns=columns or key in _COLUMNS) for key, item in value.items()}
    if isinstance(value, list | tuple):
        made = [redacted_data(item, name, columns=columns) for item in value]
        for place, item in enumerate(value[:-1]):
            if isinstance(item, str) and item.startswith("--") and is_secret(item[2:]):
                made[place + 1] = HIDDEN
        for place, item in enumerate(value):
            if isinstance(item, str) and "=" in item and is_secret(item.lstrip("-").partition("=")[0]):
                made[place] = item.partition("=")[0] + f"={HIDDEN}"
        return made
    return value


def printable(text: str) -> str:
    """The text with ``\\x1b`` and the like for every character that a terminal would obey rather than show."""
    return _CONTROL.sub(_escaped, text)


def one_line(text: str) -> str:
    """As ``printable``, in one line."""
    return printable(text).replace("\n", "\\n")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _secrets_of_environment() -> list[str]:
    named = {name: value for name, value in os.environ.items() if name not in _FOLDERS and is_secret(name)}
    found = {value for value in named.values() if len(value) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)
