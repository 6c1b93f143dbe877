"""The loop that everything runs on."""

from __future__ import annotations

from arbstr.runtime.lifecycle import takes_eager_start


def test_a_task_factory_that_refuses_what_uvloop_hands_to_it_is_known() -> None:
    def of_python_3_12(loop: object, coro: object, *, name: object = None, context: object = None) -> None: ...
    def of_python_3_13(loop: object, coro: object, *, eager_start: bool = True, name: object = None) -> None: ...
    def of_python_3_14(loop: object, coro: object, **kwargs: object) -> None: ...

    assert not takes_eager_start(of_python_3_12)
    assert takes_eager_start(of_python_3_13)
    assert takes_eager_start(of_python_3_14)
