"""
Golden values for the text decoder, LoRA and DPO: small Llama-layout models in plain PyTorch, nothing but torch and numpy.

Run with Debian's python3-torch (1.13):

    OPENBLAS_CORETYPE=Haswell /usr/bin/python3 tests/golden/make_golden.py

Writes beside itself, and rewrites the same bytes on the same versions:

    llama-tied/     config.json, generation_config.json, model.safetensors   grouped-query, tied head
    llama-untied/   the same with a separate head, one key-value head, heads * head_dim != hidden
    <model>/adapter/                  the given PEFT adapter (B is not zero)
    <model>/sequences.jsonl           {"tokens"}: input of `autodidact logprobs`
    <model>/preferences.jsonl         {"prompt_ids","chosen_ids","rejected_ids"}: input of `autodidact dpo`
    <model>/expected.json             log-probs with and without the adapter, greedy continuations
    <model>/<run>/expected.json       six DPO steps under TRL's names, and log-probs afterwards
    <model>/<run>/adapter_*           the adapter after the sixth step

All values are computed in float64; the same runs in float32 are printed as the largest difference, to show
how far an f32 engine may differ. Formulas: Llama as in Transformers (rotate_half RoPE, grouped-query attention,
RMSNorm, SwiGLU), LoRA as in PEFT (W x + alpha/r B A x), DPO and its metrics as in TRL's DPOTrainer,
gradient norm as torch.nn.utils.clip_grad_norm_ returns it (before clipping), AdamW as in torch.
"""

import json
import math
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


# ---------------------------------------------------------------- files


def write_safetensors(path, tensors):
    """tensors: name -> float32 numpy array. Header: u64 length, JSON padded to 8 bytes with spaces, then the bytes."""
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in sorted(tensors):
        array = tensors[name]
        assert array.dtype == np.float32
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(np.ascontiguousarray(tensors[name]).tobytes() for name in sorted(tensors))
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_values(path, values):
    """One key a line and one row of a list a line: long rows of numbers stay readable in a diff."""
    lines = []
    for key, value in values.items():
        if isinstance(value, list):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            lines.append(f' "{key}": [\n  {rows}\n ]')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# ---------------------------------------------------------------- model


def module_path(layer, name):
    part = "self_attn" if name in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"
    return f"model.layers.{layer}.{part}.{name}"


def projection_shape(config, name):
    """(out, in), as torch.nn.Linear stores it."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    q = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    return {
        "q_proj": (q, hidden),
        "k_proj": (kv, hidden),
        "v_proj": (kv, hidden),
        "o_proj": (hidden, q),
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
    }[name]


def random_weights(config, rng):
    def normal(shape, std, mean=0.0):
        return (mean + std * rng.standard_normal(shape)).astype(np.float32)

    hidden, vocab = config["hidden_size"], config["vocab_size"]
    weights = {"model.embed_tokens.weight": normal((vocab, hidden), 0.3)}
    for layer in range(config["num_hidden_layers"]):
        for name in PROJECTIONS:
            shape = projection_shape(config, name)
            weights[module_path(layer, name) + ".weight"] = normal(shape, 1.2 / math.sqrt(shape[1]))
        weights[f"model.layers.{layer}.input_layernorm.weight"] = normal((hidden,), 0.1, 1.0)
        weights[f"model.layers.{layer}.post_attention_layernorm.weight"] = normal((hidden,), 0.1, 1.0)
    weights["model.norm.weight"] = normal((hidden,), 0.1, 1.0)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = normal((vocab, hidden), 0.3)
    return weights


def random_adapter(config, lora, rng):
    """A uniform as Kaiming's, B normal with std 0.05: path -> [A (r, in), B (out, r)]."""
    adapter = {}
    for layer in range(config["num_hidden_layers"]):
        for name in lora["target_modules"]:
            rows, columns = projection_shape(config, name)
            a = rng.uniform(-1, 1, (lora["r"], columns)) / math.sqrt(columns)
            b = 0.05 * rng.standard_normal((rows, lora["r"]))
            adapter[module_path(layer, name)] = [a.astype(np.float32), b.astype(np.float32)]
    return adapter


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


