/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "analysis.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "policy_build.h"

enum {
	FLOWS = 262144,
	ALIGNMENT = 64,
	SWEEP_PLACES = 64,
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	TCP_HEADER = 20,
	TCP_LENGTH_AT = 12,
};

static const uint32_t default_timeouts[FLOW_STATE_COUNT] = {
#define X(id, name, timeout_s, help) [FLOW_##id] = timeout_s,
	FLOW_STATE_TABLE(X)
#undef X
};

static void *allocate(size_t bytes)
{
	void *memory = aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);

	if (memory)
		memset(memory, 0, bytes);
	return memory;
}

static struct policy *make_observing_policy(void)
{
	struct destination *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	*all = (struct destination){.name = "default", .slot = SLOT_DEFAULT, .enabled = true, .mode = MODE_OBSERVE};
	return policy_build(all, 1);
}

static bool set_up_engine(struct analysis *analysis, const struct config *config)
{
	static const uint64_t secret[2] = {0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu};
	struct engine *engine = &analysis->engine;

	analysis->kept = allocate(flow_table_kept_bytes(FLOWS));
	analysis->index = allocate(flow_table_index_bytes(FLOWS));
	engine->clock.shared = allocate(sizeof(*engine->clock.shared));
	engine->counters = allocate(sizeof(*engine->counters));
	engine->events = allocate(sizeof(*engine->events));
	analysis->own_policy = config ? NULL : make_observing_policy();
	engine->policy = config ? config->policy : analysis->own_policy;
	if (!analysis->kept || !analysis->index || !engine->clock.shared || !engine->counters || !engine->events || !engine->policy)
		return false;
	flow_table_init(&engine->table, analysis->kept, analysis->index, FLOWS, secret);
	engine->clock.shared->secret = secret[1];
	engine->clock.max_lead_ms = config ? config->clock_max_lead_ms : 0;
	memcpy(engine->timeout_s, config ? config->timeout_s : default_timeouts, sizeof(default_timeouts));
	return true;
}

struct analysis *analysis_open(const struct config *config)
{
	struct analysis *analysis = calloc(1, sizeof(*analysis));

	if (!analysis)
		return NULL;
	analysis->diagnosis = allocate(sizeof(*analysis->diagnosis));
	if (!analysis->diagnosis || !set_up_engine(analysis, config)) {
		analysis_close(analysis);
		return NULL;
	}
	diagnosis_init(analysis->diagnosis, analysis->engine.clock.shared->secret);
	return analysis;
}

void analysis_close(struct analysis *analysis)
{
	if (!analysis)
		return;
	free(analysis->kept);
	free(analysis->index);
	free(analysis->engine.clock.shared);
	free(analysis->engine.counters);
	free(analysis->engine.events);
	free(analysis->diagnosis);
	if (analysis->own_policy)
		policy_free(analysis->own_policy);
	free(analysis);
}

uint64_t analysis_count_older(const struct analysis *analysis)
{
	uint64_t count = 0;

	for (size_t i = 0; i < DIAGNOSIS_SERVERS; i++)
		count += (uint64_t)analysis->diagnosis->servers[i].syns[SYN_OLDER][0] + analysis->diagnosis->servers[i].syns[SYN_OLDER][1];
	return count;
}

static uint32_t load16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static void store16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/*
 * Of most captures the snap length leaves but the beginning of a packet, which is all that the engine needs: the place of the
 * length that does not agree with what is there, or NULL.
 */
static uint8_t *find_length(const struct capture_packet *packet)
{
	uint8_t *ip = packet->ip;

	if (packet->len >= IPV4_HEADER && ip[0] >> 4 == 4 && load16(ip + 2) > packet->len)
		return ip + 2;
	if (packet->len >= IPV6_HEADER && ip[0] >> 4 == 6 && load16(ip + 4) + IPV6_HEADER > packet->len)
		return ip + 4;
	return NULL;
}

/*
 * And it may leave but a part of the TCP header: 96 bytes of a SYN over IPv6 and VLAN. The timestamps are not last in it. The place of
 * its length, where more is said to be there than is, or NULL. Behind IPv6's extension headers nobody looks.
 */
static uint8_t *find_tcp_length(const struct capture_packet *packet)
{
	const uint8_t *ip = packet->ip;
	bool is_ipv4 = ip[0] >> 4 == 4;
	uint32_t at = is_ipv4 ? 4u * (ip[0] & 15) : IPV6_HEADER;

	if (ip[is_ipv4 ? 9 : 6] != IPPROTO_TCP || packet->len < at + TCP_HEADER)
		return NULL;
	return at + 4u * (ip[at + TCP_LENGTH_AT] >> 4) > packet->len ? packet->ip + at + TCP_LENGTH_AT : NULL;
}

