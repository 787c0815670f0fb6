"""Converts a BERT of sentence-transformers to an eight-bit ONNX file: `python -m search.embedders.onnx_conversion`.

Weights are quantized by channel, and use seven of their eight bits: processors without VNNI would overflow with eight.
It is a process of its own, so that the service never loads torch. Of several at once, one converts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

OPSET = 17
NICENESS = 10


def convert(source: Path, target: Path) -> bool:
    """Write `target` as a whole or not at all; return False if another process did so meanwhile."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it when this process ends, however it ends
        if target.exists():
            return False
        parts = target.with_suffix(".parts")
        shutil.rmtree(parts, ignore_errors=True)  # of a process that was killed
        parts.mkdir(mode=0o700)
        try:
            _convert(source, parts, target)
        finally:
            shutil.rmtree(parts, ignore_errors=True)
    return True


def _convert(source: Path, parts: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exact, small = parts / "exact.onnx", parts / "small.onnx"
    _export(source, exact)
    quantize_dynamic(exact, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    with small.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(small, target)


def _let_others_go_first() -> None:
    """Leave processor and memory to the service: where memory ends, this process is the one that is killed."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _export(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModel

    bert = AutoModel.from_pretrained(source, dtype=torch.float32, attn_implementation="eager", local_files_only=True)

    class MeanOfTokens(torch.nn.Module):  # type: ignore[misc]  # torch is not looked into
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden_states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden_states.dtype)
            return (hidden_states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)

    tokens = torch.randint(1000, 20_000, (2, 7))
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        MeanOfTokens().eval(),
        (tokens, torch.ones_like(tokens)),
        str(target),
        input_names=names,
        output_names=["vector"],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names} | {"vector": {0: "texts"}},
        opset_version=OPSET,
        dynamo=False,
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    _let_others_go_first()
    did = convert(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write("converted\n" if did else "was there already\n")
