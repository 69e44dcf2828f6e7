"""Own merges in open_clip's tokenizer."""

import pytest
from open_clip.tokenizer import SimpleTokenizer

from labelgen.demo.small_models.bpe import BASE_TOKENS, learn_merges, write_merges

CORPUS = ["a red car on the road", "a blue car", "The car, the road.", "red cars"] * 3


@pytest.fixture
def tokenizer(tmp_path):
    write_merges(learn_merges(CORPUS, 1000), tmp_path / "bpe.txt.gz")
    return SimpleTokenizer(bpe_path=str(tmp_path / "bpe.txt.gz"), context_length=12)


def test_frequent_words_are_one_token(tokenizer):
    assert len(tokenizer.encode("the red car")) == 3


@pytest.mark.parametrize("text", ["a red car", "zebra", "日本語のテキスト", "naïve 42%"])
def test_any_text_survives(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert max(tokens) < tokenizer.vocab_size
    decoded = tokenizer.decode(tokens).replace(" ", "")
    assert decoded == text.replace(" ", "")


def test_the_end_of_text_has_the_highest_id(tokenizer):
    # CLIP's text tower pools at the largest id.
    assert tokenizer.eot_token_id == tokenizer.vocab_size - 1 == max(tokenizer.encoder.values())


def test_the_size_is_kept_and_the_file_repeats(tmp_path):
    merges = learn_merges(CORPUS, BASE_TOKENS + 5)
    assert len(merges) == 5
    assert merges == learn_merges(reversed(CORPUS), BASE_TOKENS + 5)
    for name in "ab":
        write_merges(merges, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert SimpleTokenizer(bpe_path=str(tmp_path / "a")).vocab_size == BASE_TOKENS + 5
