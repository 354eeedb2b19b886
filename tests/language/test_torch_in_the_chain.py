"""A torch model in a chain: built, trained, tested, asked, saved and loaded by its steps."""

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArrayBatch, B, Dataset, V, action, model
from batchflow.models import TorchModel
from batchflow.testing import digest

from .conftest import PREFETCH, each_prefetch

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
nn = torch.nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3)).astype("float32")
Y = (X.sum(axis=1) > 0).astype(int)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def accuracy(outputs, y):
    return (outputs.argmax(1) == y).float().mean()


def build(optimizer="adam"):
    torch.manual_seed(1)
    layers = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)
    return TorchModel(nn.Sequential(*layers), optimizer, "cross_entropy", {"accuracy": accuracy})


class Rows(ArrayBatch):
    components = "x", "y"

    @model()
    def defined():
        return build()

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(0, 0.1, size=self.x.shape).astype("float32")
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=X, y=Y)


def state(net):
    tensors = net.state_dict()
    return digest(
        *(tensor.numpy() for tensor in tensors["parts"]["module"].values()),
        *(
            value.numpy()
            for one in tensors["parts"]["optimizer"]["state"].values()
            for value in one.values()
        ),
        tensors["random"]["cpu"].numpy(),
    )


def chained(dataset):
    chain = dataset.p.init_model("net", build).init_variable("seen", init=list).noise()
    chain = chain.train_model("net", B.x, B.y, fetches=["loss", "accuracy"], save_to=B.logs)
    chain = chain.evaluate_model("net", B.x, B.y, save_to=B.test)
    chain = chain.predict_model("net", B.x, save_to=B.guessed)
    return chain.update(V("seen", "a"), B.logs)


def test_the_same_bits_come_out_at_every_prefetch_and_executor(dataset):
    def answers(**options):
        chain, seen = chained(dataset), []
        for batch in chain.gen_batch(5, n_epochs=2, seed=1, **options):
            torch.rand(int(batch.number))  # draws of others
            tested = sorted((name, float(value)) for name, value in batch.test.items())
            seen.append((digest(batch.guessed), tested, [*map(float, batch.logs)]))
        return state(chain.m("net")), seen

    expected = answers(executor="serial")
    assert [answers(prefetch=n) for n in PREFETCH] == [expected] * len(PREFETCH)


