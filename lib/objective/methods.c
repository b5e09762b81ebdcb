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
     "Soft Adaptive Policy Optimization", "arXiv:2511.20347", SG_RULE_NONE},
    {"grpo", "ppo,vanilla,regular,default,bnpo", SG_GATE_HARD, SG_LEVEL_TOKEN,
     SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS, "eps_low=0.2,eps_high=0.2,dual_clip=off,delta=off",
     "-min(r A, clip(r, 1-eps_low, 1+eps_high) A)", "Group Relative Policy Optimization",
     "arXiv:2402.03300, 1707.06347", SG_RULE_NONE},
    {"dapo", "clip-higher", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.2,eps_high=0.28,dual_clip=off,delta=off", "as grpo, eps_high > eps_low, token mean",
     "Decoupled Clip (clip-higher)", "arXiv:2503.14476", SG_RULE_NONE},
    {"dual-clip", "", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.2,eps_high=0.2,dual_clip=3,delta=off", "as grpo; for A < 0 at most -dual_clip A",
     "Dual-clip PPO", "arXiv:1912.09729", SG_RULE_NONE},
    {"two-sided", "delta", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.2,eps_high=0.2,dual_clip=off,delta=4",
     "-min(min(r, delta) A, clip(r, 1-eps_low, 1+eps_high) A)", "Two-sided GRPO clipping",
     "TRL, INTELLECT-2 arXiv:2505.07291", SG_RULE_NONE},
    {"dr-grpo", "", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_SUM_NORM, ROW_LEVELS,
     "eps_low=0.2,eps_high=0.2,dual_clip=off,delta=off",
     "as grpo, A = R - mean, divided by a constant length", "GRPO done right",
     "arXiv:2503.20783", SG_RULE_NONE},
    {"gspo", "", SG_GATE_HARD, SG_LEVEL_SEQUENCE, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.0003,eps_high=0.0004,dual_clip=off,delta=off",
     "-min(s A, clip(s, 1-eps_low, 1+eps_high) A), s = exp(mean_t d_t)",
     "Group Sequence Policy Optimization", "arXiv:2507.18071", SG_RULE_NONE},
    {"gspo-token", "", SG_GATE_HARD, SG_LEVEL_SEQUENCE_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "eps_low=0.0003,eps_high=0.0004,dual_clip=off,delta=off",
     "as gspo with s_t = sg[s] pi_t / sg[pi_t]; A may vary by token", "GSPO-token",
     "arXiv:2507.18071", SG_RULE_NONE},
    {"luspo", "", SG_GATE_HARD, SG_LEVEL_SEQUENCE, SG_SEQ_MEAN_TOKEN_SUM, ROW_LEVELS,
     "eps_low=0.002,eps_high=0.0025,dual_clip=off,delta=off", "n (GSPO row loss)",
     "Length-unbiased GSPO", "arXiv:2602.05261", SG_RULE_NONE},
    {"cispo", "", SG_GATE_CISPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "low=0,high=5",
     "-sg[clamp(r, low, high)] A logp", "Clipped IS-weight Policy Optimization",
     "arXiv:2506.13585", SG_RULE_NONE},
    {"gmpo", "geo-mean", SG_GATE_GMPO, SG_LEVEL_SEQUENCE, SG_SEQ_MEAN_TOKEN_MEAN, "sequence",
     "eps_low=0.4,eps_high=0.4",
     "-A exp(mean_t k_t), k = min(d, eps_high) if A > 0 else max(d, -eps_low)",
     "Geometric-Mean Policy Optimization", "arXiv:2507.20673", SG_RULE_NONE},
    {"vespo", "", SG_GATE_VESPO, SG_LEVEL_PRODUCT, SG_TOKEN_MEAN, "token,product",
     "k_pos=2,lambda_pos=3,k_neg=3,lambda_neg=2",
     "-sg[W^k exp(lambda (1-W))] A logp, W = exp(sum_t d_t)",
     "Variational Sequence-Level Soft Policy Optimization", "arXiv:2602.10693", SG_RULE_NONE},
    {"topr", "", SG_GATE_TOPR, SG_LEVEL_PRODUCT, SG_SEQ_MEAN_TOKEN_SUM, "token,product", "",
     "-sg[k(W)] R logp, k = 1 if R >= 0 else min(W, 1)", "Tapered Off-Policy REINFORCE",
     "arXiv:2503.14286", SG_RULE_NONE},
    {"topr-token", "", SG_GATE_TOPR, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_SUM, "token,product", "",
     "as topr with the token ratio", "TOPR on tokens", "ROLL", SG_RULE_NONE},
    {"aspo", "", SG_GATE_ASPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "eps_low=0.2,eps_high=0.2,cap=3,dual_clip=off",
     "A > 0: -sg[min(1/r, cap)] A logp while r <= 1+eps_high; A <= 0: as grpo",
     "Asymmetric Importance Sampling Policy Optimization", "arXiv:2510.06062", SG_RULE_NONE},
    {"ce-gppo", "", SG_GATE_CE_GPPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "eps_low=0.2,eps_high=0.2,beta_low=0.75,beta_high=1",
     "-r A inside the band; outside -sg[beta (1 +- eps)] A logp",
     "Coordinating Entropy via Gradient-Preserving Policy Optimization",
     "arXiv:2509.20712", SG_RULE_NONE},
    {"gate-erf", "", SG_GATE_ERF, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "tau_pos=10,tau_neg=12", "-f A, w = exp(-tau^2 (r-1)^2 / 2)", "Gaussian gate",
     "arXiv:2602.19345", SG_RULE_NONE},
    {"gate-arctan", "", SG_GATE_ARCTAN, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "tau_pos=10,tau_neg=12", "-f A, w = 1 / (1 + tau^2 (r-1)^2)", "Arctangent gate",
     "arXiv:2602.19345", SG_RULE_NONE},
    {"gate-softsign", "", SG_GATE_SOFTSIGN, SG_LEVEL_TOKEN, SG_SEQ_MEAN_TOKEN_MEAN, ROW_LEVELS,
     "tau_pos=10,tau_neg=12", "-f A, w = (1 + tau^2 (r-1)^2)^(-3/2)", "Softsign gate",
     "arXiv:2602.19345", SG_RULE_NONE},
    {"gipo", "", SG_GATE_GIPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "sigma=1",
     "-sg[exp(-d^2 / (2 sigma^2))] r A", "Gaussian Importance Policy Optimization",
     "arXiv:2603.03955", SG_RULE_NONE},
    {"dppo-tv", "dppo", SG_GATE_DPPO_TV, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "delta_low=0.2,delta_high=0.2,cap=20",
     "-sg[min(r, cap)] A logp while p-q <= delta_high (A > 0) or p-q >= -delta_low",
     "Divergence PPO, total variation", "arXiv:2602.04879", SG_RULE_NONE},
    {"dppo-kl", "", SG_GATE_DPPO_KL, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "kl_low=0.05,kl_high=0.05,cap=20",
     "-sg[min(r, cap)] A logp while p <= q or KL(q||p) <= kl_high (A > 0), p >= q or KL <= kl_low",
     "Divergence PPO, binary KL", "arXiv:2602.04879", SG_RULE_NONE},
    {"spo", "", SG_GATE_SPO, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "eps=0.2",
     "-(r A - |A| (r-1)^2 / (2 eps))", "Simple Policy Optimization",
     "arXiv:2401.16025", SG_RULE_NONE},
    {"dro", "", SG_GATE_REINFORCE, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "beta=0.1",
     "-(A logp - beta d^2 / 2)", "Direct Reward Optimization", "arXiv:2405.19107, verl",
     SG_RULE_DRO},
    {"kl-cov", "", SG_GATE_UNCLIPPED, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "share=0.0002,beta=1",
     "-r A; -(r A - beta |d|) for the share of largest (A - mean A)(logp - mean logp)",
     "KL penalty on the tokens of largest covariance", "arXiv:2505.22617", SG_RULE_KL_COV},
    {"clip-cov", "", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "eps_low=0.2,eps_high=0.2,share=0.0002,cov_low=1,cov_high=5",
     "as grpo; 0 for a random share of cov_low < (A - mean A)(logp - mean logp) < cov_high",
     "Clip of tokens of large covariance", "arXiv:2505.22617", SG_RULE_CLIP_COV},
    {"bapo", "", SG_GATE_HARD, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token",
     "eps_low=0.4,eps_high=0.2,dual_clip=off,target=0.4,low_max=0.9,high_max=3,low_step=0.02,"
     "high_step=0.05",
     "as grpo; the bounds rise till A > 0 has the target share of the objective",
     "Balanced Policy Optimization with adaptive clipping", "arXiv:2510.18927", SG_RULE_BAPO},
    {"unclipped", "is", SG_GATE_UNCLIPPED, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, ROW_LEVELS, "", "-r A",
     "Importance sampling without clipping", "textbook", SG_RULE_NONE},
    {"reinforce", "gpg", SG_GATE_REINFORCE, SG_LEVEL_TOKEN, SG_TOKEN_MEAN, "token", "", "-A logp",
     "REINFORCE", "Williams 1992", SG_RULE_NONE},
};
const size_t sg_methods_count = sizeof sg_methods / sizeof *sg_methods;

