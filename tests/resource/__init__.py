"""The library for resource servers, against a service that these tests play."""
