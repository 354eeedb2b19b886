"""Document 001: what is of TensorFlow alone says so, on the other backends."""

import pytest
from models.document_001.kit import batches, reader
from models.document_001.rows import row
from models.document_001.test_export import receiver

from batchflow.errors import BatchflowError

pytestmark = pytest.mark.tensorflow


@row("export_savedmodel.returns")
@pytest.mark.backends("torch")
def test_on_torch_an_export_is_refused_with_the_way_to_do_it(row, tmp_path):
    estimator = reader(tmp_path / "model").train(batches, steps=1)
    with pytest.raises(BatchflowError, match="KERAS_BACKEND=tensorflow"):
        estimator.export_savedmodel(str(tmp_path / "out"), receiver)
    assert not (tmp_path / "out").exists()
