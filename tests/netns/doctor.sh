#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# pawsd --doctor: of a healthy gateway it has nothing to say that would have to be changed, before the first start and beside a
# running pawsd. Then one thing after the other is made wrong, found, said with what to do, and made right again. And it changes
# nothing, whoever runs it.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq ipset:ipset nft:nftables setpriv:util-linux unshare:util-linux socat:socat sysctl:procps ethtool:ethtool tc:iproute2
pawsd_require

# config [SED-SCRIPT...]: of a gateway that needs nothing, changed by these.
config() {
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		[queue]
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
	EOT
	sed -i '0,/^\[queue\]/! {/^\[queue\]/d}' "$WORK/pawsd.conf"
	for script in "$@"; do sed -i "$script" "$WORK/pawsd.conf"; done
	chmod 644 "$WORK/pawsd.conf"
}

# doctor [COMMAND...]: what it says is in $WORK/out, its status in DOCTOR_STATUS. COMMAND runs it.
doctor() {
	DOCTOR_STATUS=0
	in_ns "$GW" "$@" timeout 60 "$WORK/pawsd" -c "$WORK/pawsd.conf" --doctor >"$WORK/out" 2>"$WORK/err" || DOCTOR_STATUS=$?
	cat "$WORK/out" >>"$WORK/all"
	[ ! -s "$WORK/err" ] || sed 's/^/stderr: /' "$WORK/err" >>"$WORK/all"
}

# says LEVEL SUBJECT REGEX
says() {
	grep -qE "^$1 *  $2: .*$3" "$WORK/out" && return
	cat "$WORK/out"
	return 1
}

# Lines of that level, but of subjects that are the machine's rather than the namespace's.
lines() { grep "^$1 " "$WORK/out" | grep -vE '^[a-z]+ +(service|memory|kernel): ' || true; }

# nothing_to_change: status 0, and no line of the levels that ask for something.
nothing_to_change() {
	[ "$DOCTOR_STATUS" = 0 ] && [ -z "$(lines warn)$(lines fail)" ] && return
	echo "status $DOCTOR_STATUS"
	cat "$WORK/out"
	return 1
}

# finds NAME STATUS LEVEL SUBJECT REGEX [COMMAND...]: of the doctor as it looks now, run by COMMAND; and not in healthy times.
finds() {
	local name=$1 status=$2 level=$3 subject=$4 regex=$5
	shift 5
	doctor "$@"
	check "$name: found, by $subject" says "$level" "$subject" "$regex"
	check "$name: status $status" [ "$DOCTOR_STATUS" = "$status" ]
	check "$name: not found where all is well" fails grep -qE "^$level *  $subject: .*$regex" "$WORK/healthy"
}

# state_of_things: what a doctor could have changed.
state_of_things() {
	local flavour family
	in_ns "$GW" ipset list
	in_ns "$GW" nft -s list ruleset
	for flavour in nft legacy; do
		for family in "" 6; do
			! command -v "ip${family}tables-$flavour-save" >/dev/null || in_ns "$GW" "ip${family}tables-$flavour-save" | sed '/^#/d; s/ \[[0-9:]*\]//'
		done
	done
	in_ns "$GW" cat /proc/net/ip_tables_names /proc/net/ip6_tables_names /proc/net/netfilter/nfnetlink_queue 2>/dev/null || true
	in_ns "$GW" sysctl -a -r '^net\.' 2>/dev/null | sed '/nf_conntrack_count/d'
	find "$WORK/run" "$WORK/state" ! -name '*.new' -printf '%M %u %g %p\n' 2>&1
	# A running pawsd writes to these.
	find "$WORK/run" "$WORK/state" -type f ! -name shared ! -name "clock*" -exec cksum {} + 2>&1
}

# changes_nothing NAME [COMMAND...]
changes_nothing() {
	local name=$1
	shift
	state_of_things >"$WORK/before" 2>&1
	doctor "$@"
	state_of_things >"$WORK/after" 2>&1
	check "$name: nothing is changed" diff "$WORK/before" "$WORK/after"
	check "$name: it ends by itself" [ "$DOCTOR_STATUS" -le 1 ]
}

NOBODY=(setpriv --reuid 65534 --regid 65534 --clear-groups)

net_up
chmod 755 "$WORK"
cp "$PAWSD" "$WORK/pawsd"
mkdir -p "$WORK/run" "$WORK/state"
touch "$WORK/all"

# --- all is well ------------------------------------------------------------------------------

