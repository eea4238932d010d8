"""Records that live for one request only."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def transient(cls: type[T]) -> type[T]:
    """A dataclass with slots, frozen for the type checker only.

    A frozen one's constructor takes six times as long, and each exchange makes about ten of them:
    a tenth of its time. What is shared between requests is frozen in earnest.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
