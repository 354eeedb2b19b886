"""Variables and models of a run as data and files, and put back."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from batchflow.batch import Batch
from batchflow.checkpoints.contents import Taking
from batchflow.engine.flow import ReadyGraph
from batchflow.engine.graph import RunGraph, graphs_in
from batchflow.engine.stream import NEVER
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.generators import global_states, set_global_states
from batchflow.models.tf1 import is_session


class _Model(NamedTuple):
    """A model of a run."""

    path: str  # of its pipeline in the run
    name: str
    descriptor: Any
    made_from: Any  # the epoch and the number of the batch that it was made from; None: of none


def _models_in(graph: RunGraph) -> Iterator[_Model]:
    """Go through the models that are there: those that steps use, and others that were made."""
    for path, inner in graphs_in(graph):
        models = inner.program.models
        used = inner.program.plan.models.keys()
        for name in models.names:
            slot = models.slot(name)
            if models.is_dynamic(name):
                made = slot.look()
                if made is not None and slot.is_made:
                    yield _Model(path, name, made.result(), slot.made_from)
            elif name in used or slot.is_made:
                yield _Model(path, name, models.get(name), None)
        for number, session in enumerate(_sessions_in(inner)):
            yield _Model(path, f"session {number}", session, None)


def _sessions_in(graph: RunGraph) -> list[Any]:
    """Return the sessions of TensorFlow 1 that steps are given."""
    leaves = graph.program.plan.leaves
    given = [value for leaf in leaves for value in (*leaf.args, *leaf.kwargs.values())]
    return list({id(value): value for value in given if is_session(value)}.values())


class StatesToSave:
    """The states of a run, in the consumer's thread, which holds its batch.

    Args:
        graph: The run.
        taking: Where the copies go.
    """

    def __init__(self, graph: RunGraph, taking: Taking) -> None:
        self._graph, self._taking, self._encode = graph, taking, taking.encode

    def taken(self) -> dict[str, Any]:
        """Return everything as data for JSON; files are written beside it."""
        return {
            "variables": self._variables(),
            "once": {path: inner.program.state.is_set_up for path, inner in graphs_in(self._graph)},
            "models": self._models(),
            "generators": self._encode(global_states(), "the global random generators"),
        }

    def _variables(self) -> dict[str, Any]:
        return {
            path: {
                name: self._encode(inner.program.state.get(name), f"the variable {name!r}")
                for name in sorted(inner.program.state.names)
            }
            for path, inner in graphs_in(self._graph)
        }

    def _models(self) -> list[dict[str, Any]]:
        from batchflow.models.states import Writing  # on use: with what knows the frameworks

        writing = Writing(*self._taking)
        entries: list[dict[str, Any]] = []
        for place, model in enumerate(_models_in(self._graph)):
            entry: dict[str, Any] = {"path": model.path, "name": model.name}
            if model.made_from is not None:
                entry["made_from"] = list(model.made_from)
            entry |= writing.write(model.descriptor, f"model{place}", _shown(model.name))
            entries.append(entry)
        return entries


def numbers_in(graph: RunGraph) -> dict[str, float]:
    """Return the variables that are numbers, or lists of these: their last ones."""
    found = {}
    for name in graph.program.state.names:
        value = graph.program.state.get(name)
        if isinstance(value, (list, tuple, deque)) and value:
            value = value[-1]
        if isinstance(value, (str, bytes)) or getattr(value, "ndim", 0) != 0:
            continue
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            found[name] = float(value)
    return found


class SavedStates:
    """The states that a checkpoint holds: see `flow.Resuming`.

    Args:
        folder: Its folder.
        state: What `StatesToSave.taken` has given.
        decode: Makes a value of data.
    """

    def __init__(self, folder: str, state: dict[str, Any], decode: Callable[[Any], Any]) -> None:
        self._folder, self._state, self._decode = folder, state, decode

    def note_once(self, graph: RunGraph) -> None:
        """Let steps that are taken once be taken no more, if they were."""
        for path, inner in graphs_in(graph):
            inner.program.state.is_set_up = bool(self._state["once"].get(path))

    def put_variables(self, graph: RunGraph) -> None:
        """Set the variables."""
        for path, inner in graphs_in(graph):
            for name, value in self._state["variables"].get(path, {}).items():
                if name in inner.program.state.names:  # else it may go: `changed="allow"`
                    inner.program.state.set(name, self._decode(value))

    def put_models(self, graph: RunGraph, ready: ReadyGraph) -> None:
        """Put the states of models into them, and those of the global random generators."""
        from batchflow.models.states import Reading

        reading = Reading(self._folder, self._decode)
        graphs = dict(graphs_in(graph))
        for place, entry in enumerate(self._state["models"]):
            model = self._model(entry, graphs[entry["path"]], ready)
            reading.put(model, entry, f"model{place}", _shown(entry["name"]))
        set_global_states(self._decode(self._state["generators"]))

    def _model(self, entry: dict[str, Any], graph: RunGraph, ready: ReadyGraph) -> Any:
        """Return the model, or the session, that a state is of."""
        models, name = graph.program.models, entry["name"]
        sessions = {f"session {number}": one for number, one in enumerate(_sessions_in(graph))}
        if name in sessions and entry["kind"] == "session":
            return sessions[name]
        if name not in models:
            raise ArgumentValueError(f"{_shown(name)} was saved, and is not there any more")
        if not models.is_dynamic(name):
            return models.get(name)
        return self._remade(models, entry, graph, ready)

    def _remade(self, models: Any, entry: dict[str, Any], graph: RunGraph, ready: Any) -> Any:
        """Return a dynamic model, made again from the batch that it was made from."""
        name, made_from = entry["name"], entry.get("made_from")
        if (made := models.slot(name).look()) is not None:
            return made.result()
        if made_from is None:
            raise ArgumentTypeError(
                f"the dynamic model {name!r} was not made from a batch of the run that was saved, "
                "so it cannot be made again: make it before the run goes on"
            )
        return models.get(name, batch_again(graph, ready, *made_from))


def _shown(name: str) -> str:
    return name if name.startswith("session ") else f"the model {name!r}"


def refuse_unknown_best(graph: RunGraph, best: tuple[str, str, int] | None) -> None:
    """Refuse to keep checkpoints by a variable that is not there: see `Keep`.

    Raises:
        ArgumentValueError: It is not.
    """
    names = graph.program.state.names
    if best is not None and best[0] not in names:
        raise ArgumentValueError(
            f"Keep(best=...): the pipeline has no variable {best[0]!r}."
            f"{did_you_mean(best[0], names)} Declare it by .init_variable({best[0]!r}, ...)"
        )


def refuse_lost_models(graph: RunGraph) -> None:
    """Refuse dynamic models whose first batch could not be made again where the run goes on.

    Raises:
        ArgumentTypeError: There is one.
    """
    for path, inner in graphs_in(graph):
        models, known = inner.program.models, set[str]()
        for place, stage in enumerate(inner.stages):
            steps = (*stage.prefix, *stage.section, *stage.suffix)
            names = {leaf.model for step in steps for leaf in step.leaves if leaf.model} - known
            known |= names
            is_lost = path != "0" or place >= inner.n_parallel
            for name in sorted(filter(models.is_dynamic, names)) if is_lost else ():
                where = "a pipeline inside of this one"
                if path == "0":
                    where = f"a batch of {stage.regrouping.step}, behind ordered steps"  # type: ignore[union-attr]
                raise ArgumentTypeError(
                    f"the dynamic model {name!r} is made from {where}, which cannot be made again "
                    "where a run goes on from a checkpoint: make it a static one"
                )


def batch_again(graph: RunGraph, ready: ReadyGraph, epoch: int, number: int) -> Batch:
    """Make a batch of a run again, as it comes to the ordered section, in this thread."""
    from batchflow.engine.workers import Workers

    batch: Any = None
    if not graph.program.plan.regroupings:
        batch = ready.prefix.work(graph.schedule.ticket(number), NEVER)
    else:
        import contextvars

        graphs = [inner for _, inner in graphs_in(graph) if inner.options is not None]
        before = [(inner.schedule, inner.start, inner.given_away) for inner in graphs]
        graph.begin(epoch)
        try:
            made = ready.ahead(Workers(None, 0, graph.n_segments, contextvars.copy_context()))
            batch = next((b for b in made if isinstance(b, Batch) and b.number == number), None)
        finally:
            for inner, began in zip(graphs, before, strict=True):
                inner.schedule, inner.start, inner.given_away = began
    if not isinstance(batch, Batch):
        raise ArgumentValueError(
            f"the batch {number} of epoch {epoch}, from which a dynamic model was made, does not "
            "come again: its steps skip it now"
        )
    batch.pipeline = graph.program.pipeline
    return batch
