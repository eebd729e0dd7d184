/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rewriter that comes to mind first. For each four-tuple an offset, fixed by the first TSval seen,
 * brings it to the time of day; TSecrs get it taken off. So that nobody is ever behind, the time is
 * never less than the newest TSval of anybody. It hides the server's clock likewise, because
 * that looks tidy. It lays the options out anew, sums the whole packet, strips wherever it is
 * told to strip, and counts what it changes. Each of these is a way to break something.
 */
#include "gateway.h"

void textbook_forget(struct textbook *textbook)
{
	map_free(&textbook->flows);
	free(textbook->entries);
	*textbook = (struct textbook){0};
}

static struct textbook_flow *find_flow(struct textbook *textbook, uint64_t key)
{
	uint32_t *index = map_find(&textbook->flows, key);

	if (index)
		return &textbook->entries[*index];
	if (textbook->count == textbook->room) {
		textbook->room = textbook->room ? textbook->room * 2 : 1024;
		textbook->entries = realloc(textbook->entries, textbook->room * sizeof(*textbook->entries));
		if (!textbook->entries)
			abort();
	}
	map_set(&textbook->flows, key, textbook->count);
	textbook->entries[textbook->count] = (struct textbook_flow){.client = (uint32_t)(key >> 36 & 0xffff)};
	return &textbook->entries[textbook->count++];
}

/* Puts the option where Linux has it, where there is room: behind two NOPs at an even place. */
static void align_option(struct wire *wire, struct view *view)
{
	uint32_t options_at = view->tcp_at + 20;
	uint8_t option[10];

	if ((uint32_t)view->ts_at % 2 == 0 || view->payload_at - options_at != 12)
		return;
	memcpy(option, wire->data + view->ts_at, sizeof(option));
	memset(wire->data + options_at, 1, 2);
	memcpy(wire->data + options_at + 2, option, sizeof(option));
	view->ts_at = (int)options_at + 2;
}

int64_t textbook_now(const struct textbook *textbook, uint64_t realtime_ms)
{
	return textbook->newest > (int64_t)realtime_ms ? textbook->newest : (int64_t)realtime_ms;
}

static void rewrite_out(struct textbook *textbook, struct wire *wire, const struct view *view,
			struct textbook_flow *flow, uint64_t realtime_ms)
{
	uint32_t now = (uint32_t)textbook_now(textbook, realtime_ms) + engine_room_base();
	uint8_t *ts = wire->data + view->ts_at;
	int64_t position;

	if (!flow->known) {
		flow->offset = now - view->tsval;
		flow->known = true;
	}
	position = oracle_position((uint64_t)textbook_now(textbook, realtime_ms), view->tsval + flow->offset);
	if (position > textbook->newest)
		textbook->newest = position;
	put32(ts + 2, view->tsval + flow->offset);
	put32(ts + 6, view->tsecr - flow->server_offset);
}

static void rewrite_in(struct wire *wire, const struct view *view, struct textbook_flow *flow, uint32_t now)
{
	uint8_t *ts = wire->data + view->ts_at;

	/* Each SYN/ACK sets it anew, a repeated one as well. */
	if (view->flags & SYN)
		flow->server_offset = now * 3 - view->tsval;
	put32(ts + 2, view->tsval + flow->server_offset);
	put32(ts + 6, view->tsecr - flow->offset);
}

bool textbook_handle(struct textbook *textbook, struct wire *wire, uint64_t key, bool outbound, enum mode mode,
		     uint64_t realtime_ms)
{
	struct textbook_flow *flow;
	struct view view;

	wire_parse(wire->data, wire->len, &view);
	if (view.ts_at < 0 || mode == MODE_OFF || mode == MODE_OBSERVE)
		return false;
	if (mode == MODE_STRIP) {
		memset(wire->data + view.ts_at, 1, 10);
	} else {
		flow = find_flow(textbook, key);
		align_option(wire, &view);
		if (outbound)
			rewrite_out(textbook, wire, &view, flow, realtime_ms);
		else
			rewrite_in(wire, &view, flow, (uint32_t)realtime_ms);
	}
	wire_set_checksum(wire->data, view.tcp_at, view.tcp_bytes);
	return true;
}
