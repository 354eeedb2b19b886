"""`TorchModel`: a torch module with what trains it, by its own methods."""

import copy
import pickle
import threading
import zipfile

import numpy as np
import pytest
from own_process import run_alone

from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ModelDefinitionError,
    UnknownNameError,
)
from batchflow.models import LazyValue, TorchModel
from batchflow.models.adapters import adapter_of
from batchflow.models.checkpoint import load, save

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
nn, optim = torch.nn, torch.optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 8, 3)).astype("float32")
Y = RNG.integers(0, 2, size=(6, 8))


def layers():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
    )


def accuracy(outputs, y):
    return (outputs.argmax(1) == y).float().mean()


def make(optimizer=optim.Adam, loss="cross_entropy", **options):
    return TorchModel(layers(), optimizer, loss, **options)


def trained(model, batches=range(6)):
    return [float(model.train_on_batch(X[n], Y[n])) for n in batches]


def weights(model):
    return [tensor.clone() for tensor in model.module.state_dict().values()]


def same(one, other):
    return all(map(torch.equal, weights(one), weights(other)))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # Threads of torch wait for each other by spinning, which takes most of a busy machine.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(autouse=True)
def torch_draws_as_before():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


# ---- a step


def by_hand(optimizer):
    module, loss = layers(), nn.CrossEntropyLoss()
    optimizer = optimizer(module.parameters())
    losses = []
    for x, y in zip(X, Y, strict=True):
        optimizer.zero_grad()
        value = loss(module(torch.from_numpy(x)), torch.from_numpy(y))
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return module, losses


