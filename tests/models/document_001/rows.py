"""The rows of the document: every argument, promise, return and error of `Estimator`.

A test says by `row` which rows it executes: their names are in its id. `test_document_001.py`
checks that every row has a test.
"""

from models.document_kit import marker, parse

# A method and its arguments; after the colon what is promised, returned and raised.
_METHODS = """
Estimator(model_fn, model_dir, config, params): defaults, ValueError
model_fn(features, labels, mode, params, config, model_dir): returns EstimatorSpec, labels None in PREDICT, without mode, three arguments, four arguments, five arguments, six arguments
export_savedmodel(export_dir_base, serving_input_receiver_fn, assets_extra, as_text, checkpoint_path): timestamped directory, one signature per export output, serving_default, inputs are the receivers, returns, ValueError no receiver, ValueError no export_outputs, ValueError no checkpoint
train(input_fn, steps, hooks, max_steps): steps is incremental, max_steps is absolute, either and not both, None is forever, returns
evaluate(input_fn, steps, hooks, checkpoint_path, name): stops after steps, stops at the end of the input, returns, ValueError
predict(input_fn, predict_keys, hooks, checkpoint_path): tuple, SparseTensor, end of the input, yields, ValueError no model, ValueError lengths, ValueError predict_keys
get_variable_value(name): returns
get_variable_names(): returns
"""  # noqa: E501

ROWS = frozenset(parse(_METHODS))
row = marker(ROWS)