config
doctor
cp "$WORK/out" "$WORK/healthy"
check "a healthy gateway before the first start: nothing to change" nothing_to_change
for subject in kernel capabilities users runtime_dir state_dir clock control nfqueue buffers processors commands rules rules_present \
	conntrack timeouts forwarding wan fastpath surroundings; do
	check "a healthy gateway: $subject is said to be well" says ok $subject ""
done
check "a healthy gateway: nothing was made" fails ls "$WORK/run/lock" "$WORK/state/lock" "$WORK/state/epoch"
changes_nothing "before the first start"
for flavour in legacy nft; do
	command -v iptables-$flavour >/dev/null || continue
	config "s/^flavour.*/flavour = $flavour/"
	changes_nothing "with iptables-$flavour"
	check "with iptables-$flavour: nothing to change" nothing_to_change
done
config 's/^backend.*/backend = nft/'
changes_nothing "with nft"
if in_ns "$GW" nft -c 'add table inet t; add chain inet t c; add rule inet t c queue num 7' 2>/dev/null; then
	check "with nft: nothing to change" nothing_to_change
else
	check "with nft on a kernel without its queue statement: found" says fail rules 'lacks CONFIG_NFT_QUEUE.*backend = iptables'
	check "with nft on a kernel without its queue statement: status 1" [ "$DOCTOR_STATUS" = 1 ]
fi

# --- who is not root -------------------------------------------------------------------------

config
changes_nothing "as nobody" "${NOBODY[@]}"
check "as nobody: status 0, for what cannot be known is no failure" [ "$DOCTOR_STATUS" = 0 ]
for subject in capabilities state_dir nfqueue rules rules_present surroundings; do
	check "as nobody: it is said that $subject could not be looked at" says note $subject '(root|no CAP_NET_ADMIN)'
done
finds "root without CAP_NET_ADMIN" 1 fail capabilities 'no CAP_NET_ADMIN' setpriv --bounding-set=-net_admin --inh-caps=-net_admin

# --- the configuration -----------------------------------------------------------------------

config 's/^mode = rewrite/mode = rewind/'
finds "an error in the file" 1 fail configuration 'pawsd.conf:[0-9]+: .*rewind'
check "an error in the file: what needs no file is looked at" says ok kernel Linux
check "an error in the file: the rest is said not to be" says note wan 'not looked at'
config 's/^mode = rewrite/mode = strip/'
finds "a warning about the file" 0 warn configuration 'RHEL 7'
config 's/^mode = rewrite/mode = off/'
finds "a file that does nothing" 0 warn configuration 'nothing to do'
mv "$WORK/pawsd.conf" "$WORK/elsewhere"
finds "no file" 1 fail configuration 'No such file'
mv "$WORK/elsewhere" "$WORK/pawsd.conf"

# --- users, directories, the socket ----------------------------------------------------------

config 's/^socket/group = nosuchgroup\n&/'
finds "a group that is not there" 1 fail users 'group = nosuchgroup: .*groupadd'
config 's/^socket/admin_group = nosuchgroup\n&/'
finds "an admin_group that is not there" 1 fail users 'admin_group = nosuchgroup: '
config 's/^state_dir/user = nosuchuser\n&/'
finds "a user that is not there" 1 fail users 'user = nosuchuser: .*useradd'
config
for directory in state runtime; do
	path=$WORK/${directory/runtime/run}
	finds "${directory}_dir read-only" 1 fail ${directory}_dir 'cannot be written: Read-only' unshare -m sh -c \
		'mount -t tmpfs -o ro none "$0" && exec "$@"' "$path"
	finds "${directory}_dir full" 1 fail ${directory}_dir 'are needed' unshare -m sh -c \
		'mount -t tmpfs -o size=128k none "$0" && exec "$@"' "$path"
done
doctor unshare -m sh -c 'mount -t tmpfs none "$0" && exec "$@"' "$WORK/run"
check "runtime_dir on a tmpfs: no note" fails says note runtime_dir tmpfs
config "s,^state_dir.*,state_dir = $WORK/no/state,"
finds "state_dir cannot be made" 1 fail state_dir 'mkdir -p'
config
touch "$WORK/run/control.sock"
finds "a file in the control socket's place" 1 fail control 'which is no socket'
rm "$WORK/run/control.sock"
start "$GW" socat UNIX-LISTEN:"$WORK/run/control.sock",fork /dev/null
wait_until 10 test -S "$WORK/run/control.sock"
finds "somebody else on the control socket" 1 fail control 'another program listens'
stop_process "$STARTED"
rm -f "$WORK/run/control.sock"