OPTIMIZERS = {
    "a class": optim.Adam,
    "a function": lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_steps_are_those_of_a_loop_by_hand_dropout_included(optimizer):
    module, losses = by_hand(optimizer)
    model = make(optimizer)
    assert trained(model) == losses
    assert all(map(torch.equal, module.state_dict().values(), weights(model)))


def test_an_optimizer_may_be_given_as_it_is_or_by_name():
    module = layers()
    given = TorchModel(module, optim.Adam(module.parameters()), nn.CrossEntropyLoss())
    assert trained(given) == trained(make("Adam", nn.CrossEntropyLoss)) == trained(make("adam"))


def test_several_optimizers_take_each_step_together():
    module = layers()
    several = [optim.Adam(module[0].parameters()), optim.Adam(module[1:].parameters())]
    assert trained(TorchModel(module, several, "cross_entropy")) == trained(make())


def test_the_loss_stays_on_the_device_until_it_is_read():
    loss = make().train_on_batch(X[0], Y[0])
    assert isinstance(loss, LazyValue)
    assert torch.is_tensor(loss._tensor)


def test_values_are_fetched_by_name_and_in_order():
    model = make(metrics={"accuracy": accuracy})
    module = copy.deepcopy(model.module)
    expected = float(accuracy(module(torch.from_numpy(X[0])), torch.from_numpy(Y[0])))
    torch.manual_seed(1)
    got, loss = make(metrics=[accuracy]).train_on_batch(X[0], Y[0], fetches=["accuracy", "loss"])
    assert loss == trained(make(), [0])[0]
    assert got == pytest.approx(expected, abs=0.5)
    assert [*model.train_on_batch(X[0], Y[0], return_dict=True)] == ["accuracy", "loss"]


def test_an_unknown_value_is_refused_before_the_step():
    model = make(metrics={"accuracy": accuracy})
    before = weights(model)
    with pytest.raises(UnknownNameError, match="Did you mean 'accuracy'"):
        model.train_on_batch(X[0], Y[0], fetches="acuracy")
    assert all(map(torch.equal, before, weights(model)))


def test_a_metric_per_class_is_an_array_of_its_own():
    sums = torch.zeros(2)

    def per_class(outputs, y):
        return sums.add_(torch.bincount(y, minlength=2))

    model = make(metrics=[per_class])
    first, second = (model.test_on_batch(X[n], Y[n])["per_class"] for n in (0, 1))
    assert first.tolist() == np.bincount(Y[0], minlength=2).tolist()
    assert (second - first).tolist() == np.bincount(Y[1], minlength=2).tolist()


def test_a_loss_that_is_not_a_number_any_more_arrives():
    loss = make(loss=lambda outputs, y: outputs.sum() * float("nan")).train_on_batch(X[0], Y[0])
    assert np.isnan(loss)


class Clipped(TorchModel):
    """Clips the gradients, and goes on with a schedule."""

    def __init__(self, module):
        super().__init__(module, lambda p: optim.SGD(p, lr=1.0), "cross_entropy")
        self.scheduler = optim.lr_scheduler.StepLR(self.optimizer, 2, gamma=0.5)

    def update(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.norm = nn.utils.clip_grad_norm_(self.module.parameters(), 1e-3)
        self.optimizer.step()
        self.scheduler.step()


def test_a_subclass_does_more_in_a_step():
    model = Clipped(layers())
    before = [p.detach().clone() for p in model.module.parameters()]
    model.train_on_batch(X[0], Y[0])
    after = [p.detach() for p in model.module.parameters()]
    change = sum(float(((a - b) ** 2).sum()) for a, b in zip(after, before, strict=True))
    assert change**0.5 == pytest.approx(1e-3, rel=1e-3)
    trained(model, [1])
    assert model.optimizer.param_groups[0]["lr"] == 0.5


# ---- modes


def test_modes_are_right_in_each_call_and_restored():
    seen = []
    model = make(metrics={"n": lambda outputs, y: len(y)})
    model.module.register_forward_hook(lambda module, *_: seen.append(module.training))
    for mode in (True, False):
        model.module.train(mode)
        model.train_on_batch(X[0], Y[0])
        model.test_on_batch(X[0], Y[0])
        model.predict(X[0])
        assert {part.training for part in model.module.modules()} == {mode}
    assert seen == [True, False, False] * 2


def test_a_part_in_evaluation_mode_stays_frozen_in_training():
    model = make()
    model.module[1].eval()
    before = model.module[1].running_mean.clone()
    trained(model)
    assert torch.equal(model.module[1].running_mean, before)
    assert model.module.training


def test_modes_are_restored_after_an_error():
    model = make()
    model.module.eval()
    with pytest.raises(RuntimeError):
        model.train_on_batch(X[0][:, :2], Y[0])
    assert not model.module.training


def test_predictions_in_threads_never_see_training_mode():
    module = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.BatchNorm1d(64))
    expected = module.eval()(torch.from_numpy(X[0])).detach().numpy()
    module.train()
    model, wrong = TorchModel(module, None, None), []

    def ask():
        for _ in range(100):
            if not np.array_equal(model.predict(X[0]), expected):
                wrong.append(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert module.training


def test_asking_leaves_the_model_as_it_was():
    model, other = make(), make()
    trained(model, [0])
    model.predict(X[1])
    model.test_on_batch(X[1], Y[1])
    trained(model, [2])
    trained(other, [0, 2])
    assert same(model, other)


def test_a_step_takes_gradients_wherever_it_is_called():
    with torch.no_grad():
        assert trained(make(), [0, 1]) == trained(make(), [0, 1])
        model = make()
        before = weights(model)
        trained(model, [0])
        assert not torch.equal(before[0], weights(model)[0])
        assert not torch.is_grad_enabled()


# ---- random numbers


def test_draws_of_others_change_nothing_in_training():
    alone, beside = make(), make()
    losses = trained(alone)
    for n in range(6):
        torch.rand(n)
        assert trained(beside, [n]) == losses[n : n + 1]


def test_training_changes_no_draws_of_others():
    model = make()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(model)
    assert torch.equal(torch.rand(3), expected)


def test_two_models_draw_for_themselves():
    one, other = make(), make()
    mixed = [(trained(one, [n]), trained(other, [n])) for n in range(6)]
    assert [a for a, _ in mixed] == [b for _, b in mixed]


# ---- what goes in and what comes out


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, a, b):
        return {"sum": self.a(a) + self.b(b), "pair": (self.a(a), b)}


def of_sum(outputs, y):
    return nn.functional.cross_entropy(outputs["sum"], y)


def test_a_tuple_is_passed_one_by_one_and_a_mapping_by_name():
    losses = [
        float(TorchModel(Two(), "sgd", of_sum).train_on_batch(given, Y[0]))
        for given in ((X[0], X[1]), {"b": X[1], "a": X[0]})
    ]
    assert losses[0] == losses[1]
    model = TorchModel(Two(), None, None)
    one, other = model.predict(X[0], X[1]), model.predict((X[0], X[1]))
    assert np.array_equal(one["sum"], other["sum"])
    assert np.array_equal(one["pair"][1], X[1])
    assert np.array_equal(model.predict(X[0], b=X[1])["sum"], one["sum"])


def test_what_follows_the_targets_goes_to_the_loss():
    def weighted(outputs, y, sample_weight, power=1):
        losses = nn.functional.cross_entropy(outputs, y, reduction="none")
        return (losses * sample_weight**power).mean()

    w = np.linspace(0, 1, 8)
    one, other = make(loss=weighted), make(loss=weighted)
    loss = one.train_on_batch(X[0], Y[0], w, power=2)
    assert loss == other.train_on_batch(X[0], Y[0], sample_weight=w**2)


def test_without_targets_the_loss_gets_the_outputs_alone():
    loss = make(loss=lambda outputs: outputs.square().mean()).train_on_batch(X[0])
    assert loss > 0


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4"])
def test_floats_take_the_dtype_of_the_module(dtype):
    given = X[0].astype("float16")
    expected = make().train_on_batch(given.astype("float32"), Y[0])
    assert make().train_on_batch(given.astype(dtype), Y[0]) == expected


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int8", "uint64"])
def test_whole_targets_of_any_width_are_classes(dtype):
    assert make().train_on_batch(X[0], Y[0].astype(dtype)) == make().train_on_batch(X[0], Y[0])


def test_floats_beyond_the_dtype_of_the_module_are_refused():
    with pytest.raises(ArgumentValueError, match=r"beyond the torch\.float32 of the module"):
        make().train_on_batch(np.full((8, 3), 1e300), Y[0])
    infinite = np.full((8, 3), np.inf)
    assert np.isnan(make().train_on_batch(infinite, Y[0]))


def test_a_mask_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"filled\(0\)"):
        make().train_on_batch(np.ma.masked_array(X[0], X[0] > 0), Y[0])


