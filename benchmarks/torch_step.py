"""What does `train_model` cost on a `TorchModel`, beside a loop that somebody has written by hand?

A one-layer, a dense and a convolutional network, trained with the same batches in the same order:
by `train_model` in a chain, by `TorchModel.train_on_batch` in a loop, and by a loop of plain torch,
fed with copied batches. All losses and weights must come out the same, those of Dropout included.

    python benchmarks/torch_step.py

Read the medians. Required of `train_model`: `times_by_hand` at most 1.1, or `more_milliseconds` per
step at most 0.05, whichever is larger. `chain` is the same chain with a step that does nothing:
what reading the batches costs.
"""

import numpy as np
import torch
from measure import interleaved, ratios, report, spread
from torch import nn

from batchflow import ArrayBatch, B, Dataset, V
from batchflow.models import TorchModel

SIZE = 32


class Rows(ArrayBatch):
    components = "x", "y"


def one_layer():
    torch.manual_seed(1)
    net = nn.Linear(16, 1)
    return net, torch.optim.SGD(net.parameters(), lr=0.01), nn.MSELoss()


def dense():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 1))
    return net, torch.optim.Adam(net.parameters()), nn.MSELoss()


def convolutional():
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU()
    )
    net = nn.Sequential(net, nn.Flatten(), nn.Linear(32 * 11 * 11, 1))
    return net, torch.optim.SGD(net.parameters(), lr=0.01), nn.MSELoss()


def make_loops(build, x, y):
    """Return the loops by name, each over all batches, and their networks."""
    made = {name: build() for name in ("by_hand", "train_on_batch", "train_model")}

    def batches():
        for start in range(0, len(x), SIZE):
            yield x[start : start + SIZE].copy(), y[start : start + SIZE].copy()

    def by_hand():
        net, optimizer, loss_of = made["by_hand"]
        net.train()
        losses = []
        for a, b in batches():
            optimizer.zero_grad()
            loss = loss_of(net(torch.from_numpy(a)), torch.from_numpy(b))
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return [float(loss) for loss in losses]

    model = TorchModel(*made["train_on_batch"])
    dataset = Dataset.from_arrays(Rows, x=x, y=y)
    chain = dataset.p.init_model("net", TorchModel(*made["train_model"]))
    chain = chain.init_variable("loss", init_on_each_run=list)
    chain = chain.train_model("net", B.x, B.y, save_to=V("loss", mode="a"))
    empty = dataset.p.do_nothing(B.x, B.y)
    return {name: net for name, (net, _, _) in made.items()}, {
        "by_hand": by_hand,
        "train_on_batch": lambda: [float(model.train_on_batch(*batch)) for batch in batches()],
        "train_model": lambda: [float(loss) for loss in chain.run(SIZE).v("loss")],
        "chain": lambda: empty.run(SIZE),
    }


def measured(build, shape, n_steps, rounds):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SIZE * n_steps, *shape)).astype("float32")
    y = rng.normal(size=(SIZE * n_steps, 1)).astype("float32")
    nets, loops = make_loops(build, x, y)
    state = torch.get_rng_state()

    def going_on(loop):
        def run():
            nonlocal state
            torch.set_rng_state(state)  # the loop by hand goes on, as the models do with their own
            losses = loop()
            state = torch.get_rng_state()
            return losses

        return run

    loops["by_hand"] = going_on(loops["by_hand"])
    seconds, losses = interleaved(rounds, **loops)
    pairs = zip(seconds["train_model"], seconds["by_hand"], strict=True)
    return {
        "by_hand_milliseconds_per_step": round(min(seconds["by_hand"]) / n_steps * 1e3, 4),
        "times_by_hand": ratios(seconds, "by_hand"),
        "more_milliseconds": spread([(one - other) / n_steps * 1e3 for one, other in pairs]),
        "not_the_same_losses": [
            name for name in loops if name != "chain" and losses[name] != losses["by_hand"]
        ],
        "weights_differ": [
            name
            for name, net in nets.items()
            if not all(map(torch.equal, net.parameters(), nets["by_hand"].parameters()))
        ],
    }


def main():
    torch.set_num_threads(1)
    report(
        f"torch_step, {torch.__version__}",
        one_layer=measured(one_layer, (16,), 300, 9),
        dense=measured(dense, (16,), 300, 9),
        convolutional=measured(convolutional, (1, 28, 28), 24, 7),
    )


if __name__ == "__main__":
    main()
