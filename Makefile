# socketmapd. `make help` lists the targets; everything that is built goes to build/.

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
B       ?= build

# The only lists of Debian packages: to build, and to run the tests.
APT_BUILD := gcc libc6-dev make pkg-config libuv1-dev libconfig-dev libsqlite3-dev \
	libmariadb-dev libldap-dev libsasl2-dev libssl-dev libutf8proc-dev libxxhash-dev libcdb-dev \
	libmicrohttpd-dev libjansson-dev libcurl4-openssl-dev
APT_RUN   := sqlite3 postfix postfix-sqlite
APT_DEB   := debhelper dpkg-dev
APT_TEST  := $(APT_RUN) postfix-mysql postfix-ldap postfix-cdb mariadb-server slapd ldap-utils libsasl2-modules libcmocka-dev clang libclang-rt-14-dev \
	$(APT_DEB) lintian systemd mandoc perl python3 procps openssl strace faketime prometheus \
	chromium chromium-driver

# name of a program = its driver file; what it links beyond libc
LIBS_base   := libutf8proc libxxhash
LIBS_server := libuv libconfig libcdb libmicrohttpd jansson
LIBS_ctl    := libcurl jansson
LIBS_sqlite := sqlite3
LIBS_mysql  := libmariadb
LIBS_ldap   := ldap openssl

CC      ?= gcc
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wimplicit-fallthrough -Wvla -Wwrite-strings $(if $(CI),-Werror)
HARDEN  := -fstack-protector-strong $(if $(findstring -fsanitize,$(CFLAGS)),,-D_FORTIFY_SOURCE=2)
CPPFLAGS += -D_GNU_SOURCE -DVERSION='"$(VERSION)"' \
	-DSYSCONFDIR='"$(SYSCONFDIR)"' -DSTATEDIR='"$(STATEDIR)"' -Iinclude
