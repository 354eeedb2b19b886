"""BaseModel: a graph function, a loss, an optimizer and metrics, as a model function's spec.

```text
base_model/
  keras.py        Keras, imported on use
  configs.py      losses, optimizers, metrics from identifiers, config dictionaries, objects
  layers.py       layers that compute losses and count items
  heads.py        losses and metrics of one head or several
  clipping.py     an optimizer whose gradients are clipped first
  summaries.py    summaries for TensorBoard, written while a model trains
  parts.py        the methods of a model, called and checked
  base_model.py   BaseModel
  kinds.py        Regressor, Classifier, Generator
```

Each file imports only files above it in this list.
"""
