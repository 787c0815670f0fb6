"""A tiny model of sentence-transformers, made of its own modules and random weights: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ["query", "passage", ":", "the", "cat", "dog", "sleeps", "on", "a", "sofa", "where", "does", "rates", "rose"]
DIMENSIONS = 16


def make_model(folder: Path, *, pooling: str = "mean", dense: bool = False, **config: Any) -> None:
    """Save a model in `folder`; `config` goes to SentenceTransformer, prompts for example."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(1)
    bert = folder / "bert"
    bert.mkdir(parents=True)
    vocabulary = bert / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(vocabulary)).save_pretrained(bert)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    BertModel(BertConfig(vocab_size=5 + len(WORDS), hidden_size=DIMENSIONS, **sizes)).save_pretrained(bert)
    transformer = modules.Transformer(str(bert), max_seq_length=48)
    layers = [transformer, modules.Pooling(DIMENSIONS, pooling)]
    if dense:
        layers.append(modules.Dense(DIMENSIONS, 8))
    SentenceTransformer(modules=layers, device="cpu", **config).save(str(folder))


def export_tokens(folder: Path, file: Path) -> None:
    """Export the model's transformer alone, as optimum does: its output are vectors of tokens."""
    export(folder, file, "AutoModel", "last_hidden_state")


def export(folder: Path, file: Path, kind: str, output: str) -> None:
    """Export the model of a class of transformers, with one of its outputs."""
    import torch
    import transformers

    model = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager", local_files_only=True)
    file.parent.mkdir(exist_ok=True)
    tokens = torch.ones((2, 7), dtype=torch.long)
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {0: "texts", 1: "tokens"}

    class WithOneOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)[output]

    torch.onnx.export(
        WithOneOutput().eval(),
        (tokens, tokens, tokens * 0),
        str(file),
        input_names=inputs,
        output_names=[output],
        dynamic_axes=dict.fromkeys([*inputs, output], axes),
        opset_version=17,
        dynamo=False,
    )


def make_cross_encoder(folder: Path, *, scores: int = 1) -> None:
    """Save a cross-encoder in `folder`, and its export beside it; a pair gets so many `scores`."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(1)
    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(vocabulary), model_max_length=48).save_pretrained(folder)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    config = BertConfig(
        vocab_size=5 + len(WORDS), hidden_size=DIMENSIONS, num_labels=scores, initializer_range=0.5, **sizes
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    export(folder, folder / "model.onnx", "AutoModelForSequenceClassification", "logits")
