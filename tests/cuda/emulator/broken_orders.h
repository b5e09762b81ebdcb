/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TEST_BROKEN_ORDERS_H
#define SG_TEST_BROKEN_ORDERS_H

/* A program of two streams, right or with one mistake in what waits for what. */
#ifdef __cplusplus
extern "C" {
#endif

typedef enum order_mistake {
    IN_ORDER,
    FREE_IN_FLIGHT, /* no mistake: cudaFree waits */
    ORDER_MISTAKES,
    NO_WAIT = ORDER_MISTAKES, /* reads an answer that is still to come */
    WAIT_FOR_ANOTHER,         /* stream */
    NO_EVENT,                 /* between a kernel and the stream that copies its result */
    EVENT_TOO_EARLY,          /* recorded before the kernel was launched */
    ON_DEFAULT_STREAM,        /* a copy, which the others then do not wait for */
    DESK_TOO_EARLY,           /* page-locked memory gets its next contents before it was copied */
    CHANGED_TOO_EARLY,        /* device memory that another stream is still to read */
    TIMED_TOO_EARLY,          /* asks for the time between events that were not waited for */
    ORDER_PROGRAMS
} order_mistake;

/* Of an order_mistake. 0: every call succeeded and the numbers are right. With AddressSanitizer some mistakes end the process. */
int run_order(int mistake);

#ifdef __cplusplus
}
#endif

#endif
