#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is tested in the guest that `run` boots: the nft backend with real queue statements (symhash),
# both placements, IPv4 and IPv6, two workers. The topology is that of netns/lib.sh; the gateway's NAT
# and firewall are nft's as well:
#
#   - all clients are masqueraded; to the servers of F2 they all get one public port
#   - what conntrack calls invalid is counted and dropped, and so are new connections from outside
#
# Parts, each with a file that says more; PARTS names some, with commas between:
#
#   placements  guest_placements.sh: rules, connects, F2, reload, kill, for each placement
#   netem       guest_netem.sh: loss, repetition, reordering; reload and kill in the midst
#   conntrack   guest_conntrack.sh: what conntrack knows of rewritten connections
#   pools       guest_pools.sh: two pools of clients, each with a public address of its own
#   flowtable   guest_flowtable.sh: the kernel's flow table, found, and what it does
#   fastpath    guest_fastpath.sh: connections rewritten by programs in the kernel
#
# A part by itself is guest_systemd.sh: under systemd, in a guest of its own.
#
# Each shows without pawsd what pawsd is to cure, or what it cannot be blamed for.
#
# Servers (the last part of the address): 1, 2, 6 and 14 see rewritten SYNs alone; 3 and 4 are those of
# F2, each run at ports of its own; 8 is only observed; 5, 9 and 13 are for the runs without pawsd; 10 and
# 12 for the gateway's own connections, which one placement rewrites; 7 and 11 for those made when pawsd
# is killed. So there is no TIME_WAIT left by a SYN that pawsd did not see where it is to be blamed for
# one refused.
set -Eeuo pipefail
trap 'echo "# guest.sh ended by line $LINENO: $BASH_COMMAND"' ERR
here=$(dirname "$0")
# shellcheck source=tests/netns/lib.sh
. "$here/../netns/lib.sh"
# shellcheck source=tests/netns/cases.sh
. "$here/../netns/cases.sh"
# shellcheck source=tests/kernels/guest_lib.sh
. "$here/guest_lib.sh"
# shellcheck source=tests/kernels/guest_placements.sh
. "$here/guest_placements.sh"
# shellcheck source=tests/kernels/guest_netem.sh
. "$here/guest_netem.sh"
# shellcheck source=tests/kernels/guest_pools.sh
. "$here/guest_pools.sh"
# shellcheck source=tests/kernels/guest_conntrack.sh
. "$here/guest_conntrack.sh"
# shellcheck source=tests/kernels/guest_flowtable.sh
. "$here/guest_flowtable.sh"
# shellcheck source=tests/kernels/guest_fastpath.sh
. "$here/guest_fastpath.sh"

kernel_complains() { dmesg | grep -E 'BUG|WARNING|Oops|Call Trace|segfault|general protection'; }

guest_net_up
phase "$(uname -r)"
PARTS=${PARTS:-placements,netem,conntrack,pools,flowtable,fastpath}
for part in ${PARTS//,/ }; do "part_$part"; done
check "the kernel had nothing to complain of" fails kernel_complains
phase "end"
tap_done
