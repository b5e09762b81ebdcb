#!/usr/bin/env python3
"""Peer baselines for policy-objective workloads, in plain PyTorch (and NumPy).

One JSON line per workload: {"workload", "impl", "shape", "dtype", "seed", "threads",
"median_s", "best_s", "cpu_s", "reps", "extra"}.  cpu_s is the smallest processor time of one
repetition (all threads): on a shared machine compare best_s and cpu_s, not only median_s.  Seeds and shapes are fixed so another program can be
timed beside it in the same run.  Usage:
  peer_torch.py [--threads 2] [--device cpu|cuda] [--only a,b] [--compile] [--head-n 2048]
                [--reps 7] [--small]
Works with torch 1.13 and later; --compile needs torch >= 2.0.
Workloads
  W1  token-level SAPO gate + gradient weight, n ratios (elementwise)
  W1g token-level GRPO clipped surrogate + gradient weight
  W1s sequence-level GSPO (ratio of mean log-ratio per sequence of T tokens)
  W1a the SAPO surrogate through autograd (value and d/dlogp)
  W2  tabular softmax step: S states x V tokens, G samples per state, K minibatch updates, SGD
  W2a W2.update with Adam 1e-3, (0.9, 0.999), eps 1e-8 instead of SGD
  W3  linear-head step: N tokens, width d, V tokens: forward, SAPO loss, backward (dW and dH); on a
      device N = 512 and 2048 (W3.large), and again in tf32 and under bf16 autocast
  W3.step  clip_grad_norm_ to 1 and Adam 1e-3, (0.9, 0.999), eps 1e-8 of its weights
  W4  many small runs: R independent tabular bandits of V arms, T steps, batched
"""
import argparse, json, os, time

ap = argparse.ArgumentParser()
ap.add_argument("--threads", type=int, default=0)
ap.add_argument("--device", default="cpu")
ap.add_argument("--only", default="")
ap.add_argument("--compile", action="store_true")
ap.add_argument("--head-n", type=int, default=0)
ap.add_argument("--reps", type=int, default=7)
ap.add_argument("--passive", action="store_true", help="idle OpenMP threads sleep (shared machine)")
ap.add_argument("--small", action="store_true", help="sizes cut by 16, for a quick try")
A = ap.parse_args()
if A.threads:
    os.environ["OMP_NUM_THREADS"] = str(A.threads)
if A.passive:
    os.environ["OMP_WAIT_POLICY"] = "passive"
import numpy as np
import torch
if A.threads:
    torch.set_num_threads(A.threads)
DEV = torch.device(A.device)
ONLY = [s for s in A.only.split(",") if s]
CUT = 16 if A.small else 1
TAU_POS, TAU_NEG, EPS_LO, EPS_HI = 1.0, 1.05, 0.2, 0.2


def sync():
    if DEV.type == "cuda":
        torch.cuda.synchronize()


def wanted(w):
    return not ONLY or any(w == o or w.startswith(o + ".") for o in ONLY)


def device_times(fn, reps, per):
    """By the device's clock, calls in a row for at least a millisecond: no call waits for the host."""
    def once(count):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            fn()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e-3 / count
    once(2)
    count = max(1, min(100, int(1e-3 / max(once(2), 1e-9)) + 1))
    return [once(count) / per for _ in range(reps)]


