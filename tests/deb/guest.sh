#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the packages do to a system: guest.service runs this, as root, with systemd as the first process. The gateway of the
# topology in netns/lib.sh is the guest itself. Packages are in /pawsd: first/, and next/ of a higher version.
#
#   install    who and what is there, and that nothing runs
#   start      as README.md has it
#   upgrade    during transfers; of one that stands still; to one that refuses the configuration
#   fast path  upgrade and removal with it, the latter also with [rules] on_stop = keep
#   remove     also with [rules] on_stop = keep, for each backend
#   purge      what is left
set -Eeuo pipefail
trap 'echo "# guest.sh ended by line $LINENO: $BASH_COMMAND"' ERR
here=$(dirname "$0")
# shellcheck source=tests/netns/lib.sh
. "$here/../netns/lib.sh"
# shellcheck source=tests/kernels/guest_lib.sh
. "$here/../kernels/guest_lib.sh"
# shellcheck source=tests/kernels/guest_placements.sh
. "$here/../kernels/guest_placements.sh"
# shellcheck source=tests/kernels/guest_service.sh
. "$here/../kernels/guest_service.sh"
# shellcheck source=tests/kernels/guest_fastpath.sh
. "$here/../kernels/guest_fastpath.sh"

UNITS=(pawsd pawsd-exporter)

