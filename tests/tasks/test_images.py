import pickle
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modeconn import Task, TaskError
from modeconn.tasks.images import ImageFault, is_image, stored_image

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def one(image: object, label: str = "cat", **options: object) -> Task:
    return Task.from_records("pets", {"test": [{"image": image, "label": label}]}, labels=["cat", "dog"], **options)


def pixels_of(task: Task) -> np.ndarray:
    return task.split("test")[0].image.pixels()


@pytest.mark.parametrize(
    "value",
    [GREY, GREY[..., None], GREY.tolist(), GREY.astype(np.int64), torch.from_numpy(GREY), Image.fromarray(GREY)],
    ids=["array", "one channel", "lists", "wide integers", "tensor", "Pillow"],
)
def test_every_form_of_a_grey_image_gives_its_pixels(value):
    assert np.array_equal(stored_image(value).pixels(), GREY[..., None])


@pytest.mark.parametrize("value", [COLOUR, COLOUR.tolist(), Image.fromarray(COLOUR), encoded(Image.fromarray(COLOUR))])
def test_every_form_of_a_colour_image_gives_its_pixels(value):
    assert np.array_equal(stored_image(value).pixels(), COLOUR)


def test_pixels_are_copied():
    mine = GREY.copy()
    stored = stored_image(mine)
    mine[:] = 0
    assert np.array_equal(stored.pixels(), GREY[..., None])


def test_alpha_and_palettes_become_colour_without_a_warning():
    picture = Image.fromarray(COLOUR)
    alpha = picture.copy()
    alpha.putalpha(7)
    palette = picture.quantize(8)
    palette.info["transparency"] = bytes([0, 255])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(stored_image(alpha).pixels(), COLOUR)
        assert stored_image(encoded(palette)).pixels().shape == COLOUR.shape


def test_a_photo_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    stored = encoded(Image.fromarray(GREY), exif=exif)
    assert np.array_equal(stored_image(stored).pixels()[..., 0], np.rot90(GREY, -1))


@pytest.mark.parametrize("value", ["a text", ["a", "b"], [1, 2], 3, None, {}, {"image": 1}])
def test_other_values_are_no_images(value):
    assert not is_image(value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (GREY / 255, "an array of float64"),
        (GREY > 3, "an array of bool"),
        (GREY.astype(int) * 2, "an array with numbers from 0 to 440"),
        (GREY.astype(int) - 1, "an array with numbers from -1 to 219"),
        (COLOUR.transpose(2, 0, 1), r"an array of shape \[3, 3, 4\]"),
        (GREY[0], r"an array of shape \[4\]"),
        (GREY[:0], r"an array of shape \[0, 4\]"),
        ([[1, 2], [3]], "no array of pixels"),
        (b"not an image", "an image cannot be decoded .*cannot identify"),
        (encoded(Image.fromarray(COLOUR))[:60], "an image cannot be decoded"),
        (Image.fromarray(GREY.astype(np.uint16)), "of the mode I;16: more than 8 bits"),
        (Image.fromarray(GREY.astype(np.float32)), "of the mode F: more than 8 bits"),
        ({"bytes": None, "path": None}, "without bytes and path"),
    ],
)
def test_what_holds_no_pixels_is_refused(value, told):
    with pytest.raises(ImageFault, match=told) as caught:
        stored_image(value).pixels()
    assert caught.value.remedy
    with pytest.raises(TaskError, match=rf"(?s)cannot use 1 of the 1 examples.*got: 'image' is .*{told}"):
        one(value)


def test_a_record_of_an_image_becomes_an_example():
    task = one(GREY)
    assert task.of_images
    assert task.metric == "accuracy"
    assert task.split("test")[0].answer == "cat"
    assert not Task.from_records("words", {"test": [{"text": "a", "label": "b"}]}).of_images


def test_a_class_outside_the_labels_is_told():
    with pytest.raises(TaskError, match=r"(?s)expected: an image as 'image'.*got: 'label' is 'cow', outside the label"):
        one(GREY, "cow")


