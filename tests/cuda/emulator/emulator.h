/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_EMULATOR_H
#define SG_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What tests ask of the emulated device. */
#ifdef __cplusplus
extern "C" {
#endif

/* Order of threads and blocks: 0 ascending, 1 descending, others shuffled. And when what was asked of a stream is
 * done: 0 at once, 1 as late as possible, others at random. Starts as SOFTGATE_EMULATOR_SEED. */
void sg_emulator_set_seed(uint64_t seed);
uint64_t sg_emulator_seed(void);

/* Devices on this machine (1 at the start); 0 answers as a machine without one, -1 as one without driver. */
void sg_emulator_set_devices(int devices);

/* The first number of its compute capability (9 at the start). Below 9 it knows no clusters. */
void sg_emulator_set_architecture(int major);

/* Whether it reads memory of malloc itself, when it comes to the copy; at the start it does not. */
void sg_emulator_set_pageable(bool reads);

/* Bytes of device memory. */
void sg_emulator_set_memory(size_t bytes);

/* The device fails with this code of cudaError: all that was queued is lost, and calls fail from the moment when
 * the device comes to its next piece of work or the host waits for it. With seed 0 that is at once. 0: heal. */
void sg_emulator_break(int code);

/* The last complaint about a kernel or a call; "" when there was none. Cleared by sg_emulator_break(0). */
const char *sg_emulator_complaint(void);

/* Kernels that were started so far. */
size_t sg_emulator_launches(void);

/* Bytes that went from host to device and back since the program began. */
size_t sg_emulator_traffic(void);

/* How often the host waited for the device to do what it was asked. */
size_t sg_emulator_waits(void);

/* Bytes that cudaMalloc and cudaMallocHost gave and that were not freed yet. */
size_t sg_emulator_bytes_in_use(void);

#ifdef __cplusplus
}
#endif

#endif
