"""`keyturn version`. Only the standard library: see the package's docstring."""

from .. import __version__


def text(*, as_json: bool = False) -> str:
    """What the command prints."""
    if as_json:
        import json  # a fifth of the time, and seldom asked for
        import platform

        return json.dumps({"version": __version__, "python": platform.python_version()})
    return f"keyturn {__version__}"
