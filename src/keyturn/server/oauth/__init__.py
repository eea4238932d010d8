"""The OAuth protocol (RFC 6749, 7009, 7662, 8414). The only importer of authlib."""
