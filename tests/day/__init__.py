"""An operator's day, played through with real processes: `make test-day`."""
