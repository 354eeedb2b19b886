"""Two processes train one torch module, each on its shard of every epoch.

    pip install '.[torch,examples]'    # in a checkout
    python examples/data_parallel_torch.py

Each rank reads `dataset.shard(rank, n, equal=True)`: the same number of batches, so that no rank
waits for gradients that another does not send, and no item twice. The gradients are averaged by
`DistributedDataParallel`, so both ranks end with the same weights.
"""

import os
import socket

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

from batchflow import ArrayBatch, B, Dataset, action

N_RANKS, BATCH_SIZE, N_EPOCHS = 2, 32, 8


class Digits(ArrayBatch):
    components = "images", "labels"

    @action
    def add_noise(self):
        """Add noise of a tenth of the range."""
        noise = self.rng.normal(0, 0.1, self.images.shape)
        self.images = (self.images + noise).astype("float32")
        return self


def make_dataset():
    images, labels = load_digits(return_X_y=True)
    return Dataset.from_arrays(Digits, images=(images / 16).astype("float32"), labels=labels)


def train(rank, port, results):
    """Train on the shard of a rank. Puts rank, weights, items of each epoch and accuracy."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=N_RANKS)
    train_part, _, test_part = make_dataset().split(0.8, test=0.2, shuffle=0)
    shard = train_part.shard(rank, N_RANKS, equal=True)
    training = shard.p.add_noise()
    feed = training.feed(BATCH_SIZE, B.images, (B.labels, B.indices), shuffle=True, seed=1)
    loader = DataLoader(feed.to_torch(), batch_size=None)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    parallel = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.Adam(net.parameters(), 0.005)
    items = []
    for _ in range(N_EPOCHS):
        items.append([])
        for images, (labels, ids) in loader:
            items[-1] += ids.tolist()
            optimizer.zero_grad()
            nn.functional.cross_entropy(parallel(images), labels).backward()
            optimizer.step()
    images, labels = test_part.p.to_arrays(B.images, B.labels)
    with torch.no_grad():
        accuracy = float(np.mean(net(torch.from_numpy(images)).argmax(1).numpy() == labels))
    weights = [p.detach().numpy().copy() for p in net.parameters()]
    results.put((rank, weights, items, accuracy))
    torch.distributed.destroy_process_group()


def main():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=train, args=(k, port, results)) for k in range(N_RANKS)]
    for process in processes:
        process.start()
    ranks = sorted((results.get(timeout=300) for _ in processes), key=lambda result: result[0])
    for process in processes:
        process.join()
    (_, weights, items, accuracy), (_, others, other_items, _) = ranks
    same = all(np.array_equal(a, b) for a, b in zip(weights, others, strict=True))
    print(f"items of an epoch: {len(items[0])} and {len(other_items[0])}")
    shared = [len(set(a) & set(b)) for a, b in zip(items, other_items, strict=True)]
    print(f"items that both have had in an epoch: {sum(shared)}")
    print(f"the same weights in both: {same}, test accuracy {accuracy:.1%}")


if __name__ == "__main__":
    main()
