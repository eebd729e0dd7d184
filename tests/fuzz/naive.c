/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The naive judge of what becomes of a packet. naive.h says what for. */
#include "naive.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "naive_trial.h"
#include "seq.h"
#include "traffic.h"

enum {
	/* Of whatever lead, what is no further ahead of the SYN, whose time is rounded, is never held back. */
	SLACK_MS = 500 - FLOW_SYN_TIME_MS,
	FAR_MS = 1 << 30,
	RUNNING_S = 2,	/* a connection heard less than that ago runs */
};

/* P3: the first real TSval after a SYN with 0. */
static void judge_anchor(struct trial *t)
{
	struct naive_flow *flow = t->flow;

	if (!naive_is_reason(t, "out_anchored"))
		fuzz_fail("P3: the first real TSval is not counted as that");
	/* Newer than the SYN, whose echo is another, and one more for what it has overtaken. */
	if (!seq_after(t->tsval, flow->newest) || naive_distance(t->naive, t->tsval, t->tick) < 0)
		fuzz_fail("P3: anchored at %u, behind the clock or %u before", t->tsval, flow->newest);
	if (t->tsval != flow->newest + 2 && t->tsval != 1 && naive_distance(t->naive, t->tsval, t->tick) != 0)
		fuzz_fail("P3: anchored at %u, which nothing asks for", t->tsval);
	flow->offset = t->tsval - t->segment.tsval;
	flow->pending = false;
}

/* P3: of a clock too fast only bounds are promised: no further ahead than the lead, or than it was when that was seen. */
static void judge_scaled_out(struct trial *t)
{
	struct naive_flow *flow = t->flow;
	int64_t ahead = naive_distance(t->naive, t->tsval, t->tick);
	int64_t lead = t->naive->engine->engine.clock.max_lead_ms;

	if (!flow->scaled)
		flow->scaled_ahead = naive_distance(t->naive, flow->newest, t->tick) + 2;
	/* Weeks behind may as well be more weeks ahead than can be told. */
	if (flow->scaled_ahead < -FAR_MS)
		flow->scaled_ahead = INT32_MAX;
	flow->scaled = true;
	if (t->tsval == 0)
		fuzz_fail("P3: a scaled TSval is 0");
	/* What the network has held back is as it was; only what is new must not run on. */
	if (ahead > lead && ahead > flow->scaled_ahead && seq_after(t->tsval, flow->newest))
		fuzz_fail("P9: a scaled TSval %u is further ahead than the lead", t->tsval);
}

struct change naive_strip(const struct trial *t)
{
	for (size_t i = 0; i < 10; i++) {
		if (t->input->data[t->segment.ts_at + i] != 1)
			fuzz_fail("P5: a stripped option is not all NOPs");
	}
	return (struct change){t->segment.ts_at, 10};
}

bool naive_is_reason(const struct trial *t, const char *name)
{
	return strcmp(reason_table[t->reason].name, name) == 0;
}

void naive_note_foreign(struct trial *t)
{
	if (t->segment.has_ts && t->segment.tsval)
		naive_note_sent(t->naive, &t->segment.dst, t->segment.tsval, t->tick, false);
}

bool naive_comes_in(const struct trial *t)
{
	if (t->input->direction == DIRECTION_UNKNOWN)
		return !fuzz_is_server(&t->segment.dst) && fuzz_is_server(&t->segment.src);
	return t->input->direction == DIRECTION_IN;
}

uint32_t naive_bytes_since_syn(const struct trial *t, const struct naive_flow *flow)
{
	if (!t->outbound && !(t->segment.flags & TCP_ACK))
		return UINT32_MAX;
	return (t->outbound ? t->segment.seq : t->segment.ack) - flow->isn - 1;
}

static bool is_beside_handshake(const struct naive_flow *flow)
{
	return flow->handshaking && !flow->simultaneous && !flow->scaled;
}

