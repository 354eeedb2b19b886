"""The examples on data where it lies run as a user would run them."""

import shutil
from pathlib import Path

from own_process import run_alone

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder, name, *arguments):
    script = Path(shutil.copy(EXAMPLES / name, folder))
    return run_alone(script, *arguments, timeout=120).stdout


def test_damaged_pictures_are_left_out_and_the_others_learned(tmp_path):
    told = run(tmp_path, "image_folder.py")
    assert "1777 of 1797 pictures in 10 classes" in told
    assert float(told.split("test accuracy ")[1].split("%")[0]) > 94


def test_rare_classes_are_learned_from_a_table(tmp_path):
    told = run(tmp_path, "rare_classes.py")
    assert "rare rows in train and test: 2.00%, 2.00%" in told
    assert float(told.split("test AUC ")[1]) > 0.97


def test_an_hdf5_file_is_shuffled_in_the_memory_of_a_few_batches(tmp_path):
    told = run(tmp_path, "hdf5_shuffled.py", "60")
    assert float(told.split("memory grew by ")[1].split()[0]) < 40


def test_windows_of_one_recording_are_in_one_part(tmp_path):
    told = run(tmp_path, "signal_windows.py")
    assert "35 and 15 recordings, 0 in both parts" in told
    assert float(told.split("by recording ")[1].split("%")[0]) > 90


def test_patches_of_volumes_are_learned_from_and_put_together_again(tmp_path):
    told = run(tmp_path, "volume_patches.py", "10", "40")
    assert "learned from 192 patches" in told
    assert float(told.split("Dice ")[1]) > 0.85


def test_texts_are_learned_in_buckets_with_little_padding(tmp_path):
    told = run(tmp_path, "text_buckets.py")
    assert float(told.split("test accuracy ")[1].split("%")[0]) > 60  # of one package: 18
    empty = {
        name: float(told.split(f"{name}: ")[1].split("%")[0])
        for name in ("shuffled", "in buckets", "packed")
    }
    assert empty["in buckets"] < 0.6 * empty["shuffled"]
    assert empty["packed"] < 5
