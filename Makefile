# SPDX-License-Identifier: GPL-2.0-or-later
# pawsd: `sudo make demo` shows it, `sudo make check` tests it, `make` builds it. See README.md.

VERSION := 0.1.0

PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
DOCDIR ?= $(PREFIX)/share/doc/pawsd
DATADIR ?= $(PREFIX)/share/pawsd
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d

# `make SANITIZE=address,undefined ...` builds and tests in a folder of its own.
comma := ,
BUILD ?= build$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))
SANITIZE_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
CC ?= cc
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(CPPFLAGS) $(CFLAGS) $(SANITIZE_FLAGS) -fno-strict-aliasing -pthread -MMD -MP \
	-Iinclude -Isrc/daemon -D_GNU_SOURCE -DPAWSD_VERSION='"$(VERSION)"'
ALL_LDFLAGS = $(LDFLAGS) $(SANITIZE_FLAGS) -pthread

objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)))
CORE := $(call objects,src/core/*.c)
DAEMON := $(call objects,src/daemon/*.c)

# The fast path: programs for the kernel, which pawsd holds. Without clang or libbpf it is built without.
BPF_CLANG ?= clang
WITH_FASTPATH ?= $(if $(shell command -v $(BPF_CLANG)),$(if $(wildcard /usr/include/bpf/libbpf.h),yes,no),no)
BPF := $(BUILD)/src/bpf/fastpath.bpf.o
FASTPATH_KERNEL := $(patsubst %,$(BUILD)/src/daemon/fastpath_%.o,kernel attach hazards pins policy_map programs try)
ifeq ($(WITH_FASTPATH),yes)
DAEMON := $(filter-out %/fastpath_missing.o,$(DAEMON)) $(BUILD)/src/daemon/fastpath_object.o
else
DAEMON := $(filter-out $(FASTPATH_KERNEL),$(DAEMON))
endif
LIBRARY := $(BUILD)/libpawsd.a
TABLES := $(patsubst %,$(BUILD)/src/core/%.o,reason flow diagnosis_judge) $(BUILD)/src/daemon/metrics_table.o
ANSWERS := $(call objects,src/tools/snapshot*.c src/tools/records.c)
SNAPSHOT := $(ANSWERS) $(TABLES)
PROGRAMS := $(BUILD)/pawsd $(BUILD)/pawsctl $(BUILD)/pawsd-exporter

DAEMON_LIBS := -lnetfilter_queue -lnfnetlink -lmnl -liniparser -lcap-ng -lseccomp $(if $(filter yes,$(WITH_FASTPATH)),-lbpf)
TEST_LIBS := $(DAEMON_LIBS) -lcmocka -lpcap -ljansson -lbpf
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tests/%,$(wildcard tests/tools/*.c))
# A tool whose folder tests/tools/NAME exists is linked with what is in there.
parts = $(call objects,tests/tools/$(1)/*.c)
# What else it is linked with, of another's.
FRONT := $(BUILD)/tests/fastpath/front.o $(BUILD)/tests/fastpath/front_wan.o
BORROWED_replay := $(FRONT)
BORROWED_test_fastpath_programs := $(FRONT)
BORROWED_test_fastpath_wan := $(FRONT)
BORROWED_handcap := $(call objects,tests/tools/replay/text.c tests/tools/replay/segment.c tests/tools/replay/build.c)

# The simulator: its own program, whose head (tests/sim/main.c) says how it is built.
SIM := $(BUILD)/tests/sim
SEED ?= 1
SIM_FASTPATH = $(if $(FASTPATH),--fastpath $(BPF)$(if $(filter wan,$(FASTPATH)), --side wan))

MANUALS := $(patsubst man/%.in,$(BUILD)/man/%,$(wildcard man/*.in))
UNITS := $(patsubst systemd/%.in,$(BUILD)/systemd/%,$(wildcard systemd/*.in))

.PHONY: all manuals units
all: $(PROGRAMS) manuals units
manuals: $(MANUALS)
units: $(UNITS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

BPF_MULTIARCH := $(shell $(BPF_CLANG) -print-multiarch 2>/dev/null)
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -ffreestanding -fno-strict-aliasing -std=gnu11 -Wall -Wextra -Wno-unused-function \
	-ffile-prefix-map=$(CURDIR)=. -Isrc/bpf/freestanding -Iinclude -I/usr/include/$(BPF_MULTIARCH) \
	$(if $(filter x86_64-%,$(BPF_MULTIARCH)),-D__TARGET_ARCH_x86)
$(BPF): src/bpf/fastpath.bpf.c
	@mkdir -p $(@D)
	$(BPF_CLANG) $(BPF_CFLAGS) $(filter -Werror,$(CFLAGS)) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<

$(BUILD)/src/daemon/fastpath_object.o: src/daemon/fastpath_object.S $(BPF)
	$(CC) $(CPPFLAGS) -DFASTPATH_OBJECT='"$(BPF)"' -c -o $@ $<

$(LIBRARY): $(CORE) $(filter-out $(BUILD)/src/daemon/main.o,$(DAEMON))
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/pawsd: $(BUILD)/src/daemon/main.o $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

# The engine, the diagnosis and the reader of configurations are the daemon's own.
PAWSCTL := $(call objects,src/tools/pawsctl*.c src/tools/analysis.c src/tools/capture.c src/tools/findings.c src/tools/plot.c \
	src/tools/top_view.c)
$(BUILD)/pawsctl: $(PAWSCTL) $(ANSWERS) $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -Wl,--as-needed -o $@ $^ -ljansson -lpcap -lncursesw -ltinfo $(DAEMON_LIBS)

$(BUILD)/pawsd-exporter: $(call objects,src/tools/exporter*.c) $(SNAPSHOT)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lmicrohttpd

# The manual's lists of reasons, states, options and metrics come from the tables themselves.
$(BUILD)/mantables: $(BUILD)/src/tools/mantables.o $(BUILD)/src/daemon/config_options.o $(TABLES)
	$(CC) $(ALL_LDFLAGS) -o $@ $^

$(BUILD)/man/%: man/%.in $(BUILD)/mantables
	@mkdir -p $(@D)
	$(BUILD)/mantables <$< >$@.new && mv $@.new $@

# Always: another `make` may have had another PREFIX.
$(BUILD)/systemd/%: systemd/%.in FORCE
	@mkdir -p $(@D)
	@sed 's,@SBINDIR@,$(SBINDIR),g; s,@BINDIR@,$(BINDIR),g; s,@SYSCONFDIR@,$(SYSCONFDIR),g' $< >$@
.PHONY: FORCE
FORCE:

.SECONDEXPANSION:
# A unit test of a part of the tools is named for it: test_top_view.
tool = $(patsubst %.c,$(BUILD)/%.o,$(wildcard src/tools/$(patsubst test_%,%,$(1)).c))
$(UNIT_TESTS): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $$(filter-out $(ANSWERS),$$(call tool,%)) $$(BORROWED_%) $(ANSWERS) $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TEST_LIBS)

$(TEST_TOOLS): $(BUILD)/tests/%: $(BUILD)/tests/tools/%.o $$(call parts,%) $$(BORROWED_%) $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TEST_LIBS)

# Not beside the program, which has the name of its folder.
SIM_OBJECTS := $(patsubst tests/sim/%.c,$(BUILD)/tests/objects/sim/%.o,$(wildcard tests/sim/*.c))
$(SIM_OBJECTS): $(BUILD)/tests/objects/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(SIM): $(SIM_OBJECTS) $(FRONT) $(BUILD)/src/tools/analysis.o $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lbpf

$(BUILD)/tests/test_fastpath_programs $(BUILD)/tests/test_fastpath_wan: | $(BPF)

# Another time of day for the daemon under soak: preloaded, so with nothing of sanitizers in it.
TIMESHIFT := $(BUILD)/tests/timeshift.so
$(TIMESHIFT): tests/soak/timeshift.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARNINGS) -O2 -fPIC -shared -D_GNU_SOURCE -o $@ $< -ldl

BENCH_TOOLS := $(patsubst tests/bench/%.c,$(BUILD)/tests/%,$(wildcard tests/bench/*.c))
$(BENCH_TOOLS): $(BUILD)/tests/%: $(BUILD)/tests/bench/%.o $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

# A fuzz target is tests/fuzz/fuzz_NAME.c and what all have in common. libFuzzer drives it ("make
# fuzz"), or replay_main.c, which runs it over its corpus; that needs no clang.
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(filter-out %/fuzz_engine.c,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_COMMON := $(call objects,tests/fuzz/*.c)
FUZZ_COMMON := $(filter-out $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz/fuzz_%.o) %/replay_main.o,$(FUZZ_COMMON)) \
	$(ANSWERS) $(BUILD)/src/tools/exporter_text.o
FUZZ_PROGRAMS := $(FUZZ_TARGETS:%=$(BUILD)/fuzz/%)
REPLAY_PROGRAMS := $(FUZZ_TARGETS:%=$(BUILD)/corpus/%)

$(FUZZ_PROGRAMS): $(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/fuzz_%.o $(FUZZ_COMMON) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(DAEMON_LIBS)

$(REPLAY_PROGRAMS): $(BUILD)/corpus/%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay_main.o $(FUZZ_COMMON) \
		$(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(DAEMON_LIBS)

.PHONY: unit-tests test-programs fuzz-programs
unit-tests: $(UNIT_TESTS)
test-programs: $(UNIT_TESTS) $(TEST_TOOLS) $(TIMESHIFT) $(SIM) $(REPLAY_PROGRAMS) $(BENCH_TOOLS) $(BPF)
fuzz-programs: $(FUZZ_PROGRAMS)

-include $(shell find $(BUILD) -path '$(BUILD)/deb*' -prune -o -type f -name '*.d' -print 2>/dev/null)

# What `make` needs, and what the tests and the demo need besides (Debian's names).
BUILD_PACKAGES := gcc clang libc6-dev libbpf-dev libmnl-dev libnetfilter-queue-dev libnfnetlink-dev libiniparser-dev \
	libjansson-dev libpcap-dev libmicrohttpd-dev libseccomp-dev libcap-ng-dev libncurses-dev
RUN_PACKAGES := iptables ipset nftables iproute2
TEST_PACKAGES := libcmocka-dev iperf3 tcpdump gnuplot-nox ethtool curl jq procps socat systemd valgrind bpftool
LINT_PACKAGES := clang clang-tidy cppcheck mandoc shellcheck systemd universal-ctags

$(BUILD)/promtool:
	@mkdir -p $(@D)
	tools/fetch-promtool $@

BENCH_PACKAGES := bsdextrautils
KERNEL_PACKAGES := qemu-system-x86 busybox-static conntrack systemd
FUZZ_PACKAGES := clang libclang-rt-dev llvm
DEB_PACKAGES := debhelper dpkg-dev lintian
DEB_TEST_PACKAGES := mmdebstrap e2fsprogs qemu-system-x86 binutils

.PHONY: deps test-deps lint-deps kernel-deps bench-deps fuzz-deps
deps:
	@tools/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES)
test-deps:
	@tools/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES)
kernel-deps:
	@tools/install-packages $(KERNEL_PACKAGES)
bench-deps:
	@tools/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES) $(BENCH_PACKAGES)
fuzz-deps:
	@tools/install-packages $(BUILD_PACKAGES) $(FUZZ_PACKAGES)
lint-deps:
	@tools/install-packages $(BUILD_PACKAGES) $(TEST_PACKAGES) $(LINT_PACKAGES) $(DEB_PACKAGES)

.PHONY: demo check check-unit check-netns check-kernels bench bench-engine coverage mutants fuzz lint
demo: test-deps
	@$(MAKE) -s --no-print-directory all test-programs
	@tests/netns/demo.sh $(BUILD)

check: test-deps
	@$(MAKE) -s --no-print-directory all test-programs $(BUILD)/promtool
	@tests/run $(BUILD) unit replay sim corpus tools netns

check-unit:
	@$(MAKE) -s --no-print-directory all test-programs
	@tests/run $(BUILD) unit replay sim corpus tools

# The simulator: the sixteen worlds of a seed, or one by its number; and many, some 10 million packets through pawsd.
# PACKETS: of each world.
.PHONY: sim sim-long
sim:
	@$(MAKE) -s --no-print-directory $(SIM) $(if $(FASTPATH),$(BPF))
	@$(SIM) $(if $(WORLD),--world $(WORLD),--seed $(SEED)) $(if $(PACKETS),--packets $(PACKETS)) $(SIM_FASTPATH)
sim-long:
	@$(MAKE) -s --no-print-directory $(SIM) $(if $(FASTPATH),$(BPF))
	@$(SIM) --long --seed $(SEED) $(if $(PACKETS),--packets $(PACKETS)) $(SIM_FASTPATH)

# One namespace test: make check-netns TEST=strip. With the fast path on: FASTPATH=yes.
check-netns: test-deps
	@$(MAKE) -s --no-print-directory all test-programs
	@$(if $(FASTPATH),PAWSD_FASTPATH=auto) tests/run $(BUILD) $(or $(TEST),netns)

# Traffic of thousands of flows and faults at random, for MINUTES; what a run injected is repeated with its SEED:
# sudo make soak MINUTES=60 [SEED=n] [FAULTS="kill9 reload"].
.PHONY: soak
MINUTES ?= 5
soak: test-deps
	@$(MAKE) -s --no-print-directory all test-programs
	@MINUTES=$(MINUTES) SEED=$(if $(filter command environment,$(origin SEED)),$(SEED)) tests/soak/run $(BUILD)

# On Debian's own kernels under qemu: nft's queue statement, both placements, loss and reordering, conntrack, two pools;
# and the units under a real systemd.
# KERNELS="linux-image-cloud-amd64/trixie-backports" names others (tests/kernels/run), PARTS=netem a part.
KERNELS ?= stock newest
check-kernels: test-deps kernel-deps
	@$(MAKE) -s --no-print-directory all test-programs
	@PARTS=$(PARTS) tests/kernels/run $(BUILD) $(KERNELS)

# How fast packets are forwarded, side by side with plain NAT and others: sudo make bench ROUNDS=5 LOADS="rr crr".
bench: bench-deps
	@$(MAKE) -s --no-print-directory all test-programs
	@tests/bench/forward.sh $(BUILD)
	@tests/bench/scale.sh $(BUILD)
	@tests/bench/report.sh $(BUILD)

# Instructions a packet and bytes a flow, held to their limits.
bench-engine: bench-deps
	@$(MAKE) -s --no-print-directory $(BUILD)/tests/bench_engine
	@tests/bench/run $(BUILD)

# How much of the core the tests reach, in a build of its own. A group that tests/run does not know is left out.
COVERAGE_GROUPS = unit replay $(shell sed -nE 's/^\t(corpus|sim).*/\1/p' tests/run)
coverage: test-deps
	@$(MAKE) -s --no-print-directory BUILD=build-coverage CC=gcc CFLAGS='-O0 -g --coverage' \
		LDFLAGS=--coverage test-programs
	@find build-coverage -name '*.gcda' -delete
	@tests/run build-coverage $(COVERAGE_GROUPS)
	@tests/coverage build-coverage

# The pictures of README.md.
.PHONY: pictures
pictures: test-deps
	@$(MAKE) -s --no-print-directory all test-programs
	@tests/pictures.sh $(BUILD)

# Whether the tests notice mistakes in the core: all of tests/mutants/list, or `make mutants MUTANT=lead_unbounded`.
mutants: test-deps
	@tests/mutants/run $(BUILD) $(MUTANT)

# Every target, or `make fuzz SECONDS=60 TARGET=packet`; what is found is kept in build-fuzz/.
SECONDS ?= 60
fuzz: fuzz-deps
	@$(MAKE) -s --no-print-directory BUILD=build-fuzz CC=clang CFLAGS='-O1 -g' \
		SANITIZE=fuzzer-no-link,address,undefined fuzz-programs
	@tests/fuzz/run build-fuzz $(SECONDS) $(or $(TARGET),$(FUZZ_TARGETS))

lint: lint-deps
	@$(MAKE) -s --no-print-directory all test-programs $(BUILD)/promtool
	@tests/lint/run $(BUILD)

# Debian packages of the tree as it is, in $(BUILD)/deb; and what they do on a system made for that, under qemu.
.PHONY: deb check-deb deb-deps
deb-deps:
	@tools/install-packages $(BUILD_PACKAGES) $(DEB_PACKAGES)
deb: deb-deps
	@tools/build-deb $(BUILD)/deb
check-deb: test-deps deb
	@tools/install-packages $(DEB_TEST_PACKAGES)
	@$(MAKE) -s --no-print-directory test-programs
	@tests/deb/run $(BUILD)

.PHONY: conf
conf: $(BUILD)/pawsd
	$(BUILD)/pawsd --print-defaults > conf/pawsd.conf

.PHONY: install
install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(SYSCONFDIR)/pawsd $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(TMPFILESDIR) $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(DOCDIR) \
		$(DESTDIR)$(DATADIR)
	install -m 0755 $(BUILD)/pawsd $(BUILD)/pawsctl $(DESTDIR)$(SBINDIR)
	install -m 0755 $(BUILD)/pawsd-exporter $(DESTDIR)$(BINDIR)
	test -e $(DESTDIR)$(SYSCONFDIR)/pawsd/pawsd.conf || \
		install -m 0644 conf/pawsd.conf $(DESTDIR)$(SYSCONFDIR)/pawsd/pawsd.conf
	install -m 0644 $(BUILD)/man/*.5 $(DESTDIR)$(MANDIR)/man5
	install -m 0644 $(BUILD)/man/*.8 $(DESTDIR)$(MANDIR)/man8
	install -m 0644 $(BUILD)/systemd/*.service $(DESTDIR)$(UNITDIR)
	install -m 0644 systemd/fastpath.conf $(DESTDIR)$(DATADIR)
	install -m 0644 systemd/pawsd.sysusers $(DESTDIR)$(SYSUSERSDIR)/pawsd.conf
	install -m 0644 systemd/pawsd.tmpfiles $(DESTDIR)$(TMPFILESDIR)/pawsd.conf
	install -m 0644 README.md NEWS conf/pawsd.conf $(DESTDIR)$(DOCDIR)
	cp -R conf/examples $(DESTDIR)$(DOCDIR)
	chmod -R u=rwX,go=rX $(DESTDIR)$(DOCDIR)/examples
	install -m 0644 conf/prometheus-alerts.yml conf/grafana-dashboard.json $(DESTDIR)$(DOCDIR)
	install -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR)
	$(BUILD)/pawsctl --completion bash >$(DESTDIR)$(BASHDIR)/pawsctl
	$(BUILD)/pawsctl --completion zsh >$(DESTDIR)$(ZSHDIR)/_pawsctl

.PHONY: clean
clean:
	rm -rf build build-*
