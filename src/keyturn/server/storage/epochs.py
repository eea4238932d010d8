"""The epoch floor: no user's epoch counts as less, so raising it ends all that was issued."""

from typing import Any

from sqlalchemy import ColumnElement, select

from .columns import greater
from .tables import installation, users

#: How far the floor rises at least. It rises to the microseconds since 1970, which no user's epoch
#: comes near by single steps, each of which takes longer; when it is above that already, so far.
#: So it is higher each time, also in a database that was restored from a copy and does not know
#: how high it was. JSON keeps whole numbers up to 2**53.
FLOOR_STEP = 2**26

_FLOOR = select(installation.c.epoch_floor).where(installation.c.id == 1).scalar_subquery()


def epoch_in_force() -> ColumnElement[Any]:
    """A user's epoch, in a statement that has the users in it."""
    return greater(users.c.epoch, _FLOOR)


def sessions_epoch_of(user_id: ColumnElement[Any]) -> ColumnElement[Any]:
    """The epoch before which all sessions of a user are over."""
    epoch = greater(users.c.sessions_epoch, _FLOOR)
    return select(epoch).where(users.c.id == user_id).scalar_subquery()
