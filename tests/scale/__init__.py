"""A large installation: what fills it, what is asked of it, and whether it answers as a small one.

`python -m tests.scale URL` fills a migrated database; `--compare` times its lists beside those
of a small one.
"""
