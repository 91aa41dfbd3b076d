"""An order that a signal brings is followed, whichever thread the kernel hands the signal to."""

import subprocess
import sys
from pathlib import Path

import pytest

_WAITER = """
import signal, sys, threading, time
from reconciler.daemon.orders import Orders

orders = Orders()
signal.signal(signal.SIGTERM, lambda *_: orders.put("end"))
main = threading.main_thread().ident

def elsewhere():
    while sys._current_frames()[main].f_code.co_filename == __file__:
        pass
    time.sleep(0.5)  # by now it waits in earnest; should it not, the order is followed all the easier
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=elsewhere).start()
print(orders.{wait})
"""


@pytest.mark.parametrize("wait", ["next()", "next_within(3600)"])
def test_a_signal_that_reached_another_thread_is_followed(wait: str, tmp_path: Path) -> None:
    """A main thread that waits sees an order whose signal interrupted another thread: SIGTERM is never lost."""
    script = tmp_path / "waiter.py"
    script.write_text(_WAITER.format(wait=wait))

    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout == "end\n"
