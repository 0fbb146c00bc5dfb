"""Who a caller is and what it may do: named tokens with rights, from a file that may change.

Holds digests, never the tokens. Refuses to know how a token travels: the gRPC port and the HTTP
ports bring what they were given.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loadgen_service.core.settings.serve import ServeSettings
from loadgen_service.errors import SettingsError

TOKEN_VARIABLE: Final = "LOADGEN_TOKEN"
TOKEN_MIN_CHARACTERS: Final = 16
"""Shorter secrets can be guessed over a network within days."""

TOKEN_FILE_BYTES_MAX: Final = 1 << 20
TOKENS_MAX: Final = 1_000
"""Every call is compared with all of them."""

RIGHTS: Final = {
    "run": "start or stop runs",
    "read": "see runs and their results",
    "work": "be a worker",
}
ALL_RIGHTS: Final = frozenset(RIGHTS)

WANTED: Final = "this service wants a token: send it with --token-file or LOADGEN_TOKEN"
UNKNOWN: Final = "this service does not know the token that was sent; ask its operator for one"


@dataclass(frozen=True, slots=True)
class Token:
    """One accepted secret. ``until_s``: seconds since 1970 from which on it is refused."""

    name: str
    rights: frozenset[str]
    digest: bytes
    until_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a caller is refused. ``is_known``: its token is good, but not for this."""

    reason: str
    is_known: bool = False


def digest_of(secret: str | bytes) -> bytes:
    """What is kept and compared in a secret's place: of one length whatever the secret's."""
    return hashlib.sha256(
        secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    ).digest()


def bearer_secret(header: str | bytes) -> bytes:
    """The secret in ``Bearer SECRET``, else nothing."""
    given = header.encode("utf-8", "replace") if isinstance(header, str) else header
    return given[7:] if given[:7] == b"Bearer " else b""


class TokenBook:
    """The tokens that a service accepts now. Empty: it asks for none.

    A file is read again when it changes; while its new content is bad, the old one holds and
    stderr says so once. Needs no lock: only the service's loop asks.
    """

    def __init__(
        self,
        tokens: tuple[Token, ...] = (),
        path: Path | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._path = path
        self._clock_s = clock_s
        self._seen = _state_of(path)

    def __bool__(self) -> bool:
        return bool(self._tokens)

    @classmethod
    def of_secret(cls, secret: str) -> TokenBook:
        """One token with every right; none for an empty secret."""
        return cls((Token("all", ALL_RIGHTS, digest_of(secret)),)) if secret else cls()

    def denial(self, digest: bytes, right: str) -> Denial | None:
        """None if the secret of this digest may do what ``right`` names."""
        if not self._tokens:
            return None
        token = self._find(digest)
        if token is None:
            return Denial(WANTED if digest == NO_SECRET else UNKNOWN)
        if self._clock_s() >= token.until_s:
            ended = datetime.fromtimestamp(token.until_s, UTC).isoformat()
            return Denial(f"token {token.name}: ended at {ended}; ask the operator for the new one")
        if right not in token.rights:
            return Denial(
                f"token {token.name}: may not {RIGHTS[right]}; "
                f"its rights are {', '.join(sorted(token.rights))}",
                is_known=True,
            )
        return None

    def knows(self, digest: bytes) -> bool:
        """Whether a caller with this secret may do anything at all."""
        return any(self.denial(digest, right) is None for right in RIGHTS)

    def _find(self, digest: bytes) -> Token | None:
        self._read_again()
        found = None
        for token in self._tokens:  # all of them: the time taken tells nothing
            if hmac.compare_digest(digest, token.digest):
                found = token
        return found

    def _read_again(self) -> None:
        state = _state_of(self._path)
        if self._path is None or state == self._seen:
            return
        self._seen = state
        try:
            self._tokens = read_token_file(self._path)
        except SettingsError as error:
            print(f"loadgen serve: {error}; the tokens from before hold", file=sys.stderr)


NO_SECRET: Final = digest_of(b"")


def _state_of(path: Path | None) -> tuple[int, int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found else None


def open_tokens(settings: ServeSettings) -> TokenBook:
    """The tokens of ``token_file``, else the one of the environment, else none.

    Raises SettingsError for a file that cannot be read, and for weak or unclear tokens.
    """
    if settings.token_file:
        path = Path(settings.token_file)
        book = TokenBook(path=path)  # looks at the file's state before its content is read
        book._tokens = read_token_file(path)
        return book
    secret = os.environ.get(TOKEN_VARIABLE, "").strip()
    if secret:
        _require_strong(secret, f"token of ${TOKEN_VARIABLE}")
    return TokenBook.of_secret(secret)


def read_token_file(path: Path) -> tuple[Token, ...]:
    """The tokens of a file: one bare token, or ``NAME RIGHTS TOKEN [until=TIME]`` lines.

    Raises SettingsError naming the file and the line, never what stands there.
    """
    where = f"token_file {path}"
    try:
        with open(path, "rb") as file:
            content = file.read(TOKEN_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"{where}: {error.strerror}; write a token there") from None
    if len(content) > TOKEN_FILE_BYTES_MAX:
        raise SettingsError(f"{where}: larger than {TOKEN_FILE_BYTES_MAX} bytes; is it the file?")
    return parse_tokens(content.decode("utf-8", "replace"), where)


def parse_tokens(text: str, where: str) -> tuple[Token, ...]:
    """Raises SettingsError, which begins with ``where`` and names the line."""
    lines = [
        (number, line.split())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise SettingsError(f"{where}: empty; write a token there")
    if len(lines) == 1 and len(lines[0][1]) == 1:
        secret = lines[0][1][0]
        _require_strong(secret, f"token of {where}")
        return (Token("all", ALL_RIGHTS, digest_of(secret)),)
    if len(lines) > TOKENS_MAX:
        raise SettingsError(f"{where}: more than {TOKENS_MAX} tokens")
    tokens = tuple(_parse_line(words, f"{where} line {number}") for number, words in lines)
    if len({token.digest for token in tokens}) < len(tokens):
        raise SettingsError(f"{where}: one token stands there twice; give each line its own")
    return tokens


def _parse_line(words: list[str], where: str) -> Token:
    if len(words) not in (3, 4):
        raise SettingsError(f"{where}: give NAME RIGHTS TOKEN, and perhaps until=TIME")
    name, rights_text, secret = words[:3]
    rights = ALL_RIGHTS if rights_text == "all" else frozenset(rights_text.split(","))
    if not rights <= ALL_RIGHTS:
        raise SettingsError(f"{where}: rights are {', '.join(RIGHTS)}, with commas, or all")
    _require_strong(secret, f"token of {where}")
    return Token(
        name, rights, digest_of(secret), _until(words[3], where) if words[3:] else math.inf
    )


def _until(word: str, where: str) -> float:
    key, _, text = word.partition("=")
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        end = None
    if key != "until" or end is None:
        raise SettingsError(f"{where}: give until=TIME like until=2030-12-31T18:00+00:00")
    return (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp()


def _require_strong(secret: str, where: str) -> None:
    if len(secret) < TOKEN_MIN_CHARACTERS or not secret.isascii():
        raise SettingsError(
            f"{where}: give at least {TOKEN_MIN_CHARACTERS} ASCII characters, "
            "for example from `openssl rand -hex 24`"
        )
