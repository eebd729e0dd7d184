/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a client makes of the TSecrs that reach it. */
#include "sim.h"

enum {
	RTT_SLACK_US = 2000,
};

/* Newest first: a TSecr is seldom old. */
static const struct sent *find_sent(const struct socket *socket, uint32_t tsval)
{
	for (uint32_t i = socket->sent_count; i-- > 0;)
		if (socket->sent[i].tsval == tsval)
			return &socket->sent[i];
	return NULL;
}

static uint64_t when_sent(const struct socket *socket, uint32_t serial)
{
	for (uint32_t i = socket->sent_count; i-- > 0;)
		if (socket->sent[i].serial == serial)
			return socket->sent[i].at_us;
	return 0;
}

/*
 * An echo of a scaled clock is that of some segment which the client sent, not older than the true one, and
 * not so much newer that the RTT seems less than half of what it is.
 */
static void check_scaled_echo(struct world *world, const struct socket *socket, const struct segment *segment,
			      const struct sent *sent)
{
	uint64_t true_us = when_sent(socket, segment->echo_serial), rtt_us, short_us;

	if (!sent || !true_us)
		return;
	check_rule(world, RULE_ECHO_TRUE, sent->at_us >= true_us,
		   "plan %u: TSecr %u is %llu us older than the TSval %u that was echoed", segment->plan, segment->tsecr,
		   (unsigned long long)(true_us - sent->at_us), segment->echo);
	/* RFC 7323, 4.1: only an ACK of something new is a sample. */
	if (!seq_after(segment->ack, socket->snd_una))
		return;
	rtt_us = world->now_us - true_us;
	short_us = sent->at_us > true_us ? sent->at_us - true_us : 0;
	check_rule(world, RULE_ECHO_RTT, short_us <= RTT_SLACK_US || short_us <= rtt_us / 2,
		   "plan %u: RTT %llu us seems %llu us shorter", segment->plan, (unsigned long long)rtt_us,
		   (unsigned long long)short_us);
}

void client_check_echo(struct world *world, struct socket *socket, const struct segment *segment)
{
	const struct sent *sent;

	if (!socket->ts_on || !segment->has_ts || segment->plan != socket->plan.number || segment->bogus)
		return;
	if (segment->flags & RST || !(segment->flags & ACK))
		return;
	if (segment->tsecr == segment->echo && segment->tsecr == 0)
		return;
	sent = find_sent(socket, segment->tsecr);
	if (socket->victim) {
		count_rule(world, RULE_APART_VICTIM, sent != NULL);
		return;
	}
	check_rule(world, RULE_ECHO_SENT, sent != NULL, "plan %u: TSecr %u was never sent (true: %u of segment %u)",
		   segment->plan, segment->tsecr, segment->echo, segment->echo_serial);
	if (socket->scaled)
		check_scaled_echo(world, socket, segment, sent);
	else
		check_rule(world, RULE_ECHO_TRUE, segment->tsecr == segment->echo,
			   "plan %u: TSecr %u instead of %u (segment %u)", segment->plan, segment->tsecr, segment->echo,
			   segment->echo_serial);
}

/* The check of every client in SYN_SENT: false means RST. */
bool client_check_synack(struct world *world, struct socket *socket, const struct segment *segment)
{
	const struct server *server = server_of(world, socket->server);
	uint32_t age = segment->tsecr - socket->first_tsval;
	uint32_t span = socket_tsval(world, socket) - socket->first_tsval;
	bool good = !socket->ts_on || !segment->has_ts || segment->tsecr == 0 || age <= span;

	if (!socket->ts_on || !segment->has_ts)
		return true;
	if (segment->bogus) {
		bool promised = server->repair != REPAIR_OFF && segment->source.managed && !socket->victim;

		check_rule(world, promised ? RULE_BOGUS : RULE_APART_BOGUS_OFF, good,
			   "plan %u: client %u resets the SYN/ACK of server %u", segment->plan, socket->client,
			   socket->server);
		return good;
	}
	if (segment->plan != socket->plan.number)
		return good;
	check_rule(world, socket->victim ? RULE_APART_VICTIM : RULE_SYN_SENT, good,
		   "plan %u: TSecr %u, first TSval %u, now %u; true %u", segment->plan, segment->tsecr,
		   socket->first_tsval, socket_tsval(world, socket), segment->echo);
	if (good)
		client_check_echo(world, socket, segment);
	return good;
}
