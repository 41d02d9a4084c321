# snbridge. `make help` lists what there is.

VERSION  := 0.1.0
BUILD    ?= build
CC       ?= cc
PREFIX   ?= /usr/local
DESTDIR  ?=

# Commands are shown with V=1.
ifndef V
SHOW      = @echo "  $(1) $@";
endif

comma := ,
# Set SANITIZE=address,undefined for a checked build in a folder of its own.
ifdef SANITIZE
BUILD    := build/$(subst $(comma),-,$(SANITIZE))
SANFLAGS := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef -Wswitch-enum
LANGUAGE := -std=c11 -D_GNU_SOURCE -DSNBRIDGE_VERSION='"$(VERSION)"' -I. $(WARNINGS) -pthread \
            -ffp-contract=off
ALL_CFLAGS := $(LANGUAGE) $(CFLAGS) $(SANFLAGS) -MMD -MP
LIBS     := -lpaho-mqtt3as -lssl -lcrypto $(shell pkg-config --libs libserialport inih sqlite3 2>/dev/null) -lm -pthread
TEST_LIBS := -lcmocka -ljansson

# noun.c is core; noun_technology.c, loop.c and main.c are edge.
EDGE     := $(wildcard radio/link_*.c) \
            $(wildcard bridge/broker_*.c bridge/store_*.c bridge/config_*.c bridge/log_*.c bridge/control_*.c bridge/notify_*.c bridge/loop*.c bridge/main.c) \
            $(wildcard sim/realtime*.c sim/chart_gnuplot.c sim/*_ini.c sim/main*.c)
MAINS    := $(wildcard bridge/main.c sim/main.c)
CORE     := $(filter-out $(EDGE),$(wildcard mqttsn/*.c radio/*.c bridge/*.c sim/*.c))
objects   = $(patsubst %.c,$(BUILD)/%.o,$(1))

MQTTSN_O := $(call objects,$(wildcard mqttsn/*.c))
RADIO_O  := $(call objects,$(wildcard radio/*.c))
BRIDGE_O := $(call objects,$(filter-out $(MAINS),$(wildcard bridge/*.c)))
SIM_O    := $(call objects,$(filter-out $(MAINS),$(wildcard sim/*.c)))
TOOLS_O  := $(call objects,$(filter-out tools/sn%,$(wildcard tools/*.c)))
# What several tests share.
SHARED_O := $(call objects,$(filter-out tests/test_% tests/bench_% tests/fuzz_%,$(wildcard tests/*.c)))
ALL_O    := $(SIM_O) $(BRIDGE_O) $(RADIO_O) $(MQTTSN_O) $(TOOLS_O)

PROGRAMS := $(if $(wildcard bridge/main.c),$(BUILD)/snbridge) \
            $(patsubst tools/%.c,$(BUILD)/%,$(wildcard tools/sn*.c)) \
            $(if $(wildcard sim/main.c),$(BUILD)/snsim)
T        ?= *
TESTS    := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_$(T).c))
BENCHES  := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/bench_*.c))
FUZZERS  := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/fuzz_$(T).c))
SCRIPTS  := $(wildcard tests/e2e/test_$(T).py) \
            $(foreach x,$(wildcard tests/tshark_$(T).py), \
              "$(x) $(patsubst tests/tshark_%.py,$(BUILD)/tests/test_%,$(x))")
LINT     := $(if $(filter * lint,$(T)),tests/lint) $(if $(filter * requirements,$(T)),tests/requirements)

JOBS     ?= $(shell nproc 2>/dev/null || echo 2)
MAKE_ALL  = $(MAKE) --no-print-directory -j$(JOBS)
FUZZ_SECONDS ?= 60
SEEDS    ?= 100
# Those that take their time are run one by one.
SOAKED   := $(filter-out %-days.sim %/quiet-lan.sim %/storm.sim,$(wildcard sim/scenarios/*.sim))

.PHONY: all deps demo test check crash bench figures losses sleepers fuzz tidy fmt lint install clean help
.PHONY: tests run-checked benches fuzzers
.SECONDARY:

all: $(PROGRAMS) $(BUILD)/libmqttsn.a ## build the programs and libmqttsn.a

# ---- what is built ----

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call SHOW,CC)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# The shipped profiles are a part of the program.
$(BUILD)/sim/profile_ini.o: sim/profiles.conf

$(BUILD)/libmqttsn.a: $(MQTTSN_O)
	@rm -f $@
	$(call SHOW,AR)ar rcs $@ $^

$(BUILD)/snbridge: $(BUILD)/bridge/main.o $(BRIDGE_O) $(RADIO_O) $(MQTTSN_O)
	$(call SHOW,LD)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/snsim: $(BUILD)/sim/main.o $(SIM_O) $(BRIDGE_O) $(RADIO_O) $(MQTTSN_O)
	$(call SHOW,LD)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/sn%: $(BUILD)/tools/sn%.o $(TOOLS_O) $(RADIO_O) $(MQTTSN_O)
	$(call SHOW,LD)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(SHARED_O) $(ALL_O)
	$(call SHOW,LD)$(CC) $(ALL_CFLAGS) -o $@ $^ $(TEST_LIBS) $(LIBS)

$(BUILD)/tests/bench_%: $(BUILD)/tests/bench_%.o $(ALL_O)
	$(call SHOW,LD)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz_%.o $(SHARED_O) $(ALL_O)
	$(call SHOW,LD)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- what is run ----
# Packages may be installed first, so what is built after that is built by a make of its own,
# which asks pkg-config again.

deps: ## install what is missing from Debian's packages
	@tests/deps.sh test

demo: ## show the main job, with nothing installed before but a compiler, git and make
	@tests/deps.sh demo
	@$(MAKE_ALL) all
	@tests/demo.sh

tests: all $(TESTS) $(call objects,$(CORE))
benches: all $(BENCHES)
fuzzers: $(FUZZERS)

# What tests/lint and `make tidy` want to know.
export CORE
export OTHER_CFLAGS = $(LANGUAGE)
# The compiler that did not build looks at everything as well.
export OTHER_CC = $(if $(findstring clang,$(CC)),gcc,clang)

test: ## everything a change must pass; T=retry runs what is called so
	@tests/deps.sh test
	@$(MAKE_ALL) tests
	@BUILD=$(BUILD) tests/run -j $(JOBS) $(LINT) $(SCRIPTS) $(TESTS)

check: ## unit tests with address and undefined-behaviour sanitizers and a leak check
	@tests/deps.sh test
	@$(MAKE_ALL) SANITIZE=address,undefined tests
	@$(MAKE) --no-print-directory SANITIZE=address,undefined run-checked

run-checked:
	@ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 tests/run -j $(JOBS) $(TESTS)

soak: all ## all scenarios and made-up ones under SEEDS=100 seeds on all cores; a failure is told with its seed
	@$(BUILD)/snsim soak --seeds $(SEEDS) --jobs $(JOBS) $(SOAKED)

crash: ## kill -9 at N=5000 random moments, and a quarter as often the broker; SEED repeats them
	@tests/deps.sh test
	@$(MAKE_ALL) all
	@BUILD=$(BUILD) N=$(or $(N),5000) $(if $(SEED),SEED=$(SEED)) tests/e2e/test_crash.py

bench: ## how fast, compared with direct MQTT
	@tests/deps.sh test
	@$(MAKE_ALL) benches
	@BUILD=$(BUILD) tests/bench

losses: ## what is lost of 1,000 messages through OUTAGE=60 s without broker, a kill and radio loss
	@tests/deps.sh test
	@$(MAKE_ALL) all
	@BUILD=$(BUILD) tests/losses $(OUTAGE)

OUTAGE ?= 60

sleepers: ## CLIENTS=5000 devices asleep and awake in turns for SECONDS=600: no leak, no drift, idle
	@tests/deps.sh test
	@$(MAKE_ALL) all
	@BUILD=$(BUILD) CLIENTS=$(CLIENTS) SECONDS=$(SECONDS) tests/e2e/test_sleepers.py

CLIENTS ?= 5000
SECONDS ?= 600

# Pictures of the README that are computed; they are committed, so that a reader needs no tools.
figures: all ## draw the README's figures anew
	$(BUILD)/snsim run sim/scenarios/storm.sim --sweep sensors=20,40,60,80,100,120 \
	  --sweep retry=10s..10s,6s..60s,measured > $(BUILD)/storm.csv
	gnuplot -c sim/figures/storm.gnuplot $(BUILD)/storm.csv > sim/figures/storm.svg

fuzz: ## each fuzzer for FUZZ_SECONDS=60; T=packet runs one
	@tests/deps.sh test
	@$(MAKE_ALL) $(FUZZ_BUILD) fuzzers
	@for program in $(FUZZERS:$(BUILD)/%=build/fuzz/%); do \
	  name=$${program##*/fuzz_}; mkdir -p build/fuzz/corpus/$$name; seeds=tests/corpus/$$name; \
	  [ -d $$seeds ] || seeds=; echo "fuzz $$name for $(FUZZ_SECONDS) s"; \
	  $$program -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=build/fuzz/$$name- build/fuzz/corpus/$$name $$seeds || exit 1; done

