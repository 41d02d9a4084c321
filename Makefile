# snbridge. `make help` lists what there is.

VERSION  := 0.1.0
BUILD    ?= build
CC       ?= cc
PREFIX   ?= /usr/local
DESTDIR  ?=

# Set SANITIZE=address,undefined for a checked build in a folder of its own.
ifdef SANITIZE
BUILD    := build/$(subst $(comma),-,$(SANITIZE))
SANFLAGS := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
comma := ,

CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef -Wswitch-enum
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -DSNBRIDGE_VERSION='"$(VERSION)"' -I. $(WARNINGS) $(CFLAGS) $(SANFLAGS) -pthread -MMD -MP
LIBS     := -lpaho-mqtt3as -lssl -lcrypto $(shell pkg-config --libs libserialport inih sqlite3 2>/dev/null) -lm -pthread

# noun.c is core; noun_technology.c, loop.c, control.c and main.c are edge.
EDGE     := $(wildcard radio/link_*.c) \
            $(wildcard bridge/broker_*.c bridge/store_*.c bridge/config_*.c bridge/loop.c bridge/control.c bridge/main.c) \
            $(wildcard sim/realtime.c sim/main.c)
MAINS    := $(wildcard bridge/main.c sim/main.c)
CORE     := $(filter-out $(EDGE),$(wildcard mqttsn/*.c radio/*.c bridge/*.c sim/*.c))
objects   = $(patsubst %.c,$(BUILD)/%.o,$(1))

MQTTSN_O := $(call objects,$(wildcard mqttsn/*.c))
RADIO_O  := $(call objects,$(wildcard radio/*.c))
BRIDGE_O := $(call objects,$(filter-out $(MAINS),$(wildcard bridge/*.c)))
TOOLS_O  := $(call objects,$(filter-out tools/sn%,$(wildcard tools/*.c)))

PROGRAMS := $(if $(wildcard bridge/main.c),$(BUILD)/snbridge) \
            $(patsubst tools/%.c,$(BUILD)/%,$(wildcard tools/sn*.c)) \
            $(if $(wildcard sim/main.c),$(BUILD)/snsim)
TESTS    := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
BENCHES  := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/bench_*.c))

.PHONY: all deps demo test unit e2e check bench fuzz fmt lint install clean help
.SECONDARY:

all: $(PROGRAMS) $(BUILD)/libmqttsn.a ## build the programs and libmqttsn.a

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/libmqttsn.a: $(MQTTSN_O)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/snbridge: $(BUILD)/bridge/main.o $(BRIDGE_O) $(RADIO_O) $(MQTTSN_O)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/snsim: $(call objects,$(wildcard sim/*.c)) $(BRIDGE_O) $(RADIO_O) $(MQTTSN_O)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/sn%: $(BUILD)/tools/sn%.o $(TOOLS_O) $(RADIO_O) $(MQTTSN_O)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(BRIDGE_O) $(RADIO_O) $(MQTTSN_O) $(TOOLS_O)
	$(CC) $(ALL_CFLAGS) -o $@ $^ -lcmocka $(LIBS)

$(BUILD)/tests/bench_%: $(BUILD)/tests/bench_%.o $(BRIDGE_O) $(RADIO_O) $(MQTTSN_O)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

clean: ## remove what was built
	rm -rf build

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12
