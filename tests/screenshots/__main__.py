"""`python -m tests.screenshots`: redraw every picture, as SVG and PNG. `--check` only says which are out of date."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.screenshots.picture import drawn, png
from tests.screenshots.scenes import SCENES, drawn_scene
from tests.support.paths import TOP

PLACE = TOP / "screenshots"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser("python -m tests.screenshots", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a picture is out of date")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(SCENES)}; all by default")
    options = parser.parse_args()
    outdated = [name for name in options.names or SCENES if _draw(name, write=not options.check)]
    for name in outdated:
        print(f"{name}: {'out of date' if options.check else 'redrawn'}")
    return int(options.check and bool(outdated))


def _draw(name: str, *, write: bool) -> bool:
    """Draw a picture; whether it is another than the one there was."""
    path = PLACE / f"{name}.svg"
    svg = drawn(asyncio.run(drawn_scene(SCENES[name])))
    if path.exists() and path.read_text() == svg:
        return False
    if write:
        path.write_text(svg)
        path.with_suffix(".png").write_bytes(png(svg))
    return True


if __name__ == "__main__":
    sys.exit(main())
