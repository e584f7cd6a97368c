"""llama.cpp as the other side of the inference bench: reads one request a line, answers with one number a line.

    decode FILE N      tokens a second, writing N tokens after a prompt of 64
    prefill FILE N     tokens a second, reading a prompt of N
    batch FILE N       tokens a second over 8 sequences, N tokens each
    make FILE FROM     writes a file of 8B shapes with random weights, its tokenizer taken from FROM; answers 1

Two threads; without AMX, which the build leaves out.
"""

import ctypes
import sys
import time

import llama_cpp
import numpy

THREADS = 2
models = {}


class Model:
    def __init__(self, path):
        params = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        assert self.model, f"{path} was not loaded"
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = 4096
        settings.n_batch = settings.n_ubatch = 512
        settings.n_seq_max = 8
        settings.n_threads = settings.n_threads_batch = THREADS
        settings.kv_unified = True
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        assert self.context, "no context"
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, rows):
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wanted
        assert llama_cpp.llama_decode(self.context, batch) == 0

    def best(self, row):
        logits = llama_cpp.llama_get_logits_ith(self.context, row)
        return int(numpy.ctypeslib.as_array(logits, shape=(self.vocabulary,)).argmax())


def prompt(n, vocabulary):
    return [(i * 7919 + 17) % min(vocabulary, 40000) for i in range(n)]


def model(path):
    if path not in models:
        models[path] = Model(path)
    m = models[path]
    m.clear()
    return m


def decode(path, n):
    m = model(path)
    tokens = prompt(64, m.vocabulary)
    m.decode([(t, i, 0, i == 63) for i, t in enumerate(tokens)])
    token = m.best(-1)
    start = time.perf_counter()
    for i in range(n):
        m.decode([(token, 64 + i, 0, True)])
        token = m.best(-1)
    return n / (time.perf_counter() - start)


def prefill(path, n):
    m = model(path)
    tokens = prompt(n, m.vocabulary)
    start = time.perf_counter()
    for first in range(0, n, 512):
        part = tokens[first : first + 512]
        m.decode([(t, first + i, 0, first + i == n - 1) for i, t in enumerate(part)])
    m.best(-1)
    return n / (time.perf_counter() - start)


def batch(path, n):
    m = model(path)
    now = []
    for s in range(8):
        tokens = prompt(16 + s, m.vocabulary)
        m.decode([(t, i, s, i + 1 == len(tokens)) for i, t in enumerate(tokens)])
        now.append((m.best(-1), len(tokens)))
    start = time.perf_counter()
    for _ in range(n):
        m.decode([(t, p, s, True) for s, (t, p) in enumerate(now)])
        now = [(m.best(s), p + 1) for s, (_, p) in enumerate(now)]
    return 8 * n / (time.perf_counter() - start)


def make(path, source):
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    width, inner, heads, kv_heads, layers = 4096, 14336, 32, 8, 4
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    for key, field in reader.fields.items():
        if key.startswith("tokenizer.") and key != "tokenizer.chat_template":
            kind = field.types[0]
            if kind == gguf.GGUFValueType.ARRAY:
                writer.add_array(key, field.contents())
            else:
                writer.add_key_value(key, field.contents(), kind)
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    random = numpy.random.default_rng(1)
    kinds = gguf.GGMLQuantizationType

    def tensor(name, rows, columns, kind):
        block, size = gguf.GGML_QUANT_SIZES[kind]
        raw = random.integers(0, 256, (rows, columns // block, size), dtype=numpy.uint8)
        scale = numpy.frombuffer(numpy.float16(1e-4 if kind == kinds.Q6_K else 3e-4).tobytes(), dtype=numpy.uint8)
        if kind == kinds.Q6_K:
            raw[:, :, -2:] = scale
        else:
            raw[:, :, 0:2] = scale
            raw[:, :, 2:4] = scale
        writer.add_tensor(name, raw.reshape(rows, -1), raw_dtype=kind)

    tensor("token_embd.weight", vocabulary, width, kinds.Q4_K)
    tensor("output.weight", vocabulary, width, kinds.Q6_K)
    writer.add_tensor("output_norm.weight", numpy.ones(width, dtype=numpy.float32))
    for i in range(layers):
        # The mixture that Q4_K_M is: half of the value and down matrices in six bits.
        better = kinds.Q6_K if i % 2 == 0 else kinds.Q4_K
        writer.add_tensor(f"blk.{i}.attn_norm.weight", numpy.ones(width, dtype=numpy.float32))
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", numpy.ones(width, dtype=numpy.float32))
        tensor(f"blk.{i}.attn_q.weight", width, width, kinds.Q4_K)
        tensor(f"blk.{i}.attn_k.weight", kv_heads * 128, width, kinds.Q4_K)
        tensor(f"blk.{i}.attn_v.weight", kv_heads * 128, width, better)
        tensor(f"blk.{i}.attn_output.weight", width, width, kinds.Q4_K)
        tensor(f"blk.{i}.ffn_gate.weight", inner, width, kinds.Q4_K)
        tensor(f"blk.{i}.ffn_up.weight", inner, width, kinds.Q4_K)
        tensor(f"blk.{i}.ffn_down.weight", width, inner, better)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return 1


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(_level, _text, _data):
    pass


def main():
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    for line in sys.stdin:
        what, path, argument = line.rstrip("\n").split("\t")
        number = argument if what == "make" else int(argument)
        print({"decode": decode, "prefill": prefill, "batch": batch, "make": make}[what](path, number), flush=True)


main()
