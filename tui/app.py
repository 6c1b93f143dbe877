"""The dashboard's application: screens, global keys, themes, and how it fails without ending the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual._context import active_message_pump
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.filter import LineFilter
from textual.message_pump import MessagePump
from textual.notifications import Notification, SeverityLevel
from textual.screen import Screen
from textual.theme import Theme
from textual.widget import Widget

from arbstr.clock import wall_ms
from arbstr.logs.ring import LogRing
from arbstr.monitoring.source import Source
from tui.driver import NonBlockingDriver
from tui.intake import Background
from tui.keymap import bindings_of, bound_key, key
from tui.model.dashboard import DashboardModel
from tui.model.ledger_stats import Range
from tui.model.options import Options
from tui.palette import choices, key_commands
from tui.refresh.frame_budget import FrameBudget
from tui.refresh.loop import RefreshLoop
from tui.render.themes import DARK, LIGHT, MANY_COLOURS, THEMES, theme_for, theme_named
from tui.screens.alerts import offer_alerts
from tui.screens.base import DashboardScreen
from tui.screens.choice import ChoiceScreen
from tui.screens.detail import DetailScreen
from tui.screens.modes import make_screen
from tui.screens.overlay import leave
from tui.screens.palette import Palette
from tui.stylesheet import KeptStylesheet
from tui.timings import NORMAL, Timings
from tui.toasts import Toasts
from tui.widgets.bars import FROZEN, KeyBar
from tui.widgets.panel import Panel

if TYPE_CHECKING:
    from tui.screens.help import Chosen

logger = logging.getLogger(__name__)

_SCREENS = {
    "live": "what is being spent now",
    "requests": "the whole ledger",
    "providers": "price board, balances, health",
    "money": "spend, savings, budgets",
    "log": "arbstr's own log lines",
}
_ALL = ", ".join(DashboardScreen.NAMES.values())
QUIT_AGAIN_S = 3.0
ALWAYS = ("quit", "quit_now", "copy_or_quit", "suspend_process")  # actions that need nothing on the screen
TELL_AFTER_S = 0.1  # a key that is held would pile up notices


def _has_left(pump: MessagePump | None, stacks: Iterable[Sequence[Screen[object]]]) -> bool:
    """Check whether a message's handler belongs to a screen that is on no stack any more."""
    if not isinstance(pump, Widget):
        return False
    screen = next((each for each in pump.ancestors_with_self if isinstance(each, Screen)), None)
    return screen is not None and not any(screen in stack for stack in stacks)


