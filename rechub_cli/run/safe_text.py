"""What may be kept and shown: text without secrets, and without what would steer a terminal.

Everything that goes into events and ``run.json`` passes ``redacted_data``; everything that a person reads passes
``printable``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

HIDDEN = "***"
_WORD = (
    r"(?:passwords?|passwd|pwd|passphrase|secrets?|token|credentials?|signature|sig|apikey|authkey"
    r"|(?:api|access|secret|private|account|auth|shared|encryption|signing|session)[_\-]?key(?:[_\-]?id)?"
    r"|accesskeyid|connection[_\-]?string)"
)
_SECRET = rf"(?:(?:[\w.\-]*[._\-])?{_WORD}|(?:[\w.\-]*\.)?key)"
_KEY = rf"(?:(?:[\w\-]*[_\-])?{_WORD}|key)"  # of YAML or JSON: not at the end of a path, which a colon may follow
_NAME = re.compile(_SECRET, re.IGNORECASE)
_COLUMNS = frozenset({"features", "labels", "columns", "where"})  # mappings whose keys are columns, not settings
_FOLDERS = ("PWD", "OLDPWD")  # of the shell: no passwords
_SHORTEST = 8  # of a value in the environment that is looked for: shorter ones are words
_VALUE = r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s&;,\"'}\])]+)"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (  # for any text, a spec or a filter too
    (re.compile(r"(?<=://)[^\s/?#'\"]+@"), f"{HIDDEN}@"),  # user:password@host
    (re.compile(rf"(?i)([?&]{_SECRET}=){_VALUE}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(\bbearer[ \t]+|\bauthorization[=:][ \t]*\w+[ \t]+)[\w.~+/\-]{8,}=*"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), HIDDEN),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|hf_|glpat-|xox[abprs]-|sk-)[\w\-]{16,}"), HIDDEN),
    (re.compile(r"\beyJ[\w\-]{10,}\.[\w\-]{10,}\.[\w\-]*"), HIDDEN),  # a JSON web token
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*-----|\Z)"), HIDDEN),
)
_IN_MESSAGES: tuple[tuple[re.Pattern[str], str], ...] = (  # a key and its value, of whatever was said
    (re.compile(rf"(?i)(?<![\w.\-])({_SECRET}=){_VALUE}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?im)((?:^|[\s{{,|])[\"']?{_KEY}[\"']?:[ \t]+)[^\s,{{}}\[\]][^\n,}}]*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)(--{_SECRET}[ \t]+){_VALUE}"), rf"\1{HIDDEN}"),
)
# C0 and C1 controls but line feed and tab, and what turns or hides the text around it
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret: ``model.params.api_key``, ``DB_PASSWORD``, ``X-Amz-Signature``."""
    return _NAME.fullmatch(name) is not None


def redacted(text: str) -> str:
    """A message with ``***`` for what looks like a secret.

    These are credentials in addresses, tokens of known shape, the values of environment variables with telling names,
    and what is said to be the value of a key with a telling name.
    """
    return _apply(_IN_MESSAGES, without_credentials(text))


def without_credentials(text: str) -> str:
    """As ``redacted``, but keys and values stay: for text that has a meaning, such as a filter on a column ``key``."""
    return _cleaner()(text)


def _cleaner() -> Callable[[str], str]:
    """``without_credentials`` for many texts: the environment is read once."""
    secrets = _secrets_of_environment()

    def clean(text: str) -> str:
        for value in secrets:
            text = text.replace(value, HIDDEN)
        return _apply(_RULES, text)

    return clean


def redacted_data(
    value: Any, name: str = "", *, text: Callable[[str], str] | None = None, columns: bool = False
) -> Any:
    """The same data with every text redacted; a text under a telling key, or behind such a flag, is hidden whole.

    ``text`` redacts the others, ``without_credentials`` by default. Numbers stay, and so do texts under the names of
    columns, which may be called anything.
    """
    text = text or _cleaner()
    if isinstance(value, str):
        return HIDDEN if value and not columns and is_secret(name) else text(value)
    if isinstance(value, Mapping):
        return {
            key: redacted_data(item, str(key), text=text, columns=columns or key in _COLUMNS)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        made = [redacted_data(item, name, text=text, columns=columns) for item in value]
        for place, item in enumerate(value):
            if not isinstance(item, str):
                continue
            key, equals, _ = item.partition("=")
            if equals and is_secret(key.lstrip("-")):
                made[place] = f"{key}={HIDDEN}"
            elif item.startswith("--") and is_secret(item[2:]) and place + 1 < len(made):
                made[place + 1] = HIDDEN
        return made
    return value


def redacted_copy(content: str, data: Any) -> str:
    """A document without the secrets of the ``data`` that it holds."""
    for value in sorted(_hidden(data), key=len, reverse=True):
        content = content.replace(value, HIDDEN)
    return without_credentials(content)


def _hidden(value: Any, name: str = "") -> Iterator[str]:
    """The texts that ``redacted_data`` hides whole."""
    if isinstance(value, str):
        if value and is_secret(name):
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _COLUMNS:
                yield from _hidden(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _hidden(item, name)


def _apply(rules: Iterable[tuple[re.Pattern[str], str]], text: str) -> str:
    for rule, instead in rules:
        text = rule.sub(instead, text)
    return text


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
    names = [name for name in os.environ if is_secret(name) or name.upper().endswith("_KEY")]
    found = {os.environ[name] for name in names if name not in _FOLDERS}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
