/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * capcheck: compares a capture from inside the gateway with one from outside of it, taken at the
 * same time and without offloads, and says of each property whether it holds.
 *
 *   capcheck [--mode rewrite|strip|identical] [--allow-zero-echo] INSIDE.pcap OUTSIDE.pcap
 *
 * Prints "NAME ok|FAILED WORDS" for each property; exit status 0: all hold, 1: not all, 2: the
 * captures cannot be read.
 *
 *   whole            every packet is there in full, and is sound TCP of a connection whose SYN
 *                    is in the capture
 *   checksums        every IP and TCP checksum on either side is valid
 *   paired           every connection inside is one outside, with as many packets each way
 *   identical        all is bit-identical on both sides but what NAT changes (the client's
 *                    address and port, TTL or hop limit, checksums) and what the mode allows:
 *                    rewrite: TSval outwards and TSecr inwards; strip: the timestamp option of
 *                    SYN and SYN/ACK, overwritten with NOPs; identical: nothing
 * with rewrite:
 *   syn_monotonic    outside, the TSvals of SYNs never step back, all clients taken together
 *   syn_nonzero      and none is 0
 *   own_echo         inside, each TSecr is a TSval that this client has sent on this connection
 *   exact_echo       and it is the one that left the gateway as the TSecr seen outside
 *   constant_offset  behind the handshake the TSvals of a connection are shifted by one constant
 *   rewritten        SYNs were in fact changed
 * with strip:
 *   stripped         no timestamp option in any SYN outside nor in any SYN/ACK inside, and
 *                    there was one in a SYN inside
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>

#include "capture_flow.h"

enum mode {
	MODE_REWRITE,
	MODE_STRIP,
	MODE_IDENTICAL,
};

static enum mode mode = MODE_REWRITE;
static bool allow_zero_echo;
static struct side inside, outside;
static int failed;

/* --- reporting ----------------------------------------------------------------------------- */

enum { SHOWN = 5 };

struct property {
	const char *name;
	size_t wrong, right;
	char words[SHOWN][200];
};

__attribute__((format(printf, 2, 3))) static void wrong(struct property *p, const char *format, ...)
{
	va_list args;

	if (p->wrong++ >= SHOWN)
		return;
	va_start(args, format);
	vsnprintf(p->words[p->wrong - 1], sizeof(p->words[0]), format, args);
	va_end(args);
}

static void report(const struct property *p)
{
	printf("%s %s %zu right, %zu wrong\n", p->name, p->wrong ? "FAILED" : "ok", p->right, p->wrong);
	for (size_t i = 0; i < p->wrong && i < SHOWN; i++)
		printf("  %s\n", p->words[i]);
	failed |= p->wrong > 0;
}

/* --- pairs of flows ------------------------------------------------------------------------ */

/*
 * Two CPUs may take a packet each of one flow in another order than they captured them in. So
 * packets are paired by what they are, if one is near by, and by their place otherwise.
 */
static bool is_same_packet(const struct segment *a, const struct segment *b, int way)
{
	return a->seq == b->seq && a->ack == b->ack && a->flags == b->flags && a->ip_len == b->ip_len &&
	       (a->version == 6 || get16(a->ip + 4) == get16(b->ip + 4)) &&
	       (way == IN ? a->tsval == b->tsval : a->tsecr == b->tsecr);
}

static void pair_packets(const struct list *a, struct list *b, int way)
{
	enum { WINDOW = 32 };
	size_t n = a->count < b->count ? a->count : b->count;

	for (size_t k = 0; k < n; k++) {
		for (size_t j = k; j < b->count && j < k + WINDOW; j++) {
			struct capture_packet *found = b->packets[j];

			if (!is_same_packet(&a->packets[k]->seg, &found->seg, way))
				continue;
			memmove(b->packets + k + 1, b->packets + k, (j - k) * sizeof(*b->packets));
			b->packets[k] = found;
			break;
		}
	}
}

