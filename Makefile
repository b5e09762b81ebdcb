# SPDX-License-Identifier: GPL-3.0-or-later
# One non-recursive makefile. `make help` prints the targets.
#   CC=clang         another compiler            SANITIZE=address,undefined   sanitizers
#   V=1              print the commands
#   WERROR=1         warnings are errors         BUILD=dir                    where the build goes
#   CUDA=0           without CUDA                CUDA_ARCH='sm_80 compute_90' devices to build for (sm: code, compute: PTX)
SHELL := /bin/sh
.DEFAULT_GOAL := all
dry_run := $(findstring n,$(firstword -$(MAKEFLAGS)))
MAKEFLAGS += --no-builtin-rules
quiet := $(if $(V),,@)
say := $(if $(V),@:,@printf '  %-5s %s\n')

CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
CXX := $(if $(filter default,$(origin CXX)),$(if $(findstring clang,$(CC)),clang++,g++),$(CXX))
BUILD ?= build
PREFIX ?= /usr/local
VERSION := 0.1.0
GIT_HASH := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

# What is missing on this machine, by the names that cli/setup.sh gives it. The tool itself needs
# neither Check nor gnuplot nor fonts.
goals := $(or $(MAKECMDGOALS),all)
testing := check asan ubsan tsan valgrind check-cuda check-cuda-emulated check-cuda-sanitizer check-cuda-build
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

# CUDA, where its compiler and a host compiler for it are. Programs that are built with sanitizers go
# without. The runtime is linked statically, so the tool starts on a machine that has none of it.
nvcc := $(if $(filter 0,$(CUDA)),,$(if $(shell command -v g++),$(firstword \
	$(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))))
cuda := $(if $(SANITIZE),,$(nvcc))
CUDA_ARCH ?= sm_80 sm_90 compute_90
cuda_home := $(if $(nvcc),$(abspath $(dir $(realpath $(nvcc)))..))
cuda_code := $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(lastword $(subst _, ,$(a))),code=$(a))
cuda_libs := $(if $(cuda),-L$(cuda_home)/lib64 -L$(cuda_home)/lib -lcudart_static -ldl -lrt -lpthread)
# No contraction here either: a device then gives the bits that a processor gives.
NVCCFLAGS ?= -O2 -g -lineinfo
# Device code is packed: unpacked it is five times the size of all the rest.
all_nvccflags = -std=c++17 $(NVCCFLAGS) --fmad=false $(cuda_code) -Xfatbin -compress-all -Ilib -I. -MMD -MP \
	$(if $(WERROR),-Werror all-warnings) \
	-Xcompiler -fPIC,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-ffp-contract=off,-Wall,-Wextra \
	-DSG_CUDA_ARCHITECTURES='"$(CUDA_ARCH)"'

libs := $(package_libs) $(cuda_libs) -lm

x86 := $(filter x86_64%,$(shell $(CC) -dumpmachine))
# Hot loops (*.simd.c) are compiled once per instruction set and chosen at run time.
isas := portable $(if $(x86),avx2 avx512)
isa_flags_portable :=
isa_flags_avx2 := -mavx2 -mno-fma
isa_flags_avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512