def test_the_steps_are_those_of_a_loop_by_hand(dataset):
    torch.manual_seed(1)
    layers = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)
    module = nn.Sequential(*layers)
    optimizer, losses = torch.optim.Adam(module.parameters()), []
    for batch in dataset.p.noise().gen_batch(5, n_epochs=2, seed=1):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(torch.tensor(batch.x)), torch.tensor(batch.y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    chain = chained(dataset).run(5, n_epochs=2, seed=1, prefetch=4)
    assert [float(loss) for loss, _ in chain.v("seen")] == losses


@each_prefetch
def test_without_fetches_training_gives_the_loss_and_a_test_all_values(dataset, prefetch):
    chain = dataset.p.train_model("defined", B.x, B.y, save_to=B.loss)
    chain = chain.evaluate_model("defined", B.x, B.y, save_to=B.test)
    Rows.models.reset("defined")
    batch = next(chain.gen_batch(8, prefetch=prefetch))
    assert float(batch.loss) == float(build().train_on_batch(X[:8], Y[:8]))
    assert [*batch.test] == ["accuracy", "loss"]


def test_several_inputs_are_given_as_a_tuple_or_by_name(dataset):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(3, 2)

        def forward(self, a, b):
            return self.out(a) + self.out(b)

    def make():
        torch.manual_seed(1)
        return TorchModel(Sum(), "sgd", "cross_entropy")

    losses = []
    for given in ((B.x, B.x * 2), {"a": B.x, "b": B.x * 2}):
        chain = dataset.p.init_model("net", make).train_model("net", given, B.y, save_to=B.loss)
        losses.append(float(next(chain.gen_batch(8)).loss))
    assert losses[0] == losses[1]


def test_steps_per_call_change_nothing(dataset):
    def trained(**options):
        chain = dataset.p.init_model("net", build).noise()
        chain = chain.train_model("net", B.x, B.y, **options)
        return state(chain.run(5, n_epochs=2, seed=1).m("net"))

    assert trained(steps_per_call=3) == trained()


def test_training_goes_on_from_a_file_with_the_same_bits(dataset, tmp_path):
    file = tmp_path / "net.pt"
    whole = dataset.p.init_model("net", build).noise().train_model("net", B.x, B.y)
    whole.run(5, n_epochs=2, seed=1)
    first = dataset.p.init_model("net", build).noise().train_model("net", B.x, B.y)
    first.after.save_model("net", file).run(5, n_epochs=1, seed=1)
    second = dataset.p.init_model("net", build).load_model("net", file).noise()
    second = second.train_model("net", B.x, B.y).run(5, first_epoch=1, seed=1)
    assert state(second.m("net")) == state(whole.m("net"))


def test_a_module_alone_is_told_what_to_write(dataset):
    alone = dataset.p.init_model("net", lambda: nn.Linear(3, 2))
    for chain in (
        alone.train_model("net", B.x, B.y),
        alone.evaluate_model("net", B.x, B.y),
    ):
        with pytest.raises(ArgumentTypeError, match=r"TorchModel\(module, torch\.optim\.Adam, "):
            chain.run(8)


def test_an_error_tells_the_batch_and_what_the_module_got(dataset):
    chain = dataset.p.init_model("net", build).train_model("net", B.x, B.x[:, 0])
    with pytest.raises(RuntimeError) as caught:
        chain.run(8)
    notes = "\n".join(caught.value.__notes__)
    assert "Sequential was trained on float32 (8, 3) and float32 (8,)" in notes
    assert "test_torch_in_the_chain.py" in notes


HARMED = {
    "a model": (build, "TorchModel 'held'"),
    "a module": (lambda: build().module, "torch module 'held'"),
    "a tuple": (lambda: (build().module, "its optimizer"), "torch module in 'held'"),
    "a dictionary": (lambda: {"nets": [build()]}, "TorchModel in 'held'"),
}


@pytest.mark.parametrize(("make", "named"), HARMED.values(), ids=HARMED)
def test_unordered_work_on_it_is_warned_of(make, named):
    class Unordered(Rows):
        @model()
        def held():
            return make()

        @action(model="held")
        def fit(self, held):
            return self

    chain = Dataset.from_arrays(Unordered, x=X, y=Y).p.fit()
    chain.run(8)  # in turn there is no harm
    with pytest.warns(UserWarning, match=f"'fit' works on the {named} in several threads"):
        chain.run(8, prefetch=2)
    assert f"works on the {named} for several batches at once" in str(chain.check())


def test_a_prediction_by_weights_that_another_model_trains_is_warned_of(dataset):
    torch.manual_seed(1)
    generator = nn.Linear(3, 3)
    gan = TorchModel(
        nn.Sequential(generator, nn.Linear(3, 1)), "sgd", lambda outputs: outputs.mean()
    )
    chain = dataset.p.init_model("generator", generator).init_model("gan", gan)
    ahead = chain.predict_model("generator", B.x, save_to=B.made).train_model("gan", B.x)
    ahead.run(8)  # in turn there is no harm
    with pytest.warns(UserWarning, match=r"'gan', which has its weights.* Chain it behind"):
        ahead.run(8, prefetch=2)
    behind = chain.train_model("gan", B.x).predict_model("generator", B.x, save_to=B.made)
    behind.run(8, prefetch=2)
    tested = chain.predict_model("generator", B.x, save_to=B.made).evaluate_model("gan", B.x)
    tested.run(8, prefetch=2)


@pytest.mark.parametrize("word", ["merge", "join"])
def test_a_prediction_of_another_pipeline_by_a_model_that_is_trained_is_warned_of(word):
    class Labelled(ArrayBatch):
        components = "x", "y"
        net = model()(lambda: build("adam"))

        @action
        def take(self, guessed=None):
            return self

    pipeline = Dataset.from_arrays(Labelled, x=X, y=Y).p
    guessed = pipeline.predict_model("net", B.x)
    mixed = getattr(pipeline, word)(guessed).take()
    chain = mixed.train_model("net", B.x, B.y)
    with pytest.warns(UserWarning, match=r"predict_model\('net'\).* works on the model 'net'"):
        chain.run(8, prefetch=2)
