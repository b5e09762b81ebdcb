/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef NET_CASES_H
#define NET_CASES_H

#include "policy/net.h"

/* Nets that the suites of nets and of their rollouts share. */
enum { NET_CONFIGS = 6, NET_SLOTS = 4 };

/* Small enough for finite differences, with two tiles of the vocabulary; which: 0..NET_CONFIGS - 1. */
sg_net_config net_small(int which);
sg_net *net_new(const sg_net_config *config, uint64_t seed);
/* Move every number a little, so that nothing is special (gains of 1, for example). */
void net_shake(sg_net *net, double scale, uint32_t what);

/* The same number for the same address. */
double net_uniform(uint32_t what, uint32_t i);
double net_normal(uint32_t what, uint32_t i);

#endif
