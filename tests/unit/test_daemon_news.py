"""Work beside the passes is taken up at once, or when leavers who come in rows have been let go first."""

import threading
import time
from collections.abc import Callable

from reconciler.daemon.news import MOST_LET_GO, News

WITHIN = 20.0
"""Generous: a loaded machine is no failure."""
FOR_EVER = 3600.0


def waited(news: News, told: Callable[[], None] = lambda: None) -> bool:
    """Say whether who waits for news went on after it was told something."""
    waiting = threading.Thread(target=news.wait, daemon=True)
    waiting.start()
    told()
    waiting.join(WITHIN)
    return not waiting.is_alive()


def test_what_a_whole_pass_left_is_done_at_once() -> None:
    """Also when a leavers' pass had come just before it."""
    news = News(FOR_EVER)
    news.tell(of_leavers=True)
    assert waited(news, lambda: news.tell(of_leavers=False))


def test_what_a_leavers_pass_left_waits_until_it_is_quiet() -> None:
    """So long must pass without another pass; one that comes is waited for anew."""
    news = News(0.2)
    began = time.monotonic()
    news.tell(of_leavers=True)
    assert waited(news)
    assert time.monotonic() - began >= 0.2


def test_leavers_that_keep_coming_do_not_put_the_work_off_for_ever() -> None:
    """After some passes in a row it is done between them."""
    news = News(FOR_EVER)
    over = threading.Event()

    def wait() -> None:
        news.wait()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    told = 0
    until = time.monotonic() + WITHIN
    while not over.wait(0.02) and time.monotonic() < until:
        news.tell(of_leavers=True)
        told += 1
    assert over.is_set()
    assert told >= MOST_LET_GO


def test_the_end_waits_for_nobody() -> None:
    """Whoever waits goes on when all is over, also in the middle of a row of leavers."""
    news = News(FOR_EVER)
    news.tell(of_leavers=True)
    assert not news.closing
    assert waited(news, news.close)
    assert news.closing


def test_nothing_told_is_waited_for_no_longer_than_asked() -> None:
    """Who has to look again after a pause of its own does so, and no leavers of long ago put that off."""
    news = News(0.05)
    news.tell(of_leavers=True)
    news.wait()
    began = time.monotonic()
    news.wait(0.0)
    assert time.monotonic() - began < WITHIN
