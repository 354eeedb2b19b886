"""The rows of the document: every argument, value, return and error of `BaseModel`.

A test says by `row` which rows it executes: their names are in its id. `test_document_000.py`
checks that every row has a test.
"""

from models.document_kit import marker, parse

# A method and its arguments; after the colon what they may be, and what is returned and raised.
_METHODS = """
BaseModel(mode, model_type, graph_fn, loss, optimizer, metrics, summaries, clip_gradients, clip_embed_gradients, name): defaults, returns, TypeError
model_type(): Regressor, Classifier, Generator, RL
graph_fn(mode, inputs)
optimizer(): default Adam
summaries(): all, activations, loss, learning_rate, variables, gradients, str or list
_clip_gradients_fn(grads_and_vars): by global norm
_build_optimizer(): creates the optimizer
_build_summary_op(results, features, labels): one value or more
_build_loss(results, features, labels): losses, loss
_build_eval_metrics(results, features, labels): returns
_build_train_op(loss)
_preprocess(features, labels)
_build_predictions(results, features, labels): dictionary
_build(features, labels, params, config)
batch_size(features, labels): returns
"""  # noqa: E501

ROWS = frozenset(parse(_METHODS))
row = marker(ROWS)
