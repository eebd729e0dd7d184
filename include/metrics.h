/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_METRICS_H
#define PAWSD_METRICS_H

/*
 * The one table of figures that stand beside the per-packet reasons: pawsd sends each as
 * "metric NAME VALUE" over the control socket, pawsctl and pawsd-exporter print it. To add
 * one: a line here, and its value in metrics_collect() (metrics.c).
 *
 * X(ID, name, type, unit, help)
 *   name  on /metrics "pawsd_" goes before it
 *   type  COUNTER (name ends in _total) or GAUGE
 *   unit  what one stands for on the wire: COUNT or MILLISECONDS (exported as seconds)
 */
#define METRIC_TABLE(X) \
	X(UPTIME, "uptime_seconds", GAUGE, MILLISECONDS, "time since pawsd started") \
	X(WORKERS, "workers", GAUGE, COUNT, "worker threads, one per pair of queues") \
	X(FLOWS_CAPACITY, "flow_table_capacity", GAUGE, COUNT, "flows that the table can hold") \
	X(FLOWS_USED, "flow_table_used", GAUGE, COUNT, "flows in the table") \
	X(PUSHED_OUT, "syns_pushed_out_total", COUNTER, COUNT, \
	  "SYNs without an answer for 3 s whose place was given to another: the table, or a client's share, was full") \
	X(SYN_PAIRS_USED, "syn_pair_blocks_used", GAUGE, COUNT, "flows with several SYNs outstanding") \
	X(SCALED_FLOWS, "scaled_flows", GAUGE, COUNT, "flows of clients whose clock is faster than 1 kHz") \
	X(CLOCK_LEAD, "clock_lead_seconds", GAUGE, MILLISECONDS, \
	  "how far fast clients have pushed the shared clock's mark ahead") \
	X(POLICY_RANGES, "policy_ranges", GAUGE, COUNT, "address ranges that the policy was cut into") \
	X(RELOADS, "config_reloads_total", COUNTER, COUNT, "reloads that took effect") \
	X(RELOADS_REFUSED, "config_reloads_refused_total", COUNTER, COUNT, \
	  "reloads refused, the old policy kept") \
	X(RELOAD_OK, "config_last_reload_successful", GAUGE, COUNT, "1 if the last reload took effect") \
	X(OVERRIDES, "overrides", GAUGE, COUNT, \
	  "destinations whose mode is not that of the file but what was set since (pawsctl set)") \
	X(TRIAL, "trial_seconds", GAUGE, MILLISECONDS, \
	  "how long a trial goes on (pawsctl try); 0: there is none") \
	X(RULES_INSTALLED, "rules_installed", GAUGE, COUNT, \
	  "1 while the netfilter rules of this configuration are in place by pawsd's own hand") \
	X(RULES_CHANGED, "rules_changed_total", COUNTER, COUNT, \
	  "times that somebody else had changed pawsd's rules or sets: put in place again, if so configured") \
	X(RULES_FAILED, "rules_failed", GAUGE, COUNT, \
	  "1 while somebody else has changed pawsd's rules or sets, and they cannot be put in place again") \
	X(HELPER, "helper_up", GAUGE, COUNT, \
	  "1 while the process is there that changes rules, reads the configuration and saves the clock") \
	X(HELPER_BUSY, "helper_busy_seconds", GAUGE, MILLISECONDS, \
	  "how long it has been at work on what it was asked last; 0 while it waits") \
	X(CONFINED, "confined", GAUGE, COUNT, \
	  "1 while the process in the path of packets may use no system calls but those it needs") \
	X(STRIPS_IN_KERNEL, "strips_in_kernel", GAUGE, COUNT, \
	  "1 while rules strip by themselves, so that destinations with mode strip need no user space") \
	X(LABELS, "labels_in_use", GAUGE, COUNT, \
	  "1 while the rules remember by labels of conntrack what is decided about a connection") \
	X(FASTPATH_INTERFACES, "fastpath_interfaces", GAUGE, COUNT, \
	  "interfaces at which programs of the kernel rewrite packets by themselves; 0: there is no fast path") \
	X(FASTPATH_MISSING, "fastpath_missing", GAUGE, COUNT, \
	  "1 while the fast path is wanted, and there is none at one of its interfaces or at all") \
	X(FASTPATH_PACKETS, "fastpath_packets_total", COUNTER, COUNT, "packets that were handled there and came to no queue") \
	X(DRAINING, "draining", GAUGE, COUNT, \
	  "1 while pawsd drains: no new connection is rewritten (pawsctl drain)") \
	X(DRAINING_FLOWS, "draining_flows", GAUGE, COUNT, \
	  "rewritten connections that go on meanwhile; at 0 pawsd can be stopped and nobody notices") \
	X(DRAINING_SERVERS, "draining_servers", GAUGE, COUNT, \
	  "servers still queued for old flows after a reload took their rewriting away") \
	X(DRAINING_DESTINATIONS, "draining_destinations", GAUGE, COUNT, \
	  "destinations with mode strip where servers may still remember a TSval") \
	X(SUSPECTS_RECYCLE, "suspects_tw_recycle", GAUGE, COUNT, \
	  "servers that are likely to have tcp_tw_recycle (pawsctl suspects)") \
	X(SUSPECTS_RECYCLE_BARE, "suspects_tw_recycle_bare", GAUGE, COUNT, \
	  "servers that are likely to drop SYNs without timestamps for that") \
	X(SUSPECTS_TIME_WAIT, "suspects_time_wait", GAUGE, COUNT, \
	  "servers that have refused a SYN on a four-tuple in TIME_WAIT for its older TSval") \
	X(SUSPECTS_BUSY_TUPLE, "suspects_busy_four_tuple", GAUGE, COUNT, \
	  "servers that have refused a SYN as if its four-tuple were in use, though its TSval was new") \
	X(SUSPECTS_FOREIGN_TSECR, "suspects_foreign_tsecr", GAUGE, COUNT, \
	  "servers that have answered with a TSecr that was never sent") \
	X(EVENTS, "events_total", COUNTER, COUNT, "beginnings and ends of connections that were looked at for that") \
	X(EVENTS_LOST, "events_lost_total", COUNTER, COUNT, "those that were not, for there were too many at a time") \
	X(BATCHES, "receive_batches_total", COUNTER, COUNT, "receive calls that brought packets") \
	X(HAZARD_FLOWTABLE, "hazard_flowtable", GAUGE, COUNT, \
	  "1 while there is a flow table, which takes established connections past pawsd") \
	X(HAZARD_BRIDGE, "hazard_bridge", GAUGE, COUNT, \
	  "1 while bridged packets go through iptables, so that pawsd sees some twice (bridge-nf-call-iptables)") \
	X(HAZARD_FOREIGN_QUEUE, "hazard_foreign_queue", GAUGE, COUNT, \
	  "1 while another tool's rule sends packets to a queue of pawsd") \
	X(HAZARD_RULES_BEHIND, "hazard_rules_behind", GAUGE, COUNT, \
	  "1 while there are rules behind pawsd's jump in mangle/FORWARD, which packets from its queues do not meet") \
	X(HAZARD_WAN_MISSING, "hazard_wan_missing", GAUGE, COUNT, \
	  "1 while there is no interface for one of [gateway] wan") \
	X(HAZARD_BIG_TCP, "hazard_big_tcp", GAUGE, COUNT, \
	  "1 while an interface makes packets longer than 64 KiB, which pawsd cannot rewrite (gro_max_size)") \
	X(HAZARD_MARKS, "hazard_marks", GAUGE, COUNT, \
	  "1 while somebody else's rule sets or restores bits of packets' marks that the fast path uses: there is none") \
	X(HAZARD_KERNEL, "hazard_kernel", GAUGE, COUNT, \
	  "1 on a kernel that refuses changed packets here: 7.1 and later, in a user namespace") \
	X(VERDICT_ERRORS, "verdict_errors_total", COUNTER, COUNT, \
	  "verdicts that the kernel refused, or that could not be sent") \
	X(QUEUE_MESSAGE_ERRORS, "queue_message_errors_total", COUNTER, COUNT, \
	  "messages from the queue that could not be understood")

enum metric {
#define X(id, name, type, unit, help) METRIC_##id,
	METRIC_TABLE(X)
#undef X
	METRIC_COUNT,
};

enum metric_type {
	METRIC_TYPE_COUNTER,
	METRIC_TYPE_GAUGE,
};

enum metric_unit {
	METRIC_UNIT_COUNT,
	METRIC_UNIT_MILLISECONDS,
};

struct metric_info {
	const char *name;
	enum metric_type type;
	enum metric_unit unit;
	const char *help;
};

/* Indexed by enum metric. */
extern const struct metric_info metric_table[METRIC_COUNT];

#endif
