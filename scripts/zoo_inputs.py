"""What the zoo's models are fed: photos, pages, speech and files, prepared as each model was trained for.

A function here takes the zoo's folder and a size of zoo.toml, and gives a name to array for every input. Data are those of
fetch_zoo.py --data --speech.
"""
import functools
import wave
import zlib

import numpy as np
from PIL import Image, ImageOps

from common import REPOSITORY, photos as labelled_photos, run_ort

IMAGENET = (np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32))
HALVES = (np.float32(0.5), np.float32(0.5))


def image(zoo, name):
    return Image.open(zoo / "data/skimage_photos" / name).convert("RGB")


def planes(picture, mean, std):
    """An image as float channels, 1 x 3 x height x width."""
    pixels = (np.asarray(picture, np.float32) / 255 - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def resized(picture, height, width):
    return picture.resize((width, height), Image.BILINEAR)


def photos(zoo, batch):
    images, _ = labelled_photos(zoo / "data/foolbox")
    return {"input": np.ascontiguousarray(images[3:3 + batch])}


def turned_pages(zoo, batch):
    """Pages, each a quarter turn further, middle 224 x 224 of 256 rows."""
    def page(i):
        picture = image(zoo, ("page.png", "text.png")[i // 2]).rotate(90 * i, expand=True)
        scale = 256 / min(picture.size)
        picture = picture.resize([round(side * scale) for side in picture.size], Image.BILINEAR)
        return planes(ImageOps.fit(picture, (224, 224)), *IMAGENET)
    return {"x": np.concatenate([page(i) for i in range(batch)])}


def letterbox(zoo, name):
    return {"images": planes(ImageOps.pad(image(zoo, name), (1024, 1024), color=(114, 114, 114)), 0, 1)}


def page(zoo, size):
    return {"x": planes(resized(image(zoo, "page.png"), *size), *IMAGENET)}


def components(mask):
    """Areas of neighbouring true pixels: (top, left, bottom, right) of each, in the order of their first pixels."""
    left = mask.copy()
    found = []
    for row, column in zip(*np.nonzero(mask)):
        if not left[row, column]:
            continue
        left[row, column] = False
        stack, box = [(row, column)], [row, column, row, column]
        while stack:
            r, c = stack.pop()
            box = [min(box[0], r), min(box[1], c), max(box[2], r), max(box[3], c)]
            for r, c in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and left[r, c]:
                    left[r, c] = False
                    stack.append((r, c))
        found.append([int(side) for side in box])
    return found


@functools.cache
def text_lines(zoo):
    """Lines of the page, as the detector of the zoo finds them by ONNX Runtime: images, the widest first."""
    height, width = 384, 768
    chances = run_ort(zoo / "ppocrv4_det.onnx", page(zoo, (height, width)))[0][0, 0]
    picture = resized(image(zoo, "page.png"), height, width)
    lines = []
    for top, left, bottom, right in components(chances > 0.3):
        grow = (bottom - top) * 3 // 5
        if right - left > 60:
            lines.append(picture.crop((left - grow, top - grow, right + grow, bottom + grow)))
    return sorted(lines, key=lambda line: -line.width)


def line(picture, width):
    """The beginning of a line of text, 48 rows high, padded to a width."""
    scaled = max(1, round(picture.width * 48 / picture.height))
    pixels = planes(resized(picture, 48, scaled), *HALVES)[..., :width]
    canvas = np.zeros((1, 3, 48, width), np.float32)
    canvas[..., :pixels.shape[-1]] = pixels
    return canvas


def lines(zoo, size):
    batch, width = size
    return {"x": np.concatenate([line(text_lines(zoo)[i], width) for i in range(batch)])}


def upright_lines(zoo, batch):
    """Every other line is upside down."""
    return {"x": np.concatenate([line(text_lines(zoo)[i].rotate(180 * (i % 2)), 192) for i in range(batch)])}


def sound(path, rate):
    """A recording in -1..1 at a rate, by linear interpolation."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        times = np.arange(int(len(samples) * rate / file.getframerate())) * (file.getframerate() / rate)
    return np.interp(times, np.arange(len(samples)), samples).astype(np.float32)


def sentence(zoo, rate):
    folder = zoo / "data/speech/pocketsphinx-testdata/librivox"
    return sound(sorted(folder.glob("*.wav"))[0], rate)


def windows(samples, count):
    """Windows of 512 samples with the 64 before each."""
    return np.stack([samples[i * 512:i * 512 + 576] for i in range(count)])


def speech_windows(zoo, batch):
    return {"input": windows(sentence(zoo, 16000)[20000:], batch),
            "state": np.zeros((2, batch, 128), np.float32), "sr": np.array(16000, np.int64)}


def speech_sequence(zoo, count):
    state = np.zeros((1, 1, 128), np.float32)
    return {"input": windows(sentence(zoo, 16000), count), "h": state, "c": state}


def sentences(zoo, size):
    """Words of a transcription. The vocabulary is no part of the zoo: a word's number is a hash of it."""
    batch, length = size
    folder = zoo / "data/speech/pocketsphinx-testdata/librivox"
    words = [w for w in (folder / "transcription").read_text().split() if w.isalpha()]
    ids, mask = np.zeros((batch, length), np.int64), np.zeros((batch, length), np.int64)
    for i in range(batch):
        count = length - 5 * i
        body = [1000 + zlib.crc32(w.encode()) % 29000 for w in (words * 4)[7 * i:7 * i + count - 2]]
        ids[i, :count], mask[i, :count] = [101, *body, 102], 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def files(zoo, batch):
    """The first and the last 1,024 bytes of files of this repository, as Magika takes them."""
    def ends(name):
        content = (REPOSITORY / name).read_bytes().strip()
        row = np.full(2048, 256, np.int32)
        first, last = content[:1024], content[-1024:]
        row[:len(first)] = list(first)
        row[2048 - len(last):] = list(last)
        return row
    names = ["README.md", "scripts/common.py", "Cargo.toml", "tests/bochs/guest.c"]
    return {"bytes": np.stack([ends(name) for name in names[:batch]])}


def recordings(zoo, count):
    names = ["Front_Center", "Rear_Left", "Side_Right"]
    samples = [np.resize(sound(zoo / f"data/speech/alsa-utils/{name}.wav", 22050), 43844) for name in names]
    return {"serving_default_input_2:0": np.stack(samples[:count])[..., None]}


def spectra(zoo, count):
    """Bands and the lowest 96 bins of a spectrum at 48 kHz, 960 samples every 480, normalised."""
    samples = np.resize(sentence(zoo, 48000)[40000:], 480 * (count + 1))
    frames = np.stack([samples[i * 480:i * 480 + 960] for i in range(count)]) * np.hanning(960)
    bins = np.fft.rfft(frames) / 480
    edges = np.unique(np.round(np.geomspace(1, 481, 45)).astype(int))
    edges = np.concatenate([[0], edges[-32:]])
    power = np.stack([(abs(bins[:, a:b]) ** 2).mean(1) for a, b in zip(edges, edges[1:])], 1)
    bands = (10 * np.log10(power + 1e-10) + 80) / 40
    low = bins[:, :96] / np.sqrt(abs(bins[:, :96]).mean() + 1e-10)
    return {"feat_erb": bands[None, None].astype(np.float32),
            "feat_spec": np.stack([low.real, low.imag])[None].astype(np.float32)}


def embeddings(zoo, count):
    """What the encoder says of them, by ONNX Runtime."""
    e0, e1, e2, e3, emb, c0, lsnr = run_ort(zoo / "deepfilternet3_enc.onnx", spectra(zoo, count))
    return {"emb": emb, "c0": c0}


def phonemes(zoo, count):
    """Numbers of phonemes, a pause behind each, without noise in lengths and sound."""
    spoken = [20, 59, 24, 120, 27, 100, 3, 35, 120, 62, 122, 24, 17, 10, 3, 41, 74, 31, 3, 74, 38, 3, 51, 3]
    ids = np.zeros((1, count), np.int64)
    inner = range(2, count - 1, 2)
    ids[0, 0], ids[0, -1] = 1, 2
    ids[0, inner] = [spoken[i % len(spoken)] for i in range(len(inner))]
    return {"input": ids, "input_lengths": np.array([count], np.int64), "scales": np.array([0, 1, 0], np.float32)}
