"""Models of torch and of scikit-learn in a run that is saved and goes on: the same bits."""

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Checkpoint, Dataset, V, action, model
from batchflow.errors import ArgumentTypeError
from batchflow.models.beside import _OWN

OPTIONS = {"batch_size": 8, "shuffle": True, "seed": 1, "n_epochs": 2}


def rows(cls):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype("float32")
    return Dataset.from_arrays(cls, x=x, y=rng.normal(size=40).astype("float32"))


def goes_on(make, outcome, folder, *, n_batches=7, trust=False):
    """Return what a whole run gives, and what one gives that was saved and gone on with."""
    expected = outcome(make().run(**OPTIONS))
    saving = Checkpoint(folder, trust=trust)
    with make().gen_batch(**OPTIONS, checkpoint=saving) as run:
        for _ in range(n_batches):
            next(run)
    again = make()
    return expected, outcome(again.run(**OPTIONS, checkpoint=saving))


@pytest.mark.torch
def test_modules_optimizers_and_dropout_go_on(tmp_path):
    torch = pytest.importorskip("torch")
    from batchflow.models import TorchModel

    def layers():
        nn = torch.nn
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            torch.manual_seed(1)
            return TorchModel(layers(), torch.optim.Adam, torch.nn.MSELoss())

        @model()
        def pieces():
            torch.manual_seed(2)
            net = layers()
            adam, drawing = torch.optim.Adam(net.parameters(), 1e-2), torch.Generator()
            drawing.manual_seed(4)
            return {"net": net, "adam": adam, "drawing": drawing, "n": 0}

        @action(model="pieces", singleton=True)
        def step(self, pieces):
            pieces["adam"].zero_grad()
            noise = torch.rand(self.x.shape, generator=pieces["drawing"])
            outputs = pieces["net"](torch.from_numpy(self.x) + noise)
            ((outputs[:, 0] - torch.from_numpy(self.y)) ** 2).mean().backward()
            pieces["adam"].step()
            pieces["n"] += 1
            return self

    def make():
        for name in ("net", "pieces"):
            Rows.models.reset(name)
        torch.manual_seed(5)
        p = rows(Rows).p.init_variable("losses", init=list)
        return p.train_model("net", B.x, B.y[:, None], save_to=V("losses", "a")).step()

    def outcome(pipeline):
        models = Rows.models["net"].module, Rows.models["pieces"]["net"]
        weights = [w.tolist() for net in models for w in net.parameters()]
        losses = [float(loss) for loss in pipeline.v("losses")]
        return weights, losses, Rows.models["pieces"]["n"]

    expected, again = goes_on(make, outcome, tmp_path)
    assert again == expected


def classifier(make_model, **kwargs):
    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def learner():
            return make_model()

    def make():
        Rows.models.reset("learner")
        return rows(Rows).p.train_model("learner", B.x, B.y > 0, **kwargs)

    return make


def test_an_estimator_of_scikit_learn_goes_on_by_its_attributes(tmp_path):
    from sklearn.linear_model import SGDRegressor

    make = classifier(lambda: SGDRegressor(random_state=0))
    expected, again = goes_on(make, lambda p: p.m("learner").coef_.tolist(), tmp_path)
    assert again == expected


def test_one_with_parts_that_are_no_data_is_refused_by_name_and_goes_on_with_trust(tmp_path):
    from sklearn.neural_network import MLPClassifier

    state = np.random.RandomState
    make = classifier(lambda: MLPClassifier(8, random_state=state(0)), classes=[False, True])

    def outcome(pipeline):
        return pipeline.m("learner").coefs_[0].tolist()

    told = "the attribute '.*' of the model 'learner' is a .*trust=True"
    with pytest.raises(ArgumentTypeError, match=told):
        goes_on(make, outcome, tmp_path / "refused")
    expected, again = goes_on(make, outcome, tmp_path / "trusted", trust=True)
    assert again == expected


def test_an_object_with_a_state_of_its_own_goes_on(tmp_path):
    class Learner:
        __slots__ = ("w",)

        def __init__(self):
            self.w = 0.0

        def train(self, x, y):
            self.w = self.w * 0.5 + float(x.sum())

        def get_state(self):
            return {"w": self.w}

        def set_state(self, state):
            self.w = state["w"]

    expected, again = goes_on(classifier(Learner), lambda p: p.m("learner").w, tmp_path)
    assert again == expected


def written_later(model, folder, change):
    """Take a copy of a model's state, change the model, and only then write the copy."""
    from batchflow.checkpoints.values import Decoder, Encoder
    from batchflow.models.states import Reading, Writing

    arrays, later = {}, []
    entry = Writing(str(folder), Encoder(arrays), later.append).write(model, "m", "it")
    n_at_once = len(list(folder.iterdir()))
    change()
    for write in later:
        write(str(folder))
    return n_at_once, lambda: Reading(str(folder), Decoder(entry, arrays)).put(
        model, entry, "m", "it"
    )


