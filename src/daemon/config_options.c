/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_options.h"

#include <string.h>

#include "config.h"
#include "queue.h"

static const char *const choices_placement[] = {"forward", "postnat", NULL};
static const char *const choices_backend[] = {"none", "iptables", "nft", NULL};
static const char *const choices_flavour[] = {"default", "legacy", "nft", NULL};
static const char *const choices_strip[] = {"auto", "kernel", "queue", NULL};
static const char *const choices_labels[] = {"auto", "off", NULL};
static const char *const choices_fastpath[] = {"auto", "yes", "no", NULL};
static const char *const choices_on_stop[] = {"remove", "keep", NULL};
static const char *const choices_on_change[] = {"restore", "warn", NULL};
static const char *const choices_log_level[] = {"error", "warning", "info", "debug", NULL};
static const char *const choices_mode[] = {"off", "observe", "strip", "rewrite", NULL};
static const char *const choices_repair[] = {"off", "echo", "zero", NULL};

#define FIELD(type, field) .offset = offsetof(struct type, field), .size = sizeof(((struct type *)0)->field)
#define COUNT(type, field) .count_offset = offsetof(struct type, field)
#define DAYS(n) ((n) * 86400u)

#define NUMBER(sec, name, field, lo, hi, value, flag, text) \
	{.section = sec, .key = name, .type = OPTION_NUMBER, FIELD(config, field), .min = lo, .max = hi, \
	 .preset = value, .flags = flag, .help = text}
#define CHOICE(sec, name, base, field, words, value, flag, text) \
	{.section = sec, .key = name, .type = OPTION_CHOICE, FIELD(base, field), .choices = words, .preset = value, \
	 .flags = flag, .help = text}
#define TEXT(sec, name, kind, field, value, text) \
	{.section = sec, .key = name, .type = kind, FIELD(config, field), .preset = value, .flags = OPTION_STATIC, \
	 .help = text}
#define TIMEOUT(name, state, least, value, text) \
	NUMBER("flows", name, timeout_s[state], least, DAYS(365), value, 0, text)
#define LIST(sec, name, kind, base, field, counter, text) \
	{.section = sec, .key = name, .type = kind, FIELD(base, field), COUNT(base, counter), .preset = "", \
	 .help = text}

