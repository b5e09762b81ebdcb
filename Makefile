# SPDX-License-Identifier: GPL-3.0-or-later
# One non-recursive makefile. `make help` prints the targets.
#   CC=clang         another compiler            SANITIZE=address,undefined   sanitizers
#   V=1              print the commands
#   WERROR=1         warnings are errors         BUILD=dir                    where the build goes
SHELL := /bin/sh
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
quiet := $(if $(V),,@)
say := $(if $(V),@:,@printf '  %-5s %s\n')

CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
BUILD ?= build
PREFIX ?= /usr/local
VERSION := 0.1.0
GIT_HASH := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

packages := gsl json-c libcyaml libzip zlib
have_packages := $(shell pkg-config --exists $(packages) 2>/dev/null && echo yes)
ifeq ($(have_packages),yes)
package_cflags := $(shell pkg-config --cflags $(packages))
package_libs := $(shell pkg-config --libs $(packages))
check_cflags := $(shell pkg-config --cflags check)
check_libs := $(shell pkg-config --libs check)
endif

warnings := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wold-style-definition \
	$(if $(WERROR),-Werror)
# No contraction into FMA: results are the same bits on every instruction set. Without errno and
# trapping maths nothing that concerns NaN or infinity changes.
float_flags := -fno-math-errno -fno-trapping-math -ffp-contract=off
openmp := $(shell echo 'int main(void) { return 0; }' | \
	$(CC) -fopenmp -x c - -o /dev/null 2>/dev/null && echo -fopenmp)
sanitize := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
CPPFLAGS += -Ilib -I. -D_GNU_SOURCE -DGSL_RANGE_CHECK_OFF -DHAVE_INLINE
CFLAGS ?= -O2 -g
all_cflags = -std=c11 $(CFLAGS) $(float_flags) $(warnings) $(openmp) $(if $(openmp),,-Wno-unknown-pragmas) \
	$(sanitize) -MMD -MP -fvisibility=hidden
libs := $(package_libs) -lm

x86 := $(filter x86_64%,$(shell $(CC) -dumpmachine))
# Hot loops (*.simd.c) are compiled once per instruction set and chosen at run time.
isas := portable $(if $(x86),avx2 avx512)
isa_flags_portable :=
isa_flags_avx2 := -mavx2 -mno-fma
isa_flags_avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512

lib_sources := $(sort $(filter-out %.simd.c,$(shell find lib -name '*.c')))
simd_sources := $(sort $(shell find lib -name '*.simd.c'))
cli_sources := $(sort $(wildcard cli/*.c))
plot_sources := $(sort $(shell find plots -name '*.c'))
check_sources := $(sort $(wildcard tests/check_*.c))
check_support := $(filter-out $(check_sources),$(sort $(wildcard tests/*.c)))

object = $(patsubst %.c,$(BUILD)/%.o,$(1))
lib_objects := $(call object,$(lib_sources)) \
	$(foreach isa,$(isas),$(patsubst %.simd.c,$(BUILD)/%.$(isa).o,$(simd_sources)))
plot_objects := $(call object,$(plot_sources))
cli_objects := $(call object,$(cli_sources))

all: $(BUILD)/softgate ## build the tool at build/softgate

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(quiet)$(CC) $(CPPFLAGS) $(package_cflags) $(all_cflags) -c $< -o $@

define simd_rule
$(BUILD)/%.$(1).o: %.simd.c
	@mkdir -p $$(@D)
	$(say) CC '$$< ($(1))'
	$(quiet)$$(CC) $$(CPPFLAGS) $$(package_cflags) $$(all_cflags) -O3 $$(isa_flags_$(1)) -DSG_ISA=$(1) -c $$< -o $$@
endef
$(foreach isa,$(isas),$(eval $(call simd_rule,$(isa))))

$(BUILD)/libsoftgate.a: $(lib_objects)
	@rm -f $@
	$(quiet)$(AR) rcs $@ $^

$(BUILD)/softgate: $(cli_objects) $(plot_objects) $(BUILD)/libsoftgate.a
	$(say) LINK $@
	$(quiet)$(CC) $(all_cflags) $(LDFLAGS) -o $@ $^ $(libs)

# One test program: tests/check_NAME.c defines NAME_suite(), tests/suites.inc lists them.
$(BUILD)/tests/suites.inc: $(check_sources)
	@mkdir -p $(@D)
	@printf 'SUITE(%s)\n' $(patsubst tests/check_%.c,%,$(check_sources)) > $@

$(BUILD)/tests/runner.o: $(BUILD)/tests/suites.inc
$(BUILD)/tests/%.o: CPPFLAGS += $(check_cflags) -Itests -I$(BUILD)/tests

$(BUILD)/softgate-check: $(call object,$(check_sources) $(check_support)) $(plot_objects) $(BUILD)/libsoftgate.a
	$(say) LINK $@
	$(quiet)$(CC) $(all_cflags) $(LDFLAGS) -o $@ $^ $(check_libs) $(libs)

check: $(BUILD)/softgate-check $(BUILD)/softgate ## build and run every test (CK_RUN_SUITE=name for one suite)
	SOFTGATE=$(abspath $(BUILD)/softgate) TEST_DATA=$(abspath tests) $(if $(SANITIZE),CK_FORK=no) $(BUILD)/softgate-check

clean: ## remove what make made
	rm -rf $(BUILD) figures

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: all check clean help
.SECONDARY:

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