@pytest.mark.torch
@pytest.mark.parametrize("whole", [False, True])
def test_what_is_saved_is_copied_and_written_later(tmp_path, whole):
    torch = pytest.importorskip("torch")
    from batchflow.models import TorchModel

    net = torch.nn.Linear(4, 4)
    tied = torch.nn.Sequential(net, torch.nn.Linear(4, 4))
    tied[1].weight = net.weight
    adam = torch.optim.Adam(tied.parameters())
    trained = TorchModel(tied, adam, "mse_loss")
    model = trained if whole else {"net": tied, "adam": adam}
    x = np.ones((2, 4), "float32")
    trained.train_on_batch(x, x)

    def state():
        parts = [*tied.state_dict().values(), *adam.state_dict()["state"][0].values()]
        return [part.tolist() for part in parts]

    before = state()
    n_at_once, put = written_later(model, tmp_path, lambda: trained.train_on_batch(x, x))
    assert n_at_once == 0
    assert state() != before
    put()
    assert state() == before
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) == (1 if whole else 2)


@pytest.mark.torch
def test_one_that_saves_in_its_own_way_does_so_at_once(tmp_path):
    torch = pytest.importorskip("torch")
    from batchflow.models import TorchModel

    class Own(TorchModel):
        def save(self, path):
            torch.save(self.module.state_dict(), path)

        def load(self, path):
            self.module.load_state_dict(torch.load(path, weights_only=True))

    module = torch.nn.Linear(2, 1)
    before = module.weight.tolist()
    own = Own(module, "sgd", "mse_loss")
    n_at_once, put = written_later(own, tmp_path, lambda: module.weight.data.zero_())
    assert n_at_once == 1
    put()
    assert module.weight.tolist() == before


def gathering(torch, whole):
    """Return what takes a step of the optimizer each third batch."""
    from batchflow.models import TorchModel

    class Gathering(TorchModel):
        n = 0

        def update(self, loss):
            loss.backward()
            self.n += 1
            if self.n % 3 == 0:
                self.optimizer.step()
                self.optimizer.zero_grad()

    def train(net, x, y):
        loss = ((net["net"](x) - y) ** 2).mean()
        loss.backward()
        net["n"] += 1
        if net["n"] % 3 == 0:
            net["by"].step()
            net["by"].zero_grad()
        return loss.detach()

    def define():
        torch.manual_seed(1)
        net = torch.nn.Linear(4, 1)
        by = torch.optim.SGD(net.parameters(), 0.1)
        return Gathering(net, by, "mse_loss") if whole else {"net": net, "by": by, "n": 0}

    def step(net, x, y):
        return net.train_on_batch(x, y) if whole else train(net, *map(torch.from_numpy, (x, y)))

    return define, step


def freeing(torch, whole):
    """Return what frees a layer at the second batch, and takes Dropout out."""
    from batchflow.models import TorchModel

    def define():
        torch.manual_seed(1)
        nn = torch.nn
        net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        net[0].requires_grad_(False)
        by = torch.optim.Adam(net.parameters())
        return TorchModel(net, by, "mse_loss") if whole else {"net": net, "by": by, "n": 0}

    def step(net, x, y):
        module, by = (net.module, net.optimizer) if whole else (net["net"], net["by"])
        if not by.state:  # nothing was learned yet
            loss = ((module(torch.from_numpy(x)) - torch.from_numpy(y)) ** 2).mean()
            loss.backward()
            by.step()
            module[0].requires_grad_(True)
            module[1].eval()
            return loss.detach()
        if whole:
            return net.train_on_batch(x, y)
        by.zero_grad()
        loss = ((module(torch.from_numpy(x)) - torch.from_numpy(y)) ** 2).mean()
        loss.backward()
        by.step()
        return loss.detach()

    return define, step


@pytest.mark.torch
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", [gathering, freeing])
def test_what_a_state_dict_leaves_out_goes_on(tmp_path, kind, whole):
    define, step = kind(pytest.importorskip("torch"), whole)

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return define()

        @action(model="net", singleton=True)
        def learn(self, net):
            self.pipeline.v("losses").append(float(step(net, self.x, self.y[:, None])))
            return self

    def make():
        Rows.models.reset("net")
        return rows(Rows).p.init_variable("losses", init=list).learn()

    expected, again = goes_on(make, lambda p: p.v("losses"), tmp_path)
    assert again == expected


@pytest.mark.torch
def test_an_attribute_of_a_torch_model_that_is_lost_is_told(tmp_path):
    torch = pytest.importorskip("torch")
    from batchflow.models import TorchModel

    assert vars(TorchModel(torch.nn.Linear(2, 1), "sgd", "mse_loss")).keys() == _OWN

    class Own(TorchModel):
        def __init__(self, *args):
            super().__init__(*args)
            self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 3)
            self.helper, self.by, self.n = object(), abs, 3

    own = Own(torch.nn.Linear(2, 1), "sgd", "mse_loss")
    with pytest.warns(UserWarning, match="the attribute 'helper' of it cannot be saved"):
        _, put = written_later(own, tmp_path, lambda: setattr(own, "n", 5))
    put()
    assert own.n == 3