SYSCONFDIR ?= /etc/socketmapd
STATEDIR ?= /var/lib/socketmapd
ALL_CFLAGS = -std=c17 $(WARN) $(HARDEN) -fno-common -fPIE -pthread $(CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now -pthread $(CFLAGS) $(LDFLAGS)
pkg     = $(shell pkg-config --libs $(1))

LAYERS  := base wire store engine daemon ctl
obj     = $(patsubst src/%.c,$(B)/obj/%.o,$(filter-out %/main.c,$(wildcard src/$(1)/*.c)))
LIBS    := $(patsubst %,$(B)/lib%.a,$(LAYERS))
DRIVERS := sqlite mysql ldap
BINS    := $(B)/socketmapd $(B)/socketmapctl $(patsubst %,$(B)/socketmapd-%,$(DRIVERS))
UNIT    := $(patsubst t/unit/%.c,$(B)/t/unit/%,$(wildcard t/unit/*.c))
FUZZ    := $(patsubst t/fuzz/%.c,build/fuzz/%,$(wildcard t/fuzz/*.c))
BENCH   := $(patsubst t/bench/%.c,$(B)/bench/%,$(wildcard t/bench/*.c))
MANS    := $(wildcard man/*.[1-8])

Q := $(if $(V),,@)	# V=1 shows the commands

.PHONY: all help run test check asan tsan fuzz soak bench install deb clean apt-build apt-run apt-test apt-deb \
	tests-asan tests-tsan man-lint
.DELETE_ON_ERROR:
.PRECIOUS: $(B)/obj/%.o

all: $(BINS) ## build the server, its drivers and socketmapctl into build/

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- building -----------------------------------------------------------------------------

$(B)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D); echo "CC $@"
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The status page is a part of its object, and named there by the hashes of what is in it, as a
# browser takes them: of all between <script> and </script>, each on a line of its own.
PAGE      := src/daemon/page.html
page_hash  = $(shell { echo; sed '1,/^<$(1)>$$/d; /^<\/$(1)>$$/,$$d' $(PAGE); } | sha256sum | \
	cut -c-64 | tr a-f A-F | basenc -d --base16 | base64)
$(B)/obj/daemon/page.o: $(PAGE)
$(B)/obj/daemon/page.o: CPPFLAGS += -DPAGE='"$(PAGE)"' \
	-DPAGE_SCRIPT='"$(call page_hash,script)"' -DPAGE_STYLE='"$(call page_hash,style)"'

define layer
$(B)/lib$(1).a: $(call obj,$(1))
	@mkdir -p $$(@D); rm -f $$@
	$(Q)ar rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer,$(l))))

server_libs = $(B)/libdaemon.a $(B)/libengine.a $(B)/libstore.a $(B)/libwire.a $(B)/libbase.a

$(B)/socketmapd: $(B)/obj/daemon/main.o $(server_libs)
	@echo "LD $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,$(LIBS_server) $(LIBS_base))

$(B)/socketmapctl: $(B)/obj/ctl/main.o $(B)/libctl.a $(B)/libbase.a
	@echo "LD $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call pkg,$(LIBS_ctl) $(LIBS_base))

# A driver is src/driver/NAME.c and NAME_*.c, and what all of them share.
driver_src = $(wildcard src/driver/$(1).c src/driver/$(1)_*.c)
shared_src = $(filter-out $(foreach d,$(DRIVERS),$(call driver_src,$(d))),$(wildcard src/driver/*.c))

$(B)/libdriver.a: $(patsubst src/%.c,$(B)/obj/%.o,$(shared_src))
	@mkdir -p $(@D); rm -f $@
	$(Q)ar rcs $@ $^

define driver
$(B)/socketmapd-$(1): $(patsubst src/%.c,$(B)/obj/%.o,$(call driver_src,$(1))) \
		$(B)/libdriver.a $(B)/libwire.a $(B)/libbase.a
	@echo "LD $$@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $$@ $$^ $$(call pkg,$$(LIBS_$(1)) $(LIBS_base))
endef
$(foreach d,$(DRIVERS),$(eval $(call driver,$(d))))

# --- tests --------------------------------------------------------------------------------

# A unit test links every layer; what it does not use is left out. A test of a driver's own
# file includes that file.
$(B)/t/unit/%: t/unit/%.c $(server_libs) Makefile
	@mkdir -p $(@D); echo "LD $@"
	$(Q)$(CC) $(CPPFLAGS) -Isrc -It $(ALL_CFLAGS) -Wno-missing-prototypes -MMD -MP $(ALL_LDFLAGS) \
		-o $@ $< $(server_libs) $(server_libs) \
		$(call pkg,cmocka $(LIBS_server) $(LIBS_sqlite) ldap $(LIBS_base))

# This one can make any allocation of ours fail, not those inside of libraries.
$(B)/t/unit/memory: ALL_LDFLAGS += $(patsubst %,-Wl$(comma)--wrap=%,malloc calloc realloc \
	reallocarray strdup strndup aligned_alloc mmap mremap)
comma := ,

# The layers once more, with clang's instrumentation, for all fuzz targets together.
SAN_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
fuzz_libs := $(patsubst $(B)/%,build/fuzz-libs/%,$(server_libs))

ifeq ($(B),build)
$(fuzz_libs): FORCE
	@$(MAKE) -s B=build/fuzz-libs CC=clang CFLAGS='$(SAN_fuzz)' $@
endif
FORCE:

build/fuzz/%: t/fuzz/%.c $(fuzz_libs)
	@mkdir -p $(@D); echo "LD $@"
	$(Q)clang $(CPPFLAGS) -Isrc -It -std=c17 $(WARN) -Wno-missing-prototypes -g -O1 \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -pthread -o $@ $< \
		$(fuzz_libs) $(fuzz_libs) $(call pkg,$(LIBS_server) $(LIBS_base))

$(B)/bench/%: t/bench/%.c $(server_libs) Makefile
	@mkdir -p $(@D); echo "LD $@"
	$(Q)$(CC) $(CPPFLAGS) -It $(ALL_CFLAGS) -MMD -MP $(ALL_LDFLAGS) -o $@ $< $(server_libs) \
		$(call pkg,$(LIBS_server) $(LIBS_base))

SAN_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer

# Everything a test run needs, with one sanitizer: same rules, another build directory.
tests-asan tests-tsan: tests-%:
	$(MAKE) B=build/$* CFLAGS='$(SAN_$*)' build/$*/all-tests

$(B)/all-tests: $(BINS) $(UNIT)

# One TAP script per test and sanitizer, so that a single prove runs and counts them all.
E2E     := $(sort $(wildcard t/*.t))
# a test says which it wants: "# sanitizers: yes" or "# sanitizers: asan"
san_e2e  = $(shell grep -lE '^# sanitizers: (yes|$(1))' $(E2E) /dev/null)

check: $(UNIT) ## unit tests, under 10 seconds
	t/prove -j2 $(UNIT)

asan: tests-asan ## unit and end-to-end tests with AddressSanitizer and UBSan
	t/prove $(patsubst build/t/%,build/asan/t/%,$(UNIT)) $(call under,asan)

tsan: tests-tsan ## the same with ThreadSanitizer
	t/prove $(patsubst build/t/%,build/tsan/t/%,$(UNIT)) $(call under,tsan)

# wrappers: build/t/asan/server.t runs t/server.t against build/asan
under = $(shell mkdir -p build/t/$(1); for t in $(call san_e2e,$(1)); do w=build/t/$(1)/$$(basename $$t); \
	printf '#!/bin/sh\nSOCKETMAPD_BUILD=build/$(1) exec %s "$$@"\n' $$t >$$w; chmod +x $$w; echo $$w; done)

fuzz: $(FUZZ) ## run every fuzz target for FUZZ_SECONDS each
	@for f in $(FUZZ); do n=$$(basename $$f); mkdir -p build/corpus/$$n; \
		echo "== $$n"; $$f -max_total_time=$(FUZZ_SECONDS) -timeout=5 -print_final_stats=1 \
		build/corpus/$$n t/fuzz/corpus/$$n 2>&1 | tail -n 3 || exit 1; done
FUZZ_SECONDS ?= 60

test: apt-test ## install what the tests need, run them all
	$(MAKE) -j2 all-kinds
	$(MAKE) test-here

.PHONY: all-kinds test-here
all-kinds: all $(UNIT) $(FUZZ) $(BENCH) tests-asan tests-tsan
test-here: all-kinds
	t/prove -j3 $(UNIT) $(E2E) \
		$(patsubst build/t/%,build/asan/t/%,$(UNIT)) $(patsubst build/t/%,build/tsan/t/%,$(UNIT)) \
		$(call under,asan) $(call under,tsan)

soak: all ## random faults under load, for SECONDS=60; SEED=N repeats an order of faults
	SOAK_SECONDS=$(SECONDS) SEED=$(SEED) t/soak.t
SECONDS ?= 60

bench: all $(BENCH) ## measure DESIGN 13 as ratios in one run
	t/bench/run
	t/bench/snapshot
	if command -v mariadbd >/dev/null; then t/bench/mysql; else echo '# no mariadbd here'; fi
	if command -v slapd >/dev/null; then t/bench/ldap; else echo '# no slapd here'; fi

# --- trying and installing ------------------------------------------------------------------

run: apt-build apt-run ## build, and serve the SQLite demo in the foreground
	$(MAKE) all
	contrib/demo

# Nothing is asked of apt when everything is there already.
missing = $(shell dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(1) 2>/dev/null | \
	awk '$$1 == "installed" { have[$$2] } END { n = split("$(1)", want, " "); \
	for (i = 1; i <= n; i++) if (!(want[i] in have)) print want[i] }')
apt-build: want = $(APT_BUILD)
apt-run:   want = $(APT_RUN)
apt-test:  want = $(APT_BUILD) $(APT_TEST)
apt-deb:   want = $(APT_DEB)
apt-build apt-run apt-test apt-deb:
	@set -e; m="$(call missing,$(want))"; [ -z "$$m" ] || { echo "installing $$m"; \
		export DEBIAN_FRONTEND=noninteractive; apt-get update -qq; \
		apt-get install -y -qq --no-install-recommends $$m </dev/null >/dev/null; }

# What `make install` makes besides the programs; SYSCONFDIR is compiled in.
BINDIR      ?= $(PREFIX)/bin
SBINDIR     ?= $(PREFIX)/sbin
LIBEXECDIR  ?= $(PREFIX)/libexec/socketmapd
DATADIR     ?= $(PREFIX)/share/socketmapd
DOCDIR      ?= $(PREFIX)/share/doc/socketmapd
MANDIR      ?= $(PREFIX)/share/man
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
BASHDIR     ?= $(PREFIX)/share/bash-completion/completions

UNITS    := $(notdir $(wildcard contrib/systemd/*.service contrib/systemd/*.socket))
EXAMPLES := $(shell find maps.d contrib/*.conf -type f | sort)

# put MODE FILES DIRECTORY
put = install -d $(DESTDIR)$(3) && install -m $(1) $(2) $(DESTDIR)$(3)/
# The same with the paths of this installation in a file of contrib/systemd: FILE DIRECTORY NAME
put_paths = install -d $(DESTDIR)$(2) && sed -e 's|/usr/local/sbin|$(SBINDIR)|g' \
	-e 's|/etc/socketmapd|$(SYSCONFDIR)|g' contrib/systemd/$(1) >$(DESTDIR)$(2)/$(3) && \
	chmod 644 $(DESTDIR)$(2)/$(3)

install: all ## install below DESTDIR and PREFIX
	$(call put,755,$(B)/socketmapd,$(SBINDIR))
	$(call put,755,$(B)/socketmapctl,$(BINDIR))
	$(call put,755,$(patsubst %,$(B)/socketmapd-%,$(DRIVERS)),$(LIBEXECDIR))
	install -d $(DESTDIR)$(SYSCONFDIR)/maps.d
	$(call put,644,README,$(DOCDIR))
	$(call put,644,contrib/prometheus/*.yml,$(DATADIR)/prometheus)
	$(call put,644,contrib/grafana/*.json,$(DATADIR)/grafana)
	for f in $(EXAMPLES); do install -D -m 644 $$f $(DESTDIR)$(DOCDIR)/$$f || exit 1; done
	for m in $(MANS); do \
		install -D -m 644 $$m $(DESTDIR)$(MANDIR)/man$${m##*.}/$${m##*/} || exit 1; done
	for u in $(UNITS); do $(call put_paths,$$u,$(UNITDIR),$$u) || exit 1; done
	$(call put_paths,sysusers.conf,$(SYSUSERSDIR),socketmapd.conf)
	$(call put_paths,tmpfiles.conf,$(TMPFILESDIR),socketmapd.conf)
	$(call put,644,contrib/bash-completion/socketmapctl,$(BASHDIR))

# From a copy of the tree, where contrib/debian is debian/. APT_BUILD is the only list there is.
deb: apt-build apt-deb ## build Debian packages into build/deb/
	rm -rf build/deb
	mkdir -p build/deb/socketmapd-$(VERSION)
	tar -c --exclude=__pycache__ Makefile README LICENSE contrib include man maps.d src t | \
		tar -x -C build/deb/socketmapd-$(VERSION)
	cd build/deb/socketmapd-$(VERSION) && mv contrib/debian debian && \
		sed -i 's/@APT_BUILD@/$(subst $(blank),$(comma) ,$(filter-out gcc libc6-dev make,$(APT_BUILD)))/' \
		debian/control && dpkg-buildpackage -us -uc
blank := $(subst x,,x x)

clean: ## remove build/
	rm -rf build

-include $(shell find $(B)/obj $(B)/t $(B)/bench -name '*.d' 2>/dev/null)