# --- the clock -------------------------------------------------------------------------------

printf 'pawsd-epoch 1\nrubbish\n' >"$WORK/state/epoch"
finds "a damaged epoch" 0 warn clock 'epoch is damaged'
echo rubbish >"$WORK/state/clock"
finds "a damaged clock file" 0 warn clock 'clock is damaged'
check "damaged files: left where they are" [ "$(ls "$WORK/state")" = $'clock\nepoch' ]
touch "$WORK/state/clock.aside"
finds "a file that was set aside" 0 note clock 'clock.aside'
rm "$WORK/state"/*

# --- queues ----------------------------------------------------------------------------------

start_background "$GW" "$TOOLS/middlebox" --mode f3 --queue 9471 --server-dev wan0 --background --stats "$WORK/box"
finds "a foreign program on a queue" 1 fail nfqueue "queue 9471 is taken, by process $STARTED \(middlebox\)"
changes_nothing "beside a foreign program"
stop_process "$STARTED"
config 's/^workers.*/workers = 1\ncpus = 1000/'
finds "a processor that is not there" 1 fail processors 'names 1000'
config 's/^workers.*/workers = 64/'
finds "more workers than processors" 0 note processors 'workers on [0-9]+ processors'

# --- commands, rules -------------------------------------------------------------------------

config 's/^flavour.*/flavour = default/'
mkdir "$WORK/bin"
for command in timeout nft; do ln -s "$(command -v $command)" "$WORK/bin/$command"; done
finds "no iptables" 1 fail commands 'iptables: command not found; it is in the Debian package iptables' env PATH="$WORK/bin"
for command in iptables ip6tables; do
	cat >"$WORK/bin/$command" <<-EOT
		#!/bin/sh
		[ "\$2" != NFQUEUE ] || echo "Warning: Extension \$2 revision 0 not supported, missing kernel module?" >&2
		[ "\$1" != -V ] || echo "$command v0 (nf_tables)"
	EOT
	chmod +x "$WORK/bin/$command"
done
finds "a kernel without the target NFQUEUE" 1 fail rules 'lacks CONFIG_NETFILTER_XT_TARGET_NFQUEUE' env PATH="$WORK/bin:$PATH"
sed -i 's/NFQUEUE/connlabel/' "$WORK/bin"/ip*tables
finds "a kernel without the match connlabel" 0 note rules 'cannot label connections' env PATH="$WORK/bin:$PATH"
config 's/^flavour.*/flavour = default/' 's/^mode = rewrite/mode = strip/' 's/^strip_backend.*/strip_backend = auto/'
sed -i 's/connlabel/TCPOPTSTRIP/' "$WORK/bin"/ip*tables
finds "a kernel without the target TCPOPTSTRIP" 0 note rules 'cannot strip' env PATH="$WORK/bin:$PATH"
config 's/^backend.*/backend = none/'
finds "rules of somebody else that are not there" 0 warn rules_present 'no rule with pawsd.s names is there'

# --- connection tracking, forwarding ---------------------------------------------------------

config
ns_write "$GW" net/netfilter/nf_conntrack_tcp_timeout_close 500
finds "conntrack keeps connections longer" 0 note timeouts 'nf_conntrack_tcp_timeout_close 500 s \(the file says 120\)'
ns_write "$GW" net/netfilter/nf_conntrack_tcp_timeout_close 10
ns_write "$GW" net/netfilter/nf_conntrack_tcp_timeout_time_wait 30
finds "conntrack gives ports away early" 0 note timeouts 'time_wait is 30 s'
ns_write "$GW" net/netfilter/nf_conntrack_tcp_timeout_time_wait 120
for setting in net/ipv4/ip_forward net/ipv6/conf/all/forwarding; do
	ns_write "$GW" $setting 0
	finds "$setting is off" 0 note forwarding "sysctl -w ${setting//\//.}=1"
	ns_write "$GW" $setting 1
done
ns_write "$GW" net/ipv4/tcp_timestamps 0
finds "no timestamps on the gateway itself" 0 note forwarding 'tcp_timestamps is 0'
ns_write "$GW" net/ipv4/tcp_timestamps 1

# --- interfaces ------------------------------------------------------------------------------