/* How much further from the SYN than time has come since, as the shorter way round goes. */
static uint32_t ahead_of_syn(const struct trial *t, uint32_t tsval)
{
	return tsval - t->flow->newest_syn - (uint32_t)(t->tick - t->flow->syn_tick);
}

/* Ahead of the clock, and further than the lead, 1/256 of the time and what the SYN's time is rounded by can explain. */
static bool is_too_far_ahead(const struct trial *t)
{
	uint32_t lead = t->naive->engine->engine.clock.max_lead_ms;
	int64_t age = (int64_t)(t->tick - t->flow->syn_tick);

	return naive_distance(t->naive, t->tsval, t->tick) > (int64_t)lead &&
	       (int32_t)ahead_of_syn(t, t->tsval) > age / 256 + (lead > 500 ? lead : 500) + 32;
}

/* As what the anchor has overtaken is sent: just newer than the SYN, but not 0. */
static bool is_in_between(const struct trial *t)
{
	uint32_t between = t->flow->newest_syn + 1;

	return t->flow->is_zero_none && t->segment.tsval && t->tsval == (between ? between : UINT32_MAX);
}

/* A segment of an older connection, from which nothing follows for this one: it says the newest that has been said. */
static bool is_held(const struct trial *t)
{
	const struct naive_flow *flow = t->flow;
	bool is_old = flow->handshaking ? !flow->simultaneous && naive_bytes_since_syn(t, flow) >= HANDSHAKE_BYTES
					: seq_after(flow->isn, t->segment.seq) && t->tick - flow->syn_tick <= 60032;

	/* After a copy of an old SYN it may be as if one more had left, just behind. */
	if (!is_old || flow->scaled || t->tsval - flow->newest > flow->has_other_offset)
		return false;
	return flow->pending || t->tsval != t->segment.tsval + flow->offset;
}

static struct change judge_segment_out(struct trial *t)
{
	struct naive_flow *flow = t->flow;
	uint32_t expected;

	if (t->naive->mode != MODE_REWRITE || flow->is_off) {
		naive_note_foreign(t);
		return nothing;
	}
	if (!t->segment.has_ts)
		return nothing;
	if (is_held(t))
		return tsval_of(t);
	if (flow->pending && t->segment.tsval)
		judge_anchor(t);
	if (flow->has_other_offset && t->tsval == t->segment.tsval + flow->other_offset)
		flow->offset = flow->other_offset;
	if (flow->is_offset_open && !naive_is_reason(t, "out_scaled") && !is_in_between(t) &&
	    !(flow->is_zero_none && t->segment.tsval == 0)) {
		flow->offset = t->tsval - t->segment.tsval;
		flow->is_offset_open = flow->handshaking;
	}
	expected = t->segment.tsval + flow->offset;
	/* Before there is a connection the client may say anything, but nothing that is too far ahead. */
	if (is_beside_handshake(flow) && t->tsval == flow->newest && !seq_after(0, ahead_of_syn(t, expected) - SLACK_MS))
		expected = t->tsval;
	/* What has been said is held to, though it was 25 days behind the clock by then and by now is 25 days ahead. */
	if (is_beside_handshake(flow) && seq_after(t->tsval, flow->newest) && is_too_far_ahead(t))
		fuzz_fail("P9: a TSval %u in the handshake is further ahead than the lead", t->tsval);
	/* A client whose SYN said 0 says no time with it later either: nothing newer, nothing older is sent. */
	if (flow->is_zero_none && t->segment.tsval == 0)
		expected = flow->newest;
	/* What the anchor has overtaken is newer than the SYN all the same. */
	if (is_in_between(t) && (flow->is_offset_open || !seq_after(expected, flow->newest_syn)))
		expected = t->tsval;
	if (expected == 0) /* would be no timestamp at all; one earlier is never too new */
		expected--;
	if (naive_is_reason(t, "out_scaled"))
		judge_scaled_out(t);
	else if (!flow->scaled && t->tsval != expected)
		fuzz_fail("P3: TSval %u has become %u, not %u", t->segment.tsval, t->tsval, expected);
	naive_note_sent(t->naive, &flow->server, t->tsval, t->tick, false);
	if (seq_after(t->tsval, flow->newest)) {
		flow->advanced += t->tsval - flow->newest;
		flow->newest = t->tsval;
	}
	flow->went_back |= seq_after(flow->newest_syn, t->tsval);
	if (flow->echo_count && seq_after(flow->echoes[flow->echo_count - 1].tsval, t->segment.tsval))
		flow->is_unsteady = true;
	if (t->segment.tsval || !flow->is_zero_none)
		naive_note_echo(flow, t->segment.tsval, t->tsval, false);
	return tsval_of(t);
}

