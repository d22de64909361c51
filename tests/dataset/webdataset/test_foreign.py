"""Anyone's tars are a dataset: indexed once, and again when they are others."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.store.storage import Storage
from dataset.webdataset import foreign
from dataset.webdataset.foreign import open_train_index, root
from dataset.webdataset.shards import DamagedSampleError, read_sample
from tests import s3_server


def tar(path: Path, keys: list[str], suffixes: tuple[str, ...] = ("jpg", "txt")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key in keys:
            for suffix in suffixes:
                member = tarfile.TarInfo(f"{key}.{suffix}")
                content = f"{path.name} {key} {suffix}".encode()
                member.size, member.mtime = len(content), 1_600_000_000
                archive.addfile(member, io.BytesIO(content))
    return path


def three(folder: Path) -> None:
    """Tars of 3, 1 and 2 samples, with the same keys."""
    for number, count in enumerate((3, 1, 2)):
        tar(folder / f"{number:05d}.tar", [f"{sample:04d}" for sample in range(count)])


def names(dataset: str, fallback: Path, workers: int = 0) -> list[str]:
    _, index = open_train_index(dataset, str(fallback), workers)
    return [index.name(row) for row in range(len(index))]


EXPECTED = ["00000.tar/0000", "00000.tar/0001", "00000.tar/0002", "00001.tar/0000", "00002.tar/0000", "00002.tar/0001"]


def test_a_folder_of_tars_is_read_at_random(tmp_path: Path) -> None:
    three(tmp_path)
    storage, index = open_train_index(str(tmp_path), str(tmp_path / "run"))
    assert [index.name(row) for row in range(6)] == EXPECTED
    assert read_sample(storage, index, 5) == {"jpg": b"00002.tar 0001 jpg", "txt": b"00002.tar 0001 txt"}
    assert len({tuple(ids) for ids in index.pair_id.tolist()}) == 6  # though the tars' keys are the same


def test_tars_in_a_folder_named_shards_are_found(tmp_path: Path) -> None:
    three(tmp_path / "shards")
    storage, index = open_train_index(str(tmp_path), str(tmp_path / "run"))
    assert index.name(3) == "shards/00001.tar/0000"
    assert read_sample(storage, index, 3)["txt"] == b"00001.tar 0000 txt"


def test_a_pattern_of_tars_names_some_of_them(tmp_path: Path) -> None:
    three(tmp_path)
    assert names(f"{tmp_path}/{{00000..00001}}.tar", tmp_path) == EXPECTED[:4]
    assert names(f"{tmp_path}/00002.tar", tmp_path) == EXPECTED[4:]
    with pytest.raises(FileNotFoundError, match=r"00003\.tar does not exist"):
        names(f"{tmp_path}/{{00000..00003}}.tar", tmp_path)


def test_an_index_is_built_once_and_again_for_other_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(tmp_path)
    built: list[str] = []
    build = foreign.build_index
    monkeypatch.setattr(foreign, "build_index", lambda url: built.append(url) or build(url))
    assert names(str(tmp_path), tmp_path / "run") == names(str(tmp_path), tmp_path / "run") == EXPECTED
    assert len(built) == 3
    tar(tmp_path / "00001.tar", ["7" * 10, "8" * 200])
    assert names(str(tmp_path), tmp_path / "run")[3:5] == ["00001.tar/7777777777", f"00001.tar/{'8' * 200}"]
    assert len(built) == 6


@pytest.mark.parametrize("damage", ["bytes", "columns", "values"])
def test_an_index_among_anyones_tars_that_is_none_is_built_anew(tmp_path: Path, damage: str) -> None:
    three(tmp_path)
    assert names(str(tmp_path), tmp_path / "run") == EXPECTED
    (path,) = tmp_path.glob("openwit-index-*.parquet")
    table = pq.read_table(path)
    if damage == "values":
        place = table.column_names.index("offset")
        table = table.set_column(place, "offset", pa.array([-1] * len(table), pa.int64()))
    pq.write_table(table.drop(["offset"]) if damage == "columns" else table, path)
    if damage == "bytes":
        path.write_bytes(b"PAR1")
    assert names(str(tmp_path), tmp_path / "run") == EXPECTED
    assert pq.read_table(path).column("offset").to_pylist()[0] == 0


def test_where_the_place_is_read_only_the_run_keeps_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(tmp_path / "data")
    write = Storage.write

    def read_only(self: Storage, name: str, data: bytes) -> None:
        if self.url == str(tmp_path / "data"):
            raise PermissionError(name)
        write(self, name, data)

    monkeypatch.setattr(Storage, "write", read_only)
    assert names(str(tmp_path / "data"), tmp_path / "run") == EXPECTED
    assert [path.name.startswith("openwit-index-") for path in (tmp_path / "run").iterdir()] == [True]
    monkeypatch.setattr(foreign, "build_index", None)
    assert names(str(tmp_path / "data"), tmp_path / "run") == EXPECTED


def test_workers_build_the_same_index(tmp_path: Path) -> None:
    three(tmp_path)
    alone = open_train_index(str(tmp_path), str(tmp_path))[1].fingerprint
    for path in tmp_path.glob("openwit-index-*"):
        path.unlink()
    assert open_train_index(str(tmp_path), str(tmp_path), 2)[1].fingerprint == alone


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_of_a_tar_that_is_cut_off_the_whole_samples_are_used(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = tar(folder / "a.tar", ["0", "1", "2"])  # of 2,048 bytes each
    whole = path.read_bytes()
    cut = data.draw(st.integers(2048, len(whole)))
    path.write_bytes(whole[:cut])
    storage, index = open_train_index(str(folder), str(folder))
    complete = min(3, cut // 2048)
    assert complete <= len(index) <= complete + 1  # of a cut between two members, nobody knows that one is missing
    for row in range(complete):
        assert set(read_sample(storage, index, row)) == {"jpg", "txt"}


@pytest.mark.parametrize("content", [b"", b"<html>" * 1000, bytes(10_240)])
def test_what_is_no_tar_of_samples_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar is not a tar: |no samples in them") as caught:
        open_train_index(str(tmp_path), str(tmp_path))
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="and no tars"):
        open_train_index(str(tmp_path / "elsewhere"), str(tmp_path))


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("out/mine", "out/mine"),
        ("s3://bucket/data/", "s3://bucket/data"),
        ("s3://bucket/{00..11}.tar", "s3://bucket"),
        ("/data/{a,b}/{00..11}.tar", "/data"),
        ("one.tar", "."),
        ("/one.tar", "/"),
    ],
)
def test_a_datasets_folder(dataset: str, folder: str) -> None:
    assert root(dataset) == folder


@pytest.mark.slow
def test_tars_on_s3_are_read_through_once(tmp_path: Path) -> None:
    three(tmp_path / "local")
    with s3_server.running() as bucket:
        remote = Storage(f"{bucket}/data")
        for path in (tmp_path / "local").iterdir():
            remote.write(path.name, path.read_bytes())
        assert names(f"{bucket}/data", tmp_path / "run") == EXPECTED
        assert [info.name for info in remote.list() if info.name.endswith("parquet")] != []
        assert names(f"{bucket}/data/{{00001..00002}}.tar", tmp_path / "run") == EXPECTED[3:]


def damaged(path: Path, header: bytes) -> None:
    """A tar of the samples 0 and 1, between which a header stands as it is given."""
    whole = tar(path, ["0", "1"]).read_bytes()
    path.write_bytes(whole[:2048] + header + whole[2048:])


def header(name: str, size: int, **fields: object) -> bytes:
    """A member's header, with any size."""
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    raw = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    raw[124:136] = bytes([0xFF if size < 0 else 0x80]) + size.to_bytes(11, "big", signed=True)
    raw[148:156] = b" " * 8
    raw[148:156] = f"{sum(raw):06o}\0 ".encode()
    return bytes(raw)


