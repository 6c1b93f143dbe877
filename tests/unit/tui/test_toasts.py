from textual.notifications import Notification, SeverityLevel

from tests.support.clock import Clock
from tui.toasts import Toasts


def toast(message: str, severity: SeverityLevel = "information") -> Notification:
    return Notification(message, severity=severity, timeout=5)


def shown(toasts: Toasts) -> list[str]:
    return [each.message for each in toasts.take()]


def test_of_several_at_once_the_errors_and_the_last_one_are_shown() -> None:
    toasts = Toasts()
    for each in (toast("first"), toast("no ledger", "error"), toast("second"), toast("last")):
        toasts.add(each)

    assert shown(toasts) == ["no ledger", "last"]
    assert shown(toasts) == []


def test_an_error_is_on_the_screen_for_as_long_as_it_was_meant_to() -> None:
    clock = Clock()
    toasts = Toasts(clock)
    toasts.add(toast("no ledger", "error"))
    assert toasts.waiting
    assert not toasts.error_shown

    toasts.take()
    assert not toasts.waiting
    assert toasts.error_shown

    clock.now += 5
    assert not toasts.error_shown
