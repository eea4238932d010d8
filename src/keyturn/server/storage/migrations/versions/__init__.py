"""One file a step. A step never imports `tables`, which moves on; it says what it does itself.

Old and new version run side by side during an upgrade: add first, remove a release later.
"""