def test_a_class_outside_the_labels_can_be_left_out():
    records = [{"image": GREY, "label": label} for label in ("cat", "cow", "dog")]
    task = Task.from_records("pets", {"test": records}, labels=["cat", "dog"], unlisted="leave-out")
    assert [example.answer for example in task.split("test")] == ["cat", "dog"]
    assert task.left_out == {"test": (1,)}


def test_text_in_a_column_of_images_is_refused():
    with pytest.raises(TaskError, match=r"(?s)'image' is text in example 0.*folder of images"):
        one("cats/1.png")


def test_another_column_may_hold_the_images():
    records = [{"img": GREY, "species": 1}]
    task = Task.from_records(
        "pets", {"test": records}, labels=["cat", "dog"], prompt_column="img", answer_column="species"
    )
    assert task.split("test")[0].answer == "dog"
    assert np.array_equal(pixels_of(task), GREY[..., None])


def test_a_fault_in_another_column_is_told_as_an_image():
    records = [{"img": GREY, "species": 0}, {"img": GREY / 2, "species": 1}]
    with pytest.raises(TaskError, match=r"(?s)expected: an image as 'img' and text 'species'.*of float64 in example 1"):
        Task.from_records("p", {"test": records}, labels=["a", "b"], prompt_column="img", answer_column="species")


def test_images_and_texts_do_not_mix():
    records = [{"image": GREY, "label": "cat"}]
    images = one(GREY).split("test")
    words = Task.from_records("w", {"train": [{"text": "meow", "label": "cat"}]}).split("train")
    with pytest.raises(TaskError, match=r"(?s)^the task 'pets' mixes images and texts.*got: both"):
        Task("pets", {"train": words, "test": images})
    assert Task.from_records("pets", {"train": images, "test": records}).of_images


def test_the_fingerprint_is_that_of_the_pixels():
    assert one(GREY).fingerprint == one(encoded(Image.fromarray(GREY), "BMP")).fingerprint
    other = GREY.copy()
    other[2, 3] += 1
    assert one(GREY).fingerprint != one(other).fingerprint
    assert one(GREY).fingerprint != one(GREY.reshape(4, 3)).fingerprint
    assert one(GREY).fingerprint != one(GREY, "dog").fingerprint


def test_tasks_are_equal_by_their_pixels():
    assert one(GREY) == one(GREY.tolist())
    assert one(GREY) != one(GREY.T)


def test_a_task_of_images_can_be_pickled():
    task = one(GREY)
    again = pickle.loads(pickle.dumps(task))
    assert again == task
    assert np.array_equal(pixels_of(again), GREY[..., None])


def test_files_of_records_hold_images_as_numbers(tmp_path):
    (tmp_path / "train.json").write_text('[{"image": [[0, 255], [9, 1]], "label": "cat"}]')
    task = Task.load(tmp_path)
    assert task.split("train")[0].image.pixels()[..., 0].tolist() == [[0, 255], [9, 1]]


def test_a_data_set_with_images():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    pictures = [Image.fromarray(GREY), Image.fromarray(COLOUR)]
    data = datasets.Dataset.from_dict({"img": pictures, "label": [1, 0]}, features=features)
    task = Task.from_dataset({"train": data}, name="pets", prompt_column="img")
    first, second = task.split("train")
    assert (first.answer, second.answer) == ("dog", "cat")
    assert isinstance(first.image.content, bytes)  # as it is stored
    assert np.array_equal(first.image.pixels(), GREY[..., None])
    assert np.array_equal(second.image.pixels(), COLOUR)


def test_an_example_shows_its_file_where_it_has_one():
    path = Path(__file__).parent / "cat" / "1.png"
    assert stored_image(path).name == "cat/1.png"
    assert one(GREY).split("test")[0].shown.startswith("image 4x3x1 ")
    data = encoded(Image.fromarray(GREY))
    assert one({"bytes": data, "path": "a/b/1.png"}).split("test")[0].shown == "1.png"
