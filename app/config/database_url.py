"""Reads PostgreSQL URLs as consoles print them."""

import ipaddress
import re
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
SSL_BY_DRIVER = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
"""`ssl=`, as other drivers spell `sslmode=`."""

FOREIGN_PARAMETERS = re.compile(
    # libpq's: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    r"channel_binding|client_encoding|connect_timeout|fallback_application_name|gssdelegation"
    r"|gssencmode|hostaddr|keepalives.*|load_balance_hosts|(min|max)_protocol_version|oauth_.*"
    r"|replication|require_auth|requirepeer|requiressl|scram_(client|server)_key|servicefile"
    r"|ssl(certmode|compression|crldir|keylogfile|sni)|tcp_user_timeout"
    # other drivers' and their pools', as consoles print them for Prisma, JDBC and SQLAlchemy
    r"|async_fallback|connection_limit|pgbouncer|pool_timeout|(prepared_)?statement_cache_size"
    r"|schema|socket_timeout|sslaccept|supa"
)
"""What asyncpg does not know it sends to the server as a setting, and the server then refuses."""

_UNPREPARED = {
    "statement_cache_size": "0",
    "prepared_statement_cache_size": "0",
    "pgbouncer": "true",
}
"""How drivers are told that a pooler stands before the server that knows no prepared statements."""

NO_STATEMENT_CACHE = {"statement_cache_size": "0"}
"""The one of them that `app/store/connections/connecting.py` reads."""

_DATABASE_SCHEME = re.compile(r"postgres(ql)?(\+\w+)?")
_DATABASE_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]*)(:\d*)?")


def normalise_database_url(url: str) -> str:
    """Write the URL as `asyncpg.connect(dsn)` takes it: `postgresql://`, and only what it knows.

    Accepts what consoles print for libpq, SQLAlchemy and other drivers (see `FOREIGN_PARAMETERS`).
    Raises ValueError, without any part of the URL in its text.
    """
    parts = split(url.strip())
    if not _DATABASE_SCHEME.fullmatch(parts.scheme):
        message = "is not a PostgreSQL URL; write postgresql://user:password@host:5432/database"
        raise ValueError(message)
    # The last @ ends the user's part, as everywhere but in asyncpg, which stops at the first.
    user, at, hosts = parts.netloc.rpartition("@")
    cut_short = parts.fragment or "@" in parts.path or re.match(r"[^=&]*@", parts.query)
    if cut_short or not all(_DATABASE_HOST.fullmatch(host) for host in hosts.split(",")):
        message = (
            "has no readable host and port; percent-encode / ? # : in the user name and password"
        )
        raise ValueError(message)
    account = ":".join(quote(unquote(part), safe="") for part in user.split(":", 1))
    query = urlencode(_parameters(parts.query), quote_via=quote, safe="/,")
    return f"postgresql://{account}{at}{hosts}{parts.path}{'?' if query else ''}{query}"


def without_statement_cache(url: str) -> str:
    """Tell a normalised URL's reader to prepare no statements."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(NO_STATEMENT_CACHE)}"


def crosses_the_network_unverified(url: str) -> bool:
    """Tell whether a normalised URL leads off this machine to a server that need not prove itself.

    Below `verify-full` a server's name is not compared with its certificate (PostgreSQL's manual,
    34.19.1); `prefer`, the default, even goes on in the clear.
    """
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    if given.get("sslmode") == "verify-full":
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",") + given.get("host", "").split(",")
    return any(map(_is_far, hosts))


def _is_far(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if not name or name == "localhost" or host.lower().startswith(("/", "%2f")):
        return False  # a socket, or this machine
    try:
        return not ipaddress.ip_address(name).is_loopback
    except ValueError:
        return True


def split(url: str) -> SplitResult:
    """Split as `urlsplit` does, whose own errors quote the URL, password and all."""
    try:
        return urlsplit(url)
    except ValueError:
        message = "is not a URL; percent-encode special characters in the user name and password"
        raise ValueError(message) from None


def _parameters(query: str) -> dict[str, str]:
    """Keep the parameters that asyncpg knows, and the settings of the server's."""
    given = dict(parse_qsl(query))
    ssl = given.pop("ssl", None)
    if ssl is not None:
        given.setdefault("sslmode", SSL_BY_DRIVER.get(ssl.lower(), ssl))
    if given.get("sslmode", "prefer") not in SSL_MODES:
        message = f"has an unknown sslmode; write one of {', '.join(sorted(SSL_MODES))}"
        raise ValueError(message)
    if given.get("sslrootcert") == "system":
        message = "has sslrootcert=system, which only libpq knows; name the file of certificates"
        raise ValueError(message)
    if not re.fullmatch(r"[\d,]*", given.get("port", "")):
        message = "has a port that is not a number; write for example ?port=5432"
        raise ValueError(message)
    known = {name: value for name, value in given.items() if not FOREIGN_PARAMETERS.fullmatch(name)}
    unprepared = any(given.get(name) == value for name, value in _UNPREPARED.items())
    return known | (NO_STATEMENT_CACHE if unprepared else {})
