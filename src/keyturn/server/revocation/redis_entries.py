"""The revocations' keys and values in Redis, and the scripts that write them.

All keys share the hash tag `{keyturn}`, so that one MGET reads everything, in a Cluster too:

    {keyturn}:revoked:<kind>:<subject>   "<end, ms since 1970>:<epoch or nothing>"
    {keyturn}:revoked:complete           the marker: the run id of the Redis process that was filled
    {keyturn}:revoked:filling:<random>   there while a node fills Redis

Values only ever get stronger (domain.revocations.stronger), by a script: nodes may write in any
order, and several may fill at once. A tenant's entry is replaced or removed instead.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..domain.model import Revocation, RevocationKind
from ..domain.revocations import FOREVER_YEAR, Subject, still_counts

PREFIX = "{keyturn}:revoked:"
MARKER = PREFIX + "complete"

#: Entries stay in Redis for longer than they count, because clocks differ (seconds).
CLOCK_SLACK = timedelta(seconds=60)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER = "-1"
_REMOVED = "0"
_KINDS = frozenset(kind.value for kind in RevocationKind)

#: Merges entries.
# KEYS: of the entries. ARGV, for each: end, epoch, milliseconds to keep it. Strings are kept as
# they are, numbers only compared: Lua's doubles would round large ones.
MERGE = """
for i, key in ipairs(KEYS) do
  local ends, epoch, keep = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  if keep == '0' then
    redis.call('DEL', key)
  else
    local old = redis.call('GET', key)
    if old then
      local old_ends, old_epoch = string.match(old, '^(%d+):(%d*)$')
      if old_ends then
        if tonumber(old_ends) >= tonumber(ends) then ends, keep = old_ends, 'same' end
        if old_epoch == '' then epoch = ''
        elseif epoch ~= '' and tonumber(old_epoch) > tonumber(epoch) then epoch = old_epoch end
      end
    end
    local value = ends .. ':' .. epoch
    if value ~= old then
      if keep == 'same' then redis.call('SET', key, value, 'KEEPTTL')
      elseif keep == '-1' then redis.call('SET', key, value)
      else redis.call('SET', key, value, 'PX', keep) end
    end
  end
end
"""

#: Writes the marker, unless Redis was flushed since the filling began.
# KEYS: the filling's key, the marker. ARGV: the run id.
COMPLETE = """
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""


@dataclass(frozen=True, slots=True)
class Write:
    """What the script `MERGE` takes for one key: end, epoch, milliseconds to keep it."""

    key: bytes
    end: str
    epoch: str
    keep: str


def key(subject: Subject) -> bytes:
    """The key of a subject's entry; whatever the subject, so that none spoils others' reading."""
    return f"{PREFIX}{subject[0]}:{subject[1]}".encode(errors="surrogatepass")


def subject_of(name: bytes) -> Subject | None:
    """Whose entry a key is; None for a key that is none."""
    kind, colon, subject = name.decode(errors="surrogateescape")[len(PREFIX) :].partition(":")
    if not colon or kind not in _KINDS:
        return None
    return RevocationKind(kind), subject


def writes(entry: Revocation, now: datetime) -> list[Write]:
    """How `entry` is written at `now`: not at all, or after the removal of what was there."""
    name = key((entry.kind, entry.subject))
    # Rounded up: an entry may count for a moment too long, never too short.
    end = -((_EPOCH - entry.expires_at) // timedelta(milliseconds=1))
    keep = _FOREVER
    if entry.expires_at.year < FOREVER_YEAR:
        keep = str((entry.expires_at + CLOCK_SLACK - now) // timedelta(milliseconds=1))
    found = []
    if entry.kind is RevocationKind.TENANT:
        found.append(Write(name, "0", "", _REMOVED))
    if still_counts(entry, now):
        found.append(Write(name, str(end), "" if entry.epoch is None else str(entry.epoch), keep))
    return found


def decode(subject: Subject, value: bytes) -> Revocation:
    """The entry in a value. Raises ValueError or OverflowError for anything else."""
    end, _, epoch = value.decode().partition(":")
    expires_at = _EPOCH + timedelta(milliseconds=int(end))
    return Revocation(subject[0], subject[1], expires_at, int(epoch) if epoch else None)
