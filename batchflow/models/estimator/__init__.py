"""Estimator: trains, evaluates, predicts and exports by a model function; its files in a folder.

```text
estimator/
  spec.py         Modes, EstimatorSpec, ServingInputReceiver: what a model function returns
  config.py       RunConfig: how an Estimator runs
  model_fn.py     calls a function by the names of its parameters
  inputs.py       the result of an input_fn as a stream of batches
  batches.py      one batch: its parts, its signature, the keras.Inputs of it
  program.py      a spec as one keras.Model, compiled
  checkpoints.py  programs in files: exact, atomic, the newest few
  events.py       files of events for TensorBoard
  hooks.py        Keras callbacks and session run hooks
  training.py     the live program and its loop
  inference.py    the loops of evaluation and prediction
  export.py       a SavedModel
  programs.py     the programs of one model function
  estimator.py    Estimator
```

Each file imports only files above it in this list.
"""
