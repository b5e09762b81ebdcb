/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The descriptors of every method and every parameter. A new method is one entry here and, if its gate is new,
 * one inline function in gate_math.h. */
#include "objective/methods.h"

#include <math.h>
#include <string.h>

#define ROW_LEVELS "token,sequence,sequence-token"

const sg_method sg_methods[] = {
    {"sapo", "soft-adaptive", SG_GATE_SAPO, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "tau_pos=1,tau_neg=1.05", "-(4/tau) sigmoid(tau (r-1)) A, tau = tau_pos if A > 0 else tau_neg",
     "Soft Adaptive Policy Optimization", "arXiv:2511.20347"},
    {"grpo", "ppo,vanilla,regular,default,bnpo", SG_GATE_HARD, SG_LEVEL_TOKEN,
     SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS, "eps_low=0.2,eps_high=0.2,dual_clip=off,delta=off",
     "-min(r A, clip(r, 1-eps_low, 1+eps_high) A)", "Group Relative Policy Optimization",
     "arXiv:2402.03300, 1707.06347"},
    {"dapo", "clip-higher", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.2,eps_high=0.28,dual_clip=off,delta=off", "as grpo, eps_high > eps_low, token mean",
     "Decoupled Clip (clip-higher)", "arXiv:2503.14476"},
    {"dual-clip", "", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.2,eps_high=0.2,dual_clip=3,delta=off", "as grpo; for A < 0 at most -dual_clip A",
     "Dual-clip PPO", "arXiv:1912.09729"},
    {"two-sided", "delta", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.2,eps_high=0.2,dual_clip=off,delta=4",
     "-min(min(r, delta) A, clip(r, 1-eps_low, 1+eps_high) A)", "Two-sided GRPO clipping",
     "TRL, INTELLECT-2 arXiv:2505.07291"},
    {"dr-grpo", "", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_SUM_NORM, ROW_LEVELS,
     "eps_low=0.2,eps_high=0.2,dual_clip=off,delta=off",
     "as grpo, A = R - mean, divided by a constant length", "GRPO done right", "arXiv:2503.20783"},
    {"gspo", "", SG_GATE_HARD, SG_LEVEL_SEQUENCE, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.0003,eps_high=0.0004,dual_clip=off,delta=off",
     "-min(s A, clip(s, 1-eps_low, 1+eps_high) A), s = exp(mean_t d_t)",
     "Group Sequence Policy Optimization", "arXiv:2507.18071"},
    {"gspo-token", "", SG_GATE_HARD, SG_LEVEL_SEQUENCE_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.0003,eps_high=0.0004,dual_clip=off,delta=off",
     "as gspo with s_t = sg[s] pi_t / sg[pi_t]; A may vary by token", "GSPO-token",
     "arXiv:2507.18071"},
    {"luspo", "", SG_GATE_HARD, SG_LEVEL_SEQUENCE, SG_SEQ_MEAN_TOKEN_SUM, ROW_LEVELS,
     "eps_low=0.002,eps_high=0.0025,dual_clip=off,delta=off", "n (GSPO row loss)",
     "Length-unbiased GSPO", "arXiv:2602.05261"},
    {"cispo", "", SG_GATE_CISPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "low=0,high=5",
     "-sg[clamp(r, low, high)] A logp", "Clipped IS-weight Policy Optimization",
     "arXiv:2506.13585"},
    {"gmpo", "geo-mean", SG_GATE_GMPO, SG_LEVEL_SEQUENCE, SG_SEQ_MEAN_TOKEN_MEAN, "sequence",
     "eps_low=0.4,eps_high=0.4",
     "-A exp(mean_t k_t), k = min(d, eps_high) if A > 0 else max(d, -eps_low)",
     "Geometric-Mean Policy Optimization", "arXiv:2507.20673"},
    {"vespo", "", SG_GATE_VESPO, SG_LEVEL_PRODUCT, SG_TOKEN_MEAN, "token,product",
     "k_pos=2,lambda_pos=3,k_neg=3,lambda_neg=2",
     "-sg[W^k exp(lambda (1-W))] A logp, W = exp(sum_t d_t)",
     "Variational Sequence-Level Soft Policy Optimization", "arXiv:2602.10693"},
    {"topr", "", SG_GATE_TOPR, SG_LEVEL_PRODUCT, SG_SEQ_MEAN_TOKEN_SUM, "token,product", "",
     "-sg[k(W)] R logp, k = 1 if R >= 0 else min(W, 1)", "Tapered Off-Policy REINFORCE",
     "arXiv:2503.14286"},
    {"topr-token", "", SG_GATE_TOPR, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_SUM, "token,product", "",
     "as topr with the token ratio", "TOPR on tokens", "ROLL"},
    {"aspo", "", SG_GATE_ASPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "eps_low=0.2,eps_high=0.2,cap=3,dual_clip=off",
     "A > 0: -sg[min(1/r, cap)] A logp while r <= 1+eps_high; A <= 0: as grpo",
     "Asymmetric Importance Sampling Policy Optimization", "arXiv:2510.06062"},
    {"ce-gppo", "", SG_GATE_CE_GPPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "eps_low=0.2,eps_high=0.2,beta_low=0.75,beta_high=1",
     "-r A inside the band; outside -sg[beta (1 +- eps)] A logp",
     "Coordinating Entropy via Gradient-Preserving Policy Optimization", "arXiv:2509.20712"},
    {"gate-erf", "", SG_GATE_ERF, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "tau_pos=10,tau_neg=12", "-f A, w = exp(-tau^2 (r-1)^2 / 2)", "Gaussian gate",
     "arXiv:2602.19345"},
    {"gate-arctan", "", SG_GATE_ARCTAN, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "tau_pos=10,tau_neg=12", "-f A, w = 1 / (1 + tau^2 (r-1)^2)", "Arctangent gate",
     "arXiv:2602.19345"},
    {"gate-softsign", "", SG_GATE_SOFTSIGN, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "tau_pos=10,tau_neg=12", "-f A, w = (1 + tau^2 (r-1)^2)^(-3/2)", "Softsign gate",
     "arXiv:2602.19345"},
    {"gipo", "", SG_GATE_GIPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "sigma=1",
     "-sg[exp(-d^2 / (2 sigma^2))] r A", "Gaussian Importance Policy Optimization",
     "arXiv:2603.03955"},
    {"dppo-tv", "dppo", SG_GATE_DPPO_TV, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "delta_low=0.2,delta_high=0.2,cap=20",
     "-sg[min(r, cap)] A logp while p-q <= delta_high (A > 0) or p-q >= -delta_low",
     "Divergence PPO, total variation", "arXiv:2602.04879"},
    {"dppo-kl", "", SG_GATE_DPPO_KL, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "kl_low=0.05,kl_high=0.05,cap=20",
     "-sg[min(r, cap)] A logp while p <= q or KL(q||p) <= kl_high (A > 0), p >= q or KL <= kl_low",
     "Divergence PPO, binary KL", "arXiv:2602.04879"},
    {"spo", "", SG_GATE_SPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "eps=0.2",
     "-(r A - |A| (r-1)^2 / (2 eps))", "Simple Policy Optimization", "arXiv:2401.16025"},
    {"unclipped", "is", SG_GATE_UNCLIPPED, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, ROW_LEVELS, "", "-r A",
     "Importance sampling without clipping", "textbook"},
    {"reinforce", "gpg", SG_GATE_REINFORCE, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "", "-A logp",
     "REINFORCE", "Williams 1992"},
};
const size_t sg_methods_count = sizeof sg_methods / sizeof *sg_methods;