/* The bytes that were there, and where; NULL: nothing was changed. */
struct fit {
	uint8_t *at, was[2];
	uint8_t *tcp_at, tcp_was;
};

static struct fit fit_length(const struct capture_packet *packet)
{
	struct fit fit = {.at = find_length(packet)};

	if (!fit.at)
		return fit;
	fit.tcp_at = find_tcp_length(packet);
	memcpy(fit.was, fit.at, sizeof(fit.was));
	store16(fit.at, packet->len - (packet->ip[0] >> 4 == 6 ? IPV6_HEADER : 0));
	if (fit.tcp_at) {
		uint32_t left = packet->len - (uint32_t)(fit.tcp_at - packet->ip) + TCP_LENGTH_AT;

		fit.tcp_was = *fit.tcp_at;
		*fit.tcp_at = (uint8_t)(left / 4 << 4 | (fit.tcp_was & 15));
	}
	return fit;
}

static void restore_length(const struct fit *fit)
{
	if (fit->at)
		memcpy(fit->at, fit->was, sizeof(fit->was));
	if (fit->tcp_at)
		*fit->tcp_at = fit->tcp_was;
}

static void hear(struct analysis *analysis)
{
	struct event event;

	while (event_take(analysis->engine.events, &event)) {
		if (analysis->on_event)
			analysis->on_event(analysis->context, &event);
		diagnosis_take(analysis->diagnosis, &event);
	}
}

static enum reason handle(struct analysis *analysis, const struct capture_packet *packet)
{
	struct packet_input input = {.data = packet->ip, .len = packet->len};
	uint64_t tick = clock_publish(&analysis->engine.clock, packet->time_ms);
	enum reason reason;

	analysis->engine.serial = packet->number;
	reason = engine_handle(&analysis->engine, &input, tick);
	/* As the daemon does between its batches. */
	engine_sweep(&analysis->engine, SWEEP_PLACES, tick);
	hear(analysis);
	diagnosis_advance(analysis->diagnosis, tick);
	return reason;
}

enum reason analysis_take(struct analysis *analysis, const struct capture_packet *packet)
{
	struct fit fit;
	enum reason reason;

	analysis->packets++;
	if (!analysis->first_ms)
		analysis->first_ms = packet->time_ms;
	if (packet->time_ms > analysis->last_ms)
		analysis->last_ms = packet->time_ms;
	if (!packet->ip)
		return REASON_NOT_IP;
	fit = fit_length(packet);
	reason = handle(analysis, packet);
	restore_length(&fit);
	analysis->tcp_packets += reason != REASON_NOT_TCP && reason != REASON_NOT_IP;
	return reason;
}

/* ---- with a configuration ---- */

/* What the server would have echoed where it has echoed `tsecr`. False: nothing that the client has sent. */
static bool find_emitted(const struct flow_table *table, const struct flow *flow, uint32_t tsecr, bool is_synack, uint32_t *ret)
{
	const struct syn_pairs *block = flow_table_pairs(table, flow);

	for (uint32_t i = block ? block->count : 0; i > 0; i--) {
		if (block->pair[i - 1].tsval == tsecr) {
			*ret = block->pair[i - 1].emitted;
			return true;
		}
	}
	*ret = tsecr == flow_said_in_syn(flow) ? flow->syn_tsval : tsecr + flow->offset;
	return !is_synack || tsecr == flow_said_in_syn(flow);
}

static void put_in_servers_words(const struct applied *applied, const struct capture_packet *captured)
{
	const struct flow_table *table = &applied->analysis->engine.table;
	struct packet_input input = {.data = captured->ip, .len = captured->len};
	struct packet packet;
	const struct flow *flow;
	bool is_outbound;
	uint32_t emitted;

	if (packet_parse(&input, &packet) != REASON_COUNT || !packet.ts || !packet.tsecr)
		return;
	flow = flow_table_look_up(table, &packet.ends, &is_outbound);
	if (flow && !is_outbound && flow->mode == MODE_REWRITE &&
	    find_emitted(table, flow, packet.tsecr, packet.flags & TCP_SYN, &emitted))
		packet_set_tsecr(&packet, emitted);
}

bool applied_open(struct applied *applied, const struct config *config)
{
	*applied = (struct applied){.analysis = analysis_open(config)};
	return applied->analysis != NULL;
}

void applied_close(struct applied *applied)
{
	analysis_close(applied->analysis);
}

void applied_take(struct applied *applied, const struct capture_packet *packet)
{
	enum reason reason;

	if (packet->ip) {
		const struct fit fit = fit_length(packet);

		put_in_servers_words(applied, packet);
		restore_length(&fit);
	}
	reason = analysis_take(applied->analysis, packet);
	applied->changed += reason_table[reason].action == ACTION_MODIFY;
}