static void pair_flows(struct property *p)
{
	for (size_t i = 0; i < inside.flow_count; i++) {
		struct flow *a = &inside.flows[i], *b;

		for (size_t j = 0; j < outside.flow_count && a->partner == NO_FLOW; j++) {
			b = &outside.flows[j];
			if (b->partner != NO_FLOW || b->version != a->version || b->isn != a->isn ||
			    b->server_port != a->server_port || memcmp(a->server, b->server, 16) != 0)
				continue;
			a->partner = (long)j;
			b->partner = (long)i;
		}
		if (a->partner == NO_FLOW) {
			wrong(p, "connection %zu inside (port %u) is not there outside", i, a->client_port);
			continue;
		}
		b = &outside.flows[a->partner];
		for (int way = OUT; way <= IN; way++) {
			pair_packets(&a->way[way], &b->way[way], way);
			if (a->way[way].count != b->way[way].count)
				wrong(p, "connection %zu (port %u): %zu packets %s inside, %zu outside", i,
				      a->client_port, a->way[way].count, way == OUT ? "outwards" : "inwards",
				      b->way[way].count);
			else
				p->right++;
		}
	}
	for (size_t j = 0; j < outside.flow_count; j++)
		if (outside.flows[j].partner == NO_FLOW)
			wrong(p, "connection %zu outside (port %u) is not there inside", j,
			      outside.flows[j].client_port);
}

/* Calls `each` for the packets of all pairs, inside and outside, in order. */
typedef void (*pair_fn)(struct property *p, const struct segment *in, const struct segment *out, int way,
			const struct flow *flow);

static void each_pair(struct property *p, pair_fn each)
{
	for (size_t i = 0; i < inside.flow_count; i++) {
		const struct flow *a = &inside.flows[i], *b;

		if (a->partner == NO_FLOW)
			continue;
		b = &outside.flows[a->partner];
		for (int way = OUT; way <= IN; way++)
			for (size_t k = 0; k < a->way[way].count && k < b->way[way].count; k++)
				each(p, &a->way[way].packets[k]->seg, &b->way[way].packets[k]->seg, way, a);
	}
}

/* --- properties ---------------------------------------------------------------------------- */

static void check_whole(struct property *p)
{
	for (const struct side *side = &inside;; side = &outside) {
		for (size_t i = 0; i < side->capture.count; i++) {
			if (!side->capture.packets[i].is_tcp)
				continue;
			if (side->capture.packets[i].is_sound)
				p->right++;
			else
				wrong(p, "packet %zu %s is cut off or malformed", i + 1,
				      side == &inside ? "inside" : "outside");
		}
		if (side->orphans > 0)
			wrong(p, "%zu packets %s of unknown connections", side->orphans,
			      side == &inside ? "inside" : "outside");
		if (side->flow_count == 0)
			wrong(p, "no connection %s", side == &inside ? "inside" : "outside");
		if (side == &outside)
			return;
	}
}

static void check_checksums(struct property *p)
{
	for (const struct side *side = &inside;; side = &outside) {
		for (size_t i = 0; i < side->capture.count; i++) {
			const struct capture_packet *packet = &side->capture.packets[i];

			if (!packet->is_sound)
				continue;
			if (segment_checksum_ok(&packet->seg) && segment_ip_checksum_ok(&packet->seg))
				p->right++;
			else
				wrong(p, "packet %zu %s, seq %u: %s checksum", i + 1,
				      side == &inside ? "inside" : "outside", packet->seg.seq,
				      segment_checksum_ok(&packet->seg) ? "IP" : "TCP");
		}
		if (side == &outside)
			return;
	}
}

/* Sets to zero, in a copy, all that may differ. */
static void mask(uint8_t *copy, const struct segment *s, int way)
{
	uint8_t *tcp = copy + (s->tcp - s->ip), *ts = s->ts ? copy + (s->ts - s->ip) : NULL;

	memcpy(copy, s->ip, s->ip_len);
	if (s->version == 4) {
		copy[8] = 0;
		put16(copy + 10, 0);
		memset(copy + (way == OUT ? 12 : 16), 0, 4);
	} else {
		copy[7] = 0;
		memset(copy + (way == OUT ? 8 : 24), 0, 16);
	}
	put16(tcp + (way == OUT ? 0 : 2), 0);
	put16(tcp + 16, 0);
	if (ts && mode == MODE_REWRITE)
		put32(ts + (way == OUT ? 2 : 6), 0);
}