class Llama:
    """Forward pass of one sequence. `adapter` is path -> (A, B) or None."""

    def __init__(self, config, weights, scaling, dtype):
        self.config, self.scaling, self.dtype = config, scaling, dtype
        self.w = {name: torch.tensor(array, dtype=dtype) for name, array in weights.items()}

    def linear(self, x, path, adapter):
        y = x @ self.w[path + ".weight"].T
        if adapter is not None and path in adapter:
            a, b = adapter[path]
            y = y + self.scaling * ((x @ a.T) @ b.T)
        return y

    def norm(self, x, name):
        return self.w[name] * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"])

    def attention(self, x, layer, adapter):
        c = self.config
        time, size = x.shape[0], c["head_dim"]
        q, k, v = (
            self.linear(x, module_path(layer, name), adapter).view(time, -1, size).transpose(0, 1)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        inverse = 1.0 / c["rope_theta"] ** (torch.arange(0, size, 2, dtype=self.dtype) / size)
        angle = torch.arange(time, dtype=self.dtype)[:, None] * inverse[None, :]
        angle = torch.cat((angle, angle), dim=-1)
        q = q * angle.cos() + rotate_half(q) * angle.sin()
        k = k * angle.cos() + rotate_half(k) * angle.sin()
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        k, v = k.repeat_interleave(group, dim=0), v.repeat_interleave(group, dim=0)
        scores = q @ k.transpose(1, 2) / math.sqrt(size)
        future = torch.triu(torch.ones(time, time, dtype=torch.bool), diagonal=1)
        probabilities = scores.masked_fill(future, -math.inf).softmax(-1)
        out = (probabilities @ v).transpose(0, 1).reshape(time, -1)
        return self.linear(out, module_path(layer, "o_proj"), adapter)

    def mlp(self, x, layer, adapter):
        gate = self.linear(x, module_path(layer, "gate_proj"), adapter)
        up = self.linear(x, module_path(layer, "up_proj"), adapter)
        return self.linear(F.silu(gate) * up, module_path(layer, "down_proj"), adapter)

    def logits(self, tokens, adapter):
        x = self.w["model.embed_tokens.weight"][torch.tensor(tokens)]
        for layer in range(self.config["num_hidden_layers"]):
            block = f"model.layers.{layer}"
            x = x + self.attention(self.norm(x, f"{block}.input_layernorm.weight"), layer, adapter)
            x = x + self.mlp(self.norm(x, f"{block}.post_attention_layernorm.weight"), layer, adapter)
        head = "model.embed_tokens.weight" if self.config["tie_word_embeddings"] else "lm_head.weight"
        return self.norm(x, "model.norm.weight") @ self.w[head].T

    def logprobs(self, tokens, adapter):
        """(n - 1) natural logs of p(token i+1 | tokens <= i)."""
        rows = self.logits(tokens, adapter)[:-1].log_softmax(-1)
        return rows[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])]

    def completion_logp(self, prompt, completion, adapter):
        return self.logprobs(prompt + completion, adapter)[len(prompt) - 1 :].sum()

    def greedy(self, tokens, adapter, count):
        """The most probable continuation; every choice leads by a margin that f32 cannot overturn."""
        tokens = list(tokens)
        for _ in range(count):
            best, second = self.logits(tokens, adapter)[-1].topk(2).values
            assert best - second > 1e-3, "a near tie: choose another prompt"
            tokens.append(int(self.logits(tokens, adapter)[-1].argmax()))
        return tokens[-count:]


# ---------------------------------------------------------------- preference training


