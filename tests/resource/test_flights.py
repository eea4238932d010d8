"""Many ask, one is sent; and nobody waits for what another event loop left behind."""

import asyncio

from keyturn.resource.flights import SingleFlight


async def soon() -> str:
    await asyncio.sleep(0)
    return "here"


class TestSingleFlight:
    async def test_ends_with_its_outcome(self) -> None:
        flights: SingleFlight[str, str] = SingleFlight()
        assert await asyncio.gather(*(flights.run("a", soon) for _ in range(3))) == ["here"] * 3
        assert list(flights) == []

    def test_what_another_loop_left_behind_is_nobodys(self) -> None:
        flights: SingleFlight[str, str] = SingleFlight()

        async def never() -> str:
            await asyncio.Event().wait()
            return "never"

        async def left() -> int:
            waiting = asyncio.create_task(flights.run("a", never))
            await asyncio.sleep(0)
            waiting.cancel()
            return len(flights)

        async def next_one() -> str:
            assert "a" not in flights
            return await asyncio.wait_for(flights.run("a", soon), 5)

        one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
        try:
            assert one.run_until_complete(left()) == 1
            assert other.run_until_complete(next_one()) == "here"
            for task in asyncio.all_tasks(one):
                task.cancel()
            one.run_until_complete(asyncio.sleep(0))
        finally:
            one.close()
            other.close()
