# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What conntrack knows of rewritten connections, with nf_conntrack_netlink loaded, the glue between it and
# nfnetlink_queue. pawsd asks for no conntrack entry with its packets and sends none back; it changes no
# length, so there is nothing to adjust either. In front of it stands another program's queue, which does
# ask for the entries: that they come shows that the glue is at work.

IPS_SRC_NAT=0x10 IPS_SEQ_ADJUST=0x40 GLUE_QUEUE=9400

glue_rules() {
	in_ns "$GW" nft -f - <<-EOT
		table inet glue {
			chain forward {
				type filter hook forward priority -300;
				ip daddr $(server_addr 4 2) tcp dport 80 queue num $GLUE_QUEUE
				ip saddr $(server_addr 4 2) tcp sport 80 queue num $GLUE_QUEUE
				ip6 daddr $(server_addr 6 2) tcp dport 80 queue num $GLUE_QUEUE
				ip6 saddr $(server_addr 6 2) tcp sport 80 queue num $GLUE_QUEUE
			}
		}
	EOT
}

# pawsd's labels (64 to 127) by names, for conntrack shows no others.
name_labels() {
	local n
	mkdir -p /etc/xtables
	for ((n = 64; n < 128; n++)); do echo "$n pawsd-$n"; done >/etc/xtables/connlabel.conf
}

entry() { in_ns "$GW" conntrack -L -f "ipv$1" -p tcp -d "$(server_addr "$1" 2)" -o labels 2>/dev/null; }

# One entry, established, and the server answers to the public address.
is_intact() {
	[ "$(wc -l <<<"$1")" = 1 ] && grep -q "ESTABLISHED.*src=$3 dst=$2 .*\[ASSURED\]" <<<"$1"
}

with_status() { in_ns "$GW" "$TOOLS/ctcount" --status "$1" "$(server_addr "$2" 2)"; }

# tracked NAME forward|postnat: of the transfers that run.
tracked() {
	local family entry
	for family in 4 6; do
		entry=$(entry $family)
		diag "$entry"
		check "$1 IPv$family: established, with its public address" \
			is_intact "$entry" "$(public_addr $family)" "$(server_addr $family 2)"
		if [ "$2" = forward ]; then
			check "$1 IPv$family: it has a label" grep -q 'labels=pawsd-' <<<"$entry"
		else
			check "$1 IPv$family: it has no label" fails grep -q 'labels=pawsd-' <<<"$entry"
		fi
		check "$1 IPv$family: its source is translated" [ "$(with_status $IPS_SRC_NAT $family)" = 1 ]
		check "$1 IPv$family: no sequence number is adjusted" [ "$(with_status $IPS_SEQ_ADJUST $family)" = 0 ]
	done
}

part_conntrack() {
	local placement glue
	name_labels
	check "the glue is loaded: nf_conntrack_netlink" grep -q '^nf_conntrack_netlink ' /proc/modules
	for placement in forward postnat; do
		phase "$placement: conntrack"
		config_rewrite "$WORK/pawsd.conf" $placement
		config_rewrite "$WORK/rewrite.conf" $placement
		pawsd_up "$WORK/pawsd.conf"
		start_background "$GW" "$TOOLS/queuecount" --first $GLUE_QUEUE --workers 1 --conntrack --background \
			--stats "$WORK/glue"
		glue=$STARTED
		glue_rules
		remember
		check "$placement, glue: transfers begin" transfers_start
		tracked "$placement, glue" $placement
		check "$placement, glue: reload" reload_to rewrite
		tracked "$placement, glue, after a reload" $placement
		transfers_end "$placement, glue"
		in_ns "$GW" nft delete table inet glue
		stop_process "$glue"
		check "$placement, glue: entries came with the packets of the other queue" \
			[ "$(value_of conntrack "$(cat "$WORK/glue")")" -gt 100 ]
		unhurt "$placement, glue"
		check "$placement, glue: nothing odd" nothing_odd
		check "$placement, glue: pawsd stops" pawsd_stop
	done
}
