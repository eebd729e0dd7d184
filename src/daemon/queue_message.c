/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "queue_message.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/netfilter.h>
#include <string.h>

/* False for an attribute that makes the whole message useless. */
static bool take_attribute(uint8_t *message, const struct nlattr *attribute, struct queue_packet *ret, bool *ret_has_id)
{
	uint8_t *payload = mnl_attr_get_payload(attribute);
	uint16_t len = mnl_attr_get_payload_len(attribute);

	switch (mnl_attr_get_type(attribute)) {
	case NFQA_PACKET_HDR:
		if (len < sizeof(struct nfqnl_msg_packet_hdr))
			return false;
		ret->id = ntohl(((const struct nfqnl_msg_packet_hdr *)(const void *)payload)->packet_id);
		*ret_has_id = true;
		break;
	case NFQA_IFINDEX_INDEV:
		ret->indev = len == 4 ? ntohl(mnl_attr_get_u32(attribute)) : 0;
		break;
	case NFQA_IFINDEX_OUTDEV:
		ret->outdev = len == 4 ? ntohl(mnl_attr_get_u32(attribute)) : 0;
		break;
	case NFQA_MARK:
		ret->mark = len == 4 ? ntohl(mnl_attr_get_u32(attribute)) : 0;
		break;
	case NFQA_SKB_INFO:
		ret->skb_info = len == 4 ? ntohl(mnl_attr_get_u32(attribute)) : 0;
		break;
	case NFQA_CAP_LEN:
		ret->truncated = true;
		break;
	case NFQA_PAYLOAD:
		/* The kernel says first which packet it is, so that this is always so. */
		if (payload - message < QUEUE_HEADROOM)
			return false;
		ret->data = payload;
		ret->len = len;
		break;
	}
	return true;
}

bool queue_message_parse(uint8_t *message, size_t len, struct queue_packet *ret, uint16_t *ret_queue)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)(void *)message;
	const size_t attributes_at = sizeof(*header) + sizeof(struct nfgenmsg);
	const struct nfgenmsg *nfgen = mnl_nlmsg_get_payload(header);
	const struct nlattr *attribute;
	bool has_id = false;
	int left;

	if (len < attributes_at || header->nlmsg_len < attributes_at ||
	    header->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
		return false;
	if (len > header->nlmsg_len)
		len = header->nlmsg_len;
	*ret = (struct queue_packet){0};
	*ret_queue = ntohs(nfgen->res_id);
	attribute = (const struct nlattr *)(void *)(message + attributes_at);
	for (left = (int)(len - attributes_at); mnl_attr_ok(attribute, left); attribute = mnl_attr_next(attribute)) {
		if (!take_attribute(message, attribute, ret, &has_id))
			return false;
		left -= MNL_ALIGN(attribute->nla_len);
	}
	return has_id;
}

bool queue_message_is_answer(const uint8_t *message, size_t len, int *ret_error)
{
	const struct nlmsghdr *header = (const struct nlmsghdr *)(const void *)message;
	int error;

	*ret_error = EPROTO;
	if (len < sizeof(*header) || header->nlmsg_type != NLMSG_ERROR)
		return false;
	if (len >= sizeof(*header) + sizeof(struct nlmsgerr)) {
		error = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(header))->error;
		if (error <= 0 && error > INT_MIN)
			*ret_error = -error;
	}
	return true;
}

void queue_message_put_verdict(uint8_t *at, uint16_t queue, uint16_t type, uint32_t verdict, uint32_t id,
			       uint32_t total_bytes)
{
	struct {
		struct nlmsghdr header;
		struct nfgenmsg nfgen;
		struct nlattr attribute;
		struct nfqnl_msg_verdict_hdr verdict;
	} message = {
		.header = {.nlmsg_len = total_bytes,
			   .nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type),
			   .nlmsg_flags = NLM_F_REQUEST},
		.nfgen = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(queue)},
		.attribute = {.nla_len = sizeof(struct nlattr) + sizeof(struct nfqnl_msg_verdict_hdr),
			      .nla_type = NFQA_VERDICT_HDR},
		.verdict = {.verdict = htonl(verdict), .id = htonl(id)},
	};

	_Static_assert(sizeof(message) == QUEUE_VERDICT_BYTES, "no padding in a verdict");
	memcpy(at, &message, sizeof(message));
}

uint16_t queue_message_verdict_queue(const uint8_t *at)
{
	struct nfgenmsg nfgen;

	memcpy(&nfgen, at + sizeof(struct nlmsghdr), sizeof(nfgen));
	return ntohs(nfgen.res_id);
}

uint32_t queue_message_verdict_id(const uint8_t *at)
{
	uint32_t id;

	memcpy(&id, at + QUEUE_VERDICT_BYTES - sizeof(id), sizeof(id));
	return ntohl(id);
}

uint8_t *queue_message_wrap(const struct queue_packet *packet, uint16_t queue, size_t *ret_len)
{
	struct nlattr payload = {.nla_len = (uint16_t)(sizeof(payload) + packet->len), .nla_type = NFQA_PAYLOAD};
	uint8_t *start = packet->data - QUEUE_HEADROOM;
	size_t padding = (4 - packet->len % 4) % 4;

	queue_message_put_verdict(start, queue, NFQNL_MSG_VERDICT, NF_ACCEPT, packet->id, QUEUE_HEADROOM + packet->len);
	memcpy(start + QUEUE_VERDICT_BYTES, &payload, sizeof(payload));
	memset(packet->data + packet->len, 0, padding);
	*ret_len = QUEUE_HEADROOM + packet->len + padding;
	return start;
}
