# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The page to explore, built with Gradio: what is on it, and what happens when it is touched.

Each visitor has a Visit, which Gradio keeps for the visitor's session. The network belongs to all.
"""

import collections
import functools
import os
import shutil
import tempfile
import time

import cv2
import gradio as gr
from starlette.middleware import Middleware

from src.dataloader.image_file import UnusableImage
from src.evaluation.picture import deviation_of, map_of, png
from src.explorer.policy import Policy
from src.explorer.space import (
    DEVIATION_SAMPLES,
    LARGEST_FILE,
    REDUCTIONS,
    Exploration,
    any_seed,
    photographs,
    read_small,
)

ADDRESS = "127.0.0.1"
TITLE = "Explore the space of pictures"
VISITS = 16  # the largest number of sessions that are remembered; older ones begin anew
FILES = 64  # the largest number of PNG files of a visit: a few for each of its last steps
FORGET = 3600  # seconds after which files of visitors are removed
VIEW = 480  # pixels of the page's height that an image has
BICUBIC, BEFORE = "Bicubic enlargement", "The picture before"
CSS = """
.gradio-container {max-width: 1180px !important; margin: 0 auto !important}
#status {min-height: 1.7em}
#status .problem {color: #b3261e; font-weight: 600}
footer {display: none !important}
"""


class Visit:
    """What one visitor does: an Exploration, the title of its picture, and a folder for PNG files."""

    def __init__(self, exploration, title):
        self.exploration, self.title = exploration, title
        self.left = BICUBIC  # of the slider
        height, width = exploration.lr.shape[:2]
        self.edges = [width // 3, height // 3, width - width // 3, height - height // 3]  # of the region, in LR pixels
        self.corner = None  # of a region, in LR pixels, where the other one is still to be clicked
        self.folder = tempfile.mkdtemp(dir=os.environ.get("GRADIO_TEMP_DIR"))
        self._folders = collections.deque()

    def file(self, image, name):
        """Write a picture as a PNG file, which is encoded several times as fast as by Gradio; return its path.

        Browsers know a file by its path, so each is in a folder of its own. The oldest files are removed.

        Args:
            image: uint8 (H, W, 3).
            name: of the file, before `.png`.
        """
        folder = tempfile.mkdtemp(dir=self.folder)
        self._folders.append(folder)
        if len(self._folders) > FILES:
            shutil.rmtree(self._folders.popleft(), ignore_errors=True)
        path = os.path.join(folder, f"{name}.png")
        with open(path, "wb") as file:
            file.write(png(image))
        return path

    def view(self, image, name):
        """Write a picture as the page shows it, and return the file's path."""
        return self.file(shown_larger(image), name)

    def take(self, edges):
        """Take numbers as the region's edges, and return its Tile; where they make none, the edges stay as they are.

        Raises:
            ValueError: as `Exploration.region` raises it.
        """
        region = self.exploration.region(*edges)
        self.edges = list(edges)
        return region

    def marked(self):
        """Return the image with the region's outline, as `shown_larger` shows it."""
        image = shown_larger(self.exploration.image).copy()
        region = self.exploration.region(*self.edges)
        rows, columns = region.slices(image.shape[0] // self.exploration.lr.shape[0])
        for colour, width in ((0, 3), (255, 1)):
            cv2.rectangle(image, (columns.start, rows.start), (columns.stop - 1, rows.stop - 1), 3 * (colour,), width)
        return image

    def forget(self):
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def serve(space, heat, folder, port=None, wait=True):
    """Serve the page on this machine until Ctrl-C.

    Args:
        space: the Space.
        heat: of the first image of a picture.
        folder: where Gradio keeps visitors' files.
        port: the port; None takes the first free one from 7860 on.
        wait: whether to return only at the end.

    Returns:
        the Blocks and the address, if it does not wait.

    Raises:
        OSError: the port is not free.
    """
    os.environ["GRADIO_TEMP_DIR"] = folder
    blocks = Page(space, heat).blocks
    address = blocks.launch(
        server_name=ADDRESS,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=LARGEST_FILE,
        state_session_capacity=VISITS,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        footer_links=[],
        css=CSS,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"], primary_hue="blue"),
        app_kwargs={"middleware": [Middleware(Policy)]},
    )[1]
    if wait:
        print(f"open {address} in a browser; Ctrl-C ends it", flush=True)
        blocks.block_thread()
    return blocks, address


def tells(handler):
    """Let a method of Page put what a visitor can mend into the page's status line, as one sentence."""

    @functools.wraps(handler)
    def told(self, *arguments):
        try:
            return handler(self, *arguments)
        except (UnusableImage, ValueError, OSError) as error:
            sentence = " ".join(str(error).split())
            return {self.status: f"<span class='problem'>{_escaped(sentence)}.</span>"}

    return told


class Page:
    """The page's parts, and the methods that are called when they are touched.

    Attributes:
        blocks: Gradio's description of the page, to be launched.
    """

    def __init__(self, space, heat):
        self._space, self._photographs = space, photographs()
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(FORGET // 6, FORGET)) as self.blocks:
            self.visit = gr.State(time_to_live=FORGET, delete_callback=_forget)
            gr.Markdown(
                f"# {TITLE}\nMany pictures become the same small one when they are reduced. SRFlow draws such pictures,"
                f" {space.scale} times as wide and high as the small one. Nothing leaves this machine."
            )
            with gr.Row():
                with gr.Column(scale=2, min_width=280):
                    self._make_sources()
                with gr.Column(scale=5, min_width=400):
                    self._make_steps(heat)
                    self._make_views()
            self._connect()

    def _make_sources(self):
        gr.Markdown("Take a sample photograph, or drop a picture of your own.")
        self.samples = gr.Gallery(
            list(zip(self._photographs.values(), self._photographs)),
            show_label=False,
            format="png",
            columns=2,
            rows=2,
            height=280,
            allow_preview=False,
            interactive=False,
            object_fit="cover",
            buttons=[],
            elem_id="samples",
        )
        self.file = gr.File(show_label=False, height=120, elem_id="file")
        self.reduction = gr.Dropdown(
            [("not", 1)] + [(f"{times} times", times) for times in REDUCTIONS[1:]],
            value=1,
            label="Reduce your own picture first",
            elem_id="reduction",
        )

    def _make_steps(self, heat):
        with gr.Row(equal_height=True):
            self.heat = gr.Slider(
                0, 1, heat, step=0.01, label="Heat: 0 smoothest, 1 most detailed", scale=4, elem_id="heat"
            )
            with gr.Column(scale=1, min_width=190):
                self.another = gr.Button("Another sample", variant="primary", elem_id="another")
                self.download = gr.DownloadButton("Download PNG", interactive=False, elem_id="download")

    def _make_views(self):
        self.status = gr.Markdown("Nothing is shown yet.", elem_id="status")
        view = dict(format="png", height=VIEW, interactive=False, show_label=False)
        with gr.Tab("Picture"):
            self.picture = gr.Image(elem_id="picture", buttons=["fullscreen"], **view)
        with gr.Tab("Compare"):
            self.left = gr.Radio(
                [BICUBIC, BEFORE],
                value=BICUBIC,
                label="Left of the slider",
                info="Right of it is the picture. The picture before is that before the last sample or region.",
                elem_id="left-of-slider",
            )
            self.slider = gr.ImageSlider(elem_id="slider", buttons=["fullscreen"], **view)
        with gr.Tab("Region"):
            gr.Markdown("Click two corners, or give them in pixels of the small picture. Elsewhere the noise stays.")
            with gr.Row():
                self.edges = [
                    gr.Number(label=edge, precision=0, minimum=0, min_width=80, elem_id=f"region-{edge.lower()}")
                    for edge in ("Left", "Top", "Right", "Bottom")
                ]
                self.redraw = gr.Button("Draw it anew", variant="primary", elem_id="redraw")
            self.marked = gr.Image(elem_id="marked", buttons=[], **view)
        with gr.Tab("Where samples differ"):
            self.spread = gr.Button(f"Draw {DEVIATION_SAMPLES} samples at this heat", elem_id="spread")
            self.spread_text = gr.Markdown()
            self.map = gr.Image(elem_id="map", buttons=["download", "fullscreen"], **view)

    def _connect(self):
        shown = [self.visit, self.status, self.picture, self.slider, self.marked, self.download]
        opened = [*shown, *self.edges, self.map, self.spread_text]
        # One computes at a time, and one visitor's clicks come one after the other.
        common = dict(
            show_progress="full",
            show_progress_on=self.status,
            concurrency_limit=1,
            concurrency_id="network",
            api_visibility="private",
        )
        # What comes while the last event of its kind is being answered is answered after it, and not lost.
        last = dict(common, trigger_mode="always_last")
        moving = dict(last, show_progress="hidden")
        file = [self.visit, self.heat, self.file, self.reduction]
        self.file.upload(self.open_file, file, opened, **common)
        self.reduction.input(self.open_file, file, opened, **last)
        self.samples.select(self.open_photograph, [self.visit, self.heat], opened, **common)
        self.heat.input(self.move_heat, [self.visit, self.heat], shown, **moving)
        self.heat.release(self.release_heat, [self.visit, self.heat], shown, **last)
        self.another.click(self.draw_another, [self.visit, self.heat], shown, **common)
        self.redraw.click(self.draw_region, [self.visit, self.heat, *self.edges], shown, **common)
        self.left.input(self.choose_left, [self.visit, self.left], shown, **last)
        self.spread.click(
            self.draw_spread, [self.visit, self.heat], [self.status, self.map, self.spread_text], **common
        )
        self.marked.select(self.click, [self.visit], [self.visit, self.status, self.marked, *self.edges], **common)
        for edge in self.edges:
            edge.input(self.move_edge, [self.visit, *self.edges], [self.visit, self.status, self.marked], **last)

    # ------------------------------------------------------------------------------------------------------------------
    # What happens. All methods return {part of the page: its new value}.

    @tells
    def open_file(self, visit, heat, path, reduction, progress=gr.Progress()):  # noqa: B008  # Gradio's way
        """Begin anew with a visitor's file."""
        if path is None:
            return gr.skip()
        title = os.path.splitext(os.path.basename(path))[0][:50]  # it becomes part of files' names
        return self._open(visit, read_small(path, reduction), title, heat, progress)

    @tells
    def open_photograph(self, visit, heat, event: gr.SelectData, progress=gr.Progress()):  # noqa: B008  # as above
        """Begin anew with a sample photograph."""
        title = list(self._photographs)[event.index]
        return self._open(visit, self._photographs[title], title, heat, progress)

    def _open(self, old, lr, title, heat, progress):
        start = time.perf_counter()
        visit = Visit(Exploration(self._space, lr, heat, progress=_told_to(progress)), title)
        if old is not None:
            visit.left = old.left
        _forget(old)
        return {**self._shown(visit, start), **dict(zip(self.edges, visit.edges)), self.map: None, self.spread_text: ""}

    @tells
    def move_heat(self, visit, heat):
        """Answer the heat's slider while it moves, where that is a matter of a moment."""
        if visit is None or visit.exploration.is_large:
            return gr.skip()
        return self._walk(visit, lambda walk: walk.show(heat))

    @tells
    def release_heat(self, visit, heat, progress=gr.Progress()):  # noqa: B008  # as above
        """Answer the heat's slider once it rests, where it takes longer."""
        if visit is None or heat == visit.exploration.heat:
            return gr.skip()
        return self._walk(visit, lambda walk: walk.show(heat, _told_to(progress)))

    @tells
    def draw_another(self, visit, heat, progress=gr.Progress()):  # noqa: B008  # as above
        """Show another sample."""
        return self._walk(visit, lambda walk: walk.another(progress=_told_to(progress)), heat)

    @tells
    def draw_region(self, visit, heat, left, top, right, bottom, progress=gr.Progress()):  # noqa: B008  # as above
        """Show another sample of the region."""
        _begun(visit)
        region = visit.take([left, top, right, bottom])
        return self._walk(visit, lambda walk: walk.redraw(region, progress=_told_to(progress)), heat)

    @tells
    def choose_left(self, visit, left):
        """Show something else left of the slider."""
        if visit is None:
            return gr.skip()
        visit.left = left
        if left == BEFORE and visit.exploration.before is None:
            raise ValueError("There is no picture before this one yet: take another sample, or draw a region anew")
        return self._walk(visit, lambda walk: walk.image)

    @tells
    def draw_spread(self, visit, heat, progress=gr.Progress()):  # noqa: B008  # as above
        """Draw several samples, and show their standard deviation as a map."""
        start, walk = time.perf_counter(), _begun(visit)
        seed = any_seed()
        samples = walk.samples(heat, seed, _told_to(progress))
        deviation = deviation_of(samples)
        text = (
            f"Standard deviation of {len(samples)} samples at heat {heat:.2f}: {deviation.mean():.1f} of 255 on "
            f"average, {deviation.max():.1f} where the map is brightest."
        )
        return {
            self.status: f"{len(samples)} samples · seed {seed} · {_seconds(start)}",
            self.map: visit.view(map_of(deviation), "deviation"),
            self.spread_text: text,
        }

    @tells
    def click(self, visit, event: gr.SelectData):
        """Take a click on the picture as a corner of the region."""
        walk = _begun(visit)
        times = shown_larger(walk.image).shape[0] // walk.lr.shape[0]
        corner = [int(value) // times for value in event.index]
        if visit.corner is None:
            visit.corner = corner
            return {self.visit: visit, self.status: "Now click the opposite corner."}
        edges = [f(pair) for f in (min, lambda pair: max(pair) + 1) for pair in zip(visit.corner, corner)]
        visit.corner = None
        region = visit.take(edges)
        visit.edges = [region.left, region.top, region.left + region.width, region.top + region.height]
        return {
            self.visit: visit,
            self.status: "Draw the region anew, or click two other corners.",
            self.marked: visit.view(visit.marked(), "region"),
            **dict(zip(self.edges, visit.edges)),
        }

    @tells
    def move_edge(self, visit, *edges):
        """Take the numbers as the region's corners."""
        _begun(visit)
        visit.take(edges)
        return {self.visit: visit, self.status: "", self.marked: visit.view(visit.marked(), "region")}

    def _walk(self, visit, step, heat=None):
        """Take a step, function of an Exploration, at this heat if one is given, and show where it leads."""
        start, walk = time.perf_counter(), _begun(visit)
        if heat is not None:
            walk.heat = heat
        step(walk)
        return self._shown(visit, start)

    def _shown(self, visit, start):
        walk = visit.exploration
        picture = visit.view(walk.image, "picture")
        left = walk.before if visit.left == BEFORE and walk.before is not None else walk.bicubic
        return {
            self.visit: visit,
            self.status: _described(walk, start),
            self.picture: picture,
            self.slider: (visit.view(left, "left"), picture),
            self.marked: visit.view(visit.marked(), "region"),
            self.download: gr.update(value=visit.file(walk.image, visit.title), interactive=True),
        }


def _begun(visit):
    if visit is None:
        raise ValueError("Take a sample photograph, or drop a picture, first")
    return visit.exploration


def _forget(visit):
    if visit is not None:
        visit.forget()


def shown_larger(image):
    """Enlarge a picture that is small on a screen by a whole factor: its pixels are repeated, and so seen as they are.

    Args:
        image: uint8 (H, W, 3).

    Returns:
        uint8 (k·H, k·W, 3).
    """
    times = max(1, VIEW // max(image.shape[:2]))
    return image.repeat(times, 0).repeat(times, 1)


def _told_to(progress):
    """Return the function that Exploration's methods tell of finished tiles."""
    return lambda done, total: progress((done, total), unit="tiles") if total > 1 else None


def _described(walk, start):
    (height, width), (large_height, large_width) = walk.lr.shape[:2], walk.image.shape[:2]
    noise = "a region of its own" if walk.seed is None else f"seed {walk.seed}"
    facts = [f"{width}×{height} → {large_width}×{large_height}", f"heat {walk.heat:.2f}", noise, _seconds(start)]
    if walk.cooled:
        facts.append(f"{walk.cooled} part(s) at a lower heat, as they exploded at this one")
    if walk.exploded:
        facts.append(f"{walk.exploded} part(s) exploded at all lower heats too, and stayed as they were")
    return " · ".join(facts)


def _seconds(start):
    return f"{time.perf_counter() - start:.2f} s"


def _escaped(text):
    """Return a text that may hold a file's name as HTML and Markdown show it, letter by letter."""
    return "".join(f"&#{ord(letter)};" if not (letter.isalnum() or letter in " .,;:-") else letter for letter in text)
