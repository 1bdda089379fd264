"""What the tutorial's converter does with a video, for one or more of them.

The bitrate is given so that it equals the other programs'; the tutorial leaves it out. The clip
is closed after each file: left to the interpreter, its ffmpeg processes pile up.
"""

import pathlib
import sys

from moviepy import VideoFileClip

folder = pathlib.Path(sys.argv[1])
for path in sys.argv[2:]:
    with VideoFileClip(path) as video:
        out = folder / (pathlib.Path(path).stem + ".mp3")
        video.audio.write_audiofile(str(out), bitrate="192k", logger=None)
