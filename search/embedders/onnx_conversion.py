"""Converts a BERT of sentence-transformers to an eight-bit ONNX file: `python -m search.embedders.onnx_conversion`.

Weights are quantized by channel, and use seven of their eight bits: processors without VNNI would overflow with eight.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

OPSET = 17


def convert(source: Path, target: Path) -> None:
    """Write `target` as a whole or not at all, even if other processes do the same."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        exact, small = Path(directory) / "exact.onnx", Path(directory) / "small.onnx"
        _export(source, exact)
        quantize_dynamic(exact, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
        os.replace(small, target)


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
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
