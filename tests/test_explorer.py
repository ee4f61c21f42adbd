# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The walk in the space of pictures, on a small network as ONNX, and the page in a real browser.

Where onnx and onnxruntime are not installed, all is skipped; without Gradio, Playwright and Chromium the page's tests.
"""

import asyncio
import base64
import os
import re
import shutil
import signal
import sys
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from programs import write_image
from seeded_weights import seeded_state
from skimage.data import astronaut, chelsea

WHY = "onnx and onnxruntime are not installed here (requirements_onnx.txt)"
pytest.importorskip("onnx", reason=WHY)
pytest.importorskip("onnxruntime", reason=WHY)

import export as export_program  # noqa: E402
from src.dataloader.image_file import UnusableImage  # noqa: E402
from src.evaluation.picture import deviation_map  # noqa: E402
from src.explorer import __main__ as explorer_program  # noqa: E402
from src.explorer import space as space_module  # noqa: E402
from src.explorer.policy import Policy  # noqa: E402
from src.explorer.space import DEVIATION_SAMPLES, TILE, Exploration, Space, photographs, read_small  # noqa: E402
from src.export.onnx_model import OnnxSRFlow  # noqa: E402
from src.imresize import imresize  # noqa: E402
from src.model_utils.options import options_from_dict  # noqa: E402
from src.network_names import shapes_of  # noqa: E402
from src.sampling import COOLER  # noqa: E402
from src.tiling import Tile  # noqa: E402
from src.weights.checkpoint import TRAINING, Checkpoint  # noqa: E402

NETWORK = {"nf": 16, "nb": 2, "gc": 8, "flow": {"K": 1, "L": 3, "stackRRDB": {"blocks": [0, 1]}}}
CAT = imresize(chelsea()[60:124, 120:184], 1 / 4)  # 16 x 16
FACE = imresize(astronaut()[30:82, 190:230], 1 / 4)  # 13 x 10


@pytest.fixture(name="files", scope="module")
def fixture_files(tmp_path_factory):
    """The name of the files of a small exported network."""
    options = options_from_dict({"model": "SRFlow", "scale": 4, "network_G": NETWORK})
    checkpoint = Checkpoint(TRAINING, options, seeded_state(shapes_of(options), 11), {"step": 7})
    name = str(tmp_path_factory.mktemp("onnx") / "small")
    export_program.write_onnx(checkpoint, 0.8, SimpleNamespace(file_name=name, float16=False, height=None, width=None))
    return name


@pytest.fixture(name="model")
def fixture_model(files):
    """Without anything kept of other tests' images."""
    return OnnxSRFlow(files, threads=1, keep=2 * CAT.shape[0] * CAT.shape[1])


@pytest.fixture(name="space")
def fixture_space(model):
    return Space(model)


# ---------------------------------------------------------------------------------------------------------------------
# The walk


@pytest.mark.parametrize("lr", [CAT, FACE], ids=["even", "odd"])
def test_images_are_those_of_sample(lr, space, model):
    walk = Exploration(space, lr, heat=0.8, seed=5)
    for heat in (0.8, 0.3, 0.0):
        assert walk.show(heat).tobytes() == model.sample(lr, consistent=True, heat=heat, seed=5).tobytes()
    walk.show(0.7)
    first = walk.image
    walk.another(seed=6)
    assert walk.image.tobytes() == model.sample(lr, consistent=True, heat=0.7, seed=6).tobytes() != first.tobytes()
    assert walk.before is first and (walk.heat, walk.seed, walk.cooled) == (0.7, 6, 0)
    assert walk.another().tobytes() != walk.before.tobytes()
    assert walk.image.tobytes() == model.sample(lr, consistent=True, heat=0.7, seed=walk.seed).tobytes()
    assert walk.bicubic.shape == walk.image.shape


def test_a_region_has_other_latents_and_the_rest_keeps_its_own(space):
    walk = Exploration(space, CAT, heat=0.8, seed=5)
    before, noise = walk.image, [latent.copy() for latent in walk._noise]
    walk.redraw(Tile(2, 4, 6, 8), seed=7)
    for latent, old in zip(walk._noise, noise):
        times = latent.shape[-1] / CAT.shape[1]
        inside = np.zeros(latent.shape[-2:], bool)
        inside[int(2 * times) : int(8 * times), int(4 * times) : int(12 * times)] = True
        assert (latent != old)[..., inside].all() and (latent == old)[..., ~inside].all()
    changed = (walk.image != before).any(axis=2)
    assert changed[8:32, 16:48].mean() > 0.9  # most of the region, in pixels of the image
    assert walk.before is before and walk.seed is None
    walk.redraw(walk.region(0, 0, 16, 16), seed=8)
    whole = Exploration(space, CAT, heat=0.8, seed=8)
    assert walk.image.tobytes() == whole.image.tobytes()


