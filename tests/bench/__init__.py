"""Load on a running service: tokens per second beside a bare Starlette route. See README.md."""
