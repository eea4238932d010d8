"""The demo of `keyturn dev`: made once, found again at every later start."""

import secrets
from typing import TYPE_CHECKING

from .datadir import Credentials, DataDir, DemoTenant
from .problems import Problem

if TYPE_CHECKING:
    from ..server.services.bootstrap import Demo
    from ..server.services.ports import ApiKeyFormat, Store
    from ..server.settings import Settings


async def made_or_found(settings: "Settings", data: DataDir) -> tuple[Credentials, bool]:
    """The demo's credentials, and whether they are new. The schema must be there.

    Raises Problem when database and `demo.json` do not belong together.
    """
    from ..server.parts import open_parts
    from ..server.services.bootstrap import make_demo

    kept = data.credentials()
    async with open_parts(settings) as parts:
        store: Store = parts.store
        key_format: ApiKeyFormat = parts.key_format
        async with store.transaction() as tx:
            fresh = await tx.tenants.root() is None
            known = kept is not None and all(
                [
                    (parsed := key_format.parse(key)) is not None
                    and await tx.api_keys.get(parsed.key_id) is not None
                    for key in (kept.api_key, kept.admin_api_key)
                ]
            )
        if fresh:
            # The file is written inside the transaction: the keys' texts exist but once, and a
            # crash in between leaves a file without a demo, which the next start overwrites.
            # As long as an API key need not be: tries of passwords are limited.
            passwords = secrets.token_hex(10), secrets.token_hex(10)
            demo = await make_demo(
                store,
                key_format,
                password_hashes=await _hashed(passwords),
                before_commit=lambda demo: data.keep(_credentials(demo, passwords)),
            )
            return _credentials(demo, passwords), True
    if kept is None or not known:
        wrong = "is missing" if kept is None else "is of another database"
        raise Problem(
            f"{data.credentials_file} {wrong}, and keys are stored only as hashes:"
            f" {data.start_afresh()}"
        )
    return kept, False


async def _hashed(passwords: tuple[str, str]) -> tuple[str, str]:
    from ..server.tokens.passwords import Argon2Passwords

    hasher = Argon2Passwords()
    try:
        return await hasher.hash(passwords[0]), await hasher.hash(passwords[1])
    finally:
        hasher.close()


def _credentials(demo: "Demo", passwords: tuple[str, str]) -> Credentials:
    return Credentials(
        tenants=tuple(DemoTenant(tenant.id, tenant.name) for tenant in demo.tenants),
        username=demo.user.username,
        api_key=demo.key.text,
        admin_username=demo.platform.user.username,
        admin_api_key=demo.platform.key.text,
        admin_password=passwords[0],
        member_username=demo.member.username if demo.member else "",
        member_password=passwords[1],
    )