static void check_identical_pair(struct property *p, const struct segment *in, const struct segment *out, int way,
				 const struct flow *flow)
{
	static uint8_t a[65536], b[65536];
	const struct segment *full = way == OUT ? in : out, *bare = way == OUT ? out : in;

	if (in->ip_len != out->ip_len) {
		wrong(p, "port %u, seq %u: %u bytes inside, %u outside", flow->client_port, in->seq, in->ip_len,
		      out->ip_len);
		return;
	}
	mask(a, in, way);
	mask(b, out, way);
	if (mode == MODE_STRIP && (in->flags & SEGMENT_SYN) && full->ts && !bare->ts)
		memset((way == OUT ? a : b) + (full->ts - full->ip), 1, 10);
	if (memcmp(a, b, in->ip_len) != 0) {
		uint32_t at = 0;

		while (a[at] == b[at])
			at++;
		wrong(p, "port %u, seq %u, %s: byte %u is %02x inside, %02x outside", flow->client_port, in->seq,
		      way == OUT ? "outwards" : "inwards", at, in->ip[at], out->ip[at]);
		return;
	}
	p->right++;
}

static void check_syns(struct property *monotonic, struct property *nonzero)
{
	uint32_t newest = 0;
	bool any = false;

	for (size_t i = 0; i < outside.capture.count; i++) {
		const struct segment *s = &outside.capture.packets[i].seg;

		if (!outside.capture.packets[i].is_sound || !is_syn(s) || !s->ts)
			continue;
		if (any && (int32_t)(s->tsval - newest) < 0)
			wrong(monotonic, "packet %zu, port %u: TSval %u, %u before it", i + 1, s->src_port, s->tsval,
			      newest);
		else
			monotonic->right++;
		if (!any || (int32_t)(s->tsval - newest) > 0)
			newest = s->tsval;
		if (s->tsval == 0)
			wrong(nonzero, "packet %zu, port %u", i + 1, s->src_port);
		else
			nonzero->right++;
		any = true;
	}
	if (!any)
		wrong(monotonic, "no SYN with timestamps outside");
}

static bool flow_sent(const struct flow *f, uint32_t tsval)
{
	for (size_t k = 0; k < f->way[OUT].count; k++)
		if (f->way[OUT].packets[k]->seg.ts && f->way[OUT].packets[k]->seg.tsval == tsval)
			return true;
	return false;
}

/* Did a packet leave the client with `tsval` and the gateway with `emitted`? */
static bool flow_sent_as(const struct flow *f, uint32_t tsval, uint32_t emitted)
{
	const struct flow *b = &outside.flows[f->partner];

	for (size_t k = 0; k < f->way[OUT].count && k < b->way[OUT].count; k++) {
		const struct segment *in = &f->way[OUT].packets[k]->seg, *out = &b->way[OUT].packets[k]->seg;

		if (in->ts && out->ts && in->tsval == tsval && out->tsval == emitted)
			return true;
	}
	return false;
}

static void check_own_echo_pair(struct property *p, const struct segment *in, const struct segment *out, int way,
				const struct flow *flow)
{
	if (way != IN || !in->ts || !(in->flags & SEGMENT_ACK))
		return;
	if (flow_sent(flow, in->tsecr) || (in->tsecr == 0 && (allow_zero_echo || (out->ts && out->tsecr == 0))))
		p->right++;
	else
		wrong(p, "port %u, seq %u: TSecr %u inside (%u outside) was never sent", flow->client_port, in->seq,
		      in->tsecr, out->tsecr);
}

static void check_exact_echo_pair(struct property *p, const struct segment *in, const struct segment *out, int way,
				  const struct flow *flow)
{
	if (way != IN || !in->ts || !out->ts || !(in->flags & SEGMENT_ACK) || out->tsecr == 0)
		return;
	if (is_synack(in) && !flow_sent(&outside.flows[flow->partner], out->tsecr))
		return; /* a bogus echo; own_echo looks after what came of it */
	if (flow_sent_as(flow, in->tsecr, out->tsecr))
		p->right++;
	else
		wrong(p, "port %u, seq %u: TSecr %u outside is not what TSval %u was turned into",
		      flow->client_port, in->seq, out->tsecr, in->tsecr);
}