apt() { apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io "$@"; }
# apt_install FOLDER [OPTION...]: both packages.
apt_install() {
	local folder=/pawsd/$1
	shift
	apt "$@" install "$folder"/*.deb
}

# status_of PACKAGE: "ii" is installed, "rc" removed but for its configuration, "" or "un" unknown.
status_of() { { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null || true; } | tr -d ' '; }

# is_installed FOLDER: both, of that version and completely.
is_installed() {
	local deb package
	for deb in /pawsd/"$1"/*.deb; do
		package=$(dpkg-deb -f "$deb" Package)
		dpkg-query -W "$package"
		[ "$(dpkg-query -W -f '${Version}' "$package")" = "$(dpkg-deb -f "$deb" Version)" ] &&
			[ "$(status_of "$package")" = ii ] || return 1
	done
	dpkg --audit
	[ -z "$(dpkg --audit)" ]
}

# ---- install ---------------------------------------------------------------------------------

# has_system_user: one that nobody can log in as.
has_system_user() {
	getent passwd pawsd && getent group pawsd &&
		[ "$(id -u pawsd)" -lt 1000 ] && [ "$(getent passwd pawsd | cut -d: -f7)" = /usr/sbin/nologin ]
}

no_user() { ! getent passwd pawsd && ! getent group pawsd; }

nothing_runs() {
	local unit
	for unit in "${UNITS[@]}"; do
		property_is ActiveState inactive "$unit" || return 1
	done
	[ -z "$(processes 'pawsd.*')" ]
}

nothing_is_enabled() {
	local unit
	for unit in "${UNITS[@]}"; do
		[ "$(systemctl is-enabled "$unit" || true)" = disabled ] || return 1
	done
	[ -z "$(links)" ]
}

# links: what enabling a unit leaves.
links() { find /etc/systemd/system -name 'pawsd*'; }

# rules_of_pawsd: whatever there is of them, by any backend.
rules_of_pawsd() {
	local family
	nft list tables | grep -w pawsd || true
	for family in ip ip6; do
		"${family}tables-nft-save" -t mangle 2>/dev/null | grep -w PAWSD || true
		! grep -qx mangle "/proc/net/${family}_tables_names" || "${family}tables-legacy-save" -t mangle | grep -w PAWSD || true
	done
	ipset list -n | grep ^pawsd- || true
}
no_rules_of_pawsd() {
	rules_of_pawsd
	[ -z "$(rules_of_pawsd)" ]
}

has_manuals() {
	local page
	for page in man5/pawsd.conf.5 man8/{pawsd,pawsctl,pawsd-exporter}.8; do
		zcat "/usr/share/man/$page.gz" | grep -q '^\.Sh NAME' || return 1
	done
}

# completes: bash has a completion for pawsctl that knows its commands.
completes() {
	bash -c '. /usr/share/bash-completion/completions/pawsctl && complete -p pawsctl' &&
		grep -qw suspects /usr/share/bash-completion/completions/pawsctl
}

has_conffiles() {
	diff <(dpkg-query -W -f '${Conffiles}\n' "${UNITS[@]}" | awk 'NF {print $1}' | sort) - <<-EOT
		/etc/default/pawsd-exporter
		/etc/pawsd/pawsd.conf
	EOT
}

install_them() {
	phase "install"
	check "install: nobody is called pawsd" no_user
	check "install: apt installs both, with what they need" apt_install first
	check "install: completely" is_installed first
	check "install: there is a user, and a group" has_system_user
	check "install: nothing is enabled" nothing_is_enabled
	check "install: nothing runs" nothing_runs
	check "install: no rules" no_rules_of_pawsd
	check "install: the configuration is sound" pawsd --check
	check "install: configurations are conffiles" has_conffiles
	check "install: iptables' lock: for the group root" is_owned /run/xtables.lock 640 root:root
	check "install: manuals" has_manuals
	check "install: completion" completes
	check "install: units as systemd wants them" systemd-analyze verify --man=no "${UNITS[@]/%/.service}"
	check "install: once more" apt_install first --reinstall
	check "install: nothing is enabled by that" nothing_is_enabled
	check "install: nor started" nothing_runs
}

# ---- start -----------------------------------------------------------------------------------

exports() { # METRIC-LINE
	exec 3<>/dev/tcp/127.0.0.1/9473
	printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
	tr -d '\r' <&3 | grep -x "$1"
}

start_them() {
	phase "start"
	net_is_here
	config_gateway rewrite
	check "start: systemctl starts it" systemctl start pawsd
	check "start: it is active" property_is ActiveState active
	check "start: the rules are there" rules_in_place forward
	check "start: pawsctl asks it" pawsctl status
	check "start: connections are rewritten" rewrites
	check "start: systemctl starts the exporter" systemctl start pawsd-exporter
	check "start: it serves pawsd's metrics" wait_until 20 eval "(exports 'pawsd_up 1') 2>/dev/null"
	check "start: nothing is enabled by that" nothing_is_enabled
	check "start: systemctl enables both" systemctl enable "${UNITS[@]}"
}

# ---- upgrade ---------------------------------------------------------------------------------

# runs_version FOLDER: the program in the process, not the one on disk.
runs_version() {
	local want
	want="pawsd $(dpkg-deb -f "$(echo /pawsd/"$1"/pawsd_*.deb)" Version)"
	echo "$("/proc/$(main_pid)/exe" --version | head -1), wanted: $want"
	[ "$("/proc/$(main_pid)/exe" --version | head -1)" = "$want" ]
}

upgrade() {
	local before exporter
	phase "upgrade"
	cp $CONF "$WORK/before.conf"
	before=$(main_pid) exporter=$(property MainPID pawsd-exporter)
	remember
	check "upgrade: transfers begin" transfers_start
	check "upgrade: they are rewritten" wait_until 20 moves_on 0
	check "upgrade: apt installs a higher version" apt_install next
	check "upgrade: completely" is_installed next
	check "upgrade: another process is ready" is_anew "$before"
	check "upgrade: it is of that version" runs_version next
	check "upgrade: queues go on" wait_until 5 logged 'queues of 2 workers go on'
	check "upgrade: flows are known from before" wait_until 5 logged 'flows are known from before'
	check "upgrade: they are rewritten still" wait_until 20 moves_on "$(counted "" out_rewritten)"
	transfers_end "upgrade: transfer"
	check "upgrade: nothing went by" [ "$(counted "" synack_unknown midstream_out midstream_in)" = 0 ]
	check "upgrade: and no old process is left" [ "$(processes 'pawsd\(-helper\)\?' | wc -l)" = 2 ]
	unhurt "upgrade"
	check "upgrade: the exporter is another, too" [ "$(property MainPID pawsd-exporter)" != "$exporter" ]
	check "upgrade: which serves" wait_until 20 eval "(exports 'pawsd_up 1') 2>/dev/null"
	check "upgrade: the configuration is ours" cmp $CONF "$WORK/before.conf"
	check "upgrade: both are enabled still" systemctl is-enabled "${UNITS[@]}"
	check "upgrade: a restart is an orderly one again" property_is RestartKillSignal 15
}

# What is installed refuses what the configuration has become: what runs goes on.
upgrade_refused() {
	local before
	before=$(main_pid)
	echo 'mode = nonsense' >>$CONF
	check "refused: apt says so" eval "apt_install next --reinstall 2>&1 | grep 'refuses the configuration'"
	check "refused: completely installed all the same" is_installed next
	check "refused: the old process goes on" [ "$(main_pid)" = "$before" ]
	check "refused: connections are rewritten" rewrites
	cp "$WORK/before.conf" $CONF
}

# ---- fast path -------------------------------------------------------------------------------

DROPIN=/etc/systemd/system/pawsd.service.d/fastpath.conf

# config_fast LINE-OF-[rules]...
config_fast() {
	config_gateway rewrite "$@"
	sed -i 's/^workers = .*/workers = 1/' $CONF
	printf '[fastpath]\ninterfaces = lan0:lan\n' >>$CONF
}

