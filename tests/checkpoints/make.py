"""Tiny checkpoints in Hugging Face layout and what the reference implementation computes with them.

    pip install "transformers==4.46.3" "flax==0.10.2" "jax==0.4.35" "numpy<2" safetensors tokenizers
    python tests/checkpoints/make.py

Writes, for each of bert-qa, xlmr-qa and xlmr-long, a folder with config.json, model.safetensors, tokenizer.json and
expected.json. Weights are random and large enough that attention is not flat; the outputs are those of transformers'
Flax models in f32. Spans are put together as transformers' question-answering example does (utils_qa.py).
"""

import json
import os
import sys

import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (BertConfig, FlaxBertForQuestionAnswering, FlaxXLMRobertaForQuestionAnswering,
                          FlaxXLMRobertaModel, XLMRobertaConfig)

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = "who what where when wrote saw the a fox whale king old red blue sea of in and house year tree wolf river".split()
CONTEXT = ("The old king wrote a house in the year of the red fox. A blue whale saw the river and the sea. "
           "The wolf saw a tree in the old house. The red fox and the king saw the sea in the year of the wolf.")
QUESTIONS = ["Who wrote a house?", "What saw the river?", "Where?"]
OPTIONS = {"max_tokens": 32, "doc_stride": 8, "best": 20, "answer_tokens": 6}


def wordpiece():
    letters = sorted(set("".join(WORDS)) | {".", "?"})
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + WORDS + letters + ["##" + letter for letter in letters]
    ids = {word: index for index, word in enumerate(dict.fromkeys(vocab))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer, len(ids)


def unigram():
    letters = sorted(set("".join(WORDS)) | set("TWA") | {".", "?"})
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -3.0)]
    pieces += [("\u2581" + word, -4.0 - 0.01 * index) for index, word in enumerate(WORDS)]
    pieces += [(letter, -8.0 - 0.01 * index) for index, letter in enumerate(letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    return tokenizer, len(pieces)


def torch_name(path):
    """Name of a Flax parameter in a PyTorch checkpoint."""
    name = ".".join(path)
    for old, new in ((".kernel", ".weight"), (".embedding", ".weight"), (".scale", ".weight")):
        if name.endswith(old):
            name = name[:-len(old)] + new
    return name


def save(folder, model, tokenizer, config):
    os.makedirs(folder, exist_ok=True)
    tensors = {}
    for path, value in flatten_dict(model.params).items():
        value = np.asarray(value, np.float32)
        tensors[torch_name(path)] = np.ascontiguousarray(value.T if path[-1] == "kernel" else value)
    save_file(tensors, os.path.join(folder, "model.safetensors"))
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config.to_dict(), out, indent=1, sort_keys=True)


def randomise(model, seed):
    """Weights of a spread that makes attention and logits uneven."""
    generator = np.random.default_rng(seed)
    flat = flatten_dict(model.params)
    for path, value in sorted(flat.items()):
        spread = {"scale": 0.2, "bias": 0.2, "kernel": 1.2 / np.sqrt(value.shape[0]), "embedding": 0.7}[path[-1]]
        flat[path] = (generator.standard_normal(value.shape) * spread + (path[-1] == "scale")).astype(np.float32)
    from flax.traverse_util import unflatten_dict
    model.params = unflatten_dict(flat)


def windows(tokenizer, question):
    tokenizer.enable_truncation(OPTIONS["max_tokens"], stride=OPTIONS["doc_stride"], strategy="only_second")
    first = tokenizer.encode(question, CONTEXT)
    tokenizer.no_truncation()
    return [first] + first.overflowing


def spans(found):
    """utils_qa.postprocess_qa_predictions for one example, every score as Python floats."""
    candidates = []
    for window, starts, ends in found:
        best = OPTIONS["best"]
        for start in np.argsort(starts)[-1:-best - 1:-1].tolist():
            for end in np.argsort(ends)[-1:-best - 1:-1].tolist():
                inside = window.sequence_ids[start] == 1 and window.sequence_ids[end] == 1
                if not inside or end < start or end - start + 1 > OPTIONS["answer_tokens"]:
                    continue
                text = CONTEXT[window.offsets[start][0]:window.offsets[end][1]]
                candidates.append({"text": text, "score": float(starts[start] + ends[end])})
    return sorted(candidates, key=lambda candidate: candidate["score"], reverse=True)[:OPTIONS["best"]]


def question_answering(name, model_class, config, tokenizer, seed):
    model = model_class(config, seed=0, input_shape=(1, 4))
    randomise(model, seed)
    folder = os.path.join(HERE, name)
    save(folder, model, tokenizer, config)
    expected = {"options": OPTIONS, "context": CONTEXT, "questions": []}
    for question in QUESTIONS:
        found = []
        for window in windows(tokenizer, question):
            ids = np.array([window.ids])
            types = np.array([window.type_ids]) if config.type_vocab_size > 1 else np.zeros_like(ids)
            out = model(input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=types)
            found.append((window, np.asarray(out.start_logits[0]), np.asarray(out.end_logits[0])))
        expected["questions"].append({
            "question": question,
            "windows": [{"ids": window.ids, "types": window.type_ids, "starts": starts.tolist(), "ends": ends.tolist()}
                        for window, starts, ends in found],
            "answers": spans(found)})
    with open(os.path.join(folder, "expected.json"), "w") as out:
        json.dump(expected, out, ensure_ascii=False)


def long_context():
    tokenizer, vocab = unigram()
    config = XLMRobertaConfig(vocab_size=vocab, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
                              intermediate_size=16, max_position_embeddings=8194, type_vocab_size=1,
                              pad_token_id=1, bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5)
    model = FlaxXLMRobertaModel(config, seed=0, input_shape=(1, 4), add_pooling_layer=False)
    randomise(model, 7)
    folder = os.path.join(HERE, "xlmr-long")
    save(folder, model, tokenizer, config)
    expected = []
    generator = np.random.default_rng(3)
    # All positions at once would take 8192 x 8192 weights a head; the last rows are reached by 8192 tokens alone.
    for length in (5, 700, 8192):
        words = generator.choice(WORDS, length - 2).tolist()
        text = " ".join(words)
        ids = tokenizer.encode(text).ids
        assert len(ids) == length, (len(ids), length)
        array = np.array([ids])
        states = np.asarray(model(input_ids=array, attention_mask=np.ones_like(array)).last_hidden_state[0], np.float64)
        first, mean = states[0], states.mean(axis=0)
        expected.append({"seed_words": words if length < 1000 else None, "length": length,
                         "word_ids": [WORDS.index(word) for word in words],
                         "first": (first / np.linalg.norm(first)).tolist(),
                         "mean": (mean / np.linalg.norm(mean)).tolist()})
    for entry in expected:
        del entry["seed_words"]
    with open(os.path.join(folder, "expected.json"), "w") as out:
        json.dump({"words": WORDS, "texts": expected}, out)


def main():
    tokenizer, vocab = wordpiece()
    question_answering("bert-qa", FlaxBertForQuestionAnswering, BertConfig(
        vocab_size=vocab, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=48, type_vocab_size=2), tokenizer, 1)
    tokenizer, vocab = unigram()
    question_answering("xlmr-qa", FlaxXLMRobertaForQuestionAnswering, XLMRobertaConfig(
        vocab_size=vocab, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=50, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        layer_norm_eps=1e-5), tokenizer, 2)
    long_context()


if __name__ == "__main__":
    sys.exit(main())
