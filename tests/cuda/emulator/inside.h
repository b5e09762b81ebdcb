/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_EMULATOR_INSIDE_H
#define SG_EMULATOR_INSIDE_H

#include <mutex>

#include "cuda_runtime.h"

#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SG_ASAN 1
#else
#define SG_ASAN 0
#endif

/* What the parts of the emulator share. */

extern std::recursive_mutex sg_emulator_turn;

struct sg_turn { /* one host thread at a time: it that has one of these */
    sg_turn()
    {
        sg_emulator_turn.lock();
    }
    ~sg_turn()
    {
        sg_emulator_turn.unlock();
    }
};

/* Says on standard error what is wrong and makes the device fail from now on. */
void sg_emulator_complain(cudaError_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool sg_emulator_broken(void);

/* What a call returns: its own failure, or that of the device. */
cudaError_t sg_emulator_answer(cudaError_t code = cudaSuccess);

/* The device has come to the fault of sg_emulator_break, if there is one. */
void sg_emulator_notice(void);

/* Does the work in the stream's order when its time has come. It must look itself whether the device is broken. */
void sg_emulator_queue(cudaStream_t stream, std::function<void()> work);

/* Does all that is queued. */
void sg_emulator_finish(void);

/* By sg_emulator_seed. */
uint64_t sg_emulator_random(void);

/* Device memory may be touched between these two only. */
void sg_emulator_open_memory(void);
void sg_emulator_close_memory(const char *kernel);

void sg_emulator_run(const sg_emulated_kernel &kernel, dim3 grid, dim3 block, size_t shared);
/* Is this host thread running a kernel? */
bool sg_emulator_inside(void);

#endif