cuda_absent := lib/backend/cuda/absent.c
cuda_sources := $(sort $(shell find lib -name '*.cu'))
lib_sources := $(sort $(filter-out %.simd.c $(cuda_absent),$(shell find lib -name '*.c')))
simd_sources := $(sort $(shell find lib -name '*.simd.c'))
cli_sources := $(sort $(wildcard cli/*.c))
plot_sources := $(sort $(shell find plots -name '*.c'))
check_sources := $(sort $(wildcard tests/check_*.c))
check_support := $(filter-out $(check_sources),$(sort $(wildcard tests/*.c)))

object = $(patsubst %.c,$(BUILD)/%.o,$(1))
host_objects := $(call object,$(lib_sources)) \
	$(foreach isa,$(isas),$(patsubst %.simd.c,$(BUILD)/%.$(isa).o,$(simd_sources)))
lib_objects := $(host_objects) $(if $(cuda),$(cuda_sources:%=$(BUILD)/%.o),$(call object,$(cuda_absent)))
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

$(BUILD)/%.cu.o: %.cu $(BUILD)/cuda-choice
	@mkdir -p $(@D)
	$(say) NVCC $<
	$(quiet)$(nvcc) $(all_nvccflags) -Xptxas -v -c $< -o $@ 2>$@.usage; code=$$?; \
		grep -v -e '^ptxas info' -e 'bytes stack frame' $@.usage >&2; exit $$code

# With or without CUDA, for which devices and how: what depends on it follows.
cuda_choice := $(if $(cuda),$(cuda) $(CUDA_ARCH) $(NVCCFLAGS),none)
$(BUILD)/cuda-choice: FORCE
	@mkdir -p $(@D)
	@echo '$(cuda_choice)' | cmp -s - $@ || echo '$(cuda_choice)' > $@

$(BUILD)/libsoftgate.a: $(lib_objects) $(BUILD)/cuda-choice
	@rm -f $@
	$(quiet)$(AR) rcs $@ $(lib_objects)

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

# The large version takes the experiments of notebooks-data/experiments/full and its own folder.
figures_to := figures$(if $(FULL),/full)
figures: $(BUILD)/softgate ## simulate, draw every figure and write its table into figures/ (FULL=1: large)
	$(BUILD)/softgate figure all $(if $(FULL),--full) -o $(figures_to) --format pdf,svg,png
	@echo 'The figures and the tables behind them are in $(CURDIR)/$(figures_to)'

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
		PACKAGES='$(packages)' LIBS='$(openmp) $(cuda_libs) -lm' sh cli/install.sh

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

# The tests of the CUDA backend, a program of their own, as CUDA does not survive a fork: tests/cuda/check_*.c,
# and the suites of the CPU that ask which backend is under test. The same program is made a second time
# with the emulator of tests/cuda/emulator in the place of a device; there the kernels are
# instrumented with sanitizers.
conformance := gates bandits rows light head net_policy tree
cuda_check_sources := $(sort $(wildcard tests/cuda/check_*.c)) $(conformance:%=tests/check_%.c)
cuda_check_support := $(filter-out tests/runner.c,$(check_support))
cuda_check_kernels := $(sort $(wildcard tests/cuda/*.cu))
emulator_sources := $(sort $(wildcard tests/cuda/emulator/*.cc tests/cuda/emulator/*.cu))
emulator_checks := $(sort $(wildcard tests/cuda/emulator/check_*.c))
suites_of = $(patsubst check_%.c,%,$(notdir $(1)))

$(BUILD)/tests/cuda/cuda_suites.inc $(BUILD)/emulated/cuda_suites.inc: FORCE
	@mkdir -p $(@D)
	@printf 'SUITE(%s)\n' $(call suites_of,$(cuda_check_sources) $(if $(findstring emulated,$@),$(emulator_checks))) > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/tests/cuda/runner.o: CPPFLAGS += -I$(BUILD)/tests/cuda
$(BUILD)/tests/cuda/runner.o: $(BUILD)/tests/cuda/cuda_suites.inc
$(BUILD)/tests/cuda/%.cu.o: all_nvccflags += -Itests

# An archive, so that only what these suites need is linked.
$(BUILD)/tests/cuda/support.a: $(call object,$(cuda_check_support))
	@rm -f $@
	$(quiet)$(AR) rcs $@ $^

cuda_check_objects := $(call object,tests/cuda/runner.c $(cuda_check_sources)) $(cuda_check_kernels:%=$(BUILD)/%.o)
$(BUILD)/softgate-check-cuda: $(cuda_check_objects) $(BUILD)/tests/cuda/support.a $(BUILD)/libsoftgate.a
	$(say) LINK $@
	$(quiet)$(CC) $(all_cflags) $(LDFLAGS) -o $@ $^ $(check_libs) $(libs)

emulated_sanitizers := $(if $(SANITIZE),$(SANITIZE),address,undefined)
emulated_flags = -std=c++17 -O1 -g -ffp-contract=off -fsanitize=$(emulated_sanitizers) -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -Wall -Wextra -Wno-unused-function $(if $(WERROR),-Werror) \
	-Itests/cuda/emulator -Ilib -I. -Itests -MMD -MP
$(BUILD)/emulated/%.o: %
	@mkdir -p $(@D)
	$(say) CXX '$< (emulated)'
	$(quiet)$(CXX) $(emulated_flags) -x c++ -c $< -o $@

$(BUILD)/emulated/runner.o: tests/cuda/runner.c $(BUILD)/emulated/cuda_suites.inc
	$(say) CC '$< (emulated)'
	$(quiet)$(CC) $(CPPFLAGS) $(check_cflags) -Itests -I$(BUILD)/emulated $(all_cflags) -c $< -o $@

# Mathematical functions that a device has of its own: see tests/cuda/emulator/libm.cc.
comma := ,
device_maths := $(foreach f,exp exp2 expm1 log log2 log1p sin cos tan atan tanh erf erfc tgamma lgamma pow,$(f) $(f)f) sincos
emulated_link = $(CXX) -fsanitize=$(emulated_sanitizers) $(device_maths:%=-Wl$(comma)--wrap=%) $(openmp) $(LDFLAGS)

emulated_objects := $(BUILD)/emulated/runner.o \
	$(call object,$(cuda_check_sources) $(emulator_checks)) \
	$(patsubst %,$(BUILD)/emulated/%.o,$(cuda_sources) $(cuda_check_kernels) $(emulator_sources))
$(BUILD)/softgate-check-cuda-emulated: $(emulated_objects) $(BUILD)/tests/cuda/support.a $(host_objects)
	$(say) LINK $@
	$(quiet)$(emulated_link) -o $@ $^ $(check_libs) $(package_libs) -lm

# The tool itself with the emulator in the place of a device, to try its way to the kernels by hand.
$(BUILD)/softgate-emulated: $(cli_objects) $(plot_objects) $(host_objects) \
		$(patsubst %,$(BUILD)/emulated/%.o,$(cuda_sources) $(filter %.cc,$(emulator_sources)))
	$(say) LINK $@
	$(quiet)$(emulated_link) -o $@ $^ $(package_libs) -lm

cuda_programs := $(if $(cuda),$(BUILD)/softgate $(BUILD)/softgate-check-cuda)
check-cuda-build: $(cuda_programs) ## compile and link the CUDA code and its tests, where nvcc is, and look for spills
	$(if $(cuda),@sh tests/cuda/usage.sh $(cuda_sources:%=$(BUILD)/%.o.usage),@echo 'check-cuda-build: skipped, nvcc is not installed')

run_cuda_tests = OMP_WAIT_POLICY=passive CK_FORK=no TEST_DATA=$(abspath tests) SOFTGATE=$(abspath $(BUILD)/softgate)
check-cuda: $(cuda_programs) ## run the tests of the CUDA backend on a device
	$(if $(cuda),@$(run_cuda_tests) $(BUILD)/softgate-check-cuda,@echo 'check-cuda: it needs nvcc' >&2; exit 1)

check-cuda-sanitizer: $(cuda_programs) ## run them with memcheck, racecheck and initcheck of compute-sanitizer
	@sh tests/cuda/sanitizer.sh $(BUILD)/softgate-check-cuda

emulator := $(shell command -v $(CXX))
check-cuda-emulated: $(if $(emulator),$(BUILD)/softgate-check-cuda-emulated) ## run them without a device, kernels emulated on the CPU
	$(if $(emulator),@sh tests/cuda/emulated.sh $(BUILD)/softgate-check-cuda-emulated,@echo 'check-cuda-emulated: skipped, $(CXX) is not installed')

clean: ## remove what make made
	rm -rf $(BUILD) figures

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' Makefile

.PHONY: all check setup figures bench install layering asan ubsan tsan valgrind tidy check-cuda check-cuda-build check-cuda-emulated check-cuda-sanitizer clean help FORCE
.SECONDARY:

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
