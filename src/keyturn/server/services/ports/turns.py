"""Whose work a task does. Where there is waiting, tenants take turns."""

from contextvars import ContextVar

#: What nobody asked for: the service's own work, beside the requests.
OWN = ""
#: Requests of whom nothing is known yet. All of them together are one group: whoever invents keys
#: gets one turn, and not as many as there are inventions.
UNKNOWN = "?"

#: The group of the present task: a tenant's id, or one of the above.
group: ContextVar[str] = ContextVar("group", default=OWN)
