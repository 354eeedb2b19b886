"""Ray Train trains one torch module in two workers, each on its shard of every epoch.

    pip install '.[ray,torch,examples]' 'ray[train]'    # in a checkout
    python examples/data_parallel_ray.py

Each worker reads `dataset.shard(rank, n, equal=True)`: the same number of batches, and no item
twice. Ray's own `prepare_data_loader` would shard them once more, so it is left out. Ray Train
averages the gradients, and both workers end with the same weights.
"""

import tempfile
from pathlib import Path

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

from batchflow import ArrayBatch, B, Dataset, action

N_WORKERS, BATCH_SIZE, N_EPOCHS = 2, 32, 3


class Digits(ArrayBatch):
    components = "images", "labels"

    @action
    def add_noise(self):
        """Add noise of a tenth of the range."""
        noise = self.rng.normal(0, 0.1, self.images.shape)
        self.images = (self.images + noise).astype("float32")
        return self


def train(config):
    """Train on the shard of a worker. Saves the weights, and the items of each epoch."""
    context = ray.train.get_context()
    rank, n_ranks = context.get_world_rank(), context.get_world_size()
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    shard = Dataset.from_arrays(Digits, images=images, labels=labels).shard(
        rank, n_ranks, equal=True
    )
    feed = shard.p.add_noise().feed(
        BATCH_SIZE, B.images, (B.labels, B.indices), shuffle=True, seed=1, prefetch=4
    )
    loader = DataLoader(feed.to_torch(), batch_size=None)

    torch.manual_seed(0)
    net = ray.train.torch.prepare_model(nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    items = []
    for _ in range(N_EPOCHS):
        items.append([])
        for batch, (truth, ids) in loader:
            items[-1] += ids.tolist()
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(batch), truth).backward()
            optimizer.step()
    weights = [p.detach().numpy() for p in net.parameters()]
    np.savez(Path(config["folder"], f"{rank}.npz"), *weights, items=np.array(items))


def main():
    with tempfile.TemporaryDirectory() as folder:
        ray.init(address="local", num_cpus=N_WORKERS, include_dashboard=False)
        trainer = ray.train.torch.TorchTrainer(
            train,
            train_loop_config={"folder": folder},
            scaling_config=ray.train.ScalingConfig(num_workers=N_WORKERS),
            run_config=ray.train.RunConfig(storage_path=folder, name="digits"),
        )
        trainer.fit()
        ray.shutdown()
        first, second = (dict(np.load(Path(folder, f"{k}.npz"))) for k in range(N_WORKERS))
    both = zip(first["items"].tolist(), second["items"].tolist(), strict=True)
    same = all(np.array_equal(first[name], second[name]) for name in first if name != "items")
    print(f"items of an epoch: {first['items'].shape[1]} and {second['items'].shape[1]}")
    print(f"items that both have had in an epoch: {sum(len(set(a) & set(b)) for a, b in both)}")
    print(f"the same weights in both: {same}")


if __name__ == "__main__":
    main()
