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

static struct sent *find_serial(const struct socket *socket, uint32_t serial)
{
	for (uint32_t i = socket->sent_count; i-- > 0;)
		if (socket->sent[i].serial == serial)
			return &socket->sent[i];
	return NULL;
}

static uint64_t when_sent(const struct socket *socket, uint32_t serial)
{
	const struct sent *sent = find_serial(socket, serial);

	return sent ? sent->at_us : 0;
}

/* A segment of a scaled connection was at the gateway. */
void client_note_crossing(struct socket *socket, const struct source *source)
{
	struct sent *sent = find_serial(socket, source->serial);

	socket->scaled = true;
	if (sent)
		sent->crossing = source->crossing;
}

/* What is emitted in the order of the client's cannot tell an overtaken segment from the one that overtook it. */
static bool was_overtaken(const struct socket *socket, const struct segment *segment)
{
	const struct sent *truth = find_serial(socket, segment->echo_serial), *told = find_sent(socket, segment->tsecr);

	return socket->scaled && truth && told && told->serial > truth->serial && told->crossing < truth->crossing;
}

/* An echo of a scaled clock is that of some segment which the client sent, not older than the true one. */
static void check_scaled_echo(struct world *world, const struct socket *socket, const struct segment *segment,
			      const struct sent *sent)
{
	uint64_t true_us = when_sent(socket, segment->echo_serial);

	if (!sent || !true_us)
		return;
	check_rule(world, RULE_ECHO_TRUE, sent->at_us >= true_us,
		   "plan %u: TSecr %u is %llu us older than the TSval %u that was echoed", segment->plan,
		   segment->tsecr, (unsigned long long)(true_us - sent->at_us), segment->echo);
}

/* What the client takes for the round trip: by its own clock, as RFC 7323, 4.1 has it, from an ACK of something new. */
static void check_sample(struct world *world, const struct socket *socket, const struct segment *segment)
{
	const double ticks_per_us = client_of(world, socket->client)->ticks_per_us;
	uint64_t true_us = when_sent(socket, segment->echo_serial);
	uint32_t now = socket_tsval(world, socket);
	double rtt_us, seems_us, slack_us = RTT_SLACK_US + 1 / ticks_per_us;

	if (client_of(world, socket->client)->wild)
		return;
	if (!true_us || segment->echo == 0 || !seq_after(segment->ack, socket->snd_una))
		return;
	rtt_us = (double)(world->now_us - true_us);
	seems_us = (double)(now - segment->tsecr) / ticks_per_us;
	if (seq_after(segment->tsecr, now))
		seems_us = -1;
	if (rtt_us / 2 > slack_us)
		slack_us = rtt_us / 2;
	check_rule(world, was_overtaken(socket, segment) ? RULE_APART_REORDERED : RULE_ECHO_RTT,
		   seems_us + slack_us >= rtt_us,
		   "plan %u: RTT of %.0f us seems to be %.0f us",
		   segment->plan, rtt_us, seems_us);
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
	if (!sent && segment->wrap_echo)
		sent = find_sent(socket, segment->tsecr + 1);
	if (socket->victim ||
	    (!socket->scaled && world_has_gone_round(world, socket->client, socket->sent[0].at_us))) {
		count_rule(world, RULE_APART_VICTIM, sent != NULL);
		return;
	}
	check_rule(world, RULE_ECHO_SENT, sent != NULL, "plan %u: TSecr %u was never sent (true: %u of segment %u)",
		   segment->plan, segment->tsecr, segment->echo, segment->echo_serial);
	if (socket->scaled)
		check_scaled_echo(world, socket, segment, sent);
	else
		check_rule(world, RULE_ECHO_TRUE,
			   segment->tsecr == segment->echo ||
				   (segment->wrap_echo && segment->tsecr == segment->echo - 1),
			   "plan %u: TSecr %u instead of %u (segment %u)", segment->plan, segment->tsecr, segment->echo,
			   segment->echo_serial);
	check_sample(world, socket, segment);
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
