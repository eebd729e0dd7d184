/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "snapshot.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The parser of the control protocol (snapshot.h).
 *
 * Whoever may bind the socket decides what we read, so the answer is not trusted: the number
 * of its items is bounded (its size is by snapshot.c), it is never taken for a C string but cut
 * into fields (pointer and length), names may hold nothing that a terminal or a label would
 * trip over, and numbers must be numbers. Lines and names that we do not know are passed over,
 * so that a newer pawsd can say more than we understand.
 */

enum {
	INFOS_MAX = 64,
	QUEUES_MAX = 4096,
	FIELDS_MAX = 8, /* of the longest line, queue; what comes after is passed over */
};

struct field {
	const char *text;
	size_t len;
};

struct parser {
	struct snapshot *snapshot;
	size_t line_number;
	struct field line;
	struct field field[FIELDS_MAX];
	size_t field_count;
	size_t last_destination; /* lines of one destination stand together */
	bool started, ended;
	char *error;
	size_t error_size;
};

__attribute__((format(printf, 2, 3))) static int parser_fail(struct parser *parser, const char *format, ...)
{
	int n = snprintf(parser->error, parser->error_size, "line %zu of the answer: ", parser->line_number);
	va_list args;

	if (n < 0 || (size_t)n >= parser->error_size)
		return -1;
	va_start(args, format);
	vsnprintf(parser->error + n, parser->error_size - (size_t)n, format, args);
	va_end(args);
	return -1;
}

static bool field_is(const struct field *field, const char *word)
{
	return field->len == strlen(word) && memcmp(field->text, word, field->len) == 0;
}

static struct field field_next(struct field *rest)
{
	struct field field;
	size_t i = 0;

	while (i < rest->len && rest->text[i] == ' ')
		i++;
	field.text = rest->text + i;
	while (i < rest->len && rest->text[i] != ' ')
		i++;
	field.len = (size_t)(rest->text + i - field.text);
	rest->text += i;
	rest->len -= i;
	return field;
}

static void line_split(struct parser *parser)
{
	struct field rest = parser->line;

	for (parser->field_count = 0; parser->field_count < FIELDS_MAX; parser->field_count++) {
		parser->field[parser->field_count] = field_next(&rest);
		if (parser->field[parser->field_count].len == 0)
			break;
	}
}

/* Numbers end at INT64_MAX, for that is where JSON's integers end. */
static int field_number(struct parser *parser, size_t index, uint64_t max, uint64_t *ret)
{
	const struct field *field = &parser->field[index];
	uint64_t value = 0;

	for (size_t i = 0; i < field->len; i++) {
		unsigned int digit = (unsigned int)(unsigned char)field->text[i] - '0';

		if (digit > 9)
			return parser_fail(parser, "field %zu is not a number", index + 1);
		if (value > (max - digit) / 10)
			return parser_fail(parser, "the number in field %zu is larger than %" PRIu64, index + 1, max);
		value = value * 10 + digit;
	}
	*ret = value;
	return 0;
}

/* A name of letters, digits, "_", "." and "-" that fits into `size` bytes with its 0. */
static int field_word(struct parser *parser, size_t index, char *ret, size_t size)
{
	const struct field *field = &parser->field[index];

	if (field->len >= size)
		return parser_fail(parser, "the name in field %zu is longer than %zu characters", index + 1, size - 1);
	for (size_t i = 0; i < field->len; i++) {
		unsigned char c = (unsigned char)field->text[i];
		bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';

		if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '.' && c != '-')
			return parser_fail(parser, "field %zu is not a name", index + 1);
	}
	memcpy(ret, field->text, field->len);
	ret[field->len] = '\0';
	return 0;
}

/* Bytes of the well-formed UTF-8 character at `text` (Unicode 15, table 3-7), or 0. */
static size_t utf8_len(const unsigned char *text, size_t len)
{
	unsigned char c = text[0], low = 0x80, high = 0xbf;
	size_t n = c < 0x80 ? 1 : c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;

	if (n == 0 || n > len)
		return 0;
	if (c == 0xe0)
		low = 0xa0;
	else if (c == 0xed)
		high = 0x9f;
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf) {
		if (text[i] < low || text[i] > high)
			return 0;
	}
	return n;
}

/* Words for people: control characters and what is not UTF-8 become "?". */
static void words_copy(const char *text, size_t len, char *ret, size_t size)
{
	const unsigned char *from = (const unsigned char *)text;
	size_t used = 0;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_len(from + i, len - i);
		bool control = n == 1 ? from[i] < 0x20 || from[i] == 0x7f
				      : n == 2 && from[i] == 0xc2 && from[i + 1] < 0xa0;

		if (used + (n ? n : 1) >= size)
			break;
		if (n == 0 || control)
			ret[used++] = '?';
		else
			memcpy(ret + used, from + i, n), used += n;
		i += n ? n : 1;
	}
	ret[used] = '\0';
}