FUZZ_BUILD := CC=clang BUILD=build/fuzz \
              SANFLAGS="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"

lint: ## includes, symbols, layout and the other compiler's warnings
	@$(MAKE_ALL) $(call objects,$(CORE))
	@BUILD=$(BUILD) tests/lint

SOURCES := $(foreach folder,mqttsn radio bridge sim tools tests,$(wildcard $(folder)/*.c $(folder)/*.h))

tidy: ## clang-tidy; slower than lint
	@printf '%s\n' $(filter-out tests/%,$(filter %.c,$(SOURCES))) | \
	  xargs -P $(JOBS) -n 4 sh -c 'eval "clang-tidy --quiet $$* -- $$OTHER_CFLAGS" 2>/dev/null' tidy

fmt: ## let clang-format decide the layout
	clang-format -i $(SOURCES)

install: all ## into PREFIX=/usr/local, below DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include/mqttsn
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(BUILD)/libmqttsn.a $(DESTDIR)$(PREFIX)/lib
	install -m 644 $(filter-out %_parts.h,$(wildcard mqttsn/*.h)) $(DESTDIR)$(PREFIX)/include/mqttsn
	for page in $(wildcard tools/*.1 bridge/*.8 sim/*.1); do \
	  install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}; done
	for unit in $(wildcard bridge/*.service); do sed 's|/usr/local|$(PREFIX)|' $$unit | \
	  install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}; done

clean: ## remove what was built
	rm -rf build

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12
