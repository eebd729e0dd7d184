/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The servers' rules of DESIGN section 2, one function each. */
#include "gateway.h"

enum {
	STAMP_AGE_S = 60,
	STAMP_WINDOW = 1,
	HALF_SPACE_WINDOW = 64, /* of a cookie's low bits */
};

/* A refusal counts only against a client that is still waiting for an answer to this very SYN. */
static bool is_alive(const struct world *world, const struct segment *syn)
{
	const struct socket *socket = socket_of_client(world, syn->client, syn->client_port, syn->server);

	return socket && socket->state == SOCKET_SYN_SENT && socket->plan.number == syn->plan;
}

static bool is_victim(const struct world *world, const struct segment *segment)
{
	const struct socket *socket = socket_of_client(world, segment->client, segment->client_port, segment->server);

	return !socket || socket->victim || socket->plan.number != segment->plan;
}

/* By what another memory than the one at work sent: is there enough time between the two, and not half the circle? */
static bool is_owed_across(const struct world *world, const struct source *syn, const struct source *remembered)
{
	int64_t elapsed_ms = (int64_t)(syn->crossed_us - remembered->crossed_us) / 1000;
	int64_t error_ms = 0;

	if (syn->gateway == remembered->gateway)
		return remembered->ahead_ms <= MAX_LEAD_MS;
	for (int i = 0; i < GATEWAYS_MAX; i++)
		error_ms += llabs(world->scenario->clock_error_us[i]) / 1000 + 1;
	return remembered->ahead_ms + error_ms <= elapsed_ms &&
	       syn->ahead_ms + elapsed_ms - remembered->ahead_ms < INT32_MAX;
}

/* Marks in the clock file survive a reboot. */
static bool is_restored(const struct world *world, const struct segment *syn, const struct source *remembered)
{
	return syn->source.gateway == remembered->gateway &&
	       remembered->memory + GATEWAYS_MAX == syn->source.memory &&
	       remembered->crossed_us <= world->gateways[syn->source.gateway]->clock.restored_us;
}

enum rule rule_of_refusal(struct world *world, const struct segment *syn, const struct source *remembered,
			  enum rule promised)
{
	if (!syn->source.managed)
		return RULE_APART_UNMANAGED;
	if (is_victim(world, syn))
		return RULE_APART_VICTIM;
	if (remembered->crossing > syn->source.crossing)
		return RULE_APART_OVERTAKEN;
	if (!syn->source.satisfiable)
		return RULE_APART_CIRCLE;
	if (!remembered->seen)
		return RULE_APART_UNKNOWN;
	/* P1 is by address; what is ahead by no more than the lead is known to all. */
	if (remembered->address != syn->source.address && (!remembered->managed || remembered->ahead_ms > MAX_LEAD_MS))
		return RULE_APART_MACHINE;
	/* A TIME_WAIT that was armed again and again remembers longer than P1 is good for. */
	if (!remembered->managed && syn->source.crossed_us > remembered->crossed_us + SECONDS(60))
		return RULE_APART_UNKNOWN;
	if (remembered->memory == syn->source.memory || is_restored(world, syn, remembered))
		return promised;
	if (!remembered->managed)
		return RULE_APART_UNKNOWN;
	if (!is_owed_across(world, &syn->source, remembered))
		return syn->source.gateway == remembered->gateway ? RULE_APART_UNKNOWN : RULE_APART_FAILOVER;
	return promised;
}

static struct stamp *find_stamp(const struct world *world, uint16_t server, uint16_t public)
{
	const struct server *s = server_of(world, server);
	uint32_t at = (s->by_peer ? s->machine : s->address) * world->scenario->public_count + public;

	return s->by_peer ? &world->stamps_by_peer[at] : &world->stamps_by_pair[at];
}

static void count_bare(struct world *world, const struct segment *syn, const struct stamp *stamp, bool dropped)
{
	/* Of a flow that was forgotten, the last may not have been noted. */
	bool known = stamp->source.seen && stamp->source.memory == syn->source.memory &&
		     stamp->source.crossing < syn->source.crossing &&
		     stamp->source.crossed_us > world->gateways[syn->source.gateway]->forgot_us;

	count_rule(world, RULE_APART_BARE_HOST, !dropped);
	/* Where the engine diagnoses it, each such drop has to have been counted so. */
	if (dropped && known && syn->source.managed)
		check_rule(world, RULE_DIAGNOSED, syn->source.reason == (int)REASON_SYN_NO_TIMESTAMPS_MIXED,
			   "plan %u: SYN without timestamps dropped by server %u, counted under reason %d", syn->plan,
			   syn->server, syn->source.reason);
}

