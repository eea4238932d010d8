"""The token service. `app.create_app` is the one place where its parts meet."""
