#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Other tools at the same tables: what they do to pawsd's rules and sets is noticed within 5 s, said, counted and mended;
# what they do elsewhere is none of its business. In both flavours of iptables.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq ipset:ipset
pawsd_require

# rules: what is in table mangle and in the sets, in any order, but for what changes each time.
rules() {
	local family
	{
		for family in 4 6; do
			in_ns "$GW" "$(xt_command $family)-save" -t mangle 2>/dev/null |
				sed -n "s/\[[0-9]*:[0-9]*\]//; /^-A\|^:PAWSD/s/^/$family /p"
		done
		in_ns "$GW" ipset list -terse | sed -n 's/^Name: /set /p; /^Number of entries/p' | paste - -
	} | sed 's/ pawsd-[a-z]\([46]\)/ pawsd-\1/; s/ --label [0-9"]*/ --label N/g' | sort
}

xt_command() { if [ "$1" = 4 ]; then echo "iptables-$XT"; else echo "ip6tables-$XT"; fi; }

rules_are() { diff <(echo "$1") <(rules); }

connects_rewritten() {
	local before
	before=$(counted all syn_rewritten)
	load --from "$(clients "$1")" --to "$(endpoint "$1" 1 80)" --count 3 &&
		[ "$(counted all syn_rewritten)" = $((before + 3)) ]
}

# mended WHAT COMMAND...: what the command has done is undone within 5 s.
mended() {
	local what=$1 changed
	shift
	changed=$(metric rules_changed_total)
	"$@"
	check "$XT: $what: noticed within 5 s" wait_until 5 metric_is rules_changed_total $((changed + 1))
	check "$XT: $what: all is as it was" rules_are "$BEFORE"
	check "$XT: $what: new connections are rewritten" connects_rewritten 4
}

flush() { xt "$GW" "$1" -t mangle -F; }
drop_jump() { xt "$GW" 6 -t mangle -S FORWARD | sed -n '/-j PAWSD/s/^-A/-D/p' | xargs nsenter --net="/run/netns/$GW" "$(xt_command 6)" -t mangle 2>/dev/null; }
flush_set() { in_ns "$GW" ipset flush "$(in_ns "$GW" ipset list -n | grep '^pawsd-.4-' | head -1)"; }
drop_rule() { xt "$GW" 4 -t mangle -D PAWSD-OUT 1; }
elsewhere() {
	xt "$GW" 4 -t filter -A FORWARD -s 192.0.2.99 -j ACCEPT
	xt "$GW" 4 -t mangle -A FORWARD -s 192.0.2.99 -j ACCEPT
	in_ns "$GW" ipset create other hash:ip
	in_ns "$GW" ipset add other 192.0.2.1
}

# ambush_bin: in front of what pawsd runs to put rules in place, a script that does so, and flushes them at once if there is a
# file $WORK/ambush: as another tool does that comes just then, before pawsd has had a look at them. With $WORK/broken it fails.
ambush_bin() {
	mkdir -p "$WORK/bin"
	cat >"$WORK/bin/iptables-$XT-restore" <<-EOT
		#!/bin/sh
		[ ! -e "$WORK/broken" ] || { echo "broken" >&2; exit 4; }
		"$(command -v "iptables-$XT-restore")" "\$@" || exit
		[ ! -e "$WORK/ambush" ] || { rm "$WORK/ambush" && iptables-$XT -w -t mangle -F; }
	EOT
	chmod +x "$WORK/bin/iptables-$XT-restore"
}

ambush() {
	touch "$WORK/ambush"
	kill -HUP "$PAWSD_PID"
	wait_until 10 eval '! [ -e "$WORK/ambush" ]'
}

flush_in_vain() {
	touch "$WORK/broken"
	flush 4
}

flush_and_reload() {
	flush 4
	kill -HUP "$PAWSD_PID"
}

# Transfers whose client is ahead of the shared clock are left alone once their server has seen its TSvals; the others' servers
# have dropped what came by.
crowd_start() {
	rm -f "$WORK/started"
	start "$CL" "$TOOLS/tcpcrowd" --from "$(clients 4)" --to "$(endpoint 4 1 80)" --connections 128 --gap-ms 20 \
		--started "$WORK/started" >"$WORK/crowd"
	CROWD=$STARTED
	check "$XT: 128 transfers run" wait_until 20 test -e "$WORK/started"
}

crowd_end() {
	local before
	before=$(counted all out_rewritten)
	# The kernel's programs ask no rules: of what they rewrite nothing goes by.
	if [ -z "${PAWSD_FASTPATH:-}" ]; then
		check "$XT: transfers whose client is ahead are left alone" [ "$(counted all in_gone_past)" -ge 5 ]
	else
		check "$XT: no transfer has gone by" [ "$(counted all in_gone_past)" = 0 ]
	fi
	check "$XT: the others are rewritten" wait_until 10 eval "[ \"\$(counted all out_rewritten)\" -gt $((before + 1000)) ]"
	kill -TERM "$CROWD"
	check "$XT: no transfer is broken" finish "$CROWD"
	diag "$(cat "$WORK/crowd")"
}

net_up
for family in 4 6; do serve "$(endpoint $family 1 80)"; done
for XT in legacy nft; do
	PAWSD_FLAVOUR=$XT pawsd_config "$WORK/pawsd.conf" <<-EOT
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
	EOT
	: >"$WORK/pawsd.log"
	ambush_bin
	PATH="$WORK/bin:$PATH" pawsd_up "$WORK/pawsd.conf"
	BEFORE=$(rules)
	crowd_start
	mended "its rules for IPv4 are flushed, with transfers running" flush 4
	crowd_end
	check "$XT: that is said" grep -q 'somebody else had changed' "$WORK/pawsd.log"
	mended "those for IPv6, with all others" flush 6
	mended "the jump is gone" drop_jump
	mended "a rule is gone" drop_rule
	mended "a set is emptied" flush_set
	mended "its rules are flushed in the midst of a reload" ambush
	mended "they are flushed, and a reload comes at once" flush_and_reload
	wait_until 10 metric_is config_reloads_total 2
	flush_in_vain
	check "$XT: they cannot be put back: a figure says so" wait_until 10 metric_is rules_failed 1
	rm "$WORK/broken"
	check "$XT: and when they could" wait_until 10 metric_is rules_failed 0
	check "$XT: new connections are rewritten again" connects_rewritten 4
	elsewhere
	BEFORE=$(rules)
	mended "what it does itself, and others elsewhere, does not count, but a set emptied does" flush_set
	check "$XT: IPv6, too" connects_rewritten 6
	sed -i 's/^\[rules\]/&\non_change = warn/' "$WORK/pawsd.conf"
	kill -HUP "$PAWSD_PID"
	wait_until 10 metric_is config_reloads_total 3
	changed=$(metric rules_changed_total)
	drop_rule
	check "$XT, on_change = warn: noticed within 5 s" wait_until 5 metric_is rules_changed_total $((changed + 1))
	check "$XT, on_change = warn: said" grep -q 'they stay so' "$WORK/pawsd.log"
	flush_set
	check "$XT, on_change = warn: the next, too" wait_until 5 metric_is rules_changed_total $((changed + 2))
	check "$XT, on_change = warn: the rule is still not there" fails grep '^4 -A PAWSD-OUT' <<<"$(rules)"
	check "$XT: pawsd stops" pawsd_stop
	xt "$GW" 4 -t mangle -D FORWARD -s 192.0.2.99 -j ACCEPT
	in_ns "$GW" ipset destroy other
done
tap_done
