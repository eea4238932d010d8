"""The settings, the files they name, and what stands in front of the service."""

import asyncio
import itertools
import stat
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from .. import storage
from ..settings import Settings, secret_files, unknown_variables
from ..settings.checks import is_loopback
from .findings import Finding, counted, ok, problem, warning

#: A certificate that ends sooner than this is warned of, in days.
CERTIFICATE_DAYS = 21


def variables(settings: Settings, others: Collection[str]) -> Sequence[Finding]:
    """They were read, or there would be no examination; what is left are names mistyped."""
    unknown = unknown_variables(others)
    if not unknown:
        return [ok("settings", f"{len(type(settings).model_fields)} settings, none contradicts")]
    told = ", ".join(n + (f" (meant {near}?)" if near else "") for n, near in unknown.items())
    return [warning("settings", f"not a setting: {told}", "correct the name, or remove it")]


async def files(settings: Settings) -> Sequence[Finding]:
    """Whether others on this machine can read what holds secrets."""
    return await asyncio.to_thread(_files, settings)


def _files(settings: Settings) -> Sequence[Finding]:
    named = [*secret_files(), settings.tls_key_file]
    named.append(storage.database_file(settings.database_url.get_secret_value()))
    paths = [path for path in dict.fromkeys(named) if path is not None and path.exists()]
    found = []
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            seen = f"{path} can be read by everybody on this machine (mode {mode:04o})"
            found.append(problem("files", seen, f"chmod 600 {path}, and replace what was in it"))
        elif mode & stat.S_IWGRP:
            seen = f"{path} can be written by its group (mode {mode:04o})"
            found.append(warning("files", seen, f"chmod 640 {path}"))
    whole = f"{counted(len(paths), 'file')} with secrets, for the owner alone"
    return found or [ok("files", whole)]


async def proxies(settings: Settings) -> Sequence[Finding]:
    """Whether addresses of clients are those of clients."""
    everybody = [str(net) for net in settings.trusted_proxies if net.prefixlen == 0]
    if everybody:
        return [
            problem(
                "proxies",
                f"KEYTURN_TRUSTED_PROXIES has {everybody[0]}: anybody may choose an address",
                "name the networks of your proxies",
            )
        ]
    public = urlsplit(settings.public_url)
    # Who serves TLS for it, or listens where nobody else reaches it, is a proxy.
    fronted = (public.scheme == "https" and settings.tls_cert_file is None) or (
        is_loopback(settings.host) and not is_loopback(public.hostname or "")
    )
    if fronted and not settings.trusted_proxies:
        return [
            warning(
                "proxies",
                "a proxy stands in front, and none is trusted: keys that are narrowed to networks,"
                " and the audit trail, see its address",
                "set KEYTURN_TRUSTED_PROXIES to the proxy's network",
            )
        ]
    count = len(settings.trusted_proxies)
    return [ok("proxies", f"{count} trusted" if count else "none in front")]


async def certificate(settings: Settings) -> Sequence[Finding]:
    """The certificate that this service serves TLS by, if it does."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        public = urlsplit(settings.public_url)
        if public.scheme == "http" and not is_loopback(public.hostname or ""):
            seen = "plain http beyond loopback: keys and tokens can be read on the way"
            return [warning("tls", seen, "serve TLS, or put a proxy in front that does")]
        return []
    host = urlsplit(settings.public_url).hostname or ""
    return await asyncio.to_thread(_certificate, settings.tls_cert_file, host)


def _certificate(path: Path, host: str) -> Sequence[Finding]:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return [problem("tls", f"{path} holds no certificate", "write the chain there, in PEM")]
    leaf, found = chain[0], []
    for one, issuer in itertools.pairwise(chain):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            seen = "the certificates in the chain do not follow from each other"
            found.append(problem("tls", seen, "leaf first, then who issued it, and so on"))
            break
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        good = _names(host, names.get_values_for_type(x509.DNSName)) or host in map(
            str, names.get_values_for_type(x509.IPAddress)
        )
    except x509.ExtensionNotFound:
        good = False
    if not good:
        seen = f"the certificate is not for {host}, the public URL's host"
        found.append(problem("tls", seen, "get one that names it as a subject alternative name"))
    return [*found, days_left("tls", leaf.not_valid_after_utc)]


def _names(host: str, names: Sequence[str]) -> bool:
    """RFC 9525, 6.3: a wildcard stands for the whole first label."""
    try:
        ip_address(host)
    except ValueError:
        wild = "*." + host.partition(".")[2]
        return any(name.lower() in {host.lower(), wild.lower()} for name in names)
    return False


def days_left(check: str, end: datetime) -> Finding:
    """How long a certificate is good for."""
    days = (end - datetime.now(UTC)).days
    if days < 0:
        return problem(check, f"the certificate ended on {end:%Y-%m-%d}", "renew it")
    seen = f"the certificate is good for {counted(days, 'day')}"
    if days < CERTIFICATE_DAYS:
        return warning(check, seen, "renew it, and see why nothing did so by itself")
    return ok(check, seen)