config 's/^wan = .*/wan = wan0 ppp*/'
finds "an interface that is not there" 0 warn wan 'ppp\*: there is no such interface'
config 's/^wan = .*/wan = lan0/; s/^interfaces = .*/interfaces = wan0:lan/'
finds "the default route leaves elsewhere" 0 note wan 'default route leaves by wan0'
config
in_ns "$GW" ip link set wan0 down
finds "an interface that is down" 0 warn wan 'wan0: not up'
in_ns "$GW" ip link set wan0 up
in_ns "$GW" ip route add default via 203.0.113.254
in_ns "$GW" ip -6 address add 2001:db8:99::1/64 dev wan0 nodad 2>/dev/null || true
in_ns "$GW" ip -6 route add default via 2001:db8:99::fe 2>/dev/null || true
in_ns "$GW" ip link add cilium_host type veth peer name cilium_net
finds "Cilium" 0 note wan 'cilium_[a-z]*: with eBPF host routing'
in_ns "$GW" ip link del cilium_host

# --- the fast path ---------------------------------------------------------------------------

# fast LINE-OF-[fastpath]...: also of a configuration that has the section already.
fast() {
	sed -i '/^\[fastpath\]/,/^\(pins\|interfaces\) = .*/d; /^pins = /d' "$WORK/pawsd.conf"
	printf '%s\n' '[fastpath]' "$@" >>"$WORK/pawsd.conf"
}

if "$WORK/pawsd" --version | grep -q '^fast path: built in'; then
	mkdir "$WORK/bpf"
	BPF=(unshare -m sh -c 'mount -t bpf none "$0" && exec "$@"' "$WORK/bpf")
	config
	fast "interfaces = lan0:lan" "pins = $WORK/bpf/pawsd"
	doctor "${BPF[@]}"
	check "the fast path: nothing to change" nothing_to_change
	for regex in 'takes the programs' 'bpf/pawsd lies in a file system of type bpf' 'nothing is in its way at lan0'; do
		check "the fast path: $regex" says ok fastpath "$regex"
	done
	changes_nothing "with the fast path" "${BPF[@]}"
	finds "no file system for it" 0 warn fastpath 'pins = .* lies in no file system of type bpf; mount -t bpf bpf .*/bpf'
	finds "no right to load programs" 0 warn fastpath 'no CAP_BPF and CAP_PERFMON' "${BPF[@]}" \
		setpriv --bounding-set=-bpf,-perfmon --inh-caps=-bpf,-perfmon
	in_ns "$GW" ethtool -K lan0 rx-gro-list on
	finds "an interface with rx-gro-list" 0 warn fastpath 'lan0 has rx-gro-list on.*ethtool -K lan0 rx-gro-list off' "${BPF[@]}"
	in_ns "$GW" ethtool -K lan0 rx-gro-list off
	in_ns "$GW" tc qdisc add dev lan0 clsact
	in_ns "$GW" tc filter add dev lan0 egress bpf bytecode '1,6 0 0 4294967295' flowid 1:1
	finds "another program of tc" 0 warn fastpath 'lan0 has another filter on its egress, bpf' "${BPF[@]}"
	in_ns "$GW" tc qdisc del dev lan0 clsact
	fast "interfaces = lan0:lan ppp0:lan" "pins = $WORK/bpf/pawsd" "enabled = yes"
	finds "an interface for it that is not there" 0 warn fastpath 'ppp0: there is no such interface' "${BPF[@]}"
	in_ns "$GW" ip tuntap add mode tun name ppp0
	finds "an interface that is no Ethernet" 1 fail fastpath 'ppp0 is no Ethernet interface' "${BPF[@]}"
	in_ns "$GW" ip link del ppp0
	config 's/^workers.*/workers = 2/'
	fast "interfaces = lan0:lan" "pins = $WORK/bpf/pawsd"
	finds "two workers with the fast path" 0 warn fastpath 'workers is 2; take 1'
	rmdir "$WORK/bpf"
	config
else
	tap_skip "the fast path" "pawsd was built without"
fi

# --- surroundings ----------------------------------------------------------------------------

xt "$GW" 4 -t mangle -A FORWARD -p udp -j NFQUEUE --queue-num 9470 --queue-bypass
finds "somebody else's rule names a queue" 0 warn surroundings 'hazard_foreign_queue: -A FORWARD -p udp'
config 's/^backend.*/backend = none/'
finds "somebody else's rule names a queue, with backend = none" 0 warn surroundings 'hazard_foreign_queue: -A FORWARD -p udp'
config
xt "$GW" 4 -t mangle -F FORWARD
if in_ns "$GW" ip link set lan0 gro_max_size 131072 2>/dev/null; then
	finds "packets longer than 64 KiB" 0 warn surroundings 'hazard_big_tcp: gro_max_size 131072 of lan0.*gro_max_size 65000'
	in_ns "$GW" ip link set lan0 gro_max_size 65536