class Dashboard(App[None]):
    """Shows what a source reports. It only watches: if it fails, the source goes on.

    `failure` is what ended it, if it did not end as asked; `lost` is the reason why it lost its terminal.
    """

    TITLE = "arbstr"
    CSS_PATH = Path(__file__).with_name("dashboard.tcss")
    ENABLE_COMMAND_PALETTE = True
    NAMES: ClassVar[dict[str, str]] = DashboardScreen.NAMES
    BINDINGS: ClassVar[list[BindingType]] = [
        *(key(name, f"go('{name}')", f"{label}: {_SCREENS[name]}", group=_ALL) for name, label in NAMES.items()),
        key("alerts", "alerts", "Alerts: what needs attention, and where it can be read", "alerts"),
        key("freeze", "freeze", "Freeze what is shown; again: unfreeze", "freeze"),
        key("range", "range", "Time range: 5 min, 1 h, 24 h, 7 d", "range"),
        key("zone", "zone", "Times in UTC, or local again", "zone"),
        key("palette", "command_palette", "Palette: every command by name, themes too", priority=True),
        key("help", "help", "Help", "help"),
        key("quit", "quit", "Quit, and stop the proxy; asks while requests run", "quit"),
        Binding("ctrl+c", "copy_or_quit", tooltip="Copy what is selected; twice quits", show=False, priority=True),
        Binding("ctrl+q", "quit_now", tooltip="Quit without asking", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False),
    ]

    def __init__(
        self,
        source: Source,
        *,
        log: LogRing,
        now_ms: Callable[[], int] = wall_ms,
        zone: tzinfo | None = None,
        timings: Timings = NORMAL,
        options: Options | None = None,
        driver_class: type[Driver] = NonBlockingDriver,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        colourless = "NO_COLOR" in os.environ
        # Without colour: the terminal's own, of which Textual's filter then leaves none.
        super().__init__(driver_class=driver_class, ansi_color=True if colourless else None)
        self.options = options or Options()
        self.dashboard = DashboardModel(
            source, log, now_ms=now_ms, zone=zone, on_figures=self._request_frame, timings=timings, options=self.options
        )
        self.set_keymap({name: ",".join(map(bound_key, keys)) for name, keys in self.options.keymap.items()})
        self.frame_budget = FrameBudget(timings=timings)
        self._refresh_loop = RefreshLoop(self.dashboard, self.frame_budget, self._paint, self._may_paint)
        self._on_ready = on_ready
        self.lost = ""
        self._asked_to_quit = float("-inf")
        self._toasts = Toasts()
        for theme in THEMES:
            self.register_theme(theme)
        self._guesses_theme = False
        self.theme = self._first_theme(None if colourless else self.console.color_system).name
        self.stylesheet = KeptStylesheet(variables=self.get_css_variables())

    def _first_theme(self, colours: str | None) -> Theme:
        """Return the theme asked for, else the one chosen the last time, else a guess that the terminal may correct."""
        if asked := theme_named(self.options.theme):
            return asked
        chosen = theme_named(self.options.habits.text("theme"))
        if chosen is not None and (chosen.ansi or colours in MANY_COLOURS):
            return chosen
        self._guesses_theme = chosen is None and colours in MANY_COLOURS
        return theme_for(colours, os.environ.get("COLORFGBG", ""))

    @property
    def failure(self) -> Exception | None:
        """What ended the dashboard, None if it was asked to end."""
        return self._exception

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_mount(self) -> None:
        """Show the first screen and start the refresh loop."""
        for name in self.NAMES:
            self.add_mode(name, partial(make_screen, name, self.dashboard))
        self.switch_mode("live")
        if self._guesses_theme and isinstance(self._driver, NonBlockingDriver):
            self._driver.ask_background()
        if self.options.habits.flag("mouse") is False:
            self._set_mouse(on=False)
        self.run_worker(self._refresh_loop.run(), name="pump")
        self.run_worker(self.dashboard.watch.run(), name="ledger")
        self.run_worker(self.dashboard.load_past(), name="past")
        self.run_worker(self.dashboard.keep_board(), name="board")
        self.call_after_refresh(self._on_ready)

    def on_unmount(self) -> None:
        """Unsubscribe from events."""
        self.dashboard.close()

    def _handle_exception(self, error: Exception) -> None:
        """End without Textual's traceback on the terminal: it prints local variables, and takes its time to.

        Errors in a screen that was left, or during shutdown, do not end it: late keys and workers find widgets gone.
        """
        if _has_left(active_message_pump.get(None), self._screen_stacks.values()):
            logger.debug("late in a screen that has been left", exc_info=error)
            return
        if self._exit:
            logger.debug("while the dashboard ended", exc_info=error)
            self._close_messages_no_wait()
            return
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()

    @on(Background)
    def _background_answered(self, event: Background) -> None:
        if self._guesses_theme:
            self.theme = (LIGHT if event.light else DARK).name

    @on(NonBlockingDriver.Lost)
    def _terminal_lost(self, event: NonBlockingDriver.Lost) -> None:
        self.lost = event.reason
        self.exit()

    async def terminal_left(self) -> None:
        """Wait until the terminal is restored: no keys are read, and all queued text is written."""
        if isinstance(self._driver, NonBlockingDriver):
            await asyncio.to_thread(self._driver.join)

    # ── painting ────────────────────────────────────────────────────────────────────────────────────────────────

    def _request_frame(self) -> None:
        self._refresh_loop.request_frame()

    def _paint(self) -> Iterator[None]:
        notices = self.dashboard.model.notices
        while notices:
            notice = notices.popleft()
            self.notify(notice.text, severity=notice.severity, markup=False)
        stack = self.screen_stack  # empty while it ends
        screen = stack[-1] if stack else None
        if isinstance(screen, DashboardScreen | DetailScreen) and screen.is_mounted:
            if (link := self.dashboard.source.link) is not None:
                for panel in screen.query(Panel).exclude("#top, #keys"):
                    panel.fade(link.outage is not None)
            yield from screen.paint()

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """Show a toast soon; of several at once the errors and the last one."""
        if not self._toasts.waiting:
            self.set_timer(TELL_AFTER_S, self._show_notices)
        kept = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        self._toasts.add(Notification(message, title, severity, kept, markup))

    def _show_notices(self) -> None:
        """Replace the toasts shown with those that wait, unless one shown just now is an error."""
        if not self._toasts.error_shown:
            self.clear_notifications()
        for each in self._toasts.take():
            super().notify(
                each.message, title=each.title, severity=each.severity, timeout=each.timeout, markup=each.markup
            )

    def _may_paint(self) -> bool:
        return not (isinstance(self._driver, NonBlockingDriver) and self._driver.stalled)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the filters in force. The first panel of each frame calls this: then composing begins."""
        self.frame_budget.composing()
        return super().get_line_filters()

    def post_display_hook(self) -> None:
        """Note that a frame is on its way to the terminal."""
        self.frame_budget.displayed()

    def repaint(self) -> None:
        """Paint the visible screen at once."""
        for _ in self._paint():
            pass

    # ── keys ────────────────────────────────────────────────────────────────────────────────────────────────────

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Refuse actions whose effect can't be seen: on too small a terminal, and during shutdown."""
        if self._exit:  # a screen opened now would never be closed, but awaited
            return False
        screen = self.screen
        if action not in ALWAYS and isinstance(screen, DashboardScreen) and screen.too_small:
            return False
        return super().check_action(action, parameters)

    @on(KeyBar.Chosen)
    async def _chosen(self, event: KeyBar.Chosen) -> None:
        await self.run_action(event.action)

    def action_go(self, name: str) -> None:
        """Show a screen; close a request's details on it, or on the one that is left."""
        if isinstance(self.screen, DetailScreen):
            leave(self.screen)
        self.switch_mode(name)

    def action_next_screen(self, by: int) -> None:
        """Show the next or the previous screen."""
        names = list(self.NAMES)
        place = names.index(self.current_mode) if self.current_mode in names else 0
        self.action_go(names[(place + by) % len(names)])

    async def action_quit(self) -> None:
        """Quit; while requests run ask first, unless the question could not be read."""
        running, screen = len(self.dashboard.model.feed.running), self.screen
        if not running or not self.options.asks_to_quit or (isinstance(screen, DashboardScreen) and screen.too_small):
            self.exit()
        elif not isinstance(screen, ChoiceScreen):
            requests = "1 request is running" if running == 1 else f"{running:,} requests are running"
            answers = [("q", "quit: no new ones are taken, these may finish"), ("n", "stay")]
            self.push_screen(ChoiceScreen(requests, answers), lambda answer: self.exit() if answer == "q" else None)

    def action_quit_now(self) -> None:
        """Quit without asking."""
        self.exit()

    def action_alerts(self) -> None:
        """Show what needs attention; what is chosen is shown where it can be read."""
        offer_alerts(self.screen, self.dashboard, self._show_provider)

    def action_freeze(self) -> None:
        """Freeze or thaw what is shown."""
        self.sub_title = FROZEN if self.dashboard.toggle_freeze() else ""
        self.repaint()

    def action_range(self) -> None:
        """Choose the next time range."""
        if not getattr(self.screen, "RANGED", True):
            self.notify("This screen has all there is: a time range would change nothing", markup=False)
        elif self.dashboard.model.frozen:
            self.notify("Frozen: unfreeze, then change the time range", markup=False)
        else:
            self.dashboard.next_range()
        self.repaint()

    def action_zone(self) -> None:
        """Switch between UTC and local times."""
        self.notify("Times in UTC" if self.dashboard.toggle_utc() else "Times in the local zone", markup=False)
        self.repaint()

    def action_command_palette(self) -> None:
        """Show the palette."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_help(self) -> None:
        """Show the keys."""
        from tui.screens.help import HelpScreen  # noqa: PLC0415 - it loads all screens, and few ask for it
        from tui.screens.help_sections import DETAIL, help_sections  # noqa: PLC0415 - as above

        if not isinstance(self.screen, HelpScreen):
            here = DETAIL if isinstance(self.screen, DetailScreen) else self.current_mode
            sections = help_sections(here, bindings_of(type(self)), self.dashboard.keymap)
            self.push_screen(HelpScreen(sections), self._run_chosen)

    async def _run_chosen(self, chosen: Chosen | None) -> None:
        """Do what was chosen in the help; what is done on another screen: go there."""
        if chosen is not None:
            await self.run_action(f"app.go('{chosen.screen}')" if chosen.screen else chosen.action)

    def action_copy_or_quit(self) -> None:
        """Copy if anything is selected; else quit when pressed twice."""
        selected = self.screen.get_selected_text() or getattr(self.focused, "selected_text", "")
        now = time.monotonic()
        if selected:
            self.copy_to_clipboard(selected)
        elif now - self._asked_to_quit < QUIT_AGAIN_S:
            self.exit()
        else:
            self._asked_to_quit = now
            what = ", and stops the proxy with it" if self.dashboard.source.link is None else ""
            self.notify(f"Ctrl-C again quits{what}", markup=False)

    def action_suspend_process(self) -> None:
        """Refuse to suspend: stopping the process would stop the proxy."""
        why = ": the proxy would stop with it" if self.dashboard.source.link is None else ""
        self.notify(f"The dashboard can't be suspended{why}", markup=False)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield the screen's actions, the themes and the mouse, for the palette."""
        yield from key_commands(self, screen, self.dashboard.keymap)
        yield from choices(
            [each.status.name for each in self.dashboard.view().providers],
            choose_range=self._choose_range,
            show_provider=self._show_provider,
            choose_mouse=self._choose_mouse,
            choose_theme=self._choose_theme,
        )

    def _choose_theme(self, name: str) -> None:
        if (theme := theme_named(name)) is not None:
            self._guesses_theme = False
            self.theme = theme.name
            self.options.habits.keep("theme", name)

    def _choose_range(self, chosen: Range) -> None:
        self.dashboard.choose_range(chosen)
        self.repaint()

    def _choose_mouse(self, on: bool) -> None:
        self._set_mouse(on=on)
        self.options.habits.keep("mouse", on)

    async def _show_provider(self, name: str) -> None:
        await self.switch_mode("providers")
        if isinstance(self.screen, DashboardScreen):
            self.screen.select(name)

    def _set_mouse(self, *, on: bool) -> None:
        if isinstance(self._driver, NonBlockingDriver):
            self._driver.set_mouse(on=on)