/* Names that papers or trainers use and that softgate knows but does not implement: what is missing, and what is
 * nearest. */
const sg_reserved_method sg_methods_reserved[] = {
    {"dcpo", "its bounds follow each token's old probability and its advantages those of earlier "
             "steps; nearest are dapo and dppo-tv"},
    {"m2po", "which tokens its second moment covers differs between paper and code; nearest are "
             "kl-cov and unclipped"},
    {"asymre", "it is reinforce with advantages around a shifted baseline: take reinforce with "
               "the advantage asymre"},
    {"unlikelihood", "how it scales with the advantage is not settled; nearest is reinforce"},
    {"minirl", "its weight of the sampler is no part of an objective here; nearest are grpo with "
               "token-sum and the column weight"},
    {"fipo", "its token advantages look ahead in the response; nearest is gspo-token"},
    {"gepo", "its weight needs the probabilities of a whole group; nearest are gspo and topr"},
    {"pspo", "its mixing factor is not published; nearest is sapo"},
    {"gppo", "its exact form is not confirmed; nearest is ce-gppo:beta_low=1"},
    {"real", "it compares the responses of a group; nearest is grpo"},
    {"sspo", NULL},   {"cppo", NULL}, {"opmd", NULL}, {"kimi", NULL},
    {"minpro", NULL}, {"icepop", NULL}, {"kpop", NULL}, {NULL, NULL},
};

