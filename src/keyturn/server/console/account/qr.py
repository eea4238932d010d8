"""A picture that a telephone reads, as a path of SVG: no markup comes from elsewhere."""

from dataclasses import dataclass

#: Modules of white around it (ISO/IEC 18004, 6.3.8).
QUIET = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """`path` draws what is black, in a square of `size` modules with the white around it."""

    size: int
    path: str


def picture(text: str) -> Picture:
    """The QR code of a text."""
    # Whoever never sets up a generator need not load it.
    import segno

    code = segno.make_qr(text, error="m")
    drawn = []
    for y, row in enumerate(code.matrix):
        start = None
        for x, dark in enumerate((*row, 0)):
            if dark and start is None:
                start = x
            elif not dark and start is not None:
                drawn.append(f"M{start + QUIET} {y + QUIET}h{x - start}v1h{start - x}z")
                start = None
    return Picture(len(code.matrix) + 2 * QUIET, "".join(drawn))
