#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Under valgrind: a start, connections and transfers, reloads that are taken and refused, questions on the control socket, and
# a stop. Nothing is read that was never written, nothing outside of what is ours, and nothing is left when pawsd or its
# helper ends.
set -euo pipefail
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
net_require jq:jq valgrind:valgrind
pawsd_require
! is_sanitized || tap_skip_all "built with a sanitizer, which does the same"

config() {
	pawsd_config "$WORK/pawsd.conf" <<-EOT
		[flows]
		max = 4096
		[destination all]
		prefixes = 198.51.100.0/24, 2001:db8:100::/64
		mode = rewrite
		synack_tsecr = echo
		[destination more]
		prefixes = $(server_addr 4 2), $(server_addr 6 2)
		ports = 80, 8000-8100
		sources = 10.99.0.0/16
		mode = $1
	EOT
	# The filter knows nothing of what valgrind needs.
	sed -i 's/^\[daemon\]/&\nconfine = no/' "$WORK/pawsd.conf"
}

traffic() {
	local family
	for family in 4 6; do
		load --from "$(clients $family)" --to "$(endpoint $family 1 80)" --count 40 >/dev/null &&
			load --from "$(clients $family)" --to "$(endpoint $family 2 80)" --count 20 >/dev/null &&
			in_ns "$CL" "$TOOLS/tcpbulk" --to "$(endpoint $family 1 80)" --up 300000 --down 300000 >/dev/null || return
	done
}

reloads() { metric_is "$1" "$2"; }

# clean WHO: of all its processes' reports; each says that there were no errors.
clean() {
	wait_until 10 both_reported || return 1
	! grep -h -A40 -E 'Invalid|uninitialised|lost in loss record|ERROR SUMMARY: [1-9]' "$WORK"/valgrind.*
}

both_reported() { [ "$(grep -l 'ERROR SUMMARY: ' "$WORK"/valgrind.* | wc -l)" -ge 2 ]; }

net_up
for family in 4 6; do serve "$(endpoint $family 1 80)" "$(endpoint $family 2 80)"; done
# What libbpf tells the kernel of a program has holes; valgrind does not know how long each version's request is.
for field in expected_attach_type prog_ifindex prog_btf_fd; do
	printf '{\n%s\nMemcheck:Param\nbpf(attr->%s)\nfun:syscall\nobj:*/libbpf.so*\n}\n' $field $field
done >"$WORK/suppressions"
cat >"$WORK/checked-pawsd" <<-EOT
	#!/bin/sh
	exec valgrind -q --leak-check=full --show-leak-kinds=definite,indirect,possible --errors-for-leak-kinds=definite,indirect \\
		--error-exitcode=99 --suppressions="$WORK/suppressions" -v --log-file="$WORK/valgrind.%p" "$PAWSD" "\$@"
EOT
chmod +x "$WORK/checked-pawsd"
PAWSD=$WORK/checked-pawsd
config observe
check "it comes up" pawsd_start "$WORK/pawsd.conf"
check "connections and transfers" traffic
check "they are rewritten" [ "$(counted all syn_rewritten)" -ge 80 ]
config strip
kill -HUP "$PAWSD_PID"
check "a reload is taken" wait_until 20 reloads config_reloads_total 1
check "connections and transfers after it" traffic
echo "nonsense" >>"$WORK/pawsd.conf"
kill -HUP "$PAWSD_PID"
check "a reload is refused" wait_until 20 reloads config_reloads_refused_total 1
check "it answers" pawsctl stats
check "it drains" pawsctl drain --no-wait
check "it stops" pawsd_stop
check "valgrind has found nothing, in pawsd and its helper" clean
tap_done