def test_what_is_given_is_never_changed_nor_shared():
    class InPlace(nn.Module):
        def forward(self, x):
            return x.mul_(2), self.kept

        def __init__(self):
            super().__init__()
            self.register_buffer("kept", torch.ones(2))

    x = X[0].copy()
    module = InPlace()
    doubled, kept = TorchModel(module, None, None).predict(x)
    module.kept += 1
    assert np.array_equal(x, X[0])
    assert np.array_equal(doubled, X[0] * 2)
    assert kept.tolist() == [1, 1]


def test_read_only_and_reversed_arrays_are_taken():
    x = X[0][::-1]
    x.flags.writeable = False
    assert make().predict(x).shape == (8, 2)


def test_an_output_of_bfloat16_keeps_its_values():
    model = TorchModel(nn.Linear(3, 2).to(torch.bfloat16), None, None)
    assert model.predict(X[0]).dtype == np.float32


def test_arrays_go_to_the_device_of_the_module():
    model = make(device="meta")
    loss = model.train_on_batch(X[0], Y[0])
    assert loss._tensor.device.type == "meta"
    model.optimizer.zero_grad()


def test_a_model_moves_with_the_state_of_its_optimizer():
    model = make()
    trained(model)
    assert model.to("cpu") is model
    assert trained(model) != []
    moved = model.to("meta")
    state = moved.optimizer.state[next(moved.module.parameters())]
    assert state["exp_avg"].device.type == "meta"


def test_a_recurrent_net_and_a_list_of_inputs():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, sequences):
            packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
            return self.out(self.rnn(packed)[1][0])

    sequences = [X[0][:n] for n in (2, 5, 8)]
    model = TorchModel(Last(), "adam", "cross_entropy")
    first = model.train_on_batch(sequences, np.array([0, 1, 1]))
    losses = [model.train_on_batch(sequences, np.array([0, 1, 1])) for _ in range(20)]
    assert losses[-1] < first


# ---- errors


def test_a_loss_for_each_item_is_refused():
    with pytest.raises(ArgumentValueError, match=r'gave 8 numbers.*Leave reduction="none" out'):
        make(loss=nn.CrossEntropyLoss(reduction="none")).train_on_batch(X[0], Y[0])


def test_a_loss_that_is_no_tensor_is_refused():
    with pytest.raises(ArgumentTypeError, match="gave float: it gives one number"):
        make(loss=lambda outputs, y: 0.5).train_on_batch(X[0], Y[0])


def test_a_loss_that_trains_nothing_is_refused():
    model = make()
    model.module.requires_grad_(False)
    with pytest.raises(ArgumentValueError, match="no parameter that can be trained: all are"):
        model.train_on_batch(X[0], Y[0])


def test_an_error_tells_what_the_module_got():
    with pytest.raises(RuntimeError) as caught:
        make().train_on_batch(X[0], X[0][:, 0])
    (note,) = caught.value.__notes__
    assert "Sequential was trained on float32 (8, 3) and float32 (8,)" in note
    assert "its parameters are torch.float32 on cpu" in note