def test_regions(space):
    walk = Exploration(space, FACE, heat=0, seed=1)
    assert walk.region(3, 1, 7, 4) == walk.region(7, 4, 3, 1) == Tile(0, 2, 4, 6)
    assert walk.region(-5, 12, 99, 99) == Tile(12, 0, 2, 10)  # 13 rows, of which the last is padded
    for edges, words in (
        ((3, 1, 3, 4), "expected left and right to differ by a pixel or more, within 0 and 10, got 3 and 3"),
        ((1, 20, 3, 40), "expected top and bottom to differ by a pixel or more, within 0 and 13, got 20 and 40"),
        ((None, 1, 3, 4), "expected left and right to be numbers, got None and 3"),
        ((1, 1, 3, float("nan")), "expected top and bottom to be numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            walk.region(*edges)


def test_samples_leave_the_walk_where_it_is(space, model):
    walk = Exploration(space, CAT, heat=0.8, seed=5)
    image = walk.image
    samples = walk.samples(0.5, seed=3)
    assert samples.tobytes() == model.sample(CAT, consistent=True, heat=0.5, n=len(samples), seed=3).tobytes()
    assert len(samples) == DEVIATION_SAMPLES and walk.image is image and walk.heat == 0.8


def test_two_visitors_do_not_mix(space, model):
    """Nor where they ask at the same time."""
    walks = {seed: Exploration(space, lr, heat=0.8, seed=seed) for seed, lr in ((1, CAT), (2, FACE), (3, CAT))}
    heats, came = [0.1, 0.9, 0.4, 0.6], {}
    expected = {
        seed: [model.sample(walk.lr, consistent=True, heat=heat, seed=seed)[0].tobytes() for heat in heats]
        for seed, walk in walks.items()
    }

    def visit(seed):
        came[seed] = [walks[seed].show(heat).tobytes() for heat in heats]

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in walks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came == expected


@pytest.mark.parametrize("failures, cooled, exploded", [(1, 1, 0), (1 + len(COOLER), 0, 1)])
@pytest.mark.filterwarnings("ignore:decoding explodes at heat 0.8, and at all lower ones:RuntimeWarning")
def test_parts_that_exploded_are_counted(space, model, monkeypatch, failures, cooled, exploded):
    """Apart from each other: those decoded at a lower heat, and those that no heat saved."""
    walk, decode, calls = Exploration(space, CAT, heat=0.8, seed=5), model._decode, []

    def decode_badly(*given, **how):
        images = decode(*given, **how)
        calls.append(given)
        return np.full_like(images, 1e6) if len(calls) <= failures else images

    monkeypatch.setattr(model, "_decode", decode_badly)
    walk.show(0.8)
    assert (walk.cooled, walk.exploded) == (cooled, exploded)
    walk.show(0.8)
    assert (walk.cooled, walk.exploded) == (0, 0)


def test_conditions_are_kept_for_a_bounded_number_of_pixels(model, monkeypatch):
    calls, encoder = [], model._encoder
    counted = SimpleNamespace(run=lambda *given: calls.append(given) or encoder.run(*given))
    monkeypatch.setattr(model, "_encoder", counted)
    pictures = [CAT, CAT[::-1], CAT[:, ::-1]]  # two of which may be kept
    for picture in (0, 1, 0, 1, 0):
        model.sample(pictures[picture], seed=1)
    assert len(calls) == 2
    model.sample(pictures[2], seed=1)  # the second was used longest ago
    model.sample(pictures[0], seed=1)
    assert len(calls) == 3 and len(model._kept) == 2
    model.sample(pictures[1], seed=1)
    assert len(calls) == 4
    model.sample(np.concatenate(pictures), seed=1)  # more than may be kept: it alone is
    assert len(model._kept) == 1


def test_large_pictures_are_tiled_and_tell_how_far_they_are(space, model):
    lr = imresize(chelsea()[100:140, :400], 1 / 4)
    told = []
    walk = Exploration(space, lr, heat=0.6, seed=4, progress=lambda *numbers: told.append(numbers))
    assert walk.is_large and not Exploration(space, CAT, heat=0, seed=4).is_large
    assert told == [(1, 2), (2, 2)]
    assert walk.image.tobytes() == model.sample(lr, consistent=True, heat=0.6, seed=4, tile=TILE).tobytes()


def test_noise_of_another_size_is_refused(model):
    noise = model.draw((16, 16), n=2, seed=1)
    assert model.sample(CAT, n=2, noise=noise).tobytes() == model.sample(CAT, n=2, seed=1).tobytes()
    for wrong in (model.draw((16, 14), n=2), noise[:1], model.draw((16, 16), n=1)):
        with pytest.raises(ValueError, match="noise: expected shapes"):
            model.sample(CAT, n=2, noise=wrong)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def test_pictures_are_read_and_reduced(tmp_path):
    write_image(tmp_path / "a.png", chelsea()[:64, :80])
    assert read_small(str(tmp_path / "a.png")).tobytes() == chelsea()[:64, :80].tobytes()
    assert read_small(str(tmp_path / "a.png"), 4).tobytes() == imresize(chelsea()[:64, :80], 1 / 4).tobytes()


def test_unusable_files_are_told_in_a_sentence(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", chelsea()[:64, :80])
    (tmp_path / "notes.txt").write_text("no picture")
    monkeypatch.setattr(space_module, "LARGEST_PICTURE", 1300)
    for name, reduction, words in (
        ("notes.txt", 1, "notes.txt cannot be read as an image: it is damaged, or no BMP"),
        ("missing.png", 1, "missing.png cannot be read: No such file or directory"),
        (
            "a.png",
            1,
            "a.png has 80x64 pixels, of which at most 1300 are enlarged; reduce it 2 times, or cut out a part",
        ),
        ("a.png", 64, "a.png has 80x64 pixels, expected sides of at least 128"),
    ):
        with pytest.raises(UnusableImage, match=re.escape(words)):
            read_small(str(tmp_path / name), reduction)
    monkeypatch.setattr(space_module, "LARGEST_FILE", 100)
    with pytest.raises(UnusableImage, match=r"a.png has \d+ bytes, expected at most 100"):
        read_small(str(tmp_path / "a.png"), 4)


def test_sample_photographs_can_be_explored():
    for lr in photographs().values():
        assert lr.dtype == np.uint8 and lr.ndim == 3 and lr.shape[0] * lr.shape[1] <= space_module.LARGEST_PICTURE


def test_the_program_wants_exported_files(tmp_path):
    with pytest.raises(ValueError, match="nothing.encoder.onnx: no such file"):
        explorer_program.main(["--onnx", str(tmp_path / "nothing")])


@pytest.mark.parametrize("port, problem", [("70000", "expected a port from 1 to 65535, got 70000"), ("x", "invalid")])
def test_ports(port, problem, capsys):
    with pytest.raises(SystemExit) as end:
        explorer_program.parse(["--onnx", "any", "--port", port])
    assert end.value.code == 2 and f"argument --port: {problem}" in capsys.readouterr().err
    assert explorer_program.parse(["--onnx", "any", "--port", "65535"]).port == 65535


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_no_folder(files, number, monkeypatch):
    """A closed terminal may send SIGHUP twice, the second while the folder is being removed."""
    folders, handlers = [], {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for name in ("GRADIO_TEMP_DIR", *explorer_program.QUIET):
        monkeypatch.setenv(name, "as it was")

    def serve(space, heat, folder, port):
        folders.append(folder)
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)

    monkeypatch.setitem(sys.modules, "src.explorer.page", SimpleNamespace(serve=serve))
    try:
        for each in handlers:
            signal.signal(each, signal.SIG_DFL)  # under nohup SIGHUP is ignored
        with pytest.raises(SystemExit) as end:
            explorer_program.main(["--onnx", files])
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    assert end.value.code == 0 and len(folders) == 1 and not os.path.exists(folders[0])


def test_nohup_stays():
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        explorer_program.end_by_signals(lambda number: 0)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, handlers[signal.SIGTERM])
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


# ---------------------------------------------------------------------------------------------------------------------
# The page


def answer_to(kind="http", **headers):
    """What Policy sends in answer to a request with these headers, around a server that answers 200."""
    sent = []

    async def server(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    asyncio.run(Policy(server)(scope, None, send))
    return sent


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"host": "127.0.0.1:7860"}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7860"}, 200),
        ({"host": "LOCALHOST:8000", "origin": "http://localhost:8000"}, 200),  # by a tunnel
        ({}, 403),
        ({"host": "example.org:7860"}, 403),
        ({"host": "example.org:7860", "origin": "http://example.org:7860"}, 403),  # whose name means 127.0.0.1
        ({"host": "127.0.0.1.example.org"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://example.org"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:3000"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "null"}, 403),
    ],
)
def test_other_websites_are_refused(headers, status):
    sent = answer_to(**headers)
    assert sent[0]["status"] == status
    if status == 200:
        (policy,) = [value.decode() for name, value in sent[0]["headers"] if name == b"content-security-policy"]
        for rule in ("default-src 'self'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'self'"):
            assert rule in policy
    else:
        assert b"127.0.0.1 or localhost" in sent[1]["body"]
        assert answer_to("websocket", **headers) == [{"type": "websocket.close", "code": 1008}]


@pytest.fixture(name="address")
def fixture_address(space, tmp_path, monkeypatch):
    """A page that is served to the test alone."""
    pytest.importorskip("gradio", reason="Gradio is not installed here (requirements_explorer.txt)")
    for name, value in {**explorer_program.QUIET, "GRADIO_TEMP_DIR": str(tmp_path / "gradio")}.items():
        monkeypatch.setenv(name, value)
    from src.explorer.page import serve

    (tmp_path / "gradio").mkdir()
    blocks, address = serve(space, 0.8, str(tmp_path / "gradio"), wait=False)
    yield address
    blocks.close()


def test_the_server_refuses_other_websites(address):
    upload = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nany\r\n--b--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    for headers, status in (
        (kind, 200),
        ({**kind, "Origin": address.rstrip("/")}, 200),
        ({**kind, "Origin": "http://example.org"}, 403),
        ({**kind, "Host": "example.org"}, 403),
    ):
        request = urllib.request.Request(address + "gradio_api/upload", data=upload, headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                assert answer.status == status
        except urllib.error.HTTPError as error:
            assert error.code == status


@pytest.fixture(name="page")
def fixture_page():
    """The module of the page."""
    pytest.importorskip("gradio", reason="Gradio is not installed here (requirements_explorer.txt)")
    from src.explorer import page

    return page


def test_edges_that_make_no_region_change_nothing(page, space):
    parts = page.Page(space, 0.8)
    visit = page.Visit(Exploration(space, CAT, heat=0.8, seed=5), "cat")
    edges = list(visit.edges)
    for wrong in ([None, 5, 11, 11], [11, 5, 11, 11]):
        for answer in (parts.move_edge(visit, *wrong), parts.draw_region(visit, 0.8, *wrong)):
            assert list(answer) == [parts.status] and "expected left and right to" in answer[parts.status]
        assert visit.edges == edges and visit.exploration.seed == 5
    for corner in ([0, 0], [999, 0], [0, 0], [447, 447]):  # the second is beyond the picture, and ends the first region
        answer = parts.click(visit, SimpleNamespace(index=corner))
    assert visit.edges == [0, 0, 16, 16] and answer[parts.edges[2]] == 16
    assert parts.draw_region(visit, 0.8, 4, 4, 8, 8)[parts.visit] is visit
    assert visit.edges == [4, 4, 8, 8] and visit.exploration.seed is None
    visit.forget()


def test_what_exploded_is_told(page, space):
    walk = Exploration(space, CAT, heat=0.8, seed=5)
    assert "explode" not in page._described(walk, 0)
    walk.cooled, walk.exploded = 2, 3
    line = page._described(walk, 0)
    assert "2 part(s) at a lower heat" in line and "3 part(s) exploded at all lower heats too" in line


@pytest.fixture(name="browser")
def fixture_browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed here")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


# Null while the image is being replaced by another. A text comes from the browser many times as fast as an array.
PIXELS = """async image => {
    try { await image.decode(); } catch (EncodingError) { return null; }
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const bytes = context.getImageData(0, 0, canvas.width, canvas.height).data;
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return [canvas.width, btoa(text)];
}"""


class Visitor:
    """Somebody at the page, with a browser window of their own, who notes which other servers it asks."""

    def __init__(self, browser, address):
        self.page, self.elsewhere = browser.new_context().new_page(), []
        local = (address, "data:", "blob:")
        self.page.on("request", lambda asked: asked.url.startswith(local) or self.elsewhere.append(asked.url))
        self.answer = self.page.goto(address)

    def upload(self, path):
        self.page.locator("#file input[type=file]").set_input_files(str(path))

    def read(self, *words):
        """The status line once it has these words."""
        line = self.page.locator("#status", has_text=re.compile(".*".join(re.escape(word) for word in words)))
        line.wait_for(timeout=60000)
        return line.inner_text()

    def image(self, part="picture", number=0):
        """The pixels that a part of the page shows, as the browser has them; None while it loads others."""
        found = self.page.locator(f"#{part} img").nth(number).evaluate(PIXELS)
        if found is None:
            return None
        width, pixels = found
        return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(-1, width, 4)[:, :, :3]

    def shows(self, image, part="picture", number=0):
        """Wait until the part of the page shows the image, its pixels repeated."""
        times = 480 // max(image.shape[:2])
        expected = image.repeat(times, 0).repeat(times, 1)
        for _ in range(100):
            seen = self.image(part, number)
            if seen is not None and seen.tobytes() == expected.tobytes():
                return True
            self.page.wait_for_timeout(50)
        return False

    def download(self):
        """(name, pixels) of the file that the button gives."""
        with self.page.expect_download() as download:
            self.page.locator("#download").click()
        pixels = cv2.imread(download.value.path())
        return download.value.suggested_filename, pixels[:, :, ::-1]


def seed_in(line):
    return int(re.search(r"seed (\d+)", line).group(1))


def test_the_page_in_a_browser(address, browser, page, space, model, tmp_path):
    write_image(tmp_path / "cat.png", CAT)
    write_image(tmp_path / "face.png", FACE)
    (tmp_path / "notes.txt").write_text("no picture")
    one, other = Visitor(browser, address), Visitor(browser, address)
    assert "default-src 'self'" in one.answer.headers["content-security-policy"]

    one.upload(tmp_path / "cat.png")
    seed = seed_in(one.read("16×16 → 64×64", "heat 0.80"))
    expected = model.sample(CAT, consistent=True, heat=0.8, seed=seed)[0]
    assert one.shows(expected)
    name, pixels = one.download()
    assert name == "cat.png" and pixels.tobytes() == expected.tobytes()

    other.upload(tmp_path / "face.png")
    other_seed = seed_in(other.read("10×13 → 40×52", "heat 0.80"))
    one.page.locator("#heat input[type=range]").fill("0.25")
    assert seed_in(one.read("16×16 → 64×64", "heat 0.25")) == seed
    assert one.shows(model.sample(CAT, consistent=True, heat=0.25, seed=seed)[0])
    assert other.shows(model.sample(FACE, consistent=True, heat=0.8, seed=other_seed)[0])

    one.page.get_by_role("tab", name="Region").click()
    left = one.page.locator("#region-left input")
    left.fill("")
    left.press_sequentially("17")  # each of the three is an event, and one may come while another is answered
    left.press("Backspace")
    left.press("Backspace")
    left.press("8")
    visit = page.Visit(Exploration(space, CAT, heat=0.25, seed=seed), "cat")
    visit.edges[0] = 8
    assert one.shows(visit.marked(), "marked")
    visit.forget()
    one.page.locator("#redraw").click()
    one.read("a region of its own")
    before = model.sample(CAT, consistent=True, heat=0.25, seed=seed)[0]
    one.page.get_by_role("tab", name="Compare").click()
    assert one.shows(imresize(CAT, 4), "slider", 0)
    one.page.get_by_text("The picture before", exact=True).click()
    assert one.shows(before, "slider", 0)
    changed = (one.download()[1] != before).any(axis=2)
    assert changed[24:40, 32:40].mean() > 0.5 > changed.mean()
    one.page.get_by_role("tab", name="Picture").click()
    one.page.locator("#another").click()
    seed = seed_in(one.read("16×16 → 64×64", "seed"))
    assert one.shows(model.sample(CAT, consistent=True, heat=0.25, seed=seed)[0])

    one.page.get_by_role("tab", name="Where samples differ").click()
    one.page.locator("#spread").click()
    seed = seed_in(one.read("8 samples", "seed"))
    samples = model.sample(CAT, consistent=True, n=DEVIATION_SAMPLES, heat=0.25, seed=seed)
    assert one.shows(deviation_map(samples), "map")
    one.page.locator("#file button[aria-label='Clear']").first.click()
    one.upload(tmp_path / "notes.txt")
    one.read("notes.txt cannot be read as an image")
    assert "Traceback" not in one.page.content()
    assert one.elsewhere == other.elsewhere == []