fast_path() {
	local before name="fast path"
	phase "$name"
	config_fast
	mkdir -p ${DROPIN%/*}
	check "$name: what the unit needs for it is there" ln -s /usr/share/pawsd/fastpath.conf ${DROPIN%/*}
	systemctl daemon-reload
	check "$name: it starts" systemctl restart pawsd
	check "$name: programs at an interface, by $(attached_by)" status_says 1
	check "$name: connections are rewritten" rewrites
	check "$name: nothing is queued" none_queued
	check "$name: transfers begin" transfers_start
	kept >"$WORK/kept"
	before=$(main_pid)
	remember
	check "$name, upgrade: apt installs it once more" apt_install next --reinstall
	check "$name, upgrade: another process is ready" is_anew "$before"
	check "$name, upgrade: maps and links are the same" is_kept
	check "$name, upgrade: flows are known from before" wait_until 5 logged 'flows are known from before'
	check "$name, upgrade: they are rewritten" wait_until 20 moves_on "$(counted "" out_rewritten)"
	transfers_end "$name, upgrade: transfer"
	check "$name, upgrade: nothing went by" [ "$(counted "" synack_unknown midstream_out midstream_in)" = 0 ]
	check "$name, upgrade: programs are there once" [ "$(programs | wc -l)" = 4 ]
	unhurt "$name, upgrade"
	few_queued "$name, upgrade"
	fast_removed "$name, remove"
	check "$name: apt installs it again" apt install /pawsd/next/pawsd_*.deb
	config_fast "on_stop = keep"
	check "$name, on_stop = keep: it starts" systemctl start pawsd
	check "$name, on_stop = keep: programs at an interface" status_says 1
	kept >"$WORK/kept"
	check "$name, on_stop = keep: it stops" systemctl stop pawsd
	check "$name, on_stop = keep: programs stay" is_kept
	fast_removed "$name, on_stop = keep, remove"
	rm $DROPIN
	rmdir ${DROPIN%/*}
	systemctl daemon-reload
	check "$name: apt installs both" apt_install next
	config_gateway rewrite
	check "$name: they start without it" systemctl start "${UNITS[@]}"
}

# fast_removed NAME
fast_removed() {
	check "$1: apt removes pawsd" apt remove pawsd
	is_removed "$1"
	check "$1: no program, no name, no clsact is left" nothing_of_it_left
	check "$1: nor a directory for them" fails ls -d $PINS
	check "$1: nor what stands in for it" fails ls -d /run/pawsd-bpf
}

# ---- remove ----------------------------------------------------------------------------------

# Rules of others, which look a little like pawsd's.
foreign_rules() {
	local command
	for command in {ip,ip6}tables-$1; do
		"$command" -t mangle -N PAWSDX
		"$command" -t mangle -A FORWARD -p tcp --dport 9 -j PAWSDX
	done
	ipset create pawsdx hash:net
}
foreign_rules_are_there() {
	local command
	for command in {ip,ip6}tables-$1; do
		"$command" -t mangle -D FORWARD -p tcp --dport 9 -j PAWSDX && "$command" -t mangle -X PAWSDX || return 1
	done
	ipset destroy pawsdx
}

# is_removed NAME: all that runs, and nothing that has been written by hand.
is_removed() {
	check "$1: no process" [ -z "$(processes 'pawsd.*')" ]
	check "$1: no rules" no_rules_of_pawsd
	check "$1: others' rules are there" nft list table inet gateway
	check "$1: no program" [ ! -e /usr/sbin/pawsd ]
	check "$1: the configuration is there" [ -s $CONF ]
	check "$1: the clock's state is there" [ -s /var/lib/pawsd/clock ]
}

remove() {
	phase "remove"
	check "remove: apt removes pawsd" apt remove pawsd
	is_removed "remove"
	check "remove: and the exporter" [ "$(status_of pawsd-exporter)" = rc ]
	check "remove: no runtime files" [ ! -e /run/pawsd ]
}

# remove_kept BACKEND [FLAVOUR]: where rules outlive pawsd.
remove_kept() {
	local name="remove, on_stop = keep, $*"
	check "$name: apt installs it again" apt install /pawsd/next/pawsd_*.deb
	config_gateway rewrite "on_stop = keep" "flavour = ${2:-default}"
	sed -i "s/^backend = .*/backend = $1/" $CONF
	[ $# = 1 ] || foreign_rules "$2"
	check "$name: it starts" systemctl start pawsd
	check "$name: there are rules" [ -n "$(rules_of_pawsd)" ]
	check "$name: apt removes it" apt remove pawsd
	is_removed "$name"
	[ $# = 1 ] || check "$name: others' rules are there, iptables" foreign_rules_are_there "$2"
}

# ---- purge -----------------------------------------------------------------------------------

# left_overs: files that have pawsd's name.
left_overs() {
	find /etc /var /usr -name '*pawsd*'
	find /run -maxdepth 1 -name '*pawsd*'
}

purge() {
	phase "purge"
	check "purge: apt purges both" apt purge "${UNITS[@]}"
	check "purge: no file is left: $(left_overs | xargs)" [ -z "$(left_overs)" ]
	check "purge: no unit is known" property_is LoadState not-found
	check "purge: the user stays" has_system_user
	check "purge: dpkg knows nothing of it" eval '[[ "$(status_of pawsd)$(status_of pawsd-exporter)" =~ ^(un)*$ ]]'
}

WORK=$(mktemp -d /tmp/net.XXXXXX)
trap 'journalctl -q -b -o short-monotonic | grep -v " kernel: "' EXIT # for who reads the console
echo # the firmware leaves a line without an end
phase "$(uname -r), $(systemctl --version | head -1)"
install_them
start_them
upgrade
upgrade_refused
fast_path
remove
remove_kept nft
remove_kept iptables nft
remove_kept iptables legacy
purge
phase "end"
tap_done
