"""Killed at any step, nothing is lost and nothing is paid twice: `arbstr recover` brings every move to its end.

It does so too where the power failed, and all is gone that was not synchronized with the disk.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.kill_points import CommandRunner, Ended
from tests.support.money_node import Account, MoneyNodes, Node

pytestmark = pytest.mark.timeout(240)  # some hundred processes

KEY = "sk-0123456789abcdef"
MOST_STEPS = 200


@pytest.fixture(scope="module")
def runner() -> Iterator[CommandRunner]:
    with CommandRunner() as running:
        yield running


@pytest.fixture(scope="module")
def nodes() -> Iterator[MoneyNodes]:
    with MoneyNodes() as serving:
        yield serving


class Case:
    """A configuration with one node of its own, and a user with a token of 250 sats."""

    def __init__(self, nodes: MoneyNodes, directory: Path, runner: CommandRunner, key: str | None = None) -> None:
        directory.mkdir()
        self.directory = directory
        self.power_fails = False  # where a command is killed
        self.name = f"node-{nodes.mint.next()}"
        self.node: Node = nodes.node(self.name)
        self.mint = nodes.mint
        self.mint.unspent.clear()
        if key is not None:
            self.node.accounts[key] = Account(free=100_000, spent=7_000, history=["in"])
        self.token = self.mint.token(250)
        self.total_msats = self.msats
        self._runner = runner
        line = "" if key is None else f'api_key = "{key}"\n'
        self.config = directory / "config.toml"
        self.config.write_text(f'[[providers]]\nname = "a"\nurl = "{nodes.url(self.name)}"\nkind = "routstr"\n{line}')
        self.config.chmod(0o600)

    @property
    def msats(self) -> int:
        """All the money in the world of this case."""
        return self.node.msats + sum(self.mint.unspent.values())

    @property
    def key(self) -> str | None:
        """The key in the configuration."""
        key = tomllib.loads(self.config.read_text())["providers"][0].get("api_key")
        return None if key is None else str(key)

    @property
    def journal(self) -> str:
        path = self.directory / "config.toml.money"
        return path.read_text() if path.exists() else ""

    def run(self, *arguments: str, stdin: str = "", kill_at: int = 0) -> Ended:
        return self._runner.run(
            self.directory, *arguments, stdin=stdin, kill_at=kill_at, power_fails=self.power_fails and kill_at > 0
        )

    def recover(self) -> Ended:
        ended = self.run("recover")
        assert ended.status == 0, ended.err
        assert self.journal == ""
        assert not [file.name for file in self.directory.iterdir() if file.name.startswith(".")], "nothing lies about"
        return ended

    def check_private(self) -> None:
        """Whatever lies in the directory is for its owner alone."""
        for file in self.directory.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file.name


Making = Callable[[str | None], Case]


@pytest.fixture
def making(nodes: MoneyNodes, runner: CommandRunner, tmp_path: Path) -> Making:
    numbers = count()
    return lambda key: Case(nodes, tmp_path / str(next(numbers)), runner, key)


def killed_at_each_step(
    making: Making, key: str | None, run: Callable[[Case, int], Ended]
) -> Iterator[tuple[Case, Ended]]:
    """Yield a case whose command was killed at the first step, at the second, …, and the one that ran to its end."""
    for number in range(1, MOST_STEPS):
        case = making(key)
        ended = run(case, number)
        case.check_private()
        yield case, ended
        if not ended.was_killed:
            assert ended.status == 0, ended.err
            assert number > 10, "the steps are not seen"
            return
    raise AssertionError("it never came to its end")


def fund(case: Case, kill_at: int) -> Ended:
    return case.run("fund", "a", stdin=case.token, kill_at=kill_at)


@pytest.mark.parametrize(
    ("older_node", "power_fails"), [(False, False), (True, False), (False, True)], ids=["node", "older_node", "power"]
)
def test_a_first_fund_pays_once_and_its_key_is_written(making: Making, older_node: bool, power_fails: bool) -> None:
    def first_fund(case: Case, kill_at: int) -> Ended:
        case.node.makes_keys_once, case.power_fails = older_node, power_fails
        return fund(case, kill_at)

    for case, ended in killed_at_each_step(making, None, first_fund):
        under_way = bool(case.journal)
        case.recover()
        assert case.msats == case.total_msats, ended.step
        if under_way or not ended.was_killed or case.key:
            assert case.node.accounts[case.key or ""].free == 250_000, ended.step
        else:
            assert case.token in case.mint.unspent, ended.step


def test_a_top_up_pays_once(making: Making) -> None:
    for case, ended in killed_at_each_step(making, KEY, fund):
        was_under_way = bool(case.journal)
        case.recover()
        assert case.msats == case.total_msats, ended.step
        arrived = case.node.accounts[KEY].free == 350_000
        assert arrived is (case.token not in case.mint.unspent), ended.step
        assert arrived or not was_under_way, ended.step


def test_a_recovery_that_is_killed_is_taken_up_by_the_next_one(making: Making) -> None:
    """The command before it died when the node had the token and its answer had come."""

    steps = (fund(making(None), number).step for number in range(1, MOST_STEPS))
    answered = next(number for number, step in enumerate(steps, 1) if step.startswith("after POST"))

    def recover_killed(case: Case, kill_at: int) -> Ended:
        assert fund(case, answered).was_killed
        return case.run("recover", kill_at=kill_at)

    for case, ended in killed_at_each_step(making, None, recover_killed):
        case.recover()
        assert case.msats == case.total_msats, ended.step
        assert case.node.accounts[case.key or ""].free == 250_000, ended.step


@pytest.mark.parametrize("key", [None, KEY], ids=["first_key", "top_up"])
def test_a_paid_invoice_is_credited_once_and_its_key_is_written(making: Making, key: str | None) -> None:
    def fund_by_lightning(case: Case, kill_at: int) -> Ended:
        case.node.pays_itself = True
        return case.run("fund", "a", "--lightning", "50", kill_at=kill_at)

    for case, ended in killed_at_each_step(making, key, fund_by_lightning):
        was_shown = "lnbc" in ended.out or "lnbc" in case.journal
        case.node.pay()
        case.recover()
        if was_shown:
            assert case.key in case.node.accounts, ended.step
            assert case.node.accounts[case.key or ""].free == 50_000 + (100_000 if key else 0), ended.step


FILE = ("--to", "token.txt")


@pytest.mark.parametrize(
    ("to", "power_fails"), [(FILE, False), ((), False), (FILE, True)], ids=["file", "terminal", "power"]
)
def test_a_refund_is_handed_over_whole(making: Making, to: tuple[str, ...], power_fails: bool) -> None:
    def refund(case: Case, kill_at: int) -> Ended:
        case.power_fails = power_fails
        return case.run("refund", "a", *to, kill_at=kill_at)

    for case, ended in killed_at_each_step(making, KEY, refund):
        recovered = case.recover()
        assert case.msats == case.total_msats, ended.step
        token = case.node.accounts[KEY].refund
        if token is None:
            assert case.node.accounts[KEY].free == 100_000, ended.step
            continue
        file = case.directory / "token.txt"
        handed_over = file.read_text() if to else ended.out + recovered.out
        assert token in handed_over.split(), ended.step
        assert list(case.node.accounts[KEY].history).count("out") == 1, ended.step