/* The TSecr was one that the server was sent. */
static struct change judge_turned_back(struct trial *t)
{
	struct naive_flow *flow = t->flow;

	if (naive_is_reason(t, "in_scaled"))
		flow->scaled = true;
	if (!naive_is_turned_back(flow, t->segment.tsecr, t->tsecr))
		fuzz_fail("P4: TSecr %u has become %u, which the client has not sent for it", t->segment.tsecr,
			  t->tsecr);
	return tsecr_of(t);
}

/* The engine says that the server has seen what went past: by a TSecr that was never sent, and is about what was said. */
static void judge_gone_past(const struct trial *t, enum naive_echo_is kind)
{
	struct naive_flow *flow = t->flow;
	bool is_near = false;

	for (size_t i = 0; i < flow->echo_count; i++)
		is_near |= flow->echoes[i].tsval - t->segment.tsecr <= 3600000;
	/* A copy of an old SYN, or what stood for 0, may have been said with another offset. */
	is_near |= flow->newest - flow->offset - t->segment.tsecr <= 3600000 || flow->is_offset_open;
	if (kind == ECHO_KNOWN || flow->handshaking || flow->scaled || !is_near || !seq_after(t->segment.tsecr, flow->newest))
		fuzz_fail("P10: a flow is given up by TSecr %u, which does not say that anything went past", t->segment.tsecr);
	flow->is_off = true;
}

static struct change judge_segment_in(struct trial *t)
{
	struct naive_flow *flow = t->flow;
	enum naive_echo_is kind;
	struct change change;

	if (t->naive->mode != MODE_REWRITE || flow->is_off || !t->segment.has_ts || t->segment.tsecr == 0)
		return nothing;
	kind = naive_classify_echo(flow, t->segment.tsecr);
	if (naive_is_reason(t, "in_gone_past")) {
		judge_gone_past(t, kind);
		return nothing;
	}
	if (kind == ECHO_FOREIGN || (kind == ECHO_EITHER && !t->touched))
		return nothing;
	change = judge_turned_back(t);
	/* Now that something newer was echoed the SYNs need not be remembered (P4). */
	if (seq_after(t->segment.tsecr, flow->newest_syn))
		flow->is_syn_forgotten = true;
	return change;
}

/* A TSecr in a SYN/ACK that was never sent. */
static struct change judge_repair(struct trial *t)
{
	struct naive_flow *flow = t->flow;

	switch (t->naive->repair) {
	case REPAIR_ZERO:
		if (t->tsecr != 0)
			fuzz_fail("P4: a TSecr to be set to 0 is %u", t->tsecr);
		return tsecr_of(t);
	case REPAIR_ECHO:
		if (is_beside_handshake(flow) && !flow->is_offset_open && t->tsecr != flow->reading &&
		    !(flow->has_other_offset && t->tsecr == flow->syn_tsval))
			fuzz_fail("P4: a TSecr was repaired to %u, the client's TSval is %u", t->tsecr,
				  flow->reading);
		if (!naive_has_said(flow, t->tsecr) && t->tsecr != flow->newest - flow->offset)
			fuzz_fail("P4: a TSecr was repaired to %u, which the client has not said", t->tsecr);
		return tsecr_of(t);
	case REPAIR_OFF:
		break;
	}
	return nothing;
}