#define INF HUGE_VAL

const sg_parameter_range sg_parameters[] = {
    {{"tau_pos", "sapo_temperature_pos,sapo_tau_pos", "> 0", "temperature for A > 0"},
     offsetof(sg_objective, parameter.tau_pos), 0, true, INF, false, false},
    {{"tau_neg", "sapo_temperature_neg,sapo_tau_neg", "> 0", "temperature for A <= 0"},
     offsetof(sg_objective, parameter.tau_neg), 0, true, INF, false, false},
    {{"eps_low", "epsilon_low,clip_ratio_low,eps_clip_low,ratio_clip_min,cispo_eps_clip_low",
      ">= 0 and < 1", "clip width below 1 (log space for gmpo)"},
     offsetof(sg_objective, parameter.eps_low), 0, false, 1, true, false},
    {{"eps_high",
      "epsilon_high,clip_ratio_high,eps_clip_high,eps_clip_higher,ratio_clip_max,"
      "cispo_eps_clip_high",
      ">= 0", "clip width above 1 (log space for gmpo)"},
     offsetof(sg_objective, parameter.eps_high), 0, false, INF, false, false},
    {{"dual_clip", "clip_ratio_c,c_clip,eps_clip_c,ratio_clip_c", "> 1, or off",
      "largest ratio that keeps a gradient for A < 0"},
     offsetof(sg_objective, parameter.dual_clip), 1, true, INF, false, true},
    {{"delta", "two_sided_delta", "> 1 + eps_high, or off", "two-sided clip: largest ratio"},
     offsetof(sg_objective, parameter.delta), 1, true, INF, false, true},
    {{"low", "weight_low", ">= 0 and <= 1", "lower bound of the weight"},
     offsetof(sg_objective, parameter.low), 0, false, 1, false, false},
    {{"high", "weight_high", ">= 1", "upper bound of the weight"},
     offsetof(sg_objective, parameter.high), 1, false, INF, false, true},
    {{"beta_low", "beta1,b1", ">= 0", "gradient scale below the band, A < 0"},
     offsetof(sg_objective, parameter.beta_low), 0, false, INF, false, false},
    {{"beta_high", "beta2,b2", ">= 0", "gradient scale above the band, A > 0"},
     offsetof(sg_objective, parameter.beta_high), 0, false, INF, false, false},
    {{"cap", "clip_ratio_c", "> 1", "cap of the detached ratio"},
     offsetof(sg_objective, parameter.cap), 1, true, INF, false, false},
    {{"sigma", "gipo_sigma", "> 0 and <= 10", "width of the gate in log-ratio"},
     offsetof(sg_objective, parameter.sigma), 0, true, 10, false, false},
    {{"eps", "spo_eps", "> 0", "ratio distance at which the weight is 0"},
     offsetof(sg_objective, parameter.eps), 0, true, INF, false, false},
    {{"k_pos", "vespo_k_pos", ">= 1 and <= 100", "exponent for A >= 0"},
     offsetof(sg_objective, parameter.k_pos), 1, false, 100, false, false},
    {{"k_neg", "vespo_k_neg", ">= 1 and <= 100", "exponent for A < 0"},
     offsetof(sg_objective, parameter.k_neg), 1, false, 100, false, false},
    {{"lambda_pos", "vespo_lambda_pos,lam_pos", "> 0 and <= 100", "rate for A >= 0"},
     offsetof(sg_objective, parameter.lambda_pos), 0, true, 100, false, false},
    {{"lambda_neg", "vespo_lambda_neg,lam_neg", "> 0 and <= 100", "rate for A < 0"},
     offsetof(sg_objective, parameter.lambda_neg), 0, true, 100, false, false},
    {{"delta_low", "tv_low,clip_ratio_low", "> 0 and <= 1",
      "largest drop of the probability, A <= 0"},
     offsetof(sg_objective, parameter.delta_low), 0, true, 1, false, false},
    {{"delta_high", "tv_high,clip_ratio_high", "> 0 and <= 1",
      "largest rise of the probability, A > 0"},
     offsetof(sg_objective, parameter.delta_high), 0, true, 1, false, false},
    {{"kl_low", "clip_ratio_low", "> 0", "largest KL of a drop of the probability, A <= 0"},
     offsetof(sg_objective, parameter.kl_low), 0, true, INF, true, false},
    {{"kl_high", "clip_ratio_high", "> 0", "largest KL of a rise of the probability, A > 0"},
     offsetof(sg_objective, parameter.kl_high), 0, true, INF, true, false},
    {{"beta", "dro_beta,ppo_kl_coef,kl_cov_coef", ">= 0", "factor of the penalty on log-ratios"},
     offsetof(sg_objective, rule.beta), 0, false, INF, true, false},
    {{"share", "kl_cov_ratio,kl_cov_frac,clip_cov_ratio,clip_cov_frac", "> 0 and <= 1",
      "share of the batch's tokens that is chosen, at least one token"},
     offsetof(sg_objective, rule.share), 0, true, 1, false, false},
    {{"cov_low", "clip_cov_lb", "a number", "covariance above which a token may be dropped"},
     offsetof(sg_objective, rule.cov_low), -INF, true, INF, true, false},
    {{"cov_high", "clip_cov_ub", "above cov_low", "covariance below which a token may be dropped"},
     offsetof(sg_objective, rule.cov_high), -INF, true, INF, false, true},
    {{"target", "rho0", ">= 0 and <= 1", "share of the objective that A > 0 is to have"},
     offsetof(sg_objective, rule.target), 0, false, 1, false, false},
    {{"low_max", "ratio_lower_max", "> 0 and <= 1", "largest lower bound of the ratio"},
     offsetof(sg_objective, rule.low_max), 0, true, 1, false, false},
    {{"high_max", "ratio_upper_max", ">= 1", "largest upper bound of the ratio"},
     offsetof(sg_objective, rule.high_max), 1, false, INF, true, false},
    {{"low_step", "ratio_lower_step", ">= 0.001", "by how much the lower bound rises at a time"},
     offsetof(sg_objective, rule.low_step), 0.001, false, INF, true, false},
    {{"high_step", "ratio_upper_step", ">= 0.001", "by how much the upper bound rises at a time"},
     offsetof(sg_objective, rule.high_step), 0.001, false, INF, true, false},
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
