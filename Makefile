# SPDX-License-Identifier: GPL-3.0-or-later
# One non-recursive makefile. `make help` prints the targets.
#   CC=clang         another compiler            SANITIZE=address,undefined   sanitizers
#   V=1              print the commands
#   WERROR=1         warnings are errors         BUILD=dir                    where the build goes
SHELL := /bin/sh
.DEFAULT_GOAL := all
dry_run := $(findstring n,$(firstword -$(MAKEFLAGS)))
MAKEFLAGS += --no-builtin-rules
quiet := $(if $(V),,@)
say := $(if $(V),@:,@printf '  %-5s %s\n')

CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
BUILD ?= build
PREFIX ?= /usr/local
VERSION := 0.1.0
GIT_HASH := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# What is missing on this machine, by the names that cli/setup.sh gives it. The tool itself needs
# neither Check nor gnuplot nor fonts.
goals := $(or $(MAKECMDGOALS),all)
testing := check asan ubsan tsan valgrind
setup := CC='$(CC)' sh cli/setup.sh
missing := $(if $(filter-out setup clean help,$(goals)),$(shell $(setup) --missing))
missing := $(filter-out $(if $(filter setup figures,$(goals)),,gnuplot fonts) \
	$(if $(filter setup $(testing),$(goals)),,check),$(missing))
ifneq ($(missing),)
ifeq ($(filter setup,$(goals)),)
$(error softgate needs $(missing): run 'make setup' first, which installs what is missing)
endif
# `make setup figures` on a new machine: the flags below come from what setup installs. Make reads
# itself again after it had to make a file that it includes, so install as part of such a file.
ifeq ($(dry_run),)
include $(BUILD)/setup.mk
$(BUILD)/setup.mk: FORCE
	@$(setup)
	@mkdir -p $(@D) && echo '# packages are installed' > $@
endif
endif

packages := gsl json-c libcyaml yaml-0.1 libzip zlib
package_cflags := $(shell pkg-config --cflags $(packages) 2>/dev/null)
package_libs := $(shell pkg-config --libs $(packages) 2>/dev/null)
check_cflags := $(shell pkg-config --cflags check 2>/dev/null)
check_libs := $(shell pkg-config --libs check 2>/dev/null)

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
VISIBILITY ?= hidden
all_cflags = -std=c11 $(CFLAGS) $(float_flags) $(warnings) $(openmp) $(if $(openmp),,-Wno-unknown-pragmas) \
	$(sanitize) -MMD -MP -fvisibility=$(VISIBILITY)
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

# Version and commit are compiled into one object, which follows them.
$(BUILD)/cli/build_info.o: CPPFLAGS += -DSG_VERSION='"$(VERSION)"' -DSG_GIT_HASH='"$(GIT_HASH)"'
$(BUILD)/cli/build_info.o: $(BUILD)/identity
$(BUILD)/identity: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION) $(GIT_HASH)' | cmp -s - $@ || echo '$(VERSION) $(GIT_HASH)' > $@

$(BUILD)/libsoftgate.a: $(lib_objects)
	@rm -f $@
	$(quiet)$(AR) rcs $@ $^

$(BUILD)/softgate: $(cli_objects) $(plot_objects) $(BUILD)/libsoftgate.a
	$(say) LINK $@
	$(quiet)$(CC) $(all_cflags) $(LDFLAGS) -o $@ $^ $(libs)

# One test program: tests/check_NAME.c defines NAME_suite(), tests/suites.inc lists them.
$(BUILD)/tests/suites.inc: FORCE
	@mkdir -p $(@D)
	@printf 'SUITE(%s)\n' $(patsubst tests/check_%.c,%,$(check_sources)) > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/tests/runner.o: $(BUILD)/tests/suites.inc
$(BUILD)/tests/%.o: CPPFLAGS += $(check_cflags) -Itests -I$(BUILD)/tests

$(BUILD)/softgate-check: $(call object,$(check_sources) $(check_support)) $(plot_objects) $(BUILD)/libsoftgate.a
	$(say) LINK $@
	$(quiet)$(CC) $(all_cflags) $(LDFLAGS) -o $@ $^ $(check_libs) $(libs)

