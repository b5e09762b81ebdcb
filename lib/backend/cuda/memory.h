/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_MEMORY_H
#define SG_CUDA_MEMORY_H

#include "backend/cuda/device.h"

/* For .cu files: memory and streams that free themselves when a function returns, with or without error. */

template <typename T> struct sg_cuda_array {
    T *at = nullptr;

    sg_cuda_array() = default;
    sg_cuda_array(const sg_cuda_array &) = delete;
    sg_cuda_array &operator=(const sg_cuda_array &) = delete;
    ~sg_cuda_array()
    {
        sg_cuda_free((void *)at);
    }
    sg_status alloc(size_t n, const char *what, sg_error *error)
    {
        void *pointer = nullptr;
        if (n > (size_t)-1 / sizeof(T))
            return sg_fail(error, SG_ENOMEM, "%s is larger than any memory", what);
        sg_status status = sg_cuda_alloc(&pointer, n * sizeof(T), what, error);
        at = (T *)pointer;
        return status;
    }
    sg_status from_host(size_t n, const T *host, sg_cuda_stream *stream, sg_error *error)
    {
        return sg_cuda_to_device((void *)at, host, n * sizeof(T), stream, error);
    }
    sg_status to_host(size_t n, T *host, sg_cuda_stream *stream, sg_error *error) const
    {
        return sg_cuda_from_device(host, (const void *)at, n * sizeof(T), stream, error);
    }
};

struct sg_cuda_own_stream {
    sg_cuda_stream *at = nullptr;

    sg_cuda_own_stream() = default;
    sg_cuda_own_stream(const sg_cuda_own_stream &) = delete;
    sg_cuda_own_stream &operator=(const sg_cuda_own_stream &) = delete;
    ~sg_cuda_own_stream()
    {
        sg_cuda_stream_free(at);
    }
    sg_status alloc(sg_error *error)
    {
        return sg_cuda_stream_alloc(&at, error);
    }
};

#endif
