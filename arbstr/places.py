"""Where a ledger is: a path of SQLite, or a database of PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

from arbstr.redaction import REDACTED, Secret

SCHEMES = ("postgresql", "postgres")
_FORM = "write postgresql://user:password@host:5432/name, with %40 for @, %2F for / and %23 for # in the password"
_SECRET_OPTIONS = ("password", "sslpassword", "oauth_client_secret")
_PREFIXES = tuple(f"{scheme}://" for scheme in SCHEMES)
_BEGINNINGS = tuple(f"{scheme}:" for scheme in SCHEMES)
_SETTINGS = re.compile(r"(^|\s)(dbname|password)\s*=")  # another form that PostgreSQL's own programs read
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/\s]*)(:[0-9]*)?")


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A database of PostgreSQL. Its URL is a secret; as text it is shown without user, password and options.

    `local` is where this machine's files are, beside which rows wait that can't be written.
    """

    url: Secret
    local: Path

    @classmethod
    def at(cls, url: str, local: Path) -> PostgresPlace:
        """Return the place of a URL. Raises ValueError, never repeating it, if it is none."""
        try:
            parts = urlsplit(url)
            # All after the first @ is hosts to PostgreSQL's library, which names them in its errors.
            user, at, rest = parts.netloc.partition("@")
            hosts = (rest if at else user).split(",")
            valid = url.startswith(_PREFIXES) and parts.path.strip("/") != "" and all(map(_HOST.fullmatch, hosts))
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"is not a URL of a database; {_FORM}")
        return cls(Secret(url), local)

    def __str__(self) -> str:
        parts = urlsplit(self.url.reveal())
        options = {name: unquote(value) for name, value in self._options()}
        host = options.get("host") or parts.netloc.rpartition("@")[2] or options.get("hostaddr", "")
        return f"postgresql://{host}/{options.get('dbname') or unquote(parts.path.strip('/'))}"

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must never be shown: the URL, and the password as it is written and as it is."""
        return (self.url, *map(Secret, self._passwords()))

    def _passwords(self) -> list[str]:
        parts = urlsplit(self.url.reveal())
        written = parts.netloc.rpartition("@")[0].partition(":")[2]
        found = {written, *(value for name, value in self._options() if name in _SECRET_OPTIONS)}
        return sorted(filter(None, {*found, *map(unquote, found)}), key=len, reverse=True)

    def _options(self) -> list[tuple[str, str]]:
        """Return what follows the question mark as PostgreSQL's library reads it, the values as they are written."""
        pairs = (option.partition("=") for option in urlsplit(self.url.reveal()).query.split("&"))
        return [(unquote(name), value) for name, _, value in pairs]

    def without_password(self, text: str) -> str:
        """Return a text without the password."""
        for password in self._passwords():
            text = text.replace(password, REDACTED)
        return text

    @property
    def spilled_at(self) -> Path:
        """The path beside which rows wait in files: those of one database alone."""
        number = sha256(str(self).encode()).hexdigest()[:8]
        return self.local.with_name(f"{self.local.name}-postgresql-{number}")


Place = str | Path | PostgresPlace


def is_postgres(text: str) -> bool:
    """Check whether a text is to name a ledger in PostgreSQL, well or ill: it may hold a password."""
    return text.startswith(_BEGINNINGS) or _SETTINGS.search(text) is not None


def local_path(place: Place) -> Path:
    """Return the path of a ledger on this machine, or where its files are here."""
    return place.local if isinstance(place, PostgresPlace) else Path(place)
