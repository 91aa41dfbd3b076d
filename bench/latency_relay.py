"""A relay that makes a server on loopback as far away as a service on the internet.

    python bench/latency_relay.py SECONDS LISTEN_PORT:TARGET_PORT …

Whatever a client sends is passed on so many seconds later, and answers at once: each round trip takes that much
longer, and requests under way at the same time do not wait for each other.
"""

import asyncio
import sys
from contextlib import suppress

CHUNK_BYTES = 64 * 1024


async def delayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass bytes on in their order, each piece so much later than it came."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def take() -> None:
        while piece := await reader.read(CHUNK_BYTES):
            pieces.put_nowait((loop.time() + seconds, piece))
        pieces.put_nowait((loop.time() + seconds, b""))

    taking = asyncio.create_task(take())
    try:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(due - loop.time(), 0))
            if not piece:
                return
            writer.write(piece)
            await writer.drain()
    finally:
        taking.cancel()
        writer.close()


async def serve(seconds: float, listen: int, target: int) -> None:
    """Relay one port for ever."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        with suppress(ConnectionError):
            await asyncio.gather(delayed(reader, far_writer, seconds), delayed(far_reader, writer, 0))

    server = await asyncio.start_server(connected, "127.0.0.1", listen)
    await server.serve_forever()


async def main() -> None:
    """Relay all ports that are named."""
    seconds = float(sys.argv[1])
    pairs = [argument.split(":") for argument in sys.argv[2:]]
    await asyncio.gather(*(serve(seconds, int(listen), int(target)) for listen, target in pairs))


if __name__ == "__main__":
    asyncio.run(main())
