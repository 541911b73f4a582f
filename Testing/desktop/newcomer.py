"""A new user's minute: from nothing open to the answer, with the tutorial's text alone.

SLICER --no-splash --disable-settings --additional-module-paths MarrowAssess PDFFMapper \
    --python-script Testing/desktop/newcomer.py

Real mouse and keyboard at a newcomer's pace: each sentence of the tutorial is read before it is
done (238 words a minute, Brysbaert 2019, doi 10.1016/j.jml.2019.104047), then each operation takes
what the keystroke-level model gives it (Card, Moran, Newell 1980, doi 10.1145/358886.358895):
1.35 s to make up one's mind, 1.1 s to point, .1 s to press, .28 s a key, .4 s from mouse to
keyboard and back. What Slicer takes is what it takes. Nothing is asserted;
MARROWASSESS_DESKTOP_OUT takes newcomer.txt and a picture of each end.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

import qt
import slicer

sys.path.insert(0, os.path.dirname(__file__))
import slicer_desk
import steps

WORDS_PER_S = 238 / 60
MIND_S, POINT_S, KEY_S, HAND_S = 1.35, 1.1, 0.28, 0.4
FOLDER_DIALOG = "Folder of DICOM files"  # its title
LOOK_S = 0.4  # in which a person sees that the screen has come to rest
SAMPLE = (
    "Sample Data > MarrowAssess > MarrowAssessLumbarSpine draws a digital spine",
    "Open MarrowAssess.",
    "The line on top says what each image is taken for, and what told so: check it.",
    "Type the age as you would write it (34, 8 months, or nothing where it is not known)",
    "choose the sex",
    "press Apply",
    "The words say what lies outside or is unusual",
)
STUDY = (
    "Open MarrowAssess.",
    "Load DICOM: choose the folder of the study",
    "The line on top says what each image is taken for, and what told so: check it.",
    "press Find spine and measure",
    "The words say what lies outside or is unusual",
)


class Newcomer(slicer_desk.Desk):
    """A desk at a newcomer's pace, with a clock."""

    def __init__(self):
        self.clicks = self.keys = 0
        self.human_s = 0.0

    def begin(self, title):
        self.say(f"\n{title}")
        self.clicks = self.keys = 0
        self.human_s, self._started = 0.0, time.monotonic()

    def say(self, line):
        print(line, flush=True)
        with open(slicer_desk.OUT / "newcomer.txt", "a") as file:
            print(line, file=file)

    def tick(self, what):
        self.say(
            f"{time.monotonic() - self._started:6.1f} s  {self.clicks:2d} clicks "
            f"{self.keys:3d} keys  {what}"
        )

    def spend(self, seconds):
        """A person's time; Slicer goes on meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)
        self.human_s += seconds

    def read(self, sentence):
        self.spend(len(sentence.split()) / WORDS_PER_S)
        self.tick(f"read: {sentence}")

    def rest(self):
        """Until nothing works any more, and it was seen."""
        self.wait(LOOK_S)

    def press(self, widget, x, y):
        self.spend(MIND_S + POINT_S)
        slicer_desk.move_to(widget, x, y)
        slicer.app.processEvents()
        slicer_desk.xdotool("click", 1)
        self.clicks += 1
        self.rest()

    def keys_of(self, text):
        self.spend(HAND_S)
        slicer_desk.xdotool("type", "--delay", round(1000 * KEY_S), text)
        self.keys += len(text)
        self.human_s += KEY_S * len(text)
        self.rest()

    def find_module(self, name):
        """By the finder that a click on the magnifying glass opens."""
        self.spend(MIND_S + HAND_S)
        found = [
            "sh",
            "-c",
            f"sleep 1; xdotool type --delay 280 {name}; sleep .4; xdotool key Return",
        ]
        typing = subprocess.Popen(found)
        self.keys += len(name) + 2
        slicer_desk.xdotool("key", "ctrl+f")
        while typing.poll() is None:
            slicer.app.processEvents()
            time.sleep(0.01)
        self.rest()


def sample(desk):
    """The digital spine."""
    desk.begin("The sample: what a newcomer reads and does")
    desk.read(SAMPLE[0])
    desk.find_module("SampleData")
    desk.tick("Sample Data is open")
    desk.click(desk.sample_button("LumbarSpine"))
    desk.tick("the sample is loaded")
    desk.read(SAMPLE[1])
    desk.find_module("MarrowAssess")
    panel = desk.panel("MarrowAssess")
    desk.tick("MarrowAssess is open")
    desk.read(SAMPLE[2])
    desk.read(panel.ui.studyLabel.text.replace("\n", " "))
    desk.read(SAMPLE[3])
    desk.click(panel.ui.ageLineEdit)
    desk.keys_of("34")
    desk.tick("the age is typed")
    desk.read(SAMPLE[4])
    desk.click(panel.ui.sexComboBox)
    desk.keys_of("M")
    slicer_desk.xdotool("key", "Return")
    desk.rest()
    desk.tick("the sex is chosen")
    desk.read(SAMPLE[5])
    desk.click(panel.ui.applyButton)
    answer(desk, panel, "L2 Marrow PDFF", "newcomer_sample", SAMPLE[6])


def study(desk):
    """A DICOM study of T1 and STIR from its folder."""
    desk.close_scene()
    slicer.util.selectModule("Welcome")
    folder = pathlib.Path(tempfile.mkdtemp())
    desk.write_dicom_study(folder)
    desk.begin("A DICOM study with T1 and STIR")
    desk.read(STUDY[0])
    desk.find_module("MarrowAssess")
    panel = desk.panel("MarrowAssess")
    desk.tick("MarrowAssess is open")
    desk.read(STUDY[1])
    # The dialog runs inside the press: its keys come from outside, once it takes them.
    shown = f"xdotool search --sync --onlyvisible --name '^{FOLDER_DIALOG}$' windowfocus --sync"
    typed = f"{shown}; xdotool type --delay 100 {folder}; sleep 1.1; xdotool key Return"
    typing = subprocess.Popen(["sh", "-c", typed])
    try:
        desk.click(panel.ui.loadDicomButton)
    finally:
        typing.kill()
    desk.clicks += 1  # Choose, here by the Return key
    desk.wait(1.0)
    desk.tick("the study is loaded")
    desk.read(STUDY[2])
    desk.read(panel.ui.studyLabel.text.replace("\n", " "))
    desk.read(STUDY[3])
    desk.click(panel.ui.findSpineButton)
    answer(desk, panel, "L2 T1 marrow/disc", "newcomer_study", STUDY[4])


def answer(desk, panel, expected, picture, sentence):
    """The answer is there, and is read."""
    steps.check(expected in panel.ui.verdictLabel.text, "There is no answer.")
    desk.tick("ANSWER on the screen")
    desk.shot(picture)
    desk.read(sentence)
    words = qt.QTextDocumentFragment.fromHtml(panel.ui.verdictLabel.text).toPlainText()
    desk.read(words.replace("\n", " "))
    desk.say(f"of it a person's own time: {desk.human_s:.1f} s")


def main():
    """Both, in one Slicer: what is compiled or imported once is so in the first."""
    slicer.util.mainWindow().showMaximized()
    slicer.app.processEvents()
    desk = Newcomer()
    (slicer_desk.OUT / "newcomer.txt").unlink(missing_ok=True)
    for part in (sample, study):
        try:
            part(desk)
        except Exception:
            desk.say(traceback.format_exc())
            desk.shot(f"failed_{part.__name__}")
    slicer.util.exit(0)


if __name__ == "__main__":
    qt.QTimer.singleShot(1000, main)
