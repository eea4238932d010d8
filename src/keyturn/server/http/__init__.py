"""Routes, authentication of calls, and errors to HTTP. Pure ASGI, no BaseHTTPMiddleware."""