def report(w, impl, shape, fn, reps=None, dtype="float32", seed=0, extra=None, per=1):
    if not wanted(w):
        return
    reps = reps or A.reps
    fn(); sync()
    ts, cs = [], []
    if DEV.type == "cuda":
        ts = device_times(fn, reps, per)
        cs = [float("nan")]
    for _ in range(0 if ts else reps):
        c0 = time.process_time(); t0 = time.perf_counter()
        fn(); sync()
        ts.append((time.perf_counter() - t0) / per); cs.append((time.process_time() - c0) / per)
    ts.sort()
    print(json.dumps({"workload": w, "impl": impl, "shape": shape, "dtype": dtype, "seed": seed,
                      "threads": torch.get_num_threads(), "device": A.device,
                      "median_s": ts[len(ts) // 2], "best_s": ts[0],
                      "cpu_s": None if cs[0] != cs[0] else min(cs), "reps": reps,
                      "extra": extra or {}}), flush=True)


def maybe_compile(f):
    return torch.compile(f, dynamic=False) if A.compile else f


# ---------------------------------------------------------------- W1: gates and weights
def sapo(r, adv):
    tau = torch.where(adv > 0, TAU_POS, TAU_NEG)
    s = torch.sigmoid(tau * (r - 1.0))
    return (4.0 / tau) * s * adv, 4.0 * s * (1.0 - s) * r * adv      # surrogate, d/dlogp


def sapo_value(logr, adv):
    r = torch.exp(logr)
    tau = torch.where(adv > 0, TAU_POS, TAU_NEG)
    return ((4.0 / tau) * torch.sigmoid(tau * (r - 1.0)) * adv).mean()


def grpo(r, adv):
    a = r * adv
    b = torch.clamp(r, 1.0 - EPS_LO, 1.0 + EPS_HI) * adv
    return torch.minimum(a, b), torch.where(a <= b, a, torch.zeros_like(a))


def gspo(logr, adv_seq):
    s = torch.exp(logr.mean(1))
    a = s * adv_seq
    b = torch.clamp(s, 1.0 - 3e-4, 1.0 + 4e-4) * adv_seq
    w = torch.where(a <= b, a, torch.zeros_like(a)) / logr.shape[1]
    return torch.minimum(a, b), w[:, None].expand_as(logr).contiguous()


if any(wanted(w) for w in ("W1", "W1g", "W1s", "W1a", "W1n")):
    n = 10_000_000 // CUT
    T = 1000
    n -= n % T
    g = torch.Generator().manual_seed(1)
    logr = (torch.randn(n, generator=g) * 0.2).to(DEV)
    adv = torch.randn(n, generator=g).to(DEV)
    r = torch.exp(logr)
    logr2, adv_seq = logr.view(-1, T), adv.view(-1, T)[:, 0].contiguous()
    mode = "torch.compile" if A.compile else "torch eager"
    f, h, q = maybe_compile(sapo), maybe_compile(grpo), maybe_compile(gspo)
    report("W1", mode, {"n": n}, lambda: f(r, adv), seed=1)
    report("W1g", mode, {"n": n}, lambda: h(r, adv), seed=1)
    report("W1s", mode, {"n": n, "T": T}, lambda: q(logr2, adv_seq), seed=1)

    def auto():
        x = logr.detach().requires_grad_(True)
        sapo_value(x, adv).backward()
        return x.grad
    report("W1a", "torch autograd", {"n": n}, auto, seed=1)
    if DEV.type == "cpu":
        rn, an = r.numpy(), adv.numpy()
        ln, asn = logr2.numpy(), adv_seq.numpy()

        def np_sapo():
            tau = np.where(an > 0, np.float32(TAU_POS), np.float32(TAU_NEG))
            s = 1.0 / (1.0 + np.exp(-tau * (rn - np.float32(1))))
            return (4.0 / tau) * s * an, 4.0 * s * (1.0 - s) * rn * an

        def np_grpo():
            a = rn * an
            b = np.clip(rn, np.float32(0.8), np.float32(1.2)) * an
            return np.minimum(a, b), np.where(a <= b, a, np.float32(0))

        def np_gspo():
            s = np.exp(ln.mean(1)); a = s * asn
            b = np.clip(s, np.float32(1 - 3e-4), np.float32(1 + 4e-4)) * asn
            w = np.where(a <= b, a, np.float32(0)) / np.float32(T)
            return np.minimum(a, b), np.repeat(w, T).reshape(ln.shape)
        report("W1n.sapo", "numpy", {"n": n}, np_sapo, seed=1, reps=5)
        report("W1n.grpo", "numpy", {"n": n}, np_grpo, seed=1, reps=5)
        report("W1n.gspo", "numpy", {"n": n, "T": T}, np_gspo, seed=1, reps=5)
    del logr, adv, r, logr2, adv_seq

# ---------------------------------------------------------------- W2: tabular step
if any(wanted(w) for w in ("W2",)) or any(o.startswith("W2") for o in ONLY):
    S, V, G, K, LR = 64, 131072 // CUT, 16, 4, 0.5
    g = torch.Generator().manual_seed(2)
    z0 = torch.randn(S, V, generator=g).to(DEV)
    z = z0.clone()
    adv = torch.randn(S, G, generator=g)
    adv = (adv - adv.mean(1, keepdim=True)).to(DEV)
    shp = {"S": S, "V": V, "G": G, "K": K}

    def sample_multinomial():
        return torch.multinomial(torch.softmax(z, -1), G, replacement=True)

    def sample_gumbel_1():      # one sample a state, exponential race
        e = torch.empty_like(z).exponential_()
        return (z - e.log()).argmax(-1)

    def lsm():
        return torch.log_softmax(z, -1)
    tok = sample_multinomial()

    def gather():
        return torch.log_softmax(z, -1).gather(1, tok)

    def entropy():
        lp = torch.log_softmax(z, -1)
        return -(lp.exp() * lp).sum(-1)
    state = {}

    def update(zz, old, tok):
        x = zz.detach().requires_grad_(True)
        lp = torch.log_softmax(x, -1).gather(1, tok)
        r = torch.exp(lp - old)
        tau = torch.where(adv > 0, TAU_POS, TAU_NEG)
        loss = -((4.0 / tau) * torch.sigmoid(tau * (r - 1.0)) * adv).mean(1).sum()
        loss.backward()
        with torch.no_grad():
            zz -= LR * x.grad

    def step():
        with torch.no_grad():
            p = torch.softmax(z, -1)
            tk = torch.multinomial(p, G, replacement=True)
            lp = torch.log_softmax(z, -1)
            old = lp.gather(1, tk)
            state["H"] = -(p * lp).sum(-1)
        for _ in range(K):
            update(z, old, tk)
    old = gather()
    report("W2.multinomial", "torch", shp, sample_multinomial, seed=2)
    report("W2.gumbel1", "torch", shp, sample_gumbel_1, seed=2)
    report("W2.logsoftmax", "torch", shp, lsm, seed=2)
    report("W2.entropy", "torch", shp, entropy, seed=2)
    report("W2.update", "torch autograd", shp, lambda: update(z, old, tok), seed=2)
    report("W2.step", "torch autograd", shp, step, seed=2)

    # analytic gradient in torch, no autograd: what a careful torch user would write
    def update_analytic():
        p = torch.softmax(z, -1)
        lp = p.gather(1, tok).log()
        r = torch.exp(lp - old)
        tau = torch.where(adv > 0, TAU_POS, TAU_NEG)
        s = torch.sigmoid(tau * (r - 1.0))
        w = 4.0 * s * (1.0 - s) * r * adv / G
        z.addcmul_(p, w.sum(1, keepdim=True), value=-LR)
        z.scatter_add_(1, tok, LR * w)
    with torch.no_grad():
        z.copy_(z0)
        report("W2.update_analytic", "torch, hand gradient", shp, update_analytic, seed=2)
    if DEV.type == "cpu":
        zn = z0.numpy().copy(); tn = tok.numpy(); on = old.numpy(); advn = adv.numpy()
        rng = np.random.default_rng(2)

        def np_sample():
            m = zn.max(1, keepdims=True); p = np.exp(zn - m); c = np.cumsum(p, 1)
            u = rng.random((S, G), dtype=np.float32) * c[:, -1:]
            return np.stack([np.searchsorted(c[i], u[i]) for i in range(S)])

        def np_update():
            m = zn.max(1, keepdims=True); p = np.exp(zn - m); p /= p.sum(1, keepdims=True)
            lp = np.log(np.take_along_axis(p, tn, 1)); r = np.exp(lp - on)
            tau = np.where(advn > 0, TAU_POS, TAU_NEG)
            s = 1 / (1 + np.exp(-tau * (r - 1)))
            w = (4 * s * (1 - s) * r * advn / G).astype(np.float32)
            p *= w.sum(1, keepdims=True) * np.float32(LR)
            np.subtract(zn, p, out=zn)
            for i in range(S):
                np.add.at(zn[i], tn[i], np.float32(LR) * w[i])
        report("W2.np_sample", "numpy", shp, np_sample, seed=2, reps=5)
        report("W2.np_update", "numpy", shp, np_update, seed=2, reps=5)
    del z, z0

# ---------------------------------------------------------------- W2a: the same table, Adam
if any(wanted(w) for w in ("W2a",)) or any(o.startswith("W2a") for o in ONLY):
    S, V, G = 64, 131072 // CUT, 16
    g = torch.Generator().manual_seed(2)
    z0 = torch.randn(S, V, generator=g).to(DEV)
    adv = torch.randn(S, G, generator=g)
    adv = (adv - adv.mean(1, keepdim=True)).to(DEV)
    shp = {"S": S, "V": V, "G": G, "K": 1}
    with torch.no_grad():
        tok = torch.multinomial(torch.softmax(z0, -1), G, replacement=True)
        old = torch.log_softmax(z0, -1).gather(1, tok)

    def adam_update(x, optimiser):
        optimiser.zero_grad(set_to_none=True)
        lp = torch.log_softmax(x, -1).gather(1, tok)
        r = torch.exp(lp - old)
        tau = torch.where(adv > 0, TAU_POS, TAU_NEG)
        loss = -((4.0 / tau) * torch.sigmoid(tau * (r - 1.0)) * adv).mean(1).sum()
        loss.backward()
        optimiser.step()
    for name, foreach in (("W2a.foreach", True), ("W2a.loop", False)):
        x = z0.clone().requires_grad_(True)
        opt = torch.optim.Adam([x], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, foreach=foreach)
        report(name, "torch autograd, Adam", shp, lambda: adam_update(x, opt), seed=2)
        del x, opt
    del z0

# ---------------------------------------------------------------- W3: linear head
def head(prefix, N, mode):
    """mode "": fp32; "_tf32", "_bf16": products on tensor cores, what is not a product in fp32."""
    d, V = 256, 131072 // CUT
    g = torch.Generator().manual_seed(3)
    W = (torch.randn(V, d, generator=g) * d ** -0.5).to(DEV).requires_grad_(True)
    H = torch.randn(N, d, generator=g).to(DEV).requires_grad_(True)
    tok = torch.randint(0, V, (N, 1), generator=g).to(DEV)
    adv = torch.randn(N, 1, generator=g).to(DEV)
    with torch.no_grad():
        CH = max(1, min(N, 256))
        old = torch.cat([torch.log_softmax(h @ W.t(), -1).gather(1, t)
                         for h, t in zip(H.split(CH), tok.split(CH))])
        old += 0.1 * torch.randn(N, 1, generator=g).to(DEV)
    shp = {"N": N, "d": d, "V": V}

    def precision():             # weights are rounded once inside, as a step would
        return torch.autocast(DEV.type, dtype=torch.bfloat16, enabled=mode == "_bf16")

    def plain_loss(h, t, o, a):
        lp = torch.log_softmax(h @ W.t(), -1).gather(1, t)
        r = torch.exp(lp - o)
        tau = torch.where(a > 0, TAU_POS, TAU_NEG)
        return -((4.0 / tau) * torch.sigmoid(tau * (r - 1.0)) * a).sum() / N
    chunk_loss = maybe_compile(plain_loss)

    def head_forward():
        with torch.no_grad(), precision():
            for h, t, o, a in zip(H.split(CH), tok.split(CH), old.split(CH), adv.split(CH)):
                chunk_loss(h, t, o, a)

    def head_full():
        W.grad = H.grad = None
        with precision():
            loss = chunk_loss(H, tok, old, adv)
        loss.backward()

    def head_chunked():          # the chunked scheme of the fused linear losses
        W.grad = H.grad = None
        with precision():
            for h, t, o, a in zip(H.split(CH), tok.split(CH), old.split(CH), adv.split(CH)):
                chunk_loss(h, t, o, a).backward()

    def gemm_only():
        with torch.no_grad(), precision():
            for h in H.split(CH):
                h @ W.t()
    ex = {"gflop_one_gemm": 2.0 * N * d * V * 1e-9}
    R = max(3, min(A.reps, 5))
    how = {"": "", "_tf32": ", tf32", "_bf16": ", bf16 autocast"}[mode]
    torch.backends.cuda.matmul.allow_tf32 = mode == "_tf32"
    report(prefix + ".gemm" + mode, "torch" + how, shp, gemm_only, reps=R, seed=3, extra=ex)
    report(prefix + ".forward" + mode, "torch, chunks of 256" + how, shp, head_forward, reps=R, seed=3,
           extra=ex)
    report(prefix + ".fwdbwd_chunked" + mode, "torch autograd, chunks of 256" + how, shp, head_chunked,
           reps=R, seed=3, extra=ex)
    if 4.0 * N * V * 3 < 12e9 or DEV.type == "cuda":
        report(prefix + ".fwdbwd_full" + mode, "torch autograd, logits whole" + how, shp, head_full,
               reps=R, seed=3, extra=ex)
    torch.backends.cuda.matmul.allow_tf32 = False


if any(wanted(w) for w in ("W3",)) or any(o.startswith("W3") for o in ONLY):
    if A.compile:
        import torch._dynamo
        torch._dynamo.config.cache_size_limit = 64
    if DEV.type == "cuda":
        for mode in ("", "_tf32", "_bf16"):
            head("W3", A.head_n or 512 // CUT, mode)
            head("W3.large", 2048 // CUT, mode)
    else:
        head("W3", A.head_n or 2048 // CUT, "")

# ---------------------------------------------------------------- W3.step: clip and Adam of its weights
def optimiser_step(name, **how):
    d, V = 256, 131072 // CUT
    g = torch.Generator().manual_seed(3)
    W = (torch.randn(V, d, generator=g) * d ** -0.5).to(DEV).requires_grad_(True)
    W.grad = torch.randn(V, d, generator=g).to(DEV)
    opt = torch.optim.Adam([W], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, **how)

    def clip_and_step():
        torch.nn.utils.clip_grad_norm_([W], 1.0)
        opt.step()
    report(name, "torch, clip_grad_norm_ and Adam", {"d": d, "V": V}, clip_and_step, seed=3)


if any(wanted(w) for w in ("W3.step",)) or any(o.startswith("W3.step") for o in ONLY):
    optimiser_step("W3.step.foreach", foreach=True)
    if DEV.type == "cuda":
        optimiser_step("W3.step.fused", fused=True)

# ---------------------------------------------------------------- W4: sweep of small runs
if wanted("W4"):
    R_, V, G, T, LR = 4096 // CUT, 256, 16, 20, 0.5
    g = torch.Generator().manual_seed(4)
    reward = torch.rand(1, V, generator=g).to(DEV)
    tau = torch.linspace(0.5, 3.0, R_)[:, None].to(DEV)
    z = torch.zeros(R_, V, device=DEV)

    def sweep():
        z.zero_()
        for _ in range(T):
            p = torch.softmax(z, -1)
            tok = torch.multinomial(p, G, replacement=True)
            rew = reward.expand(R_, V).gather(1, tok)
            adv = (rew - rew.mean(1, keepdim=True)) / (rew.std(1, keepdim=True) + 1e-6)
            lp0 = p.gather(1, tok).log()
            for _k in range(2):
                q = torch.softmax(z, -1)
                r = torch.exp(q.gather(1, tok).log() - lp0)
                s = torch.sigmoid(tau * (r - 1.0))
                w = 4.0 * s * (1.0 - s) * r * adv / G
                z.addcmul_(q, w.sum(1, keepdim=True), value=-LR)
                z.scatter_add_(1, tok, LR * w)
    with torch.no_grad():
        report("W4", "torch, hand gradient, runs batched", {"runs": R_, "V": V, "G": G, "T": T, "K": 2},
               sweep, reps=min(A.reps, 5), seed=4)
