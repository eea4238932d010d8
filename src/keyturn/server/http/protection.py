"""Headers of every answer that keep browsers from making more of it than it is."""

RawHeaders = list[tuple[bytes, bytes]]

#: For who answers with a page of its own: set in the request's scope, the page brings its policy.
OWN_POLICY = "keyturn.own_policy"
#: How long a browser calls by https alone, in seconds: a year. Only this host, not those below it:
#: they may be somebody else's.
_HTTPS_FOR = 31_536_000

_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def protection(*, https: bool) -> tuple[RawHeaders, RawHeaders]:
    """What answers of the API carry, and what pages do, which have a policy of their own."""
    pages = [
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]
    if https:
        pages.append((b"strict-transport-security", b"max-age=%d" % _HTTPS_FOR))
    return [*pages, _POLICY], pages
