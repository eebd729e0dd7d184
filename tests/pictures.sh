#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes the pictures of README.md, from real TCP in namespaces: pictures/tsval.svg, what `pawsctl analyze --plot` draws of a
# server with the check of tcp_tw_recycle in front of it; and the text of `pawsctl top` between README's two marks.
# Usage: tests/pictures.sh BUILD, as root.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/netns/lib.sh"
# shellcheck source=tests/netns/cases.sh
. "$(dirname "$0")/netns/cases.sh"
net_require ipset:ipset tcpdump:tcpdump gnuplot:gnuplot-nox

# Ten machines of which each connects now and then, for some seconds.
visit() {
	local seconds=$1 to=$2
	timeout "$seconds" nsenter --net="/run/netns/$CL" "$TOOLS/tcpload" --from "$(client_addr 4 1)+10" --to "$to" --loop \
		--concurrency 3 --gap-ms 400 --timeout-ms 4000 >/dev/null || true
}

net_up
cases_setup
cases_fresh
serve "$(endpoint 4 8 443)" "$(endpoint 4 9 443)" "$(endpoint 4 10 443)"

capture_start tsval "tcp and host $(server_addr 4 2)"
visit 20 "$(endpoint 4 2 80)"
capture_stop tsval
"$PAWSCTL" analyze --plot "$REPO/pictures/tsval.svg" "$WORK/tsval.inside.pcap" || [ $? = 3 ]

PAWSD_WORKERS=2 pawsd_config "$WORK/pawsd.conf" <<-EOT
	[default]
	mode = observe
	[destination bank]
	prefixes = $(server_addr 4 8)
	mode = rewrite
	[destination partner]
	prefixes = $(server_addr 4 5), $(server_addr 4 9)
	mode = rewrite
	synack_tsecr = echo
	[destination printer]
	prefixes = $(server_addr 4 10)
	mode = strip
EOT
pawsd_up "$WORK/pawsd.conf"
visit 60 "$(endpoint 4 2 80)" &
VISIT=$!
for to in "$(endpoint 4 8 443)" "$(endpoint 4 9 443)" "$(endpoint 4 10 443)" "$(endpoint 4 5 80)"; do
	start "$CL" "$TOOLS/tcpload" --from "$(client_addr 4 20)+40" --to "$to" --loop --concurrency 16 --gap-ms 20 --bytes 100000 >/dev/null
done
start "$CL" "$TOOLS/tcpcrowd" --from "$(client_addr 4 1)+60" --to "$(endpoint 4 8 443)" --connections 600 --gap-ms 200 \
	--started "$WORK/started" >/dev/null
recycle_found() { grep -q tw_recycle <(pawsctl suspects); }
wait_until 50 recycle_found
pawsctl top --once --interval 5 >"$WORK/top"
wait $VISIT
pawsd_stop
{
	sed '/^<!-- top -->$/q' "$REPO/README.md"
	echo
	sed 's/^./    &/; s/ *$//' "$WORK/top"
	echo
	sed -n '/^<!-- top, end -->$/,$p' "$REPO/README.md"
} >"$WORK/README"
grep -q '^<!-- top, end -->$' "$WORK/README"
cat "$WORK/README" >"$REPO/README.md"
cat "$WORK/top"
