"""What is served of the reference: `docs` below the base path, its assets, and openapi.yaml.

The viewer is Swagger UI, as it was published. `reference.js` and `reference.css` put right what it
lacks for people who read by ear, and colours that are too pale.
"""

from collections.abc import Sequence
from importlib.resources import files
from string import Template

from starlette.requests import Request
from starlette.responses import Response

from ..http.assets import Asset, Assets, asset
from ..http.protection import OWN_POLICY
from ..http.routes import Page

#: Nothing inline, nothing from elsewhere, nothing evaluated, and no page around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'self'"
)

_CHECKED = "no-cache"
_NAMES = {
    "viewer": "swagger-ui-bundle.js",
    "viewer_style": "swagger-ui.css",
    "script": "reference.js",
    "style": "reference.css",
}


def reference_pages(base_path: str, public_path: str = "") -> Sequence[Page]:
    """`{base_path}/docs` and what it needs, for everybody: it tells nothing but the contract.

    `public_path`: what the public URL has before the base path, where a proxy takes it away.
    """
    here = files(__package__)
    assets = Assets(here / "assets", f"{base_path}/docs/assets")
    # Relative to the page, so that they are found wherever a proxy puts it.
    urls = {key: assets.url(name).removeprefix(f"{base_path}/") for key, name in _NAMES.items()}
    text = Template((here / "page.html").read_text(encoding="utf-8")).substitute(urls)
    document = (here / "openapi.yaml").read_text(encoding="utf-8")
    shown = _Shown(
        asset("page.html", text.encode()),
        asset("openapi.yaml", moved(document, base_path, public_path).encode()),
    )
    return (
        Page(f"{base_path}/docs", {"GET": shown.page}),
        Page(f"{base_path}/openapi.yaml", {"GET": shown.document}),
        assets.page,
    )


def moved(document: str, base_path: str, public_path: str) -> str:
    """openapi.yaml as it holds for a service below other paths. No YAML is parsed for it."""
    document = document.replace("\n  /iam/", f"\n  {base_path}/")
    return document.replace("\n  - url: /\n", f"\n  - url: {public_path}/\n")


class _Shown:
    def __init__(self, page: Asset, document: Asset) -> None:
        self._page = page
        self._document = document

    async def page(self, request: Request) -> Response:
        request.scope[OWN_POLICY] = True
        answer = self._page.answer(request, _CHECKED)
        answer.headers["Content-Security-Policy"] = POLICY
        return answer

    async def document(self, request: Request) -> Response:
        return self._document.answer(request, _CHECKED)