@pytest.mark.parametrize(
    ("size", "kind", "said"),
    [
        (-1, tarfile.REGTYPE, "'2.jpg' claims -1 bytes"),
        (2**80, tarfile.REGTYPE, "'2.jpg' claims 1,208,925,819,614,629,174,706,176 bytes, of which 8,192 are there"),
        (2**63 - 1, tarfile.XHDTYPE, "an extended header claims 9,223,372,036,854,775,807 bytes"),
        (2**40, tarfile.GNUTYPE_LONGNAME, "an extended header claims 1,099,511,627,776 bytes"),
        (-(2**70), b"?", "claims -1,180,591,620,717,411,303,424 bytes"),
    ],
)
def test_a_size_that_no_file_has_ends_the_tar_with_a_sentence(
    size: int, kind: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(tmp_path / "a.tar", header("2.jpg", size, type=kind))
    for _ in range(2):  # as well where the index is there already
        assert names(str(tmp_path), tmp_path) == ["a.tar/0"]
        error = capsys.readouterr().err
        assert f"{tmp_path}/a.tar is damaged at byte 2048: " in error and said in error
        assert error.endswith("; the samples before it (1) are used\n") and error.count("\n") == 1


def test_what_webdataset_passes_over_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    files = [
        "0.jpg",
        "0.txt",
        "readme",
        ".DS_Store",
        "._0.jpg",
        "__meta__/0.txt",
        "__index__",
        "1/.DS_Store",
        "1/a.jpg",
    ]
    with tarfile.open(path, "w") as archive:
        for kind in (
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.BLKTYPE,
            tarfile.FIFOTYPE,
            tarfile.DIRTYPE,
        ):
            for name in [*files, "1/._a.txt", "1/a.txt"]:
                member = tarfile.TarInfo(name)
                member.size = 3
                archive.addfile(member, io.BytesIO(b"abc"))
                other = tarfile.TarInfo(f"{name}.txt")
                other.type, other.linkname = kind, "../../elsewhere"
                archive.addfile(other)
    storage, index = open_train_index(str(tmp_path), str(tmp_path))
    assert [index.key(row) for row in range(len(index))] == ["0", "1/a"] * 6
    assert all(read_sample(storage, index, row) == {"jpg": b"abc", "txt": b"abc"} for row in range(12))
    theirs = webdataset.WebDataset(str(path), shardshuffle=False)
    assert [sample["__key__"] for sample in theirs if "jpg" in sample] == ["0", "1/a"] * 6


def test_two_samples_of_one_key_in_a_row_are_damage_that_names_them(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", ["0", "1", "1", "2"])
    storage, index = open_train_index(str(tmp_path), str(tmp_path))
    assert names(str(tmp_path), tmp_path) == ["a.tar/0", "a.tar/1", "a.tar/2"]
    assert read_sample(storage, index, 2)["jpg"] == b"a.tar 2 jpg"
    with pytest.raises(DamagedSampleError, match=r"sample 1: '1\.jpg' is there twice; two samples of one key follow"):
        read_sample(storage, index, 1)


@pytest.mark.parametrize("format_", ["old", "0.1", "1.0"])
def test_a_sparse_member_is_damage_of_its_sample_alone(format_: str, tmp_path: Path) -> None:
    if format_ == "old":
        extra = header("1.jpg", 1024, type=tarfile.GNUTYPE_SPARSE)
    else:
        names_ = {"GNU.sparse.name": "1.jpg", "GNU.sparse.realsize": "999999999999"}
        member = tarfile.TarInfo("GNUSparseFile.0/1.jpg")
        member.size, member.pax_headers = 1024, names_
        extra = member.tobuf(tarfile.PAX_FORMAT)
    whole = tar(tmp_path / "a.tar", ["0", "1", "2"]).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:2048] + extra + bytes(1024) + whole[3072:])
    storage, index = open_train_index(str(tmp_path), str(tmp_path))
    assert [index.key(row) for row in range(3)] == ["0", "1", "2"]
    with pytest.raises(DamagedSampleError, match=r"sample 1: '1\.jpg' is a sparse file, which is not read"):
        read_sample(storage, index, 1)
    assert read_sample(storage, index, 2)["txt"] == b"a.tar 2 txt"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_tar_raises_anything_but_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("spoiled")
    raw = bytearray(tar(folder / "a.tar", ["0", "1", "x" * 150]).read_bytes()[:8192])
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # a header whose sum is right again
        at = 512 * data.draw(st.integers(0, 15))
        raw[at + 148 : at + 156] = b" " * 8
        raw[at + 148 : at + 156] = f"{sum(raw[at : at + 512]):06o}\0 ".encode()
    (folder / "a.tar").write_bytes(raw)
    try:
        storage, index = open_train_index(str(folder), str(folder))
    except ValueError as error:
        assert "a.tar" in str(error) or "no samples" in str(error)
        return
    for row in range(len(index)):
        try:
            read_sample(storage, index, row)
        except DamagedSampleError as error:
            assert str(error)