/* Names that papers or trainers use and that softgate knows but does not implement. */
const char *const sg_methods_reserved[] = {
    "dcpo",   "m2po", "bapo", "clip-cov", "kl-cov", "asymre", "unlikelihood", "dro",
    "minirl", "fipo", "gepo", "pspo",     "gppo",   "sspo",   "cppo",         "real",
    "opmd",   "kimi", "minpro", "icepop", "kpop",   NULL,
};

#define INF HUGE_VAL

const sg_parameter_range sg_parameters[] = {
    {{"tau_pos", "sapo_temperature_pos,sapo_tau_pos", "> 0", "temperature for A > 0"},
     offsetof(sg_gate_parameters, tau_pos), 0, true, INF, false, false},
    {{"tau_neg", "sapo_temperature_neg,sapo_tau_neg", "> 0", "temperature for A <= 0"},
     offsetof(sg_gate_parameters, tau_neg), 0, true, INF, false, false},
    {{"eps_low", "epsilon_low,clip_ratio_low,eps_clip_low,ratio_clip_min,cispo_eps_clip_low",
      ">= 0 and < 1", "clip width below 1 (log space for gmpo)"},
     offsetof(sg_gate_parameters, eps_low), 0, false, 1, true, false},
    {{"eps_high",
      "epsilon_high,clip_ratio_high,eps_clip_high,eps_clip_higher,ratio_clip_max,"
      "cispo_eps_clip_high",
      ">= 0", "clip width above 1 (log space for gmpo)"},
     offsetof(sg_gate_parameters, eps_high), 0, false, INF, false, false},
    {{"dual_clip", "clip_ratio_c,c_clip,eps_clip_c,ratio_clip_c", "> 1, or off",
      "largest ratio that keeps a gradient for A < 0"},
     offsetof(sg_gate_parameters, dual_clip), 1, true, INF, false, true},
    {{"delta", "two_sided_delta", "> 1 + eps_high, or off", "two-sided clip: largest ratio"},
     offsetof(sg_gate_parameters, delta), 1, true, INF, false, true},
    {{"low", "weight_low", ">= 0 and <= 1", "lower bound of the weight"},
     offsetof(sg_gate_parameters, low), 0, false, 1, false, false},
    {{"high", "weight_high", ">= 1", "upper bound of the weight"},
     offsetof(sg_gate_parameters, high), 1, false, INF, false, true},
    {{"beta_low", "beta1,b1", ">= 0", "gradient scale below the band, A < 0"},
     offsetof(sg_gate_parameters, beta_low), 0, false, INF, false, false},
    {{"beta_high", "beta2,b2", ">= 0", "gradient scale above the band, A > 0"},
     offsetof(sg_gate_parameters, beta_high), 0, false, INF, false, false},
    {{"cap", "clip_ratio_c", "> 1", "cap of the detached ratio"},
     offsetof(sg_gate_parameters, cap), 1, true, INF, false, false},
    {{"sigma", "gipo_sigma", "> 0 and <= 10", "width of the gate in log-ratio"},
     offsetof(sg_gate_parameters, sigma), 0, true, 10, false, false},
    {{"eps", "spo_eps", "> 0", "ratio distance at which the weight is 0"},
     offsetof(sg_gate_parameters, eps), 0, true, INF, false, false},
    {{"k_pos", "vespo_k_pos", ">= 1 and <= 100", "exponent for A >= 0"},
     offsetof(sg_gate_parameters, k_pos), 1, false, 100, false, false},
    {{"k_neg", "vespo_k_neg", ">= 1 and <= 100", "exponent for A < 0"},
     offsetof(sg_gate_parameters, k_neg), 1, false, 100, false, false},
    {{"lambda_pos", "vespo_lambda_pos,lam_pos", "> 0 and <= 100", "rate for A >= 0"},
     offsetof(sg_gate_parameters, lambda_pos), 0, true, 100, false, false},
    {{"lambda_neg", "vespo_lambda_neg,lam_neg", "> 0 and <= 100", "rate for A < 0"},
     offsetof(sg_gate_parameters, lambda_neg), 0, true, 100, false, false},
    {{"delta_low", "tv_low,clip_ratio_low", "> 0 and <= 1",
      "largest drop of the probability, A <= 0"},
     offsetof(sg_gate_parameters, delta_low), 0, true, 1, false, false},
    {{"delta_high", "tv_high,clip_ratio_high", "> 0 and <= 1",
      "largest rise of the probability, A > 0"},
     offsetof(sg_gate_parameters, delta_high), 0, true, 1, false, false},
    {{"kl_low", "clip_ratio_low", "> 0", "largest KL of a drop of the probability, A <= 0"},
     offsetof(sg_gate_parameters, kl_low), 0, true, INF, true, false},
    {{"kl_high", "clip_ratio_high", "> 0", "largest KL of a rise of the probability, A > 0"},
     offsetof(sg_gate_parameters, kl_high), 0, true, INF, true, false},
};
const size_t sg_parameters_count = sizeof sg_parameters / sizeof *sg_parameters;

