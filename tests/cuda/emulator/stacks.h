/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_EMULATOR_STACKS_H
#define SG_EMULATOR_STACKS_H

#include <stddef.h>
#include <stdint.h>

/* Going from one stack to another. swapcontext does it anywhere, with two system calls, and under
 * AddressSanitizer with a sweep over the stack; a few instructions do it on x86-64. */
#if defined(__x86_64__)

struct sg_stack {
    void *pointer;
};

extern "C" void sg_stack_change(void **from, void *to);
__asm__(".text\n"
        ".type sg_stack_change, @function\n"
        "sg_stack_change:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size sg_stack_change, . - sg_stack_change\n");

static inline void sg_stack_switch(sg_stack *from, const sg_stack *to)
{
    sg_stack_change(&from->pointer, to->pointer);
}

/* The stack as if `entry` were about to be called: six registers, where to return to, and nothing
 * above. entry must not return. */
static inline void sg_stack_start(sg_stack *stack, char *memory, size_t size, void (*entry)(void))
{
    uintptr_t top = ((uintptr_t)memory + size) & ~(uintptr_t)15;
    void **words = (void **)top;
    words[-1] = nullptr;
    words[-2] = (void *)entry;
    for (int i = 3; i <= 8; i++)
        words[-i] = nullptr;
    stack->pointer = words - 8;
}

#else

#include <ucontext.h>

struct sg_stack {
    ucontext_t context;
};

static inline void sg_stack_switch(sg_stack *from, const sg_stack *to)
{
    swapcontext(&from->context, &to->context);
}

static inline void sg_stack_start(sg_stack *stack, char *memory, size_t size, void (*entry)(void))
{
    getcontext(&stack->context);
    stack->context.uc_stack.ss_sp = memory;
    stack->context.uc_stack.ss_size = size;
    stack->context.uc_link = nullptr;
    makecontext(&stack->context, entry, 0);
}

#endif

#endif
