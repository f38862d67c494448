"""Which files of a repository are fetched. Listings: shapes of public repositories (GGUF variants, Mistral's second
copy, Meta's `original/`, weights that were cut anew), sizes made up."""

from __future__ import annotations

import json

import pytest

from deploys.vllm.programs.hub_download import Remote
from deploys.vllm.programs.weights_choice import ChoiceError, choose, gguf_file, index_of, named_by

GB = 10**9
VARIANTS = {
    "README.md": 900,
    "Example-7B-Q2_K.gguf": 3 * GB,
    "Example-7B-Q4_K_M.gguf": 4_500_000_000,
    "Example-7B-Q8_0.gguf": 8 * GB,
    "Example-7B-f16.gguf": 15 * GB,
    "mmproj-Example-7B-f16.gguf": GB,
    "imatrix.gguf": 5_000_000,
}
TWO_COPIES = {
    "config.json": 700,
    "params.json": 200,
    "consolidated.safetensors": 9 * GB,
    "model-00001-of-00002.safetensors": 5 * GB,
    "model-00002-of-00002.safetensors": 4 * GB,
    "model.safetensors.index.json": 20000,
}


def listed(files: dict[str, int]) -> list[Remote]:
    return [Remote(path, size, "0" * 64, "0" * 40) for path, size in files.items()]


def chosen(files: dict[str, int], **choice: object) -> list[str]:
    return [file.path for file in choose(listed(files), **choice)]  # type: ignore[arg-type]


def test_of_several_variants_one_is_named_or_all_are_listed() -> None:
    with pytest.raises(ChoiceError) as refused:
        chosen(VARIANTS)
    assert str(refused.value) == (
        "it has 4 variants: Example-7B-Q2_K (2.8 GiB), Example-7B-Q4_K_M (4.2 GiB), Example-7B-Q8_0 (7.5 GiB), "
        "Example-7B-f16 (14.0 GiB); name one, as in hub:OWNER/NAME:Q2_K"
    )
    for word in ("Q4_K_M", "q4_k_m", "Example-7B-Q4_K_M", "example-7b-q4_k_m.gguf"):
        assert chosen(VARIANTS, variant=word) == ["Example-7B-Q4_K_M.gguf"]
    with pytest.raises(ChoiceError, match=r"'Q5_K_M' is none of the variants; there are Example-7B-Q2_K \(2.8 GiB\),"):
        chosen(VARIANTS, variant="Q5_K_M")
    with pytest.raises(ChoiceError, match="'mmproj-Example-7B-f16' is none of the variants"):
        chosen(VARIANTS, variant="mmproj-Example-7B-f16")


@pytest.mark.parametrize(("room", "taken"), [(20 * GB, "f16"), (10 * GB, "Q8_0"), (7 * GB, "Q4_K_M"), (3 * GB, "Q2_K")])
def test_where_the_room_is_known_the_largest_that_fits_is_taken(room: int, taken: str) -> None:
    assert chosen(VARIANTS, room_bytes=room) == [f"Example-7B-{taken}.gguf"]


def test_no_variant_fits() -> None:
    with pytest.raises(ChoiceError, match=r"none of its 4 variants fits the 1.9 GiB that there are for weights: Ex"):
        chosen(VARIANTS, room_bytes=2 * GB)


def test_parts_of_a_variant_are_one_also_in_folders() -> None:
    files = {f"BF16/Big-BF16-0000{number}-of-00003.gguf": 40 * GB for number in (3, 1, 2)}
    files |= {"UD-Q4_K_XL/Big-UD-Q4_K_XL-00001-of-00002.gguf": 40 * GB, "config.json": 1}
    files |= {"UD-Q4_K_XL/Big-UD-Q4_K_XL-00002-of-00002.gguf": 9 * GB, "Big-Q4_K_XL.gguf": 45 * GB}
    bf16 = [f"BF16/Big-BF16-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert chosen(files, variant="bf16") == ["config.json", *bf16]
    assert len(chosen(files, room_bytes=50 * GB)) == 3  # 49 GB in two parts, and config.json
    with pytest.raises(ChoiceError, match="'Q4_K_XL' is one of 2 variants; there are"):
        chosen(files, variant="Q4_K_XL")
    assert chosen(files, variant="Big-Q4_K_XL") == ["config.json", "Big-Q4_K_XL.gguf"]
    del files["BF16/Big-BF16-00002-of-00003.gguf"]
    with pytest.raises(ChoiceError, match="BF16/Big-BF16 has 2 of 3 parts; the repository is not whole"):
        chosen(files)


def test_a_copy_that_the_index_does_not_name_is_not_fetched() -> None:
    assert chosen(TWO_COPIES) == [
        "config.json",
        "params.json",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


@pytest.mark.parametrize(
    ("files", "weights"),
    [
        ({"model.safetensors": 1, "pytorch_model.bin": 1, "consolidated.safetensors": 1}, ["model.safetensors"]),
        ({"model.safetensors": 1, "original/consolidated.00.pth": 1, "original/params.json": 1}, ["model.safetensors"]),
        ({"consolidated.safetensors": 1}, ["consolidated.safetensors"]),
        ({"pytorch_model.bin": 1, "pytorch_model.fp32.bin": 1, "training_args.bin": 1}, ["pytorch_model.bin"]),
        ({"pytorch_model-00001-of-00001.bin": 1, "rust_model.ot": 1}, ["pytorch_model-00001-of-00001.bin"]),
        ({"model.safetensors": 1, "Model-Q4_0.gguf": 1, "Model-Q8_0.gguf": 1}, ["model.safetensors"]),
        (  # cut anew, the old parts still there
            {f"model-0000{part}-of-0000{count}.safetensors": 1 for part, count in ((1, 2), (2, 2), (3, 3))},
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        ({"tokenizer.json": 1}, []),
        ({"mmproj-f16.gguf": 1}, []),
    ],
)
def test_one_copy_is_taken(files: dict[str, int], weights: list[str]) -> None:
    found = chosen(files)
    assert [path for path in found if not path.endswith((".json", ".txt"))] == weights


def test_what_the_index_says_counts_more_than_names() -> None:
    files = choose(listed(TWO_COPIES | {"model-00003-of-00003.safetensors": GB}))
    index = index_of(files)
    assert index is not None and index.path == "model.safetensors.index.json"
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    named = named_by(json.dumps({"weight_map": places}).encode(), index.path, files)
    assert sum(file.size for file in named) == 9 * GB + 20900
    with pytest.raises(ChoiceError, match=r"names model-00009.safetensors, which is not there"):
        named_by(json.dumps({"weight_map": {"a": "model-00009.safetensors"}}).encode(), index.path, files)
    for broken in (b"", b"[]", b'{"weight_map": 3}', b"\xff", b"[" * 100_000):
        with pytest.raises(ChoiceError, match="has no weight_map"):
            named_by(broken, index.path, files)


def test_the_file_that_llama_cpp_opens() -> None:
    assert gguf_file(["mmproj-a.gguf", "a-00002-of-00002.gguf", "a-00001-of-00002.gguf"]) == "a-00001-of-00002.gguf"
    assert gguf_file([]) == ""
    with pytest.raises(ChoiceError, match="several GGUF models are there"):
        gguf_file(["a-Q4_0.gguf", "a-Q8_0.gguf"])