/* Room for one more item behind `count` of them: the array doubles at each power of two. */
static void *array_room(void *array, size_t count, size_t item_bytes)
{
	if (count & (count - 1))
		return array;
	return reallocarray(array, count ? count * 2 : 1, item_bytes);
}

static int parse_info(struct parser *parser)
{
	struct snapshot *snapshot = parser->snapshot;
	const struct field *key = &parser->field[1];
	const char *value = key->text + key->len, *end = parser->line.text + parser->line.len;
	struct snapshot_info *infos, *info;

	if (snapshot->info_count == INFOS_MAX)
		return parser_fail(parser, "more than %d info lines", INFOS_MAX);
	infos = array_room(snapshot->infos, snapshot->info_count, sizeof(*infos));
	if (!infos)
		return parser_fail(parser, "out of memory");
	snapshot->infos = infos;
	info = &infos[snapshot->info_count];
	if (field_word(parser, 1, info->key, sizeof(info->key)))
		return -1;
	while (value < end && *value == ' ')
		value++;
	words_copy(value, (size_t)(end - value), info->value, sizeof(info->value));
	snapshot->info_count++;
	return 0;
}

static int parse_metric(struct parser *parser)
{
	uint64_t value;

	if (field_number(parser, 2, INT64_MAX, &value))
		return -1;
	for (int i = 0; i < METRIC_COUNT; i++) {
		if (field_is(&parser->field[1], metric_table[i].name))
			parser->snapshot->metrics[i] = value;
	}
	return 0;
}

/* The destination that field 2 names, made where it is new. NULL after an error. */
static struct snapshot_destination *parse_destination_name(struct parser *parser)
{
	struct snapshot *snapshot = parser->snapshot;
	struct snapshot_destination *destinations, *new;

	if (parser->last_destination < snapshot->destination_count &&
	    field_is(&parser->field[1], snapshot->destinations[parser->last_destination].name))
		return &snapshot->destinations[parser->last_destination];
	for (size_t i = 0; i < snapshot->destination_count; i++) {
		if (field_is(&parser->field[1], snapshot->destinations[i].name)) {
			parser->last_destination = i;
			return &snapshot->destinations[i];
		}
	}
	if (snapshot->destination_count == DESTINATION_SLOTS) {
		parser_fail(parser, "more than %d destinations", DESTINATION_SLOTS);
		return NULL;
	}
	destinations = array_room(snapshot->destinations, snapshot->destination_count, sizeof(*destinations));
	if (!destinations) {
		parser_fail(parser, "out of memory");
		return NULL;
	}
	snapshot->destinations = destinations;
	new = &destinations[snapshot->destination_count];
	memset(new, 0, sizeof(*new));
	if (field_word(parser, 1, new->name, sizeof(new->name)))
		return NULL;
	parser->last_destination = snapshot->destination_count++;
	return new;
}

static int parse_destination(struct parser *parser)
{
	struct snapshot_destination *destination = parse_destination_name(parser);

	if (!destination || field_word(parser, 2, destination->mode, sizeof(destination->mode)))
		return -1;
	if (!field_is(&parser->field[3], "enabled") && !field_is(&parser->field[3], "disabled"))
		return parser_fail(parser, "field 4 is neither \"enabled\" nor \"disabled\"");
	destination->enabled = field_is(&parser->field[3], "enabled");
	return field_number(parser, 4, INT64_MAX, &destination->prefixes);
}

static int parse_override(struct parser *parser)
{
	struct snapshot_destination *destination = parse_destination_name(parser);

	return destination ? field_word(parser, 2, destination->written_mode, sizeof(destination->written_mode)) : -1;
}

static int parse_draining(struct parser *parser)
{
	struct snapshot_destination *destination = parse_destination_name(parser);

	if (!destination || field_number(parser, 2, INT64_MAX, &destination->draining_flows))
		return -1;
	destination->draining = true;
	return field_number(parser, 3, INT64_MAX, &destination->draining_s);
}

static int parse_packets(struct parser *parser)
{
	struct snapshot_destination *destination = parse_destination_name(parser);
	uint64_t count;

	if (!destination || field_number(parser, 3, INT64_MAX, &count))
		return -1;
	for (int i = 0; i < REASON_COUNT; i++) {
		if (field_is(&parser->field[2], reason_table[i].name))
			destination->packets[i] = count;
	}
	return 0;
}