static void check_constant_offset(struct property *p)
{
	for (size_t i = 0; i < inside.flow_count; i++) {
		const struct flow *a = &inside.flows[i], *b;
		uint32_t offset = 0;
		bool any = false;

		if (a->partner == NO_FLOW)
			continue;
		b = &outside.flows[a->partner];
		for (size_t k = 0; k < a->way[OUT].count && k < b->way[OUT].count; k++) {
			const struct segment *in = &a->way[OUT].packets[k]->seg, *out = &b->way[OUT].packets[k]->seg;

			if (!in->ts || !out->ts || is_syn(in))
				continue;
			if (any && out->tsval - in->tsval != offset)
				wrong(p, "port %u, seq %u: shifted by %u, before by %u", a->client_port, in->seq,
				      out->tsval - in->tsval, offset);
			else
				p->right++;
			offset = out->tsval - in->tsval;
			any = true;
		}
	}
}

static void check_rewritten_pair(struct property *p, const struct segment *in, const struct segment *out, int way,
				 const struct flow *flow)
{
	if (way != OUT || !is_syn(in) || !in->ts)
		return;
	if (out->ts && in->tsval != out->tsval)
		p->right++;
	else
		wrong(p, "port %u: SYN with TSval %u was not changed", flow->client_port, in->tsval);
}

static void check_stripped_pair(struct property *p, const struct segment *in, const struct segment *out, int way,
				const struct flow *flow)
{
	if (way == OUT && is_syn(in) && out->ts)
		wrong(p, "port %u: SYN with the option outside", flow->client_port);
	else if (way == IN && is_synack(in) && in->ts)
		wrong(p, "port %u: SYN/ACK with the option inside", flow->client_port);
	else
		p->right += way == OUT && is_syn(in) && in->ts;
}

static void run_pair_property(const char *name, pair_fn each, bool need_some)
{
	struct property p = {.name = name};

	each_pair(&p, each);
	if (need_some && p.right == 0 && p.wrong == 0)
		wrong(&p, "nothing of the kind in the captures");
	report(&p);
}

static void run_checks(void)
{
	struct property whole = {.name = "whole"}, checksums = {.name = "checksums"}, paired = {.name = "paired"};
	struct property monotonic = {.name = "syn_monotonic"}, nonzero = {.name = "syn_nonzero"};
	struct property constant = {.name = "constant_offset"};

	pair_flows(&paired);
	check_whole(&whole);
	check_checksums(&checksums);
	report(&whole);
	report(&checksums);
	report(&paired);
	run_pair_property("identical", check_identical_pair, true);
	if (mode == MODE_STRIP)
		run_pair_property("stripped", check_stripped_pair, true);
	if (mode != MODE_REWRITE)
		return;
	check_syns(&monotonic, &nonzero);
	report(&monotonic);
	report(&nonzero);
	run_pair_property("own_echo", check_own_echo_pair, true);
	run_pair_property("exact_echo", check_exact_echo_pair, false);
	check_constant_offset(&constant);
	report(&constant);
	run_pair_property("rewritten", check_rewritten_pair, true);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"mode", required_argument, NULL, 'm'},
						{"allow-zero-echo", no_argument, NULL, 'z'},
						{NULL, 0, NULL, 0}};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'z')
			allow_zero_echo = true;
		else if (c == 'm' && strcmp(optarg, "strip") == 0)
			mode = MODE_STRIP;
		else if (c == 'm' && strcmp(optarg, "identical") == 0)
			mode = MODE_IDENTICAL;
		else if (c != 'm' || strcmp(optarg, "rewrite") != 0)
			return 2;
	}
	if (argc - optind != 2 || !capture_read(argv[optind], &inside.capture) ||
	    !capture_read(argv[optind + 1], &outside.capture)) {
		fprintf(stderr, "usage: capcheck [--mode MODE] INSIDE.pcap OUTSIDE.pcap\n");
		return 2;
	}
	side_sort(&inside);
	side_sort(&outside);
	run_checks();
	return failed;
}
