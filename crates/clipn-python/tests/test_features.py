"""Files of `clipn embed` in the libraries of the field."""

import subprocess
import sys

import numpy as np
import pytest

import clipn


def run(*arguments):
    subprocess.run([sys.executable, "-m", "clipn", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def embedded(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    (folder / "npy").mkdir()
    (folder / "metadata").mkdir()
    (folder / "table").mkdir()
    run("embed", "images", *images, "--output", folder / "npy/img_emb_0.npy", "--keys", folder / "metadata/metadata_0.parquet")
    run("embed", "images", *images, "--output", folder / "table/f.parquet")
    run("embed", "images", *images, "--output", folder / "f.safetensors", "--dtype", "f16")
    (folder / "half").mkdir()
    run("embed", "images", *images, "--output", folder / "half/f.parquet", "--dtype", "f16")
    return folder


def test_numpy_pandas_and_pyarrow(embedded, images, model):
    import pandas
    import pyarrow.parquet

    array = np.load(embedded / "npy/img_emb_0.npy")
    assert array.dtype == np.float32 and np.array_equal(array, model.image(images))
    frame = pandas.read_parquet(embedded / "table/f.parquet")
    assert frame["image_path"].tolist() == [str(path) for path in images]
    assert np.array_equal(np.stack(frame["embedding"]), array)
    table = pyarrow.parquet.read_table(embedded / "table/f.parquet")
    assert str(table.schema.field("embedding").type).startswith("list<element: float")
    keys = pandas.read_parquet(embedded / "metadata/metadata_0.parquet")
    assert keys["image_path"].tolist() == frame["image_path"].tolist()


def test_parquet_in_16_bits(embedded, images, model):
    import pandas
    import pyarrow.parquet

    expected = model.image(images).astype(np.float16)
    table = pyarrow.parquet.read_table(embedded / "half/f.parquet")
    assert str(table.schema.field("embedding").type).startswith("list<element: halffloat")
    column = np.stack(pandas.read_parquet(embedded / "half/f.parquet")["embedding"])
    assert column.dtype == np.float16 and np.array_equal(column, expected)
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_parquet(str(embedded / "half/f.parquet"), cache_dir=str(embedded / "cache"))
    assert np.array_equal(np.array(data["embedding"], dtype=np.float16), expected)
    reader_of = pytest.importorskip("embedding_reader")
    reader = reader_of.EmbeddingReader(
        embeddings_folder=str(embedded / "half"), file_format="parquet", embedding_column="embedding",
        meta_columns=["image_path"],
    )
    rows, _ = next(iter(reader(batch_size=5, start=0, end=5, show_progress=False)))
    assert np.array_equal(rows, expected)


def test_safetensors(embedded, images, model):
    numpy_of = pytest.importorskip("safetensors.numpy")
    tensors = numpy_of.load_file(embedded / "f.safetensors")
    assert list(tensors) == ["features"] and tensors["features"].dtype == np.float16
    np.testing.assert_allclose(tensors["features"], model.image(images), atol=1e-3)


def test_datasets(embedded, images, model, tmp_path):
    datasets = pytest.importorskip("datasets")
    data = datasets.load_dataset("parquet", data_files=str(embedded / "table/f.parquet"), cache_dir=str(tmp_path))["train"]
    assert data["image_path"][0] == str(images[0])
    assert np.array_equal(np.array(data["embedding"], dtype=np.float32), model.image(images))


def test_embedding_reader(embedded, images, model):
    reader_of = pytest.importorskip("embedding_reader")
    reader = reader_of.EmbeddingReader(embeddings_folder=str(embedded / "npy"), file_format="npy")
    assert (reader.count, reader.dimension) == (5, model.embed_dim)
    features, _ = next(iter(reader(batch_size=5, start=0, end=5)))
    assert np.array_equal(features, model.image(images))
    both = reader_of.EmbeddingReader(
        embeddings_folder=str(embedded / "npy"), metadata_folder=str(embedded / "metadata"), file_format="parquet_npy",
        meta_columns=["image_path"],
    )
    features, metadata = next(iter(both(batch_size=5, start=0, end=5, show_progress=False)))
    assert metadata["image_path"].tolist() == [str(path) for path in images]
    table = reader_of.EmbeddingReader(
        embeddings_folder=str(embedded / "table"), file_format="parquet", embedding_column="embedding",
        meta_columns=["image_path"],
    )
    rows, _ = next(iter(table(batch_size=5, start=0, end=5, show_progress=False)))
    assert np.array_equal(rows, features)


def test_the_program_reads_what_they_write(bundle_path, images, model, tmp_path):
    import pandas

    features = model.image(images)
    np.save(tmp_path / "f64.npy", features.astype(np.float64))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(features))
    frame = pandas.DataFrame({"image_path": [str(path) for path in images], "embedding": list(features)})
    frame.to_parquet(tmp_path / "table.parquet", row_group_size=2)
    frame.assign(embedding=list(features.astype(np.float16))).to_parquet(tmp_path / "half.parquet")
    expected = [d.label_or_unknown for d in clipn.Detector.open(bundle_path).detect(images)]
    for name in ("f64.npy", "fortran.npy", "table.parquet", "half.parquet"):
        rows = tmp_path / f"{name}.csv"
        run("classify", "--bundle", bundle_path, "--features", tmp_path / name, "--output", rows)
        got = pandas.read_csv(rows)
        assert got["label"].tolist() == expected, name
        if name.endswith("parquet"):
            assert got["path"].tolist() == [str(path) for path in images]
