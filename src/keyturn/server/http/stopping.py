"""What a process knows, and its answers tell, when it is about to stop."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stopping:
    """From `begun` on, readiness is 503 and every answer ends its connection.

    `drain`: seconds for which connections are accepted all the same, so that a load balancer
    notices before anybody is refused.
    """

    drain: float = 0.0
    begun: bool = False
