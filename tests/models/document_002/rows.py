"""The rows of the document: every argument, return and error of `tf.keras.Model` (r2.0).

A test says by `row` which rows it executes: their names are in its id. `test_document_002.py`
checks that every row has a test, and a line in `docs/reference/keras.md`.
"""

import ast
import re
from pathlib import Path

import pytest

# A method and its arguments; after the colon what it returns and raises, and what else is said.
_METHODS = """
Model(*args, **kwargs): functional, subclass, training, aliases
compile(optimizer, loss, metrics, loss_weights, sample_weight_mode, weighted_metrics, target_tensors, distribute, **kwargs): ValueError
evaluate(x, y, batch_size, verbose, sample_weight, steps, callbacks, max_queue_size, workers, use_multiprocessing): returns, ValueError
evaluate_generator(generator, steps, callbacks, max_queue_size, workers, use_multiprocessing, verbose): returns, ValueError
fit(x, y, batch_size, epochs, verbose, callbacks, validation_split, validation_data, shuffle, class_weight, sample_weight, initial_epoch, steps_per_epoch, validation_steps, validation_freq, max_queue_size, workers, use_multiprocessing, **kwargs): returns, RuntimeError, ValueError
fit_generator(generator, steps_per_epoch, epochs, verbose, callbacks, validation_data, validation_steps, validation_freq, class_weight, max_queue_size, workers, use_multiprocessing, shuffle, initial_epoch): returns, ValueError
get_layer(name, index): name and index, returns, ValueError
load_weights(filepath, by_name)
predict(x, batch_size, verbose, steps, callbacks, max_queue_size, workers, use_multiprocessing): returns, ValueError
predict_generator(generator, steps, callbacks, max_queue_size, workers, use_multiprocessing, verbose): returns, ValueError
predict_on_batch(x): x from tf.data, returns, ValueError
reset_metrics(): call
reset_states(): call
save(filepath, overwrite, include_optimizer, save_format, signatures, options): load_model
save_weights(filepath, overwrite, save_format): ImportError, ValueError
summary(line_length, positions, print_fn): ValueError
test_on_batch(x, y, sample_weight, reset_metrics): x from tf.data, returns, ValueError
to_json(**kwargs): returns
to_yaml(**kwargs): returns, ImportError
train_on_batch(x, y, sample_weight, class_weight, reset_metrics): x from tf.data, returns, ValueError
"""  # noqa: E501

PROPERTIES = (
    "layers",
    "metrics_names",
    "run_eagerly",
    "sample_weights",
    "state_updates",
    "stateful",
)


def _parse(line):
    method, arguments, rest = re.fullmatch(r"(\w+)\((.*?)\)(?:: (.*))?", line).groups()
    parts = [*arguments.split(", "), *(rest or "").split(", ")]
    return [f"{method}.{part}" for part in parts if part]


ROWS = frozenset(
    [
        *(name for line in _METHODS.strip().splitlines() for name in _parse(line)),
        *(f"properties.{name}" for name in PROPERTIES),
    ]
)


def documented_order():
    """Give the arguments of each method as the document lists them."""
    lines = re.findall(r"^(\w+)\((.*?)\)", _METHODS, re.MULTILINE)
    return {
        method: [name for name in arguments.split(", ") if not name.startswith("*")]
        for method, arguments in lines
        if method != "Model"
    }


def row(*names):
    """Mark a test with the rows that it executes, once for all of them."""
    unknown = set(names) - ROWS
    if unknown:
        raise ValueError(f"the document has no {sorted(unknown)}")
    return pytest.mark.parametrize("row", [pytest.param(names, id=" ".join(names))])


def rows_tested_in(folder):
    """Give the rows that the tests in a folder are marked with, without importing them."""
    marked = set()
    for path in sorted(Path(folder).glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marked.update(_rows_of(node))
    return marked


def _rows_of(function):
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", None) == "row":
            constants = (node for node in ast.walk(decorator) if isinstance(node, ast.Constant))
            yield from (constant.value for constant in constants)
