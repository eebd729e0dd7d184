# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034 # for who sources this
#
# For tests of pawsd as a service of a real systemd, with the guest itself as the gateway: what is asked of it, its
# configuration, its network. Behind guest_lib.sh.

CONF=/etc/pawsd/pawsd.conf

pawsctl() { command pawsctl "$@"; } # the one that is installed

# property NAME [UNIT]
property() { systemctl show -P "$1" "${2:-pawsd}"; }
property_is() {
	echo "$1: $(property "$1"), wanted: $2"
	[ "$(property "$1")" = "$2" ]
}

main_pid() { property MainPID; }
# processes NAME: the pids of all of that name.
processes() { { grep -lx "Name:.$1" /proc/[0-9]*/status 2>/dev/null || true; } | cut -d/ -f3; }

# is_anew PID: another process than that one is ready.
is_anew() {
	local pid
	pid=$(main_pid)
	[ "$pid" != 0 ] && [ "$pid" != "$1" ] && property_is ActiveState active
}

# logged TEXT: by this main process. An earlier one's words are not its own.
logged() { journalctl -q -o cat "_PID=$(main_pid)" | grep -F "$1"; }

# config MODE [LINE-OF-[rules]...]
config_gateway() {
	local mode=$1
	shift
	cat >$CONF <<-EOT
		[gateway]
		wan = wan0
		[queue]
		workers = 2
		[rules]
		backend = nft
		$(printf '%s\n' "$@")
		[destination servers]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = $mode
	EOT
}

# The guest's own namespace under the name by which the gateway is known.
net_is_here() {
	for ns in "$CL" "$BX" "$SV"; do net_add_ns "$ns"; done
	ip netns attach "$GW" $$
	guest_net_connect
}

# status_is PID FIELD VALUE: in /proc/PID/status, of every thread.
status_is() {
	local values
	values=$(cat /proc/"$1"/task/*/status | awk -v field="$2:" '$1 == field {$1 = ""; print}' | sort -u | xargs)
	echo "$2: $values, wanted: $3"
	[ "$values" = "$3" ]
}

# is_owned PATH MODE USER:GROUP
is_owned() {
	stat -c '%n %a %U:%G' "$1"
	[ "$(stat -c '%a %U:%G' "$1")" = "$2 $3" ]
}

rewrites() {
	local before
	before=$(counted "" syn_rewritten)
	load --from "$(clients 4)" --to "$(endpoint 4 1 80-83)" --count 8 &&
		load --from "$(clients 6)" --to "$(endpoint 6 1 80-83)" --count 8 &&
		[ "$(counted "" syn_rewritten)" = $((before + 16)) ]
}
