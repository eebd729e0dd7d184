/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_DOCTOR_H
#define PAWSD_DOCTOR_H

#include <stdio.h>

/*
 * `pawsd --doctor`: looks at what pawsd needs, before its first start or beside one that runs, and says what is fine and what to
 * change. It changes nothing and sends nothing; who is not root is told what could not be looked at.
 *
 * The one table of what it looks at, in this order:
 *
 * X(subject, whether that needs a configuration, help)
 *
 * To add one: a line here, its doctor_look_at_SUBJECT() in one of src/daemon/doctor_*.c.
 */
#define DOCTOR_TABLE(X) \
	X(configuration, false, "errors and warnings of the file, as --check has them, and whether it does anything") \
	X(kernel, false, "the kernel's version, and what is known to go wrong with it") \
	X(capabilities, false, "what the process may do, and whether it can forbid itself the rest") \
	X(users, true, "whether [daemon] user, [control] group and admin_group exist") \
	X(runtime_dir, true, "whether the flow table can be made there: rights, space, and who holds it already") \
	X(state_dir, true, "the same for the clock's files") \
	X(clock, true, "the files epoch and clock: damaged, set aside, or ahead of the time of day; whether that is synchronised") \
	X(control, true, "whether the control socket can be made, and whether somebody else listens there") \
	X(nfqueue, true, "whether the kernel has NFQUEUE with all that is asked of it, and who holds pawsd's queues") \
	X(memory, true, "memory for [flows] max and the workers' buffers") \
	X(buffers, true, "whether the kernel gives [queue] buffer_kib") \
	X(processors, true, "[queue] workers and cpus against the processors there are") \
	X(commands, true, "iptables, ip6tables, ipset, nft: which are there, and of which flavour") \
	X(rules, true, "whether kernel and commands have what the rules of this configuration need; none is made") \
	X(rules_present, true, "rules of pawsd that are there: left over, missing, or of the other backend") \
	X(conntrack, false, "whether connections are tracked, and how full the table is") \
	X(timeouts, true, "conntrack's time-outs against those of [flows]") \
	X(forwarding, true, "whether the gateway forwards what the destinations name; its own tcp_timestamps") \
	X(wan, true, "whether the interfaces of [gateway] wan are there and up, and whether the default route leaves by one") \
	X(fastpath, true, "whether the kernel takes the programs of [fastpath], may be given them, and may have them at its interfaces") \
	X(surroundings, true, "what others have set up and gets in the way, as pawsd looks for it while it runs") \
	X(service, false, "under systemd: whether the unit is installed and enabled, and may read the file")

/*
 * Prints a line "LEVEL  SUBJECT: text" for each finding, without tabs: "ok", "note", "warn", "fail". All but "ok" say what to
 * change, if anything, and end with the place in the manual, in brackets. `path`: of the configuration. Returns the number
 * of lines with "fail".
 */
unsigned int doctor_run(FILE *out, const char *path);

#endif
