/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_RNG_H
#define SG_RNG_H

#include <math.h>
#include <stdint.h>

#include "core/host_device.h"

/* Counter-based random numbers: Philox4x32-10 of Random123 (Salmon et al., SC'11).
 * A draw is a pure function of its address, so it does not depend on the number of threads, on the
 * order of the calls, or on the device, and two arms of an experiment that use the same addresses
 * share their random numbers. No state, hence thread-safe.
 *
 * Address = (seed; stream, step, prompt, sample, token). seed is the 64-bit Philox key; the counter is
 * { token, sample, step, stream << 24 | prompt }. Ranges: prompt < 2^24, stream < 2^8. */
typedef enum sg_stream {
    SG_STREAM_INIT = 1, /* initial parameters */
    SG_STREAM_PROMPT,   /* which prompts a step sees */
    SG_STREAM_ROLLOUT,  /* sampled tokens */
    SG_STREAM_NOISE,    /* sampler noise */
    SG_STREAM_VERIFIER, /* verifier errors */
    SG_STREAM_SHUFFLE,  /* order of minibatches */
    SG_STREAM_ROUTING,  /* expert routing */
    SG_STREAM_BOOTSTRAP,
    SG_STREAM_SYNTHETIC, /* synthetic batches for figures, benchmarks and tests */
    SG_STREAM_WARM_START, /* right answers of a supervised start */
    SG_STREAM_EVALUATE,   /* responses that are only scored */
    SG_STREAM_CHOICE,     /* tokens that an objective drops */
} sg_stream;

typedef struct sg_address {
    uint64_t seed;
    uint32_t stream, step, prompt, sample, token;
} sg_address;

/* The four 32-bit words of an address: ten rounds of Philox. Written out here, as Random123's header is C++ of
 * another kind under nvcc; tests/check_rng.c holds it to that library. Known value (Random123's
 * kat_vectors): key 0, counter 0 -> 6627e8d5 e169c58d bc57ac4c 9b00dbd8. */
SG_HD static inline void sg_rng_words(sg_address at, uint32_t words[4])
{
    uint32_t c0 = at.token, c1 = at.sample, c2 = at.step, c3 = at.stream << 24 | at.prompt;
    uint32_t k0 = (uint32_t)at.seed, k1 = (uint32_t)(at.seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c0, b = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

/* (k + 1/2) 2^-52 with the 52-bit k made of two words: exact, never 0, never 1. */
SG_HD static inline double sg_rng_unit(uint32_t high, uint32_t low)
{
    uint64_t k = ((uint64_t)high << 20) | (low >> 12);
    return ((double)k + 0.5) * 0x1p-52;
}

/* Uniform in the open interval (0, 1) with 52 bits, from words 0 and 1. */
SG_HD static inline double sg_rng_uniform(sg_address at)
{
    uint32_t words[4];
    sg_rng_words(at, words);
    return sg_rng_unit(words[0], words[1]);
}

/* Two independent standard normals (Box-Muller on words 0..3). */
SG_HD static inline void sg_rng_normal_pair(sg_address at, double normal[2])
{
    uint32_t words[4];
    sg_rng_words(at, words);
    double radius = sqrt(-2.0 * log(sg_rng_unit(words[0], words[1])));
    double angle = 6.283185307179586477 * sg_rng_unit(words[2], words[3]);
    normal[0] = radius * cos(angle);
    normal[1] = radius * sin(angle);
}

#ifndef __CUDACC__
/* Index drawn from unnormalised weights w[0..n-1] by the inverse CDF of one uniform u in (0, 1):
 * the smallest i with u * sum(w) < w[0] + ... + w[i]. Never an index of zero weight. O(n), fp64 sums.
 * Weights must be finite and not negative, with a positive sum; returns n otherwise. */
uint64_t sg_rng_categorical(const double *weights, uint64_t n, double u);
#endif

#endif
