#!/usr/bin/env python3
"""The encoder beside PyTorch's in f32 and bf16, in one run.

    python3 benches/encoder.py [--arm ARM] [--batch N] [--tokens N] [--turns N]

A checkpoint of multilingual-e5-small's shape (12 layers, hidden 384, 12 heads, 1536 inner) with random weights goes to
both, on as many threads as there are cores. Their vectors are compared first: every cosine between the two f32 forwards
must be 0.99999 or better. Then the precisions of both take turns, and medians are printed. PyTorch's model is transformers'
BertModel with scaled_dot_product_attention, without padding. An arm other than dense is timed beside PyTorch's dense.
Without PyTorch or transformers it says "skipped".
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

try:
    import torch
    from tokenizers import Tokenizer, models, processors
    from transformers import BertConfig, BertModel
except ImportError as missing:
    raise SystemExit(f"skipped: {missing} (pip install torch transformers)")

ROOT = pathlib.Path(__file__).resolve().parents[1]
VOCAB = 1000
LEAST_COSINE = 0.99999


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arm", default="dense", help="attention arm of ours (default: dense)")
    parser.add_argument("--batch", type=int, default=8, help="sequences of a batch (default: 8)")
    parser.add_argument("--tokens", type=int, default=480, help="tokens of a sequence (default: 480)")
    parser.add_argument("--turns", type=int, default=9, help="runs of each (default: 9)")
    return parser.parse_args()


def cargo_example():
    subprocess.run(["cargo", "build", "--release", "--quiet", "--example", "encode"], cwd=ROOT, check=True)
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    target = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)["target_directory"]
    return pathlib.Path(target) / "release/examples/encode"


def checkpoint(folder):
    """Writes a BERT of e5-small's shape and gives the model."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [f"w{index}" for index in range(4, VOCAB)]
    tokenizer = Tokenizer(models.WordPiece({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    # Weights of deviation .1, not BERT's .02: scores vary as in a trained model, so that attention is not flat.
    config = BertConfig(vocab_size=VOCAB, hidden_size=384, num_hidden_layers=12, num_attention_heads=12,
                        intermediate_size=1536, max_position_embeddings=512, initializer_range=0.1)
    model = BertModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    return model


def main():
    options = arguments()
    torch.manual_seed(1)
    tokens = torch.randint(4, VOCAB, (options.batch, options.tokens))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        peers = {"f32": checkpoint(folder)}
        head = torch.tensor([options.batch, options.tokens])
        (folder / "tokens.bin").write_bytes(torch.cat([head, tokens.flatten()]).int().numpy().tobytes())
        peers["bf16"] = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.bfloat16).eval()
        ours = subprocess.Popen([str(cargo_example()), str(folder), options.arm],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def mine(precision):
            ours.stdin.write(precision + "\n")
            ours.stdin.flush()
            return float(ours.stdout.readline())

        def theirs(precision):
            start = time.perf_counter()
            with torch.inference_mode():
                states = peers[precision](input_ids=tokens).last_hidden_state
            return time.perf_counter() - start, torch.nn.functional.normalize(states.float().mean(1))

        def cosine(precision, expected):
            found = torch.frombuffer(bytearray((folder / f"{precision}.bin").read_bytes()), dtype=torch.float32)
            return (found.view(options.batch, -1) * expected).sum(1).min().item()

        expected = theirs("f32")[1]
        cosines = {}
        for precision in ("f32", "bf16"):
            mine(precision)
            theirs(precision)
            cosines[precision] = cosine(precision, expected)
        if options.arm == "dense" and cosines["f32"] < LEAST_COSINE:
            raise SystemExit(f"the two f32 forwards differ: least cosine {cosines['f32']:.7f}")
        peer_cosine = (theirs("bf16")[1] * expected).sum(1).min().item()
        runs = [[mine("f32"), mine("bf16"), theirs("f32")[0], theirs("bf16")[0]] for _ in range(options.turns)]
        ours.stdin.close()
        ours.wait()
    rates = [options.batch / statistics.median(column) for column in zip(*runs)]
    print(f"{options.tokens} tokens, batch {options.batch}, {torch.get_num_threads()} threads, {options.turns} turns, "
          f"PyTorch {torch.__version__}")
    rows = [(f"flashproof f32 {options.arm}", cosines["f32"]), (f"flashproof bf16 {options.arm}", cosines["bf16"]),
            ("PyTorch f32 dense", 1.0), ("PyTorch bf16 dense", peer_cosine)]
    print("what, passages a second, of PyTorch f32, least cosine to PyTorch f32")
    for index, ((what, least), rate) in enumerate(zip(rows, rates)):
        ratio = statistics.median(run[2] / run[index] for run in runs)
        print(f"{what}, {rate:.2f}, {ratio:.2f}, {least:.6f}")


main()