/* The engine says that the server has taken a SYN that went past: by the client's own TSval, of about a SYN's. */
static bool is_of_a_raw_syn(const struct trial *t)
{
	const struct naive_flow *flow = t->flow;
	bool is_near = false;

	for (size_t i = 0; i < flow->echo_count; i++)
		is_near |= flow->echoes[i].is_syn && t->segment.tsecr - (flow->echoes[i].tsval - 130000) <= 260032;

	return is_near && naive_is_reason(t, "synack_unknown") && t->naive->mode == MODE_REWRITE && flow->handshaking &&
	       !flow->simultaneous && t->segment.tsval && t->segment.tsecr &&
	       naive_classify_echo(flow, t->segment.tsecr) != ECHO_KNOWN;
}

static struct change judge_synack_in(struct trial *t)
{
	struct naive_flow *flow = t->flow;
	bool is_repaired = naive_is_reason(t, "synack_repaired_echo") || naive_is_reason(t, "synack_repaired_zero");
	enum naive_echo_is kind;

	flow->refused = false;
	flow->is_answered = true;
	if (!t->segment.has_ts || flow->is_off)
		return nothing;
	if (t->naive->mode == MODE_STRIP)
		return naive_strip(t);
	if (is_of_a_raw_syn(t)) {
		flow->is_off = true;
		return nothing;
	}
	if (t->naive->mode != MODE_REWRITE || t->segment.tsecr == 0)
		return nothing;
	kind = naive_classify_echo(flow, t->segment.tsecr);
	if (kind == ECHO_EITHER)
		kind = is_repaired || !t->touched ? ECHO_FOREIGN : ECHO_KNOWN;
	return kind == ECHO_KNOWN ? judge_turned_back(t) : judge_repair(t);
}

/* Of no flow, and makes none. */
static struct change judge_stranger(struct trial *t)
{
	if (!naive_comes_in(t))
		naive_note_foreign(t);
	return nothing;
}

static struct change judge_synack(struct trial *t)
{
	struct naive_flow *flow = t->flow;

	if (flow && !t->outbound)
		return judge_synack_in(t);
	if (flow && flow->isn == t->segment.seq) {
		/* The client answers the server's SYN and repeats its own. */
		if (flow->handshaking)
			flow->simultaneous = true;
		return t->naive->mode == MODE_STRIP && t->segment.has_ts ? naive_strip(t) : judge_segment_out(t);
	}
	naive_remove_all(t->naive, flow);
	return judge_stranger(t);
}

static void note_in_handshake(struct trial *t)
{
	struct naive_flow *flow = t->flow;
	uint8_t flags = t->segment.flags;

	if (!t->outbound && (flags & TCP_RST)) {
		flow->was_answered |= flow->is_answered && !flow->refused;
		flow->refused = true;
		flow->is_answered = false;
	}
	/* The end of another connection says nothing about this one. */
	if (!t->outbound || naive_bytes_since_syn(t, flow) >= HANDSHAKE_BYTES)
		return;
	if ((flags & TCP_RST) && !flow->refused)
		flow->is_answered = false;
	/* The client's ACK completes the handshake, unless the server has refused. */
	if ((flags & TCP_ACK) && !(flags & TCP_RST) && (!flow->refused || flow->was_answered))
		flow->handshaking = false;
}

/* P8: of a connection that began without pawsd. */
static bool is_of_unknown(const struct trial *t)
{
	const struct naive_flow *flow = t->flow;

	return flow->is_first && flow->handshaking && !flow->simultaneous && !(t->segment.flags & (TCP_SYN | TCP_RST)) &&
	       naive_bytes_since_syn(t, flow) >= HANDSHAKE_BYTES;
}

