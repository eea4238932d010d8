"""Names that are free stay so until they are written, where no constraint can see to it."""

from sqlalchemy import func, select

from .unit import Unit


async def hold_names(unit: Unit, among: str) -> None:
    """Until the transaction ends, whoever else holds the names among the same waits.

    Not a lock of rows: changes lock tenants from wherever they are on, and would wait for each
    other crosswise. Nothing that waits for one of these locks holds what its owner may still
    want. On SQLite a transaction has the database to itself.
    """
    if not unit.on_sqlite:
        await unit.run(select(func.pg_advisory_xact_lock(func.hashtextextended(among, 0))))
