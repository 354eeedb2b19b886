"""torch modules as models of pipelines.

    model.py      TorchModel: a module with all that it is trained by
    parts.py      what is given for its optimizer, loss and metrics, made usable
    tensors.py    arrays become tensors, and tensors arrays
    turns.py      who may use a module now, in which mode, with which random numbers
    state.py      the state of a model, and its file

torch is imported when a model is made. A module that comes without a `TorchModel` can predict, by
`tensors` and `turns`: see `batchflow.models.adapters.torch`.
"""