static struct change judge_segment(struct trial *t)
{
	struct naive_flow *flow = t->flow;

	if (!flow)
		return judge_stranger(t);
	if (flow->handshaking)
		note_in_handshake(t);
	flow->has_ended |= t->outbound && (t->segment.flags & TCP_FIN);
	return t->outbound ? judge_segment_out(t) : judge_segment_in(t);
}

/*
 * Before the server has answered, or where its answer is all that is known, only the very next byte can follow a SYN;
 * anything else is of what runs.
 */
static bool is_elders_running(const struct trial *t, const struct naive_flow *younger, const struct naive_flow *elder)
{
	return (naive_is_unanswered(younger) || naive_is_word_alone(younger)) && !(t->segment.flags & (TCP_SYN | TCP_RST)) &&
	       naive_bytes_since_syn(t, younger) > 0 && t->tick / 1000 - elder->last_seen_s < RUNNING_S;
}

/*
 * Two connections on the four-tuple: SYNs tell by their ISN, the rest by what is nearer. Once the client has taken the
 * server's answer to the younger one's SYN the elder is past.
 */
static void choose_flow(struct trial *t)
{
	struct naive_flow *younger = t->flow, *elder = naive_find_elder(younger);
	uint8_t flags = t->segment.flags;
	uint32_t bytes = naive_bytes_since_syn(t, younger);

	if ((flags & TCP_SYN) && (t->outbound || !(flags & TCP_ACK))) {
		if (t->outbound && t->segment.seq == elder->isn)
			t->flow = elder;
		return;
	}
	if (bytes >= HANDSHAKE_BYTES || bytes >= naive_bytes_since_syn(t, elder) || is_elders_running(t, younger, elder))
		t->flow = elder;
	else if (t->outbound && !(flags & TCP_RST))
		naive_remove(t->naive, elder);
}

/* An answer to a SYN that pawsd has not seen. */
static bool is_of_unseen(const struct trial *t)
{
	return !t->outbound && (t->segment.flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && !t->flow->is_off &&
	       naive_bytes_since_syn(t, t->flow) >= HANDSHAKE_BYTES;
}

static struct change judge(struct trial *t)
{
	uint8_t kind = t->segment.flags & (TCP_SYN | TCP_ACK);
	if (t->segment.has_ts) {
		t->tsval = fuzz_load32(t->input->data + t->segment.ts_at + 2);
		t->tsecr = fuzz_load32(t->input->data + t->segment.ts_at + 6);
	}
	t->flow = naive_find(t->naive, &t->segment, &t->outbound);
	t->has_two = t->flow && naive_find_elder(t->flow);
	if (t->has_two)
		choose_flow(t);
	if (t->flow && is_of_unknown(t))
		return judge_stranger(t);
	if (t->flow && is_of_unseen(t)) {
		naive_know_unseen(t);
		return nothing;
	}
	/* A SYN of another connection is none of the flow's. */
	if (t->flow && !(kind == TCP_SYN && t->outbound && t->segment.seq != t->flow->isn))
		t->flow->last_seen_s = t->tick / 1000;
	if (kind == TCP_SYN)
		return naive_judge_syn(t);
	return kind & TCP_SYN ? judge_synack(t) : judge_segment(t);
}

void naive_judge(struct naive *naive, const struct packet_input *input, const uint8_t *before, uint64_t tick,
		 enum reason reason)
{
	struct trial trial = {.naive = naive, .input = input, .tick = tick, .reason = reason,
			      .touched = reason_table[reason].action == ACTION_MODIFY};
	struct change change = nothing;

	if (!input->truncated && naive_parse(before, input->len, &trial.segment))
		change = judge(&trial);
	if ((change.len > 0) != trial.touched)
		fuzz_fail("reason %s: the packet must %s", reason_table[reason].name,
			  change.len ? "be changed" : "not be changed");
	naive_check_bytes(input, before, &trial.segment, change.at, change.len);
}
