"""An engine for what vLLM does not run: encoder-decoder models, masked words, and odd shapes of decoders.

Runs in the locked runtime, in a replica of Ray Serve. transformers computes; transformers_api.py speaks OpenAI's shapes
around it. One request is one thread and one `generate`: there is no batching, so it is an engine for small models.
Nothing heavy is imported before `start`.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploys.vllm.programs.openai_request import RequestError, Sampling

MASK = "[MASK]"  # what a prompt may say whatever the model's own mask is


@dataclass
class Piece:
    """A part of an answer; the last one has a `finish_reason` and the counts."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0


@dataclass
class _Answering:
    """One request under way, shared by the event loop and the thread that computes."""

    loop: asyncio.AbstractEventLoop
    pieces: "asyncio.Queue[Piece | BaseException]" = field(default_factory=asyncio.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def hand(self, item: "Piece | BaseException") -> None:
        """From the thread to whoever waits on the loop; a loop that is closed waits for nothing."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, item)


def kind_of(config: dict[str, Any]) -> tuple[str, str]:
    """(task, engine) that an architecture asks for, by the same rule as inventories/models/anywhere.py."""
    architecture = " ".join(str(name) for name in config.get("architectures") or ())
    if "ForMaskedLM" in architecture:
        return "fill-mask", "transformers"
    if config.get("is_encoder_decoder") or "ForConditionalGeneration" in architecture:
        return "text-to-text", "transformers"
    return "completion", "vllm"


class Text:
    """An answer as it grows: text that is sure, up to a stop word."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self.tokens: list[int] = []
        self.stopped = False
        self._sent = 0
        self._text = ""

    def add(self, tokens: list[int]) -> str:
        """New tokens; what can be said now. Held back: half a character, and what may become a stop word."""
        if self.stopped:
            return ""
        self.tokens += tokens
        self._text = self._tokenizer.decode(self.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        places = [place for word in self._stop if (place := self._text.find(word, max(self._sent - len(word), 0))) >= 0]
        if places:
            self._text, self.stopped = self._text[: min(places)], True
            return self.rest()
        held = max(
            (size for word in self._stop for size in range(1, len(word)) if self._text.endswith(word[:size])), default=0
        )
        return self._until(len(self._text.rstrip("\ufffd")) - held)

    def rest(self) -> str:
        """What was held back."""
        return self._until(len(self._text))

    def _until(self, end: int) -> str:
        piece = self._text[self._sent : max(end, self._sent)]
        self._sent += len(piece)
        return piece


class TransformersEngine:
    """One model on this process's first accelerator, or on its CPUs. `last_step`: monotonic, when it last got on."""

    def __init__(self, directory: str, model: str, task: str, dtype: str, max_concurrency: int) -> None:
        self.directory, self.model, self.dtype = Path(directory), model, dtype
        config = json.loads((self.directory / "config.json").read_text())
        self.task = kind_of(config)[0] if task == "auto" else task
        self.max_concurrency = max_concurrency
        # One thread more than there are requests: a proof does not wait behind them, so busy is not taken for wedged.
        self._threads = ThreadPoolExecutor(max_concurrency + 1, thread_name_prefix="answer")
        self._free = asyncio.Semaphore(max_concurrency)
        self._running = self._waiting = self._finished = self._generated = self._prompt = 0
        self.last_step = time.monotonic()
        self._model: Any = None
        self.tokenizer: Any = None

    async def start(self) -> None:
        """Load the weights; raises what transformers raises when they are none."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._load)
        if self._device != "cpu":
            # Two threads that wait for one card in turn: on an H200 two answers at once came at 58 tokens a second in
            # all, one after the other at 213 (benchmarks/results/other_engine-2026-11-26.json).
            self._free = asyncio.Semaphore(1)
        self.last_step = time.monotonic()

    def app(self) -> Any:
        """The ASGI application: OpenAI's paths for this engine."""
        from deploys.vllm.programs.transformers_api import build

        return build(self)

    async def answer(self, golden: dict[str, Any]) -> str:
        """The golden question at temperature 0, in front of whatever waits; raises what is wrong with the engine."""
        if "question" in golden:
            prompt: Any = self.chat_prompt([{"role": "user", "content": golden["question"]}])
        else:
            prompt = golden["prompt"]
        sampling = Sampling(max_tokens=golden["max_tokens"], temperature=0.0)
        return "".join([piece.text async for piece in self.generate(prompt, sampling, in_front=True)])

    def load(self) -> dict[str, int]:
        """What it does now and did so far."""
        return {
            "running": self._running,
            "waiting": self._waiting,
            "finished": self._finished,
            "generated_tokens": self._generated,
            "prompt_tokens": self._prompt,
        }

    def chat_prompt(self, messages: list[dict[str, str]]) -> Any:
        """What a model is given for a chat: by its template; without one, the user's words, where that makes sense."""
        if self.tokenizer.chat_template:
            return self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=False
            )
        if self.task == "completion":
            raise RequestError(f"{self.model} has no chat template; ask it at /v1/completions", "messages")
        return "\n".join(message["content"] for message in messages if message["role"] in ("system", "user"))

    def tokens_of(self, prompt: Any) -> list[int]:
        """Token ids of a text, or the ids as they are; RequestError for more than the model can take."""
        ids = list(prompt) if isinstance(prompt, list) else list(self.tokenizer(prompt).input_ids)
        if not ids:
            raise RequestError("the prompt is empty", "prompt")
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        if any(not 0 <= token < vocabulary for token in ids):
            raise RequestError(f"a token id is outside 0 to {vocabulary - 1}", "prompt")
        if len(ids) > self.maximum_length:
            raise RequestError(
                f"the prompt has {len(ids)} tokens, and the model's maximum context length is {self.maximum_length}",
                "prompt",
                "context_length_exceeded",
            )
        return ids

    def room(self, prompt_tokens: int) -> int:
        """Tokens that an answer may have: what is left of the context, or all of it where the decoder has its own."""
        return self.maximum_length if self.task == "text-to-text" else self.maximum_length - prompt_tokens

    async def generate(self, prompt: Any, sampling: Sampling, *, in_front: bool = False) -> AsyncIterator[Piece]:
        """Pieces of the answer as they come. To stop asking for more is to cancel."""
        if self.task == "fill-mask":
            found = await self.fill(prompt, 1, in_front=in_front)
            words = " ".join(mask[0]["token"] for mask in found["masks"])
            yield Piece(words, "stop", found["prompt_tokens"], len(found["masks"]))
            return
        ids = self.tokens_of(prompt)
        room = self.room(len(ids))
        if sampling.max_tokens > room:
            raise RequestError(
                f"max_tokens is {sampling.max_tokens}, and beside a prompt of {len(ids)} tokens there is room for "
                f"{room} in the model's maximum context length of {self.maximum_length}",
                "max_tokens",
                "context_length_exceeded",
            )
        answering = _Answering(asyncio.get_running_loop())
        await self._begin(in_front)
        work = answering.loop.run_in_executor(self._threads, self._generate, answering, ids, sampling)
        try:
            while True:
                item = await answering.pieces.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if item.finish_reason:
                    return
        finally:
            answering.cancelled.set()
            work.add_done_callback(lambda _: self._end(in_front))

    async def fill(self, text: Any, top_k: int, *, in_front: bool = False) -> dict[str, Any]:
        """For each mask of a text the likeliest tokens: {prompt_tokens, masks: [[{token, token_id, score}]]}."""
        if self.task != "fill-mask":
            raise RequestError(f"{self.model} is no model of masked words; its task is {self.task}", "model")
        if not isinstance(text, str):
            raise RequestError("the input is a text with a mask, not token ids", "input")
        ids = self.tokens_of(text.replace(MASK, self.tokenizer.mask_token))
        if self.tokenizer.mask_token_id not in ids:
            raise RequestError(
                f"the text has no mask; put {self.tokenizer.mask_token} where a word is missing", "prompt"
            )
        await self._begin(in_front)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._fill, ids, top_k)
        finally:
            self._end(in_front)

    async def _begin(self, in_front: bool) -> None:
        if not in_front:
            self._waiting += 1
            try:
                await self._free.acquire()
            finally:
                self._waiting -= 1
        self._running += 1

    def _end(self, in_front: bool) -> None:
        self._running -= 1
        self._finished += 1
        if not in_front:
            self._free.release()

    def _load(self) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        kinds = {
            "fill-mask": transformers.AutoModelForMaskedLM,
            "text-to-text": transformers.AutoModelForSeq2SeqLM,
        }
        kind = kinds.get(self.task, transformers.AutoModelForCausalLM)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"  # ROCm's torch calls it cuda as well
        dtype = self.dtype if self.dtype == "auto" else getattr(torch, self.dtype)
        # local_files_only: a directory is whole, or it is not served.
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.directory, local_files_only=True)
        model = kind.from_pretrained(self.directory, dtype=dtype, local_files_only=True)
        self._model = model.to(self._device).eval()
        config = model.config
        stated = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 512
        self.maximum_length = int(min(stated, self.tokenizer.model_max_length))

    def _generate(self, answering: _Answering, ids: list[int], sampling: Sampling) -> None:
        """In a thread: one `generate`, its tokens handed over as they come."""
        try:
            import torch
            from transformers import StoppingCriteriaList

            text = Text(self.tokenizer, sampling.stop)

            def step(tokens: Any) -> None:
                self.last_step = time.monotonic()
                self._generated += len(tokens)
                piece = text.add(tokens)
                if piece:
                    answering.hand(Piece(piece))

            if sampling.seed is not None:
                torch.manual_seed(sampling.seed)  # the process's: exact only while nobody else asks
            given = torch.tensor([ids], device=self._device)
            how: dict[str, Any] = {"do_sample": sampling.temperature > 0, "num_beams": 1}
            if sampling.temperature > 0:
                how |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
            if sampling.ignore_end:
                how["min_new_tokens"] = sampling.max_tokens
            padding = self.tokenizer.pad_token_id
            with torch.inference_mode():
                self._model.generate(
                    given,
                    attention_mask=torch.ones_like(given),
                    max_new_tokens=sampling.max_tokens,
                    pad_token_id=self.tokenizer.eos_token_id or 0 if padding is None else padding,
                    streamer=_Streamer(step),
                    stopping_criteria=StoppingCriteriaList(
                        [lambda tokens, _scores, **_: torch.full(
                            (tokens.shape[0],), text.stopped or answering.cancelled.is_set(), device=tokens.device
                        )]
                    ),
                    **how,
                )  # fmt: skip
            self._prompt += len(ids)
            reason = (
                "length"
                if len(text.tokens) >= sampling.max_tokens and not text.stopped and not self._ended(text)
                else "stop"
            )
            answering.hand(Piece(text.rest(), reason, len(ids), len(text.tokens)))
        except BaseException as error:  # it belongs to whoever asked
            answering.hand(error)

    def _ended(self, text: Any) -> bool:
        ends = self._model.generation_config.eos_token_id
        return bool(text.tokens) and text.tokens[-1] in (ends if isinstance(ends, list) else [ends])

    def _fill(self, ids: list[int], top_k: int) -> dict[str, Any]:
        import torch

        with torch.inference_mode():
            logits = self._model(input_ids=torch.tensor([ids], device=self._device)).logits[0].float()
        masks = []
        for place in [index for index, token in enumerate(ids) if token == self.tokenizer.mask_token_id]:
            scores, tokens = logits[place].softmax(-1).topk(min(top_k, logits.shape[-1]))
            masks.append(
                [
                    {"token": self.tokenizer.decode([token]).strip(), "token_id": token, "score": round(score, 6)}
                    for score, token in zip(scores.tolist(), tokens.tolist(), strict=True)
                ]
            )
        self.last_step = time.monotonic()
        self._prompt += len(ids)
        self._generated += len(masks)
        return {"prompt_tokens": len(ids), "masks": masks}


class _Streamer:
    """What `generate` calls with its tokens: first the prompt, or the decoder's start, then the new ones."""

    def __init__(self, step: Any) -> None:
        self._step, self._first = step, True

    def put(self, value: Any) -> None:
        """New token ids; the first call repeats what the decoder was given."""
        if self._first:
            self._first = False
            return
        self._step(value.flatten().tolist())

    def end(self) -> None:
        """Nothing: the thread says itself when it is done."""
