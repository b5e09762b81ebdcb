/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_HOST_DEVICE_H
#define SG_HOST_DEVICE_H

/* SG_HD marks an inline function that CUDA compiles for the device too. */
#ifdef __CUDACC__
#define SG_HD __host__ __device__
#else
#define SG_HD
#endif

#endif