/* '-' and '_' are the same in names, and case does not count. */
static bool same_name(const char *a, const char *b, size_t b_length)
{
    size_t i = 0;
    for (; i < b_length && a[i] != '\0'; i++) {
        char x = a[i] == '-' ? '_' : a[i], y = b[i] == '-' ? '_' : b[i];
        if (x >= 'A' && x <= 'Z')
            x = (char)(x - 'A' + 'a');
        if (y >= 'A' && y <= 'Z')
            y = (char)(y - 'A' + 'a');
        if (x != y)
            return false;
    }
    return i == b_length && a[i] == '\0';
}

bool sg_name_in_list(const char *name, const char *list)
{
    while (*list != '\0') {
        size_t length = strcspn(list, ",=");
        if (same_name(name, list, length))
            return true;
        list += length;
        list += strcspn(list, ",");
        list += *list == ',';
    }
    return false;
}

const sg_method *sg_method_find(const char *name)
{
    for (size_t i = 0; i < sg_methods_count; i++) {
        if (sg_name_in_list(name, sg_methods[i].name) ||
            sg_name_in_list(name, sg_methods[i].aliases))
            return &sg_methods[i];
    }
    return NULL;
}

const sg_parameter_range *sg_parameter_range_find(const char *name, const sg_method *method)
{
    for (size_t i = 0; i < sg_parameters_count; i++) {
        const sg_parameter_info *info = &sg_parameters[i].info;
        if (method != NULL && !sg_name_in_list(info->name, method->parameters))
            continue;
        if (sg_name_in_list(name, info->name) || sg_name_in_list(name, info->aliases))
            return &sg_parameters[i];
    }
    return NULL;
}

size_t sg_method_count(void)
{
    return sg_methods_count;
}

const sg_method *sg_method_at(size_t index)
{
    return index < sg_methods_count ? &sg_methods[index] : NULL;
}

const sg_parameter_info *sg_parameter_find(const char *name)
{
    const sg_parameter_range *range = sg_parameter_range_find(name, NULL);
    return range == NULL ? NULL : &range->info;
}
