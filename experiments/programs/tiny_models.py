"""Runs in the locked runtime: tiny random models of each architecture, with tokenizers made on the spot, in DIRECTORY.

Beside them expected.json: what transformers' own generate() answers with these weights, to compare engines with.
"""

# ruff: noqa: S106 (special tokens are no passwords)
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = ["a", "the", "capital", "of", "france", "is", "paris", "what", "sky", "blue", "red", "one", "two", "three"]
WORDS += ["four", "go", "stop"]
PROMPTS = {
    "gpt2": ["The capital of France is", "abc", "\u00e9\u00e8 and so on"],
    "t5": ["what is the capital of france", "one two three"],
    "bert": ["paris is the [MASK] of france", "[MASK] is [MASK]"],
}
TOKENS = 12

Maker = Callable[[], tuple[Any, Any]]


def words(specials: list[str], unknown: str) -> Tokenizer:
    """A tokenizer of the few words that there are."""
    vocabulary = {word: index for index, word in enumerate([*specials, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def gpt2(template: str = "") -> tuple[Any, Any]:
    """Tokenizer and model of GPT-2's architecture; with `template` one that chats."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*alphabet, "<|endoftext|>"])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>", model_max_length=64)
    if template:
        tokenizer.chat_template = template
    config = GPT2Config(vocab_size=len(vocabulary), n_positions=64, n_embd=32, n_layer=2, n_head=4,
                        initializer_range=0.6,
                        bos_token_id=256, eos_token_id=256)  # fmt: skip
    return tokenizer, GPT2LMHeadModel(config)


def t5() -> tuple[Any, Any]:
    """Tokenizer and model of T5's architecture: encoder and decoder."""
    made = words(["<pad>", "</s>", "<unk>"], "<unk>")
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", model_max_length=64
    )
    config = T5Config(vocab_size=len(WORDS) + 3, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                      initializer_factor=8.0,
                      decoder_start_token_id=0, eos_token_id=1, pad_token_id=0)  # fmt: skip
    return tokenizer, T5ForConditionalGeneration(config)


def bert() -> tuple[Any, Any]:
    """Tokenizer and model of DistilBERT's architecture: masked words."""
    made = words(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "[UNK]")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, mask_token="[MASK]", pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=64,
    )  # fmt: skip
    config = DistilBertConfig(vocab_size=len(WORDS) + 5, dim=32, hidden_dim=64, n_layers=2, n_heads=4,
                              initializer_range=0.6,
                              max_position_embeddings=64)  # fmt: skip
    return tokenizer, DistilBertForMaskedLM(config)


def answers(kind: str, tokenizer: Any, model: Any) -> dict[str, Any]:
    """Prompt -> what transformers' own generate() says: text and numbers of tokens, or the words behind the masks."""
    found: dict[str, Any] = {}
    for prompt in PROMPTS[kind]:
        given = tokenizer(prompt, return_tensors="pt")
        if kind == "bert":
            logits = model(input_ids=given.input_ids).logits[0]
            places = (given.input_ids[0] == tokenizer.mask_token_id).nonzero().flatten().tolist()
            found[prompt] = [tokenizer.decode([int(logits[place].argmax())]) for place in places]
            continue
        made = model.generate(
            given.input_ids, attention_mask=given.attention_mask, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0
        )[0]
        new = made[1:] if kind == "t5" else made[given.input_ids.shape[1] :]
        text = tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        found[prompt] = {"text": text, "tokens": len(new), "prompt_tokens": given.input_ids.shape[1]}
    return found


def main() -> None:
    """Make them all."""
    directory = Path(sys.argv[1])
    chat = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
    )
    expected = {}
    makers: dict[str, Maker] = {"gpt2": gpt2, "t5": t5, "bert": bert, "chat": lambda: gpt2(chat)}
    for name, make in makers.items():
        torch.manual_seed(11)
        tokenizer, model = make()
        model = model.eval()
        model.save_pretrained(directory / name)
        tokenizer.save_pretrained(directory / name)
        if name in PROMPTS:
            with torch.inference_mode():
                expected[name] = answers(name, tokenizer, model)
    (directory / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
