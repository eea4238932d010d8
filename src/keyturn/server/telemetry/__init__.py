"""What the service tells of itself: metrics for Prometheus, and traces.

    parts, counts ──> reading (plain numbers) ──> exposition (text) ──> door (a port of its own)

| module | what |
|---|---|
| `catalogue` | every metric: its name, its labels, and how several workers' numbers become one |
| `reading` | the numbers of this moment, from the parts themselves |
| `exposition` | a reading as Prometheus reads it |
| `door` | the port on which it is served |
| `workers` | the readings of several workers, added up |
| `tracing` | spans for a collector (`keyturn.server.spans` is what the parts know of them) |

The only importer of prometheus_client and opentelemetry. No number is counted here: parts that work
count for themselves, in plain numbers, and are read when somebody asks.
"""