const struct option_info option_table[] = {
	{.section = "gateway", .key = "wan", .type = OPTION_INTERFACES, FIELD(config, rules.wan),
	 COUNT(config, rules.wan_count), .preset = "", .flags = OPTION_STATIC,
	 .help =
	     "Interfaces towards the servers, blank separated; a trailing * stands for any ending\n"
	     "(ppp*). They tell which way a packet goes. Without them the policy has to: the side\n"
	     "that a destination names is the server's."},
	CHOICE("gateway", "placement", config, rules.placement, choices_placement, "forward", OPTION_STATIC,
	       "Where packets are taken: forward sees the inner addresses of clients (iptables and\n"
	       "nft); postnat the public ones, behind the NAT (nft only)."),

	NUMBER("queue", "first", rules.queue_first, 0, 65533, "9470", OPTION_STATIC,
	       "Number of the first NFQUEUE queue. pawsd takes two for each worker: handshakes in\n"
	       "first ... first + workers - 1, established packets in as many after these."),
	NUMBER("queue", "workers", rules.workers, 1, WORKERS_MAX, "1", OPTION_STATIC,
	       "Worker threads, each with its pair of queues and its share of the flow table."),
	NUMBER("queue", "max_packets", queue_max_packets, 64, 1000000, "8192", OPTION_STATIC,
	       "Packets that may wait in a queue. Beyond, handshakes pass by pawsd, others are dropped\n"
	       "and sent again by their host."),
	NUMBER("queue", "buffer_kib", queue_buffer_kib, 256, 1048576, "16384", OPTION_STATIC,
	       "Socket buffer of a pair of queues, KiB; packets of 64 KiB have to fit in."),
	NUMBER("queue", "batch_packets", queue_batch_packets, 1, QUEUE_BATCH_PACKETS, "64", OPTION_STATIC,
	       "Packets that are received, and whose verdicts are sent, at a time."),
	NUMBER("queue", "batch_kib", queue_batch_kib, 64, 4096, "256", OPTION_STATIC,
	       "The same in KiB, about: fewer packets where they are long."),
	{.section = "queue", .key = "cpus", .type = OPTION_CPUS, FIELD(config, queue_cpus), .preset = "",
	 .flags = OPTION_STATIC,
	 .help = "Processors for the workers, one each in turn: numbers and ranges, as in 2, 4-7. None: the\n"
		 "kernel chooses, and may move them."},
	NUMBER("queue", "spin_us", queue_spin_us, 0, 1000, "20", OPTION_STATIC,
	       "For how many microseconds after a batch a worker lets packets gather before it takes them,\n"
	       "while at the present pace another one comes within that time; it gives the processor to\n"
	       "others meanwhile. 0: it takes each packet as soon as it can, which costs more time a packet."),

	NUMBER("flows", "max", flows_max, 1024, 16777216, "262144", OPTION_STATIC,
	       "Flows that can be known at a time, about 100 bytes each, claimed at the start. A SYN that\n"
	       "finds no place takes that of one that has had no answer for 3 s; where there is none it\n"
	       "passes unmodified and is counted as table_full."),
	NUMBER("flows", "client_share_percent", client_share_percent, 1, 100, "25", OPTION_STATIC,
	       "Percent of them that one client may have (an IPv6 client: its /64), and of the memory for\n"
	       "repeated SYNs and fast clocks. Its SYNs beyond pass unmodified, counted as client_quota,\n"
	       "or take the place of its own older ones, so that a single host cannot fill the table. 100\n"
	       "for a gateway behind another NAT. With placement = postnat there is no such limit."),
	TIMEOUT("syn_sent_s", FLOW_SYN_SENT, 30, "120",
		"How long a flow is known without a packet, in seconds, by the state of its connection.\n"
		"Where nf_conntrack keeps a connection longer (its tcp_timeout sysctls), so does pawsd."),
	TIMEOUT("syn_recv_s", FLOW_SYN_RECV, 30, "120", NULL),
	TIMEOUT("established_s", FLOW_ESTABLISHED, 300, "432000", NULL),
	TIMEOUT("fin_wait_s", FLOW_FIN_WAIT, 60, "7200", NULL),
	TIMEOUT("close_wait_s", FLOW_CLOSE_WAIT, 60, "7200", NULL),
	TIMEOUT("last_ack_s", FLOW_LAST_ACK, 60, "120", NULL),
	TIMEOUT("time_wait_s", FLOW_TIME_WAIT, 60, "120", NULL),
	TIMEOUT("close_s", FLOW_CLOSE, 10, "120", NULL),

	NUMBER("clock", "max_lead_ms", clock_max_lead_ms, 0, 60000, "1000", OPTION_STATIC,
	       "How far, in milliseconds, clients with fast clocks may push the shared clock ahead for\n"
	       "all servers. One that is further ahead concerns only the server it talks to."),

	CHOICE("rules", "backend", config, rules.backend, choices_backend, "none", OPTION_STATIC,
	       "Who puts the netfilter rules in place: pawsd, by iptables and ipset or by nft, or you\n"
	       "(none; `pawsd --print-rules` prints what is needed)."),
	CHOICE("rules", "flavour", config, rules.flavour, choices_flavour, "default", OPTION_STATIC,
	       "Which iptables: the one the system calls so, iptables-legacy or iptables-nft."),
	CHOICE("rules", "strip_backend", config, rules.strip, choices_strip, "auto", OPTION_STATIC,
	       "Who strips where mode is strip: the rules themselves, so that no packet comes to pawsd\n"
	       "(kernel), pawsd (queue), or the rules if the kernel can (auto)."),
	CHOICE("rules", "labels", config, rules.labels, choices_labels, "auto", OPTION_STATIC,
	       "Whether the rules give connections labels of conntrack, 64 to 127: one where pawsd has nothing\n"
	       "to do any more, so that their packets pass after one look, one where all packets are queued\n"
	       "(auto: with placement = forward, if the kernel can)."),
	CHOICE("rules", "on_stop", config, on_stop, choices_on_stop, "remove", 0,
	       "What becomes of the rules when pawsd stops. While they stay and pawsd is away, packets wait\n"
	       "where systemd restarts it; else those of rewritten connections are dropped rather than sent\n"
	       "on with a wrong TSval."),
	CHOICE("rules", "on_change", config, on_change, choices_on_change, "restore", 0,
	       "What to do when somebody else has changed pawsd's rules or sets, as a firewall does that\n"
	       "starts anew: put them in place again, or only say so."),

	CHOICE("fastpath", "enabled", config, rules.fastpath.wish, choices_fastpath, "auto", OPTION_STATIC,
	       "Whether the kernel rewrites ordinary packets itself, by programs for tc on the interfaces below,\n"
	       "so that they come to no queue, and go on while pawsd is away: where that can be had (auto), or\n"
	       "else pawsd does not start (yes), or not (no)."),
	{.section = "fastpath", .key = "interfaces", .type = OPTION_SIDES, FIELD(config, rules.fastpath.interfaces),
	 COUNT(config, rules.fastpath.interface_count), .preset = "", .flags = OPTION_STATIC,
	 .help = "The interfaces, blank separated, each with its side of the NAT, as in eth1:lan: those to\n"
		 "the clients (lan, with placement = forward), or those to the servers (wan, with postnat)."},
	NUMBER("fastpath", "mark_bit", rules.fastpath.mark_bit, 0, 29, "16", OPTION_STATIC,
	       "The first of three neighbouring bits of packets' marks by which programs and rules tell each\n"
	       "other what has been done; 16 is mask 0x70000. Nobody else may use them."),
	TEXT("fastpath", "pins", OPTION_PATH, rules.fastpath.pins, "/sys/fs/bpf/pawsd",
	     "Where programs and flows are kept by name: a directory in a file system of type bpf."),

	TEXT("control", "socket", OPTION_PATH, control_socket, "/run/pawsd/control.sock", "Where pawsctl and pawsd-exporter ask."),
	TEXT("control", "group", OPTION_TEXT, control_group, "", "Group that may ask; without one, that of whoever runs pawsd."),
	TEXT("control", "admin_group", OPTION_TEXT, control_admin_group, "",
	     "Group that may also change things (pawsctl drain, resume), as root may; its members must be in\n"
	     "the group that may ask, too."),

	TEXT("daemon", "runtime_dir", OPTION_PATH, runtime_dir, "/run/pawsd",
	     "Flow table and shared clock; should outlive a restart of pawsd but not a reboot."),
	TEXT("daemon", "state_dir", OPTION_PATH, state_dir, "/var/lib/pawsd", "What outlives a reboot: the clock's last reading."),
	TEXT("daemon", "user", OPTION_TEXT, user, "",
	     "User as whom to run, after a start by root; without one, whoever has started it. The helper, which\n"
	     "changes rules, stays who it is."),
	{.section = "daemon", .key = "confine", .type = OPTION_BOOL, FIELD(config, confine), .preset = "yes", .flags = OPTION_STATIC,
	 .help = "no: the process in the path of packets may use all system calls, as valgrind and the like need."},
	CHOICE("daemon", "log_level", config, log_level, choices_log_level, "info", 0, "How much is logged."),

	CHOICE("default", "mode", destination, mode, choices_mode, "off", 0,
	       "What is done with connections that no destination below covers."),
	CHOICE("default", "synack_tsecr", destination, repair, choices_repair, "off", 0,
	       "As in a destination; holds in those, too, that do not say."),

	LIST("destination", "prefixes", OPTION_PREFIXES, destination, prefixes, prefix_count,
	     "Servers: IPv4 and IPv6 prefixes or addresses, separated by commas or blanks."),
	{.section = "destination", .key = "prefixes_file", .type = OPTION_PREFIX_FILE,
	 FIELD(destination, prefixes), COUNT(destination, prefix_count), .preset = "",
	 .help = "More of them, from a file with one a line; # begins a comment."},
	LIST("destination", "ports", OPTION_PORTS, destination, ports, port_count,
	     "Only these ports of the servers: numbers and ranges, as in 443, 8000-8100."),
	LIST("destination", "sources", OPTION_PREFIXES, destination, sources, source_count,
	     "Only connections of these clients."),
	CHOICE("destination", "mode", destination, mode, choices_mode, "rewrite", OPTION_REQUIRED,
	       "rewrite: TSvals of all clients follow one clock. strip: timestamps are taken out of\n"
	       "the handshake. observe: only counted. off: left alone, as if pawsd were not there."),
	CHOICE("destination", "synack_tsecr", destination, repair, choices_repair, "", OPTION_INHERITED,
	       "What becomes of a TSecr in a SYN/ACK that was never sent: off leaves it, echo puts the\n"
	       "client's own TSval there, zero puts 0 there. With mode = rewrite. When it is missing,\n"
	       "what [default] says."),
	{.section = "destination", .key = "enabled", .type = OPTION_BOOL, FIELD(destination, enabled),
	 .preset = "yes", .help = "no: as if this section were not in the file."},
};

const size_t option_count = sizeof(option_table) / sizeof(option_table[0]);

const struct option_info *option_find(const char *section, const char *key)
{
	for (size_t i = 0; i < option_count; i++) {
		if (strcmp(option_table[i].section, section) == 0 && strcmp(option_table[i].key, key) == 0)
			return &option_table[i];
	}
	return NULL;
}

bool option_is_of_destination(const struct option_info *option)
{
	return strcmp(option->section, "default") == 0 || strcmp(option->section, "destination") == 0;
}