check: $(BUILD)/softgate-check $(BUILD)/softgate ## build and run every test (CK_RUN_SUITE=name for one suite)
	@OMP_WAIT_POLICY=passive SOFTGATE=$(abspath $(BUILD)/softgate) TEST_DATA=$(abspath tests) $(if $(SANITIZE),CK_FORK=no) $(BUILD)/softgate-check

setup: ## install what is missing with the system's package manager
	@$(if $(MAKE_RESTARTS),:,$(setup))

figures: $(BUILD)/softgate ## simulate, draw every figure and write its table into figures/
	$(BUILD)/softgate figure all -o figures --format pdf,svg,png
	@echo 'The figures and the tables behind them are in $(CURDIR)/figures'

bench: $(BUILD)/softgate ## measure the workloads beside this machine's own limits
	$(BUILD)/softgate bench

# The shared library is compiled apart, position independent. Outside, only sg_* can be seen.
soname := libsoftgate.so.$(firstword $(subst ., ,$(VERSION)))
$(BUILD)/$(soname): $(lib_objects)
	@echo '{ global: sg_*; local: *; };' > $@.map
	$(say) LINK $@
	$(quiet)$(CC) $(all_cflags) $(LDFLAGS) -shared -Wl,-soname,$(soname) -Wl,--version-script,$@.map \
		-o $@ $^ $(libs)

install: $(BUILD)/softgate ## install tool, library, headers, manual, completion (PREFIX=, DESTDIR=)
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/pic CFLAGS='$(CFLAGS) -fPIC' VISIBILITY=default $(BUILD)/pic/$(soname)
	@BUILD='$(BUILD)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' VERSION='$(VERSION)' SONAME='$(soname)' \
		PACKAGES='$(packages)' LIBS='$(openmp) -lm' sh cli/install.sh

layering: ## check that no folder includes one that lies above it
	@sh tests/layering.sh

asan: ## run the tests with AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory SANITIZE=address,undefined BUILD=$(BUILD)/asan check

ubsan: ## run the tests with UndefinedBehaviorSanitizer alone
	@$(MAKE) --no-print-directory SANITIZE=undefined BUILD=$(BUILD)/ubsan check

# With clang: the OpenMP of gcc is not instrumented, which gives false reports.
tsan: ## run the tests with ThreadSanitizer
	@if ! command -v clang >/dev/null; then echo 'tsan: skipped, clang is not installed'; else \
		TSAN_OPTIONS=ignore_noninstrumented_modules=1 \
		$(MAKE) --no-print-directory CC=clang SANITIZE=thread BUILD=$(BUILD)/tsan check; fi

# Only what valgrind itself finds counts: it computes long double in double, which moves the
# references of some tests. Leaks are the business of asan.
valgrind: $(BUILD)/softgate-check $(BUILD)/softgate ## run the tests with valgrind
	@if ! command -v valgrind >/dev/null; then echo 'valgrind: skipped, it is not installed'; else \
		SOFTGATE=$(abspath $(BUILD)/softgate) TEST_DATA=$(abspath tests) CK_FORK=no \
		valgrind -q --error-exitcode=99 --leak-check=no $(BUILD)/softgate-check; test $$? -ne 99; fi

tidy: ## look for mistakes with clang-tidy
	@if ! command -v clang-tidy >/dev/null; then echo 'tidy: skipped, clang-tidy is not installed'; else \
		clang-tidy --quiet $(lib_sources) $(plot_sources) $(cli_sources) -- \
		-std=c11 $(CPPFLAGS) $(package_cflags); fi

# Device code is compiled, not linked, where there is a CUDA compiler.
nvcc := $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA_ARCH ?= sm_80
cuda_sources := $(sort $(shell find lib tests -name '*.cu'))
$(BUILD)/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(say) NVCC $<
	$(quiet)$(nvcc) -arch=$(CUDA_ARCH) -std=c++17 -O2 --fmad=false -Ilib -I. -MMD -c $< -o $@

cuda-objects: $(if $(nvcc),$(cuda_sources:%=$(BUILD)/%.o)) ## compile the device code where nvcc is
	$(if $(nvcc),,@echo 'cuda-objects: skipped, nvcc is not installed')

clean: ## remove what make made
	rm -rf $(BUILD) figures

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

.PHONY: all check setup figures bench install layering asan ubsan tsan valgrind tidy cuda-objects clean help FORCE
.SECONDARY:

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