static int parse_flows(struct parser *parser)
{
	struct snapshot_destination *destination = parse_destination_name(parser);
	uint64_t count;

	if (!destination || field_number(parser, 3, INT64_MAX, &count))
		return -1;
	for (int i = FLOW_FREE + 1; i < FLOW_STATE_COUNT; i++) {
		if (field_is(&parser->field[2], flow_state_names[i]))
			destination->flows[i] = count;
	}
	return 0;
}

static int parse_queue(struct parser *parser)
{
	struct snapshot *snapshot = parser->snapshot;
	struct snapshot_queue *queues, *queue;
	uint64_t number, worker;

	if (snapshot->queue_count == QUEUES_MAX)
		return parser_fail(parser, "more than %d queues", QUEUES_MAX);
	queues = array_room(snapshot->queues, snapshot->queue_count, sizeof(*queues));
	if (!queues)
		return parser_fail(parser, "out of memory");
	snapshot->queues = queues;
	queue = &queues[snapshot->queue_count];
	if (field_number(parser, 1, UINT16_MAX, &number) ||
	    field_word(parser, 2, queue->role, sizeof(queue->role)) ||
	    field_number(parser, 3, UINT32_MAX, &worker) ||
	    field_number(parser, 4, INT64_MAX, &queue->queued) ||
	    field_number(parser, 5, INT64_MAX, &queue->waiting) ||
	    field_number(parser, 6, INT64_MAX, &queue->dropped_full) ||
	    field_number(parser, 7, INT64_MAX, &queue->dropped_user))
		return -1;
	queue->number = (uint32_t)number;
	queue->worker = (uint32_t)worker;
	snapshot->queue_count++;
	return 0;
}

static int parse_error(struct parser *parser)
{
	size_t skip = parser->line.len > strlen("error ") ? strlen("error ") : parser->line.len;
	int n = snprintf(parser->error, parser->error_size, "pawsd says: ");

	if (n > 0 && (size_t)n < parser->error_size)
		words_copy(parser->line.text + skip, parser->line.len - skip, parser->error + n,
			   parser->error_size - (size_t)n);
	return -1;
}

static int parse_end(struct parser *parser)
{
	parser->ended = true;
	return 0;
}

static int parse_greeting(struct parser *parser)
{
	uint64_t version = 0;

	if (parser->field_count < 2 || !field_is(&parser->field[0], "pawsd-control"))
		return parser_fail(parser, "this is not pawsd's control socket");
	if (field_number(parser, 1, INT64_MAX, &version))
		return -1;
	if (version != SNAPSHOT_VERSION)
		return parser_fail(parser,
				   "pawsd speaks version %" PRIu64 " of the control protocol, this program version %d: "
				   "install both from one release and restart pawsd",
				   version, SNAPSHOT_VERSION);
	parser->started = true;
	return 0;
}

static int parse_line(struct parser *parser)
{
	static const struct {
		const char *word;
		size_t fields; /* at least, the word included */
		int (*parse)(struct parser *parser);
	} lines[] = {
		{"error", 1, parse_error},
		{"info", 2, parse_info},
		{"metric", 3, parse_metric},
		{"destination", 5, parse_destination},
		{"override", 3, parse_override},
		{"draining", 4, parse_draining},
		{"packets", 4, parse_packets},
		{"flows", 4, parse_flows},
		{"queue", 8, parse_queue},
		{"end", 1, parse_end},
	};

	line_split(parser);
	if (!parser->started)
		return parse_greeting(parser);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (!field_is(&parser->field[0], lines[i].word))
			continue;
		if (parser->field_count < lines[i].fields)
			return parser_fail(parser, "%zu fields instead of %zu", parser->field_count, lines[i].fields);
		return lines[i].parse(parser);
	}
	return 0;
}

int snapshot_parse(const char *text, size_t len, struct snapshot *ret, char *ret_error, size_t error_size)
{
	struct parser parser = {.snapshot = ret, .error = ret_error, .error_size = error_size};
	const char *newline;

	memset(ret, 0, sizeof(*ret));
	while (!parser.ended && len > 0 && (newline = memchr(text, '\n', len))) {
		parser.line = (struct field){text, (size_t)(newline - text)};
		parser.line_number++;
		if (parse_line(&parser))
			goto fail;
		len -= parser.line.len + 1;
		text = newline + 1;
	}
	if (parser.ended)
		return 0;
	if (!parser.started && len == 0)
		snprintf(ret_error, error_size, "the answer is empty");
	else
		snprintf(ret_error, error_size, "the answer is cut off after line %zu", parser.line_number);
fail:
	snapshot_free(ret);
	return -1;
}

void snapshot_free(struct snapshot *snapshot)
{
	free(snapshot->infos);
	free(snapshot->destinations);
	free(snapshot->queues);
	memset(snapshot, 0, sizeof(*snapshot));
}