/* tw_recycle. False: dropped, silently. */
bool rule_host_check(struct world *world, const struct segment *syn)
{
	static const enum rule rules[2][2] = {{RULE_HOST_OLD_PAIR, RULE_HOST_OLD_PEER},
					      {RULE_HOST_NEW_PAIR, RULE_HOST_NEW_PEER}};
	const struct server *server = server_of(world, syn->server);
	const struct stamp *stamp;
	enum rule promised, rule;
	bool is_new = server->host_check == HOST_CHECK_NEW, dropped;

	if (server->host_check == HOST_CHECK_NONE)
		return true;
	stamp = find_stamp(world, syn->server, syn->public);
	if (!stamp->used || world->now_us / SECONDS(1) - stamp->at_s >= STAMP_AGE_S)
		return true;
	if (!syn->has_ts) {
		if (is_new && is_alive(world, syn))
			count_bare(world, syn, stamp, true);
		return !is_new;
	}
	dropped = seq_after(stamp->tsval - STAMP_WINDOW, syn->tsval);
	promised = rules[is_new][server->by_peer];
	rule = rule_of_refusal(world, syn, &stamp->source, promised);
	if (dropped && rule != promised)
		tcp_note_met_open(world, syn);
	if (is_alive(world, syn))
		check_rule(world, rule, !dropped,
			   "plan %u: TSval %u, server %u remembers %u of plan %u, crossing %llu", syn->plan, syn->tsval,
			   syn->server, stamp->tsval, stamp->source.plan, (unsigned long long)stamp->source.crossing);
	return !dropped;
}

/* When a server's own socket enters TIME_WAIT, or FIN_WAIT2 as an orphan. */
void rule_write_stamp(struct world *world, const struct socket *socket)
{
	const struct server *server = server_of(world, socket->server);
	uint64_t now_s = world->now_us / SECONDS(1);
	struct stamp *stamp;

	if (server->host_check == HOST_CHECK_NONE || !socket->ts_on)
		return;
	stamp = find_stamp(world, socket->server, socket->public);
	if (stamp->used && seq_after(stamp->tsval, socket->ts_recent) && now_s - stamp->at_s <= STAMP_AGE_S)
		return;
	*stamp = (struct stamp){.tsval = socket->ts_recent, .at_s = now_s, .used = true, .source = socket->recent};
}

/* A SYN on the four-tuple of a socket in TIME_WAIT. False: answered by a bare ACK. */
bool rule_time_wait(struct world *world, const struct socket *socket, const struct segment *syn)
{
	bool both = socket->ts_on && syn->has_ts;
	bool newer_isn = seq_after(syn->seq, socket->rcv_nxt), accepted;
	enum rule rule = RULE_APART_BARE_WAIT;

	if (both)
		accepted = !seq_after(socket->ts_recent, syn->tsval) &&
			   (newer_isn || seq_after(syn->tsval, socket->ts_recent));
	else
		accepted = newer_isn;
	if (!is_alive(world, syn))
		return accepted;
	if (both)
		rule = rule_of_refusal(world, syn, &socket->recent, RULE_TIME_WAIT);
	if (!accepted && rule != RULE_TIME_WAIT)
		tcp_note_met_open(world, syn);
	if (!both)
		count_rule(world, rule, accepted);
	else
		check_rule(world, rule, accepted,
			   "plan %u: TSval %u, server %u in TIME_WAIT with %u of plan %u, crossing %llu", syn->plan,
			   syn->tsval, syn->server, socket->ts_recent, socket->recent.plan,
			   (unsigned long long)socket->recent.crossing);
	return accepted;
}

/*
 * From 6.19 on a TSecr outside of what the server's SYN/ACKs carried has the segment dropped; a server
 * that answers with SYN cookies cannot make sense of another TSecr than its own.
 */
bool rule_third_ack(struct world *world, const struct socket *socket, const struct segment *ack)
{
	const struct server *server = server_of(world, socket->server);
	bool good = ack->tsecr - socket->first_tsval <= socket->last_tsval - socket->first_tsval;
	bool victim = is_victim(world, ack);

	if (!socket->ts_on || !ack->has_ts || ack->tsecr == 0)
		return true;
	if (server->cookies) {
		bool decoded = (ack->tsecr & (HALF_SPACE_WINDOW - 1)) == (socket->irs & (HALF_SPACE_WINDOW - 1));

		check_rule(world, victim ? RULE_APART_VICTIM : RULE_COOKIE, good && decoded,
			   "plan %u: server %u sent %u..%u, got %u", ack->plan, ack->server, socket->first_tsval,
			   socket->last_tsval, ack->tsecr);
		return good && decoded;
	}
	check_rule(world, victim ? RULE_APART_VICTIM : RULE_THIRD_ACK, good, "plan %u: server %u sent %u..%u, got %u",
		   ack->plan, ack->server, socket->first_tsval, socket->last_tsval, ack->tsecr);
	return good || !server->third_ack;
}
