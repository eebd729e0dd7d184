/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an interface may be set to do with packets that a program there would not see as they are. */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fastpath_internal.h"

enum {
	FEATURES_MAX = 512,
};

static bool ask(int fd, const char *interface, void *data)
{
	struct ifreq request = {.ifr_data = data};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

/* The features' names, each of ETH_GSTRING_LEN bytes; to be freed. NULL where the kernel does not say. */
static struct ethtool_gstrings *get_names(int fd, const char *interface)
{
	struct ethtool_sset_info *info = calloc(1, sizeof(*info) + sizeof(info->data[0]));
	struct ethtool_gstrings *names;
	uint32_t count = 0;

	if (!info)
		return NULL;
	info->cmd = ETHTOOL_GSSET_INFO;
	info->sset_mask = 1ull << ETH_SS_FEATURES;
	if (ask(fd, interface, info))
		count = info->data[0];
	free(info);
	names = count > 0 && count <= FEATURES_MAX ? calloc(1, sizeof(*names) + (size_t)count * ETH_GSTRING_LEN) : NULL;
	if (!names)
		return NULL;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_FEATURES;
	names->len = count;
	if (ask(fd, interface, names) && names->len <= count)
		return names;
	free(names);
	return NULL;
}

/* Whether a feature, as ethtool -k names it, is on. */
static bool has_feature(int fd, const char *interface, const struct ethtool_gstrings *names, const char *wanted)
{
	const uint32_t blocks = (names->len + 31) / 32;
	struct ethtool_gfeatures *features = calloc(1, sizeof(*features) + blocks * sizeof(features->features[0]));
	bool is_on = false;

	if (!features)
		return false;
	features->cmd = ETHTOOL_GFEATURES;
	features->size = blocks;
	if (ask(fd, interface, features))
		for (uint32_t i = 0; i < names->len; i++)
			if (strncmp((const char *)names->data + (size_t)i * ETH_GSTRING_LEN, wanted, ETH_GSTRING_LEN) == 0)
				is_on = features->features[i / 32].active >> i % 32 & 1;
	free(features);
	return is_on;
}

static bool is_ethernet(int fd, const char *interface)
{
	struct ifreq request = {0};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	return ioctl(fd, SIOCGIFHWADDR, &request) == 0 && request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
}

bool fastpath_has_hazard(const char *interface, char *ret_words, size_t size)
{
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_gstrings *names;
	bool found = false;

	if (fd < 0)
		return false;
	names = get_names(fd, interface);
	if (names && has_feature(fd, interface, names, "rx-gro-list")) {
		snprintf(ret_words, size, "%s has rx-gro-list on, by which several packets come as one with all their headers, of "
			 "which a program sees the first (ethtool -K %s rx-gro-list off)", interface, interface);
		found = true;
	} else if (!is_ethernet(fd, interface)) {
		snprintf(ret_words, size, "%s is no Ethernet interface", interface);
		found = true;
	}
	free(names);
	close(fd);
	return found;
}

bool fastpath_is_hindered(const char *pins, const char *interface, char *ret_words, size_t size)
{
	struct fastpath_hook hook = {.pins = pins, .interface = interface, .index = if_nametoindex(interface)};

	if (fastpath_has_hazard(interface, ret_words, size))
		return true;
	for (hook.way = 0; hook.way < FASTPATH_WAYS; hook.way++)
		if (fastpath_hook_is_shared(&hook, ret_words, size))
			return true;
	return false;
}
