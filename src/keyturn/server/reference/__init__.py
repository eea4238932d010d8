"""The API reference: a page that shows openapi.yaml, and the document itself."""

from .pages import reference_pages

__all__ = ["reference_pages"]
