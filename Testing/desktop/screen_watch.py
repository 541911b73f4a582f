"""Prints when the screen of an X display changes, or its mouse pointer: one time a line, in s.

A line "click" on its standard input presses the left mouse button where the pointer is, a line
"return" the Return key; each is answered by "pressed" and the time. The times are those of
time.monotonic(), which all processes of a machine share. It ends with its standard input.
"""

import ctypes
import select
import sys
import time

EVERY_S = 0.015
ALL_PLANES = 0xFFFFFFFF
Z_PIXMAP = 2
RETURN = 0xFF0D  # keysym


class XImage(ctypes.Structure):
    """The beginning of Xlib's XImage."""

    _fields_ = [
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("xoffset", ctypes.c_int),
        ("format", ctypes.c_int),
        ("data", ctypes.POINTER(ctypes.c_char)),
        ("byte_order", ctypes.c_int),
        ("bitmap_unit", ctypes.c_int),
        ("bitmap_bit_order", ctypes.c_int),
        ("bitmap_pad", ctypes.c_int),
        ("depth", ctypes.c_int),
        ("bytes_per_line", ctypes.c_int),
    ]


class XFixesCursorImage(ctypes.Structure):
    """The beginning of Xfixes' cursor image."""

    _fields_ = [
        ("x", ctypes.c_short),
        ("y", ctypes.c_short),
        ("width", ctypes.c_ushort),
        ("height", ctypes.c_ushort),
        ("xhot", ctypes.c_ushort),
        ("yhot", ctypes.c_ushort),
        ("serial", ctypes.c_ulong),
    ]


class Screen:
    """What an X display shows."""

    def __init__(self) -> None:
        self._x = ctypes.CDLL("libX11.so.6")
        self._fixes = ctypes.CDLL("libXfixes.so.3")
        self._test = ctypes.CDLL("libXtst.so.6")
        self._test.XTestFakeButtonEvent.argtypes = [
            ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_ulong
        ]  # fmt: skip
        self._test.XTestFakeKeyEvent.argtypes = self._test.XTestFakeButtonEvent.argtypes
        self._x.XKeysymToKeycode.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
        self._x.XFlush.argtypes = [ctypes.c_void_p]
        self._x.XOpenDisplay.restype = ctypes.c_void_p
        self._x.XDefaultRootWindow.restype = ctypes.c_ulong
        self._x.XDefaultRootWindow.argtypes = [ctypes.c_void_p]
        self._x.XGetImage.restype = ctypes.POINTER(XImage)
        self._x.XGetImage.argtypes = [ctypes.c_void_p, ctypes.c_ulong] + [ctypes.c_int] * 2 + [
            ctypes.c_uint, ctypes.c_uint, ctypes.c_ulong, ctypes.c_int
        ]  # fmt: skip
        self._x.XFree.argtypes = [ctypes.c_void_p]
        self._fixes.XFixesGetCursorImage.restype = ctypes.POINTER(XFixesCursorImage)
        self._fixes.XFixesGetCursorImage.argtypes = [ctypes.c_void_p]
        self._display = self._x.XOpenDisplay(None)
        if not self._display:
            raise SystemExit("There is no X display: set DISPLAY.")
        self._root = self._x.XDefaultRootWindow(self._display)
        self._x.XDisplayWidth.argtypes = self._x.XDisplayHeight.argtypes = [
            ctypes.c_void_p, ctypes.c_int
        ]  # fmt: skip
        self._size = (
            self._x.XDisplayWidth(self._display, 0),
            self._x.XDisplayHeight(self._display, 0),
        )

    def pixels(self) -> bytes:
        """What is on the screen; the pointer is not in it."""
        width, height = self._size
        image = self._x.XGetImage(
            self._display, self._root, 0, 0, width, height, ALL_PLANES, Z_PIXMAP
        )
        found = image.contents
        data = ctypes.string_at(found.data, found.bytes_per_line * found.height)
        self._x.XFree(found.data)
        self._x.XFree(image)
        return data

    def press(self, what: str) -> None:
        """Press and release the left mouse button, or the Return key for "return"."""
        for down in (1, 0):
            if what == "return":
                code = self._x.XKeysymToKeycode(self._display, RETURN) & 0xFF
                self._test.XTestFakeKeyEvent(self._display, code, down, 0)
            else:
                self._test.XTestFakeButtonEvent(self._display, 1, down, 0)
        self._x.XFlush(self._display)

    def pointer(self) -> int:
        """The serial number of the pointer's shape."""
        image = self._fixes.XFixesGetCursorImage(self._display)
        serial = image.contents.serial
        self._x.XFree(image)
        return serial


def main() -> None:
    """Watch until the reader is gone."""
    screen, before = Screen(), None
    while True:
        if select.select([sys.stdin], [], [], EVERY_S)[0]:
            what = sys.stdin.readline().strip()
            if not what:
                return
            print(f"pressed {time.monotonic():.3f}", flush=True)
            screen.press(what)
        now = screen.pixels(), screen.pointer()
        if now != before:
            print(f"{time.monotonic():.3f}", flush=True)
            before = now


if __name__ == "__main__":
    main()
