"""The verbs: what can be done, in async functions over the ports in `ports`."""