@pytest.mark.parametrize("columns", [{"a": [1]}, {"split": ["train"], "shard": ["x"], "key": ["k"], "offset": ["z"]}])
def test_an_index_of_other_columns_is_a_sentence(columns: dict[str, list[object]], tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "shards/index.parquet")
    with pytest.raises(ValueError, match=r"shards/index.parquet is no index of shards as openwit writes it"):
        open_train_index(str(tmp_path), str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("{00000..00099}/{a,b}.tar", 200), ("{x,{0..3}}.tar", 5), ("{a..c}.tar", 3), ("{5..-5..2}.tar", 6), ("a.tar", 1)],
)
def test_a_pattern_with_braces_means_so_many_tars(pattern: str, count: int) -> None:
    assert len(foreign.expand_braces(pattern)) == count


@pytest.mark.parametrize(
    "pattern",
    ["{0..999999999999}.tar", f"{{{'9' * 5_000}..1}}.tar", "{a,b}" * 25, f"{{{{a,b}},{','.join('c' * 900)}}}" * 4],
)
def test_a_pattern_of_too_many_tars_is_not_worked_out(pattern: str) -> None:
    with pytest.raises(ValueError, match="names more than 1,000,000 files"):
        foreign.expand_braces(pattern)


@pytest.mark.parametrize(
    ("tars", "root", "below"),
    [
        ("{a,b}/0.tar", ".", "{a,b}/0.tar"),
        ("{0..1}.tar", ".", "{0..1}.tar"),
        ("./{a,b}/0.tar", ".", "{a,b}/0.tar"),
        ("/{a,b}/0.tar", "/", "{a,b}/0.tar"),
        ("/x/{a,b}/0.tar", "/x", "{a,b}/0.tar"),
        ("x/y{a,b}/0.tar", "x", "y{a,b}/0.tar"),
        ("s3://x/{a,b}/0.tar", "s3://x", "{a,b}/0.tar"),
    ],
)
def test_what_lies_above_the_first_brace_is_the_folder(tars: str, root: str, below: str) -> None:
    assert (foreign.root(tars), foreign._pattern_below_root(tars)) == (root, below)


@pytest.mark.parametrize("tars", ["s3://{a,b}/0.tar", "s3://x{a,b}/0.tar"])
def test_a_pattern_of_buckets_is_a_sentence(tars: str) -> None:
    with pytest.raises(ValueError, match="names several buckets"):
        foreign.find_shards(tars)


def test_a_path_that_begins_with_braces_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tar(tmp_path / name / "0.tar", [name])
    assert names("{a,b}/0.tar", tmp_path) == ["a/0.tar/a", "b/0.tar/b"]


def test_a_brace_that_is_not_closed_is_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"a\{b.tar: Unbalanced braces"):
        foreign.expand_braces("a{b.tar")


def test_a_dataset_of_ours_whose_index_is_gone_is_not_trained_on_what_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "heldout-00000.tar", "w"):
        pass
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="is gone; the same `wit run` makes it again"):
        open_train_index(str(tmp_path), str(tmp_path / "run"))
