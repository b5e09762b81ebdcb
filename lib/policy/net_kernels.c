/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Forward and backward below the output layer on the CPU; net_real.h is the source for both precisions. One
 * thread: the output layer takes nearly all of the time. */
#include <math.h>
#include <string.h>

#include "backend/net_math.h"
#include "core/vec.h"
#include "policy/net_matrix.h"
#include "policy/net_pass.h"

#define SG_REAL float
#define SG_NAME(name) name##_f32
#define SG_SIGMOID sg_vec_sigmoidf
#include "policy/net_real.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_SIGMOID

#define SG_REAL double
#define SG_NAME(name) name##_f64
#define SG_SIGMOID sg_vec_sigmoid
#include "policy/net_real.h"

const sg_net_kernels sg_net_kernels_of[2] = {
    [SG_FP32] = {embed_f32, normalize_f32, route_f32, experts_f32, normalize_back_f32,
                 experts_back_f32, router_back_f32, embed_back_f32, weigh_f32},
    [SG_FP64] = {embed_f64, normalize_f64, route_f64, experts_f64, normalize_back_f64,
                 experts_back_f64, router_back_f64, embed_back_f64, weigh_f64},
};
