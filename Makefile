# SPDX-License-Identifier: GPL-2.0-or-later
# pawsd: `sudo make demo` shows it, `sudo make check` tests it, `make` builds it. See README.md.

VERSION := 0.1.0

PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/pawsd
SYSCONFDIR ?= /etc
UNITDIR ?= /usr/lib/systemd/system
SYSUSERSDIR ?= /usr/lib/sysusers.d

BUILD ?= build
CC ?= cc
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
ALL_CFLAGS := -std=gnu11 $(WARNINGS) $(CFLAGS) -fno-strict-aliasing -pthread -Iinclude \
	-D_GNU_SOURCE -DPAWSD_VERSION='"$(VERSION)"'
ifneq ($(SANITIZE),)
BUILD := build-$(subst $(comma),-,$(SANITIZE))
ALL_CFLAGS += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=$(SANITIZE)
endif
comma := ,

CORE := $(patsubst src/core/%.c,$(BUILD)/core/%.o,$(wildcard src/core/*.c))
DAEMON := $(patsubst src/daemon/%.c,$(BUILD)/daemon/%.o,$(wildcard src/daemon/*.c))
DAEMON_LIB := $(filter-out $(BUILD)/daemon/main.o,$(DAEMON))
SNAPSHOT := $(BUILD)/tools/snapshot.o $(BUILD)/tools/tables.o
PROGRAMS := $(BUILD)/pawsd $(BUILD)/pawsctl $(BUILD)/pawsd-exporter

DAEMON_LIBS := -lnetfilter_queue -lnfnetlink -lmnl -liniparser
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
TEST_TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tests/%,$(wildcard tests/tools/*.c))

all: $(PROGRAMS)