BAD = {
    "a class": (
        lambda: TorchModel(nn.Linear, "sgd", "mse"),
        ArgumentTypeError,
        "calling the class",
    ),
    "no module": (lambda: TorchModel(len, "sgd", "mse"), ArgumentTypeError, "a torch.nn.Module"),
    "optimizer": (lambda: make("adan"), ArgumentValueError, "no optimizer 'adan'.*Did you mean"),
    "loss": (lambda: make(loss="mze"), ArgumentValueError, "no loss 'mze'"),
    "a number": (lambda: make(5), ArgumentTypeError, "an optimizer, a class or function"),
    "a loss of 5": (lambda: make(loss=5), ArgumentTypeError, "a function of the outputs"),
    "no optimizer": (lambda: make(len), ArgumentTypeError, "which is no optimizer"),
    "another's": (
        lambda: make(optim.SGD(layers().parameters())),
        ArgumentValueError,
        "no parameter of the module Sequential",
    ),
    "metrics": (lambda: make(metrics={"a": 1}), ArgumentTypeError, "functions of the outputs"),
    "two metrics": (lambda: make(metrics=[accuracy] * 2), ArgumentValueError, "as a mapping"),
    "a metric loss": (lambda: make(metrics={"loss": accuracy}), ArgumentValueError, "'loss'"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD)
def test_what_cannot_train_is_refused_when_it_is_made(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_model_without_optimizer_or_loss_is_not_trained():
    with pytest.raises(ModelDefinitionError, match="has no optimizer to train with"):
        TorchModel(layers(), None, "mse").train_on_batch(X[0], Y[0])
    with pytest.raises(ModelDefinitionError, match="has no loss to train with"):
        TorchModel(layers(), "sgd", None).train_on_batch(X[0], Y[0])


def test_without_torch_it_is_told_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from batchflow.models import TorchModel\n"
        "try:\n    TorchModel(None, 'adam', 'mse')\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    assert "TorchModel needs the package torch" in run_alone(code).stdout


def test_the_name_alone_does_not_import_torch():
    code = "import sys; from batchflow.models import TorchModel; print('torch' in sys.modules)"
    assert run_alone(code).stdout.strip() == "False"


# ---- states


@pytest.mark.parametrize("kind", [lambda: make(), lambda: Clipped(layers())], ids=["adam", "more"])
def test_training_goes_on_with_the_same_bits(tmp_path, kind):
    whole, first = kind(), kind()
    losses = trained(whole)
    trained(first, range(3))
    save(first, tmp_path / "net.pt")
    torch.manual_seed(99)
    second = kind()
    assert load(tmp_path / "net.pt", into=second) is second
    assert trained(second, range(3, 6)) == losses[3:]
    assert same(whole, second)


def test_a_file_is_read_by_torch_without_executing_code(tmp_path):
    make().save(tmp_path / "net.pt")
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    module = layers()
    module.load_state_dict(state["parts"]["module"])


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in "ab":
        make().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class Runs:
    def __reduce__(self):
        return print, ("executed",)


def test_a_hostile_file_is_not_executed(tmp_path, capsys):
    torch.save({"batchflow_torch_model": 1, "parts": Runs()}, tmp_path / "net.pt")
    with pytest.raises(ArgumentValueError, match="could execute code"):
        make().load(tmp_path / "net.pt")
    assert capsys.readouterr().out == ""


def damage(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)


def compress(file):
    entries = {}
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def cut_a_tensor(file):
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    longest = max((name for name in entries if "/data/" in name), key=lambda n: len(entries[n]))
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data[:8] if name == longest else data)


FILES = {
    "empty": lambda file: file.write_bytes(b""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "compressed": compress,
    "a tensor is shorter than told": cut_a_tensor,
    "a pickle": lambda file: file.write_bytes(pickle.dumps({})),
    "another state": lambda file: torch.save(layers().state_dict(), file),
    "a number": lambda file: torch.save(5, file),
    "a version of later": lambda file: torch.save({"batchflow_torch_model": 2}, file),
}


@pytest.mark.parametrize("spoil", FILES.values(), ids=FILES)
def test_a_damaged_file_changes_nothing(tmp_path, spoil):
    model, file = make(), tmp_path / "net.pt"
    before = weights(model)
    trained(make(), [0])
    make().save(file)
    spoil(file)
    with pytest.raises(ArgumentValueError, match=r"net\.pt"):
        model.load(file)
    assert all(map(torch.equal, before, weights(model)))


def double():
    torch.manual_seed(1)
    return TorchModel(layers().double(), optim.Adam, "cross_entropy")


OTHERS = {
    "another optimizer": (lambda: make(optim.SGD), "that of a Adam, and the model has a SGD"),
    "no optimizer": (lambda: TorchModel(layers(), None, None), "what the model lacks: optimizer"),
    "another dtype": (double, "float32 of shape .*, and the model's is torch.float64"),
    "other groups": (
        lambda: make(lambda p: optim.Adam([{"params": p[:2]}, {"params": p[2:]}])),
        "other groups of parameters",
    ),
    "more": (lambda: TorchModel(Two(), "adam", "mse"), "lacks 4 tensors, such as 'a.bias'"),
    "a scheduler": (lambda: Clipped(layers()), "lacks the state of scheduler"),
}


@pytest.mark.parametrize(("other", "message"), OTHERS.values(), ids=OTHERS)
def test_a_state_that_does_not_fit_changes_nothing(other, message):
    first, second = make(), other()
    trained(first)
    before = weights(second)
    with pytest.raises(ArgumentValueError, match=message):
        second.load_state_dict(first.state_dict())
    assert all(map(torch.equal, before, weights(second)))


def test_a_part_that_refuses_its_state_leaves_the_others_as_they_were():
    class Refuses:
        def state_dict(self):
            return {"value": 1}

        def load_state_dict(self, state):
            if state != {"value": 1}:
                raise ValueError("mine")

    first, second = make(), make()
    first.own, second.own = Refuses(), Refuses()
    trained(first)
    state = copy.deepcopy(first.state_dict())
    state["parts"]["own"] = {"value": 2}
    with pytest.raises(ArgumentValueError, match="own does not fit: mine"):
        second.load_state_dict(state)
    assert trained(second) == trained(make())


def test_a_state_that_is_kept_is_not_changed_by_training():
    model = make()
    trained(model, [0])
    best = copy.deepcopy(model.state_dict())
    expected = trained(model, [1, 2])
    for _ in range(2):
        model.load_state_dict(best)
        assert trained(model, [1, 2]) == expected


def test_a_part_that_could_not_be_read_is_refused_when_it_is_saved(tmp_path):
    class Odd:
        def state_dict(self):
            return {"made": [threading]}

        def load_state_dict(self, state):
            pass

    model = make()
    model.odd = Odd()
    with pytest.raises(ArgumentTypeError, match=r"odd\['made'\]\[0\] is a module"):
        model.save(tmp_path / "net.pt")
    assert not [*tmp_path.iterdir()]


def test_a_module_without_shapes_yet_is_told_when_it_is_saved(tmp_path):
    model = TorchModel(nn.LazyLinear(2), "sgd", "cross_entropy")
    with pytest.raises(ArgumentValueError, match="call the module on a batch first"):
        model.save(tmp_path / "net.pt")
    model.train_on_batch(X[0], Y[0])
    model.save(tmp_path / "net.pt")
    fresh = TorchModel(nn.LazyLinear(2), "sgd", "cross_entropy")
    fresh.load(tmp_path / "net.pt")
    assert same(model, fresh)


def test_the_state_of_a_compiled_module_fits_the_module_and_the_other_way(tmp_path):
    compiled = TorchModel(torch.compile(layers(), backend="eager"), "adam", "cross_entropy")
    assert repr(compiled) == "<TorchModel of Sequential with Adam>"
    plain = make()
    trained(plain, [0])
    plain.save(tmp_path / "plain.pt")
    compiled.load(tmp_path / "plain.pt")
    assert same(plain, compiled)
    compiled.save(tmp_path / "compiled.pt")
    assert (tmp_path / "compiled.pt").read_bytes() == (tmp_path / "plain.pt").read_bytes()
    fresh = make()
    fresh.load(tmp_path / "compiled.pt")
    assert same(plain, fresh)


def test_a_copy_is_a_model_of_its_own():
    model = make()
    trained(model, [0])
    other = copy.deepcopy(model)
    assert trained(model, [1, 2]) == trained(other, [1, 2])
    assert other.module is not model.module


def test_models_with_parameters_in_common_are_known():
    model = make()
    whole = TorchModel(nn.Sequential(model.module, nn.Linear(2, 2)), "sgd", "mse")
    assert adapter_of(model).shares_state(whole)
    assert adapter_of(model.module).shares_state(whole)
    assert not adapter_of(model).shares_state(make())
    assert not adapter_of(model).shares_state(object())