def dpo_losses(kind, beta, chosen, rejected, chosen_length, rejected_length):
    """chosen, rejected: summed log-ratios of policy and reference, one a pair."""
    if kind == "sigmoid":
        return -F.logsigmoid(beta * (chosen - rejected))
    if kind == "ipo":
        return (chosen / chosen_length - rejected / rejected_length - 1 / (2 * beta)) ** 2
    raise ValueError(kind)


def as_tensors(adapter, dtype, trainable):
    return {
        path: tuple(torch.tensor(part, dtype=dtype, requires_grad=trainable) for part in parts)
        for path, parts in adapter.items()
    }


def train_dpo(model, given, rows, run):
    """Six AdamW steps over the rows in file order, cycling. Returns step metrics and the adapter afterwards."""
    adapter = as_tensors(given, model.dtype, True)
    reference = as_tensors(given, model.dtype, False) if run["reference"] == "adapter" else None
    parameters = [part for path in sorted(adapter) for part in adapter[path]]
    optimizer = torch.optim.AdamW(
        parameters, lr=run["learning_rate"], betas=(0.9, 0.999), eps=1e-8, weight_decay=run["weight_decay"]
    )
    steps = []
    for step in range(run["steps"]):
        size = run["batch_size"]
        batch = [rows[(step * size + i) % len(rows)] for i in range(size)]

        def logps(side, weights):
            return torch.stack([model.completion_logp(row["prompt_ids"], row[side], weights) for row in batch])

        def lengths(side):
            return torch.tensor([len(row[side]) for row in batch], dtype=model.dtype)

        chosen, rejected = logps("chosen_ids", adapter), logps("rejected_ids", adapter)
        with torch.no_grad():
            chosen_ref, rejected_ref = logps("chosen_ids", reference), logps("rejected_ids", reference)
        c, r = chosen - chosen_ref, rejected - rejected_ref
        loss = dpo_losses(run["loss_type"], run["beta"], c, r, lengths("chosen_ids"), lengths("rejected_ids")).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, run["max_grad_norm"])
        optimizer.step()
        rewards_chosen, rewards_rejected = run["beta"] * c.detach(), run["beta"] * r.detach()
        steps.append(
            {
                "step": step + 1,
                "loss": loss.item(),
                "rewards/chosen": rewards_chosen.mean().item(),
                "rewards/rejected": rewards_rejected.mean().item(),
                "rewards/accuracies": (rewards_chosen > rewards_rejected).to(model.dtype).mean().item(),
                "rewards/margins": (rewards_chosen - rewards_rejected).mean().item(),
                "logps/chosen": chosen.mean().item(),
                "logps/rejected": rejected.mean().item(),
                "grad_norm": norm.item(),
                "learning_rate": run["learning_rate"],
            }
        )
    return steps, {path: tuple(part.detach() for part in parts) for path, parts in adapter.items()}


# ---------------------------------------------------------------- the cases


def config_of(**changes):
    base = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": 8,
        "hidden_act": "silu",
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": 97,
    }
    return {**base, **changes}


def lora_of(**changes):
    base = {
        "auto_mapping": None,
        "base_model_name_or_path": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 4,
        "rank_pattern": {},
        "alpha_pattern": {},
        "revision": None,
        "target_modules": PROJECTIONS,
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    return dict(sorted({**base, **changes}.items()))


def run_of(**changes):
    base = {
        "loss_type": "sigmoid",
        "reference": "adapter",
        "beta": 0.1,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "steps": 6,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    }
    return {**base, **changes}


CASES = {
    "llama-tied": {
        "seed": 1,
        "config": config_of(),
        "lora": lora_of(),
        "runs": {
            "dpo-sigmoid": run_of(),
            "dpo-sigmoid-base": run_of(reference="base"),
            "dpo-ipo": run_of(loss_type="ipo"),
        },
    },
    "llama-untied": {
        "seed": 2,
        "config": config_of(
            tie_word_embeddings=False,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=16,
            intermediate_size=40,
            rms_norm_eps=1e-6,
            rope_theta=500000.0,
        ),
        "lora": lora_of(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True),
        "runs": {
            "dpo-sigmoid": run_of(weight_decay=0.1),
            "dpo-ipo-base": run_of(loss_type="ipo", reference="base", beta=0.3),
        },
    },
}


def write_adapter(folder, lora, adapter):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "adapter_config.json", lora)
    tensors = {}
    for path, (a, b) in adapter.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = np.asarray(a, dtype=np.float32)
        tensors[f"base_model.model.{path}.lora_B.weight"] = np.asarray(b, dtype=np.float32)
    write_safetensors(folder / "adapter_model.safetensors", tensors)


