/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "objective/sequence.h"

#include <math.h>

#include "objective/gate.h"

static double log_form_gate(double tau, double z)
{
    double e = exp(-fabs(tau * z));
    return 4 * e / ((1 + e) * (1 + e));
}

sg_sequence_gate sg_sequence_gate_of(const double *log_ratio, size_t n, double tau)
{
    if (n == 0)
        return (sg_sequence_gate){NAN, NAN, NAN, NAN, NAN};
    sg_gate_parameters parameters = {.tau_pos = tau, .tau_neg = tau};
    double count = (double)n, sum = 0, squares = 0, gates = 0, weights = 0;
    for (size_t t = 0; t < n; t++)
        sum += log_ratio[t];
    double mean = sum / count;
    for (size_t t = 0; t < n; t++) {
        double d = log_ratio[t];
        squares += (d - mean) * (d - mean);
        gates += log_form_gate(tau, d);
        weights += sg_gate_sapo(&parameters, sg_gate_point_from_log(d, 0), true).weight;
    }
    double centre = log_form_gate(tau, mean), variance = squares / count;
    return (sg_sequence_gate){.mean = mean,
                              .variance = variance,
                              .deviation = fabs(gates / count - centre),
                              .bound = tau * tau / 4 * variance,
                              .deviation_true = fabs(weights / count - centre)};
}