else
	tap_skip "packets longer than 64 KiB" "the kernel, or ip, has no gro_max_size"
fi
if [ -e /proc/sys/net/bridge ] && in_ns "$GW" ip link add br7 type bridge 2>/dev/null; then
	finds "a bridge whose packets go through the rules" 0 warn surroundings 'hazard_bridge: br7'
	in_ns "$GW" ip link del br7
else
	tap_skip "a bridge whose packets go through the rules" "the kernel has no bridges, or no CONFIG_BRIDGE_NETFILTER"
fi
if in_ns "$GW" nft 'add table inet f; add flowtable inet f t { hook ingress priority 0; devices = { lan0, wan0 }; }' 2>/dev/null; then
	finds "a flow table" 0 warn surroundings 'hazard_flowtable: t devices'
	in_ns "$GW" nft delete table inet f
else
	tap_skip "a flow table" "the kernel has no CONFIG_NF_FLOW_TABLE"
fi

# --- systemd ---------------------------------------------------------------------------------

doctor unshare -m sh -c \
	'mount -t tmpfs none /run && mkdir -p /run/systemd/system && touch /run/systemd/system/pawsd.service && exec "$@"' sh
check "a unit that is not enabled: found" says warn service 'pawsd.service is not enabled.*systemctl enable'

# --- beside a running pawsd ------------------------------------------------------------------

config
doctor
check "all is well again" nothing_to_change
serve "$(endpoint 4 1 80)"
pawsd_up "$WORK/pawsd.conf"
changes_nothing "beside a running pawsd"
check "beside a running pawsd: nothing to change" nothing_to_change
check "beside a running pawsd: it is known" says ok runtime_dir "pawsd runs, as process $PAWSD_PID"
check "beside a running pawsd: its queues are its own" says ok nfqueue "process $PAWSD_PID holds 2 of 2"
check "beside a running pawsd: its rules are in place" says ok rules_present 'rules of pawsd by iptables are in place'
check "beside a running pawsd: connections are rewritten" load --from "$(clients 4)" --to "$(endpoint 4 1 80)" --count 10
check "beside a running pawsd: its rules were never touched" metric_is rules_changed_total 0
xt "$GW" 4 -t mangle -A FORWARD -p tcp -s 192.0.2.9 -j ACCEPT
finds "rules behind pawsd's" 0 warn surroundings 'hazard_rules_behind: -A FORWARD -s 192.0.2.9'
xt "$GW" 4 -t mangle -D FORWARD -p tcp -s 192.0.2.9 -j ACCEPT
cp "$WORK/pawsd.conf" "$WORK/first.conf"
mkdir "$WORK/run2"
config "s,^runtime_dir.*,runtime_dir = $WORK/run2,"
finds "another pawsd has state_dir" 1 fail state_dir "held by process $PAWSD_PID"
check "another pawsd has state_dir: and the queues" says fail nfqueue "taken, by process $PAWSD_PID \(pawsd\)"
rmdir "$WORK/run2"
config
kill -KILL "$PAWSD_PID"
wait "$PAWSD_PID" 2>/dev/null || true
finds "rules that a killed pawsd has left" 0 warn rules_present 'rules of pawsd by iptables are there, and no pawsd: .*systemctl start pawsd.*iptables -t mangle -D'
config 's/^backend.*/backend = nft/'
doctor
check "rules of the other backend: found" says warn rules_present 'the other \[rules\] backend has made'
config
pawsd_up "$WORK/pawsd.conf"
check "it stops" pawsd_stop
doctor
check "behind it all is well" nothing_to_change

# --- what it prints --------------------------------------------------------------------------

check "usage: no argument is known" [ "$("$WORK/pawsd" --doctor x >/dev/null 2>&1; echo $?)" = 2 ]
check "each line is LEVEL  SUBJECT: text, without a tab" fails grep -vP '^(ok   |note |warn |fail ) [a-z_]+: [^\t]+$' "$WORK/all"
check "all but ok say where the manual says more" fails grep -vE '^ok |^[a-z]+ +[a-z_]+: .* \[pawsd(\.conf)?\([58]\)(, [A-Za-z ]+)?\]$' "$WORK/all"
while read -r page place; do
	check "$page has $place" grep -qix "\.S[hs] \"\?$place\"\?" "$REPO/man/$page.in"
done < <(sed -nE 's/.* \[(pawsd[a-z.]*)\(([58])\), ([A-Za-z ]+)\]$/\1.\2 \3/p' "$WORK/all" | sort -u)
tap_done