def largest_difference(a, b):
    return max(abs(x[key] - y[key]) for x, y in zip(a, b) for key in x)


def make(name, case):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(case["seed"])
    config, lora = case["config"], case["lora"]
    weights = random_weights(config, rng)
    given = random_adapter(config, lora, rng)
    scaling = lora["lora_alpha"] / (math.sqrt(lora["r"]) if lora["use_rslora"] else lora["r"])

    def ids(length):
        return [int(token) for token in rng.integers(3, config["vocab_size"], length)]

    # Lengths on purpose: 2 is the shortest sequence that has a log-prob, 47 is odd, 64 is max_position_embeddings.
    sequences = [ids(length) for length in (2, 3, 9, 17, 33, 47, 64)]
    rows = [
        {
            "prompt_ids": [1] + ids(int(rng.integers(0, 12))),
            "chosen_ids": ids(int(rng.integers(1, 9))) + [2],
            "rejected_ids": ids(int(rng.integers(0, 14))) + [2],
        }
        for _ in range(10)  # not a multiple of the batch size, so that a batch wraps around the end of the file
    ]
    rows[3]["source"] = "extra fields are kept"

    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})
    write_safetensors(folder / "model.safetensors", weights)
    write_adapter(folder / "adapter", lora, given)
    write_lines(folder / "sequences.jsonl", [{"tokens": tokens} for tokens in sequences])
    write_lines(folder / "preferences.jsonl", rows)

    double = Llama(config, weights, scaling, torch.float64)
    single = Llama(config, weights, scaling, torch.float32)
    adapter = as_tensors(given, torch.float64, False)

    def all_logprobs(weights):
        return [[round(value, 7) for value in double.logprobs(tokens, weights).tolist()] for tokens in sequences]

    prompt = sequences[2]
    write_values(
        folder / "expected.json",
        {
            "logprobs": all_logprobs(None),
            "logprobs_adapter": all_logprobs(adapter),
            "greedy": {
                "prompt": prompt,
                "tokens": double.greedy(prompt, None, 12),
                "tokens_adapter": double.greedy(prompt, adapter, 12),
            },
        },
    )
    worst = max(
        float((double.logprobs(t, None) - single.logprobs(t, None).double()).abs().max()) for t in sequences
    )
    print(f"{name}: float32 and float64 log-probs differ by at most {worst:.1e}")

    for run_name, run in case["runs"].items():
        steps, final = train_dpo(double, given, rows, run)
        steps_single, _ = train_dpo(single, given, rows, run)
        write_adapter(folder / run_name, lora, {path: (a.numpy(), b.numpy()) for path, (a, b) in final.items()})
        values = {"options": run, "steps": steps, "logprobs": all_logprobs(final)}
        write_values(folder / run_name / "expected.json", values)
        print(f"{name}/{run_name}: float32 differs by at most {largest_difference(steps, steps_single):.1e}")
        for s in steps:
            margin, accuracy = s["rewards/margins"], s["rewards/accuracies"]
            print(f"   loss {s['loss']:.6f}  margin {margin:+.6f}  accuracy {accuracy:.2f}  norm {s['grad_norm']:.4f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for case_name, the_case in CASES.items():
        make(case_name, the_case)
