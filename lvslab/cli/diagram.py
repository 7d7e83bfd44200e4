"""`diagram`: the lab as a picture, SVG and PNG."""

from __future__ import annotations

from pathlib import Path

from lvslab.cli.common import lab_file, out_folder, session, verb
from lvslab.core import programs
from lvslab.core.files import write_atomic

_FONTS = tuple(
    Path(folder) / "DejaVuSans.ttf"
    for folder in (
        "/usr/share/fonts/truetype/dejavu",
        "/usr/share/fonts/dejavu-sans-fonts",
        "/usr/share/fonts/TTF",
    )
)
_PNG_ZOOM = 2


@verb(
    "diagram",
    """
    diagram
    diagram --lab my-lab.yaml --out /tmp/picture
    """,
)
@lab_file
@out_folder("docs")
def diagram(lab_path: Path, out: Path) -> None:
    """Draw the lab: switches, machines, paths, and which address is where.

    Writes lab.svg and lab.png.
    """
    import resvg_py

    from lvslab.model import load
    from lvslab.render.picture import svg

    text = svg(load.load_lab(lab_path))
    write_atomic(out / "lab.svg", text)
    regular = _font()
    fonts = [str(regular), str(regular.with_name("DejaVuSans-Bold.ttf"))]
    png = resvg_py.svg_to_bytes(
        svg_string=text, zoom=_PNG_ZOOM, font_files=fonts, skip_system_fonts=True
    )
    write_atomic(out / "lab.png", bytes(png))
    for name in ("lab.svg", "lab.png"):
        session().out(str(out / name))


def _font() -> Path:
    """The font of the PNG; without one all words would be missing in it, without an error."""
    if not any(font.is_file() for font in _FONTS):
        this = session()
        log = this.cache / "log" / "apt.log"
        programs.ensure_packages(["fonts-dejavu-core"], "to draw letters", this.tell, log)
    return next(font for font in _FONTS if font.is_file())
