"""What deploy/ ships, run as far as this machine can run it."""
